/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * How much a port may send to the uplink of what goes to everybody there: broadcast, multicast, and unicast that a
 * switch floods because it does not know the station. Which stations are known is what the uplink program has heard.
 */
#ifndef XSKNET_RATE_H
#define XSKNET_RATE_H

#include <xsknet/maps.h>

#define XSKNET_BUCKET_BITS 12
#define XSKNET_WAYS 2
/* A port that sends to a station keeps it from being replaced, so long. */
#define XSKNET_KEEP_SECONDS 10
/* Each time that the exchange fails, another CPU's frame of this port was counted. */
#define XSKNET_ATTEMPTS 8

/* Set when the object is loaded. The kernel gives jiffies, but not how many are in a second. */
const volatile __u32 jiffies_per_second = 250;
const volatile __u32 station_age = 300 * 250; /* in jiffies */
const volatile __u32 station_seed = 0;

/* All zero until first used, which is a station that was last heard when the machine was not running yet. */
struct station {
	__u64 name;   /* mac_word() */
	__u64 heard;  /* when it last sent something to a port, in jiffies */
	__u64 wanted; /* when a port last sent something to it */
};

/*
 * One cache line. Words are read and written one by one: a reader beside a writer may take a new station for as old as
 * the one that it replaces, which passes or drops one frame too many.
 */
struct bucket {
	struct station way[XSKNET_WAYS];
	__u64 zero[2];
};

/* User space reads names alone: crates/bpf/src/tables.rs knows where they are. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << XSKNET_BUCKET_BITS);
	__type(key, __u32);
	__type(value, struct bucket);
} stations SEC(".maps");

/*
 * An odd multiplier that nobody knows is a hash whose collisions nobody can choose (multiply-shift, Dietzfelbinger et
 * al. 1997).
 */
static __always_inline struct bucket *bucket_of(__u64 name)
{
	__u64 multiplier = station_seed * XSKNET_MIX | 1;
	__u32 key = name * multiplier >> (64 - XSKNET_BUCKET_BITS);

	return bpf_map_lookup_elem(&stations, &key);
}

/* Another CPU's jiffies may be one ahead of those that were read here. */
static __always_inline bool is_within(__u64 time, __u64 now, __u64 length)
{
	return (__s64)(now - time) < (__s64)length;
}

static __always_inline bool is_known(__u64 name)
{
	struct bucket *bucket = bucket_of(name);
	__u64 now = bpf_jiffies64();
	int way;

	if (!bucket)
		return false; /* cannot be: the key is within the array; the verifier asks */
#pragma unroll
	for (way = 0; way < XSKNET_WAYS; way++) {
		struct station *station = &bucket->way[way];

		if (station->name == name && is_within(station->heard, now, station_age)) {
			/* Once a jiffy, so that the line stays in the caches of all CPUs. */
			if (!EXPLAINING && station->wanted != now)
				station->wanted = now;
			return true;
		}
	}
	return false;
}

/* What no port has sent to lately can be replaced, else a flood of made up sources would make all stations unknown. */
static __always_inline bool is_replaceable(const struct station *station, __u64 now)
{
	return !is_within(station->heard, now, station_age) ||
	       !is_within(station->wanted, now, (__u64)XSKNET_KEEP_SECONDS * jiffies_per_second);
}

/* The source of a frame that goes to a port. */
static __always_inline void learn(const struct packet *packet)
{
	__u64 name, now = bpf_jiffies64();
	struct station *first, *second;
	struct bucket *bucket;
	int way;

	if (EXPLAINING || is_group(packet->eth->h_source))
		return;
	name = mac_word(packet->eth->h_source, packet->vlan);
	bucket = bucket_of(name);
	if (!bucket)
		return; /* cannot be, as above */
#pragma unroll
	for (way = 0; way < XSKNET_WAYS; way++) {
		struct station *station = &bucket->way[way];

		if (station->name == name) {
			if (station->heard != now)
				station->heard = now;
			return;
		}
	}
	if (claim_of_word(name))
		return; /* a port is not a station */

	first = &bucket->way[0];
	second = &bucket->way[1];
	if (!is_replaceable(first, now) || (is_replaceable(second, now) && second->heard < first->heard))
		first = second;
	if (!is_replaceable(first, now))
		return;
	first->wanted = 0;
	first->name = name;
	first->heard = now;
}

/*
 * Whether the port may send one more frame of this kind, which is counted then. A bucket that holds a second's worth of
 * frames (the generic cell rate algorithm): `due` runs ahead of the time by what was sent, and no further than a
 * second.
 *
 * CPUs that send for one port at the same moment exchange one word: at most one of them gets each frame's share, and
 * one that loses so often in a row drops its frame.
 */
static __always_inline bool is_within_rate(__u32 port, __u32 kind)
{
	__u64 now = bpf_jiffies64() << XSKNET_TICK_SHIFT;
	__u64 second = (__u64)jiffies_per_second << XSKNET_TICK_SHIFT;
	__u32 key = port << XSKNET_KIND_SHIFT | kind;
	struct xsknet_rate *rate = bpf_map_lookup_elem(&rates, &key);
	int attempt;

	if (!rate)
		return false; /* cannot be: the loader takes no id beyond the array's end */
	if (!rate->interval)
		return true;
	for (attempt = 0; attempt < XSKNET_ATTEMPTS; attempt++) {
		__u64 due = *(volatile __u64 *)&rate->due;
		__u64 next = (due > now ? due : now) + rate->interval;

		if (next - now > second)
			return false;
		if (EXPLAINING || __sync_val_compare_and_swap(&rate->due, due, next) == due)
			return true;
	}
	return false;
}

/* Whether this frame, which goes to the uplink, is more than the port may send there. */
static __always_inline bool is_over_rate(const struct xsknet_guard *own, const struct packet *packet)
{
	const __u8 *to = packet->eth->h_dest;
	__u32 kind = XSKNET_UNKNOWN_UNICAST;

	if (is_group(to))
		kind = is_broadcast(to) ? XSKNET_BROADCAST : XSKNET_MULTICAST;
	if (!(own->flags & XSKNET_LIMITED << kind))
		return note_rate(kind, false, false, false);
	if (kind == XSKNET_UNKNOWN_UNICAST && is_known(mac_word(to, packet->vlan)))
		return note_rate(kind, true, true, false);
	return note_rate(kind, true, false, !is_within_rate(own->port, kind));
}

#endif
