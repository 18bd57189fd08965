/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * Samples of the frames that a port's guard refuses, for as long as somebody asks for those of the port. A frame that
 * passes meets nothing of it, and a refused one of another port reads one word.
 */
#ifndef XSKNET_REFUSAL_H
#define XSKNET_REFUSAL_H

#include <xsknet/rate.h>

struct refusal_ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, XSKNET_REFUSALS_BYTES);
};

/* Key: a port's id. One for each port, so that a port that is refused much takes no room of another one's samples. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, XSKNET_MAX_PORTS + 1);
	__type(key, __u32);
	__array(values, struct refusal_ring);
} refusal_rings SEC(".maps");

/* Global, so that the verifier walks it once. What finds no room is not kept: the reader may ask again. */
__noinline int sample_refusal(struct xdp_md *ctx, __u32 port, __u32 reason)
{
	struct xsknet_rate *rate = rate_of(port, XSKNET_REFUSALS);
	struct xsknet_refusal *refusal;
	__u64 now;
	__u32 kept;
	void *ring;

	if (!rate || !READ_ONCE(rate->frame))
		return 0;
	now = bpf_ktime_get_ns();
	if (!take_share(rate, now << XSKNET_TIME_SHIFT, 0))
		return 0;
	ring = bpf_map_lookup_elem(&refusal_rings, &port);
	if (!ring)
		return 0;
	refusal = bpf_ringbuf_reserve(ring, sizeof(*refusal), 0);
	if (!refusal)
		return 0;
	refusal->time = now;
	refusal->length = bpf_xdp_get_buff_len(ctx);
	refusal->reason = reason;
	kept = refusal->length;
	if (kept > XSKNET_REFUSAL_BYTES)
		kept = XSKNET_REFUSAL_BYTES;
	barrier_var(kept);
	if (kept < 1 || kept > XSKNET_REFUSAL_BYTES || bpf_xdp_load_bytes(ctx, 0, refusal->bytes, kept))
		bpf_ringbuf_discard(refusal, BPF_RB_NO_WAKEUP); /* cannot be: the verifier wants to see the bounds */
	else
		bpf_ringbuf_submit(refusal, BPF_RB_NO_WAKEUP);
	return 0;
}

#endif
