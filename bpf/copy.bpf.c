// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * On the uplink's tc ingress, behind the uplink program, while a port without BPF rings is in a group: clones what that
 * program has left to the host. It answers for nothing: the packet goes on as if it were not there.
 *
 * A clone is transmitted by the outer end of a queue pair, as an skb. So the kernel puts into the frame what an skb has
 * beside it: a VLAN tag, and a checksum that was left to the NIC. A native program gets it at the inner end. Generic
 * XDP there would not see it, because the kernel marks clones as redirected (skb_is_redirected()).
 */

#define XSKNET_ENOMEM 12
#define XSKNET_EINVAL 22

/*
 * Has the packet begin with its Ethernet header, which is also copied to `mac`. False where it cannot be had.
 *
 * Generic XDP may have copied the packet (skb_pp_cow_data()), and what it makes does not know how long that header is:
 * the packet begins behind it then. Pushing the header gives both back, also to the host's other programs.
 */
static __always_inline bool begin_with_mac(struct __sk_buff *skb, struct ethhdr *mac)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const __u16 *is = data, *should = (void *)mac;
	__u16 differs = 0;
	int at;

	if (bpf_skb_load_bytes_relative(skb, 0, mac, sizeof(*mac), BPF_HDR_START_MAC))
		return false;
	if (data + sizeof(*mac) <= end) {
#pragma unroll
		for (at = 0; at < sizeof(*mac) / 2; at++)
			differs |= is[at] ^ should[at];
		if (!differs)
			return true;
	}
	return !bpf_skb_change_head(skb, sizeof(*mac), 0) && !bpf_skb_store_bytes(skb, 0, mac, sizeof(*mac), 0);
}

static __always_inline enum xsknet_counter clone_to(struct __sk_buff *skb, __u32 key)
{
	const struct bpf_devmap_val *outer = bpf_map_lookup_elem(&ports, &key);

	if (!outer)
		return XSKNET_DROP_NO_PORT;
	switch (bpf_clone_redirect(skb, outer->ifindex, 0)) {
	case -XSKNET_ENOMEM:
		return XSKNET_DROP_NO_MEMORY;
	case -XSKNET_EINVAL:
		return XSKNET_DROP_NO_PORT; /* its device has just been deleted */
	default:
		return XSKNET_TO_PORT; /* what the device does not take, it counts */
	}
}

SEC("classifier")
int copy(struct __sk_buff *skb)
{
	const struct xsknet_group *group;
	struct packet packet = {};
	struct ethhdr mac;
	__u32 at;
	__u64 flow;

	/* What goes to one station is never copied. */
	if (skb->pkt_type != PACKET_BROADCAST && skb->pkt_type != PACKET_MULTICAST)
		return TC_ACT_UNSPEC;
	if (!begin_with_mac(skb, &mac) || !is_group(mac.h_dest) || !parse_whole_skb(&packet, skb))
		return TC_ACT_UNSPEC;
	parse_network(&packet);
	group = group_of(&packet);
	if (!group)
		return TC_ACT_UNSPEC;
	flow = flow_hash(&packet);
	for (at = 0; at < XSKNET_MAX_MEMBERS; at++) {
		const struct xsknet_claim *member = &group->member[at];
		__u32 port = member->port;
		struct xsknet_counters *counters;
		enum xsknet_counter became;

		if (at >= group->members)
			break;
		if (at < group->rings)
			continue;
		counters = bpf_map_lookup_elem(&copy_counters, &port);
		if (!counters || !may_copy(counters, port, is_too_long(&packet, member->mtu)))
			continue;
		became = clone_to(skb, port | pick(flow, member->queue_pairs) << XSKNET_QUEUE_PAIR_SHIFT);
		counters->count[became]++;
	}
	return TC_ACT_UNSPEC;
}
