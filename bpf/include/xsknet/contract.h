/* SPDX-License-Identifier: MIT */
/*
 * The contract between the programs in the kernel and the daemon: keys, values, limits and counters of every map.
 * crates/bpf/src/contract.rs mirrors it; a test compares the two, field by field.
 */
#ifndef XSKNET_CONTRACT_H
#define XSKNET_CONTRACT_H

#include <linux/types.h>

#define XSKNET_MAX_PORTS 1024	      /* on one uplink */
#define XSKNET_MAX_QUEUE_PAIRS 4096   /* on one uplink, of all its ports together */
#define XSKNET_MAX_PORT_QUEUE_PAIRS 8 /* of one port */
#define XSKNET_MAX_ADDRESSES 8192     /* of one IP version, on one uplink */
#define XSKNET_MAX_TAGS 2	      /* VLAN tags in front of a frame's EtherType */

/*
 * Key of `ports`: the outer end of one of a port's queue pairs. The first one's key is the port's id, so that a port of
 * one queue pair is known by its id alone.
 */
#define XSKNET_QUEUE_PAIR_SHIFT 16 /* the key is id | queue pair << 16 */

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

/* What a port may do beyond the rules, and which kinds of its frames are limited: bits of xsknet_guard.flags. */
#define XSKNET_MAY_INNER_TAGS 0x1 /* a second VLAN tag behind its own */
#define XSKNET_MAY_ROUTING 0x2	  /* speak as a router or a DHCP server does */
#define XSKNET_LIMITED 0x100	  /* XSKNET_BROADCAST; shifted by the kind, another one */

/* Kinds of frames to the uplink that a port may be limited in. */
#define XSKNET_BROADCAST 0
#define XSKNET_MULTICAST 1
#define XSKNET_UNKNOWN_UNICAST 2 /* to a station that no port has heard of lately */
#define XSKNET_KINDS 3

/* Key of `rates`: the port's id << XSKNET_KIND_SHIFT | the kind. */
#define XSKNET_KIND_SHIFT 2
/* The unit of time of `rates` is a jiffy >> XSKNET_TICK_SHIFT. */
#define XSKNET_TICK_SHIFT 24

/* Every frame moves XSKNET_SEEN and exactly one of the others. */
enum xsknet_counter {
	XSKNET_SEEN,
	XSKNET_PASSED,
	XSKNET_TO_PORT,
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
	XSKNET_COUNTERS,
};

struct xsknet_counters {
	__u64 count[XSKNET_COUNTERS];
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
};

/* Value of `macs`, `targets4` and `targets6`. */
struct xsknet_claim {
	__u32 target;	   /* enum xsknet_target */
	__u32 port;	   /* the id of the port whose claim it is */
	__u32 mtu;	   /* of the longest frame it takes: bytes behind the Ethernet header and one VLAN tag */
	__u32 queue_pairs; /* 1 to XSKNET_MAX_PORT_QUEUE_PAIRS: queue.h decides which one gets a frame */
};

/*
 * Value of `guards`, by the outer end's ifindex: which port sends here, and as what. All queue pairs of a port have the
 * same.
 */
struct xsknet_guard {
	__u32 port;
	__u8 mac[6];
	__u16 vlan;
	__u32 flags; /* XSKNET_MAY_*, XSKNET_LIMITED */
};

/* Value of `rates`, in its unit of time. */
struct xsknet_rate {
	__u64 interval; /* between two frames; above a second, none may pass */
	/* When all frames so far would have passed at that interval. The guard alone moves it; it begins at 0. */
	__u64 due;
};

#define XSKNET_SAME_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type " has padding")
XSKNET_SAME_SIZE(struct xsknet_counters, 8 * XSKNET_COUNTERS);
XSKNET_SAME_SIZE(struct xsknet_mac_key, 8);
XSKNET_SAME_SIZE(struct xsknet_source4, 8);
XSKNET_SAME_SIZE(struct xsknet_source6, 20);
XSKNET_SAME_SIZE(struct xsknet_target4, 8);
XSKNET_SAME_SIZE(struct xsknet_target6, 20);
XSKNET_SAME_SIZE(struct xsknet_claim, 16);
XSKNET_SAME_SIZE(struct xsknet_guard, 16);
XSKNET_SAME_SIZE(struct xsknet_rate, 16);
#undef XSKNET_SAME_SIZE

#endif
