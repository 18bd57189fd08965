//! What a port may send from and what is steered to it, each without the other; and a claim with an unknown target.

use std::net::IpAddr;

use super::frames::*;
use super::lab::{ALICE, BOB, device, in_namespace, left_by};
use crate::contract::{Claim, MacKey, Target};
use crate::{Counter, Datapath, DatapathOptions, PortEntry, Rates, Rights, Vlan};

const ADDRESSES: [IpAddr; 2] = [IpAddr::V4(IP_A), IpAddr::V6(IP6_A)];
const OF_BOB: [IpAddr; 2] = [IpAddr::V4(IP_B), IpAddr::V6(IP6_B)];

struct Scene {
    datapath: Datapath,
    alice: u32,
    bob: u32,
    uplink: u32,
}

/// Alice with these addresses, and Bob with its own as both.
fn scene(sources: &[IpAddr], targets: &[IpAddr], test: impl FnOnce(&mut Scene) + Send) {
    in_namespace(&["a0", "b0", "up0"], || {
        let options = DatapathOptions { uplink_mtu: 1500, queue_seed: 0, pins: None };
        let [alice, bob, uplink] = ["a0", "b0", "up0"].map(|name| device(name).index);
        let mut datapath = Datapath::load(options).unwrap();
        datapath.set_uplink(uplink).unwrap();
        let port = PortEntry {
            id: ALICE,
            outers: &[alice],
            mac: MAC_A,
            uplink_mac: false,
            tap: false,
            vlan: Vlan::UNTAGGED,
            mtu: 1500,
            sources,
            targets,
            rights: Rights::default(),
            rates: Rates::UNLIMITED,
            rings: None,
        };
        datapath.add_port(&port).unwrap();
        let other = PortEntry { id: BOB, outers: &[bob], mac: MAC_B, sources: &OF_BOB, targets: &OF_BOB, ..port };
        datapath.add_port(&other).unwrap();
        test(&mut Scene { datapath, alice, bob, uplink });
    });
}

impl Scene {
    fn arrives(&self, frame: &[u8]) -> Counter {
        left_by(&self.datapath.test_uplink(frame, self.uplink).unwrap(), frame)
    }

    fn alice_sends(&self, frame: &[u8]) -> Counter {
        left_by(&self.datapath.test_guard(frame, self.alice).unwrap(), frame)
    }

    fn bob_sends(&self, frame: &[u8]) -> Counter {
        left_by(&self.datapath.test_guard(frame, self.bob).unwrap(), frame)
    }
}

#[test]
fn a_port_may_send_from_an_address_that_is_not_steered_to_it() {
    scene(&ADDRESSES, &[], |scene| {
        for frame in [
            udp4(A, FAR, (9, 53)),
            udp6(A6, FAR6, (9, 53)),
            arp_reply(A, FAR),
            arp_request(A, IP_FAR),
            arp_request((MAC_A, NONE4), IP_A),
            advertisement(A6, IP6_A, &target_link(MAC_A)),
            solicitation(A6, IP6_FAR, &source_link(MAC_A)),
            solicitation((MAC_A, NONE6), IP6_A, &[]),
        ] {
            assert_eq!(scene.alice_sends(&frame), Counter::ToUplink, "{frame:x?}");
        }
        for frame in [arp_request(FAR, IP_A), solicitation(FAR6, IP6_A, &source_link(MAC_FAR))] {
            assert_eq!(scene.arrives(&frame), Counter::Passed, "{frame:x?}");
        }
        for frame in [arp_request(B, IP_A), solicitation(B6, IP6_A, &source_link(MAC_B))] {
            assert_eq!(scene.bob_sends(&frame), Counter::ToUplink, "{frame:x?}");
        }
        assert_eq!(scene.arrives(&udp4(FAR, A, (9, 53))), Counter::ToPort, "by its MAC");
    });
}

#[test]
fn what_is_steered_to_a_port_is_not_for_that_reason_its_source() {
    scene(&[IpAddr::V6(LINK_LOCAL_A)], &ADDRESSES, |scene| {
        let own6 = (MAC_A, LINK_LOCAL_A);
        for (frame, objection) in [
            (udp4(A, FAR, (9, 53)), Counter::SourceIp),
            (udp6(A6, FAR6, (9, 53)), Counter::SourceIp),
            (arp_reply(A, FAR), Counter::Arp),
            (arp_request(A, IP_FAR), Counter::Arp),
            (arp_request((MAC_A, NONE4), IP_A), Counter::Arp),
            (advertisement(own6, IP6_A, &target_link(MAC_A)), Counter::Nd),
            (solicitation((MAC_A, NONE6), IP6_A, &[]), Counter::Nd),
            (udp6(own6, FAR6, (9, 53)), Counter::ToUplink),
        ] {
            assert_eq!(scene.alice_sends(&frame), objection, "{frame:x?}");
        }
        for frame in [arp_request(FAR, IP_A), solicitation(FAR6, IP6_A, &source_link(MAC_FAR))] {
            assert_eq!(scene.arrives(&frame), Counter::ToPort, "{frame:x?}");
        }
        for frame in [arp_request(B, IP_A), solicitation(B6, IP6_A, &source_link(MAC_B))] {
            assert_eq!(scene.bob_sends(&frame), Counter::ToPort, "{frame:x?}");
        }
    });
}

#[test]
fn two_ports_may_send_from_one_address() {
    scene(&OF_BOB, &[], |scene| {
        assert_eq!(scene.alice_sends(&udp4((MAC_A, IP_B), FAR, (9, 53))), Counter::ToUplink);
        assert_eq!(scene.bob_sends(&udp4(B, FAR, (9, 53))), Counter::ToUplink);
        assert_eq!(scene.arrives(&arp_request(FAR, IP_B)), Counter::ToPort);
    });
}

#[test]
fn a_frame_whose_target_is_unknown_is_dropped() {
    scene(&ADDRESSES, &ADDRESSES, |scene| {
        let frames = [udp4(FAR, A, (9, 53)), udp4(B, A, (9, 53))];
        let key = MacKey { mac: MAC_A, vlan: Vlan::UNTAGGED.key() };
        let claim = scene.datapath.tables().macs.get(&key, 0).unwrap();
        assert_eq!(Target::from_number(claim.target), Some(Target::QueuePairs));
        for (target, expected) in [(0, Counter::NoPort), (2, Counter::NoPort), (claim.target, Counter::ToPort)] {
            scene.datapath.tables().macs.insert(key, Claim { target, ..claim }, 0).unwrap();
            assert_eq!(scene.arrives(&frames[0]), expected, "{target}");
            assert_eq!(scene.bob_sends(&frames[1]), expected, "{target}");
        }
    });
}
