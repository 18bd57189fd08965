/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * Flows: which port claims a packet by what is in its headers. docs/verdicts.md has the rules.
 *
 * This is tuple space search (Srinivasan et al. 1999). Flows that look at the same bits are of one kind. A packet is
 * masked with each kind in turn, in the order of precedence, and looked up; the first hit wins. So the cost follows
 * from the number of kinds and not from the number of flows. A range of ports that is a block of a power of two is a
 * mask, and any other one belongs to its kind.
 *
 * User space writes a new list of kinds, and new tables where many flows change, beside those in use, and then stores
 * the number of the list. A packet reads that number once.
 *
 * The functions that search are global, so that the verifier walks each of them once. Their arguments that point
 * somewhere are never NULL; the verifier asks.
 */
#ifndef XSKNET_FLOW_H
#define XSKNET_FLOW_H

#include <xsknet/maps.h>

#define XSKNET_ICMP_UNREACHABLE 3
#define XSKNET_ICMP_QUENCH 4
#define XSKNET_ICMP_TIME_EXCEEDED 11
#define XSKNET_ICMP_PARAMETER 12
#define XSKNET_ICMP6_UNREACHABLE 1
#define XSKNET_ICMP6_PARAMETER 4
#define XSKNET_ICMP_HEADER 8 /* of an error, before what it quotes */

#define XSKNET_ANY_KIND 0xffff /* of a packet: the mask of a kind makes it that kind's number */

/* Set when the object is loaded. How long a first fragment steers the others, in jiffies. */
const volatile __u32 fragment_age = 2 * 250;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xsknet_flow_state);
} flow_states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XSKNET_FLOW_LISTS);
	__type(key, __u32);
	__type(value, struct xsknet_flow_list);
} flow_lists SEC(".maps");

/* The templates of the inner maps; user space makes them as large as they have to be. */
struct flow_table4 {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(struct xsknet_flow4));
	__uint(value_size, sizeof(struct xsknet_claim));
};

struct flow_table6 {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(struct xsknet_flow6));
	__uint(value_size, sizeof(struct xsknet_claim));
};

struct flow_table_link {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(struct xsknet_flow_link));
	__uint(value_size, sizeof(struct xsknet_claim));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, XSKNET_FLOW_TABLES);
	__type(key, __u32);
	__array(values, struct flow_table4);
} flows4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, XSKNET_FLOW_TABLES);
	__type(key, __u32);
	__array(values, struct flow_table6);
} flows6 SEC(".maps");

/* No list uses the last place: user space changes it to wait for all programs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, XSKNET_FLOW_TABLES + 1);
	__type(key, __u32);
	__array(values, struct flow_table_link);
} flows_link SEC(".maps");

/* Packets whose first fragment went to a port by a flow. The oldest make room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, XSKNET_MAX_FRAGMENTED);
	__type(key, struct xsknet_fragmented);
	__type(value, struct xsknet_steered);
} fragmented SEC(".maps");

/* Packets as flows see them, and where to look for these. They are written and masked in words: see XSKNET_KEY. */
struct flow4 {
	union {
		struct xsknet_flow4 key;
		__u64 word[3]; /* addresses, the two of struct xsknet_flow_common */
	};
	__u32 list; /* key in `flow_lists` */
	__u32 has;  /* XSKNET_FLOW_PORTS, XSKNET_FLOW_ICMP_TYPE */
};

struct flow6 {
	union {
		struct xsknet_flow6 key;
		__u64 word[6];
	};
	__u32 list;
	__u32 has;
};

struct flow_link {
	union {
		struct xsknet_flow_link key;
		__u64 word[2];
	};
	__u32 list;
	__u32 zero;
};

/* What is behind the IP headers. */
struct described {
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 icmp_type;
	__u32 has;
};

/* What a search finds: a copy, as a global function returns no pointer. */
struct found {
	struct xsknet_claim claim;
	__u32 queue_pair;
};

/* What stands first behind the IP headers, in all protocols that flows look into. */
union upper_word {
	struct upper_ports ports;
	struct icmp icmp;
};

static __always_inline struct xsknet_flow_state *flow_state(void)
{
	__u32 slot = 0;

	return bpf_map_lookup_elem(&flow_states, &slot);
}

static __always_inline bool is_neighbour_discovery(__u8 type)
{
	return type >= XSKNET_ND_ROUTER_SOLICITATION && type <= XSKNET_ND_REDIRECT;
}

static __always_inline bool is_icmp_error(__u8 type, bool six)
{
	if (six)
		return type >= XSKNET_ICMP6_UNREACHABLE && type <= XSKNET_ICMP6_PARAMETER;
	return type == XSKNET_ICMP_UNREACHABLE || type == XSKNET_ICMP_QUENCH || type == XSKNET_ICMP_TIME_EXCEEDED ||
	       type == XSKNET_ICMP_PARAMETER;
}

/* The type of a message that asks for one of this type, or answers it; -1 where there is no such pair. */
static __always_inline int reversed_icmp_type(__u8 type, bool six)
{
	if (six) {
		switch (type) {
		case 128: /* echo */
		case 139: /* node information */
			return type + 1;
		case 129:
		case 140:
			return type - 1;
		}
		return -1;
	}
	switch (type) {
	case 0: /* echo */
		return 8;
	case 8:
		return 0;
	case 13: /* timestamp */
	case 15: /* information */
	case 17: /* address mask */
		return type + 1;
	case 14:
	case 16:
	case 18:
		return type - 1;
	}
	return -1;
}

/* What the first word behind the IP headers says, if it is there. */
static __always_inline struct described describe(__u8 protocol, bool six, bool there, union upper_word word)
{
	struct described is = { .protocol = protocol };

	if (!there)
		return is;
	if (protocol == (six ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) {
		is.icmp_type = word.icmp.type;
		is.has = XSKNET_FLOW_ICMP_TYPE;
	} else if (has_ports(protocol)) {
		is.source_port = bpf_ntohs(word.ports.source);
		is.destination_port = bpf_ntohs(word.ports.destination);
		is.has = XSKNET_FLOW_PORTS;
	}
	return is;
}

/* Of a packet that goes the other way. */
static __always_inline struct described reversed(struct described is, bool six)
{
	__u16 port = is.source_port;
	int type;

	is.source_port = is.destination_port;
	is.destination_port = port;
	if (is.has & XSKNET_FLOW_ICMP_TYPE) {
		type = reversed_icmp_type(is.icmp_type, six);
		is.icmp_type = type < 0 ? 0 : type;
		if (type < 0)
			is.has = 0;
	}
	return is;
}

/* The first word of a struct xsknet_flow_common. */
static __always_inline __u64 upper_and_vlan(struct described is, __u16 vlan)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return is.source_port | (__u64)is.destination_port << 16 | (__u64)is.protocol << 32 |
	       (__u64)is.icmp_type << 40 | (__u64)vlan << 48;
#else
	return (__u64)is.source_port << 48 | (__u64)is.destination_port << 32 | (__u64)is.protocol << 24 |
	       (__u64)is.icmp_type << 16 | vlan;
#endif
}

static __always_inline bool is_of_kind(const struct xsknet_flow_common *common, const struct xsknet_kind *kind,
				       __u32 has)
{
	__u32 needs = kind->flags & (XSKNET_FLOW_PORTS | XSKNET_FLOW_ICMP_TYPE);

	return !(needs & ~has) && !((common->protocol ^ kind->protocol) & kind->protocol_mask) &&
	       (__u16)(common->source_port - kind->first_source_port) <= kind->more_source_ports &&
	       (__u16)(common->destination_port - kind->first_destination_port) <= kind->more_destination_ports;
}

static __always_inline int answer(const struct xsknet_claim *claim, __u32 flags, __u16 vlan_mask, struct found *found)
{
	found->claim = *claim;
	found->queue_pair = 0;
	return XSKNET_FLOW_FOUND | (flags & XSKNET_FLOW_SOURCE) | (vlan_mask ? XSKNET_FLOW_VLAN : 0);
}

/* 0, or XSKNET_FLOW_FOUND with what else is known of the flow. */
__noinline int find_flow4(struct flow4 *packet, struct found *found)
{
	struct xsknet_flow_list *list;
	struct xsknet_claim *claim;
	const __u64 *mask;
	__u32 number;
	__u64 key[3];
	void *table;
	int i;

	if (!packet || !found)
		return 0;
	number = packet->list;
	list = bpf_map_lookup_elem(&flow_lists, &number);
	if (!list)
		return 0;
	table = bpf_map_lookup_elem(&flows4, &list->tables);
	if (!table)
		return 0;
	for (i = 0; i < XSKNET_MAX_FLOW_KINDS; i++) {
		struct xsknet_kind4 *four = &list->four[i];

		if (i >= list->kinds4)
			break;
		if (!is_of_kind(&packet->key.common, &four->kind, packet->has))
			continue;
		mask = (const void *)&four->mask;
		key[0] = packet->word[0] & mask[0];
		key[1] = packet->word[1] & mask[1];
		key[2] = packet->word[2] & mask[2];
		claim = bpf_map_lookup_elem(table, key);
		if (claim) {
			if (EXPLAINING)
				note(XSKNET_NOTE_FLOW4, claim->port, key[0], key[1], key[2]);
			return answer(claim, four->kind.flags, four->mask.common.vlan, found);
		}
	}
	return note(XSKNET_NOTE_FLOW4, XSKNET_NO_PORT_ID, 0, 0, 0);
}

/* Likewise. */
__noinline int find_flow6(struct flow6 *packet, struct found *found)
{
	struct xsknet_flow_list *list;
	struct xsknet_claim *claim;
	const __u64 *mask;
	__u32 number;
	__u64 key[6];
	void *table;
	int i;

	if (!packet || !found)
		return 0;
	number = packet->list;
	list = bpf_map_lookup_elem(&flow_lists, &number);
	if (!list)
		return 0;
	table = bpf_map_lookup_elem(&flows6, &list->tables);
	if (!table)
		return 0;
	for (i = 0; i < XSKNET_MAX_FLOW_KINDS; i++) {
		struct xsknet_kind6 *six = &list->six[i];

		if (i >= list->kinds6)
			break;
		if (!is_of_kind(&packet->key.common, &six->kind, packet->has))
			continue;
		mask = (const void *)&six->mask;
		key[0] = packet->word[0] & mask[0];
		key[1] = packet->word[1] & mask[1];
		key[2] = packet->word[2] & mask[2];
		key[3] = packet->word[3] & mask[3];
		key[4] = packet->word[4] & mask[4];
		key[5] = packet->word[5] & mask[5];
		claim = bpf_map_lookup_elem(table, key);
		if (claim) {
			if (EXPLAINING) {
				note(XSKNET_NOTE_FLOW6, claim->port, key[0], key[1], key[2]);
				note(XSKNET_NOTE_FLOW6_REST, 0, key[3], key[4], key[5]);
			}
			return answer(claim, six->kind.flags, six->mask.common.vlan, found);
		}
	}
	return note(XSKNET_NOTE_FLOW6, XSKNET_NO_PORT_ID, 0, 0, 0);
}

/* Likewise, of what is not IP. */
__noinline int find_flow_link(struct flow_link *frame, struct found *found)
{
	struct xsknet_flow_list *list;
	struct xsknet_claim *claim;
	const __u64 *mask;
	__u32 number;
	__u64 key[2];
	void *table;
	int i;

	if (!frame || !found)
		return 0;
	number = frame->list;
	list = bpf_map_lookup_elem(&flow_lists, &number);
	if (!list)
		return 0;
	table = bpf_map_lookup_elem(&flows_link, &list->tables);
	if (!table)
		return 0;
	for (i = 0; i < XSKNET_MAX_LINK_KINDS; i++) {
		if (i >= list->links)
			break;
		mask = (const void *)&list->link[i];
		key[0] = frame->word[0] & mask[0];
		key[1] = frame->word[1] & mask[1];
		claim = bpf_map_lookup_elem(table, key);
		if (claim) {
			if (EXPLAINING)
				note(XSKNET_NOTE_FLOW_LINK, claim->port, key[0], key[1], 0);
			return answer(claim, 0, list->link[i].vlan, found);
		}
	}
	return note(XSKNET_NOTE_FLOW_LINK, XSKNET_NO_PORT_ID, 0, 0, 0);
}

/* What the quoted packet would have been put in, had it come: both directions have one queue pair. */
static __always_inline void pick_quoted(struct found *found, __u64 source, __u64 destination, __u8 protocol,
					bool there, union upper_word word)
{
	struct upper_ports ports = {};

	if (found->claim.queue_pairs <= 1)
		return;
	if (there && has_ports(protocol))
		ports = word.ports;
	found->queue_pair = pick_queue_pair(source, destination, ports, protocol, found->claim.queue_pairs);
}

/*
 * What claims the answers to a packet that an ICMP error quotes, from `at` in the frame to `end`. `reply` has the list,
 * and the link of the frame; the rest of it is overwritten.
 */
__noinline int find_quoted4(struct xdp_md *ctx, __u32 at, __u32 end, struct flow4 *reply, struct found *found)
{
	union upper_word word = {};
	bool there, fragment;
	struct described is;
	struct iphdr ip;
	__u32 header;
	int flags;

	if (!reply || !found)
		return 0;
	if (end > bpf_xdp_get_buff_len(ctx))
		end = bpf_xdp_get_buff_len(ctx);
	if (at + sizeof(ip) > end || bpf_xdp_load_bytes(ctx, at, &ip, sizeof(ip)))
		return 0;
	header = ip.ihl * 4;
	if (ip.version != 4 || header < sizeof(ip) || bpf_ntohs(ip.tot_len) < header || at + header > end)
		return 0;
	fragment = ip.frag_off & bpf_htons(XSKNET_IP_OFFSET);
	there = !fragment && bpf_ntohs(ip.tot_len) >= header + sizeof(word) && at + header + sizeof(word) <= end &&
		!bpf_xdp_load_bytes(ctx, at + header, &word, sizeof(word));
	is = reversed(describe(ip.protocol, false, there, word), false);
	reply->word[0] = two_words(ip.daddr, ip.saddr);
	reply->word[1] = upper_and_vlan(is, reply->key.common.vlan);
	reply->has = is.has;
	note(XSKNET_NOTE_QUOTED, 0, 0, 0, 0);
	flags = find_flow4(reply, found);
	if (flags) {
		fragment = ip.frag_off & bpf_htons(XSKNET_IP_OFFSET | XSKNET_IP_MORE);
		pick_quoted(found, ip.saddr, ip.daddr, ip.protocol, there && !fragment, word);
	}
	return flags;
}

/* Likewise. */
__noinline int find_quoted6(struct xdp_md *ctx, __u32 at, __u32 end, struct flow6 *reply, struct found *found)
{
	union upper_word word = {};
	struct upper upper = {};
	__u64 source, destination;
	struct described is;
	struct ipv6hdr ip;
	bool there;
	int flags;

	if (!reply || !found)
		return 0;
	if (end > bpf_xdp_get_buff_len(ctx))
		end = bpf_xdp_get_buff_len(ctx);
	if (at + sizeof(ip) > end || bpf_xdp_load_bytes(ctx, at, &ip, sizeof(ip)) || ip.version != 6)
		return 0;
	upper.protocol = ip.nexthdr;
	upper.offset = at + sizeof(ip);
	upper.left = bpf_ntohs(ip.payload_len);
	if (upper.left > end - upper.offset)
		upper.left = end - upper.offset;
	if (walk_extensions(ctx, &upper, true) != CHAIN_READ)
		return 0;
	there = !upper.later_fragment && load_upper(ctx, &upper, &word, sizeof(word));
	is = reversed(describe(upper.protocol, true, there, word), true);
	__builtin_memcpy(reply->key.source, &ip.daddr, sizeof(reply->key.source));
	__builtin_memcpy(reply->key.destination, &ip.saddr, sizeof(reply->key.destination));
	reply->word[4] = upper_and_vlan(is, reply->key.common.vlan);
	reply->has = is.has;
	source = fold6(&ip.saddr);
	destination = fold6(&ip.daddr);
	note(XSKNET_NOTE_QUOTED, 0, 0, 0, 0);
	flags = find_flow6(reply, found);
	/* An extension header has a say in place of what is behind it, as in queue_pair_of(). */
	if (flags)
		pick_quoted(found, source, destination, ip.nexthdr, there, word);
	return flags;
}

static __always_inline bool is_fresh(const struct xsknet_steered *steered, __u32 removals)
{
	return steered->removals == removals &&
	       (__s64)(bpf_jiffies64() - steered->at) < (__s64)(__u64)fragment_age;
}

/* 0, or XSKNET_FLOW_FOUND: where the first fragment went. */
__noinline int recall_fragment(struct xsknet_fragmented *key, __u32 removals, struct found *found)
{
	struct xsknet_steered *steered;
	struct xsknet_fragmented copy;

	if (!key || !found)
		return 0;
	copy = *key; /* before Linux 6.2 a key has to be on the function's own stack */
	steered = bpf_map_lookup_elem(&fragmented, &copy);
	if (!steered || !is_fresh(steered, removals))
		return note(XSKNET_NOTE_FRAGMENT, XSKNET_NO_PORT_ID, 0, 0, 0);
	if (EXPLAINING)
		note(XSKNET_NOTE_FRAGMENT, steered->claim.port, 0, 0, 0);
	found->claim = steered->claim;
	found->queue_pair = steered->queue_pair;
	return XSKNET_FLOW_FOUND;
}

/* A table that takes no more loses later fragments, no more. */
__noinline int remember_fragment(struct xsknet_fragmented *key, __u32 removals, struct found *found)
{
	struct xsknet_steered steered = { .removals = removals, .at = bpf_jiffies64() };
	struct xsknet_fragmented copy;

	if (!key || !found)
		return 0;
	copy = *key;
	steered.claim = found->claim;
	steered.queue_pair = found->queue_pair;
	return bpf_map_update_elem(&fragmented, &copy, &steered, BPF_ANY);
}

#endif
