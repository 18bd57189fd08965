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
	__u8 pattern[XSKNET_PATTERN];
};

static __always_inline void number(struct numbered *payload, __u64 number)
{
	int i;

	payload->number = bpf_cpu_to_be64(number);
	for (i = 0; i < XSKNET_PATTERN; i++)
		payload->pattern[i] = number + i;
}

#endif
