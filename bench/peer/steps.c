/* SPDX-License-Identifier: MIT */
/*
 * Counts the instructions that a thread executes in user space, one by one, where the machine has no counter for them:
 *	steps TID	from a SIGWINCH that the thread gets to the next, unnoticed by it; then prints the number
 * Each costs some twenty microseconds, so the thread crawls meanwhile. A string instruction counts once for each of its
 * repetitions, a system call once. The end of standard input ends it before.
 */
#include <err.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int over, counting;

static void *end_of_input(void *unused)
{
	char byte;

	(void)unused;
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	over = 1;
	/* A thread that makes no steps goes on unharmed; another would die of the trap that is pending. */
	if (!counting)
		_exit(1);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t watcher;
	pid_t thread = argc == 2 ? atoi(argv[1]) : 0;
	uint64_t steps = 0;
	int status, marks = 0;

	if (thread <= 0)
		errx(2, "steps TID");
	if (ptrace(PTRACE_SEIZE, thread, 0, 0) || ptrace(PTRACE_INTERRUPT, thread, 0, 0))
		err(1, "ptrace of %d", thread);
	if (waitpid(thread, &status, __WALL) != thread)
		err(1, "waitpid");
	puts("waiting");
	fflush(stdout);
	pthread_create(&watcher, NULL, end_of_input, NULL);

	for (int signal = 0; marks < 2 && !over;) {
		if (ptrace(counting ? PTRACE_SINGLESTEP : PTRACE_CONT, thread, 0, signal))
			err(1, "ptrace");
		if (waitpid(thread, &status, __WALL) != thread)
			err(1, "waitpid");
		if (!WIFSTOPPED(status))
			errx(1, "the thread has ended");
		signal = WSTOPSIG(status);
		if (signal == SIGTRAP) {
			steps += counting;
			signal = 0;
		} else if (signal == SIGWINCH) {
			counting = ++marks == 1;
			signal = 0;
		}
	}
	/* It has stopped for a signal or after a step, and no trap is pending that would kill it. */
	ptrace(PTRACE_DETACH, thread, 0, 0);
	printf("%" PRIu64 "\n", steps);
	return 0;
}
