/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * Which queue pair of a port gets a frame: a hash of the packet's addresses, protocol and ports. Both directions
 * between two ends get the same one, and so do all fragments of a packet; the rest of the frame does not matter.
 * docs/verdicts.md has the rules.
 */
#ifndef XSKNET_QUEUE_H
#define XSKNET_QUEUE_H

#include <xsknet/parse.h>

/* Drawn when the object is loaded, so that nobody can compute beforehand which packets share a queue pair. */
const volatile __u32 queue_seed = 0;

/* A multiplier with no pattern in it: the fraction of the golden ratio. */
#define XSKNET_MIX 0x9e3779b97f4a7c15ULL

/* The ports of TCP, UDP and SCTP, which all have them first. */
struct upper_ports {
	__be16 source;
	__be16 destination;
};

/* Every bit of the input has a say in the upper half, and from there in all of it. */
static __always_inline __u64 stir(__u64 value)
{
	value *= XSKNET_MIX;
	return value ^ value >> 32;
}

/*
 * One end, address and port. The other is mixed alike and added, so that it does not matter which of them is the
 * source.
 */
static __always_inline __u64 mix_end(__u64 address, __be16 port)
{
	return stir(stir(address ^ queue_seed) + port);
}

static __always_inline __u64 fold6(const struct in6_addr *address)
{
	__u64 high = (__u64)address->s6_addr32[0] << 32 | address->s6_addr32[1];
	__u64 low = (__u64)address->s6_addr32[2] << 32 | address->s6_addr32[3];

	return stir(high) + low;
}

static __always_inline bool has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

/* Of addresses as they are, or as fold6() makes them; the upper half counts. */
static __always_inline __u64 hash_ends(__u64 source, __u64 destination, struct upper_ports ports, __u8 protocol)
{
	return stir(mix_end(source, ports.source) + mix_end(destination, ports.destination) + protocol);
}

/* 0 to queue_pairs - 1. */
static __always_inline __u32 pick(__u64 hash, __u32 queue_pairs)
{
	return (hash >> 32) * queue_pairs >> 32;
}

static __always_inline __u32 pick_queue_pair(__u64 source, __u64 destination, struct upper_ports ports, __u8 protocol,
					     __u32 queue_pairs)
{
	return pick(hash_ends(source, destination, ports, protocol), queue_pairs);
}

/*
 * Of a packet, whose network layer has been parsed; 0 for what is not IP, and for a header that is cut or contradicts
 * itself.
 */
static __always_inline __u64 flow_hash(const struct packet *packet)
{
	struct upper_ports ports = {}, *there;
	__u64 source, destination;
	bool fragment = false;
	struct cursor at = { .end = packet->at.end };
	__u8 protocol;

	if (packet->ip4) {
		source = packet->ip4->saddr;
		destination = packet->ip4->daddr;
		protocol = packet->ip4->protocol;
		at.at = packet->behind_ip4;
		fragment = packet->ip4->frag_off & bpf_htons(XSKNET_IP_MORE | XSKNET_IP_OFFSET);
	} else if (packet->ip6) {
		source = fold6(&packet->ip6->saddr);
		destination = fold6(&packet->ip6->daddr);
		/*
		 * An extension header stands for what is behind it: it is the same in every fragment, and costs no
		 * walk.
		 */
		protocol = packet->ip6->nexthdr;
		at.at = packet->ip6 + 1;
	} else {
		return 0;
	}

	if (has_ports(protocol) && !fragment) {
		there = take(&at, sizeof(*there));
		if (there)
			ports = *there;
	}
	return hash_ends(source, destination, ports, protocol);
}

/* 0 to queue_pairs - 1. */
static __always_inline __u32 queue_pair_of(const struct packet *packet, __u32 queue_pairs)
{
	return pick(flow_hash(packet), queue_pairs);
}

#endif
