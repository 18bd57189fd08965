/* SPDX-License-Identifier: MIT */
/*
 * Loaded into testpmd, whose driver brings an XDP program of its own. A port has one already, which the daemon would
 * put back: so the socket is made without, and goes into the port's XSKMAP, whose path is in XSKNET_XSKS.
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <dlfcn.h>
#include <err.h>
#include <stdlib.h>
#include <xdp/xsk.h>

int xsk_socket__create(struct xsk_socket **xsk, const char *device, __u32 queue, struct xsk_umem *umem,
		       struct xsk_ring_cons *rx, struct xsk_ring_prod *tx, const struct xsk_socket_config *config)
{
	__typeof__(&xsk_socket__create) create =
		(__typeof__(&xsk_socket__create))dlsym(RTLD_NEXT, "xsk_socket__create");
	struct xsk_socket_config without = *config;
	const char *xsks = getenv("XSKNET_XSKS");
	int map, failure;

	if (!create || !xsks)
		errx(1, "libxdp or XSKNET_XSKS is missing");
	without.libxdp_flags |= XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD;
	failure = create(xsk, device, queue, umem, rx, tx, &without);
	if (failure)
		return failure;
	map = bpf_obj_get(xsks);
	return map < 0 ? map : xsk_socket__update_xskmap(*xsk, map);
}
