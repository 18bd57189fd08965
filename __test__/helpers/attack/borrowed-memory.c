/*
 * borrowed-memory SOCKET ADDRESS: for each line that it reads, opens ports of 48 MiB, binds a socket of its own to the
 * UMEM of each in a network namespace in which it has every capability, closes all that it was given and the port, and
 * goes on until it is refused one or has no more namespaces. Then it says how many there were. With the next line it
 * closes its sockets; namespaces are made once, since making and ending them keeps everybody from the devices of the
 * machine.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ROUNDS 8

static char answer[65537];
static int connection, given[2];

static int ask(const char *message)
{
	char control[512];
	struct iovec part = { answer, sizeof(answer) - 1 };
	struct msghdr head = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
			       .msg_controllen = sizeof(control) };
	ssize_t came;

	if (send(connection, message, strlen(message), MSG_NOSIGNAL) < 0 || (came = recvmsg(connection, &head, 0)) <= 0)
		err(1, "%s", message);
	answer[came] = 0;
	for (struct cmsghdr *each = CMSG_FIRSTHDR(&head); each; each = CMSG_NXTHDR(&head, each))
		if (each->cmsg_type == SCM_RIGHTS && each->cmsg_len >= CMSG_LEN(sizeof(given)))
			memcpy(given, CMSG_DATA(each), sizeof(given));
	return strstr(answer, "\"result\"") != NULL;
}

/* The calling process is in the last of them. */
static void make_namespaces(int namespaces[ROUNDS])
{
	struct ifreq up = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_LOOPBACK };

	if (unshare(CLONE_NEWUSER))
		err(1, "a user namespace");
	for (int i = 0; i < ROUNDS; i++) {
		if (unshare(CLONE_NEWNET) || (namespaces[i] = open("/proc/self/ns/net", O_RDONLY)) < 0)
			err(1, "a network namespace");
		int any = socket(AF_INET, SOCK_DGRAM, 0);
		if (ioctl(any, SIOCSIFFLAGS, &up))
			err(1, "lo");
		close(any);
	}
}

/* A socket on the UMEM of another one, at the loopback device of a namespace. */
static int borrow(int from, int namespace)
{
	struct sockaddr_xdp place = { .sxdp_family = AF_XDP, .sxdp_flags = XDP_SHARED_UMEM, .sxdp_ifindex = 1 };
	int rings[] = { XDP_RX_RING, XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING }, slots = 64, own;

	if (setns(namespace, CLONE_NEWNET))
		err(1, "setns");
	own = socket(AF_XDP, SOCK_RAW, 0);
	for (size_t i = 0; i < sizeof(rings) / sizeof(rings[0]); i++)
		if (setsockopt(own, SOL_XDP, rings[i], &slots, sizeof(slots)))
			err(1, "a ring");
	place.sxdp_shared_umem_fd = from;
	/* The socket that was here before may not be gone yet. */
	while (bind(own, (void *)&place, sizeof(place)))
		if (errno != EBUSY)
			err(1, "bind");
	return own;
}

int main(int count, char **word)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int namespaces[ROUNDS], own[ROUNDS], id = 1;
	char message[512], line[16];

	if (count != 3)
		errx(2, "borrowed-memory SOCKET ADDRESS");
	strncpy(address.sun_path, word[1], sizeof(address.sun_path) - 1);
	connection = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	if (connect(connection, (void *)&address, sizeof(address)))
		err(1, "%s", word[1]);
	if (!ask("{\"version\":2,\"id\":1,\"operation\":\"hello\",\"client\":\"borrowed-memory\"}"))
		errx(1, "%s", answer);
	make_namespaces(namespaces);
	while (fgets(line, sizeof(line), stdin)) {
		int opened = 0;

		while (opened < ROUNDS) {
			snprintf(message, sizeof(message),
				 "{\"version\":2,\"id\":%d,\"operation\":\"openPort\",\"port\":{\"uplink\":\"card0\","
				 "\"addresses\":[\"%s\"],\"frames\":24576,\"frameSize\":2048}}",
				 ++id, word[2]);
			if (!ask(message))
				break;
			own[opened] = borrow(given[0], namespaces[opened]);
			opened++;
			close(given[0]);
			close(given[1]);
			snprintf(message, sizeof(message),
				 "{\"version\":2,\"id\":%d,\"operation\":\"closePort\",\"port\":%ld}", ++id,
				 atol(strstr(answer, "\"port\":") + 7));
			if (!ask(message))
				errx(1, "%s", answer);
		}
		printf("%d: opened %d: %s\n", atoi(line), opened, answer);
		fflush(stdout);
		if (!fgets(line, sizeof(line), stdin))
			break;
		while (opened > 0)
			close(own[--opened]);
	}
	return 0;
}
