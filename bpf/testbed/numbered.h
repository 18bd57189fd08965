/* SPDX-License-Identifier: MIT */
/*
 * The payload of a test frame: a big-endian number, and behind it bytes that follow from the number (byte i is the low
 * byte of number + i), so that a receiver can tell what was lost, repeated or altered.
 */
#ifndef XSKNET_NUMBERED_H
#define XSKNET_NUMBERED_H

#include <linux/types.h>
#include <bpf/bpf_endian.h>

#define XSKNET_PATTERN 32 /* bytes at most; a frame that ends sooner has fewer */

struct numbered {
	__be64 number;
	__u64 pattern[XSKNET_PATTERN / 8]; /* bytes, by words: they are most of the work */
};

/* Adds bytes that do not carry into their neighbours. */
static __always_inline __u64 add_bytes(__u64 a, __u64 b)
{
	const __u64 low = 0x7f7f7f7f7f7f7f7f;

	return ((a & low) + (b & low)) ^ ((a ^ b) & ~low);
}

/* Word `i` of the pattern of a number. */
static __always_inline __u64 pattern(__u64 number, int i)
{
	const __u64 ones = 0x0101010101010101;
	__u64 rising;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	rising = 0x0706050403020100;
#else
	rising = 0x0001020304050607;
#endif
	return add_bytes((number & 0xff) * ones, rising + 8 * i * ones);
}

static __always_inline void number(struct numbered *payload, __u64 number)
{
	int i;

	payload->number = bpf_cpu_to_be64(number);
#pragma unroll
	for (i = 0; i < XSKNET_PATTERN / 8; i++)
		payload->pattern[i] = pattern(number, i);
}

#endif
