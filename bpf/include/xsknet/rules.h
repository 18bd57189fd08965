/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * May this port send this? The first rule that objects drops the frame and counts it under its reason. What is allowed
 * goes to what claims it, or out by the uplink. Nothing is passed to the host.
 *
 * The rules in their order, which is also the order of the functions' calls:
 *   source_mac the Ethernet source is the port's, if it has one, or the uplink's; a tap sends nothing
 *   malformed  the tags are whole; likewise each header below, once its turn comes
 *   vlan       the tag is the port's VLAN; a second one behind it only if the port may
 *   arp        requests and replies for IPv4 over Ethernet that name the port as their sender
 *   source_ip  the source address is the port's
 *   nd         neighbour discovery that speaks of the port's own addresses and MAC, and is not in fragments
 *   rogue      nothing that routers and DHCP servers say, no source route, no DHCP for others, unless the port may
 *   ethertype  nothing but ARP, IPv4 and IPv6
 *   too_long   not longer than what it is sent to can take
 *   rate       not more frames and bits than the port may send, and of what leaves by the uplink, not more of its kind
 *
 * With the uplink's MAC a port sends as the host, and only what its flows match, reversed: check_flow() has the rules.
 * A port whose own MAC is the uplink's sends so what does not come from its addresses.
 */
#ifndef XSKNET_RULES_H
#define XSKNET_RULES_H

#include <xsknet/flow.h>
#include <xsknet/maps.h>
#include <xsknet/rate.h>
#include <xsknet/refusal.h>
#include <xsknet/tap.h>

/* Options of one neighbour discovery message. The longest that is common, a router's, has about 6; ports send 1. */
#define MAX_ND_OPTIONS 8

/* Options of one IPv4 header, which is 60 bytes long at most: each is a byte or more. */
#define MAX_IP_OPTIONS 40

#define XSKNET_DHCP_REQUEST 1

/* What a rule answers: XSKNET_SEEN where it has no objection, else the counter of the drop. */
#define ALLOWED XSKNET_SEEN

struct ip_option {
	__u8 type;
	__u8 length; /* with these two; of all but two types */
};

struct nd_option {
	__u8 type;
	__u8 length; /* in 8 bytes */
	__u8 mac[6];
};

/* RFC 2131, figure 1, as far as it says who the client is. Nothing in it is aligned behind an IPv4 header's options. */
struct dhcp {
	__u8 operation;
	__u8 hardware;
	__u8 hardware_length;
	__u8 hops;
	__be32 transaction;
	__be16 seconds;
	__be16 flags;
	__be32 client; /* its address, if it has one */
	__be32 yours;
	__be32 server;
	__be32 relay;
	__u8 client_mac[16];
} __attribute__((packed, aligned(2)));

/* UDP, and the first word of RFC 8415, section 8. */
struct dhcp6 {
	struct udphdr udp;
	__u8 type;
	__u8 transaction[3];
};

static __always_inline bool may_route(const struct xsknet_guard *own)
{
	return own->flags & XSKNET_MAY_ROUTING;
}

static __always_inline bool has_uplink_mac(const struct xsknet_guard *own)
{
	return own->flags & XSKNET_UPLINK_MAC;
}

/* As mac_word() makes it for no VLAN; 0: unknown. */
static __always_inline __u64 mac_of_uplink(void)
{
	__u32 slot = 0;
	__u64 *mac = bpf_map_lookup_elem(&uplink_macs, &slot);

	return mac ? *mac : 0;
}

/*
 * The MAC that the port's frames have, likewise. Zeros are not a MAC: a frame from zeros is not one of a port that has
 * none, which could send DHCP and MLD messages without a source address then.
 */
static __always_inline __u64 mac_of(const struct xsknet_guard *own)
{
	return has_uplink_mac(own) ? mac_of_uplink() : mac_word(own->mac, 0);
}

static __always_inline bool is_mac(const __u8 *mac, __u64 word)
{
	return word && mac_word(mac, 0) == word;
}

static __always_inline bool is_own(const struct xsknet_claim *claim, const struct xsknet_guard *own)
{
	return claim && claim->port == own->port;
}

static __always_inline enum xsknet_counter check_arp(const struct packet *packet, const struct xsknet_guard *own,
						     __u64 mac, struct xsknet_claim **to)
{
	const struct arp *arp = packet->arp;

	if (!arp)
		return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_ARP_CUT);
	if (!is_ethernet_ipv4(arp) || !is_mac(arp->sender_mac, mac))
		return objects(XSKNET_DROP_ARP, is_ethernet_ipv4(arp) ? XSKNET_RULE_ARP_MAC : XSKNET_RULE_ARP_FORM);
	if (arp->operation == bpf_htons(XSKNET_ARP_REPLY))
		return may_send_from4(own, arp->sender) ? ALLOWED : objects(XSKNET_DROP_ARP, XSKNET_RULE_ARP_ADDRESS);
	if (arp->operation != bpf_htons(XSKNET_ARP_REQUEST))
		return objects(XSKNET_DROP_ARP, XSKNET_RULE_ARP_OPERATION);

	/* RFC 5227: a probe, for an address of its own. */
	if (!arp->sender)
		return may_send_from4(own, arp->target) ? ALLOWED : objects(XSKNET_DROP_ARP, XSKNET_RULE_ARP_PROBE);
	if (!may_send_from4(own, arp->sender))
		return objects(XSKNET_DROP_ARP, XSKNET_RULE_ARP_ADDRESS);
	*to = claim_of_ip4(arp->target, own->vlan);
	return ALLOWED;
}

/*
 * The options of an IPv4 header from `at` to `end` in the frame, which may route or not. A source route takes the
 * packet past what is checked here (RFC 7126).
 *
 * Not inline and not static, so that the verifier walks the loop once and not once per path to it and from it.
 */
__noinline int check_options(struct xdp_md *ctx, __u32 at, __u32 end, bool routing)
{
	int passed;

	for (passed = 0; passed < MAX_IP_OPTIONS; passed++) {
		struct ip_option option = {};

		if (at >= end)
			return ALLOWED;
		if (bpf_xdp_load_bytes(ctx, at, &option.type, sizeof(option.type)))
			return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_IPV4_OPTIONS);
		if (option.type == IPOPT_END)
			return ALLOWED;
		if (option.type == IPOPT_NOOP) {
			at++;
			continue;
		}
		if (bpf_xdp_load_bytes(ctx, at, &option, sizeof(option)))
			return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_IPV4_OPTIONS);
		at += option.length;
		if (option.length < sizeof(option) || at > end)
			return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_IPV4_OPTIONS);
		if ((option.type == IPOPT_LSRR || option.type == IPOPT_SSRR) && !routing)
			return objects(XSKNET_DROP_ROGUE, XSKNET_RULE_SOURCE_ROUTE);
	}
	return ALLOWED;
}

/* A client sends for itself: a server records it under `chaddr`, whatever the frame's source is. */
static __always_inline enum xsknet_counter check_dhcp_client(struct packet *packet, const struct udphdr *udp,
							     const struct xsknet_guard *own)
{
	const struct iphdr *ip = packet->ip4;
	struct dhcp *dhcp;
	__u32 length = sizeof(*udp) + sizeof(*dhcp);

	/* The server would take it for the host. */
	if (has_uplink_mac(own))
		return objects(XSKNET_DROP_ROGUE, XSKNET_RULE_HOST_DHCP);
	/* The rest would come unread, in fragments that look like any other here. */
	if (ip->frag_off & bpf_htons(XSKNET_IP_MORE))
		return objects(XSKNET_DROP_ROGUE, XSKNET_RULE_DHCP_FRAGMENT);
	dhcp = take(&packet->at, sizeof(*dhcp));
	if (!dhcp || bpf_ntohs(ip->tot_len) < ip->ihl * 4 + length || bpf_ntohs(udp->len) < length)
		return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_DHCP_CUT);
	if (dhcp->operation != XSKNET_DHCP_REQUEST || dhcp->hardware != 1 || dhcp->hardware_length != 6 ||
	    dhcp->relay || !same_mac(dhcp->client_mac, own->mac))
		return objects(XSKNET_DROP_ROGUE, XSKNET_RULE_DHCP_CLIENT);
	return !dhcp->client || may_send_from4(own, dhcp->client) ?
		       ALLOWED :
		       objects(XSKNET_DROP_ROGUE, XSKNET_RULE_DHCP_CLIENT);
}

/*
 * By the destination alone: what listens there believes what comes from any port. These are client ports of DHCP, and
 * routers' ports; the callers check those of DHCP servers.
 */
static __always_inline bool is_routers_port(__be16 port)
{
	switch (port) {
	case bpf_htons(68): /* DHCP */
	case bpf_htons(546): /* DHCPv6 */
	case bpf_htons(520): /* RIP */
	case bpf_htons(521): /* RIPng */
	case bpf_htons(646): /* LDP */
	case bpf_htons(698): /* OLSR */
	case bpf_htons(1985): /* HSRP */
	case bpf_htons(2029): /* HSRP for IPv6 */
	case bpf_htons(3222): /* GLBP */
	case bpf_htons(6696): /* Babel */
		return true;
	default:
		return false;
	}
}

static __always_inline bool is_routers_protocol(__u8 protocol)
{
	switch (protocol) {
	case 9: /* IGRP */
	case 88: /* EIGRP */
	case 89: /* OSPF */
	case 103: /* PIM */
	case 112: /* VRRP, CARP */
	case 124: /* IS-IS over IPv4 */
	case 138: /* MANET */
		return true;
	default:
		return false;
	}
}

static __always_inline enum xsknet_counter check_udp4(struct packet *packet, const struct xsknet_guard *own,
						      bool unspecified)
{
	struct udphdr *udp = take(&packet->at, sizeof(*udp));
	const struct iphdr *ip = packet->ip4;

	if (!udp || bpf_ntohs(ip->tot_len) < ip->ihl * 4 + sizeof(*udp))
		return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_UPPER_CUT);
	if (unspecified && (udp->source != bpf_htons(68) || udp->dest != bpf_htons(67)))
		return objects(XSKNET_DROP_SOURCE_IP, XSKNET_RULE_NO_SOURCE_ADDRESS);
	if (udp->dest == bpf_htons(67))
		return may_route(own) ? ALLOWED : check_dhcp_client(packet, udp, own);
	return is_routers_port(udp->dest) && !may_route(own) ?
		       objects(XSKNET_DROP_ROGUE, XSKNET_RULE_ROUTERS_PORT) :
		       ALLOWED;
}

/*
 * Of ICMP and IGMP, in a packet or its first fragment: offsets count in 8 bytes, so no later one can bring another
 * type.
 */
static __always_inline enum xsknet_counter check_icmp4(struct packet *packet, const struct xsknet_guard *own)
{
	struct icmp *icmp = take(&packet->at, sizeof(*icmp));
	const struct iphdr *ip = packet->ip4;

	if (!icmp || bpf_ntohs(ip->tot_len) < ip->ihl * 4 + sizeof(*icmp))
		return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_UPPER_CUT);
	if (may_route(own))
		return ALLOWED;
	if (ip->protocol == IPPROTO_ICMP)
		return icmp->type == XSKNET_ICMP_REDIRECT || icmp->type == XSKNET_ICMP_ROUTER_ADVERTISEMENT ?
			       objects(XSKNET_DROP_ROGUE, XSKNET_RULE_ROUTERS_MESSAGE) :
			       ALLOWED;
	switch (icmp->type) {
	case XSKNET_IGMP_REPORT:
	case XSKNET_IGMP2_REPORT:
	case XSKNET_IGMP2_LEAVE:
	case XSKNET_IGMP3_REPORT:
		return ALLOWED;
	default:
		/* Queries, multicast router discovery, DVMRP, PIM version 1: all the rest is routers'. */
		return objects(XSKNET_DROP_ROGUE, XSKNET_RULE_ROUTERS_MESSAGE);
	}
}

static __always_inline enum xsknet_counter check_ipv4(struct packet *packet, const struct xsknet_guard *own)
{
	const struct iphdr *ip = packet->ip4;
	bool unspecified, later;
	int objection;

	if (!ip)
		return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_IPV4_HEADER);
	unspecified = !ip->saddr;
	if (!unspecified && !may_send_from4(own, ip->saddr))
		return objects(XSKNET_DROP_SOURCE_IP, XSKNET_RULE_SOURCE_ADDRESS);
	if (ip->ihl > 5) {
		__u32 at = (void *)(ip + 1) - (void *)packet->eth;

		objection = check_options(packet->ctx, at, at + ip->ihl * 4 - sizeof(*ip), may_route(own));
		/* clang knows what that can be, and drops the bound that the verifier wants to see. */
		barrier_var(objection);
		if (objection != ALLOWED)
			return objection;
	}

	/* A later fragment has no header to look at, so it always needs a source. */
	later = ip->frag_off & bpf_htons(XSKNET_IP_OFFSET);
	if (ip->protocol == IPPROTO_UDP && !later)
		return check_udp4(packet, own, unspecified);
	if (unspecified)
		return objects(XSKNET_DROP_SOURCE_IP, XSKNET_RULE_NO_SOURCE_ADDRESS);

	switch (ip->protocol) {
	case IPPROTO_TCP:
		return ALLOWED;
	case IPPROTO_ICMP:
	case IPPROTO_IGMP:
		return later ? ALLOWED : check_icmp4(packet, own);
	default:
		return is_routers_protocol(ip->protocol) && !may_route(own) ?
			       objects(XSKNET_DROP_ROGUE, XSKNET_RULE_ROUTERS_PROTOCOL) :
			       ALLOWED;
	}
}

/*
 * A link-layer address in any option, of whatever message, must be the port's: it is what caches are filled from. The
 * options are the `left` bytes from `at` in the frame; `mac` is a mac_word() without a VLAN. Not inline and not static,
 * as check_options().
 */
__noinline int check_nd_options(struct xdp_md *ctx, __u32 at, __u32 left, __u64 mac)
{
	int passed;

	for (passed = 0; passed < MAX_ND_OPTIONS; passed++) {
		struct nd_option option;
		__u32 length;

		if (!left)
			return ALLOWED;
		if (left < sizeof(option) || bpf_xdp_load_bytes(ctx, at, &option, sizeof(option)))
			return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_ND_OPTION);
		length = option.length * 8;
		if (!length || length > left || at + length > bpf_xdp_get_buff_len(ctx))
			return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_ND_OPTION);
		if ((option.type == XSKNET_ND_SOURCE_LINK || option.type == XSKNET_ND_TARGET_LINK) &&
		    (option.length != 1 || mac_word(option.mac, 0) != mac))
			return objects(XSKNET_DROP_ND, XSKNET_RULE_ND_LINK_ADDRESS);
		at += length;
		left -= length;
	}
	return left ? objects(XSKNET_DROP_ND, XSKNET_RULE_ND_OPTIONS) : ALLOWED;
}

static __always_inline enum xsknet_counter check_nd(const struct packet *packet, const struct xsknet_guard *own,
						    __u64 mac, bool unspecified, struct xsknet_claim **to)
{
	struct xdp_md *ctx = packet->ctx;
	const struct upper *at = &packet->upper;
	struct neighbour message;
	__u32 length;
	int objection;

	/* A router solicitation is 8 bytes and names no target. */
	if (!load_upper(ctx, at, &message, 8))
		return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_ND_CUT);
	length = 8;
	if (message.type != XSKNET_ND_ROUTER_SOLICITATION) {
		length = sizeof(message);
		if (!load_upper(ctx, at, &message, sizeof(message)))
			return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_ND_CUT);
		/* From ::, a solicitation is duplicate address detection (RFC 4862). */
		if (unspecified || message.type == XSKNET_ND_ADVERTISEMENT) {
			if (!may_send_from6(own, &message.target))
				return objects(XSKNET_DROP_ND, XSKNET_RULE_ND_ADDRESS);
		} else {
			*to = claim_of_ip6(&message.target, own->vlan);
		}
	}
	objection = check_nd_options(ctx, at->offset + length, at->left - length, mac);
	barrier_var(objection); /* as in check_ipv4() */
	return objection;
}

/* From `::` there are two things to send: is this address free (RFC 4862), and which multicast addresses (MLD). */
static __always_inline bool speaks_without_address(__u8 type)
{
	return type == XSKNET_ND_SOLICITATION || type == XSKNET_MLD_REPORT || type == XSKNET_MLD_DONE ||
	       type == XSKNET_MLD2_REPORT;
}

static __always_inline enum xsknet_counter check_icmpv6(const struct packet *packet, const struct xsknet_guard *own,
							__u64 mac, bool unspecified, struct xsknet_claim **to)
{
	const struct upper *upper = &packet->upper;
	struct icmp icmp;

	if (!load_upper(packet->ctx, upper, &icmp, sizeof(icmp)))
		return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_UPPER_CUT);
	if (unspecified && !speaks_without_address(icmp.type))
		return objects(XSKNET_DROP_SOURCE_IP, XSKNET_RULE_NO_SOURCE_ADDRESS);
	switch (icmp.type) {
	case XSKNET_ND_SOLICITATION:
	case XSKNET_ND_ADVERTISEMENT:
	case XSKNET_ND_ROUTER_SOLICITATION:
		/*
		 * RFC 6980: neighbour discovery is never fragmented, and a node that receives it so shall ignore it.
		 * Not all do, and the options would lie in a fragment that looks like any other here.
		 */
		return upper->fragment ? objects(XSKNET_DROP_ND, XSKNET_RULE_ND_FRAGMENT) :
					 check_nd(packet, own, mac, unspecified, to);
	case XSKNET_ND_ROUTER_ADVERTISEMENT:
	case XSKNET_ND_REDIRECT:
		if (!may_route(own))
			return objects(XSKNET_DROP_ROGUE, XSKNET_RULE_ROUTERS_MESSAGE);
		return upper->fragment ? objects(XSKNET_DROP_ND, XSKNET_RULE_ND_FRAGMENT) : ALLOWED;
	case XSKNET_MLD_QUERY:
	case XSKNET_ROUTER_RENUMBERING:
	case XSKNET_MRD_ADVERTISEMENT:
	case XSKNET_MRD_SOLICITATION:
	case XSKNET_MRD_TERMINATION:
	case XSKNET_RPL_CONTROL:
		return may_route(own) ? ALLOWED : objects(XSKNET_DROP_ROGUE, XSKNET_RULE_ROUTERS_MESSAGE);
	default:
		return ALLOWED;
	}
}

/* What a client says to a server (RFC 8415, section 7.3), in one piece. */
static __always_inline enum xsknet_counter check_dhcp6_client(const struct packet *packet,
							      const struct xsknet_guard *own)
{
	const struct upper *upper = &packet->upper;
	struct dhcp6 dhcp;

	/* It may call itself by its MAC (RFC 8415, section 11.4). */
	if (has_uplink_mac(own))
		return objects(XSKNET_DROP_ROGUE, XSKNET_RULE_HOST_DHCP);
	if (upper->fragment)
		return objects(XSKNET_DROP_ROGUE, XSKNET_RULE_DHCP_FRAGMENT);
	if (!load_upper(packet->ctx, upper, &dhcp, sizeof(dhcp)) || bpf_ntohs(dhcp.udp.len) < sizeof(dhcp))
		return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_DHCP_CUT);
	switch (dhcp.type) {
	case 1: /* solicit */
	case 3: /* request */
	case 4: /* confirm */
	case 5: /* renew */
	case 6: /* rebind */
	case 8: /* release */
	case 9: /* decline */
	case 11: /* information-request */
		return ALLOWED;
	default:
		return objects(XSKNET_DROP_ROGUE, XSKNET_RULE_DHCP_CLIENT);
	}
}

static __always_inline enum xsknet_counter check_upper6(const struct packet *packet, const struct xsknet_guard *own)
{
	const struct upper *upper = &packet->upper;
	struct udphdr udp;
	__u8 one;

	switch (upper->protocol) {
	case IPPROTO_NONE:
		return ALLOWED;
	case IPPROTO_UDP:
		if (!load_upper(packet->ctx, upper, &udp, sizeof(udp)))
			return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_UPPER_CUT);
		if (udp.dest == bpf_htons(547))
			return may_route(own) ? ALLOWED : check_dhcp6_client(packet, own);
		return is_routers_port(udp.dest) && !may_route(own) ?
			       objects(XSKNET_DROP_ROGUE, XSKNET_RULE_ROUTERS_PORT) :
			       ALLOWED;
	default:
		/* RFC 7112: a first fragment holds the whole chain. Of what is not read here, one byte proves it. */
		return load_upper(packet->ctx, upper, &one, sizeof(one)) ?
			       ALLOWED :
			       objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_UPPER_CUT);
	}
}

static __always_inline enum xsknet_counter check_ipv6(struct packet *packet, const struct xsknet_guard *own, __u64 mac,
						      struct xsknet_claim **to)
{
	const struct ipv6hdr *ip = packet->ip6;
	const struct upper *upper = &packet->upper;
	bool unspecified;

	if (!ip)
		return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_IPV6_HEADER);
	unspecified = is_unspecified6(&ip->saddr);
	if (!unspecified && !may_send_from6(own, &ip->saddr))
		return objects(XSKNET_DROP_SOURCE_IP, XSKNET_RULE_SOURCE_ADDRESS);

	switch (parse_extensions(packet, may_route(own))) {
	case CHAIN_READ:
		break;
	case CHAIN_ROUTED:
		return objects(XSKNET_DROP_ROGUE, XSKNET_RULE_ROUTING_HEADER);
	default:
		return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_EXTENSION_HEADERS);
	}
	if (unspecified && (upper->later_fragment || upper->protocol != IPPROTO_ICMPV6))
		return objects(XSKNET_DROP_SOURCE_IP, XSKNET_RULE_NO_SOURCE_ADDRESS);
	/* Not all nodes take the protocol from the first fragment alone. */
	if (is_routers_protocol(upper->protocol) && !may_route(own))
		return objects(XSKNET_DROP_ROGUE, XSKNET_RULE_ROUTERS_PROTOCOL);
	if (upper->later_fragment)
		return ALLOWED;

	if (upper->protocol == IPPROTO_ICMPV6)
		return check_icmpv6(packet, own, mac, unspecified, to);
	return check_upper6(packet, own);
}

/* Of what a port sends by a flow; what is behind the IP headers begins with `word`. */
static __always_inline enum xsknet_counter check_upper_of_flow(__u8 protocol, bool six, union upper_word word,
							       bool routing)
{
	__u8 type = word.icmp.type;

	if (is_routers_protocol(protocol) && !routing)
		return objects(XSKNET_DROP_ROGUE, XSKNET_RULE_ROUTERS_PROTOCOL);
	switch (protocol) {
	case IPPROTO_UDP:
		if (routing)
			return ALLOWED;
		/* A client of DHCP here would be the host. */
		return is_routers_port(word.ports.destination) || word.ports.destination == bpf_htons(67) ||
				       word.ports.destination == bpf_htons(547) ?
			       objects(XSKNET_DROP_ROGUE, XSKNET_RULE_HOST_PORT) :
			       ALLOWED;
	case IPPROTO_IGMP:
		return objects(XSKNET_DROP_SOURCE_IP, XSKNET_RULE_HOST_MESSAGE); /* the host's memberships */
	case IPPROTO_ICMP:
		/* Errors end connections of the host; of the rest, only questions and answers are known. */
		return six || reversed_icmp_type(type, false) < 0 ?
			       objects(XSKNET_DROP_SOURCE_IP, XSKNET_RULE_HOST_MESSAGE) :
			       ALLOWED;
	case IPPROTO_ICMPV6:
		if (six && is_neighbour_discovery(type))
			return objects(XSKNET_DROP_ND, XSKNET_RULE_HOST_ND);
		return !six || reversed_icmp_type(type, true) < 0 ?
			       objects(XSKNET_DROP_SOURCE_IP, XSKNET_RULE_HOST_MESSAGE) :
			       ALLOWED;
	default:
		return ALLOWED;
	}
}

/* Whether what was found allows the packet, which is in this VLAN. */
static __always_inline enum xsknet_counter judge_flow(int flags, const struct found *found, __u32 port, bool own_vlan)
{
	if (!(flags & XSKNET_FLOW_SOURCE) || found->claim.port != port)
		return objects(XSKNET_DROP_SOURCE_IP,
			       found->claim.port != port ? XSKNET_RULE_NO_FLOW : XSKNET_RULE_FLOW_RECEIVES);
	return own_vlan || (flags & XSKNET_FLOW_VLAN) ? ALLOWED : objects(XSKNET_DROP_VLAN, XSKNET_RULE_FLOW_VLAN);
}

static __always_inline enum xsknet_counter check_flow4(struct packet *packet, __u32 list, __u32 port, bool routing,
						       bool own_vlan)
{
	const struct iphdr *ip = packet->ip4;
	enum xsknet_counter objection;
	union upper_word *word;
	struct described is;
	struct flow4 flow;
	struct found found;
	__u32 at;
	int answer;

	if (!ip)
		return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_IPV4_HEADER);
	if (ip->ihl > 5) {
		at = (void *)(ip + 1) - (void *)packet->eth;
		answer = check_options(packet->ctx, at, at + ip->ihl * 4 - sizeof(*ip), routing);
		barrier_var(answer); /* as in check_ipv4() */
		if (answer != ALLOWED)
			return answer;
	}
	/* A later one hides its ports, and no other would be of use. */
	if (ip->frag_off & bpf_htons(XSKNET_IP_MORE | XSKNET_IP_OFFSET))
		return objects(XSKNET_DROP_SOURCE_IP, XSKNET_RULE_HOST_FRAGMENT);
	word = take(&packet->at, sizeof(*word));
	if (!word || bpf_ntohs(ip->tot_len) < ip->ihl * 4 + sizeof(*word))
		return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_UPPER_CUT);
	objection = check_upper_of_flow(ip->protocol, false, *word, routing);
	if (objection != ALLOWED)
		return objection;
	/* Nobody's, a group's, or the broadcast address: flows may have them, and no host sends from them. */
	if (!ip->saddr || *(const __u8 *)&ip->saddr >= 224)
		return objects(XSKNET_DROP_SOURCE_IP, XSKNET_RULE_HOST_SOURCE);
	if (!list)
		return objects(XSKNET_DROP_SOURCE_IP, XSKNET_RULE_NO_FLOW);
	is = reversed(describe(ip->protocol, false, true, *word), false);
	flow.word[0] = two_words(ip->daddr, ip->saddr);
	flow.word[1] = upper_and_vlan(is, packet->vlan);
	flow.word[2] = mac_word(packet->eth->h_source, XSKNET_ANY_KIND);
	flow.list = list - 1;
	flow.has = is.has;
	answer = find_flow4(&flow, &found);
	return answer ? judge_flow(answer, &found, port, own_vlan) :
			objects(XSKNET_DROP_SOURCE_IP, XSKNET_RULE_NO_FLOW);
}

static __always_inline enum xsknet_counter check_flow6(struct packet *packet, __u32 list, __u32 port, bool routing,
						       bool own_vlan)
{
	const struct upper *upper = &packet->upper;
	const struct ipv6hdr *ip = packet->ip6;
	enum xsknet_counter objection;
	union upper_word word;
	struct described is;
	struct flow6 flow;
	struct found found;
	int answer;

	if (!ip)
		return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_IPV6_HEADER);
	switch (parse_extensions(packet, routing)) {
	case CHAIN_READ:
		break;
	case CHAIN_ROUTED:
		return objects(XSKNET_DROP_ROGUE, XSKNET_RULE_ROUTING_HEADER);
	default:
		return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_EXTENSION_HEADERS);
	}
	if (upper->fragment)
		return objects(XSKNET_DROP_SOURCE_IP, XSKNET_RULE_HOST_FRAGMENT);
	if (!load_upper(packet->ctx, upper, &word, sizeof(word)))
		return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_UPPER_CUT);
	objection = check_upper_of_flow(upper->protocol, true, word, routing);
	if (objection != ALLOWED)
		return objection;
	if (is_unspecified6(&ip->saddr) || ip->saddr.s6_addr[0] == 0xff)
		return objects(XSKNET_DROP_SOURCE_IP, XSKNET_RULE_HOST_SOURCE);
	if (!list)
		return objects(XSKNET_DROP_SOURCE_IP, XSKNET_RULE_NO_FLOW);
	is = reversed(describe(upper->protocol, true, true, word), true);
	__builtin_memcpy(flow.key.source, &ip->daddr, sizeof(flow.key.source));
	__builtin_memcpy(flow.key.destination, &ip->saddr, sizeof(flow.key.destination));
	flow.word[4] = upper_and_vlan(is, packet->vlan);
	flow.word[5] = mac_word(packet->eth->h_source, XSKNET_ANY_KIND);
	flow.list = list - 1;
	flow.has = is.has;
	answer = find_flow6(&flow, &found);
	return answer ? judge_flow(answer, &found, port, own_vlan) :
			objects(XSKNET_DROP_SOURCE_IP, XSKNET_RULE_NO_FLOW);
}

/*
 * A frame with the uplink's MAC. The first flow that matches the packet, reversed, has to be one of the port's own, so
 * that no port sends what belongs to another one; and to name one address and a protocol, so that it describes a sender
 * and not everybody. In a VLAN other than the port's, it has to name that one, too.
 *
 * Beyond that it is more narrow than for a port's own address: no ARP or neighbour discovery, which the host speaks for
 * its addresses, no memberships, no errors, no fragments, no DHCP.
 *
 * Not inline and not static, as check_options().
 */
__noinline int check_flow(struct xdp_md *ctx, __u32 port, bool routing, __u32 vlan)
{
	const struct xsknet_flow_state *state = flow_state();
	struct packet packet;
	__u32 list;

	if (!state || !parse_ethernet(&packet, ctx) || parse_tags(&packet) > TAGS_TWO)
		return XSKNET_DROP_MALFORMED; /* cannot be: check() has read that far */
	list = READ_ONCE(state->list);
	switch (packet.ethertype) {
	case bpf_htons(ETH_P_ARP):
		return objects(XSKNET_DROP_ARP, XSKNET_RULE_HOST_ARP);
	case bpf_htons(ETH_P_IP):
		parse_network(&packet);
		return check_flow4(&packet, list, port, routing, packet.vlan == vlan);
	case bpf_htons(ETH_P_IPV6):
		parse_network(&packet);
		return check_flow6(&packet, list, port, routing, packet.vlan == vlan);
	default:
		return objects(XSKNET_DROP_ETHERTYPE, XSKNET_RULE_ETHERTYPE);
	}
}

/* Whether it comes from an address that is not the port's. What has none, or an unreadable one, is not told apart. */
static __always_inline bool is_from_others(const struct packet *packet, const struct xsknet_guard *own)
{
	if (packet->ip4)
		return packet->ip4->saddr && !may_send_from4(own, packet->ip4->saddr);
	if (packet->ip6)
		return !is_unspecified6(&packet->ip6->saddr) && !may_send_from6(own, &packet->ip6->saddr);
	return false;
}

/* `to` is set where ARP or neighbour discovery ask for an address that is claimed. */
static __always_inline enum xsknet_counter check(struct packet *packet, struct xdp_md *ctx,
						 const struct xsknet_guard *own, struct xsknet_claim **to)
{
	__u64 mac = mac_of(own);
	enum tagging tagging;
	bool as_host;
	int objection;

	if (!parse_ethernet(packet, ctx))
		return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_TAGS_CUT);
	as_host = !is_mac(packet->eth->h_source, mac);
	if (EXPLAINING)
		note(XSKNET_NOTE_SENDER, own->port, as_host, own->vlan, 0);
	if (as_host && own->flags & XSKNET_TAP)
		return objects(XSKNET_DROP_SOURCE_MAC, XSKNET_RULE_TAP_SENDS);
	if (as_host && !is_mac(packet->eth->h_source, mac_of_uplink()))
		return objects(XSKNET_DROP_SOURCE_MAC, XSKNET_RULE_SOURCE_MAC);
	tagging = note_tags(packet, parse_tags(packet));
	if (tagging == TAGS_CUT)
		return objects(XSKNET_DROP_MALFORMED, XSKNET_RULE_TAGS_CUT);
	/* With three tags, the EtherType is that of a tag, and nothing is read. */
	parse_network(packet);
	if (has_uplink_mac(own) && is_from_others(packet, own))
		as_host = true;
	if (tagging == TAGS_TOO_MANY || (packet->vlan != own->vlan && !as_host))
		return objects(XSKNET_DROP_VLAN,
			       tagging == TAGS_TOO_MANY ? XSKNET_RULE_TAGS_TOO_MANY : XSKNET_RULE_OTHER_VLAN);
	/*
	 * Where the port's VLAN is the native one of a switch, the first tag is taken off and the second one decides.
	 */
	if (tagging == TAGS_TWO && !(own->flags & XSKNET_MAY_INNER_TAGS))
		return objects(XSKNET_DROP_VLAN, XSKNET_RULE_INNER_TAG);

	if (as_host) {
		objection = check_flow(ctx, own->port, may_route(own), own->vlan);
		barrier_var(objection); /* as in check_ipv4() */
		return objection;
	}
	switch (packet->ethertype) {
	case bpf_htons(ETH_P_ARP):
		return check_arp(packet, own, mac, to);
	case bpf_htons(ETH_P_IP):
		return check_ipv4(packet, own);
	case bpf_htons(ETH_P_IPV6):
		return check_ipv6(packet, own, mac, to);
	default:
		return objects(XSKNET_DROP_ETHERTYPE, XSKNET_RULE_ETHERTYPE);
	}
}

static __always_inline __u32 mtu_of_uplink(void)
{
	__u32 slot = 0;
	__u32 *mtu = bpf_map_lookup_elem(&uplink_mtus, &slot);

	return mtu ? *mtu : 0;
}

#define XSKNET_LIMITED_FRAMES (XSKNET_LIMITED << XSKNET_FRAMES)
#define XSKNET_LIMITED_BITS (XSKNET_LIMITED << XSKNET_BITS)

/*
 * Counts a frame that no other rule drops. A frame that one rate drops counts for none of them, so that a flood of
 * broadcast does not use up what the port may send otherwise.
 */
static __always_inline enum xsknet_counter check_rates(const struct xsknet_guard *own, const struct packet *packet,
						       bool to_uplink)
{
	__u32 limited = own->flags & (XSKNET_LIMITED_FRAMES | XSKNET_LIMITED_BITS);
	enum xsknet_counter objection = ALLOWED;

	if (limited & XSKNET_LIMITED_FRAMES && is_over_rate(own, packet, XSKNET_FRAMES))
		return objects(XSKNET_DROP_FRAME_RATE, XSKNET_RULE_FRAME_RATE);
	if (limited & XSKNET_LIMITED_BITS && is_over_rate(own, packet, XSKNET_BITS)) {
		limited &= ~XSKNET_LIMITED_BITS;
		objection = objects(XSKNET_DROP_BIT_RATE, XSKNET_RULE_BIT_RATE);
	} else if (to_uplink && is_over_flood_rate(own, packet)) {
		objection = objects(XSKNET_DROP_RATE, XSKNET_RULE_RATE);
	}
	if (objection != ALLOWED && limited) {
		if (limited & XSKNET_LIMITED_FRAMES)
			give_share_back(own->port, XSKNET_FRAMES, packet->length);
		if (limited & XSKNET_LIMITED_BITS)
			give_share_back(own->port, XSKNET_BITS, packet->length);
	}
	return objection;
}

static __always_inline int refuse(struct xdp_md *ctx, const struct xsknet_guard *own, struct xsknet_counters *counters,
				  enum xsknet_counter objection)
{
	if (!EXPLAINING)
		sample_refusal(ctx, own->port, objection);
	return leave(counters, objection, XDP_DROP);
}

/* What becomes of a frame that `own` sends: counted, and dropped or redirected, as leave() says it. */
static __always_inline int judge(struct xdp_md *ctx, const struct xsknet_guard *own, struct xsknet_counters *counters)
{
	struct xsknet_claim *to = NULL;
	enum xsknet_counter objection;
	__u32 queue_pair = 0;
	struct packet packet;

	arrive(counters);
	objection = check(&packet, ctx, own, &to);
	if (objection != ALLOWED) {
		if (objection >= XSKNET_COUNTERS)
			return XDP_DROP; /* cannot be: the verifier wants to see the bound */
		return refuse(ctx, own, counters, objection);
	}
	packet.length = bpf_xdp_get_buff_len(ctx);
	note_rule(XSKNET_RULE_TO_TARGET);
	if (!to || is_own(to, own)) {
		note_rule(XSKNET_RULE_TO_MAC);
		to = claim_of_mac(packet.eth->h_dest, packet.vlan);
		if (to && to->target == XSKNET_TARGET_ADDRESS) {
			note_rule(XSKNET_RULE_TO_ADDRESS);
			to = claim_of_destination(&packet);
		}
	}
	/* A frame to the port's own MAC leaves, as on any wire. */
	if (is_own(to, own))
		to = NULL;
	if (to)
		note_target(to, 0);
	else
		note_rule(XSKNET_RULE_TO_UPLINK);
	if (is_too_long(&packet, to ? to->mtu : mtu_of_uplink()))
		return refuse(ctx, own, counters, XSKNET_DROP_TOO_LONG);
	objection = check_rates(own, &packet, !to);
	if (objection != ALLOWED)
		return refuse(ctx, own, counters, objection);
	if (to) {
		if (to->queue_pairs > 1)
			queue_pair = queue_pair_of(&packet, to->queue_pairs);
		return leave_to_target(counters, &packet, to, queue_pair);
	}
	return leave_to_uplink(counters);
}

/* Likewise, with copies for taps; the verdict. */
static __always_inline int let_out(struct xdp_md *ctx, const struct xsknet_guard *own,
				   struct xsknet_counters *counters)
{
	int left = judge(ctx, own, counters);

	if (LEFT_BY(left) == XSKNET_TO_UPLINK)
		copy_to_taps(ctx, left, XSKNET_TAPPED_SENT);
	return VERDICT(left);
}

#endif
