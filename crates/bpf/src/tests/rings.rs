//! BPF rings: what arrives, what is sent, and what a hostile client can
//! make of it.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;
use std::path::Path;

use super::frames::{IP_A, IP_B, IP_FAR, IPV4, MAC_A, MAC_B, UDP, ethernet, ipv4, patched, udp_with};
use super::lab::{ALICE, BOB, PrivateBpffs, device, in_namespace};
use super::ring_client::{CHUNKS, RX, RingClient, TX};
use crate::contract::{Counter, Identity, RING_CHUNK, RING_MAX_OFFSET, RING_MIN_OFFSET, RING_ROOM};
use crate::{
    Counters, Datapath, DatapathOptions, PortEntry, Rates, Rights, RingCounters, RingProgram, RingRange, RingsEntry,
    Verdict, Vlan,
};

struct Scene {
    datapath: Datapath,
    range: RingRange,
    program: RingProgram,
    client: RingClient,
    outers: [u32; 2],
    uplink: u32,
    /// The last: the programs' pins.
    pins: PrivateBpffs,
}

const SLOTS: usize = 4;

fn entry(outers: &[u32], rings: Option<RingsEntry>) -> PortEntry<'_> {
    PortEntry {
        id: ALICE,
        outers,
        mac: MAC_A,
        uplink_mac: false,
        tap: false,
        vlan: Vlan::UNTAGGED,
        mtu: 1500,
        sources: &ADDRESSES,
        targets: &ADDRESSES,
        rights: Rights::default(),
        rates: Rates::UNLIMITED,
        rings,
    }
}

const ADDRESSES: [IpAddr; 1] = [IpAddr::V4(IP_A)];
const OF_BOB: [IpAddr; 1] = [IpAddr::V4(IP_B)];

impl Scene {
    fn new(offset: u32) -> Self {
        let pins = PrivateBpffs::mount();
        let outers = ["a0", "b0"].map(|name| device(name).index);
        let uplink = device("up0").index;
        let shared = pins.path().join("datapath");
        let mut datapath =
            Datapath::load(DatapathOptions { uplink_mtu: 1500, queue_seed: 0, pins: Some(&shared) }).unwrap();
        datapath.set_uplink(uplink).unwrap();
        let range = datapath.claim_rings(1).unwrap();
        let program = datapath.load_ring_program(range, 0, u32::MAX, &pins.path().join("ring")).unwrap();
        let client = RingClient::new(SLOTS);
        datapath.install_rings(range, std::slice::from_ref(&client.maps)).unwrap();
        let rings = RingsEntry { range, rx_slots: SLOTS as u32, tx_slots: SLOTS as u32, offset };
        datapath.add_port(&entry(&outers[..1], Some(rings))).unwrap();
        let bob = PortEntry { id: BOB, mac: MAC_B, sources: &OF_BOB, targets: &OF_BOB, ..entry(&outers[1..], None) };
        datapath.add_port(&bob).unwrap();
        Self { datapath, range, program, client, outers, uplink, pins }
    }

    fn arrive(&self, frame: &[u8]) -> (Verdict, Counters) {
        let result = self.datapath.test_uplink(frame, self.uplink).unwrap();
        (result.verdict, result.moved)
    }

    fn counters(&self) -> RingCounters {
        self.datapath.ring_counters(self.range).unwrap()
    }

    /// What the client's program says, and the frame that it would send.
    fn run(&self) -> (Verdict, Vec<u8>) {
        self.program.test(&[0; 2000], 0).unwrap()
    }

    fn remove(&mut self) {
        self.datapath.remove_port(&entry(&self.outers[..1], None)).unwrap();
        self.datapath.uninstall_rings(self.range).unwrap();
    }
}

fn scene(offset: u32, test: impl FnOnce(&mut Scene) + Send) {
    in_namespace(&["a0", "b0", "up0"], || test(&mut Scene::new(offset)));
}

fn frame_to_alice(length: usize) -> Vec<u8> {
    ethernet(MAC_A, MAC_B, 0x0800, &(0..length - 14).map(|byte| byte as u8).collect::<Vec<_>>())
}

#[test]
fn a_frame_for_a_port_with_rings_lies_whole_in_the_chunk_that_was_given_for_it() {
    for offset in [RING_MIN_OFFSET, 300, RING_MAX_OFFSET] {
        scene(offset, |scene| {
            for (position, length) in (0..).zip([14, 60, 61, 127, 128, 129, 1000, 1514]) {
                let chunk = position % CHUNKS;
                scene.client.post(chunk);
                let frame = frame_to_alice(length);
                let (verdict, moved) = scene.arrive(&frame);
                assert_eq!((verdict, moved[Counter::ToRing]), (Verdict::Drop, 1), "{moved:?}");
                assert_eq!(scene.client.rx(position), (2 * position + 2, length as u32));
                assert_eq!(scene.client.bytes(chunk, offset, length), frame);
            }
            assert_eq!(scene.counters(), RingCounters { received: 8, ..RingCounters::default() });
        });
    }
}

#[test]
fn a_frame_without_a_chunk_is_counted_and_takes_no_slot() {
    scene(256, |scene| {
        let frame = frame_to_alice(60);
        for _ in 0..3 {
            assert_eq!(scene.arrive(&frame).1[Counter::NoChunk], 1);
        }
        scene.client.post(5);
        assert_eq!(scene.arrive(&frame).1[Counter::ToRing], 1);
        assert_eq!(scene.client.rx(0), (2, 60));
        assert_eq!(scene.counters(), RingCounters { received: 1, no_chunk: 3, ..RingCounters::default() });
    });
}

#[test]
fn what_a_client_writes_into_its_slots_harms_its_own_frames_alone() {
    scene(256, |scene| {
        let frame = frame_to_alice(60);
        for chunk in [CHUNKS, u32::MAX, 1 << 31] {
            scene.client.post(chunk);
            assert_eq!(scene.arrive(&frame).1[Counter::NoChunk], 1);
            assert_eq!(scene.client.rx(scene.client.posted - 1).1, 0, "a frame of no bytes");
        }
        // Sequences that are not the next one's, in all slots.
        for sequence in [0, 1, 6, 8, 9, u32::MAX] {
            scene.client.change(|words| words[RX..TX].fill(sequence));
            assert_eq!(scene.arrive(&frame).1[Counter::NoChunk], 1, "{sequence}");
        }
        assert_eq!(scene.counters(), RingCounters { received: 3, no_chunk: 6, invalid_chunk: 3, sent: 0 });
    });
}

#[test]
fn a_client_is_woken_once_when_it_has_said_that_it_sleeps() {
    scene(256, |scene| {
        let frame = frame_to_alice(60);
        scene.client.post(0);
        scene.arrive(&frame);
        assert!(!scene.client.rings());
        scene.client.change(|words| words[0] = 1);
        for chunk in [1, 2] {
            scene.client.post(chunk);
            scene.arrive(&frame);
        }
        assert!(scene.client.rings());
        assert_eq!(scene.client.word(0), 0, "it is awake");
        // One that is asleep without an end is heard until its ring buffer is full, and gets its frames all the same.
        for _ in 0..1000 {
            scene.client.change(|words| words[0] = u32::MAX);
            scene.client.post(3);
            assert_eq!(scene.arrive(&frame).1[Counter::ToRing], 1);
        }
    });
}

#[test]
fn what_is_sent_is_what_lies_in_the_chunk_wherever_it_begins() {
    scene(256, |scene| {
        for length in [42, 60, 300, 1400, RING_ROOM as usize - 22] {
            let frame = datagram(IP_FAR, length);
            for offset in [0, 1, 255, 256, 257, 400, RING_MAX_OFFSET, 600, RING_CHUNK - frame.len() as u32] {
                if offset as usize + frame.len() > RING_CHUNK as usize {
                    continue;
                }
                scene.client.put(offset, &frame);
                let (verdict, sent) = scene.run();
                assert_eq!((verdict, sent == frame), (Verdict::Redirect, true), "{length} bytes at {offset}");
                scene.client.expect_taken();
            }
        }
    });
}

#[test]
fn what_is_no_frame_of_the_clients_memory_is_malformed() {
    scene(256, |scene| {
        let end = CHUNKS * RING_CHUNK;
        let entries = [
            (256, 0),
            (256, 13),
            (256, RING_ROOM + 1),
            (256, u32::MAX),
            (RING_CHUNK - 13, 14),
            (RING_CHUNK - 60, 61),
            (end, 60),
            (end + 256, 60),
            (u32::MAX, 60),
            (u32::MAX - 1791, 60),
        ];
        for (address, length) in entries {
            scene.client.put_entry(address, length);
            assert_eq!(scene.run().0, Verdict::Drop, "{length} bytes at {address}");
            scene.client.expect_taken();
        }
        let counters = scene.datapath.guard_counters(ALICE).unwrap();
        assert_eq!((counters.seen(), counters[Counter::Malformed]), (10, 10));
        assert_eq!(scene.counters().sent, 10);
    });
}

#[test]
fn nothing_is_sent_where_nothing_waits_whatever_the_program_is_run_on() {
    scene(256, |scene| {
        let good = datagram(IP_FAR, 60);
        for frame in [vec![0; 14], vec![0xff; 60], good.clone(), vec![0; 3000]] {
            assert_eq!(scene.program.test(&frame, 0).unwrap().0, Verdict::Drop);
        }
        // Sequences that are not the next one's.
        for sequence in [0, 2, 3, u32::MAX] {
            scene.client.change(|words| words[TX..].fill(sequence));
            assert_eq!(scene.run().0, Verdict::Drop);
        }
        assert_eq!(scene.counters().sent, 0);
        assert_eq!(scene.datapath.guard_counters(ALICE).unwrap().seen(), 0);
    });
}

#[test]
fn a_program_that_is_kept_sends_nothing_once_its_port_is_removed_nor_for_the_next_one() {
    scene(256, |scene| {
        let good = datagram(IP_FAR, 60);
        scene.client.put(256, &good);
        assert_eq!(scene.run().0, Verdict::Redirect);
        scene.remove();
        assert_eq!(scene.counters().sent, 1, "what was counted stays");
        scene.client.put(256, &good);
        assert_eq!(scene.run().0, Verdict::Drop);
        scene.client.expect_waiting();
        scene.client.post(0);
        assert_eq!(scene.arrive(&frame_to_alice(60)).1[Counter::Passed], 1);

        scene.datapath.release_rings(scene.range).unwrap();
        let next = scene.datapath.claim_rings(1).unwrap();
        assert_eq!(next.first, scene.range.first);
        // Even with the very memory that the old program knows, which nobody would do.
        scene.datapath.install_rings(next, std::slice::from_ref(&scene.client.maps)).unwrap();
        let rings = RingsEntry { range: next, rx_slots: 4, tx_slots: 4, offset: 256 };
        scene.datapath.add_port(&entry(&scene.outers[..1], Some(rings))).unwrap();
        scene.client.change(|words| words[TX..TX + 3].copy_from_slice(&[1, RING_CHUNK + 256, 60]));
        assert_eq!(scene.run().0, Verdict::Drop);
        assert_eq!(scene.datapath.ring_counters(next).unwrap(), RingCounters::default());
    });
}

#[test]
fn a_frame_for_another_port_goes_to_that_one_and_to_its_ring() {
    scene(256, |scene| {
        // From Bob's pair into Alice's ring, whole.
        let frame = ethernet(MAC_A, MAC_B, IPV4, &ipv4(UDP, IP_B, IP_A, &udp_with(1, 2, &[7; 100])));
        for forged in [false, true] {
            scene.client.post(2);
            let frame = if forged { patched(frame.clone(), 26, &IP_FAR.octets()) } else { frame.clone() };
            let result = scene.datapath.test_guard(&frame, scene.outers[1]).unwrap();
            assert_eq!(result.verdict, Verdict::Drop, "it is in the ring, or nowhere");
            assert_eq!(result.moved[if forged { Counter::SourceIp } else { Counter::ToRing }], 1);
        }
        assert_eq!(scene.client.rx(0), (2, frame.len() as u32));
        assert_eq!(scene.client.bytes(2, 256, frame.len()), frame);
        assert_eq!(scene.client.rx(1).0, 3);
        // From Alice's ring to Bob's pair.
        let good = datagram(IP_B, 60);
        scene.client.put(256, &good);
        assert_eq!(scene.run().0, Verdict::Redirect);
        assert_eq!(scene.datapath.guard_counters(ALICE).unwrap().to_port(), 1);
    });
}

#[test]
fn a_run_that_is_not_live_sends_nothing_and_takes_no_entry() {
    scene(256, |scene| {
        let (ring, key) = scene.range.of_queue(0);
        let [other, inner] = scene.outers;
        let identity = Identity { ring, key, inner, dry_runs: 0 };
        let [pins, shared] = ["live", "datapath"].map(|folder| scene.pins.path().join(folder));
        let program = RingProgram::load(identity, &pins, &shared).unwrap();
        scene.client.put(256, &datagram(IP_FAR, 60));
        for (ingress, verdict) in [(0, Verdict::Pass), (other, Verdict::Pass), (inner, Verdict::Drop)] {
            assert_eq!(program.test(&[0; 60], ingress).unwrap().0, verdict);
            scene.client.expect_waiting();
        }
        assert_eq!(scene.counters().sent, 0);
        xsknet_ring::send(program.for_client().unwrap().as_fd(), 1, 60).unwrap();
        scene.client.expect_taken();
        assert_eq!(scene.counters().sent, 1);
        let counters = scene.datapath.guard_counters(ALICE).unwrap();
        assert_eq!((counters.seen(), counters.to_port()), (1, 1), "to Bob: {counters:?}");
    });
}

#[test]
fn places_for_rings_are_limited_and_come_back() {
    in_namespace(&["a0"], || {
        let pins = PrivateBpffs::mount();
        let load =
            |pins: Option<&Path>| Datapath::load(DatapathOptions { uplink_mtu: 1500, queue_seed: 0, pins }).unwrap();
        let mut datapath = load(Some(&pins.path().join("datapath")));
        let ranges: Vec<_> = std::iter::from_fn(|| datapath.claim_rings(8).ok()).collect();
        assert_eq!(ranges.len(), 128);
        datapath.release_rings(ranges[77]).unwrap();
        assert_eq!(datapath.claim_rings(8).unwrap().first, ranges[77].first);
        let mut unpinned = load(None);
        let range = unpinned.claim_rings(1).unwrap();
        assert!(unpinned.load_ring_program(range, 0, 1, &pins.path().join("ring")).is_err());
    });
}

/// Of Alice's, of so many bytes.
fn datagram(to: Ipv4Addr, length: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..length - 42).map(|byte| byte as u8).collect();
    ethernet(MAC_B, MAC_A, IPV4, &ipv4(UDP, IP_A, to, &udp_with(4000, 4001, &payload)))
}
