/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * Groups: broadcast and multicast that is left to the host, of which ports get copies. docs/verdicts.md has the rules.
 *
 * The uplink program writes copies into BPF rings itself. For all other ports, copy.bpf.c clones the packet behind it,
 * because XDP can redirect a frame or pass it, and not both. Each looks at its own part of a group's members. So no
 * port gets a packet twice.
 */
#ifndef XSKNET_GROUP_H
#define XSKNET_GROUP_H

#include <xsknet/maps.h>
#include <xsknet/rate.h>

/* Of the MACs that IPv4 groups have (RFC 1112): the last 23 bits are those of the group. */
#define XSKNET_IP4_GROUP_BITS 0x7fffff

/* Not preallocated: most uplinks have no groups. Values are exchanged whole, so a program meets the old or the new. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, XSKNET_MAX_GROUPS);
	__type(key, struct xsknet_group_key);
	__type(value, struct xsknet_group);
} groups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xsknet_group_state);
} group_states SEC(".maps");

/* What became of the copies for each port that is in a group. Key: its id. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, XSKNET_MAX_PORTS);
	__type(key, __u32);
	__type(value, struct xsknet_counters);
} copy_counters SEC(".maps");

static __always_inline struct xsknet_group_state *group_state(void)
{
	__u32 slot = 0;

	return bpf_map_lookup_elem(&group_states, &slot);
}

/* Whether the packet is to an IPv4 group, by its address and its MAC alike. */
static __always_inline bool is_to_group4(const struct packet *packet)
{
	const __u8 *mac = packet->eth->h_dest;
	__u32 address, low;

	if (!packet->ip4)
		return false;
	address = bpf_ntohl(packet->ip4->daddr);
	low = (__u32)mac[3] << 16 | (__u32)mac[4] << 8 | mac[5];
	return address >> 28 == 0xe && mac[0] == 0x01 && mac[1] == 0x00 && mac[2] == 0x5e &&
	       low == (address & XSKNET_IP4_GROUP_BITS);
}

/* Likewise of IPv6 (RFC 2464): the MAC is 33:33 and the last 32 bits of the group. */
static __always_inline bool is_to_group6(const struct packet *packet)
{
	const __u8 *mac = packet->eth->h_dest, *address;

	if (!packet->ip6)
		return false;
	address = packet->ip6->daddr.s6_addr;
	return address[0] == 0xff && mac[0] == 0x33 && mac[1] == 0x33 && mac[2] == address[12] &&
	       mac[3] == address[13] && mac[4] == address[14] && mac[5] == address[15];
}

/*
 * Who gets a copy. The network layer has been parsed. An entry of an IP group also has the members of its MAC's group,
 * so one entry has all of them.
 */
static __always_inline struct xsknet_group *group_of(const struct packet *packet)
{
	XSKNET_KEY struct xsknet_group_key key = { .vlan = packet->vlan };
	struct xsknet_group *group = NULL;

	if (is_to_group4(packet)) {
		__builtin_memcpy(key.address, &packet->ip4->daddr, sizeof(packet->ip4->daddr));
		key.kind = XSKNET_GROUP_IP4;
		group = bpf_map_lookup_elem(&groups, &key);
	} else if (is_to_group6(packet)) {
		__builtin_memcpy(key.address, &packet->ip6->daddr, sizeof(packet->ip6->daddr));
		key.kind = XSKNET_GROUP_IP6;
		group = bpf_map_lookup_elem(&groups, &key);
	}
	if (group)
		return group;
	__builtin_memset(key.address, 0, sizeof(key.address));
	__builtin_memcpy(key.address, packet->eth->h_dest, ETH_ALEN);
	key.kind = XSKNET_GROUP_MAC;
	return bpf_map_lookup_elem(&groups, &key);
}

/* Whether the port gets its copy. Where it does not, that is counted. `counters` are those of the port. */
static __always_inline bool may_copy(struct xsknet_counters *counters, __u32 port, bool too_long)
{
	counters->count[XSKNET_SEEN]++;
	if (too_long) {
		counters->count[XSKNET_DROP_TOO_LONG]++;
		return false;
	}
	if (!is_within_rate(port, XSKNET_COPIES, rate_time(), 0)) {
		counters->count[XSKNET_DROP_RATE]++;
		return false;
	}
	return true;
}

/*
 * Copies a packet into a BPF ring of a port. `payload` counts what is behind the Ethernet header and one tag, `flow` is
 * a flow_hash(). Global, so that the verifier walks it once and not once for each member, of which it would see nearly
 * a million instructions: the most that it takes.
 */
__noinline int copy_to_member(struct xdp_md *ctx, struct xsknet_claim *member, __u32 payload, __u64 flow)
{
	struct xsknet_counters *counters;
	enum xsknet_counter became;
	__u32 port;

	if (!member)
		return 0;
	port = member->port;
	counters = bpf_map_lookup_elem(&copy_counters, &port);
	if (!counters || !may_copy(counters, port, payload > member->mtu))
		return 0;
	became = receive(ctx, bpf_xdp_get_buff_len(ctx), member->rings + pick(flow, member->queue_pairs));
	counters->count[became]++;
	return 0;
}

/* Copies the packet into the BPF rings of its group. Global, so that the verifier walks it once. */
__noinline int copy_into_rings(struct xdp_md *ctx)
{
	struct xsknet_group *group;
	struct packet packet = {};
	__u32 at, payload;
	__u64 flow;

	if (!parse_ethernet(&packet, ctx) || parse_tags(&packet) > TAGS_TWO)
		return 0; /* cannot be: the uplink program has read that far */
	parse_network(&packet);
	group = group_of(&packet);
	if (!group)
		return 0;
	flow = flow_hash(&packet);
	payload = bpf_xdp_get_buff_len(ctx) - link_header(&packet);
	for (at = 0; at < XSKNET_MAX_MEMBERS; at++) {
		if (at >= group->rings)
			break;
		copy_to_member(ctx, &group->member[at], payload, flow);
	}
	return 0;
}

/* Of a packet that is left to the host. */
static __always_inline void copy_to_group(const struct packet *packet)
{
	const struct xsknet_group_state *state;

	if (EXPLAINING || !is_group(packet->eth->h_dest))
		return;
	state = group_state();
	if (state && READ_ONCE(state->rings))
		copy_into_rings(packet->ctx);
}

#endif
