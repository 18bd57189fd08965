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

	if (!packet->ip6 || parse_extensions(packet, true) != CHAIN_READ)
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
 * What claims the packet, and which of its queue pairs gets it. The network layer is read only where one of the two
 * needs it.
 */
static __always_inline struct xsknet_claim *claim_of(struct packet *packet, __u32 *queue_pair)
{
	struct xsknet_claim *claim;

	*queue_pair = 0;
	if (parse_tags(packet) > TAGS_TWO)
		return NULL;

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
		claim = claim_of_neighbour(packet);
		if (claim && claim->queue_pairs > 1)
			*queue_pair = queue_pair_of(packet, claim->queue_pairs);
		return claim;
	default:
		return NULL;
	}
}

SEC("xdp.frags")
int uplink(struct xdp_md *ctx)
{
	struct xsknet_counters *counters;
	struct xsknet_claim *claim;
	__u32 slot = 0, queue_pair;
	struct packet packet;

	counters = bpf_map_lookup_elem(&uplink_counters, &slot);
	if (!counters)
		return XDP_PASS; /* cannot be: an array is full from the first; the verifier asks */
	counters->count[XSKNET_SEEN]++;

	if (!parse_ethernet(&packet, ctx))
		return leave(counters, XSKNET_PASSED, XDP_PASS);
	claim = claim_of(&packet, &queue_pair);
	if (!claim)
		return leave(counters, XSKNET_PASSED, XDP_PASS);
	packet.length = bpf_xdp_get_buff_len(ctx);
	if (is_too_long(&packet, claim->mtu))
		return leave(counters, XSKNET_DROP_TOO_LONG, XDP_DROP);
	learn(&packet);
	return leave_to_target(counters, &packet, claim, queue_pair);
}
