/* SPDX-License-Identifier: MIT */
#include <err.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>

#include "loops.h"

static double seconds_of(clockid_t clock)
{
	struct timespec at;

	clock_gettime(clock, &at);
	return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

double now(void)
{
	return seconds_of(CLOCK_MONOTONIC);
}

double processor_time(void)
{
	return seconds_of(CLOCK_THREAD_CPUTIME_ID);
}

void mark(const struct order *order, struct result *result, uint64_t frames)
{
	bool first = result->marked == 0;

	if (order->mark == 0 || (first && frames < order->mark) || (!first && frames < order->frames))
		return;
	if (first)
		result->marked = frames;
	raise(SIGWINCH); /* ignored unless this process is traced */
}

/* One kick a call while the kernel asks for it; what it breaks off goes on with the next. */
static void kick(struct xsk *xsk)
{
	xsk->unsent = 0;
	if (!xsk_ring_prod__needs_wakeup(&xsk->tx))
		return;
	xsk->kicks++;
	if (sendto(xsk->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 && errno != EAGAIN && errno != EBUSY &&
	    errno != ENOBUFS && errno != ENETDOWN)
		err(1, "sendto");
}

/* Chunks that were sent are free again. */
static void complete(struct xsk *xsk)
{
	uint32_t at, count = xsk_ring_cons__peek(&xsk->completion, RING, &at);

	for (uint32_t i = 0; i < count; i++)
		xsk->free[xsk->frees++] = *xsk_ring_cons__comp_addr(&xsk->completion, at + i);
	xsk_ring_cons__release(&xsk->completion, count);
}

/* As many chunks into FILL as came out of RX. */
static inline __attribute__((always_inline)) void refill(struct xsk *xsk, const struct xdp_desc *came, uint32_t count)
{
	uint32_t slot;

	/*
	 * FILL has as many slots as reception has chunks. But the kernel publishes what came in RX a moment before it
	 * publishes what it took out of FILL for that (xsk_flush).
	 */
	while (xsk_ring_prod__reserve(&xsk->fill, count, &slot) != count)
		;
	for (uint32_t i = 0; i < count; i++)
		*xsk_ring_prod__fill_addr(&xsk->fill, slot + i) = came[i].addr;
	xsk_ring_prod__submit(&xsk->fill, count);
	if (xsk_ring_prod__needs_wakeup(&xsk->fill))
		recvfrom(xsk->fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

struct watch {
	double began, processor, end;
	bool over;
};

/* At the first frame: looks at the ring before it count for nothing. */
static void begin(struct watch *watch, const struct order *order, struct result *result)
{
	result->calls = 0;
	watch->began = now();
	watch->processor = processor_time();
	watch->end = watch->began + order->seconds;
}

/* Nothing is measured before the first frame, and nothing comes for ever. */
enum { PATIENCE = 5 };

static inline void look(struct watch *watch, const struct order *order, struct result *result, uint64_t frames)
{
	if (order->mark)
		mark(order, result, frames);
	if (frames >= order->frames)
		watch->over = true;
	else if (result->calls % CLOCK == 0 && now() > watch->end)
		watch->over = true;
}

/* Reads received frames, and gives them back. */
static inline __attribute__((always_inline)) void treat(struct xsk *xsk, const struct order *order,
							struct result *result, uint32_t at, uint32_t count,
							bool verifies)
{
	struct xdp_desc batch[BATCH];

	for (uint32_t i = 0; i < count; i++) {
		const struct xdp_desc *desc = xsk_ring_cons__rx_desc(&xsk->rx, at + i);
		const uint8_t *frame = xsk->memory + desc->addr;

		parse(&result->seen, frame, desc->len, order->port);
		if (verifies)
			result->corrupt += !is_numbered(frame, desc->len);
		batch[i] = *desc;
	}
	xsk_ring_cons__release(&xsk->rx, count);
	refill(xsk, batch, count);
}

void read_batch(struct xsk *xsk, const struct order *order, struct result *result)
{
	uint32_t at, count = xsk_ring_cons__peek(&xsk->rx, BATCH, &at);

	result->calls++;
	treat(xsk, order, result, at, count, false);
}

enum kind { DROP, VERIFY, ASLEEP };

static inline __attribute__((always_inline)) void receive(struct xsk *xsk, const struct order *order,
							  struct result *result, enum kind kind)
{
	struct pollfd ready = { .fd = xsk->fd, .events = POLLIN };
	struct watch watch = { .end = now() + PATIENCE };

	while (!watch.over) {
		uint32_t at, count = xsk_ring_cons__peek(&xsk->rx, BATCH, &at);

		result->calls++;
		look(&watch, order, result, result->seen.frames);
		if (count == 0) {
			result->empty += watch.began != 0;
			if (kind == ASLEEP) {
				poll(&ready, 1, 100);
				watch.over |= now() > watch.end;
			}
			continue;
		}
		if (watch.began == 0)
			begin(&watch, order, result);
		treat(xsk, order, result, at, count, kind == VERIFY);
	}
	result->seconds = now() - watch.began;
	result->processor = processor_time() - watch.processor;
}

void rxdrop(struct xsk *xsk, const struct order *order, struct result *result)
{
	receive(xsk, order, result, DROP);
}

void verify(struct xsk *xsk, const struct order *order, struct result *result)
{
	receive(xsk, order, result, VERIFY);
}

void asleep(struct xsk *xsk, const struct order *order, struct result *result)
{
	receive(xsk, order, result, ASLEEP);
}

static inline void swap_macs(uint8_t *frame)
{
	uint8_t macs[12];

	memcpy(macs, frame, 12);
	memcpy(frame, macs + 6, 6);
	memcpy(frame + 6, macs, 6);
}

/* The end of a loop that sends: what is left leaves, and the clocks are read. */
static void sent(struct xsk *xsk, const struct watch *watch, struct result *result, uint64_t kicks_before)
{
	kick(xsk);
	result->seconds = now() - watch->began;
	result->processor = processor_time() - watch->processor;
	result->kicks = xsk->kicks - kicks_before;
}

/* A frame goes out of the chunk that it came in, and reception gets a free one instead. */
void l2fwd(struct xsk *xsk, const struct order *order, struct result *result)
{
	struct watch watch = { .end = now() + PATIENCE };
	uint64_t kicks = xsk->kicks;

	while (!watch.over) {
		uint32_t at, slot = 0, count = BATCH;

		complete(xsk);
		if (count > xsk->frees)
			count = xsk->frees;
		if (count > xsk_prod_nb_free(&xsk->tx, count))
			count = xsk->tx.cached_cons - xsk->tx.cached_prod;
		count = xsk_ring_cons__peek(&xsk->rx, count, &at);
		result->calls++;
		look(&watch, order, result, result->seen.frames);
		if (count == 0) {
			result->empty += watch.began != 0;
			kick(xsk);
			continue;
		}
		if (watch.began == 0)
			begin(&watch, order, result);
		xsk_ring_prod__reserve(&xsk->tx, count, &slot);
		struct xdp_desc batch[BATCH];
		for (uint32_t i = 0; i < count; i++) {
			const struct xdp_desc *desc = xsk_ring_cons__rx_desc(&xsk->rx, at + i);
			uint8_t *frame = xsk->memory + desc->addr;

			if (desc->len >= 14)
				swap_macs(frame);
			*xsk_ring_prod__tx_desc(&xsk->tx, slot + i) = *desc;
			batch[i].addr = xsk->free[--xsk->frees];
		}
		xsk_ring_cons__release(&xsk->rx, count);
		xsk_ring_prod__submit(&xsk->tx, count);
		refill(xsk, batch, count);
		result->seen.frames += count;
		result->sent += count;
		xsk->unsent += count;
		if (xsk->unsent >= KICK)
			kick(xsk);
	}
	sent(xsk, &watch, result, kicks);
}

static inline void write_numbered(uint8_t *frame, uint32_t length, uint32_t number)
{
	uint32_t big = __builtin_bswap32(number);

	memset(frame + NUMBER_AT, 0, 4);
	memcpy(frame + NUMBER_AT + 4, &big, 4);
	for (uint32_t i = 0; i < PATTERN && NUMBER_AT + 8 + i < length; i++)
		frame[NUMBER_AT + 8 + i] = (uint8_t)(number + i);
}

void txonly(struct xsk *xsk, const struct order *order, struct result *result)
{
	struct watch watch = { 0 };
	uint64_t kicks = xsk->kicks;
	uint32_t number = 0;

	begin(&watch, order, result);
	while (!watch.over) {
		uint32_t slot, count = BATCH;

		complete(xsk);
		if (count > xsk->frees)
			count = xsk->frees;
		count = count > 0 ? xsk_ring_prod__reserve(&xsk->tx, count, &slot) : 0;
		result->calls++;
		look(&watch, order, result, result->sent);
		if (count == 0) {
			result->empty++;
			kick(xsk);
			continue;
		}
		for (uint32_t i = 0; i < count; i++) {
			uint64_t chunk = xsk->free[--xsk->frees];
			uint8_t *frame = xsk->memory + chunk;

			memcpy(frame, order->header, sizeof(order->header));
			write_numbered(frame, order->length, number++);
			*xsk_ring_prod__tx_desc(&xsk->tx, slot + i) =
				(struct xdp_desc){ .addr = chunk, .len = order->length };
		}
		xsk_ring_prod__submit(&xsk->tx, count);
		result->sent += count;
		xsk->unsent += count;
		if (xsk->unsent >= KICK)
			kick(xsk);
	}
	sent(xsk, &watch, result, kicks);
}
