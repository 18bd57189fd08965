//! Limits and defaults of the crates below, for a test that compares them with those of the packages.

use std::collections::HashMap;

use napi_derive::napi;
use xsknet_bpf::Vlan;
use xsknet_bpf::contract::{MAX_PORT_QUEUE_PAIRS, REFUSAL_BYTES, RING_WAKE_BYTES, RingControl};
use xsknet_control::{MAX_DESCRIPTORS, MAX_MESSAGE};
use xsknet_port::{CLIENT_RING_SIZE, FRAMES_PER_SLOT, MAX_NAME_LENGTH, MAX_PORT_GROUPS, MIN_MTU, PortSpec, Tap};
use xsknet_xsk::{MAX_FRAME_SIZE, MAX_FRAMES, MAX_RING_SIZE, MIN_FRAME_SIZE, MIN_FRAMES};

// The answer to `openPort` carries up to five descriptors per queue, in one message.
const _: () = assert!(5 * MAX_PORT_QUEUE_PAIRS as usize <= MAX_DESCRIPTORS);

/// The pages in front of the data of a BPF ring buffer: the kernel's own, and one for each of the two positions.
const RING_BUFFER_HEADER: u32 = 3 * 4096;
/// Bytes of a queue's BPF rings beside its UMEM.
const BPF_RING_BYTES: u32 = size_of::<RingControl>() as u32 + RING_WAKE_BYTES + RING_BUFFER_HEADER;

/// Each limit and default by the name of its constant in `packages/xsknet/src/connection/limits.ts` or
/// `packages/xsknetd/src/policy/limits.ts`.
#[napi(ts_return_type = "Record<string, number>")]
pub fn limits() -> HashMap<&'static str, u32> {
    let defaults = PortSpec::new([]);
    HashMap::from([
        ("MESSAGE_LIMIT", MAX_MESSAGE as u32),
        ("MAX_NAME_LENGTH", MAX_NAME_LENGTH as u32),
        ("MAX_GROUPS", MAX_PORT_GROUPS as u32),
        ("MAX_REFUSAL_BYTES", REFUSAL_BYTES),
        ("MIN_SNAP_LENGTH", Tap::MIN_SNAP),
        ("MAX_SNAP_LENGTH", Tap::MAX_SNAP),
        ("MIN_VLAN", Vlan::MIN.into()),
        ("MAX_VLAN", Vlan::MAX.into()),
        ("MIN_MTU", MIN_MTU),
        ("DEFAULT_QUEUES", defaults.queues),
        ("MAX_QUEUES", MAX_PORT_QUEUE_PAIRS),
        ("DEFAULT_PINNED_RING_SIZE", CLIENT_RING_SIZE),
        ("MAX_RING_SIZE", MAX_RING_SIZE),
        ("BPF_RING_BYTES", BPF_RING_BYTES),
        ("MIN_FRAME_SIZE", MIN_FRAME_SIZE),
        ("DEFAULT_FRAME_SIZE", defaults.layout.frame_size()),
        ("MAX_FRAME_SIZE", MAX_FRAME_SIZE),
        ("FRAMES_PER_SLOT", FRAMES_PER_SLOT),
        ("MIN_FRAMES", MIN_FRAMES),
        ("MAX_FRAMES", MAX_FRAMES),
    ])
}
