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

static __always_inline void count_source(const struct source *source)
{
	__u64 zero = 0, *count = bpf_map_lookup_elem(&sources, source);

	if (!count) {
		bpf_map_update_elem(&sources, source, &zero, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&sources, source);
	}
	if (count)
		__sync_fetch_and_add(count, 1);
}

/* Masks the first bytes of a word, as they lie in memory. */
static __always_inline __u64 first_bytes(__s32 count)
{
	if (count <= 0)
		return 0;
	if (count >= 8)
		return ~0ULL;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (1ULL << 8 * count) - 1;
#else
	return ~(~0ULL >> 8 * count);
#endif
}

/* Whether what is behind the number follows from it, as far as the frame goes: `length` bytes with the number. */
static __always_inline bool is_pattern_whole(const struct numbered *payload, __u64 number, __u32 length)
{
	__u64 wrong = 0;
	int i;

#pragma unroll
	for (i = 0; i < XSKNET_PATTERN / 8; i++)
		wrong |= payload->pattern[i] ^ (pattern(number, i) & first_bytes((__s32)length - 8 * (i + 1)));
	return !wrong;
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

struct headers {
	__u8 destination[ETH_ALEN];
	struct source source;
	__be16 ethertype;
	struct iphdr ip;
	struct udphdr udp;
} __attribute__((packed));

/*
 * Whether it was a datagram for the sink. It is read by two calls: each costs more than what it copies, and the sink is
 * the sender's time where a benchmark counts what arrives.
 */
static __always_inline bool take(void *ctx, bool is_skb)
{
	struct numbered payload = {};
	struct headers headers;
	struct report *report;
	__u32 slot = 0, flow, length;
	__u64 *count = NULL, number;

	report = bpf_map_lookup_elem(&reports, &slot);
	if (!report)
		return false;
	if (load(ctx, is_skb, 0, &headers, sizeof(headers))) {
		if (!load(ctx, is_skb, 0, &headers, ETH_HLEN))
			count_source(&headers.source);
		return false;
	}
	count_source(&headers.source);
	if (headers.ethertype != bpf_htons(ETH_P_IP) || headers.ip.version != 4 || headers.ip.ihl != 5 ||
	    headers.ip.protocol != IPPROTO_UDP)
		return false;
	flow = bpf_ntohs(headers.udp.dest) - sink_port;
	if (flow >= (flows ? flows : 1))
		return false;

	length = ETH_HLEN + sizeof(struct iphdr) + bpf_ntohs(headers.udp.len) - number_offset;
	if ((__s32)length >= (__s32)sizeof(payload.number)) {
		if (length > sizeof(payload))
			length = sizeof(payload);
		/* The bound once more, in a register that clang cannot replace by another one. */
		barrier_var(length);
		if (length > 0 && length <= sizeof(payload) && !load(ctx, is_skb, number_offset, &payload, length)) {
			number = bpf_be64_to_cpu(payload.number);
			if (is_pattern_whole(&payload, number, length))
				count = flows ? in_order(report, flow, number) : by_number(report, number);
		}
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
