/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* The tables that the uplink program and the guard share, and what both do with them. User space alone writes them. */
#ifndef XSKNET_MAPS_H
#define XSKNET_MAPS_H

#include <xsknet/queue.h>
#include <xsknet/ring.h>

/* The outer ends of the ports' queue pairs. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, XSKNET_MAX_QUEUE_PAIRS);
	__type(key, __u32);
	__type(value, struct bpf_devmap_val);
} ports SEC(".maps");

/* One slot: the uplink. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bpf_devmap_val);
} uplinks SEC(".maps");

/* One slot: the MTU of the uplink, which its owner may change at any time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} uplink_mtus SEC(".maps");

/*
 * One slot: the MAC of the uplink, as mac_word() makes it for no VLAN; 0: unknown. The guards of ports that have this
 * MAC read it here, so that one store changes it for all of them.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} uplink_macs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XSKNET_MAX_PORTS);
	__type(key, struct xsknet_mac_key);
	__type(value, struct xsknet_claim);
} macs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XSKNET_MAX_ADDRESSES);
	__type(key, struct xsknet_target4);
	__type(value, struct xsknet_claim);
} targets4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XSKNET_MAX_ADDRESSES);
	__type(key, struct xsknet_target6);
	__type(value, struct xsknet_claim);
} targets6 SEC(".maps");

/* What ports may send from: an entry allows it, its value says nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XSKNET_MAX_ADDRESSES);
	__type(key, struct xsknet_source4);
	__type(value, __u32);
} sources4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XSKNET_MAX_ADDRESSES);
	__type(key, struct xsknet_source6);
	__type(value, __u32);
} sources6 SEC(".maps");

/* Key: the outer end's ifindex. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XSKNET_MAX_QUEUE_PAIRS);
	__type(key, __u32);
	__type(value, struct xsknet_guard);
} guards SEC(".maps");

/* What the ports that are limited have sent of each kind; shared by the queue pairs of a port. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, (XSKNET_MAX_PORTS + 1) << XSKNET_KIND_SHIFT);
	__type(key, __u32);
	__type(value, struct xsknet_rate);
} rates SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xsknet_counters);
} uplink_counters SEC(".maps");

/*
 * The keys are made of whole words, aligned for them: the kernel reads them back in words at once, which stalls where
 * they were stored in bytes.
 */
#define XSKNET_KEY __attribute__((aligned(8)))

/* The halves of an IPv6 address, as they lie in memory. */
static __always_inline __u64 first_half(const struct in6_addr *address)
{
	return two_words(address->s6_addr32[0], address->s6_addr32[1]);
}

static __always_inline __u64 second_half(const struct in6_addr *address)
{
	return two_words(address->s6_addr32[2], address->s6_addr32[3]);
}

static __always_inline struct xsknet_claim *claim_of_word(__u64 mac_and_vlan)
{
	return bpf_map_lookup_elem(&macs, &mac_and_vlan);
}

static __always_inline struct xsknet_claim *claim_of_mac(const __u8 *mac, __u16 vlan)
{
	__u64 word = mac_word(mac, vlan);

	return note_claim(XSKNET_NOTE_MAC, claim_of_word(word), word, 0);
}

static __always_inline struct xsknet_claim *find_target4(__be32 address, __u16 vlan)
{
	XSKNET_KEY struct xsknet_target4 key = { .vlan = vlan };

	__builtin_memcpy(key.address, &address, sizeof(key.address));
	return bpf_map_lookup_elem(&targets4, &key);
}

static __always_inline struct xsknet_claim *find_target6(const struct in6_addr *address, __u16 vlan)
{
	XSKNET_KEY struct xsknet_target6 key = { .vlan = vlan };

	__builtin_memcpy(key.address, address, sizeof(key.address));
	return bpf_map_lookup_elem(&targets6, &key);
}

static __always_inline struct xsknet_claim *claim_of_ip4(__be32 address, __u16 vlan)
{
	return note_claim(XSKNET_NOTE_TARGET4, find_target4(address, vlan), address, 0);
}

static __always_inline struct xsknet_claim *claim_of_ip6(const struct in6_addr *address, __u16 vlan)
{
	return note_claim(XSKNET_NOTE_TARGET6, find_target6(address, vlan), first_half(address), second_half(address));
}

/* Of an address that packets are for: a port with a MAC of its own gets none by it. */
static __always_inline struct xsknet_claim *takes_packets(struct xsknet_claim *claim)
{
	return claim && claim->flags & XSKNET_CLAIM_PACKETS ? claim : NULL;
}

/*
 * What claims a packet to the uplink's MAC by the address that it is for; an ARP reply is for the address that asked.
 * After parse_network().
 */
static __always_inline struct xsknet_claim *claim_of_destination(const struct packet *packet)
{
	struct xsknet_claim *claim;
	const struct in6_addr *six;
	__be32 four;

	if (packet->ip6) {
		six = &packet->ip6->daddr;
		claim = takes_packets(find_target6(six, packet->vlan));
		return note_claim(XSKNET_NOTE_DESTINATION6, claim, first_half(six), second_half(six));
	}
	if (packet->ip4)
		four = packet->ip4->daddr;
	else if (packet->arp && is_ethernet_ipv4(packet->arp) &&
		 packet->arp->operation == bpf_htons(XSKNET_ARP_REPLY))
		four = packet->arp->target;
	else
		return NULL;
	claim = takes_packets(find_target4(four, packet->vlan));
	return note_claim(XSKNET_NOTE_DESTINATION4, claim, four, 0);
}

static __always_inline bool may_send_from4(const struct xsknet_guard *own, __be32 address)
{
	__u64 key = two_words(address, own->port); /* a struct xsknet_source4 */

	return note_source(XSKNET_NOTE_SOURCE4, bpf_map_lookup_elem(&sources4, &key), address, 0);
}

static __always_inline bool may_send_from6(const struct xsknet_guard *own, const struct in6_addr *address)
{
	XSKNET_KEY struct xsknet_source6 key = { .port = own->port };

	__builtin_memcpy(key.address, address, sizeof(key.address));
	return note_source(XSKNET_NOTE_SOURCE6, bpf_map_lookup_elem(&sources6, &key), first_half(address),
			   second_half(address));
}

/* The bytes that do not count towards an MTU: the Ethernet header and one tag. */
static __always_inline __u32 link_header(const struct packet *packet)
{
	return ETH_HLEN + (packet->vlan == XSKNET_UNTAGGED ? 0 : sizeof(struct vlan_tag));
}

/*
 * The first tag is free, a second one counts into the MTU. This is what the kernel itself lets a device forward
 * (xdp_ok_fwd_dev(): MTU, Ethernet header, one tag), except that an untagged frame gets no 4 bytes more. The kernel
 * drops a longer frame silently after the redirect, so the programs count it before.
 */
static __always_inline bool is_too_long(const struct packet *packet, __u32 mtu)
{
	__u64 header = link_header(packet);
	bool too_long = packet->length > header + mtu;

	if (EXPLAINING) {
		note(XSKNET_NOTE_LENGTH, packet->length, header + mtu, 0, 0);
		if (too_long)
			note_rule(XSKNET_RULE_TOO_LONG);
	}
	return too_long;
}

/* The last argument of bpf_redirect_map() answers for an empty slot, so no lookup goes before it. */
static __always_inline int leave_to_queue_pair(struct xsknet_counters *counters, __u32 port, __u32 queue_pair)
{
	__u32 key = port | queue_pair << XSKNET_QUEUE_PAIR_SHIFT;

	if (bpf_redirect_map(&ports, key, XDP_DROP) != XDP_REDIRECT)
		return leave(counters, objects(XSKNET_DROP_NO_PORT, XSKNET_RULE_NO_PORT), XDP_DROP);
	return leave(counters, XSKNET_TO_PORT, XDP_REDIRECT);
}

static __always_inline int leave_to_ring(struct xsknet_counters *counters, const struct packet *packet, __u32 ring)
{
	enum xsknet_counter became = receive(packet->ctx, packet->length, ring);

	if (became >= XSKNET_COUNTERS)
		return XDP_DROP; /* cannot be: the verifier wants to see the bound */
	return leave(counters, became, XDP_DROP);
}

/* The compiler refuses a kind without a case (-Wswitch). A value that is none of them names no port. */
static __always_inline int leave_to_target(struct xsknet_counters *counters, const struct packet *packet,
					   const struct xsknet_claim *to, __u32 queue_pair)
{
	note_target(to, queue_pair);
	switch ((enum xsknet_target)to->target) {
	case XSKNET_TARGET_QUEUE_PAIRS:
		return leave_to_queue_pair(counters, to->port, queue_pair);
	case XSKNET_TARGET_RINGS:
		return leave_to_ring(counters, packet, to->rings + queue_pair);
	case XSKNET_TARGET_ADDRESS:
		break; /* cannot be: the programs ask the address first */
	}
	return leave(counters, objects(XSKNET_DROP_NO_PORT, XSKNET_RULE_NO_PORT), XDP_DROP);
}

static __always_inline int leave_to_uplink(struct xsknet_counters *counters)
{
	if (bpf_redirect_map(&uplinks, 0, XDP_DROP) != XDP_REDIRECT)
		return leave(counters, objects(XSKNET_DROP_NO_UPLINK, XSKNET_RULE_NO_UPLINK), XDP_DROP);
	return leave(counters, XSKNET_TO_UPLINK, XDP_REDIRECT);
}

#endif
