// SPDX-License-Identifier: MIT
/*
 * Packets of many flows for another program, never attached: BPF_PROG_TEST_RUN runs it, as often as asked for, on one
 * frame, into which it writes a destination port drawn from a range.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 port_offset = 0; /* in the frame */
const volatile __u32 first_port = 0;
const volatile __u32 ports = 1;

/* One slot: the program that gets the frame. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} target SEC(".maps");

SEC("xdp.frags")
int draw(struct xdp_md *ctx)
{
	__be16 port = bpf_htons(first_port + bpf_get_prandom_u32() % ports);

	if (bpf_xdp_store_bytes(ctx, port_offset, &port, sizeof(port)))
		return XDP_ABORTED;
	bpf_tail_call(ctx, &target, 0);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
