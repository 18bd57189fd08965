// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/* On the uplink's NIC: which target is a frame for? What is not claimed is the host's. */

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
	if (arp->operation == bpf_htons(XSKNET_ARP_REQUEST))
		return claim_of_ip4(arp->target, packet->vlan);
	if (arp->operation == bpf_htons(XSKNET_ARP_REPLY) && is_group(packet->eth->h_dest))
		return claim_of_ip4(arp->sender, packet->vlan);
	return NULL;
}

/*
 * What claims the packet by its MAC, or by the address that it asks for, and which of its queue pairs gets it. The
 * network layer is read only where one of them needs it.
 */
static __always_inline struct xsknet_claim *claim_of(struct packet *packet, __u32 *queue_pair)
{
	struct xsknet_claim *claim;

	*queue_pair = 0;
	/* Whatever follows: an ARP packet cut short is not the host's either once its destination is a port. */
	if (!is_group(packet->eth->h_dest)) {
		claim = claim_of_mac(packet->eth->h_dest, packet->vlan);
		if (claim && claim->queue_pairs > 1) {
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

/* A packet that is read as far as flows are concerned: what is left to do where one was found. */
static __always_inline enum steering steered(struct packet *packet, struct xsknet_fragmented *key, bool first,
					     __u32 removals, bool quoted, struct found *found)
{
	if (!quoted && found->claim.queue_pairs > 1)
		found->queue_pair = queue_pair_of(packet, found->claim.queue_pairs);
	if (first)
		remember_fragment(key, removals, found);
	return STEERED;
}

static __always_inline enum steering steer4(struct packet *packet, __u32 list, __u32 removals, struct found *found)
{
	struct cursor at = { .at = packet->behind_ip4, .end = packet->at.end };
	struct xsknet_fragmented key = {};
	const struct iphdr *ip = packet->ip4;
	union upper_word word = {}, *read = NULL;
	struct flow4 flow = {};
	__u32 network, length;
	bool quoted = false;
	int flags = 0;

	if (!ip)
		return NOT_STEERED;
	if (ip->frag_off & bpf_htons(XSKNET_IP_MORE | XSKNET_IP_OFFSET)) {
		__builtin_memcpy(key.source, &ip->saddr, sizeof(ip->saddr));
		__builtin_memcpy(key.destination, &ip->daddr, sizeof(ip->daddr));
		key.id = ip->id;
		key.vlan = packet->vlan;
		key.protocol = ip->protocol;
		key.version = 4;
		if (ip->frag_off & bpf_htons(XSKNET_IP_OFFSET))
			return recall_fragment(&key, removals, found) ? STEERED : LOST;
	}
	length = bpf_ntohs(ip->tot_len);
	if (length >= ip->ihl * 4 + sizeof(*read))
		read = take(&at, sizeof(*read));
	if (read)
		word = *read;
	flow.list = list;
	describe_link(&flow.key.common, packet->eth->h_dest, packet->vlan);
	if (read && ip->protocol == IPPROTO_ICMP && is_icmp_error(word.icmp.type, false)) {
		network = (void *)ip - (void *)packet->eth;
		flags = find_quoted4(packet->ctx, network + ip->ihl * 4 + XSKNET_ICMP_HEADER, network + length, &flow,
				     found);
		quoted = flags;
	}
	if (!flags) {
		__builtin_memcpy(flow.key.source, &ip->saddr, sizeof(flow.key.source));
		__builtin_memcpy(flow.key.destination, &ip->daddr, sizeof(flow.key.destination));
		flow.has = describe_upper(&flow.key.common, ip->protocol, false, read, word);
		flags = find_flow4(&flow, found);
	}
	return flags ? steered(packet, &key, ip->frag_off & bpf_htons(XSKNET_IP_MORE), removals, quoted, found) :
		       NOT_STEERED;
}

static __always_inline enum steering steer6(struct packet *packet, __u32 list, __u32 removals, struct found *found)
{
	const struct upper *upper = &packet->upper;
	const struct ipv6hdr *ip = packet->ip6;
	union upper_word word = {};
	struct xsknet_fragmented key = {};
	struct flow6 flow = {};
	bool there, quoted = false;
	int flags = 0;

	if (!ip || packet->chain != CHAIN_READ)
		return NOT_STEERED;
	if (upper->fragment) {
		__builtin_memcpy(key.source, &ip->saddr, sizeof(ip->saddr));
		__builtin_memcpy(key.destination, &ip->daddr, sizeof(ip->daddr));
		key.id = upper->id;
		key.vlan = packet->vlan;
		key.protocol = upper->protocol;
		key.version = 6;
		if (upper->later_fragment)
			return recall_fragment(&key, removals, found) ? STEERED : LOST;
	}
	there = load_upper(packet->ctx, upper, &word, sizeof(word));
	flow.list = list;
	describe_link(&flow.key.common, packet->eth->h_dest, packet->vlan);
	if (there && upper->protocol == IPPROTO_ICMPV6) {
		/* The port has no address that could be resolved: it is the host's to answer for. */
		if (is_neighbour_discovery(word.icmp.type))
			return NOT_STEERED;
		if (is_icmp_error(word.icmp.type, true)) {
			flags = find_quoted6(packet->ctx, upper->offset + XSKNET_ICMP_HEADER,
					     upper->offset + upper->left, &flow, found);
			quoted = flags;
		}
	}
	if (!flags) {
		__builtin_memcpy(flow.key.source, &ip->saddr, sizeof(flow.key.source));
		__builtin_memcpy(flow.key.destination, &ip->daddr, sizeof(flow.key.destination));
		flow.has = describe_upper(&flow.key.common, upper->protocol, true, there, word);
		flags = find_flow6(&flow, found);
	}
	return flags ? steered(packet, &key, upper->more_fragments, removals, quoted, found) : NOT_STEERED;
}

static __always_inline enum steering steer_link(struct packet *packet, __u32 list, struct found *found)
{
	struct flow_link frame = {};

	__builtin_memcpy(frame.key.mac, packet->eth->h_dest, sizeof(frame.key.mac));
	frame.key.kind = XSKNET_ANY_KIND;
	frame.key.vlan = packet->vlan;
	frame.key.ethertype = packet->ethertype;
	frame.list = list;
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

SEC("xdp.frags")
int uplink(struct xdp_md *ctx)
{
	struct xsknet_counters *counters;
	struct xsknet_claim *claim;
	__u32 slot = 0, queue_pair;
	struct packet packet = {};
	struct found found = {};

	counters = bpf_map_lookup_elem(&uplink_counters, &slot);
	if (!counters)
		return XDP_PASS; /* cannot be: an array is full from the first; the verifier asks */
	counters->count[XSKNET_SEEN]++;

	if (!parse_ethernet(&packet, ctx) || parse_tags(&packet) > TAGS_TWO)
		return leave(counters, XSKNET_PASSED, XDP_PASS);
	claim = claim_of(&packet, &queue_pair);
	if (!claim) {
		switch (steer(&packet, &found)) {
		case NOT_STEERED:
			return leave(counters, XSKNET_PASSED, XDP_PASS);
		case LOST:
			return leave(counters, XSKNET_PASSED_FRAGMENT, XDP_PASS);
		case STEERED:
			claim = &found.claim;
			queue_pair = found.queue_pair;
		}
	}
	if (is_too_long(&packet, claim->mtu))
		return leave(counters, XSKNET_DROP_TOO_LONG, XDP_DROP);
	learn(&packet);
	return leave_to_target(counters, &packet, claim, queue_pair);
}
