// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * On the outer end of every port: may this port send this? The first rule that objects drops the frame and counts it under
 * its reason. What is allowed goes to another port of the uplink, or out. Nothing is passed to the host.
 *
 * The rules in their order, which is also the order of the functions' calls:
 *   no_guard   the outer end has an entry in `guards`
 *   source_mac the Ethernet source is the port's
 *   malformed  the tags are whole; likewise each header below, once its turn comes
 *   vlan       at most two tags, the outer one the port's VLAN
 *   arp        requests and replies for IPv4 over Ethernet that name the port as their sender
 *   source_ip  the source address is the port's
 *   nd         neighbour discovery that speaks of the port's own addresses and MAC, and is not in fragments
 *   rogue      no router advertisement, no redirect, no DHCP server
 *   ethertype  nothing but ARP, IPv4 and IPv6
 *   too_long   not longer than what it is sent to can take
 */

/* Options of one neighbour discovery message. The longest that is common, a router's, has about 6; ports send 1. */
#define MAX_ND_OPTIONS 8

/* What a rule answers: XSKNET_SEEN where it has no objection, else the counter of the drop. */
#define ALLOWED XSKNET_SEEN

const volatile __u32 uplink_mtu = 1500;

struct nd_option {
	__u8 type;
	__u8 length; /* in 8 bytes */
	__u8 mac[6];
};

static __always_inline bool is_own(const struct xsknet_claim *claim, const struct xsknet_guard *own)
{
	return claim && claim->port == own->port;
}

static __always_inline enum xsknet_counter check_arp(struct frame *frame, const struct xsknet_guard *own,
						     struct xsknet_claim **to)
{
	struct arp *arp = take_arp(&frame->at);
	struct xsknet_claim *target;

	if (!arp)
		return XSKNET_DROP_MALFORMED;
	if (!is_ethernet_ipv4(arp) || !same_mac(arp->sender_mac, own->mac))
		return XSKNET_DROP_ARP;
	if (arp->operation == bpf_htons(XSKNET_ARP_REPLY))
		return is_own(claim_of_ip4(arp->sender, own->vlan), own) ? ALLOWED : XSKNET_DROP_ARP;
	if (arp->operation != bpf_htons(XSKNET_ARP_REQUEST))
		return XSKNET_DROP_ARP;

	target = claim_of_ip4(arp->target, own->vlan);
	if (is_unspecified4(arp->sender))
		return is_own(target, own) ? ALLOWED : XSKNET_DROP_ARP; /* RFC 5227: a probe for an address of its own */
	if (!is_own(claim_of_ip4(arp->sender, own->vlan), own))
		return XSKNET_DROP_ARP;
	*to = target;
	return ALLOWED;
}

static __always_inline enum xsknet_counter check_ipv4(struct frame *frame, const struct xsknet_guard *own)
{
	struct iphdr *ip = take_ipv4(&frame->at);
	bool unspecified;
	struct udphdr *udp;

	if (!ip)
		return XSKNET_DROP_MALFORMED;
	unspecified = !ip->saddr;
	if (!unspecified && !is_own(claim_of_ip4(&ip->saddr, own->vlan), own))
		return XSKNET_DROP_SOURCE_IP;
	/* A later fragment has no ports to look at, so nothing excuses it from having a source. */
	if (ip->protocol != IPPROTO_UDP || ip->frag_off & bpf_htons(XSKNET_IP_OFFSET))
		return unspecified ? XSKNET_DROP_SOURCE_IP : ALLOWED;

	udp = take(&frame->at, sizeof(*udp));
	if (!udp || bpf_ntohs(ip->tot_len) < ip->ihl * 4 + sizeof(*udp))
		return XSKNET_DROP_MALFORMED;
	if (unspecified && (udp->source != bpf_htons(68) || udp->dest != bpf_htons(67)))
		return XSKNET_DROP_SOURCE_IP;
	if (udp->source == bpf_htons(67) && udp->dest == bpf_htons(68))
		return XSKNET_DROP_ROGUE;
	return ALLOWED;
}

/* A link-layer address in any option, of whatever message, must be the port's: it is what caches are filled from. */
static __always_inline enum xsknet_counter check_nd_options(struct xdp_md *ctx, const struct xsknet_guard *own,
							    struct upper at)
{
	int passed;

	for (passed = 0; passed < MAX_ND_OPTIONS; passed++) {
		struct nd_option option;
		__u32 length;

		if (!at.left)
			return ALLOWED;
		if (!load_upper(ctx, &at, &option, sizeof(option)))
			return XSKNET_DROP_MALFORMED;
		length = option.length * 8;
		if (!length || length > at.left || at.offset + length > bpf_xdp_get_buff_len(ctx))
			return XSKNET_DROP_MALFORMED;
		if ((option.type == XSKNET_ND_SOURCE_LINK || option.type == XSKNET_ND_TARGET_LINK) &&
		    (option.length != 1 || !same_mac(option.mac, own->mac)))
			return XSKNET_DROP_ND;
		at.offset += length;
		at.left -= length;
	}
	return at.left ? XSKNET_DROP_ND : ALLOWED;
}

static __always_inline enum xsknet_counter check_nd(struct xdp_md *ctx, const struct xsknet_guard *own, struct upper at,
						    bool unspecified, struct xsknet_claim **to)
{
	struct xsknet_claim *target;
	struct neighbour message;
	__u32 length;

	/* A router solicitation is 8 bytes and names no target. */
	if (!load_upper(ctx, &at, &message, 8))
		return XSKNET_DROP_MALFORMED;
	length = 8;
	if (message.type != XSKNET_ND_ROUTER_SOLICITATION) {
		length = sizeof(message);
		if (!load_upper(ctx, &at, &message, sizeof(message)))
			return XSKNET_DROP_MALFORMED;
		target = claim_of_ip6(message.target, own->vlan);
		/* From ::, a solicitation is duplicate address detection (RFC 4862). */
		if ((unspecified || message.type == XSKNET_ND_ADVERTISEMENT) && !is_own(target, own))
			return XSKNET_DROP_ND;
		if (message.type == XSKNET_ND_SOLICITATION)
			*to = target;
	}
	at.offset += length;
	at.left -= length;
	return check_nd_options(ctx, own, at);
}

/* `::` speaks for nobody yet, so it is left two things to say: is this address free (RFC 4862), and which groups (MLD). */
static __always_inline bool speaks_without_address(__u8 type)
{
	return type == XSKNET_ND_SOLICITATION || type == XSKNET_MLD_REPORT || type == XSKNET_MLD_DONE ||
	       type == XSKNET_MLD2_REPORT;
}

static __always_inline enum xsknet_counter check_icmpv6(struct xdp_md *ctx, const struct xsknet_guard *own,
							const struct upper *upper, bool unspecified,
							struct xsknet_claim **to)
{
	struct icmpv6 icmp;

	if (!load_upper(ctx, upper, &icmp, sizeof(icmp)))
		return XSKNET_DROP_MALFORMED;
	if (unspecified && !speaks_without_address(icmp.type))
		return XSKNET_DROP_SOURCE_IP;
	switch (icmp.type) {
	case XSKNET_ND_SOLICITATION:
	case XSKNET_ND_ADVERTISEMENT:
	case XSKNET_ND_ROUTER_SOLICITATION:
		/*
		 * RFC 6980: neighbour discovery is never fragmented, and who receives it so shall ignore it. Not all do,
		 * and the options would lie in a fragment that nothing here can tell from others.
		 */
		return upper->fragment ? XSKNET_DROP_ND : check_nd(ctx, own, *upper, unspecified, to);
	case XSKNET_ND_ROUTER_ADVERTISEMENT:
	case XSKNET_ND_REDIRECT:
		return XSKNET_DROP_ROGUE;
	default:
		return ALLOWED;
	}
}

static __always_inline enum xsknet_counter check_ipv6(struct xdp_md *ctx, struct frame *frame,
						      const struct xsknet_guard *own, struct xsknet_claim **to)
{
	struct ipv6hdr *ip = take_ipv6(&frame->at);
	struct upper upper;
	struct udphdr udp;
	bool unspecified;
	__u8 one;

	if (!ip)
		return XSKNET_DROP_MALFORMED;
	unspecified = is_unspecified6(&ip->saddr);
	if (!unspecified && !is_own(claim_of_ip6(&ip->saddr, own->vlan), own))
		return XSKNET_DROP_SOURCE_IP;

	if (!take_extensions(ctx, frame, ip, &upper))
		return XSKNET_DROP_MALFORMED;
	if (upper.later_fragment)
		return unspecified ? XSKNET_DROP_SOURCE_IP : ALLOWED;
	if (upper.protocol == IPPROTO_ICMPV6)
		return check_icmpv6(ctx, own, &upper, unspecified, to);
	if (unspecified)
		return XSKNET_DROP_SOURCE_IP;

	switch (upper.protocol) {
	case IPPROTO_NONE:
		return ALLOWED;
	case IPPROTO_UDP:
		if (!load_upper(ctx, &upper, &udp, sizeof(udp)))
			return XSKNET_DROP_MALFORMED;
		if (udp.source == bpf_htons(547) && udp.dest == bpf_htons(546))
			return XSKNET_DROP_ROGUE;
		return ALLOWED;
	default:
		/* RFC 7112: a first fragment holds the whole chain. Of what is not read here, one byte proves it. */
		return load_upper(ctx, &upper, &one, sizeof(one)) ? ALLOWED : XSKNET_DROP_MALFORMED;
	}
}

/* `to` is set where ARP or neighbour discovery name a port by its address. */
static __always_inline enum xsknet_counter check(struct xdp_md *ctx, struct frame *frame,
						 const struct xsknet_guard *own, struct xsknet_claim **to)
{
	enum tagging tagging;

	frame->eth = take(&frame->at, sizeof(*frame->eth));
	if (!frame->eth)
		return XSKNET_DROP_MALFORMED;
	if (!same_mac(frame->eth->h_source, own->mac))
		return XSKNET_DROP_SOURCE_MAC;
	tagging = take_tags(frame);
	if (tagging == TAGS_CUT)
		return XSKNET_DROP_MALFORMED;
	if (tagging == TAGS_TOO_MANY || frame->vlan != own->vlan)
		return XSKNET_DROP_VLAN;

	switch (frame->ethertype) {
	case bpf_htons(ETH_P_ARP):
		return check_arp(frame, own, to);
	case bpf_htons(ETH_P_IP):
		return check_ipv4(frame, own);
	case bpf_htons(ETH_P_IPV6):
		return check_ipv6(ctx, frame, own, to);
	default:
		return XSKNET_DROP_ETHERTYPE;
	}
}

SEC("xdp.frags")
int guard(struct xdp_md *ctx)
{
	struct frame frame = { .at = cursor_at(ctx) };
	struct xsknet_counters *counters = NULL;
	struct xsknet_claim *to = NULL;
	__u32 ifindex = ctx->ingress_ifindex;
	__u32 nobody = XSKNET_NO_PORT_ID;
	enum xsknet_counter objection;
	struct xsknet_guard *own;

	own = bpf_map_lookup_elem(&guards, &ifindex);
	if (own)
		counters = bpf_map_lookup_elem(&guard_counters, &own->port);
	if (!own || !counters) {
		counters = bpf_map_lookup_elem(&guard_counters, &nobody);
		if (!counters)
			return XDP_DROP; /* cannot be: the loader makes this entry before anything is attached */
		counters->count[XSKNET_SEEN]++;
		return leave(counters, XSKNET_DROP_NO_GUARD, XDP_DROP);
	}
	counters->count[XSKNET_SEEN]++;

	objection = check(ctx, &frame, own, &to);
	if (objection != ALLOWED) {
		if (objection >= XSKNET_COUNTERS)
			return XDP_DROP; /* cannot be: the verifier wants to see the bound */
		return leave(counters, objection, XDP_DROP);
	}
	if (!to || is_own(to, own))
		to = claim_of_mac(frame.eth->h_dest, frame.vlan);
	/* The port's own MAC is no way to itself: a frame to it leaves, as on any wire. */
	if (is_own(to, own))
		to = NULL;
	if (is_too_long(ctx, frame.vlan, to ? to->mtu : uplink_mtu))
		return leave(counters, XSKNET_DROP_TOO_LONG, XDP_DROP);
	return to ? leave_to_port(counters, &frame, to) : leave_to_uplink(counters);
}
