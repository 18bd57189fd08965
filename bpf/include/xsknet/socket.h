/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* The socket of a port's queue, and how a frame gets into it. */
#ifndef XSKNET_SOCKET_H
#define XSKNET_SOCKET_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include <xsknet/contract.h>

/* One slot: the veth pair of a queue pair has one queue. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xsknet_counters);
} port_counters SEC(".maps");

static __always_inline int leave_to_socket(struct xdp_md *ctx)
{
	struct xsknet_counters *counters;
	__u32 slot = 0;
	int verdict;

	counters = bpf_map_lookup_elem(&port_counters, &slot);
	if (!counters)
		return XDP_DROP; /* cannot be: an array is full from the first; the verifier asks */
	counters->count[XSKNET_SEEN]++;
	verdict = bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_DROP);
	counters->count[verdict == XDP_REDIRECT ? XSKNET_TO_SOCKET : XSKNET_DROP_NO_SOCKET]++;
	return verdict;
}

#endif
