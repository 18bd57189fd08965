//! Any calls, with any words, and any kernel: afterwards every chunk has one owner, and at the end all are free.

use std::time::Duration;

use proptest::prelude::*;
use xsknet_path::{PathError, Word, Words};
use xsknet_xsk::ring::{Descriptor, RingName};
use xsknet_xsk::{CONTINUES, NOWHERE};

use super::plain::{CHUNK, Device, FRAMES, HEAD, Port, SLOTS, impossible, set_pair};

#[derive(Clone, Debug)]
enum Step {
    // The other language
    Receive(u32),
    Finish,
    Flush,
    Allocate(u32),
    TrySend(usize),
    ReceiveInto(usize, usize),
    Renew(usize, usize),
    AllocateInto(usize, usize, usize),
    TransmitFrom(usize, usize),
    RecycleFrom(usize, usize),
    /// Queues what stands in a place of the lease.
    Queue(usize, u32),
    GiveBack(usize),
    /// Writes any descriptor anywhere into the slate or a table.
    Write(usize, usize, u32, u32),
    Count(Word, u32),
    // The kernel
    Deliver(Vec<u32>),
    Send(u32),
    Device(Device),
    ForgeRx(u64, u32, u32),
    ForgeCompletion(u64),
    ForgeIndex(RingName, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let table = 0..5_usize;
    let place = 0..20_usize;
    let length =
        prop_oneof![8 => 1..1800_u32, 1 => Just(0), 1 => any::<u32>(), 3 => (1..1800_u32).prop_map(|n| n | CONTINUES)];
    let address = prop_oneof![10 => 0..FRAMES * CHUNK, 1 => any::<u32>(), 1 => Just(NOWHERE)];
    let far = prop_oneof![10 => 0..u64::from(FRAMES * CHUNK), 1 => any::<u64>()];
    let ring = prop_oneof![Just(RingName::Rx), Just(RingName::Tx), Just(RingName::Fill), Just(RingName::Completion)];
    let counted = prop_oneof![Just(Word::Queued), Just(Word::Returned), Just(Word::Kept), Just(Word::Slots)];
    let device =
        prop_oneof![8 => (0..20_u32).prop_map(Device::Sends), 1 => Just(Device::Down), 1 => Just(Device::Gone)];
    let many = prop_oneof![20 => 0..20_usize, 1 => Just(usize::MAX)];
    prop_oneof![
        6 => (0..20_u32).prop_map(Step::Receive),
        3 => Just(Step::Finish),
        3 => Just(Step::Flush),
        3 => (0..20_u32).prop_map(Step::Allocate),
        3 => (1..4000_usize).prop_map(Step::TrySend),
        4 => (table.clone(), many.clone()).prop_map(|(t, n)| Step::ReceiveInto(t, n)),
        3 => (table.clone(), many.clone()).prop_map(|(t, n)| Step::Renew(t, n)),
        3 => (table.clone(), place.clone(), many.clone()).prop_map(|(t, n, end)| Step::AllocateInto(t, n, end)),
        4 => (table.clone(), many.clone()).prop_map(|(t, n)| Step::TransmitFrom(t, n)),
        3 => (table.clone(), many).prop_map(|(t, n)| Step::RecycleFrom(t, n)),
        6 => (place.clone(), length.clone()).prop_map(|(at, n)| Step::Queue(at, n)),
        4 => place.clone().prop_map(Step::GiveBack),
        4 => (table, place, address, length).prop_map(|(t, at, a, n)| Step::Write(t, at, a, n)),
        1 => (counted, prop_oneof![0..40_u32, any::<u32>()]).prop_map(|(word, n)| Step::Count(word, n)),
        6 => proptest::collection::vec(1..4000_u32, 0..8).prop_map(Step::Deliver),
        3 => (0..20_u32).prop_map(Step::Send),
        2 => device.prop_map(Step::Device),
        2 => (far.clone(), 0..3000_u32, 0..3_u32).prop_map(|(a, n, o)| Step::ForgeRx(a, n, o)),
        2 => far.prop_map(Step::ForgeCompletion),
        1 => (ring, 0..3_usize).prop_map(|(ring, n)| Step::ForgeIndex(ring, n)),
    ]
}

/// Only what a device or a forged index explains may fail.
fn refused(result: Result<usize, PathError>, device: Device) -> Option<PathError> {
    match result {
        Err(PathError::Flush(error)) if device != Device::Gone => Some(PathError::Flush(error)),
        Err(PathError::DeviceGone) if device != Device::Gone => Some(PathError::DeviceGone),
        Err(error @ (PathError::Ring(_) | PathError::Wait(_))) => Some(error),
        _ => None,
    }
}

fn take(port: &mut Port, tables: &[Words], step: &Step) -> Option<PathError> {
    let device = port.kernel().device;
    let now = Duration::ZERO;
    let path = &mut port.path;
    let result = match *step {
        Step::Receive(max) => path.receive(max),
        Step::Finish => path.finish().map(|()| 0),
        Step::Flush => path.flush().map(|()| 0),
        Step::Allocate(count) => path.allocate(count),
        Step::TrySend(length) => path.try_send(length, |_, bytes| bytes.fill(1)).map(usize::from),
        Step::ReceiveInto(table, length) => path.receive_into(table, length),
        Step::Renew(table, length) => path.recycle_and_receive_into(table, length, now),
        Step::AllocateInto(table, length, end) => path.allocate_into(table, length, end),
        Step::TransmitFrom(table, length) => path.transmit_from(table, length).map(|(sent, _)| sent),
        Step::RecycleFrom(table, length) => path.recycle_from(table, length),
        _ => {
            act(port, tables, step);
            Ok(0)
        }
    };
    refused(result, device)
}

/// What is done without a call.
fn act(port: &mut Port, tables: &[Words], step: &Step) {
    match *step {
        Step::Queue(place, length) if port.word(Word::Queued) < SLOTS => {
            port.queue(port.place(place).0, length);
            port.leave(place);
        }
        Step::GiveBack(place) if port.word(Word::Returned) < 16 => {
            port.give_back(port.place(place).0, 0);
            port.leave(place);
        }
        Step::Write(table, place, address, length) => match tables.get(table) {
            Some(words) if 2 * place < words.len() => set_pair(words, 2 * place, address, length),
            _ => set_pair(port.path.slate().words(), HEAD + 2 * place, address, length),
        },
        Step::Count(word, count) => port.path.slate().set(word, count),
        Step::Deliver(ref lengths) => {
            port.kernel().deliver(lengths);
        }
        Step::Send(max) => {
            port.kernel().rings.send(max);
        }
        Step::Device(device) => port.kernel().device = device,
        Step::ForgeRx(address, len, options) => {
            port.kernel().rings.forge_rx(&[Descriptor { address, len, options }]);
        }
        Step::ForgeCompletion(address) => {
            port.kernel().rings.forge_completion(&[address]);
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn every_chunk_has_one_owner_whatever_is_written(
        multi_buffer: bool,
        steps in proptest::collection::vec(step(), 1..150),
    ) {
        let mut port = if multi_buffer { Port::with_multi_buffer() } else { Port::new() };
        let tables: Vec<_> = (0..3).map(|n| port.path.make_table(4 + 6 * n).1).collect();
        for step in &steps {
            if let Step::ForgeIndex(ring, which) = *step {
                // The kernel writes no index meanwhile: it would be the honest one.
                let device = std::mem::replace(&mut port.kernel().device, Device::Sends(0));
                let honest = port.kernel().rings.forge_index(ring, 0);
                port.kernel().rings.forge_index(ring, impossible(honest)[which]);
                for call in [Step::Receive(8), Step::Flush, Step::TransmitFrom(1, 4), Step::Finish] {
                    let _ = take(&mut port, &tables, &call);
                    port.counts();
                }
                port.kernel().rings.forge_index(ring, honest);
                port.kernel().device = device;
            } else {
                let failed = take(&mut port, &tables, step);
                prop_assert!(failed.is_none(), "{step:?}: {failed:?}");
            }
            port.counts();
        }
        // The end: what the other language has can be reached no more, and the kernel has closed the rings.
        let Ok((rings, mut pool, _)) = port.path.dismantle() else { panic!("nobody shares the pool") };
        prop_assert_eq!(pool.0.outstanding(), 0);
        let closed = xsknet_path::Rings::close(rings, &pool);
        pool.0.reclaim(closed);
        prop_assert_eq!(pool.0.free(), FRAMES);
    }
}
