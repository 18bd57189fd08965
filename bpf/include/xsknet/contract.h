/* SPDX-License-Identifier: MIT */
/*
 * The contract between the programs in the kernel and the daemon: keys, values, limits and counters of every map.
 * crates/bpf/src/contract.rs mirrors it; a test compares the two, field by field.
 */
#ifndef XSKNET_CONTRACT_H
#define XSKNET_CONTRACT_H

#include <linux/bpf.h>
#include <linux/types.h>

#define XSKNET_MAX_PORTS 1024	      /* on one uplink */
#define XSKNET_MAX_QUEUE_PAIRS 4096   /* on one uplink, of all its ports together */
#define XSKNET_MAX_PORT_QUEUE_PAIRS 8 /* of one port */
#define XSKNET_MAX_ADDRESSES 8192     /* of one IP version, on one uplink */
#define XSKNET_MAX_TAGS 2	      /* VLAN tags in front of a frame's EtherType */

/*
 * Flows. Those that look at the same parts of a packet are of one kind, and one lookup finds them all; flow.h says how.
 */
#define XSKNET_MAX_FLOWS 65536	      /* on one uplink, of all its ports together */
#define XSKNET_MAX_FLOW_KINDS 64      /* of one IP version, on one uplink */
#define XSKNET_MAX_LINK_KINDS 8	      /* of flows of what is not IP: MAC, VLAN and EtherType, each given or not */
#define XSKNET_FLOW_LISTS 16	      /* one in use, one being written, and others that programs may still read */
#define XSKNET_FLOW_TABLES 2	      /* one in use, one being filled */
#define XSKNET_MAX_FRAGMENTED 4096    /* packets whose fragments are on their way at once */

/* What a packet must have to be of a kind: bits of xsknet_kind.flags. */
#define XSKNET_FLOW_PORTS 0x1
#define XSKNET_FLOW_ICMP_TYPE 0x2
/* A port may send what such flows match, reversed. */
#define XSKNET_FLOW_SOURCE 0x4
/* Beside them in an answer of flow.h: a flow matches. */
#define XSKNET_FLOW_FOUND 0x8
/* Likewise: and says in which VLAN. */
#define XSKNET_FLOW_VLAN 0x10

/* Groups. */
#define XSKNET_MAX_GROUPS 4096 /* on one uplink; one group in two VLANs counts twice */
#define XSKNET_MAX_MEMBERS 64  /* ports in one of them */

/* What a key of `groups` holds, of which the rest is zero. */
#define XSKNET_GROUP_MAC 1 /* 6 bytes */
#define XSKNET_GROUP_IP4 4 /* 4 bytes */
#define XSKNET_GROUP_IP6 6 /* 16 bytes */

/* Taps: ports that get copies of what passes the uplink; tap.h says how. */
#define XSKNET_MAX_TAPS 8	/* on one uplink */
#define XSKNET_MAX_TAP_RULES 96 /* of one tap: a flow is up to three */

/* What a rule of a tap is for. */
#define XSKNET_TAP_LINK 0 /* what is not IP */
#define XSKNET_TAP_IP4 4
#define XSKNET_TAP_IP6 6

/* How much of a packet's IP headers can be read, or has to be. */
#define XSKNET_TAP_READS_NOTHING 0
#define XSKNET_TAP_READS_ADDRESSES 1
#define XSKNET_TAP_READS_PROTOCOL 2 /* too, and what follows it */

/* On which way a tap has seen a frame. */
#define XSKNET_TAPPED_RECEIVED 0
#define XSKNET_TAPPED_SENT 1	     /* by a port */
#define XSKNET_TAPPED_SENT_BY_HOST 2

/*
 * Key of `ports`: the outer end of one of a port's queue pairs. The first one's key is the port's id, so that a port of
 * one queue pair is known by its id alone.
 */
#define XSKNET_QUEUE_PAIR_SHIFT 16 /* the key is id | queue pair << 16 */

/*
 * BPF rings: pairs of rings in memory that a program and a client share, one pair for each queue of a port that has
 * them. ring.h says how they work.
 */
#define XSKNET_MAX_RINGS 1024	   /* queues with BPF rings, on one uplink */
#define XSKNET_RING_SLOTS 4096	   /* of each direction; a port may use fewer, a power of two */
#define XSKNET_RING_CHUNK 2048	   /* bytes of a chunk */
#define XSKNET_RING_ROOM 1536	   /* of the longest frame, bytes */
#define XSKNET_RING_MIN_OFFSET 256 /* of a received frame in its chunk */
#define XSKNET_RING_MAX_OFFSET 512 /* likewise: XSKNET_RING_CHUNK - XSKNET_RING_ROOM */
#define XSKNET_RING_WAKE_BYTES 4096 /* of the ring buffer that wakes the client */

/* Names no port. Key of the counters for frames that came from an outer end without an entry in `guards`. */
#define XSKNET_NO_PORT_ID 0

/*
 * The VLAN of a frame or a port, in host byte order: 0 is untagged, XSKNET_TAGGED | id an 802.1Q tag (so that a
 * priority tag, id 0, is not mistaken for "untagged"), XSKNET_FOREIGN_TAG an outer tag of another kind (802.1ad), which
 * no port can have.
 */
#define XSKNET_UNTAGGED 0x0000
#define XSKNET_TAGGED 0x1000
#define XSKNET_FOREIGN_TAG 0x2000

/* What a port is and may do beyond the rules, and which kinds of its frames are limited: bits of xsknet_guard.flags. */
#define XSKNET_MAY_INNER_TAGS 0x1 /* a second VLAN tag behind its own */
#define XSKNET_MAY_ROUTING 0x2	  /* speak as a router or a DHCP server does */
#define XSKNET_UPLINK_MAC 0x4	  /* its MAC is the uplink's, whatever that is at the moment */
#define XSKNET_TAP 0x8		  /* it is a tap, and sends nothing */
#define XSKNET_LIMITED 0x100	  /* XSKNET_BROADCAST; shifted by the kind, another one */

/* Kinds of frames to the uplink that a port may be limited in. */
#define XSKNET_BROADCAST 0
#define XSKNET_MULTICAST 1
#define XSKNET_UNKNOWN_UNICAST 2 /* to a station that no port has heard of lately */

/* Likewise of frames that the host gets and the port a copy of, because it is in their group; see group.h. */
#define XSKNET_COPIES 3

/* All that a port sends, to the uplink and to other ports. */
#define XSKNET_FRAMES 4
#define XSKNET_BITS 5
#define XSKNET_KINDS 6

/* Not of a rate that a port has: of the samples of what its guard refuses. Without a share, nobody asks for them. */
#define XSKNET_REFUSALS 6

#define XSKNET_REFUSAL_BYTES 128	/* of a refused frame that are kept, from its start */
#define XSKNET_REFUSALS_BYTES 16384	/* of a ring buffer of samples; some hundred of them */

/* Key of `rates`: the port's id << XSKNET_KIND_SHIFT | the kind. */
#define XSKNET_KIND_SHIFT 3
/*
 * The unit of time of `rates` is a nanosecond >> XSKNET_TIME_SHIFT: at ten million frames per second, rounding changes
 * a rate by less than a thousandth; and the kernel's clock does not reach 64 bits of it within 36 years.
 */
#define XSKNET_TIME_SHIFT 4
/* The share of a byte is that unit >> XSKNET_BYTE_SHIFT: at 400 Gbit/s a byte takes a third of the unit. */
#define XSKNET_BYTE_SHIFT 10

/* Every frame moves XSKNET_SEEN and exactly one of the others. */
enum xsknet_counter {
	XSKNET_SEEN,
	XSKNET_PASSED,
	XSKNET_PASSED_FRAGMENT, /* a later fragment, of whose first one no flow is known */
	XSKNET_TO_PORT,
	XSKNET_TO_RING, /* written into a port's BPF ring; the driver's frame is dropped */
	XSKNET_TO_UPLINK,
	XSKNET_TO_SOCKET,
	XSKNET_DROP_SOURCE_MAC,
	XSKNET_DROP_VLAN,
	XSKNET_DROP_SOURCE_IP,
	XSKNET_DROP_ARP,
	XSKNET_DROP_ND,
	XSKNET_DROP_ROGUE,
	XSKNET_DROP_ETHERTYPE,
	XSKNET_DROP_MALFORMED,
	XSKNET_DROP_TOO_LONG,
	XSKNET_DROP_NO_PORT,   /* the port's slot in `ports` is empty */
	XSKNET_DROP_NO_UPLINK, /* the slot in `uplinks` is empty */
	XSKNET_DROP_NO_SOCKET, /* the slot in `xsks` is empty */
	XSKNET_DROP_NO_GUARD,  /* the outer end has no entry in `guards` */
	XSKNET_DROP_RATE,      /* more frames of this kind than the port may send to the uplink */
	XSKNET_DROP_FRAME_RATE, /* more frames than the port may send */
	XSKNET_DROP_BIT_RATE,	/* more bits than the port may send */
	XSKNET_DROP_NO_CHUNK,  /* the client has given its ring no chunk, or one that it does not have */
	XSKNET_DROP_NO_MEMORY, /* the kernel had none for a copy */
	XSKNET_COUNTERS,
};

struct xsknet_counters {
	__u64 count[XSKNET_COUNTERS];
};

/* Value of `port_counters`: a program that does two things counts no others, because there are so many slots. */
struct xsknet_port_counters {
	__u64 to_socket;
	__u64 no_socket; /* the slot in `xsks` is empty */
};

/* Key of `macs`: a port's MAC in the port's VLAN. */
struct xsknet_mac_key {
	__u8 mac[6];
	__u16 vlan;
};

/* Key of `sources4`: an address that a port may send from. */
struct xsknet_source4 {
	__u8 address[4];
	__u32 port;
};

/* Key of `sources6`: likewise. */
struct xsknet_source6 {
	__u8 address[16];
	__u32 port;
};

/* Key of `targets4`: an address in a VLAN whose ARP goes to what claims it. */
struct xsknet_target4 {
	__u8 address[4];
	__u16 vlan;
	__u16 zero;
};

/* Key of `targets6`: likewise, of neighbour discovery. */
struct xsknet_target6 {
	__u8 address[16];
	__u16 vlan;
	__u16 zero;
};

/* What gets the frames of a claim. 0 is none of them, so that an empty value claims nothing. */
enum xsknet_target {
	XSKNET_TARGET_QUEUE_PAIRS = 1, /* those of a port */
	XSKNET_TARGET_RINGS = 2,       /* likewise, by their BPF rings */
	/* In `macs`, of the uplink's MAC: those of the port that has the address which the packet is for, if any. */
	XSKNET_TARGET_ADDRESS = 3,
};

/* Bits of xsknet_claim.flags. */
#define XSKNET_CLAIM_PACKETS 0x1 /* of `targets4` and `targets6`: packets for the address, too, to the uplink's MAC */

/* Value of `macs`, `targets4` and `targets6`, and of the inner maps of flows. */
struct xsknet_claim {
	__u32 target;	   /* enum xsknet_target */
	__u32 port;	   /* the id of the port whose claim it is */
	__u32 mtu;	   /* of the longest frame it takes: bytes behind the Ethernet header and one VLAN tag */
	__u32 queue_pairs; /* 1 to XSKNET_MAX_PORT_QUEUE_PAIRS: queue.h decides which one gets a frame */
	__u32 rings;	   /* of XSKNET_TARGET_RINGS: those of the first queue; the others follow */
	__u32 flags;	   /* XSKNET_CLAIM_* */
};

/*
 * Value of `guards`, by the outer end's ifindex: which port sends here, and as what. All queue pairs of a port have the
 * same.
 */
struct xsknet_guard {
	__u32 port;
	__u8 mac[6]; /* zeros: it sends with the uplink's MAC only; without XSKNET_UPLINK_MAC by its flows only */
	__u16 vlan;
	__u32 flags; /* XSKNET_MAY_*, XSKNET_UPLINK_MAC, XSKNET_TAP, XSKNET_LIMITED */
};

/* Key of `groups`: what a frame is sent to, in a VLAN. */
struct xsknet_group_key {
	__u8 address[16];
	__u16 vlan;
	__u16 kind; /* XSKNET_GROUP_* */
};

/* Value of `groups`: the ports that get copies, those with BPF rings first. */
struct xsknet_group {
	__u32 rings;   /* so many of them have BPF rings */
	__u32 members; /* all */
	struct xsknet_claim member[XSKNET_MAX_MEMBERS];
};

/* The only value of `group_states`: the members of all groups. Where there are none, nothing is looked for. */
struct xsknet_group_state {
	__u32 rings; /* with BPF rings */
	__u32 members;
};

/* The only value of `tap_states`: which keys of `taps` are in use, one bit each. */
struct xsknet_tap_state {
	__u32 received; /* by taps of what the uplink receives */
	__u32 sent;	/* likewise of what leaves by it */
};

/* Value of `rates`, in its unit of time. A kind without a limit has no shares. */
struct xsknet_rate {
	/* When what was sent so far would have passed at the rate. The programs move it; it begins at 0. */
	__u64 due;
	__s64 limit; /* a frame passes while `due` is ahead by less than this; the lowest number: none passes */
	__u64 frame; /* the share of a frame */
	__u64 byte;  /* of each of its bytes, in units of its own: XSKNET_BYTE_SHIFT */
};

/* What an inner map of `refusal_rings` has of a frame. */
struct xsknet_refusal {
	__u64 time;   /* bpf_ktime_get_ns() */
	__u32 length; /* of the frame, which may be longer than what is kept of it */
	__u32 reason; /* enum xsknet_counter */
	__u8 bytes[XSKNET_REFUSAL_BYTES];
};

/*
 * What a client and the programs share, at the start of an array's only value. Both sides write it, so nothing in it is
 * believed.
 *
 * Positions count slots without end and wrap. The client gives the slot of position p away by the sequence 2p + 1; the
 * program, which takes them in their order, gives it back by 2p + 2. Zero, as the memory begins, is neither.
 */
struct xsknet_rx_slot {
	__u32 sequence;
	/* Given away, the number of a chunk; given back, the length of the frame in it, or 0 if there is none. */
	__u32 value;
};

struct xsknet_tx_slot {
	__u32 sequence;
	__u32 address; /* of the frame, in bytes from the first chunk */
	__u32 length;
	__u32 zero;
};

struct xsknet_ring_control {
	__u32 asleep; /* the client writes 1, and is woken by the next frame, which writes 0 */
	__u32 zero[15];
	struct xsknet_rx_slot rx[XSKNET_RING_SLOTS];
	struct xsknet_tx_slot tx[XSKNET_RING_SLOTS];
};

/*
 * Value of `ring_states`, which no client reaches. Reception and sending write on cache lines apart, wherever the array
 * begins, because different CPUs do the one and the other.
 */
struct xsknet_ring_state {
	__u64 rx_head;	     /* the next position; so many chunks were taken */
	__u64 no_chunk;	     /* frames for which there was no chunk */
	__u64 invalid_chunk; /* of those received: the client does not have the chunk that it gave; they are lost */
	__u32 rx_mask;	     /* slots - 1 */
	__u32 offset;	     /* of received frames in their chunks */
	__u64 zero[12];

	__u64 tx_head; /* the next position; so many entries were taken from the client */
	__u32 tx_mask;
	__u32 key; /* of the ring program that may send from here; 0: none. No two ports of a daemon have the same */
	struct xsknet_guard guard; /* as what the port sends */
	__u64 zero_too[12];
};

/* The only value of `identities`: which ring's program this is. */
struct xsknet_identity {
	__u32 ring;
	__u32 key;
	__u32 inner; /* the ifindex of the device that it is attached to */
	__u32 dry_runs; /* in tests of the programs alone: send in runs that are not live, too */
};

/* Whether and where the flows are. */
struct xsknet_flow_state {
	__u32 list;	/* the key in `flow_lists`, plus 1; 0: no flows. One byte: no reader sees half of it */
	__u32 removals; /* of ports: what was remembered before counts no more */
};

/* What flows of both IP versions look at, beside addresses. What a kind does not look at is zero in its keys. */
struct xsknet_flow_common {
	__u16 source_port; /* in host byte order */
	__u16 destination_port;
	__u8 protocol;
	__u8 icmp_type;
	__u16 vlan;
	__u8 mac[6]; /* the destination */
	__u16 kind;  /* its number; no two in a table have the same */
};

/* Key of an inner map of `flows4`. */
struct xsknet_flow4 {
	__u8 source[4];
	__u8 destination[4];
	struct xsknet_flow_common common;
};

/* Key of an inner map of `flows6`. */
struct xsknet_flow6 {
	__u8 source[16];
	__u8 destination[16];
	struct xsknet_flow_common common;
};

/* Key of an inner map of `flows_link`: of what is not IP. */
struct xsknet_flow_link {
	__u8 mac[6];
	__u16 kind;
	__u16 vlan;
	__be16 ethertype;
	__u32 zero;
};

/* What a kind of flows asks for that is not in their keys. */
struct xsknet_kind {
	__u16 first_source_port; /* and so many behind it */
	__u16 more_source_ports;
	__u16 first_destination_port;
	__u16 more_destination_ports;
	__u32 flags; /* XSKNET_FLOW_* */
	__u8 protocol;
	__u8 protocol_mask; /* 0: any */
	__u16 zero;
};

/* `mask` is what is in the keys, with the kind's number. */
struct xsknet_kind4 {
	struct xsknet_flow4 mask;
	struct xsknet_kind kind;
};

struct xsknet_kind6 {
	struct xsknet_flow6 mask;
	struct xsknet_kind kind;
};

/*
 * A flow of a tap, in one of the layers. `value` and `mask` are of a packet as IPv6 would have it: an IPv4 address is
 * the first word of its field, and the EtherType of what is not IP the first two bytes.
 */
struct xsknet_tap_rule {
	struct xsknet_flow6 value;
	struct xsknet_flow6 mask;
	struct xsknet_kind kind;
	__u32 layer; /* XSKNET_TAP_*; of IP by the EtherType alone */
	__u32 reads; /* XSKNET_TAP_READS_*: how much of the IP headers it looks at */
};

/* Value of `taps`. */
struct xsknet_tap {
	struct xsknet_claim claim;
	__u32 snap;   /* bytes of a frame that are copied, at most */
	__u32 sample; /* one of so many frames is copied, by chance */
	__u32 all;    /* frames, whatever the rules are */
	__u32 rules;  /* so many */
	struct xsknet_tap_rule rule[XSKNET_MAX_TAP_RULES];
};

/* What lies before a tap's frame in its chunk. */
struct xsknet_tapped {
	__u64 time;   /* of CLOCK_MONOTONIC, in nanoseconds */
	__u32 length; /* of the whole frame */
	__u16 became; /* enum xsknet_counter; of what the host sends, XSKNET_TO_UPLINK */
	__u16 way;    /* XSKNET_TAPPED_* */
};

/* Value of `flow_lists`: all kinds in use, in the order of their precedence. */
struct xsknet_flow_list {
	__u32 tables; /* the key in `flows4`, `flows6` and `flows_link` */
	__u32 kinds4;
	__u32 kinds6;
	__u32 links;
	struct xsknet_kind4 four[XSKNET_MAX_FLOW_KINDS];
	struct xsknet_kind6 six[XSKNET_MAX_FLOW_KINDS];
	struct xsknet_flow_link link[XSKNET_MAX_LINK_KINDS];
};

/* Key of `fragmented`: a packet that comes in fragments. An IPv4 address is the first word. */
struct xsknet_fragmented {
	__u8 source[16];
	__u8 destination[16];
	__be32 id; /* of IPv4, 16 bits */
	__u16 vlan;
	__u8 protocol;
	__u8 version;
};

/* Value of `fragmented`: where the first fragment went. */
struct xsknet_steered {
	struct xsknet_claim claim;
	__u32 queue_pair;
	__u32 removals; /* as in xsknet_flow_state then */
	__u64 at;	/* in jiffies */
};

/*
 * What a program that explains writes down, in its order. explain.h says who does.
 */
#define XSKNET_TRACE_NOTES 64

enum xsknet_note_kind {
	/* Value: what decided, if no later note says otherwise. */
	XSKNET_NOTE_RULE = 1,
	/* Value: the counter that an ordinary program would have moved. */
	XSKNET_NOTE_LEFT,
	/* Value: the VLAN; words: the EtherType behind the tags, enum tagging of parse.h. */
	XSKNET_NOTE_TAGS,
	/* Value: the port that sends; words: 1 where it sends with the uplink's MAC, its own VLAN. */
	XSKNET_NOTE_SENDER,
	/* Value: whose MAC it is, or XSKNET_NO_PORT_ID; word: the MAC and the VLAN, a key of `macs`. */
	XSKNET_NOTE_MAC,
	/* Value: likewise of the address that ARP asks for or speaks of; word: the address. */
	XSKNET_NOTE_TARGET4,
	/* Value: likewise of neighbour discovery; words: the address. */
	XSKNET_NOTE_TARGET6,
	/* Value: likewise of the address that a packet to the uplink's MAC is for; word: the address. */
	XSKNET_NOTE_DESTINATION4,
	/* Value: likewise; words: the address. */
	XSKNET_NOTE_DESTINATION6,
	/* Value: whether the port may send from the address; word: the address. */
	XSKNET_NOTE_SOURCE4,
	/* Value: likewise; words: the address. */
	XSKNET_NOTE_SOURCE6,
	/* Value: whose flow it is, or XSKNET_NO_PORT_ID where none matches; words: its key in `flows4`. */
	XSKNET_NOTE_FLOW4,
	/* Value: likewise; words: the first half of its key in `flows6`. */
	XSKNET_NOTE_FLOW6,
	/* Words: the second half. Only behind XSKNET_NOTE_FLOW6 of a port. */
	XSKNET_NOTE_FLOW6_REST,
	/* Value: likewise of what is not IP; words: its key in `flows_link`. */
	XSKNET_NOTE_FLOW_LINK,
	/* The next flow is looked for by the packet that an ICMP error quotes. */
	XSKNET_NOTE_QUOTED,
	/* Value: which port got the first fragment, or XSKNET_NO_PORT_ID. */
	XSKNET_NOTE_FRAGMENT,
	/* Value: the length of the frame; word: the most that its target takes. */
	XSKNET_NOTE_LENGTH,
	/* Value: the port that gets it; words: queue pair, enum xsknet_target. */
	XSKNET_NOTE_TO,
	/* Value: the kind; words: whether the port is limited in it, the station known, the frame within the rate. */
	XSKNET_NOTE_RATE,
};

/* What decides. The names are those of docs/verdicts.md, which says what each of them means. */
enum xsknet_rule {
	/* The uplink program. */
	XSKNET_RULE_TAGS_UNREADABLE = 1,
	XSKNET_RULE_UNCLAIMED,
	XSKNET_RULE_PORT_MAC,
	XSKNET_RULE_PORT_ADDRESS,
	XSKNET_RULE_ARP_TARGET,
	XSKNET_RULE_ARP_SENDER,
	XSKNET_RULE_ND_TARGET,
	XSKNET_RULE_FLOW,
	XSKNET_RULE_QUOTED_FLOW,
	XSKNET_RULE_FRAGMENT,
	XSKNET_RULE_FRAGMENT_UNKNOWN,
	/* The guard. */
	XSKNET_RULE_NO_GUARD,
	XSKNET_RULE_SOURCE_MAC,
	XSKNET_RULE_TAGS_CUT,
	XSKNET_RULE_TAGS_TOO_MANY,
	XSKNET_RULE_OTHER_VLAN,
	XSKNET_RULE_INNER_TAG,
	XSKNET_RULE_ETHERTYPE,
	XSKNET_RULE_ARP_CUT,
	XSKNET_RULE_ARP_FORM,
	XSKNET_RULE_ARP_OPERATION,
	XSKNET_RULE_ARP_MAC,
	XSKNET_RULE_ARP_ADDRESS,
	XSKNET_RULE_ARP_PROBE,
	XSKNET_RULE_IPV4_HEADER,
	XSKNET_RULE_IPV4_OPTIONS,
	XSKNET_RULE_SOURCE_ROUTE,
	XSKNET_RULE_IPV6_HEADER,
	XSKNET_RULE_EXTENSION_HEADERS,
	XSKNET_RULE_ROUTING_HEADER,
	XSKNET_RULE_SOURCE_ADDRESS,
	XSKNET_RULE_NO_SOURCE_ADDRESS,
	XSKNET_RULE_UPPER_CUT,
	XSKNET_RULE_ROUTERS_PROTOCOL,
	XSKNET_RULE_ROUTERS_PORT,
	XSKNET_RULE_ROUTERS_MESSAGE,
	XSKNET_RULE_DHCP_FRAGMENT,
	XSKNET_RULE_DHCP_CUT,
	XSKNET_RULE_DHCP_CLIENT,
	XSKNET_RULE_ND_FRAGMENT,
	XSKNET_RULE_ND_CUT,
	XSKNET_RULE_ND_ADDRESS,
	XSKNET_RULE_ND_OPTION,
	XSKNET_RULE_ND_LINK_ADDRESS,
	XSKNET_RULE_ND_OPTIONS,
	/* With the uplink's MAC. */
	XSKNET_RULE_HOST_DHCP,
	XSKNET_RULE_HOST_ARP,
	XSKNET_RULE_HOST_ND,
	XSKNET_RULE_HOST_FRAGMENT,
	XSKNET_RULE_HOST_PORT,
	XSKNET_RULE_HOST_MESSAGE,
	XSKNET_RULE_HOST_SOURCE,
	XSKNET_RULE_NO_FLOW,
	XSKNET_RULE_FLOW_RECEIVES,
	XSKNET_RULE_FLOW_VLAN,
	XSKNET_RULE_TAP_SENDS,
	/* Both. */
	XSKNET_RULE_TOO_LONG,
	XSKNET_RULE_NO_PORT,
	XSKNET_RULE_NO_UPLINK,
	XSKNET_RULE_NO_CHUNK,
	/* User space says this one: ring.bpf.c drops such a frame before it is one. */
	XSKNET_RULE_RING_LENGTH,
	XSKNET_RULE_RATE,
	XSKNET_RULE_FRAME_RATE,
	XSKNET_RULE_BIT_RATE,
	/* The guard lets it out. */
	XSKNET_RULE_TO_TARGET,
	XSKNET_RULE_TO_MAC,
	XSKNET_RULE_TO_ADDRESS,
	XSKNET_RULE_TO_UPLINK,
};

struct xsknet_note {
	__u32 kind; /* enum xsknet_note_kind */
	__u32 value;
	__u64 word[3];
};

/* The only value of `traces`. */
struct xsknet_trace {
	__u32 count; /* of the notes, those included that found no room */
	__u32 zero;
	struct xsknet_note notes[XSKNET_TRACE_NOTES];
};

#define XSKNET_SAME_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type " has padding")
XSKNET_SAME_SIZE(struct xsknet_counters, 8 * XSKNET_COUNTERS);
XSKNET_SAME_SIZE(struct xsknet_port_counters, 16);
XSKNET_SAME_SIZE(struct xsknet_mac_key, 8);
XSKNET_SAME_SIZE(struct xsknet_source4, 8);
XSKNET_SAME_SIZE(struct xsknet_source6, 20);
XSKNET_SAME_SIZE(struct xsknet_target4, 8);
XSKNET_SAME_SIZE(struct xsknet_target6, 20);
XSKNET_SAME_SIZE(struct xsknet_claim, 24);
XSKNET_SAME_SIZE(struct xsknet_guard, 16);
XSKNET_SAME_SIZE(struct xsknet_group_key, 20);
XSKNET_SAME_SIZE(struct xsknet_group, 8 + XSKNET_MAX_MEMBERS * 24);
XSKNET_SAME_SIZE(struct xsknet_group_state, 8);
XSKNET_SAME_SIZE(struct xsknet_tap_state, 8);
XSKNET_SAME_SIZE(struct xsknet_tap_rule, 2 * 48 + 16 + 8);
XSKNET_SAME_SIZE(struct xsknet_tap, 40 + XSKNET_MAX_TAP_RULES * 120);
XSKNET_SAME_SIZE(struct xsknet_tapped, 16);
XSKNET_SAME_SIZE(struct xsknet_rate, 32);
XSKNET_SAME_SIZE(struct xsknet_refusal, 16 + XSKNET_REFUSAL_BYTES);
XSKNET_SAME_SIZE(struct xsknet_rx_slot, 8);
XSKNET_SAME_SIZE(struct xsknet_tx_slot, 16);
XSKNET_SAME_SIZE(struct xsknet_ring_control, 64 + XSKNET_RING_SLOTS * 24);
XSKNET_SAME_SIZE(struct xsknet_ring_state, 256);
XSKNET_SAME_SIZE(struct xsknet_identity, 16);
XSKNET_SAME_SIZE(struct xsknet_flow_state, 8);
XSKNET_SAME_SIZE(struct xsknet_flow4, 24);
XSKNET_SAME_SIZE(struct xsknet_flow6, 48);
XSKNET_SAME_SIZE(struct xsknet_flow_link, 16);
XSKNET_SAME_SIZE(struct xsknet_flow_common, 16);
XSKNET_SAME_SIZE(struct xsknet_kind, 16);
XSKNET_SAME_SIZE(struct xsknet_kind4, 40);
XSKNET_SAME_SIZE(struct xsknet_kind6, 64);
XSKNET_SAME_SIZE(struct xsknet_flow_list, 16 + XSKNET_MAX_FLOW_KINDS * (40 + 64) + XSKNET_MAX_LINK_KINDS * 16);
XSKNET_SAME_SIZE(struct xsknet_fragmented, 40);
XSKNET_SAME_SIZE(struct xsknet_steered, 40);
XSKNET_SAME_SIZE(struct xsknet_note, 32);
XSKNET_SAME_SIZE(struct xsknet_trace, 8 + XSKNET_TRACE_NOTES * 32);
#undef XSKNET_SAME_SIZE

#endif
