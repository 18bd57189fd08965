// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * When the memory of a UMEM is given back. The kernel maps its pages for itself when it is registered
 * (`xdp_umem_addr_map()` in net/xdp/xdp_umem.c), and removes the mapping when the UMEM ends, with its last socket: its
 * owner may have bound other sockets to it that the daemon does not know of (XDP_SHARED_UMEM). These mappings are rare
 * events of the whole machine.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MAX_UMEMS 32768
#define MAX_THREADS 1024

/* The pid namespace that thread numbers belong to. */
struct pids {
	__u64 device;
	__u64 inode;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pids);
} pid_namespace SEC(".maps");

struct registration {
	__u64 umem; /* its name here, given by user space */
	__u64 bytes;
};

/* Threads that are about to register a UMEM. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_THREADS);
	__type(key, __u32);
	__type(value, struct registration);
} registrations SEC(".maps");

/* Where UMEMs that have not ended are mapped. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_UMEMS);
	__type(key, __u64);
	__type(value, __u64);
} umems SEC(".maps");

/* The same, by address. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_UMEMS);
	__type(key, __u64);
	__type(value, __u64);
} areas SEC(".maps");

/* Arguments of the tracepoint: addr, size, align, vstart, vend, failed. */
SEC("raw_tp/alloc_vmap_area")
int mapped(struct bpf_raw_tracepoint_args *ctx)
{
	struct bpf_pidns_info thread = {};
	struct registration *registration;
	__u64 address = ctx->args[0];
	__u32 slot = 0;
	struct pids *pids = bpf_map_lookup_elem(&pid_namespace, &slot);

	if (!pids || (int)ctx->args[5])
		return 0;
	if (bpf_get_ns_current_pid_tgid(pids->device, pids->inode, &thread, sizeof(thread)))
		return 0;
	registration = bpf_map_lookup_elem(&registrations, &thread.pid);
	/* What else the call maps, such as the list of the pages, is smaller. */
	if (!registration || ctx->args[1] < registration->bytes)
		return 0;
	if (bpf_map_update_elem(&umems, &registration->umem, &address, BPF_ANY) == 0 &&
	    bpf_map_update_elem(&areas, &address, &registration->umem, BPF_ANY) != 0)
		bpf_map_delete_elem(&umems, &registration->umem);
	return 0;
}

/* Arguments of the tracepoint: va_start, nr_lazy, nr_lazy_max. */
SEC("raw_tp/free_vmap_area_noflush")
int unmapped(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 address = ctx->args[0];
	__u64 *found = bpf_map_lookup_elem(&areas, &address);
	__u64 umem, *mapped_at;

	if (!found)
		return 0;
	umem = *found;
	bpf_map_delete_elem(&areas, &address);
	/* A registration that was tried again has another mapping by now. */
	mapped_at = bpf_map_lookup_elem(&umems, &umem);
	if (mapped_at && *mapped_at == address)
		bpf_map_delete_elem(&umems, &umem);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
