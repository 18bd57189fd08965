/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
/*
 * What the programs of explain.bpf.c do beside deciding, and what they leave alone.
 *
 * They are those of datapath.bpf.c, compiled a second time with XSKNET_EXPLAINS and run by BPF_PROG_TEST_RUN on the
 * tables of a data path in use. They write what they look at into an array of their own. They change nothing else: no
 * counter, no rate, no station, no fragment, no ring. Wherever a program changes something, it asks EXPLAINING, which
 * is a constant of the compiler, so that the ordinary programs have no instruction for this.
 */
#ifndef XSKNET_EXPLAIN_H
#define XSKNET_EXPLAIN_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include <xsknet/contract.h>

#ifdef XSKNET_EXPLAINS
#define EXPLAINING true

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xsknet_trace);
} traces SEC(".maps");

/* Global, so that the verifier walks it once. A note that finds no room is counted: user space refuses the trace. */
__noinline int note(__u32 kind, __u32 value, __u64 first, __u64 second, __u64 third)
{
	struct xsknet_trace *trace;
	struct xsknet_note *note;
	__u32 zero = 0, at;

	trace = bpf_map_lookup_elem(&traces, &zero);
	if (!trace)
		return 0; /* cannot be: an array is full from the first; the verifier asks */
	at = trace->count++;
	if (at >= XSKNET_TRACE_NOTES)
		return 0;
	note = &trace->notes[at];
	note->kind = kind;
	note->value = value;
	note->word[0] = first;
	note->word[1] = second;
	note->word[2] = third;
	return 0;
}
/* The last of these says what decided. */
static __always_inline void note_rule(enum xsknet_rule rule)
{
	note(XSKNET_NOTE_RULE, rule, 0, 0, 0);
}

/* An answer of a rule that objects. */
static __always_inline enum xsknet_counter objects(enum xsknet_counter reason, enum xsknet_rule rule)
{
	note_rule(rule);
	return reason;
}

/* What a table has at a key: a claim, or none. */
static __always_inline struct xsknet_claim *note_claim(enum xsknet_note_kind kind, struct xsknet_claim *claim,
						       __u64 first, __u64 second)
{
	note(kind, claim ? claim->port : XSKNET_NO_PORT_ID, first, second, 0);
	return claim;
}

/* What a table of sources has at a key: an entry that allows to send, or none. */
static __always_inline bool note_source(enum xsknet_note_kind kind, const __u32 *entry, __u64 first, __u64 second)
{
	note(kind, !!entry, first, second, 0);
	return entry;
}

/* What a frame is for. A later note of this kind says it better: the first one may not know the queue pair yet. */
static __always_inline void note_target(const struct xsknet_claim *to, __u32 queue_pair)
{
	note(XSKNET_NOTE_TO, to->port, queue_pair, to->target, 0);
}

/* Whether a frame is over its rate. */
static __always_inline bool note_rate(__u32 kind, bool limited, bool known, bool over)
{
	note(XSKNET_NOTE_RATE, kind, limited, known, !over);
	return over;
}
#else
#define EXPLAINING false

/* Macros, so that clang sees the code as it would be without them, and compiles it to the same instructions. */
#define note(kind, value, first, second, third) 0
#define note_rule(rule) ((void)0)
#define objects(reason, rule) (reason)
#define note_claim(kind, claim, first, second) (claim)
#define note_source(kind, entry, first, second) (entry)
#define note_target(to, queue_pair) ((void)0)
#define note_rate(kind, limited, known, over) (over)
#endif

#endif
