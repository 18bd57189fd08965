/* SPDX-License-Identifier: MIT */
/*
 * The headers that every receiving measurement reads, here as in bench/programs/parse.ts: the EtherType, version and
 * header length, fragment, protocol, total length and both addresses of IPv4, both ports and the length of UDP.
 */
#ifndef BENCH_PARSE_H
#define BENCH_PARSE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { NUMBER_AT = 42, PATTERN = 32, FRAME_LEAST = 42 };

/* What a loop has read. The sums make sure that no field is read in vain. */
struct seen {
	uint64_t frames;    /* of any kind */
	uint64_t datagrams; /* of them, UDP over IPv4 to the port asked for, whole */
	uint64_t payload;   /* their bytes behind the UDP header */
	uint32_t addresses; /* their addresses, added up */
};

static inline uint16_t uint16_at(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return __builtin_bswap16(value);
}

static inline uint32_t uint32_at(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return __builtin_bswap32(value);
}

static inline void parse(struct seen *seen, const uint8_t *frame, uint32_t length, uint16_t port)
{
	uint32_t total, datagram;

	seen->frames++;
	if (length < FRAME_LEAST || uint16_at(frame + 12) != 0x0800 || frame[14] != 0x45)
		return;
	total = uint16_at(frame + 16);
	if (frame[23] != 17 || (uint16_at(frame + 20) & 0x3fff) || total + 14 > length)
		return;
	datagram = uint16_at(frame + 38);
	if (datagram < 8 || datagram + 20 > total || uint16_at(frame + 36) != port)
		return;
	seen->datagrams++;
	seen->payload += datagram - 8;
	seen->addresses += uint32_at(frame + 26) + uint32_at(frame + 30) + uint16_at(frame + 34);
}

/* Whether the payload is a number, and behind it what follows from the number (bpf/testbed/numbered.h). */
static inline bool is_numbered(const uint8_t *frame, uint32_t length)
{
	for (uint32_t i = 0; i < PATTERN && NUMBER_AT + 8 + i < length; i++)
		if (frame[NUMBER_AT + 8 + i] != (uint8_t)(frame[NUMBER_AT + 7] + i))
			return false;
	return length >= NUMBER_AT + 8;
}

#endif
