//! That explaining changes nothing, and what is told. That it tells what the programs do is compared on every frame of
//! the verdict tables and of the models: see `lab.rs` and `flows.rs`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use aya::maps::{Array, HashMap, Map, MapData};
use xsknet_filter::{Flow, PortRange, Prefix};

use super::frames::*;
use super::lab::{ALICE, BOB, PrivateBpffs, device, in_namespace};
use super::ring_client::RingClient;
use crate::contract::{RING_MIN_OFFSET, RING_ROOM};
use crate::datapath::Pace;
use crate::object;
use crate::{
    Counter, Counters, Datapath, DatapathOptions, Destination, Explanation, FrameVlan, LimitedKind, PortEntry, Rate,
    Rates, Rights, RingRange, RingsEntry, Rule, Step, Tagging, Vlan,
};

const OF_ALICE: [IpAddr; 1] = [IpAddr::V4(IP_A)];
const OF_BOB: [IpAddr; 1] = [IpAddr::V4(IP_B)];
const SLOTS: usize = 4;

/// Alice, who may send one broadcast and one frame to an unknown station, and has a flow; and Bob, who has a BPF ring.
struct Scene {
    datapath: Datapath,
    alice: u32,
    uplink: u32,
    client: RingClient,
    range: RingRange,
    pins: PrivateBpffs,
}

fn flow() -> Flow {
    Flow {
        destination: Some(Prefix::host(IP_D.into())),
        protocol: Some(UDP),
        destination_ports: Some(PortRange::one(53)),
        ..Flow::default()
    }
}

fn scene(test: impl FnOnce(&mut Scene) + Send) {
    let one = Some(Rate::new(1));
    scene_with(Rates { broadcast: one, unknown_unicast: one, ..Rates::UNLIMITED }, test);
}

fn scene_with(rates: Rates, test: impl FnOnce(&mut Scene) + Send) {
    in_namespace(&["a0", "b0", "up0"], || {
        let pins = PrivateBpffs::mount();
        let [alice, bob, uplink] = ["a0", "b0", "up0"].map(|name| device(name).index);
        let shared = pins.path().join("datapath");
        let options = DatapathOptions { uplink_mtu: 1500, queue_seed: 0, pins: Some(&shared) };
        let mut datapath = Datapath::load_paced(options, Pace::standstill()).unwrap();
        datapath.set_uplink(uplink).unwrap();
        datapath.set_uplink_mac(MAC_HOST).unwrap();
        let range = datapath.claim_rings(1).unwrap();
        let client = RingClient::new(SLOTS);
        datapath.install_rings(range, std::slice::from_ref(&client.maps)).unwrap();
        let rings = RingsEntry { range, rx_slots: SLOTS as u32, tx_slots: SLOTS as u32, offset: RING_MIN_OFFSET };
        let entry = PortEntry {
            id: ALICE,
            outers: &[alice],
            mac: MAC_A,
            uplink_mac: false,
            tap: false,
            vlan: Vlan::UNTAGGED,
            mtu: 1500,
            sources: &OF_ALICE,
            targets: &OF_ALICE,
            rights: Rights::default(),
            rates,
            rings: None,
        };
        datapath.add_port(&entry).unwrap();
        let bob = PortEntry {
            id: BOB,
            outers: &[bob],
            mac: MAC_B,
            sources: &OF_BOB,
            targets: &OF_BOB,
            rates: Rates::UNLIMITED,
            rings: Some(rings),
            ..entry
        };
        datapath.add_port(&bob).unwrap();
        datapath.claim_flows(ALICE, &[flow()]).unwrap();
        test(&mut Scene { datapath, alice, uplink, client, range, pins });
    });
}

/// All that the programs write, but the rings.
#[derive(Debug, PartialEq)]
struct Written {
    counters: [Counters; 2],
    rates: Vec<[u64; 4]>,
    stations: Vec<[u64; 8]>,
    fragmented: Vec<([u64; 5], [u64; 5])>,
    ring_states: Vec<[u64; 32]>,
    slot: (u32, u32),
}

impl Scene {
    fn pinned(&self, name: &str) -> MapData {
        MapData::from_pin(self.pins.path().join("datapath/maps").join(name)).unwrap()
    }

    fn array<const WORDS: usize>(&self, name: &str) -> Vec<[u64; WORDS]>
    where
        [u64; WORDS]: aya::Pod,
    {
        let array: Array<MapData, [u64; WORDS]> = Map::Array(self.pinned(name)).try_into().unwrap();
        array.iter().collect::<Result<_, _>>().unwrap()
    }

    fn written(&self) -> Written {
        let fragmented: HashMap<MapData, [u64; 5], [u64; 5]> =
            Map::LruHashMap(self.pinned("fragmented")).try_into().unwrap();
        Written {
            counters: [self.datapath.uplink_counters().unwrap(), self.datapath.all_guard_counters().unwrap()],
            rates: self.array("rates"),
            stations: self.array("stations"),
            fragmented: fragmented.iter().collect::<Result<_, _>>().unwrap(),
            ring_states: self.array("ring_states"),
            slot: self.client.rx(0),
        }
    }

    fn arrives(&self, frame: &[u8]) -> Explanation {
        self.datapath.explain_uplink(frame, self.uplink).unwrap()
    }

    fn sends(&self, frame: &[u8]) -> Explanation {
        self.datapath.explain_guard(frame, self.alice).unwrap()
    }
}

fn to_bob(length: usize) -> Vec<u8> {
    let mut frame = ethernet(MAC_B, MAC_FAR, 0x88b5, &[7; 46]);
    frame.resize(length, 7);
    frame
}

fn first_fragment() -> Vec<u8> {
    let packet = ipv4_with(0x2000, &[], UDP, IP_FAR, IP_D, &udp(9, 53));
    ethernet(MAC_HOST, MAC_FAR, IPV4, &packet)
}

fn later_fragment() -> Vec<u8> {
    ethernet(MAC_HOST, MAC_FAR, IPV4, &ipv4_with(1, &[], UDP, IP_FAR, IP_D, &[0; 8]))
}

#[test]
fn explaining_changes_nothing_that_the_programs_would_change() {
    scene(|scene| {
        scene.client.post(2);
        let broadcast = ethernet(BROADCAST, MAC_A, ARP, &arp(1, (MAC_A, IP_A), ([0; 6], IP_FAR)));
        let unknown = udp4((MAC_A, IP_A), (MAC_D, IP_FAR), (9, 9));
        let known = udp4((MAC_A, IP_A), FAR, (9, 9));
        // The first one teaches the station that the last one is sent to.
        for (arrives, frame) in [
            (true, to_bob(60)),
            (true, first_fragment()),
            (true, later_fragment()),
            (false, broadcast),
            (false, unknown),
            (false, known),
        ] {
            let before = scene.written();
            let explain = || if arrives { scene.arrives(&frame) } else { scene.sends(&frame) };
            let explained = explain();
            for _ in 0..3 {
                assert_eq!(explain(), explained, "it may be asked as often as one likes");
            }
            assert_eq!(scene.written(), before);

            let result = match arrives {
                true => scene.datapath.test_uplink(&frame, scene.uplink),
                false => scene.datapath.test_guard(&frame, scene.alice),
            };
            assert_eq!(result.unwrap().moved[explained.counter], 1, "{explained:?}");
            assert_ne!(scene.written(), before, "the programs themselves write");
        }
    });
}

#[test]
fn what_is_used_up_is_told_and_not_used() {
    scene(|scene| {
        let broadcast = ethernet(BROADCAST, MAC_A, ARP, &arp(1, (MAC_A, IP_A), ([0; 6], IP_FAR)));
        let rate = |within| Step::Rate { kind: LimitedKind::Broadcast, limited: true, known: false, within };
        let before = scene.sends(&broadcast);
        assert_eq!((before.counter, before.rule, before.to), (Counter::ToUplink, Rule::ToUplink, None));
        assert_eq!(before.steps.last(), Some(&rate(true)));
        scene.datapath.test_guard(&broadcast, scene.alice).unwrap();
        let after = scene.sends(&broadcast);
        assert_eq!((after.counter, after.rule), (Counter::Rate, Rule::Rate));
        assert_eq!(after.steps.last(), Some(&rate(false)));

        let to = Some(Destination { port: BOB, queue_pair: 0, rings: true });
        let no_chunk = scene.arrives(&to_bob(60));
        assert_eq!((no_chunk.counter, no_chunk.rule, no_chunk.to), (Counter::NoChunk, Rule::NoChunk, to));
        scene.client.post(u32::MAX);
        assert_eq!(scene.arrives(&to_bob(60)).counter, Counter::NoChunk, "the chunk does not exist");
        scene.datapath.test_uplink(&to_bob(60), scene.uplink).unwrap();
        scene.client.post(1);
        let received = scene.arrives(&to_bob(60));
        assert_eq!((received.counter, received.rule, received.to), (Counter::ToRing, Rule::PortMac, to));
        let long = scene.arrives(&to_bob(RING_ROOM as usize + 1));
        assert_eq!((long.counter, long.rule, long.to), (Counter::TooLong, Rule::TooLong, to));
        assert_eq!(scene.datapath.ring_counters(scene.range).unwrap().received, 1, "the one that had no chunk");
    });
}

#[test]
fn which_rate_is_used_up_is_told() {
    let frames = Some(Rate::new(2));
    let bits = Some(Rate { per_second: 1_000_000, burst: 0 });
    scene_with(Rates { frames, bits, ..Rates::UNLIMITED }, |scene| {
        let broadcast = arp_request(A, IP_FAR);
        let step = |kind, limited, within| Step::Rate { kind, limited, known: false, within };
        let (of_frames, of_bits) = (|within| step(LimitedKind::Frames, true, within), LimitedKind::Bits);
        let told = scene.sends(&broadcast);
        let steps = [of_frames(true), step(of_bits, true, true), step(LimitedKind::Broadcast, false, true)];
        assert_eq!((told.rule, &told.steps[told.steps.len() - 3..]), (Rule::ToUplink, &steps[..]));
        scene.datapath.test_guard(&broadcast, scene.alice).unwrap();
        let told = scene.sends(&broadcast);
        assert_eq!((told.counter, told.rule), (Counter::BitRate, Rule::BitRate));
        assert_eq!(told.steps[told.steps.len() - 2..], [of_frames(true), step(of_bits, true, false)]);
    });
    scene_with(Rates { frames: Some(Rate::new(0)), ..Rates::UNLIMITED }, |scene| {
        let told = scene.sends(&arp_request(A, IP_FAR));
        assert_eq!((told.counter, told.rule), (Counter::FrameRate, Rule::FrameRate));
        let step = Step::Rate { kind: LimitedKind::Frames, limited: true, known: false, within: false };
        assert_eq!(told.steps.last(), Some(&step));
    });
}

#[test]
fn the_way_of_a_frame_is_told_step_by_step() {
    scene(|scene| {
        let untagged = |ethertype| Step::Tags { vlan: FrameVlan::Untagged, ethertype, tagging: Tagging::AtMostOne };
        let mac = |mac, port| Step::Mac { mac, vlan: FrameVlan::Untagged, port };
        let found = Step::Flow { port: Some(ALICE), flow: Some(flow()) };
        let to_alice = Some(Destination { port: ALICE, queue_pair: 0, rings: false });

        let fragment = scene.arrives(&first_fragment());
        assert_eq!((fragment.counter, fragment.rule, fragment.to), (Counter::ToPort, Rule::Flow, to_alice));
        let length = |frame: &[u8]| Step::Length { length: frame.len() as u32, most: 1514 };
        let steps = vec![untagged(IPV4), mac(MAC_HOST, None), found.clone(), length(&first_fragment())];
        assert_eq!(fragment.steps, steps);

        let answer = ethernet(MAC_FAR, MAC_HOST, IPV4, &ipv4(UDP, IP_D, IP_FAR, &udp(53, 9)));
        let sent = scene.sends(&answer);
        assert_eq!((sent.counter, sent.rule, sent.to), (Counter::ToUplink, Rule::ToUplink, None));
        let sender = |as_host| Step::Sender { as_host, vlan: Vlan::UNTAGGED };
        let rate = Step::Rate { kind: LimitedKind::Unicast, limited: true, known: false, within: true };
        let steps = vec![sender(true), untagged(IPV4), found, mac(MAC_FAR, None), length(&answer), rate];
        assert_eq!(sent.steps, steps);

        let question = arp_request(A, IP_B);
        let sent = scene.sends(&question);
        assert_eq!((sent.counter, sent.rule), (Counter::NoChunk, Rule::NoChunk));
        let source = Step::Source { address: IP_A.into(), own: true };
        let target = Step::Target { address: IP_B.into(), port: Some(BOB) };
        assert_eq!(sent.steps, vec![sender(false), untagged(ARP), source, target, length(&question)]);

        let foreign = scene.sends(&udp4((MAC_A, IP_B), FAR, (9, 9)));
        assert_eq!((foreign.counter, foreign.rule), (Counter::SourceIp, Rule::SourceAddress));
        assert_eq!(foreign.steps.last(), Some(&Step::Source { address: IP_B.into(), own: false }));
    });
}

#[test]
fn frames_of_all_lengths_are_explained() {
    scene(|scene| {
        for length in [14, 15, 1514, 1515, 3520, 3521, 9018, 16_000] {
            let explained = scene.arrives(&to_bob(length));
            let expected = if length > 1514 { Counter::TooLong } else { Counter::NoChunk };
            assert_eq!(explained.counter, expected, "{length} bytes: {explained:?}");
        }
        assert!(scene.datapath.explain_uplink(&[0; 13], scene.uplink).is_err(), "the kernel takes 14 and more");
    });
}

#[test]
fn the_programs_in_use_have_nothing_of_what_explains() {
    let maps = |object: &object::Object| object.parse().unwrap().maps.into_keys().collect::<BTreeSet<_>>();
    let functions = |object: &object::Object| {
        let functions = object.parse().unwrap().functions;
        functions.into_values().map(|function| function.name).collect::<BTreeSet<_>>()
    };
    let (ordinary, explaining) = (maps(&object::DATAPATH), maps(&object::EXPLAIN));
    assert_eq!(explaining.difference(&ordinary).collect::<Vec<_>>(), ["traces"]);
    assert!(ordinary.is_subset(&explaining));
    let (ordinary, explaining) = (functions(&object::DATAPATH), functions(&object::EXPLAIN));
    assert_eq!(explaining.difference(&ordinary).collect::<Vec<_>>(), ["note"]);
}

#[test]
fn without_pins_nothing_is_explained() {
    in_namespace(&["up0"], || {
        let datapath = Datapath::load(DatapathOptions { uplink_mtu: 1500, queue_seed: 0, pins: None }).unwrap();
        let refused = datapath.explain_uplink(&[0; 60], device("up0").index).unwrap_err();
        assert!(refused.to_string().contains("bpffs"), "{refused}");
    });
}
