// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/* The uplink program and the guard once more, which tell why and change nothing: see explain.h. */
#define XSKNET_EXPLAINS
#include "datapath.bpf.c"
