/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * How much a port may send: all its frames and bits, and frames to the uplink that go to everybody there: broadcast,
 * multicast, and unicast that a switch floods because it does not know the station. Which stations are known is what
 * the uplink program has heard.
 */
#ifndef XSKNET_RATE_H
#define XSKNET_RATE_H

#include <xsknet/maps.h>

#define XSKNET_BUCKET_BITS 12
#define XSKNET_WAYS 2
/* A port that sends to a station keeps it from being replaced, so long. */
#define XSKNET_KEEP_SECONDS 10

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

static __always_inline __u64 rate_time(void)
{
	return bpf_ktime_get_ns() << XSKNET_TIME_SHIFT;
}

static __always_inline struct xsknet_rate *rate_of(__u32 port, __u32 kind)
{
	__u32 key = port << XSKNET_KIND_SHIFT | kind;

	return bpf_map_lookup_elem(&rates, &key);
}

/* Rounded up, so that no more passes than the rate. */
static __always_inline __u64 share_of(const struct xsknet_rate *rate, __u32 length)
{
	__u64 bytes = length * rate->byte + (1 << XSKNET_BYTE_SHIFT) - 1;

	return rate->frame + (bytes >> XSKNET_BYTE_SHIFT);
}

/* The difference is signed: a port that has sent nothing for years is not taken for one that is far ahead. */
static __always_inline bool is_in_time(const struct xsknet_rate *rate, __u64 due, __u64 now)
{
	return (__s64)(due - now) < rate->limit;
}

/*
 * Whether the port may send one more frame of this kind, which is counted then. A bucket of tokens in one word (the
 * generic cell rate algorithm): `due` runs ahead of the time by what was sent.
 *
 * CPUs that send for one port at the same moment add to one word, and each sees what was added before it. So no more
 * than a burst passes, and none waits for another one. Without the first look, CPUs whose frames are refused would
 * keep `due` ahead by what they add and take back.
 */
static __always_inline bool take_share(struct xsknet_rate *rate, __u64 now, __u32 length)
{
	__u64 share = share_of(rate, length);
	__u64 due = READ_ONCE(rate->due);

	if (!share)
		return true;
	if (!is_in_time(rate, due, now))
		return false;
	if (EXPLAINING)
		return true;
	/* What was not sent does not accumulate. If another CPU wins this exchange, it has done the same. */
	if ((__s64)(due - now) < 0)
		__sync_val_compare_and_swap(&rate->due, due, now);
	if (is_in_time(rate, __sync_fetch_and_add(&rate->due, share), now))
		return true;
	__sync_fetch_and_add(&rate->due, -share);
	return false;
}

/* Of a frame that did not pass for another reason. */
static __always_inline void give_share_back(__u32 port, __u32 kind, __u32 length)
{
	struct xsknet_rate *rate = rate_of(port, kind);

	if (!EXPLAINING && rate)
		__sync_fetch_and_add(&rate->due, -share_of(rate, length));
}

static __always_inline bool is_within_rate(__u32 port, __u32 kind, __u64 now, __u32 length)
{
	struct xsknet_rate *rate = rate_of(port, kind);

	return rate && take_share(rate, now, length); /* it cannot be missing: the loader takes no id beyond the end */
}

/* Whether a frame of this kind, which the port is limited in, is more than it may send. */
static __always_inline bool is_over_rate(const struct xsknet_guard *own, const struct packet *packet, __u32 kind)
{
	bool within = is_within_rate(own->port, kind, rate_time(), packet->length);

	return note_rate(kind, true, false, !within);
}

/* What reaches all stations behind the uplink, as far as the port is limited in it. */
static __always_inline bool is_over_flood_rate(const struct xsknet_guard *own, const struct packet *packet)
{
	const __u8 *to = packet->eth->h_dest;
	__u32 kind = XSKNET_UNKNOWN_UNICAST;

	if (is_group(to))
		kind = is_broadcast(to) ? XSKNET_BROADCAST : XSKNET_MULTICAST;
	if (!(own->flags & XSKNET_LIMITED << kind))
		return note_rate(kind, false, false, false);
	if (kind == XSKNET_UNKNOWN_UNICAST && is_known(mac_word(to, packet->vlan)))
		return note_rate(kind, true, true, false);
	return is_over_rate(own, packet, kind);
}

#endif
