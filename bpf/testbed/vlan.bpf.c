// SPDX-License-Identifier: MIT
/*
 * The edge of a VLAN, for tests on a kernel without VLAN devices: on tc egress what the device's host sends gets the
 * tag, on tc ingress what has the tag loses it and the rest is dropped. `push` leaves the tag in the skb's metadata, as
 * a VLAN device does; whether it ends in the frame or travels on beside it is the device's offload to say.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 vlan = 0;

SEC("classifier")
int push(struct __sk_buff *skb)
{
	return bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), vlan) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

/* The kernel has taken the outer tag out of the frame before tc sees it. */
SEC("classifier")
int pop(struct __sk_buff *skb)
{
	if (!skb->vlan_present || (skb->vlan_tci & 0x0fff) != vlan)
		return TC_ACT_SHOT;
	return bpf_skb_vlan_pop(skb) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
