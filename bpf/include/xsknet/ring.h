/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * BPF rings: a client's memory, which the programs read and write themselves. A frame is copied once, into a chunk that
 * the client has given away, or out of one; there is no socket and no second device on its way.
 *
 * Several CPUs may deliver to one ring at once. Each takes a slot by exchanging the ring's position for the next one;
 * the copying is done side by side, and each slot is given back when its own frame is whole. So a client may find a
 * slot given back before an earlier one, and waits for that.
 *
 * Everything that a client can write is read once and bounded; what is wrong there harms its own frames alone. Where a
 * slot is, who may send and as what, and what has been counted is in `ring_states`, out of its reach.
 */
#ifndef XSKNET_RING_H
#define XSKNET_RING_H

#include <xsknet/parse.h>

#define READ_ONCE(word) (*(const volatile __typeof__(word) *)&(word))
/* On every architecture whatever was written before is seen before this: a plain store does not promise that. */
#define GIVE_BACK(slot, head) ((void)__sync_lock_test_and_set(&(slot)->sequence, (__u32)(2 * (head) + 2)))
/* Whether the client has given the slot of this position away. */
#define IS_GIVEN(slot, head) (READ_ONCE((slot)->sequence) == (__u32)(2 * (head) + 1))
/*
 * Takes a position: whatever is read from its slot now, on every architecture, was written before it was given away.
 */
#define TAKE(position, head) (__sync_val_compare_and_swap(&(position), head, (head) + 1) == (head))
/* Each time that the exchange fails, another CPU has taken a position. */
#define XSKNET_RING_ATTEMPTS 16

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XSKNET_MAX_RINGS);
	__type(key, __u32);
	__type(value, struct xsknet_ring_state);
} ring_states SEC(".maps");

/*
 * The templates of the inner maps: the loader makes one of each, and the daemon the clients'. By their sizes: clang
 * leaves out what a type consists of that only an inner map names.
 */
struct ring_control {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct xsknet_ring_control));
};

struct ring_chunk {
	__u8 bytes[XSKNET_RING_CHUNK];
};

struct ring_memory {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct ring_chunk));
};

struct ring_wake {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, XSKNET_RING_WAKE_BYTES);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, XSKNET_MAX_RINGS);
	__type(key, __u32);
	__array(values, struct ring_control);
} ring_controls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, XSKNET_MAX_RINGS);
	__type(key, __u32);
	__array(values, struct ring_memory);
} ring_memories SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, XSKNET_MAX_RINGS);
	__type(key, __u32);
	__array(values, struct ring_wake);
} ring_wakes SEC(".maps");

/* One slot: the program that judges what clients send from rings; see ring_guard.bpf.c. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} ring_guards SEC(".maps");

/* The ring whose frame this CPU judges next. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} ring_turns SEC(".maps");

/*
 * What ports' guards have counted. Key: the port's id, and XSKNET_NO_PORT_ID. Not preallocated: most uplinks have few
 * ports, and some many CPUs.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, XSKNET_MAX_PORTS + 1);
	__type(key, __u32);
	__type(value, struct xsknet_counters);
} guard_counters SEC(".maps");

static __always_inline struct xsknet_ring_control *control_of(__u32 ring)
{
	void *map = bpf_map_lookup_elem(&ring_controls, &ring);
	__u32 only = 0;

	return map ? bpf_map_lookup_elem(map, &only) : NULL;
}

static __always_inline struct ring_chunk *chunk_of(void *memory, __u32 chunk)
{
	return bpf_map_lookup_elem(memory, &chunk);
}

/* The client is awake from here on as far as anybody knows, so that not every frame rings. */
static __always_inline void wake(struct xsknet_ring_control *control, __u32 ring)
{
	__u64 nothing = 0;
	void *bell;

	if (!READ_ONCE(control->asleep) || !__sync_lock_test_and_set(&control->asleep, 0))
		return;
	bell = bpf_map_lookup_elem(&ring_wakes, &ring);
	/* A client that does not read what rang before is awake, or does not want to be. */
	if (bell)
		bpf_ringbuf_output(bell, &nothing, sizeof(nothing), BPF_RB_FORCE_WAKEUP);
}

/* Copies 32 bytes, wherever they lie: by words, which __builtin_memcpy() of unaligned bytes would not. */
static __always_inline void copy_32(void *to, const void *from)
{
	const __u64 *source = from;
	__u64 *target = to, a = source[0], b = source[1], c = source[2], d = source[3];

	target[0] = a;
	target[1] = b;
	target[2] = c;
	target[3] = d;
}

#define XSKNET_COPY_LEAST 32
#define XSKNET_COPY_MOST 128

/*
 * Copies a whole frame to or from a client's memory. Most are short, and a helper's call costs more than their copy:
 * one of 32 to 64 bytes goes by its first and its last 32, one of up to 128 by its first and its last 64. False: it is
 * none of these, or not in one piece.
 */
static __always_inline bool copy_short(struct xdp_md *ctx, void *memory, __u64 length, bool into_frame)
{
	void *frame = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *last;
	__u64 half = length <= 64 ? 32 : 64, behind = length - half;

	if (length < XSKNET_COPY_LEAST || length > XSKNET_COPY_MOST)
		return false;
	barrier_var(behind);
	if (behind > 64)
		return false; /* cannot be: the verifier wants to see the bound */
	last = frame + behind;
	if (half == 32) {
		if (frame + 32 > end || last + 32 > end)
			return false;
		copy_32(into_frame ? frame : memory, into_frame ? memory : frame);
	} else {
		if (frame + 64 > end || last + 64 > end)
			return false;
		copy_32(into_frame ? frame : memory, into_frame ? memory : frame);
		copy_32(into_frame ? frame + 32 : memory + 32, into_frame ? memory + 32 : frame + 32);
		copy_32(into_frame ? last + 32 : memory + behind + 32, into_frame ? memory + behind + 32 : last + 32);
	}
	copy_32(into_frame ? last : memory + behind, into_frame ? memory + behind : last);
	return true;
}

/* The next slot of reception, and its position; NULL: the client has given none away. */
static __always_inline struct xsknet_rx_slot *take_rx(struct xsknet_ring_state *state,
						      struct xsknet_ring_control *control, __u64 *position)
{
	int attempt;

	for (attempt = 0; attempt < XSKNET_RING_ATTEMPTS; attempt++) {
		__u64 head = READ_ONCE(state->rx_head);
		struct xsknet_rx_slot *slot = &control->rx[head & state->rx_mask & (XSKNET_RING_SLOTS - 1)];

		if (IS_GIVEN(slot, head)) {
			if (TAKE(state->rx_head, head)) {
				*position = head;
				return slot;
			}
		} else if (READ_ONCE(state->rx_head) == head) {
			break; /* else another CPU has given it back meanwhile */
		}
	}
	return NULL;
}

/* Whether the next frame would be received, as far as the client has prepared for it so far. Nothing is taken. */
static __always_inline enum xsknet_counter would_receive(struct xsknet_ring_state *state,
							 struct xsknet_ring_control *control, void *memory)
{
	__u64 head = READ_ONCE(state->rx_head);
	struct xsknet_rx_slot *slot = &control->rx[head & state->rx_mask & (XSKNET_RING_SLOTS - 1)];

	if (!IS_GIVEN(slot, head) || !chunk_of(memory, READ_ONCE(slot->value)))
		return objects(XSKNET_DROP_NO_CHUNK, XSKNET_RULE_NO_CHUNK);
	return XSKNET_TO_RING;
}

/* A packet of a tc program, whose outer VLAN tag the kernel has taken off. It is put in again. */
static __always_inline bool load_skb(struct __sk_buff *skb, __u8 *to, __u64 length)
{
	__be16 *tag = (void *)(to + 2 * ETH_ALEN);

	if (!skb->vlan_present)
		return !bpf_skb_load_bytes(skb, 0, to, length);
	if (length < ETH_HLEN + sizeof(struct vlan_tag) || bpf_skb_load_bytes(skb, 0, to, 2 * ETH_ALEN))
		return false;
	tag[0] = skb->vlan_proto;
	tag[1] = bpf_htons(skb->vlan_tci);
	length -= 2 * ETH_ALEN + sizeof(struct vlan_tag);
	return !bpf_skb_load_bytes(skb, 2 * ETH_ALEN, tag + 2, length);
}

/* Before a frame: by words, as in copy_32(). */
static __always_inline void tell(void *frame, const struct xsknet_tapped *tapped)
{
	const __u64 *source = (const void *)tapped;
	__u64 *target = frame;

	target[-2] = source[0];
	target[-1] = source[1];
}

/*
 * Copies a frame's first bytes into a client's memory, those of `skb` where there is one, else of `ctx`. What a tap is
 * told, if there is anything, goes before them. XSKNET_TO_RING, or the counter of its drop.
 */
static __always_inline enum xsknet_counter receive_from(struct xdp_md *ctx, struct __sk_buff *skb, __u64 length,
							__u32 ring, const struct xsknet_tapped *tapped)
{
	__u64 head = 0;
	struct xsknet_ring_control *control;
	struct xsknet_ring_state *state;
	struct xsknet_rx_slot *slot;
	struct ring_chunk *chunk;
	__u32 offset;
	void *memory;

	state = bpf_map_lookup_elem(&ring_states, &ring);
	control = control_of(ring);
	memory = bpf_map_lookup_elem(&ring_memories, &ring);
	if (!state || !control || !memory)
		return objects(XSKNET_DROP_NO_PORT, XSKNET_RULE_NO_PORT);
	if (length < ETH_HLEN || length > XSKNET_RING_ROOM)
		return objects(XSKNET_DROP_TOO_LONG, XSKNET_RULE_TOO_LONG);
	if (EXPLAINING)
		return would_receive(state, control, memory);

	slot = take_rx(state, control, &head);
	if (!slot) {
		__sync_fetch_and_add(&state->no_chunk, 1);
		return XSKNET_DROP_NO_CHUNK;
	}
	chunk = chunk_of(memory, READ_ONCE(slot->value));
	offset = state->offset;
	if (offset > XSKNET_RING_MAX_OFFSET)
		offset = XSKNET_RING_MAX_OFFSET;
	if (tapped && offset < XSKNET_RING_MIN_OFFSET)
		offset = XSKNET_RING_MIN_OFFSET; /* cannot be: the verifier wants to see the bound */
	if (tapped && chunk)
		tell(chunk->bytes + offset, tapped);
	if (!chunk || (skb ? !load_skb(skb, chunk->bytes + offset, length) :
			     !copy_short(ctx, chunk->bytes + offset, length, false) &&
				     bpf_xdp_load_bytes(ctx, 0, chunk->bytes + offset, length))) {
		__sync_fetch_and_add(&state->invalid_chunk, 1);
		slot->value = 0;
		GIVE_BACK(slot, head);
		return XSKNET_DROP_NO_CHUNK;
	}
	slot->value = length;
	GIVE_BACK(slot, head);
	wake(control, ring);
	return XSKNET_TO_RING;
}

/* Copies a frame of so many bytes into a client's memory. XSKNET_TO_RING, or the counter of its drop. */
static __always_inline enum xsknet_counter receive(struct xdp_md *ctx, __u64 length, __u32 ring)
{
	return receive_from(ctx, NULL, length, ring, NULL);
}

static __always_inline void arrive(struct xsknet_counters *counters)
{
	if (!EXPLAINING)
		counters->count[XSKNET_SEEN]++;
}

/* How a frame leaves a program: its verdict, and the counter that it has moved. */
#define XSKNET_VERDICT_BITS 8
#define VERDICT(left) ((left) & ((1 << XSKNET_VERDICT_BITS) - 1))
#define LEFT_BY(left) ((left) >> XSKNET_VERDICT_BITS)

static __always_inline int leave(struct xsknet_counters *counters, enum xsknet_counter by, int verdict)
{
	if (EXPLAINING)
		note(XSKNET_NOTE_LEFT, by, 0, 0, 0);
	else
		counters->count[by]++;
	return verdict | (int)by << XSKNET_VERDICT_BITS;
}

#endif
