/* SPDX-License-Identifier: MIT */
/* An AF_XDP socket of libxdp, and its UMEM: half of the chunks are lent to reception, half are there to send from. */
#ifndef BENCH_XSK_H
#define BENCH_XSK_H

#include <stdint.h>
#include <xdp/xsk.h>

/* RING, the slots of each ring, comes from the command line of the compiler, so that it is what the other side has. */
enum { CHUNK = 2048, CHUNKS = 2 * RING, BATCH = 64, KICK = 128 };

struct xsk {
	struct xsk_ring_cons rx, completion;
	struct xsk_ring_prod tx, fill;
	struct xsk_socket *socket;
	uint8_t *memory;
	int fd;
	int daemon;	      /* the connection that holds the port; -1: there is none */
	uint64_t free[CHUNKS]; /* chunks that nobody has */
	uint32_t frees;
	uint32_t unsent; /* queued since the last kick */
	uint64_t kicks;
	char mac[18], device[16];
	char xsks[256]; /* the path of the port's XSKMAP */
};

/* A pinned port of a daemon: its path, the uplink, the port's address with its prefix length. */
void open_pinned(struct xsk *xsk, const char *daemon, const char *port);
/* The same, for a socket that another program makes. */
void open_pinned_empty(struct xsk *xsk, const char *daemon, const char *port);
/* Queue 0 of a device, with the program that libxdp brings. */
void open_device(struct xsk *xsk, const char *device);

#endif
