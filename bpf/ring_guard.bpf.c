// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * Judges what a client sends from its ring: a copy, which the client cannot change any more. ring.bpf.c calls it, and
 * nobody else can: no client has a descriptor of it. rules.h says what a port may send.
 */

SEC("xdp.frags")
int ring_guard(struct xdp_md *ctx)
{
	struct xsknet_counters *counters;
	struct xsknet_ring_state *state;
	__u32 zero = 0, *turn;

	turn = bpf_map_lookup_elem(&ring_turns, &zero);
	if (!turn)
		return XDP_DROP; /* cannot be: an array is full from the first; the verifier asks */
	state = bpf_map_lookup_elem(&ring_states, turn);
	if (!state)
		return XDP_DROP; /* cannot be: it was found a moment ago */
	counters = bpf_map_lookup_elem(&guard_counters, &state->guard.port);
	if (!counters)
		return XDP_DROP; /* its port is being closed; see Tables::remove_port */
	return let_out(ctx, &state->guard, counters);
}
