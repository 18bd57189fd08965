/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/* Reading a packet of a tc program, into the same context as a frame of XDP. */
#ifndef XSKNET_SKB_H
#define XSKNET_SKB_H

#include <xsknet/parse.h>

/* Ethernet, a second tag, IPv4 with all options, ports: what is looked at. */
#define XSKNET_LOOKED_AT (ETH_HLEN + 4 + 60 + 4)

/*
 * The kernel has taken the outer tag off: what is left in the frame is the inner one. False where the uplink program
 * does not read the packet either.
 */
static __always_inline bool parse_skb(struct packet *packet, struct __sk_buff *skb)
{
	enum tagging tagging;

	packet->at.at = (void *)(long)skb->data;
	packet->at.end = (void *)(long)skb->data_end;
	packet->eth = take(&packet->at, sizeof(*packet->eth));
	if (!packet->eth)
		return false;
	tagging = parse_tags(packet);
	packet->length = skb->len;
	if (skb->vlan_present) {
		packet->length += sizeof(struct vlan_tag);
		packet->vlan = XSKNET_FOREIGN_TAG;
		if (skb->vlan_proto == bpf_htons(ETH_P_8021Q))
			packet->vlan = XSKNET_TAGGED | (skb->vlan_tci & 0x0fff);
	}
	return tagging <= (skb->vlan_present ? TAGS_AT_MOST_ONE : TAGS_TWO);
}

/* The same, with what is looked at in one piece: what is not linear would count as cut. */
static __always_inline bool parse_whole_skb(struct packet *packet, struct __sk_buff *skb)
{
	bool is_read = parse_skb(packet, skb);
	__u32 linear = skb->data_end - skb->data;

	if (linear >= skb->len || linear >= XSKNET_LOOKED_AT)
		return is_read;
	bpf_skb_pull_data(skb, skb->len < XSKNET_LOOKED_AT ? skb->len : XSKNET_LOOKED_AT);
	return parse_skb(packet, skb);
}

#endif
