/* SPDX-License-Identifier: MIT */
/*
 * The rings of a socket without a socket: a thread takes chunks out of FILL and puts them into RX as fast as it can, so
 * that all the time is the reader's. Indices, flags and descriptors lie as the kernel has them, each index on a cache
 * line of its own.
 */
#define _GNU_SOURCE
#include <err.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "loops.h"

struct ring {
	uint32_t producer __attribute__((aligned(64)));
	uint32_t consumer __attribute__((aligned(64)));
	uint32_t flags __attribute__((aligned(64)));
	uint64_t addresses[RING] __attribute__((aligned(64)));
};

struct rx {
	uint32_t producer __attribute__((aligned(64)));
	uint32_t consumer __attribute__((aligned(64)));
	uint32_t flags __attribute__((aligned(64)));
	struct xdp_desc descs[RING] __attribute__((aligned(64)));
};

enum { LAP = 1024, TURN = 64 };

static struct ring fill_memory;
static struct rx rx_memory;
static int over;
static uint32_t frame_length;

static void *kernel(void *unused)
{
	uint32_t took = 0, gave = 0;

	(void)unused;
	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		uint32_t count = __atomic_load_n(&fill_memory.producer, __ATOMIC_ACQUIRE) - took;
		uint32_t room = RING - (gave - __atomic_load_n(&rx_memory.consumer, __ATOMIC_ACQUIRE));

		if (count > room)
			count = room;
		if (count > TURN)
			count = TURN;
		if (count == 0)
			continue;
		for (uint32_t i = 0; i < count; i++, took++, gave++)
			rx_memory.descs[gave % RING] =
				(struct xdp_desc){ .addr = fill_memory.addresses[took % RING], .len = frame_length };
		__atomic_store_n(&fill_memory.consumer, took, __ATOMIC_RELEASE);
		__atomic_store_n(&rx_memory.producer, gave, __ATOMIC_RELEASE);
	}
	return NULL;
}

/*
 * The clock stands while the ring fills up, so that it is never found empty: the thread may be slower than the reader.
 * It is the wall's, as in JavaScript, which has no other that is fine enough.
 */
static void laps(struct xsk *xsk, const struct order *order, struct result *result)
{
	double end = now() + order->seconds;

	while (result->seen.frames < order->frames && now() < end) {
		double began;

		while (__atomic_load_n(&rx_memory.producer, __ATOMIC_ACQUIRE) - xsk->rx.cached_cons < LAP)
			;
		mark(order, result, result->seen.frames);
		began = now();
		for (uint32_t batch = 0; batch < LAP / BATCH; batch++)
			read_batch(xsk, order, result);
		result->seconds += now() - began;
	}
	mark(order, result, result->seen.frames);
}

void headroom(const struct order *order, struct result *result)
{
	size_t bytes = (size_t)RING * CHUNK;
	struct xsk xsk = { .rx = { .mask = RING - 1, .size = RING, .producer = &rx_memory.producer,
				   .consumer = &rx_memory.consumer, .ring = rx_memory.descs,
				   .flags = &rx_memory.flags },
			   .fill = { .cached_cons = RING, .mask = RING - 1, .size = RING,
				     .producer = &fill_memory.producer, .consumer = &fill_memory.consumer,
				     .ring = fill_memory.addresses, .flags = &fill_memory.flags } };
	pthread_attr_t elsewhere;
	pthread_t thread;
	cpu_set_t cpus;

	memset(&fill_memory, 0, sizeof(fill_memory));
	memset(&rx_memory, 0, sizeof(rx_memory));
	over = 0;
	frame_length = order->length;
	xsk.memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (xsk.memory == MAP_FAILED)
		err(1, "mmap");
	for (uint32_t chunk = 0; chunk < RING; chunk++) {
		memcpy(xsk.memory + (size_t)chunk * CHUNK + 256, order->header, sizeof(order->header));
		fill_memory.addresses[chunk] = (uint64_t)chunk * CHUNK + 256;
	}
	fill_memory.producer = xsk.fill.cached_prod = RING;
	/* This thread is bound to its processor, and both spin. */
	memset(&cpus, 0xff, sizeof(cpus));
	CPU_CLR(sched_getcpu(), &cpus);
	pthread_attr_init(&elsewhere);
	pthread_attr_setaffinity_np(&elsewhere, sizeof(cpus), &cpus);
	if (pthread_create(&thread, &elsewhere, kernel, NULL) != 0)
		err(1, "pthread_create");
	laps(&xsk, order, result);
	__atomic_store_n(&over, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	munmap(xsk.memory, bytes);
}
