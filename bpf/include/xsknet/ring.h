/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * BPF rings: a client's memory, which the programs read and write themselves. A frame is copied once, into a chunk that
 * the client has given away, or out of one; there is no socket and no second device on its way.
 *
 * Several CPUs may deliver to one ring at once. Each takes a slot under the ring's lock, in turn; the copying is done
 * side by side, and each slot is given back when its own frame is whole. So a client may find a slot given back before
 * an earlier one, and waits for that.
 *
 * Everything that a client can write is read once and bounded; what is wrong there harms its own frames alone. Where a
 * slot is, who may send and as what, and what has been counted is in `ring_states`, out of its reach.
 */
#ifndef XSKNET_RING_H
#define XSKNET_RING_H

#include <xsknet/parse.h>

#define READ_ONCE(word) (*(const volatile __typeof__(word) *)&(word))
/* On every architecture whatever was written before is seen before this: a plain store does not promise that. */
#define GIVE_BACK(slot, head) ((void)__sync_lock_test_and_set(&(slot)->sequence, 2 * (head) + 2))

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

/* Copies a frame into a client's memory. XSKNET_TO_PORT, or the counter of its drop. */
static __always_inline enum xsknet_counter receive(struct xdp_md *ctx, __u32 ring)
{
	__u64 length = bpf_xdp_get_buff_len(ctx);
	struct xsknet_ring_control *control;
	struct xsknet_ring_state *state;
	struct xsknet_rx_slot *slot;
	struct ring_chunk *chunk;
	__u32 head, number = 0, offset;
	bool taken = false;
	void *memory;

	state = bpf_map_lookup_elem(&ring_states, &ring);
	control = control_of(ring);
	memory = bpf_map_lookup_elem(&ring_memories, &ring);
	if (!state || !control || !memory)
		return XSKNET_DROP_NO_PORT;
	if (length < ETH_HLEN || length > XSKNET_RING_ROOM)
		return XSKNET_DROP_TOO_LONG;

	bpf_spin_lock(&state->lock);
	head = state->rx_head;
	slot = &control->rx[head & state->rx_mask & (XSKNET_RING_SLOTS - 1)];
	if (READ_ONCE(slot->sequence) == 2 * head + 1) {
		number = READ_ONCE(slot->value);
		state->rx_head = head + 1;
		state->received++;
		taken = true;
	} else {
		state->no_chunk++;
	}
	bpf_spin_unlock(&state->lock);
	if (!taken)
		return XSKNET_DROP_NO_CHUNK;

	chunk = chunk_of(memory, number);
	offset = state->offset;
	if (offset > XSKNET_RING_MAX_OFFSET)
		offset = XSKNET_RING_MAX_OFFSET;
	if (!chunk || bpf_xdp_load_bytes(ctx, 0, chunk->bytes + offset, length)) {
		__sync_fetch_and_add(&state->invalid_chunk, 1);
		slot->value = 0;
		GIVE_BACK(slot, head);
		return XSKNET_DROP_NO_CHUNK;
	}
	slot->value = length;
	GIVE_BACK(slot, head);
	wake(control, ring);
	return XSKNET_TO_PORT;
}

static __always_inline int leave(struct xsknet_counters *counters, enum xsknet_counter by, int verdict)
{
	counters->count[by]++;
	return verdict;
}

#endif
