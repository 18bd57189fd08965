/* SPDX-License-Identifier: MIT */
/*
 * Counts the instructions that a thread executes in user space, one by one, where the machine has no counter for them:
 *	steps TID	until standard input ends and the thread does something; then prints the number
 * Each costs some microseconds, so the thread crawls meanwhile. A string instruction counts once for each of its repetitions, a system
 * call once.
 */
#include <err.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int over;

static void *end_of_input(void *unused)
{
	char byte;

	(void)unused;
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	over = 1;
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t watcher;
	pid_t thread = argc == 2 ? atoi(argv[1]) : 0;
	uint64_t steps = 0;
	int status;

	if (thread <= 0)
		errx(2, "steps TID");
	if (ptrace(PTRACE_SEIZE, thread, 0, 0) || ptrace(PTRACE_INTERRUPT, thread, 0, 0))
		err(1, "ptrace of %d", thread);
	if (waitpid(thread, &status, __WALL) != thread)
		err(1, "waitpid");
	puts("counting");
	fflush(stdout);
	pthread_create(&watcher, NULL, end_of_input, NULL);

	for (int signal = 0; !over;) {
		if (ptrace(PTRACE_SINGLESTEP, thread, 0, signal))
			err(1, "PTRACE_SINGLESTEP");
		if (waitpid(thread, &status, __WALL) != thread)
			err(1, "waitpid");
		if (!WIFSTOPPED(status))
			errx(1, "the thread has ended");
		signal = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
		steps += signal == 0;
	}
	/* Here it has made a step, and no trap is pending that would kill it. */
	ptrace(PTRACE_DETACH, thread, 0, 0);
	printf("%" PRIu64 "\n", steps);
	return 0;
}
