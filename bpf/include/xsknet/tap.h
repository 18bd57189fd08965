/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * Taps: ports that get copies of what passes the uplink. docs/taps.md has the rules.
 *
 * The uplink program and the guards copy a frame once they know what becomes of it, and the frame goes on as without
 * a copy. What the host sends passes neither of them: tap.bpf.c copies that. All of them write into BPF rings, because
 * XDP can redirect a frame or pass it, and not copy it to another device as well.
 *
 * An uplink without taps costs one look at `tap_states`.
 */
#ifndef XSKNET_TAP_H
#define XSKNET_TAP_H

#include <xsknet/flow.h>
#include <xsknet/group.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xsknet_tap_state);
} tap_states SEC(".maps");

/* User space writes a tap before its bit in `tap_states`, and again only once no program can look at it any more. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XSKNET_MAX_TAPS);
	__type(key, __u32);
	__type(value, struct xsknet_tap);
} taps SEC(".maps");

/* A frame as taps see it. */
struct tap_view {
	union {
		struct xsknet_flow6 key;
		__u64 word[6]; /* as a value of struct xsknet_tap_rule */
	};
	__u32 has;   /* XSKNET_FLOW_PORTS, XSKNET_FLOW_ICMP_TYPE */
	__u32 layer; /* XSKNET_TAP_* */
	__u32 reads; /* XSKNET_TAP_READS_* */
	__u32 zero;
	__u64 flow;  /* flow_hash() */
	struct xsknet_tapped tapped;
};

static __always_inline struct xsknet_tap_state *tap_state(void)
{
	__u32 slot = 0;

	return bpf_map_lookup_elem(&tap_states, &slot);
}

/*
 * What rules look at. The network layer has been parsed; `is` is what is behind it, if `is_read`. What a rule asks for
 * and a packet does not have, it does not match.
 */
static __always_inline void view_packet(struct tap_view *view, const struct packet *packet, struct described is,
					bool is_read)
{
	view->word[4] = upper_and_vlan(is, packet->vlan);
	view->word[5] = mac_word(packet->eth->h_dest, 0);
	view->has = is.has;
	view->flow = flow_hash(packet);
	if (packet->ip4 || packet->ip6)
		view->reads = is_read ? XSKNET_TAP_READS_PROTOCOL : XSKNET_TAP_READS_ADDRESSES;
	switch (packet->ethertype) {
	case bpf_htons(ETH_P_IP):
		view->layer = XSKNET_TAP_IP4;
		if (packet->ip4) {
			view->word[0] = packet->ip4->saddr;
			view->word[2] = packet->ip4->daddr;
		}
		break;
	case bpf_htons(ETH_P_IPV6):
		view->layer = XSKNET_TAP_IP6;
		if (packet->ip6) {
			__builtin_memcpy(view->key.source, &packet->ip6->saddr, sizeof(view->key.source));
			__builtin_memcpy(view->key.destination, &packet->ip6->daddr, sizeof(view->key.destination));
		}
		break;
	default:
		view->layer = XSKNET_TAP_LINK;
		view->word[0] = packet->ethertype;
	}
}

/* What is behind an IPv4 header. */
static __always_inline struct described describe4(const struct packet *packet)
{
	struct cursor at = { .at = packet->behind_ip4, .end = packet->at.end };
	const struct iphdr *ip = packet->ip4;
	union upper_word word = {}, *read = NULL;

	if (!(ip->frag_off & bpf_htons(XSKNET_IP_OFFSET)) && bpf_ntohs(ip->tot_len) >= ip->ihl * 4 + sizeof(*read))
		read = take(&at, sizeof(*read));
	if (read)
		word = *read;
	return describe(ip->protocol, false, read, word);
}

static __always_inline bool follows(const struct tap_view *view, const struct xsknet_tap_rule *rule)
{
	const __u64 *value = (const void *)&rule->value, *mask = (const void *)&rule->mask;
	__u64 differs;

	if (rule->layer != view->layer || rule->reads > view->reads ||
	    !is_of_kind(&view->key.common, &rule->kind, view->has))
		return false;
	differs = (view->word[0] ^ value[0]) & mask[0];
	differs |= (view->word[1] ^ value[1]) & mask[1];
	differs |= (view->word[2] ^ value[2]) & mask[2];
	differs |= (view->word[3] ^ value[3]) & mask[3];
	differs |= (view->word[4] ^ value[4]) & mask[4];
	differs |= (view->word[5] ^ value[5]) & mask[5];
	return !differs;
}

/* Whether the tap takes frames like this one. Global, so that the verifier walks it once. */
__noinline int takes(struct tap_view *view, __u32 slot)
{
	struct xsknet_tap *tap = bpf_map_lookup_elem(&taps, &slot);
	int at;

	if (!tap || !view)
		return 0; /* cannot be: the callers' slots are below the array's end; the verifier asks */
	if (tap->all)
		return 1;
	for (at = 0; at < XSKNET_MAX_TAP_RULES; at++) {
		if (at >= tap->rules)
			break;
		if (follows(view, &tap->rule[at]))
			return 1;
	}
	return 0;
}

/* Copies a frame for one tap: from `skb`, where there is one, else from `ctx`. */
static __always_inline int copy_to_tap(struct xdp_md *ctx, struct __sk_buff *skb, struct tap_view *view, __u32 slot)
{
	struct xsknet_tap *tap = bpf_map_lookup_elem(&taps, &slot);
	struct xsknet_counters *counters;
	enum xsknet_counter became;
	__u32 port, ring;
	__u64 length;

	if (!tap || !view || !takes(view, slot))
		return 0;
	if (tap->sample > 1 && bpf_get_prandom_u32() % tap->sample)
		return 0;
	port = tap->claim.port;
	counters = bpf_map_lookup_elem(&copy_counters, &port);
	if (!counters || !may_copy(counters, port, false))
		return 0;
	length = view->tapped.length;
	if (length > tap->snap)
		length = tap->snap;
	if (length > XSKNET_RING_ROOM)
		length = XSKNET_RING_ROOM;
	ring = tap->claim.rings + pick(view->flow, tap->claim.queue_pairs);
	became = receive_from(ctx, skb, length, ring, &view->tapped);
	if (became < XSKNET_COUNTERS)
		counters->count[became]++;
	return 0;
}

/* Global, so that the verifier walks it once and not once for each tap. */
__noinline int copy_frame_to_tap(struct xdp_md *ctx, struct tap_view *view, __u32 slot)
{
	return copy_to_tap(ctx, NULL, view, slot);
}

/* Global, so that its stack is given back before the copies need theirs. */
__noinline int view_frame(struct xdp_md *ctx, struct tap_view *view)
{
	struct packet packet = {};
	struct described is = {};
	union upper_word word = {};
	bool there, is_read = true;

	if (!view || !parse_ethernet(&packet, ctx))
		return 0; /* cannot be: no frame of XDP is shorter */
	parse_tags(&packet);
	parse_network(&packet);
	if (packet.ip4) {
		is = describe4(&packet);
	} else if (packet.ip6) {
		is_read = parse_extensions(&packet, true) == CHAIN_READ;
		if (is_read) {
			there = !packet.upper.later_fragment && load_upper(ctx, &packet.upper, &word, sizeof(word));
			is = describe(packet.upper.protocol, true, there, word);
		}
	}
	view_packet(view, &packet, is, is_read);
	view->tapped.time = bpf_ktime_get_ns();
	view->tapped.length = bpf_xdp_get_buff_len(ctx);
	return 1;
}

/* Copies a frame for the taps in these slots. Global, so that the verifier walks it once. */
__noinline int copy_frame_to_taps(struct xdp_md *ctx, __u32 slots, int became, int way)
{
	struct tap_view view = {};
	__u32 slot;

	if (!view_frame(ctx, &view))
		return 0;
	view.tapped.became = became;
	view.tapped.way = way;
	for (slot = 0; slot < XSKNET_MAX_TAPS; slot++) {
		if (slots & 1U << slot)
			copy_frame_to_tap(ctx, &view, slot);
	}
	return 0;
}

/* Of a frame that leaves a program so. */
static __always_inline void copy_to_taps(struct xdp_md *ctx, int left, int way)
{
	const struct xsknet_tap_state *state;
	__u32 slots;

	if (EXPLAINING)
		return;
	state = tap_state();
	if (!state)
		return; /* cannot be: an array is full from the first; the verifier asks */
	slots = way == XSKNET_TAPPED_RECEIVED ? READ_ONCE(state->received) : READ_ONCE(state->sent);
	if (slots)
		copy_frame_to_taps(ctx, slots, LEFT_BY(left), way);
}

#endif
