// SPDX-License-Identifier: MIT
/*
 * The far end of a test, on tc ingress: takes the numbered UDP datagrams of one port and tells what became of them. All
 * other frames pass.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>

#include <xsknet/numbered.h>

#define MAX_SOURCES 1024

const volatile __u32 sink_port = 0;	 /* destination of the datagrams taken */
const volatile __u32 number_offset = 0; /* in the frame */
const volatile __u32 numbers = 0;	 /* numbers from here on are corrupt */

struct report {
	__u64 frames;
	__u64 distinct;
	__u64 repeated;
	__u64 corrupt;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct report);
} reports SEC(".maps");

/* How often each number came. The loader sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} seen SEC(".maps");

struct source {
	__u8 mac[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SOURCES);
	__type(key, struct source);
	__type(value, __u64);
} sources SEC(".maps");

static __always_inline void count_source(struct __sk_buff *skb)
{
	struct source source;
	__u64 zero = 0, *count;

	if (bpf_skb_load_bytes(skb, ETH_ALEN, &source, sizeof(source)))
		return;
	bpf_map_update_elem(&sources, &source, &zero, BPF_NOEXIST);
	count = bpf_map_lookup_elem(&sources, &source);
	if (count)
		__sync_fetch_and_add(count, 1);
}

/* Behind the number: what must follow from it, up to the datagram's end. */
static __always_inline bool is_pattern_whole(struct __sk_buff *skb, __u64 number, __u32 end)
{
	__u32 at = number_offset + sizeof(__be64);
	__u8 byte;
	int i;

	for (i = 0; i < XSKNET_PATTERN && at + i < end; i++)
		if (bpf_skb_load_bytes(skb, at + i, &byte, sizeof(byte)) || byte != (__u8)(number + i))
			return false;
	return true;
}

SEC("classifier")
int sink(struct __sk_buff *skb)
{
	struct {
		struct iphdr ip;
		struct udphdr udp;
	} headers;
	struct report *report;
	__be16 ethertype;
	__u32 slot = 0, end, key, *times;
	__be64 number;

	report = bpf_map_lookup_elem(&reports, &slot);
	if (!report)
		return TC_ACT_UNSPEC;
	count_source(skb);

	if (skb->vlan_present || bpf_skb_load_bytes(skb, 2 * ETH_ALEN, &ethertype, sizeof(ethertype)) ||
	    ethertype != bpf_htons(ETH_P_IP) || bpf_skb_load_bytes(skb, ETH_HLEN, &headers, sizeof(headers)))
		return TC_ACT_UNSPEC;
	if (headers.ip.version != 4 || headers.ip.ihl != 5 || headers.ip.protocol != IPPROTO_UDP ||
	    headers.udp.dest != bpf_htons(sink_port))
		return TC_ACT_UNSPEC;

	end = ETH_HLEN + sizeof(struct iphdr) + bpf_ntohs(headers.udp.len);
	if (number_offset + sizeof(number) > end || bpf_skb_load_bytes(skb, number_offset, &number, sizeof(number)))
		goto corrupt;
	number = bpf_be64_to_cpu(number);
	if (number >= numbers || !is_pattern_whole(skb, number, end))
		goto corrupt;
	key = number;
	times = bpf_map_lookup_elem(&seen, &key);
	if (!times)
		goto corrupt;
	__sync_fetch_and_add(__sync_fetch_and_add(times, 1) ? &report->repeated : &report->distinct, 1);
	goto counted;

corrupt:
	__sync_fetch_and_add(&report->corrupt, 1);
counted:
	/* Last, because whoever waits for so many frames takes all the rest for counted then. */
	__sync_fetch_and_add(&report->frames, 1);
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
