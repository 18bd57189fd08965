/* SPDX-License-Identifier: MIT */
/* What is measured. Each loop ends at the first of the two: so many frames, or so many seconds after the first one. */
#ifndef BENCH_LOOPS_H
#define BENCH_LOOPS_H

#include "parse.h"
#include "xsk.h"

struct order {
	double seconds;
	uint64_t frames;
	uint64_t mark; /* frames from which on instructions are counted; 0: never */
	uint32_t length;	 /* of the frames sent */
	uint16_t port;		 /* UDP, that is read or sent to */
	uint8_t header[FRAME_LEAST]; /* of the frames sent: Ethernet, IPv4, UDP */
};

struct result {
	struct seen seen;
	uint64_t sent;
	uint64_t corrupt;
	uint64_t calls, empty; /* looks at the RX ring, and those that found nothing */
	uint64_t kicks;
	uint64_t marked; /* frames so far when that began */
	double seconds;	 /* from the first frame on */
	double processor; /* seconds of the processor in that time */
};

void rxdrop(struct xsk *xsk, const struct order *order, struct result *result);
/* The same, and each payload is looked at. */
void verify(struct xsk *xsk, const struct order *order, struct result *result);
/* The same as rxdrop, asleep in poll() while there is nothing. */
void asleep(struct xsk *xsk, const struct order *order, struct result *result);
/* MAC addresses change places, and the frame leaves by the port that it came by. */
void l2fwd(struct xsk *xsk, const struct order *order, struct result *result);
void txonly(struct xsk *xsk, const struct order *order, struct result *result);
/* One turn of rxdrop. */
void read_batch(struct xsk *xsk, const struct order *order, struct result *result);
/* No socket: rings in plain memory, which a thread refills. */
void headroom(const struct order *order, struct result *result);

/* The clock is looked at this often, by the loops here and in TypeScript. */
enum { CLOCK = 64 };
double now(void);
/* Told once so many frames were handled, and at the end. */
void mark(const struct order *order, struct result *result, uint64_t frames);
double processor_time(void);

#endif
