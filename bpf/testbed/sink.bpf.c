// SPDX-License-Identifier: MIT
/*
 * The far end of a test, on tc ingress or, where it must cost little, as an XDP program: takes the numbered UDP
 * datagrams of some ports and counts them. All other frames pass. Either it counts each number of one port, in whatever
 * order they come, or it follows one flow per port, without end, whose numbers must rise.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>

#include "numbered.h"

#define MAX_SOURCES 1024
#define MAX_FLOWS 64

const volatile __u32 sink_port = 0;	 /* destination of the datagrams taken */
const volatile __u32 flows = 0;		 /* that many ports from there on, each a flow; 0: one port, by numbers */
const volatile __u32 number_offset = 0; /* in the frame */
const volatile __u32 numbers = 0;	 /* numbers from here on are corrupt */

struct report {
	__u64 frames;
	__u64 distinct;
	__u64 repeated;
	__u64 late;
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

/* The number that each flow goes on with. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_FLOWS);
	__type(key, __u32);
	__type(value, __u64);
} expected SEC(".maps");

struct source {
	__u8 mac[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SOURCES);
	__type(key, struct source);
	__type(value, __u64);
} sources SEC(".maps");

/* Of an skb or an XDP frame: which of the two is known when it is compiled. */
static __always_inline long load(void *ctx, bool is_skb, __u32 at, void *to, __u32 length)
{
	return is_skb ? bpf_skb_load_bytes(ctx, at, to, length) : bpf_xdp_load_bytes(ctx, at, to, length);
}

static __always_inline void count_source(void *ctx, bool is_skb)
{
	struct source source;
	__u64 zero = 0, *count;

	if (load(ctx, is_skb, ETH_ALEN, &source, sizeof(source)))
		return;
	bpf_map_update_elem(&sources, &source, &zero, BPF_NOEXIST);
	count = bpf_map_lookup_elem(&sources, &source);
	if (count)
		__sync_fetch_and_add(count, 1);
}

/* Behind the number: what must follow from it, up to the datagram's end. */
static __always_inline bool is_pattern_whole(void *ctx, bool is_skb, __u64 number, __u32 end)
{
	__u32 at = number_offset + sizeof(__be64);
	__u8 byte;
	int i;

	for (i = 0; i < XSKNET_PATTERN && at + i < end; i++)
		if (load(ctx, is_skb, at + i, &byte, sizeof(byte)) || byte != (__u8)(number + i))
			return false;
	return true;
}

/* Where a number's datagram is counted; NULL: it was never sent. */
static __always_inline __u64 *by_number(struct report *report, __u64 number)
{
	__u32 key = number, *times;

	if (number >= numbers)
		return NULL;
	times = bpf_map_lookup_elem(&seen, &key);
	if (!times)
		return NULL;
	return __sync_fetch_and_add(times, 1) ? &report->repeated : &report->distinct;
}

/* The same of a flow. What another CPU overtakes meanwhile is late, too. */
static __always_inline __u64 *in_order(struct report *report, __u32 flow, __u64 number)
{
	__u64 *next = bpf_map_lookup_elem(&expected, &flow), was;

	if (!next)
		return NULL;
	was = __sync_val_compare_and_swap(next, number, number + 1);
	if (was == number || (was < number && __sync_val_compare_and_swap(next, was, number + 1) == was))
		return &report->distinct;
	return &report->late;
}

/* Whether it was a datagram for the sink. */
static __always_inline bool take(void *ctx, bool is_skb)
{
	struct {
		struct iphdr ip;
		struct udphdr udp;
	} headers;
	struct report *report;
	__be16 ethertype;
	__u32 slot = 0, end, flow;
	__u64 *count = NULL;
	__be64 number;

	report = bpf_map_lookup_elem(&reports, &slot);
	if (!report)
		return false;
	count_source(ctx, is_skb);

	if (load(ctx, is_skb, 2 * ETH_ALEN, &ethertype, sizeof(ethertype)) ||
	    ethertype != bpf_htons(ETH_P_IP) || load(ctx, is_skb, ETH_HLEN, &headers, sizeof(headers)))
		return false;
	if (headers.ip.version != 4 || headers.ip.ihl != 5 || headers.ip.protocol != IPPROTO_UDP)
		return false;
	flow = bpf_ntohs(headers.udp.dest) - sink_port;
	if (flow >= (flows ? flows : 1))
		return false;

	end = ETH_HLEN + sizeof(struct iphdr) + bpf_ntohs(headers.udp.len);
	if (number_offset + sizeof(number) <= end && !load(ctx, is_skb, number_offset, &number, sizeof(number))) {
		number = bpf_be64_to_cpu(number);
		if (is_pattern_whole(ctx, is_skb, number, end))
			count = flows ? in_order(report, flow, number) : by_number(report, number);
	}
	__sync_fetch_and_add(count ? count : &report->corrupt, 1);
	/* Last: a reader that waits for this count takes the other counts as complete. */
	__sync_fetch_and_add(&report->frames, 1);
	return true;
}

SEC("classifier")
int sink(struct __sk_buff *skb)
{
	return !skb->vlan_present && take(skb, true) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

SEC("xdp")
int sink_xdp(struct xdp_md *ctx)
{
	return take(ctx, false) ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
