// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * The source of a self-test's frame: makes a device receive it as an skb, as generic XDP needs it. Never attached:
 * BPF_PROG_TEST_RUN runs it, once per frame.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 target_ifindex = 0;

/* Frames that the kernel did not take. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} refused SEC(".maps");

SEC("classifier")
int inject(struct __sk_buff *skb)
{
	__u32 slot = 0;
	__u64 *count;

	if (bpf_clone_redirect(skb, target_ifindex, BPF_F_INGRESS)) {
		count = bpf_map_lookup_elem(&refused, &slot);
		if (count)
			__sync_fetch_and_add(count, 1);
	}
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
