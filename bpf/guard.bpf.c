// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/* On the outer end of every port: rules.h says what a port may send. */

SEC("xdp.frags")
int guard(struct xdp_md *ctx)
{
	struct xsknet_counters *counters = NULL;
	__u32 ifindex = ctx->ingress_ifindex;
	__u32 none = XSKNET_NO_PORT_ID;
	struct xsknet_guard *own;

	own = bpf_map_lookup_elem(&guards, &ifindex);
	if (own)
		counters = bpf_map_lookup_elem(&guard_counters, &own->port);
	if (!own || !counters) {
		counters = bpf_map_lookup_elem(&guard_counters, &none);
		if (!counters)
			return XDP_DROP; /* cannot be: the loader makes this entry before anything is attached */
		arrive(counters);
		return VERDICT(leave(counters, objects(XSKNET_DROP_NO_GUARD, XSKNET_RULE_NO_GUARD), XDP_DROP));
	}
	return let_out(ctx, own, counters);
}
