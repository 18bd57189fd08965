// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * The uplink program and the guards in one object, because they share their tables: one load makes both, without pins
 * between them, and a test runs either against the same maps.
 */
#include <xsknet/flow.h>
#include <xsknet/maps.h>
#include <xsknet/rules.h>

#include "uplink.bpf.c"
#include "guard.bpf.c"
#include "ring_guard.bpf.c"

/* "GPL" for the kernel, which lends some helpers to nothing else; the source is MIT too. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";
