// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * On the inner end of a port's queue pair: into its socket. An object of its own, loaded once per queue pair, so that a
 * process that gets hold of one XSKMAP reaches no other port.
 */
#include <xsknet/socket.h>

SEC("xdp.frags")
int port(struct xdp_md *ctx)
{
	return leave_to_socket(ctx);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
