// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/* On the card: which port is a frame for? What nobody claims is the host's. */

/*
 * The port that neighbour discovery asks for, or speaks of: an advertisement to a group answers a probe for the port's address, or
 * claims it. One in fragments is one that RFC 6980 tells every node to ignore: nobody's.
 */
static __always_inline struct xsknet_claim *claim_of_neighbour(struct xdp_md *ctx, struct frame *frame)
{
	struct ipv6hdr *ip = take_ipv6(&frame->at);
	struct neighbour message;
	struct upper upper;

	if (!ip || take_extensions(ctx, frame, ip, true, &upper) != CHAIN_READ)
		return NULL;
	if (upper.protocol != IPPROTO_ICMPV6 || upper.fragment || !load_upper(ctx, &upper, &message, sizeof(message)))
		return NULL;
	if (message.type != XSKNET_ND_SOLICITATION &&
	    (message.type != XSKNET_ND_ADVERTISEMENT || !is_group(frame->eth->h_dest)))
		return NULL;
	return claim_of_ip6(&message.target, frame->vlan);
}

/*
 * The port that a request asks for, or whose address a reply to all claims. An announcement made as a request (RFC 5227) has its
 * sender as its target.
 */
static __always_inline struct xsknet_claim *claim_of_arp(struct frame *frame)
{
	struct arp *arp = take_arp(&frame->at);

	if (!arp || !is_ethernet_ipv4(arp))
		return NULL;
	if (arp->operation == bpf_htons(XSKNET_ARP_REQUEST))
		return claim_of_ip4(arp->target, frame->vlan);
	if (arp->operation == bpf_htons(XSKNET_ARP_REPLY) && is_group(frame->eth->h_dest))
		return claim_of_ip4(arp->sender, frame->vlan);
	return NULL;
}

static __always_inline struct xsknet_claim *claimant(struct xdp_md *ctx, struct frame *frame)
{
	struct xsknet_claim *claim;

	if (take_tags(frame) > TAGS_TWO)
		return NULL;

	/* Whatever follows: an ARP packet cut short is not the host's either once its destination is a port. */
	if (!is_group(frame->eth->h_dest)) {
		claim = claim_of_mac(frame->eth->h_dest, frame->vlan);
		if (claim)
			return claim;
	}
	switch (frame->ethertype) {
	case bpf_htons(ETH_P_ARP):
		return claim_of_arp(frame);
	case bpf_htons(ETH_P_IPV6):
		return claim_of_neighbour(ctx, frame);
	default:
		return NULL;
	}
}

SEC("xdp.frags")
int uplink(struct xdp_md *ctx)
{
	struct frame frame = { .at = cursor_at(ctx) };
	struct xsknet_counters *counters;
	struct xsknet_claim *claim;
	__u32 slot = 0;

	counters = bpf_map_lookup_elem(&uplink_counters, &slot);
	if (!counters)
		return XDP_PASS; /* cannot be: an array is full from the first; the verifier asks */
	counters->count[XSKNET_SEEN]++;

	frame.eth = take(&frame.at, sizeof(*frame.eth));
	if (!frame.eth)
		return leave(counters, XSKNET_PASSED, XDP_PASS);
	claim = claimant(ctx, &frame);
	if (!claim)
		return leave(counters, XSKNET_PASSED, XDP_PASS);
	if (is_too_long(ctx, frame.vlan, claim->mtu))
		return leave(counters, XSKNET_DROP_TOO_LONG, XDP_DROP);
	learn(&frame);
	return leave_to_port(counters, &frame, claim);
}
