// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * On the uplink's NIC: which target is a frame for? What is not claimed is the host's, and the members of groups get
 * copies of that.
 */

/*
 * What claims the address that neighbour discovery asks for, or speaks of: an advertisement to a multicast address
 * answers a probe for a port's address, or claims it. RFC 6980 tells every node to ignore one in fragments: it is not
 * claimed.
 */
static __always_inline struct xsknet_claim *claim_of_neighbour(struct packet *packet)
{
	struct neighbour message;

	if (packet->chain != CHAIN_READ)
		return NULL;
	if (packet->upper.protocol != IPPROTO_ICMPV6 || packet->upper.fragment ||
	    !load_upper(packet->ctx, &packet->upper, &message, sizeof(message)))
		return NULL;
	if (message.type != XSKNET_ND_SOLICITATION &&
	    (message.type != XSKNET_ND_ADVERTISEMENT || !is_group(packet->eth->h_dest)))
		return NULL;
	note_rule(XSKNET_RULE_ND_TARGET);
	return claim_of_ip6(&message.target, packet->vlan);
}

/*
 * What claims the address that a request asks for, or that the sender of a broadcast reply has. An announcement made as
 * a request (RFC 5227) has its sender as its target.
 */
static __always_inline struct xsknet_claim *claim_of_arp(const struct packet *packet)
{
	const struct arp *arp = packet->arp;

	if (!arp || !is_ethernet_ipv4(arp))
		return NULL;
	if (arp->operation == bpf_htons(XSKNET_ARP_REQUEST)) {
		note_rule(XSKNET_RULE_ARP_TARGET);
		return claim_of_ip4(arp->target, packet->vlan);
	}
	if (arp->operation == bpf_htons(XSKNET_ARP_REPLY) && is_group(packet->eth->h_dest)) {
		note_rule(XSKNET_RULE_ARP_SENDER);
		return claim_of_ip4(arp->sender, packet->vlan);
	}
	return NULL;
}

/*
 * What claims the packet by its MAC, or by the address that it is for or asks for, and which of its queue pairs gets
 * it. The network layer is read only where one of them needs it.
 */
static __always_inline struct xsknet_claim *claim_of(struct packet *packet, __u32 *queue_pair)
{
	struct cursor behind_tags = packet->at;
	struct xsknet_claim *claim;

	*queue_pair = 0;
	/* Whatever follows: an ARP packet cut short is not the host's either once its destination is a port. */
	if (!is_group(packet->eth->h_dest)) {
		note_rule(XSKNET_RULE_PORT_MAC);
		claim = claim_of_mac(packet->eth->h_dest, packet->vlan);
		if (claim && claim->target == XSKNET_TARGET_ADDRESS) {
			note_rule(XSKNET_RULE_PORT_ADDRESS);
			parse_network(packet);
			claim = claim_of_destination(packet);
			if (claim && claim->queue_pairs > 1)
				*queue_pair = queue_pair_of(packet, claim->queue_pairs);
			/* What follows reads it again. */
			packet->at = behind_tags;
		} else if (claim && claim->queue_pairs > 1) {
			parse_network(packet);
			*queue_pair = queue_pair_of(packet, claim->queue_pairs);
		}
		if (claim)
			return claim;
	}
	switch (packet->ethertype) {
	case bpf_htons(ETH_P_ARP):
		parse_network(packet);
		return claim_of_arp(packet);
	case bpf_htons(ETH_P_IPV6):
		parse_network(packet);
		packet->chain = packet->ip6 ? parse_extensions(packet, true) : CHAIN_BROKEN;
		claim = claim_of_neighbour(packet);
		if (claim && claim->queue_pairs > 1)
			*queue_pair = queue_pair_of(packet, claim->queue_pairs);
		return claim;
	default:
		return NULL;
	}
}

/* How a packet is steered by the flows. */
enum steering {
	NOT_STEERED,
	STEERED,
	LOST, /* a later fragment, and nothing is known of the first */
};

static __always_inline void name_fragmented4(struct xsknet_fragmented *key, const struct packet *packet)
{
	const struct iphdr *ip = packet->ip4;

	__builtin_memset(key, 0, sizeof(*key));
	__builtin_memcpy(key->source, &ip->saddr, sizeof(ip->saddr));
	__builtin_memcpy(key->destination, &ip->daddr, sizeof(ip->daddr));
	key->id = ip->id;
	key->vlan = packet->vlan;
	key->protocol = ip->protocol;
	key->version = 4;
}

static __always_inline void name_fragmented6(struct xsknet_fragmented *key, const struct packet *packet)
{
	__builtin_memcpy(key->source, &packet->ip6->saddr, sizeof(key->source));
	__builtin_memcpy(key->destination, &packet->ip6->daddr, sizeof(key->destination));
	key->id = packet->upper.id;
	key->vlan = packet->vlan;
	key->protocol = packet->upper.protocol;
	key->version = 6;
}

static __always_inline void pick_unless_quoted(const struct packet *packet, bool quoted, struct found *found)
{
	if (!quoted && found->claim.queue_pairs > 1)
		found->queue_pair = queue_pair_of(packet, found->claim.queue_pairs);
}

static __always_inline enum steering steer4(struct packet *packet, __u32 list, __u32 removals, struct found *found)
{
	struct cursor at = { .at = packet->behind_ip4, .end = packet->at.end };
	union upper_word word = {}, *read = NULL;
	const struct iphdr *ip = packet->ip4;
	struct xsknet_fragmented key;
	__u32 network, length;
	bool quoted = false;
	struct described is;
	struct flow4 flow;
	int flags = 0;

	if (!ip)
		return NOT_STEERED;
	if (ip->frag_off & bpf_htons(XSKNET_IP_OFFSET)) {
		name_fragmented4(&key, packet);
		note_rule(XSKNET_RULE_FRAGMENT);
		return recall_fragment(&key, removals, found) ? STEERED : LOST;
	}
	length = bpf_ntohs(ip->tot_len);
	if (length >= ip->ihl * 4 + sizeof(*read))
		read = take(&at, sizeof(*read));
	if (read)
		word = *read;
	is = describe(ip->protocol, false, read, word);
	flow.word[0] = two_words(ip->saddr, ip->daddr);
	flow.word[1] = upper_and_vlan(is, packet->vlan);
	flow.word[2] = mac_word(packet->eth->h_dest, XSKNET_ANY_KIND);
	flow.list = list;
	flow.has = is.has;
	if (is.has & XSKNET_FLOW_ICMP_TYPE && is_icmp_error(is.icmp_type, false)) {
		network = (void *)ip - (void *)packet->eth;
		flags = find_quoted4(packet->ctx, network + ip->ihl * 4 + XSKNET_ICMP_HEADER, network + length, &flow,
				     found);
		quoted = flags;
		note_rule(quoted ? XSKNET_RULE_QUOTED_FLOW : XSKNET_RULE_FLOW);
		flow.word[0] = two_words(ip->saddr, ip->daddr);
		flow.word[1] = upper_and_vlan(is, packet->vlan);
		flow.has = is.has;
	}
	if (!flags) {
		note_rule(XSKNET_RULE_FLOW);
		flags = find_flow4(&flow, found);
	}
	if (!flags)
		return NOT_STEERED;
	pick_unless_quoted(packet, quoted, found);
	if (!EXPLAINING && ip->frag_off & bpf_htons(XSKNET_IP_MORE)) {
		name_fragmented4(&key, packet);
		remember_fragment(&key, removals, found);
	}
	return STEERED;
}

static __always_inline enum steering steer6(struct packet *packet, __u32 list, __u32 removals, struct found *found)
{
	const struct upper *upper = &packet->upper;
	const struct ipv6hdr *ip = packet->ip6;
	struct xsknet_fragmented key;
	union upper_word word = {};
	bool there, quoted = false;
	struct described is;
	struct flow6 flow;
	int flags = 0;

	if (!ip || packet->chain != CHAIN_READ)
		return NOT_STEERED;
	if (upper->later_fragment) {
		name_fragmented6(&key, packet);
		note_rule(XSKNET_RULE_FRAGMENT);
		return recall_fragment(&key, removals, found) ? STEERED : LOST;
	}
	there = load_upper(packet->ctx, upper, &word, sizeof(word));
	is = describe(upper->protocol, true, there, word);
	/* The port has no address that could be resolved: it is the host's to answer for. */
	if (is.has & XSKNET_FLOW_ICMP_TYPE && is_neighbour_discovery(is.icmp_type))
		return NOT_STEERED;
	flow.word[4] = upper_and_vlan(is, packet->vlan);
	flow.word[5] = mac_word(packet->eth->h_dest, XSKNET_ANY_KIND);
	flow.list = list;
	if (is.has & XSKNET_FLOW_ICMP_TYPE && is_icmp_error(is.icmp_type, true)) {
		flags = find_quoted6(packet->ctx, upper->offset + XSKNET_ICMP_HEADER, upper->offset + upper->left,
				     &flow, found);
		quoted = flags;
		note_rule(quoted ? XSKNET_RULE_QUOTED_FLOW : XSKNET_RULE_FLOW);
		flow.word[4] = upper_and_vlan(is, packet->vlan);
	}
	if (!flags) {
		__builtin_memcpy(flow.key.source, &ip->saddr, sizeof(flow.key.source));
		__builtin_memcpy(flow.key.destination, &ip->daddr, sizeof(flow.key.destination));
		flow.has = is.has;
		note_rule(XSKNET_RULE_FLOW);
		flags = find_flow6(&flow, found);
	}
	if (!flags)
		return NOT_STEERED;
	pick_unless_quoted(packet, quoted, found);
	if (!EXPLAINING && upper->more_fragments) {
		name_fragmented6(&key, packet);
		remember_fragment(&key, removals, found);
	}
	return STEERED;
}

static __always_inline enum steering steer_link(struct packet *packet, __u32 list, struct found *found)
{
	struct flow_link frame = {};

	frame.word[0] = mac_word(packet->eth->h_dest, XSKNET_ANY_KIND);
	frame.key.vlan = packet->vlan;
	frame.key.ethertype = packet->ethertype;
	frame.list = list;
	note_rule(XSKNET_RULE_FLOW);
	return find_flow_link(&frame, found) ? STEERED : NOT_STEERED;
}

static __always_inline enum steering steer(struct packet *packet, struct found *found)
{
	const struct xsknet_flow_state *state = flow_state();
	__u32 list, removals;

	if (!state)
		return NOT_STEERED; /* cannot be: an array is full from the first; the verifier asks */
	list = READ_ONCE(state->list);
	if (!list)
		return NOT_STEERED;
	removals = READ_ONCE(state->removals);
	switch (packet->ethertype) {
	case bpf_htons(ETH_P_ARP):
		return NOT_STEERED; /* likewise the host's */
	case bpf_htons(ETH_P_IP):
		parse_network(packet);
		return steer4(packet, list - 1, removals, found);
	case bpf_htons(ETH_P_IPV6):
		return steer6(packet, list - 1, removals, found);
	default:
		return steer_link(packet, list - 1, found);
	}
}

/*
 * What becomes of a frame that comes in, as leave() says it. Global, so that its stack is given back before the copies
 * need theirs.
 */
__noinline int let_in(struct xdp_md *ctx)
{
	struct xsknet_counters *counters;
	__u32 slot = 0, queue_pair;
	struct xsknet_claim *claim;
	struct packet packet = {};
	struct found found = {};

	counters = bpf_map_lookup_elem(&uplink_counters, &slot);
	if (!counters)
		return XDP_PASS; /* cannot be: an array is full from the first; the verifier asks */
	arrive(counters);
	if (!parse_ethernet(&packet, ctx) || note_tags(&packet, parse_tags(&packet)) > TAGS_TWO)
		return leave(counters, objects(XSKNET_PASSED, XSKNET_RULE_TAGS_UNREADABLE), XDP_PASS);
	claim = claim_of(&packet, &queue_pair);
	if (!claim) {
		switch (steer(&packet, &found)) {
		case NOT_STEERED:
			copy_to_group(&packet);
			return leave(counters, objects(XSKNET_PASSED, XSKNET_RULE_UNCLAIMED), XDP_PASS);
		case LOST:
			copy_to_group(&packet);
			return leave(counters, objects(XSKNET_PASSED_FRAGMENT, XSKNET_RULE_FRAGMENT_UNKNOWN), XDP_PASS);
		case STEERED:
			claim = &found.claim;
			queue_pair = found.queue_pair;
		}
	}
	note_target(claim, queue_pair);
	packet.length = bpf_xdp_get_buff_len(ctx);
	if (is_too_long(&packet, claim->mtu))
		return leave(counters, XSKNET_DROP_TOO_LONG, XDP_DROP);
	learn(&packet);
	return leave_to_target(counters, &packet, claim, queue_pair);
}

SEC("xdp.frags")
int uplink(struct xdp_md *ctx)
{
	int left = let_in(ctx);

	copy_to_taps(ctx, left, XSKNET_TAPPED_RECEIVED);
	return VERDICT(left);
}
