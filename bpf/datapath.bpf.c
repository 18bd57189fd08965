// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * The uplink program, those that copy beside it and the guards in one object, because they share their tables: one
 * load makes all, without pins between them, and a test runs each against the same maps.
 */
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include <xsknet/flow.h>
#include <xsknet/group.h>
#include <xsknet/maps.h>
#include <xsknet/rules.h>
#include <xsknet/skb.h>
#include <xsknet/tap.h>

#include "uplink.bpf.c"
#ifndef XSKNET_EXPLAINS
#include "copy.bpf.c"
#include "tap.bpf.c"
#endif
#include "guard.bpf.c"
#include "ring_guard.bpf.c"

/* "GPL" for the kernel, which lends some helpers to nothing else; the source is MIT too. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";
