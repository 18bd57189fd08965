//! Samples of the frames that a port's guard refuses.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rstest::rstest;

use super::frames::*;
use super::lab::{ALICE, BOB, device, in_namespace};
use crate::contract::REFUSAL_BYTES;
use crate::datapath::Pace;
use crate::{Counter, Datapath, DatapathOptions, PortEntry, Rate, Rates, Refusal, Rights, Vlan};

static IPS_OF_A: [IpAddr; 2] = [IpAddr::V4(IP_A), IpAddr::V6(IP6_A)];
static IPS_OF_B: [IpAddr; 1] = [IpAddr::V4(IP_B)];

struct Scene {
    datapath: Datapath,
    outers: [u32; 2],
}

fn scene(pace: Pace, test: impl FnOnce(&mut Scene) + Send) {
    in_namespace(&["a0", "b0", "up0"], || {
        let options = DatapathOptions { uplink_mtu: 1500, queue_seed: 0, pins: None };
        let [a, b, uplink] = ["a0", "b0", "up0"].map(|name| device(name).index);
        let mut datapath = Datapath::load_paced(options, pace).unwrap();
        datapath.set_uplink(uplink).unwrap();
        let scene = &mut Scene { datapath, outers: [a, b] };
        for (at, sources, mac) in [(0, &IPS_OF_A[..], MAC_A), (1, &IPS_OF_B[..], MAC_B)] {
            scene.datapath.add_port(&entry(at, &[scene.outers[at]], sources, mac)).unwrap();
        }
        test(scene);
    });
}

fn entry<'a>(at: usize, outers: &'a [u32], sources: &'a [IpAddr], mac: Mac) -> PortEntry<'a> {
    PortEntry {
        id: [ALICE, BOB][at],
        outers,
        mac,
        uplink_mac: false,
        tap: false,
        vlan: Vlan::UNTAGGED,
        mtu: 1500,
        sources,
        targets: sources,
        rights: Rights::default(),
        rates: Rates { broadcast: Some(Rate::new(0)), ..Rates::UNLIMITED },
        rings: None,
    }
}

impl Scene {
    fn start(&mut self) {
        self.datapath.prepare_sampling(ALICE).unwrap();
        self.datapath.start_sampling(ALICE).unwrap();
    }

    fn send(&self, frame: &[u8]) {
        self.datapath.test_guard(frame, self.outers[0]).unwrap();
    }

    fn refusals(&self) -> Option<Vec<Refusal>> {
        self.datapath.refusals(ALICE).unwrap()
    }

    fn reopen(&mut self) {
        let alice = entry(0, &self.outers[..1], &IPS_OF_A, MAC_A);
        self.datapath.remove_port(&alice).unwrap();
        self.datapath.add_port(&alice).unwrap();
    }
}

fn forged() -> Vec<u8> {
    udp4((MAC_A, IP_B), FAR, (9, 53))
}

#[rstest]
#[case::of_a_forged_address(forged(), Counter::SourceIp)]
#[case::of_a_forged_mac(udp4((MAC_B, IP_A), FAR, (9, 53)), Counter::SourceMac)]
#[case::of_the_shortest_frame(ethernet(MAC_FAR, MAC_A, 0x88b5, &[]), Counter::Ethertype)]
#[case::beyond_a_rate(arp_request(A, IP_FAR), Counter::Rate)]
#[case::as_long_as_what_is_kept([forged(), vec![7; 128]].concat()[..128].to_vec(), Counter::SourceIp)]
#[case::longer_than_what_is_kept([forged(), vec![7; 1000]].concat(), Counter::SourceIp)]
#[case::longer_than_the_mtu([udp4(A, FAR, (9, 53)), vec![7; 1500]].concat(), Counter::TooLong)]
fn a_sample_has_the_reason_the_length_and_the_first_bytes(#[case] frame: Vec<u8>, #[case] reason: Counter) {
    scene(Pace::real(), |scene| {
        scene.start();
        let before = SystemTime::now();
        scene.send(&frame);
        let after = SystemTime::now();
        let refusals = scene.refusals().unwrap();
        let [Refusal { time, reason: told, length, bytes }] = &refusals[..] else { panic!("{refusals:?}") };
        assert_eq!((*told, *length as usize), (reason, frame.len()));
        assert_eq!(bytes[..], frame[..frame.len().min(REFUSAL_BYTES as usize)]);
        let slack = Duration::from_millis(50);
        assert!(before - slack <= *time && *time <= after + slack, "{before:?} {time:?} {after:?}");
        assert_eq!(scene.refusals().unwrap(), [], "each is told once");
    });
}

#[test]
fn nothing_is_sampled_until_somebody_asks_or_of_frames_that_pass() {
    scene(Pace::real(), |scene| {
        scene.send(&forged());
        assert_eq!(scene.refusals(), None);
        scene.start();
        assert_eq!(scene.refusals().unwrap(), []);
        scene.send(&udp4(A, FAR, (9, 53)));
        scene.send(&udp4(A, (MAC_B, IP_B), (9, 53)));
        scene.datapath.test_guard(&udp4((MAC_B, IP_A), FAR, (9, 53)), scene.outers[1]).unwrap();
        assert_eq!(scene.refusals().unwrap(), [], "what passed, and what another port sent");
        assert_eq!(scene.datapath.refusals(BOB).unwrap(), None, "nobody asked for these");
    });
}

#[test]
fn no_more_than_a_hundred_are_sampled_at_once_and_the_next_reader_gets_others() {
    scene(Pace::standstill(), |scene| {
        scene.start();
        for number in 0..300_u16 {
            scene.send(&udp4((MAC_A, IP_B), FAR, (number, 53)));
        }
        let refusals = scene.refusals().unwrap();
        let source = |refusal: &Refusal| u16::from_be_bytes([refusal.bytes[34], refusal.bytes[35]]);
        let sources: Vec<u16> = refusals.iter().map(source).collect();
        assert_eq!(sources, (0..100).collect::<Vec<_>>());
        scene.send(&forged());
        assert_eq!(scene.refusals().unwrap(), [], "the rate is used up");
    });
    scene(Pace::real(), |scene| {
        scene.start();
        for round in 0..50 {
            scene.send(&forged());
            assert_eq!(scene.refusals().unwrap().len(), 1, "round {round}");
        }
    });
}

#[test]
fn the_next_port_of_the_id_begins_without_samples_and_with_nobody_asking() {
    scene(Pace::real(), |scene| {
        scene.start();
        scene.send(&forged());
        scene.reopen();
        scene.send(&forged());
        assert_eq!(scene.refusals(), None);
        scene.start();
        assert_eq!(scene.refusals().unwrap(), [], "those of the port before are not told");
        scene.send(&forged());
        assert_eq!(scene.refusals().unwrap().len(), 1);
    });
}
