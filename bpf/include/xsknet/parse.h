/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * Reading a packet, once, into one context: what the uplink program, the guard and the choice of a queue pair look at.
 *
 * A cursor moves over the frame's first buffer. `take` and the `take_*` helpers check one bound, step over one header
 * and return it, or NULL where the frame ends before it. What lies in a later buffer of a multi-buffer frame counts as
 * cut.
 */
#ifndef XSKNET_PARSE_H
#define XSKNET_PARSE_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include <xsknet/contract.h>
#include <xsknet/explain.h>

/* Not in the kernel's exported headers. */
#define XSKNET_IP_OFFSET 0x1fff /* of iphdr.frag_off */
#define XSKNET_IP_MORE 0x2000	/* fragments; likewise */
#define XSKNET_IP6_OFFSET 0xfff8 /* of the fragment header */
#define XSKNET_IP6_MORE 0x0001	 /* likewise */
#define XSKNET_ARP_REQUEST 1
#define XSKNET_ARP_REPLY 2
#define XSKNET_ICMP_REDIRECT 5
#define XSKNET_ICMP_ROUTER_ADVERTISEMENT 9
#define XSKNET_IGMP_REPORT 0x12
#define XSKNET_IGMP2_REPORT 0x16
#define XSKNET_IGMP2_LEAVE 0x17
#define XSKNET_IGMP3_REPORT 0x22
#define XSKNET_MLD_QUERY 130
#define XSKNET_MLD_REPORT 131
#define XSKNET_MLD_DONE 132
#define XSKNET_MLD2_REPORT 143
#define XSKNET_ND_ROUTER_SOLICITATION 133
#define XSKNET_ND_ROUTER_ADVERTISEMENT 134
#define XSKNET_ND_SOLICITATION 135
#define XSKNET_ND_ADVERTISEMENT 136
#define XSKNET_ND_REDIRECT 137
#define XSKNET_ROUTER_RENUMBERING 138
#define XSKNET_MRD_ADVERTISEMENT 151 /* multicast router discovery, RFC 4286 */
#define XSKNET_MRD_SOLICITATION 152
#define XSKNET_MRD_TERMINATION 153
#define XSKNET_RPL_CONTROL 155
#define XSKNET_ND_SOURCE_LINK 1 /* options */
#define XSKNET_ND_TARGET_LINK 2

/* RFC 8200 bounds nothing; nobody sends more than a handful, and the verifier must see an end. */
#define XSKNET_MAX_EXTENSION_HEADERS 8

struct cursor {
	void *at;
	void *end;
};

struct vlan_tag {
	__be16 tci;
	__be16 ethertype;
};

/* An ARP packet for IPv4 over Ethernet. Nothing in it is aligned behind 14 bytes of Ethernet. */
struct arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 sender_mac[6];
	__be32 sender;
	__u8 target_mac[6];
	__be32 target;
} __attribute__((packed));

/* The first 8 bytes of an extension header; none is shorter. */
struct extension {
	__u8 next;
	__u8 length; /* reserved in the fragment header, which is 8 bytes long */
	__be16 fragment_offset;
	__be32 id; /* likewise of a fragment */
};

/* The first 4 bytes of every message of ICMP, ICMPv6 and IGMP. */
struct icmp {
	__u8 type;
	__u8 code;
	__sum16 checksum;
};

/* A neighbour solicitation or advertisement, up to its options. */
struct neighbour {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 flags;
	struct in6_addr target;
};

/* In their order: the first two can be read on. */
enum tagging {
	TAGS_AT_MOST_ONE,
	TAGS_TWO,
	TAGS_CUT,
	TAGS_TOO_MANY,
};

enum chain {
	CHAIN_READ,
	CHAIN_ROUTED, /* there is a routing header */
	CHAIN_BROKEN,
};

/* What stands behind an IPv6 header and its extension headers. Without holes: it is handed to a global function. */
struct upper {
	__u8 protocol;
	bool fragment;	     /* a fragment header was passed, of an atomic fragment too */
	bool later_fragment; /* not the first: what follows is not a header */
	bool more_fragments;
	__u32 offset; /* in the frame */
	__u32 left;   /* bytes of the IPv6 payload from there */
	__be32 id;    /* of a fragment */
};

/* Each part is valid once its function has run. */
struct packet {
	struct cursor at; /* behind what was taken last */

	/* parse_ethernet() */
	struct xdp_md *ctx;
	struct ethhdr *eth;

	/* parse_tags() */
	__u16 vlan;	  /* see contract.h */
	__be16 ethertype; /* behind the tags */

	/* parse_network(); NULL: there is no such header, or it is cut or contradicts itself */
	struct arp *arp;
	struct iphdr *ip4;   /* with its options */
	void *behind_ip4;
	struct ipv6hdr *ip6; /* without its extension headers */

	/* parse_extensions(); the program keeps what it answered, where it needs that */
	struct upper upper;
	enum chain chain;

	__u64 length; /* of the whole frame; the programs measure it once they know its port */
};

static __always_inline void *take(struct cursor *at, __u32 length)
{
	void *header = at->at;

	if (header + length > at->end)
		return NULL;
	at->at = header + length;
	return header;
}

static __always_inline bool is_tag(__be16 ethertype)
{
	return ethertype == bpf_htons(ETH_P_8021Q) || ethertype == bpf_htons(ETH_P_8021AD);
}

static __always_inline bool parse_ethernet(struct packet *packet, struct xdp_md *ctx)
{
	packet->ctx = ctx;
	packet->at.at = (void *)(long)ctx->data;
	packet->at.end = (void *)(long)ctx->data_end;
	packet->eth = take(&packet->at, sizeof(*packet->eth));
	return packet->eth;
}

/* The outer tag decides the VLAN; a second one is stepped over. A third one need not be whole to be one too many. */
static __always_inline enum tagging parse_tags(struct packet *packet)
{
	struct vlan_tag *outer, *inner;

	packet->vlan = XSKNET_UNTAGGED;
	packet->ethertype = packet->eth->h_proto;
	if (!is_tag(packet->ethertype))
		return TAGS_AT_MOST_ONE;

	outer = take(&packet->at, sizeof(*outer));
	if (!outer)
		return TAGS_CUT;
	packet->vlan = XSKNET_FOREIGN_TAG;
	if (packet->ethertype == bpf_htons(ETH_P_8021Q))
		packet->vlan = XSKNET_TAGGED | (bpf_ntohs(outer->tci) & 0x0fff);
	packet->ethertype = outer->ethertype;
	if (!is_tag(packet->ethertype))
		return TAGS_AT_MOST_ONE;

	inner = take(&packet->at, sizeof(*inner));
	if (!inner)
		return TAGS_CUT;
	packet->ethertype = inner->ethertype;
	return is_tag(packet->ethertype) ? TAGS_TOO_MANY : TAGS_TWO;
}

#ifdef XSKNET_EXPLAINS
static __always_inline enum tagging note_tags(const struct packet *packet, enum tagging tagging)
{
	note(XSKNET_NOTE_TAGS, packet->vlan, bpf_ntohs(packet->ethertype), tagging, 0);
	return tagging;
}
#else
#define note_tags(packet, tagging) (tagging)
#endif

static __always_inline bool is_ethernet_ipv4(const struct arp *arp)
{
	return arp->hardware == bpf_htons(1) && arp->protocol == bpf_htons(ETH_P_IP) && arp->hardware_length == 6 &&
	       arp->protocol_length == 4;
}

/* With its options; NULL where it is cut, or is not one. */
static __always_inline struct iphdr *take_ipv4(struct cursor *at)
{
	struct iphdr *ip = take(at, sizeof(*ip));
	__u32 options;

	if (!ip || ip->version != 4 || ip->ihl < 5 || bpf_ntohs(ip->tot_len) < ip->ihl * 4)
		return NULL;
	options = ip->ihl * 4 - sizeof(*ip);
	/* At most 40 bytes, which clang knows and drops; the verifier does not. */
	barrier_var(options);
	return take(at, options & 0x3f) ? ip : NULL;
}

/* Without its extension headers. */
static __always_inline struct ipv6hdr *take_ipv6(struct cursor *at)
{
	struct ipv6hdr *ip = take(at, sizeof(*ip));

	return ip && ip->version == 6 ? ip : NULL;
}

/* Not for every frame: those to a port with one queue pair are known by their MAC. */
static __always_inline void parse_network(struct packet *packet)
{
	packet->arp = NULL;
	packet->ip4 = NULL;
	packet->ip6 = NULL;
	switch (packet->ethertype) {
	case bpf_htons(ETH_P_ARP):
		packet->arp = take(&packet->at, sizeof(*packet->arp));
		break;
	case bpf_htons(ETH_P_IP):
		packet->ip4 = take_ipv4(&packet->at);
		packet->behind_ip4 = packet->at.at;
		break;
	case bpf_htons(ETH_P_IPV6):
		packet->ip6 = take_ipv6(&packet->at);
		break;
	}
}

static __always_inline bool is_extension(__u8 protocol)
{
	switch (protocol) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
	case IPPROTO_AH:
	case IPPROTO_FRAGMENT:
		return true;
	default:
		return false;
	}
}

/*
 * Steps over the extension headers from `upper` on, over a routing header only if `routing`. The answer is an enum
 * chain: CHAIN_BROKEN where the frame or the IPv6 payload ends in them, there are too many, or one is behind a fragment
 * header.
 *
 * The walk is by offset and copies what it reads: with packet pointers the verifier would follow every mix of lengths.
 * It is a global function for the same reason: inlined, what follows was walked once for each mix of headers.
 *
 * The first 8 bytes behind a fragment header come in a first fragment only, since offsets count in 8 bytes. What is
 * behind a further extension header may as well come in a later fragment, and some nodes let that one overwrite the
 * first.
 */
__noinline int step_over_extensions(struct xdp_md *ctx, struct upper *upper, bool routing)
{
	int passed;

	if (!upper)
		return CHAIN_BROKEN; /* cannot be: the verifier asks */
	for (passed = 0; passed <= XSKNET_MAX_EXTENSION_HEADERS; passed++) {
		struct extension extension;
		__u32 length;

		if (!is_extension(upper->protocol))
			return CHAIN_READ;
		if (passed == XSKNET_MAX_EXTENSION_HEADERS || upper->fragment)
			return CHAIN_BROKEN;
		if (upper->protocol == IPPROTO_ROUTING && !routing)
			return CHAIN_ROUTED;

		if (bpf_xdp_load_bytes(ctx, upper->offset, &extension, sizeof(extension)))
			return CHAIN_BROKEN;
		if (upper->protocol == IPPROTO_FRAGMENT) {
			length = sizeof(extension);
			upper->fragment = true;
			upper->later_fragment = extension.fragment_offset & bpf_htons(XSKNET_IP6_OFFSET);
			upper->more_fragments = extension.fragment_offset & bpf_htons(XSKNET_IP6_MORE);
			upper->id = extension.id;
		} else if (upper->protocol == IPPROTO_AH) {
			length = (extension.length + 2) * 4; /* RFC 4302 counts in 4 bytes, all others in 8 */
		} else {
			length = (extension.length + 1) * 8;
		}
		if (length > upper->left || upper->offset + length > bpf_xdp_get_buff_len(ctx))
			return CHAIN_BROKEN;
		upper->protocol = extension.next;
		upper->offset += length;
		upper->left -= length;
		if (upper->later_fragment)
			return CHAIN_READ;
	}
	return CHAIN_BROKEN;
}

/* Likewise, without the call for a packet that has none. */
static __always_inline enum chain walk_extensions(struct xdp_md *ctx, struct upper *upper, bool routing)
{
	upper->fragment = false;
	upper->later_fragment = false;
	upper->more_fragments = false;
	upper->id = 0;
	return is_extension(upper->protocol) ? step_over_extensions(ctx, upper, routing) : CHAIN_READ;
}

static __always_inline enum chain parse_extensions(struct packet *packet, bool routing)
{
	const struct ipv6hdr *ip = packet->ip6;
	struct upper upper = {
		.protocol = ip->nexthdr,
		.offset = (void *)(ip + 1) - (void *)packet->eth,
		.left = bpf_ntohs(ip->payload_len),
	};
	enum chain chain = walk_extensions(packet->ctx, &upper, routing);

	/* A pointer into the packet would keep all of it on the stack, which is too small for that. */
	packet->upper = upper;
	return chain;
}

/* Copies the first bytes behind the extension headers. False where the frame or the IPv6 payload is shorter. */
static __always_inline bool load_upper(struct xdp_md *ctx, const struct upper *upper, void *to, __u32 length)
{
	return length <= upper->left && !bpf_xdp_load_bytes(ctx, upper->offset, to, length);
}

static __always_inline bool same_mac(const __u8 *a, const __u8 *b)
{
	/* clang 14 makes a call of memcmp(.., 6), and there is no such function. */
	const __u16 *x = (const void *)a, *y = (const void *)b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]));
}

/* Two halves as one word, as they lie in memory one behind the other. */
static __always_inline __u64 two_words(__u32 first, __u32 second)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return first | (__u64)second << 32;
#else
	return (__u64)first << 32 | second;
#endif
}

/* A MAC in a VLAN as one word: a key of `macs`, as it lies in memory. */
static __always_inline __u64 mac_word(const __u8 *mac, __u16 vlan)
{
	const __u16 *part = (const void *)mac;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return part[0] | (__u64)part[1] << 16 | (__u64)part[2] << 32 | (__u64)vlan << 48;
#else
	return (__u64)part[0] << 48 | (__u64)part[1] << 32 | (__u64)part[2] << 16 | vlan;
#endif
}

static __always_inline bool is_broadcast(const __u8 *mac)
{
	const __u16 *part = (const void *)mac;

	return (part[0] & part[1] & part[2]) == 0xffff;
}

static __always_inline bool is_group(const __u8 *mac)
{
	return mac[0] & 1;
}

static __always_inline bool is_unspecified6(const struct in6_addr *address)
{
	return !(address->s6_addr32[0] | address->s6_addr32[1] | address->s6_addr32[2] | address->s6_addr32[3]);
}

#endif
