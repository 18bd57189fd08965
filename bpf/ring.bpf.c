// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * On the inner end of the pair of a queue that has BPF rings, in the place of port.bpf.c; and what its client sends by:
 * the client itself runs this program (BPF_PROG_TEST_RUN with live frames), once for each frame that waits in its ring.
 * Being attached keeps the program in the kernel's XDP dispatcher, else each call would wait for RCU, some 20 ms.
 *
 * The client holds a descriptor of it, for as long as it likes, and may run it on any frame and any context. A run that
 * is not live does nothing. In one that is, what it is run on counts for nothing: the frame is overwritten by the next
 * one of the client's ring, and that copy goes to ring_guard.bpf.c. An object of its own for each queue, so that it
 * speaks for no other one; and once the daemon has taken the key out of `ring_states`, for none. It is small, because
 * it is loaded as often: verifying the guard's rules takes 60 ms.
 */
#include <xsknet/ring.h>

/* A map and no constants, so that one loader serves all queues. Made for this queue alone. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xsknet_identity);
} identities SEC(".maps");

/* Before a frame: the room that the kernel leaves in front of received ones, and that others begin at, too. */
#define USUAL_OFFSET XSKNET_RING_MIN_OFFSET

/* Of a live frame's first byte from its context, at most: less than the smallest page. */
#define LIVE_DISTANCE 4096

/*
 * Puts what lies at `address` in the client's memory into the frame that the kernel brought. What lies before it in the
 * chunk, from the usual offset or the start, is copied along and cut off again: the verifier knows bounds of an offset
 * and of a length, and none of their sum.
 */
static __always_inline bool load_frame(struct xdp_md *ctx, void *memory, __u32 address, __u32 length)
{
	__u32 offset = address & (XSKNET_RING_CHUNK - 1);
	__u64 start = offset >= USUAL_OFFSET ? USUAL_OFFSET : 0;
	__u64 skipped = offset - start;
	__u64 total = skipped + length;
	struct ring_chunk *chunk;
	__u64 had;

	if (length < ETH_HLEN || length > XSKNET_RING_ROOM || offset + length > XSKNET_RING_CHUNK)
		return false;
	chunk = chunk_of(memory, address / XSKNET_RING_CHUNK);
	had = bpf_xdp_get_buff_len(ctx);
	if (!chunk || (total != had && bpf_xdp_adjust_tail(ctx, (int)total - (int)had)))
		return false;
	barrier_var(total);
	if (start) {
		if (total == 0 || total > XSKNET_RING_CHUNK - USUAL_OFFSET ||
		    (!copy_short(ctx, chunk->bytes + USUAL_OFFSET, total, true) &&
		     bpf_xdp_store_bytes(ctx, 0, chunk->bytes + USUAL_OFFSET, total)))
			return false;
	} else {
		if (total == 0 || total > XSKNET_RING_CHUNK || bpf_xdp_store_bytes(ctx, 0, chunk->bytes, total))
			return false;
	}
	return !skipped || !bpf_xdp_adjust_head(ctx, skipped);
}

/* As take_rx(), of sending: NULL where nothing waits, or another call has taken it. */
static __always_inline struct xsknet_tx_slot *take_tx(struct xsknet_ring_state *state,
						      struct xsknet_ring_control *control, __u64 *position)
{
	__u64 head = READ_ONCE(state->tx_head);
	struct xsknet_tx_slot *slot = &control->tx[head & state->tx_mask & (XSKNET_RING_SLOTS - 1)];

	*position = head;
	return IS_GIVEN(slot, head) && TAKE(state->tx_head, head) ? slot : NULL;
}

static __always_inline int transmit(struct xdp_md *ctx, const struct xsknet_identity *own)
{
	__u32 ring = own->ring, zero = 0, *turn;
	struct xsknet_ring_control *control;
	struct xsknet_counters *counters;
	struct xsknet_ring_state *state;
	struct xsknet_tx_slot *slot;
	void *memory;
	bool loaded;
	__u64 head;

	state = bpf_map_lookup_elem(&ring_states, &ring);
	turn = bpf_map_lookup_elem(&ring_turns, &zero);
	control = control_of(ring);
	memory = bpf_map_lookup_elem(&ring_memories, &ring);
	if (!state || !turn || !control || !memory || state->key != own->key)
		return XDP_DROP;
	slot = take_tx(state, control, &head);
	if (!slot)
		return XDP_DROP; /* of the kernel's frame: nothing of the client's was taken */

	loaded = load_frame(ctx, memory, READ_ONCE(slot->address), READ_ONCE(slot->length));
	GIVE_BACK(slot, head);
	if (loaded) {
		*turn = ring;
		bpf_tail_call(ctx, &ring_guards, 0);
	}
	counters = bpf_map_lookup_elem(&guard_counters, &state->guard.port);
	if (!counters)
		return XDP_DROP; /* its port is being closed; see Tables::remove_port */
	arrive(counters);
	return VERDICT(leave(counters, loaded ? XSKNET_DROP_NO_GUARD : XSKNET_DROP_MALFORMED, XDP_DROP));
}

/*
 * Whether the kernel made this frame for a live run, as the client is to: the context is in the frame's own page then
 * (struct xdp_page_head in net/bpf/test_run.c), and on the stack or in a driver's memory otherwise.
 *
 * A client can attach the program to devices, at least in a network namespace of its own. What they receive must not be
 * sent on: in skb mode it is part of a packet that has a VLAN tag, an unfinished checksum or segments beside it, as the
 * client wanted, which the device that it leaves by would put in after the guard has judged it.
 */
static __always_inline bool is_live(struct xdp_md *ctx)
{
	__u64 distance = (__u64)(long)ctx->data - (__u64)(long)ctx;

	return distance < LIVE_DISTANCE;
}

/* By this name the daemon knows that some client has a program of this kind still; see link_guard.bpf.c. */
SEC("xdp.frags")
int ring_port(struct xdp_md *ctx)
{
	struct xsknet_identity *own;
	__u32 zero = 0;

	own = bpf_map_lookup_elem(&identities, &zero);
	if (!own)
		return XDP_DROP; /* cannot be: an array is full from the first; the verifier asks */
	if (is_live(ctx) || own->dry_runs)
		return transmit(ctx, own);
	/* Nothing is steered to the inner end. A device that the client has attached this to goes on as without it. */
	return ctx->ingress_ifindex == own->inner ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
