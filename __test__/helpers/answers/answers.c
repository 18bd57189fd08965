// What a host's kernel answers to frames. Reads frames from standard input, sends each out of a device whose far end is
// the host's, and writes what came back: for each frame the number of answers, then these. Numbers are of 16 bits, in
// network byte order, and each frame stands behind its length.
//
//   answers DEVICE NAMESPACE FAR_DEVICE PORT ADDRESS...
//
// NAMESPACE is the host's, a path. A datagram to one of these addresses and PORT is sent back as it came: by sockets of
// the host, so it is the kernel that judges and builds it.
//
// The first frame of the input is not a question. It is the fence: an ARP probe for an address of the host, which is
// sent behind each frame. The kernel takes frames in their order, so once the fence is answered, the frame before it is
// too. Each fence comes from another MAC, to which its answer goes.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LONGEST = 2048, ADDRESSES = 8, ANSWERS = 64, SENDER_MAC = 20, PATIENCE = 5000 };

struct frame {
	uint16_t length;
	uint8_t bytes[LONGEST];
};

static int wire;
static int sockets[ADDRESSES];
static int socket_count;
static struct frame fence;
static uint32_t fences;
static struct frame answers[ANSWERS];
static int answer_count;

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static void must(int result, const char *what)
{
	if (result < 0)
		fail(what);
}

/* False at the end of the input. */
static int read_frame(struct frame *frame)
{
	uint16_t length;

	if (fread(&length, sizeof(length), 1, stdin) != 1)
		return 0;
	frame->length = ntohs(length);
	if (frame->length > LONGEST || fread(frame->bytes, 1, frame->length, stdin) != frame->length) {
		fprintf(stderr, "the input ends in a frame, or one is too long\n");
		exit(1);
	}
	return 1;
}

static void write_frame(const struct frame *frame)
{
	uint16_t length = htons(frame->length);

	fwrite(&length, sizeof(length), 1, stdout);
	fwrite(frame->bytes, 1, frame->length, stdout);
}

static void send_frame(const struct frame *frame)
{
	if (send(wire, frame->bytes, frame->length, 0) != frame->length)
		fail("send");
}

/* Sends the fence, and keeps what comes before its answer. */
static void pass_fence(void)
{
	static struct frame frame;
	uint32_t number = htonl(++fences);
	uint8_t *sender = fence.bytes + fence.length - SENDER_MAC;

	memcpy(fence.bytes + 8, &number, sizeof(number));
	memcpy(sender + 2, &number, sizeof(number));
	send_frame(&fence);
	for (;;) {
		struct pollfd ready = { .fd = wire, .events = POLLIN };
		ssize_t length = recv(wire, frame.bytes, LONGEST, MSG_DONTWAIT);

		if (length < 0 && errno != EAGAIN)
			fail("recv");
		if (length < 0) {
			if (poll(&ready, 1, PATIENCE) != 1) {
				fprintf(stderr, "fence %u was not answered within %d ms\n", fences, PATIENCE);
				exit(1);
			}
			continue;
		}
		frame.length = length;
		if (length >= 12 && memcmp(frame.bytes, fence.bytes + 6, 6) == 0)
			return;
		if (answer_count == ANSWERS) {
			fprintf(stderr, "more than %d answers to a frame\n", ANSWERS);
			exit(1);
		}
		answers[answer_count++] = frame;
	}
}

/* Sends back what came to a socket; whether anything did. One frame brings one datagram. */
static int echo_datagram(void)
{
	static uint8_t datagram[LONGEST];
	struct sockaddr_storage from;
	socklen_t size = sizeof(from);
	ssize_t length;

	for (int i = 0; i < socket_count; i++) {
		length = recvfrom(sockets[i], datagram, LONGEST, MSG_DONTWAIT, (struct sockaddr *)&from, &size);
		if (length < 0)
			continue;
		/* Nobody can be answered at port 0; the kernel says so. */
		return sendto(sockets[i], datagram, length, 0, (struct sockaddr *)&from, size) >= 0;
	}
	return 0;
}

/* What the host sent to itself, where a datagram said to come from there: it would go round for ever. */
static void drop_datagrams(void)
{
	uint8_t byte;

	for (int i = 0; i < socket_count; i++)
		while (recv(sockets[i], &byte, sizeof(byte), MSG_DONTWAIT) >= 0)
			;
}

static void open_wire(const char *device)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = if_nametoindex(device),
	};
	int on = 1, size = 1 << 22;

	wire = socket(AF_PACKET, SOCK_RAW, 0);
	must(wire, "a packet socket");
	must(setsockopt(wire, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)), "PACKET_IGNORE_OUTGOING");
	must(setsockopt(wire, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)), "SO_RCVBUFFORCE");
	must(bind(wire, (struct sockaddr *)&address, sizeof(address)), device);
}

static void open_socket(const char *address, int port, const char *device)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port),
				   .sin6_scope_id = if_nametoindex(device) };
	int is4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
	int fd = socket(is4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);

	must(fd, "a socket");
	if (!is4 && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1) {
		fprintf(stderr, "%s is not an address\n", address);
		exit(1);
	}
	must(is4 ? bind(fd, (struct sockaddr *)&v4, sizeof(v4)) : bind(fd, (struct sockaddr *)&v6, sizeof(v6)),
	     address);
	sockets[socket_count++] = fd;
}

int main(int count, char **words)
{
	static struct frame frame;
	cpu_set_t one;
	int host;

	if (count < 5 || count > 5 + ADDRESSES) {
		fprintf(stderr, "usage: answers DEVICE NAMESPACE FAR_DEVICE PORT ADDRESS...\n");
		return 2;
	}
	/* What is sent on one processor is taken in on it, in its order. */
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	must(sched_setaffinity(0, sizeof(one), &one), "sched_setaffinity");

	open_wire(words[1]);
	host = open(words[2], O_RDONLY);
	must(host, words[2]);
	must(setns(host, CLONE_NEWNET), "setns");
	for (int i = 5; i < count; i++)
		open_socket(words[i], atoi(words[4]), words[3]);

	if (!read_frame(&fence) || fence.length < 42) {
		fprintf(stderr, "the first frame is the fence\n");
		return 1;
	}
	while (read_frame(&frame)) {
		uint16_t number;

		answer_count = 0;
		send_frame(&frame);
		pass_fence();
		if (echo_datagram()) {
			pass_fence();
			drop_datagrams();
		}
		number = htons(answer_count);
		fwrite(&number, sizeof(number), 1, stdout);
		for (int i = 0; i < answer_count; i++)
			write_frame(&answers[i]);
	}
	return fflush(stdout) == 0 ? 0 : 1;
}
