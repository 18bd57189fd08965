// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * Who may attach an XDP program to a device by BPF_LINK_CREATE. The kernel asks for nothing but descriptors there
 * (bpf_xdp_link_attach() in net/core/dev.c), because loading a program takes capabilities. But a client of a queue with
 * BPF rings has the descriptor of a program that it did not load: without this, it could attach that program to any
 * device of the network namespace that it is in, the host's loopback included, and the device would receive nothing.
 *
 * This asks for what the kernel itself asks for where a program is attached by netlink: CAP_NET_ADMIN in the user
 * namespace that owns the network namespace, or in one above it. The loader knows the section as one of fentry's, and
 * it is attached as BPF_MODIFY_RETURN: an answer other than 0 is that of security_bpf(), and so that of the call.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define EPERM 1
#define CAP_NET_ADMIN (1ULL << 12)
/* A user namespace has at most 32 above it (create_user_ns() in kernel/user_namespace.c). */
#define MAX_LEVELS 33

/* What is read of the kernel's own types: the loader puts in where it is. */
#define KERNEL __attribute__((preserve_access_index))

typedef struct {
	__u64 val;
} KERNEL kernel_cap_t;

struct user_namespace {
	struct user_namespace *parent;
} KERNEL;

struct cred {
	kernel_cap_t cap_effective;
	struct user_namespace *user_ns;
} KERNEL;

struct net {
	struct user_namespace *user_ns;
} KERNEL;

struct nsproxy {
	struct net *net_ns;
} KERNEL;

struct task_struct {
	struct nsproxy *nsproxy;
	const struct cred *cred;
} KERNEL;

/* Of `union bpf_attr`, which the kernel has copied before: nobody changes it any more. */
struct link_create {
	__u32 program;
	__u32 target;
	__u32 attach_type;
};

/* Arguments of security_bpf(): cmd, attr, size, and what later kernels have added. */
SEC("fentry/security_bpf")
int link_guard(__u64 *arguments)
{
	const struct link_create *create = (void *)arguments[1];
	struct user_namespace *owner, *own;
	struct task_struct *task;

	if ((__u32)arguments[0] != BPF_LINK_CREATE || create->attach_type != BPF_XDP)
		return 0;
	task = (void *)bpf_get_current_task_btf();
	if (!(task->cred->cap_effective.val & CAP_NET_ADMIN))
		return -EPERM;
	own = task->cred->user_ns;
	owner = task->nsproxy->net_ns->user_ns;
	for (int level = 0; level < MAX_LEVELS && owner; level++) {
		if (owner == own)
			return 0;
		owner = owner->parent;
	}
	return -EPERM;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
