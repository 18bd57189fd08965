/* SPDX-License-Identifier: MIT */
#include <bpf/bpf.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "xsk.h"

#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9 /* since Linux 6.18 */
#endif
#define MUST(what) ((what) ? (void)0 : err(1, "%s", #what))

static char said[65537]; /* the daemon's last message */

/* examples/pinned.c explains what is asked for. */
static void ask(int daemon, const char *request, int fd)
{
	union {
		char room[CMSG_SPACE(sizeof(fd))];
		struct cmsghdr head;
	} right = { .head = { CMSG_LEN(sizeof(fd)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec part = { (void *)request, strlen(request) };
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &right,
		.msg_controllen = fd < 0 ? 0 : sizeof(right),
	};

	memcpy(CMSG_DATA(&right.head), &fd, sizeof(fd));
	MUST(sendmsg(daemon, &message, MSG_NOSIGNAL) > 0);
	memset(said, 0, sizeof(said));
	MUST(recv(daemon, said, sizeof(said) - 1, 0) > 0);
	if (!strstr(said, "\"result\":"))
		errx(1, "%s", said);
}

static void make(struct xsk *xsk, const char *device, uint32_t libxdp_flags)
{
	struct xsk_umem_config chunks = { .fill_size = RING, .comp_size = RING, .frame_size = CHUNK };
	struct xsk_socket_config rings = {
		.rx_size = RING,
		.tx_size = RING,
		.libxdp_flags = libxdp_flags,
		.xdp_flags = XDP_FLAGS_DRV_MODE,
		.bind_flags = XDP_COPY | XDP_USE_NEED_WAKEUP,
	};
	struct xsk_umem *umem;
	int budget = RING, failure, patience = 200;
	uint32_t slot;

	xsk->memory = mmap(NULL, (size_t)CHUNKS * CHUNK, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	MUST(xsk->memory != MAP_FAILED);
	MUST(xsk_umem__create(&umem, xsk->memory, (size_t)CHUNKS * CHUNK, &xsk->fill, &xsk->completion, &chunks) == 0);
	/* The socket of the turn before leaves its queue a moment after its process (xp_release_deferred()). */
	do
		failure = xsk_socket__create(&xsk->socket, device, 0, umem, &xsk->rx, &xsk->tx, &rings);
	while (failure == -EBUSY && patience-- > 0 && usleep(10000) == 0);
	errno = -failure;
	MUST(failure == 0);
	xsk->fd = xsk_socket__fd(xsk->socket);
	/* An older kernel takes 32 frames a kick, and a kick is repeated while it answers EAGAIN. */
	(void)setsockopt(xsk->fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &budget, sizeof(budget));

	MUST(xsk_ring_prod__reserve(&xsk->fill, RING, &slot) == RING);
	for (uint64_t chunk = 0; chunk < RING; chunk++)
		*xsk_ring_prod__fill_addr(&xsk->fill, slot++) = chunk * CHUNK;
	xsk_ring_prod__submit(&xsk->fill, RING);
	for (uint64_t chunk = RING; chunk < CHUNKS; chunk++)
		xsk->free[xsk->frees++] = chunk * CHUNK;
}

void open_pinned_empty(struct xsk *xsk, const char *daemon, const char *port)
{
	struct sockaddr_un path = { .sun_family = AF_UNIX };
	char request[512];

	xsk->daemon = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	snprintf(path.sun_path, sizeof(path.sun_path), "%s", daemon);
	MUST(connect(xsk->daemon, (void *)&path, sizeof(path)) == 0);
	ask(xsk->daemon, "{\"version\":2,\"id\":1,\"operation\":\"hello\",\"client\":\"xskpeer\"}", -1);
	snprintf(request, sizeof(request), "{\"version\":2,\"id\":2,\"operation\":\"openPinnedPort\",\"port\":%s}",
		 port);
	ask(xsk->daemon, request, open("/proc/self/ns/net", O_RDONLY));
	if (sscanf(strstr(said, "\"xsks\":"), "\"xsks\":\"%255[^\"]\",\"device\":\"%15[^\"]", xsk->xsks,
		   xsk->device) != 2 ||
	    sscanf(strstr(said, "\"mac\":"), "\"mac\":\"%17[^\"]", xsk->mac) != 1)
		errx(1, "%s", said);
}

void open_pinned(struct xsk *xsk, const char *daemon, const char *port)
{
	open_pinned_empty(xsk, daemon, port);
	make(xsk, xsk->device, XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD);
	MUST(xsk_socket__update_xskmap(xsk->socket, bpf_obj_get(xsk->xsks)) == 0);
}

void open_device(struct xsk *xsk, const char *device)
{
	xsk->daemon = -1;
	make(xsk, device, 0);
}
