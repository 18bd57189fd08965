// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * On the inner ends of queue pairs: into their sockets.
 *
 * One load serves all ports of an uplink. A load for each would enter the kernel's XDP dispatcher when its port opens
 * and leave it when it closes, and each time all that changes devices would wait for RCU, some 10 ms under RTNL
 * (bpf_dispatcher_change_prog() in kernel/bpf/dispatcher.c).
 *
 * A port whose client has the XSKMAP gets a load for itself, so that the map reaches no other port. Its inner end is in
 * another network namespace, too, where the same ifindex is of another device.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include <xsknet/contract.h>

/* Key: the inner end's ifindex. Value: where it is in the other two. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XSKNET_MAX_QUEUE_PAIRS);
	__type(key, __u32);
	__type(value, __u32);
} inner_ends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, XSKNET_MAX_QUEUE_PAIRS);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, XSKNET_MAX_QUEUE_PAIRS);
	__type(key, __u32);
	__type(value, struct xsknet_port_counters);
} port_counters SEC(".maps");

SEC("xdp.frags")
int port(struct xdp_md *ctx)
{
	struct xsknet_port_counters *counters;
	__u32 ifindex = ctx->ingress_ifindex, *slot;

	slot = bpf_map_lookup_elem(&inner_ends, &ifindex);
	if (!slot)
		return XDP_DROP; /* the entry is there before the program is attached, and goes after its device */
	counters = bpf_map_lookup_elem(&port_counters, slot);
	if (!counters)
		return XDP_DROP; /* cannot be: an array is full from the first; the verifier asks */
	/* The owner of an inner end may give it more queues than the one that has a socket. */
	if (ctx->rx_queue_index || bpf_redirect_map(&xsks, *slot, XDP_DROP) != XDP_REDIRECT) {
		counters->no_socket++;
		return XDP_DROP;
	}
	counters->to_socket++;
	return XDP_REDIRECT;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
