// SPDX-License-Identifier: MIT
/*
 * Sources of numbered frames, never attached: BPF_PROG_TEST_RUN runs them, once per frame. `clone` reaches what native
 * redirects cannot: a frame that a device receives as an skb, as generic XDP needs it, or that goes through its
 * transmit queue.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "numbered.h"

#define UNNUMBERED (~0U)

const volatile __u32 target_ifindex = 0;
const volatile __u32 clone_flags = 0;		   /* BPF_F_INGRESS: received by the target; 0: sent by it */
const volatile __u32 number_offset = UNNUMBERED; /* in the frame */
/*
 * Frames go to this many ports from the first one on, by chance, each with the time of its sending (CLOCK_MONOTONIC) as
 * its number; 0: to the port that the frame has.
 */
const volatile __u32 ports = 0;
const volatile __u32 first_port = 0;
const volatile __u32 port_offset = 0; /* in the frame */

/* The number of the next frame. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} next SEC(".maps");

/* Frames that the kernel did not take. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} refused SEC(".maps");

static __always_inline void add_one(void *map)
{
	__u32 slot = 0;
	__u64 *count = bpf_map_lookup_elem(map, &slot);

	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline void next_payload(struct numbered *payload)
{
	__u32 slot = 0;
	__u64 *count = bpf_map_lookup_elem(&next, &slot);
	__u64 sent = count ? __sync_fetch_and_add(count, 1) : 0;

	number(payload, ports ? bpf_ktime_get_ns() : sent);
}

/* How much of the payload the frame has room for; 0 where not even the number fits. */
static __always_inline __u32 room(__u32 length)
{
	__u32 left;

	if (number_offset == UNNUMBERED || number_offset + sizeof(__be64) > length)
		return 0;
	left = length - number_offset;
	return left < sizeof(struct numbered) ? left : sizeof(struct numbered);
}

SEC("classifier")
int clone(struct __sk_buff *skb)
{
	__u32 length = room(skb->len);
	struct numbered payload;

	/* The bound once more, beside the call, where the verifier wants it. */
	if (length >= sizeof(__be64) && length <= sizeof(payload)) {
		next_payload(&payload);
		if (bpf_skb_store_bytes(skb, number_offset, &payload, length, 0)) {
			add_one(&refused);
			return TC_ACT_SHOT;
		}
	}
	if (bpf_clone_redirect(skb, target_ifindex, clone_flags))
		add_one(&refused);
	return TC_ACT_SHOT;
}

/* In live-frames mode: the frame is sent by the target through its ndo_xdp_xmit. */
SEC("xdp")
int generate(struct xdp_md *ctx)
{
	__u32 length = room(bpf_xdp_get_buff_len(ctx));
	struct numbered payload;

	if (length >= sizeof(__be64) && length <= sizeof(payload)) {
		next_payload(&payload);
		if (bpf_xdp_store_bytes(ctx, number_offset, &payload, length)) {
			add_one(&refused);
			return XDP_DROP;
		}
	}
	if (ports) {
		__be16 port = bpf_htons(first_port + bpf_get_prandom_u32() % ports);

		if (bpf_xdp_store_bytes(ctx, port_offset, &port, sizeof(port))) {
			add_one(&refused);
			return XDP_DROP;
		}
	}
	return bpf_redirect(target_ifindex, 0);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
