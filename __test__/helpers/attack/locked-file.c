/*
 * locked-file SOCKET ADDRESS: opens a port, keeps the inode of its UMEM's file locked as often as it can
 * (`shmem_fallocate()` holds the lock until a GiB is filled), closes the port, and goes on until it is killed.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char answer[65537];
static int connection, port_fd, memory;

static void ask(const char *message)
{
	char control[512];
	struct iovec part = { answer, sizeof(answer) - 1 };
	struct msghdr head = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
			       .msg_controllen = sizeof(control) };
	ssize_t came;

	if (send(connection, message, strlen(message), MSG_NOSIGNAL) < 0 || (came = recvmsg(connection, &head, 0)) <= 0)
		err(1, "%s", message);
	answer[came] = 0;
	if (!strstr(answer, "\"result\""))
		errx(1, "%s", answer);
	for (struct cmsghdr *each = CMSG_FIRSTHDR(&head); each; each = CMSG_NXTHDR(&head, each))
		if (each->cmsg_type == SCM_RIGHTS && each->cmsg_len >= CMSG_LEN(2 * sizeof(int))) {
			memcpy(&port_fd, CMSG_DATA(each), sizeof(int));
			memcpy(&memory, CMSG_DATA(each) + sizeof(int), sizeof(int));
		}
}

static void *fill(void *unused)
{
	for (;;)
		if (posix_fallocate(memory, 0, 1L << 30) || ftruncate(memory, 4096))
			usleep(1000);
	return unused;
}

int main(int count, char **word)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char message[512];
	pthread_t thread;

	if (count != 3)
		errx(2, "locked-file SOCKET ADDRESS");
	strncpy(address.sun_path, word[1], sizeof(address.sun_path) - 1);
	connection = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	if (connect(connection, (void *)&address, sizeof(address)))
		err(1, "%s", word[1]);
	ask("{\"version\":2,\"id\":1,\"operation\":\"hello\",\"client\":\"locked-file\"}");
	snprintf(message, sizeof(message),
		 "{\"version\":2,\"id\":2,\"operation\":\"openPort\",\"port\":{\"uplink\":\"card0\","
		 "\"addresses\":[\"%s\"],\"ringSize\":64,\"frames\":128}}",
		 word[2]);
	ask(message);
	pthread_create(&thread, NULL, fill, NULL);
	pthread_create(&thread, NULL, fill, NULL);
	usleep(300000);
	close(port_fd);
	snprintf(message, sizeof(message), "{\"version\":2,\"id\":3,\"operation\":\"closePort\",\"port\":%ld}",
		 atol(strstr(answer, "\"port\":") + 7));
	ask(message);
	puts("closed");
	fflush(stdout);
	pause();
	return 0;
}
