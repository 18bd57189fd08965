//! Which ports get copies of what is left to the host: rows, and random groups and frames judged by a model.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use rstest::rstest;

use super::frames::*;
use super::lab::{ALICE, BOB, CAROL, ERIN, PrivateBpffs, device, in_namespace};
use super::model::{Read, Tag, read, runner};
use super::ring_client::{CHUNKS, RingClient};
use crate::contract::{Claim, MAX_MEMBERS, RING_MIN_OFFSET, Target};
use crate::datapath::Pace;
use crate::{
    Counter, Counters, Datapath, DatapathOptions, Group, GroupsError, PortEntry, PortId, Rate, Rates, Rights,
    RingRange, RingsEntry, Verdict, Vlan,
};

pub const MDNS4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// Of the same MAC.
const ALIKE: Ipv4Addr = Ipv4Addr::new(239, 128, 0, 251);
pub const MDNS6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
pub const MAC_MDNS4: Mac = [0x01, 0x00, 0x5e, 0x00, 0x00, 0xfb];
const MAC_MDNS6: Mac = [0x33, 0x33, 0, 0, 0, 0xfb];
const LLDP: Mac = [0x01, 0x80, 0xc2, 0, 0, 0x0e];
const SLOTS: usize = 4;

/// Alice and Carol, in VLAN 42, have pairs; Bob and Erin, in VLAN 42, have BPF rings.
const PORTS: [(PortId, &str, Mac, Tag, usize, bool); 4] = [
    (ALICE, "a0", MAC_A, Tag::None, 1500, false),
    (BOB, "b0", MAC_B, Tag::None, 1400, true),
    (CAROL, "c0", MAC_C, Tag::Id(42), 1500, false),
    (ERIN, "e0", MAC_E, Tag::Id(42), 1500, true),
];

pub struct Scene {
    pub datapath: Datapath,
    uplink: u32,
    rings: Vec<(PortId, RingRange, RingClient)>,
    /// The last: the programs' pins.
    _pins: PrivateBpffs,
}

fn scene_with(rates: Rates, pace: Pace, test: impl FnOnce(&mut Scene) + Send) {
    in_namespace(&["a0", "b0", "c0", "e0", "up0"], || test(&mut Scene::new(rates, pace)));
}

pub fn scene(test: impl FnOnce(&mut Scene) + Send) {
    scene_with(Rates::UNLIMITED, Pace::real(), test);
}

fn entry<'a>(id: PortId, outers: &'a [u32], mac: Mac, vlan: Vlan) -> PortEntry<'a> {
    PortEntry {
        id,
        outers,
        mac,
        uplink_mac: false,
        tap: false,
        vlan,
        mtu: 1500,
        sources: &[],
        targets: &[],
        rights: Rights::default(),
        rates: Rates::UNLIMITED,
        rings: None,
    }
}

impl Scene {
    fn new(rates: Rates, pace: Pace) -> Self {
        let pins = PrivateBpffs::mount();
        let shared = pins.path().join("datapath");
        let options = DatapathOptions { uplink_mtu: 1500, queue_seed: 0, pins: Some(&shared) };
        let mut datapath = Datapath::load_paced(options, pace).unwrap();
        let mut rings = Vec::new();
        for (id, outer, mac, tag, mtu, has_rings) in PORTS {
            let vlan = if tag == Tag::None { Vlan::UNTAGGED } else { Vlan::tagged(42).unwrap() };
            let target: [IpAddr; 1] = [if id == ALICE { IP_A } else { Ipv4Addr::new(192, 0, 2, 99) }.into()];
            let of_rings = has_rings.then(|| {
                let range = datapath.claim_rings(1).unwrap();
                let client = RingClient::new(SLOTS);
                datapath.install_rings(range, std::slice::from_ref(&client.maps)).unwrap();
                rings.push((id, range, client));
                RingsEntry { range, rx_slots: SLOTS as u32, tx_slots: SLOTS as u32, offset: RING_MIN_OFFSET }
            });
            let outers = [device(outer).index];
            let targets = if id == ALICE { &target[..] } else { &[] };
            let port = PortEntry { mtu: mtu as u32, targets, rates, rings: of_rings, ..entry(id, &outers, mac, vlan) };
            datapath.add_port(&port).unwrap();
        }
        // For the loading.
        drop(datapath.attach_copy(&device("up0")).unwrap());
        Self { datapath, uplink: device("up0").index, rings, _pins: pins }
    }

    pub fn join(&mut self, port: PortId, groups: &[Group]) {
        self.datapath.set_groups(port, &groups.iter().copied().collect()).unwrap();
    }

    fn counters(&self) -> [Counters; 4] {
        PORTS.map(|(id, ..)| self.datapath.copy_counters(id).unwrap())
    }

    /// What became of the copies of a frame, by port. All rings have a chunk for it.
    fn copies(&mut self, frame: &[u8]) -> BTreeMap<PortId, Counter> {
        for (_, range, client) in &mut self.rings {
            let received = self.datapath.ring_counters(*range).unwrap().received as u32;
            while client.posted < received + SLOTS as u32 {
                client.post(client.posted % CHUNKS);
            }
        }
        self.copies_with_chunks_as_they_are(frame)
    }

    fn copies_with_chunks_as_they_are(&mut self, frame: &[u8]) -> BTreeMap<PortId, Counter> {
        let before = self.counters();
        let result = self.datapath.test_uplink(frame, self.uplink).unwrap();
        assert_eq!(result.frame, frame);
        if result.verdict == Verdict::Pass {
            assert_eq!(result.moved[Counter::Passed], 1, "copies change nothing about the frame itself");
            assert_eq!(self.datapath.test_copy(frame).unwrap(), frame);
        }
        let became = |id: PortId, moved: Counters| {
            let mut others = moved.iter().filter(|&(counter, frames)| counter != Counter::Seen && frames != 0);
            let (counter, frames) = others.next()?;
            assert_eq!((moved.seen(), frames, others.next()), (1, 1, None), "{moved:?}");
            Some((id, counter))
        };
        let after = self.counters();
        (0..PORTS.len()).filter_map(|at| became(PORTS[at].0, after[at] - before[at])).collect()
    }
}

pub fn mdns4(to: Mac, address: Ipv4Addr) -> Vec<u8> {
    ethernet(to, MAC_FAR, IPV4, &ipv4(UDP, IP_FAR, address, &udp(5353, 5353)))
}

fn mdns6(to: Mac, address: Ipv6Addr) -> Vec<u8> {
    ethernet(to, MAC_FAR, IPV6, &ipv6(UDP, IP6_FAR, address, &udp(5353, 5353)))
}

/// Its header says that it is longer than the frame.
fn cut() -> Vec<u8> {
    patched(mdns4(MAC_MDNS4, MDNS4), 14, &[0x4f])
}

fn of(port: PortId) -> Counter {
    if [BOB, ERIN].contains(&port) { Counter::ToRing } else { Counter::ToPort }
}

fn broadcast_of_nobody() -> Vec<u8> {
    arp_request((MAC_FAR, IP_FAR), Ipv4Addr::new(192, 0, 2, 77))
}

#[rstest]
#[case::an_ipv4_group(mdns4(MAC_MDNS4, MDNS4), &[MDNS4.into()], true)]
#[case::another_one_of_the_same_mac(mdns4(MAC_MDNS4, ALIKE), &[MDNS4.into()], false)]
#[case::its_address_at_another_mac(mdns4(MAC_MDNS6, MDNS4), &[MDNS4.into()], false)]
#[case::its_address_in_a_broadcast(mdns4(BROADCAST, MDNS4), &[MDNS4.into()], false)]
#[case::a_fragment(ethernet(MAC_MDNS4, MAC_FAR, IPV4, &ipv4_with(0x2001, &[], UDP, IP_FAR, MDNS4, &[0; 8])),
    &[MDNS4.into()], true)]
#[case::an_ipv4_header_that_is_cut(cut(), &[MDNS4.into()], false)]
#[case::the_mac_of_a_cut_one(cut(), &[Group::Mac(MAC_MDNS4)], true)]
#[case::an_ipv6_group(mdns6(MAC_MDNS6, MDNS6), &[MDNS6.into()], true)]
#[case::an_ipv6_group_at_another_mac(mdns6(MULTICAST6, MDNS6), &[MDNS6.into()], false)]
#[case::a_mac(ethernet(LLDP, MAC_FAR, 0x88cc, &[0; 46]), &[Group::Mac(LLDP)], true)]
#[case::a_mac_with_ip_in_it(mdns4(MAC_MDNS4, ALIKE), &[Group::Mac(MAC_MDNS4)], true)]
#[case::a_mac_and_a_group_in_it_once(mdns4(MAC_MDNS4, MDNS4), &[Group::Mac(MAC_MDNS4), MDNS4.into()], true)]
#[case::broadcast(broadcast_of_nobody(), &[Group::BROADCAST], true)]
#[case::broadcast_is_no_multicast(mdns4(MAC_MDNS4, MDNS4), &[Group::BROADCAST], false)]
#[case::what_asks_for_a_port(arp_request((MAC_FAR, IP_FAR), IP_A), &[Group::BROADCAST], false)]
#[case::unicast_to_the_host(udp4((MAC_FAR, IP_FAR), ([2, 0, 0, 0, 0, 9], IP_FAR), (1, 2)),
    &[Group::BROADCAST, MDNS4.into()], false)]
#[case::a_tag(tagged(&mdns4(MAC_MDNS4, MDNS4), &[(Q, 42)]), &[MDNS4.into()], false)]
#[case::three_tags(tagged(&mdns4(MAC_MDNS4, MDNS4), &[(Q, 42), (Q, 1), (Q, 2)]), &[Group::Mac(MAC_MDNS4)], false)]
fn a_port_without_vlan_gets_a_copy(#[case] frame: Vec<u8>, #[case] groups: &[Group], #[case] copied: bool) {
    scene(|scene| {
        for port in [ALICE, BOB] {
            scene.join(port, groups);
            let expected: BTreeMap<_, _> = copied.then(|| (port, of(port))).into_iter().collect();
            assert_eq!(scene.copies(&frame), expected);
            scene.join(port, &[]);
            assert_eq!(scene.copies(&frame), BTreeMap::new(), "it has left");
        }
    });
}

#[test]
fn each_vlan_has_its_own_groups() {
    scene(|scene| {
        for port in [ALICE, BOB, CAROL, ERIN] {
            scene.join(port, &[MDNS4.into()]);
        }
        let frame = mdns4(MAC_MDNS4, MDNS4);
        let to = |ports: [PortId; 2]| ports.into_iter().map(|port| (port, of(port))).collect::<BTreeMap<_, _>>();
        assert_eq!(scene.copies(&frame), to([ALICE, BOB]));
        for tags in [&[(Q, 42)][..], &[(Q, 0xe02a)], &[(Q, 42), (Q, 7)]] {
            assert_eq!(scene.copies(&tagged(&frame, tags)), to([CAROL, ERIN]), "{tags:x?}");
        }
        for tags in [&[(Q, 0)][..], &[(Q, 43)], &[(AD, 42)], &[(Q, 42), (Q, 7), (Q, 8)]] {
            assert_eq!(scene.copies(&tagged(&frame, tags)), BTreeMap::new(), "{tags:x?}");
        }
    });
}

#[test]
fn a_copy_lies_whole_in_the_ring() {
    scene(|scene| {
        scene.join(BOB, &[Group::Mac(LLDP)]);
        for (position, length) in (0..).zip([14, 60, 65, 200, 1414]) {
            let frame = ethernet(LLDP, MAC_FAR, 0x88cc, &(14..length).map(|byte| byte as u8).collect::<Vec<_>>());
            if length > 14 {
                assert_eq!(scene.copies(&frame), BTreeMap::from([(BOB, Counter::ToRing)]));
            } else {
                // A packet of tc has more than a header; the uplink program alone has no such limit.
                scene.rings[0].2.post(0);
                scene.datapath.test_uplink(&frame, scene.uplink).unwrap();
            }
            let client = &scene.rings[0].2;
            assert_eq!(client.rx(position).1, length as u32);
            let chunk = position % CHUNKS;
            assert_eq!(client.bytes(chunk, RING_MIN_OFFSET, length as usize), frame);
        }
    });
}

#[test]
fn what_is_not_copied_is_counted_by_reason() {
    scene(|scene| {
        let frame = mdns4(MAC_MDNS4, MDNS4);
        for port in [ALICE, BOB] {
            scene.join(port, &[MDNS4.into()]);
        }
        let long = |length| {
            let mut frame = frame.clone();
            frame.resize(length, 0);
            frame
        };
        let both = |alice, bob| BTreeMap::from([(ALICE, alice), (BOB, bob)]);
        assert_eq!(scene.copies(&long(1414)), both(Counter::ToPort, Counter::ToRing));
        assert_eq!(scene.copies(&long(1415)), both(Counter::ToPort, Counter::TooLong));
        assert_eq!(scene.copies(&long(1515)), both(Counter::TooLong, Counter::TooLong));
        // Bob's client has all its chunks left in its ring: the last two frames took none.
        for _ in 0..SLOTS {
            scene.copies_with_chunks_as_they_are(&frame);
        }
        assert_eq!(scene.copies_with_chunks_as_they_are(&frame), both(Counter::ToPort, Counter::NoChunk));
        scene.datapath.tables().ports.remove(ALICE.number()).unwrap();
        assert_eq!(scene.copies(&frame), both(Counter::NoPort, Counter::ToRing));
        let counters = scene.counters();
        assert!(counters.iter().all(Counters::balanced), "{counters:?}");
        // The last reading comes with the removal, and another port of this number begins at zero.
        let outers = [device("b0").index];
        let port = entry(BOB, &outers, MAC_B, Vlan::UNTAGGED);
        assert_eq!(scene.datapath.remove_port(&port).unwrap().copies, counters[1]);
        assert_eq!(scene.datapath.copy_counters(BOB).unwrap(), Counters::default());
        assert_eq!(scene.copies(&frame), BTreeMap::from([(ALICE, Counter::NoPort)]));
    });
}

#[test]
fn copies_are_limited_for_each_port_by_itself() {
    let rates = Rates { copies: Some(Rate::new(5)), ..Rates::UNLIMITED };
    // A second that does not pass.
    let pace = Pace::standstill();
    scene_with(rates, pace, |scene| {
        scene.join(ALICE, &[MDNS4.into(), MDNS6.into()]);
        for at in 0..8 {
            let frame = if at % 2 == 0 { mdns4(MAC_MDNS4, MDNS4) } else { mdns6(MAC_MDNS6, MDNS6) };
            let expected = if at < 5 { Counter::ToPort } else { Counter::Rate };
            assert_eq!(scene.copies(&frame), BTreeMap::from([(ALICE, expected)]), "{at}");
        }
        scene.join(BOB, &[MDNS4.into()]);
        let both = BTreeMap::from([(ALICE, Counter::Rate), (BOB, Counter::ToRing)]);
        assert_eq!(scene.copies(&mdns4(MAC_MDNS4, MDNS4)), both);
    });
}

#[test]
fn a_change_that_cannot_be_made_changes_nothing() {
    in_namespace(&[], || {
        let mut datapath = Datapath::load(DatapathOptions { uplink_mtu: 1500, queue_seed: 0, pins: None }).unwrap();
        let id = |number| PortId::new(number).unwrap();
        let group = |group: Group| BTreeSet::from([group]);
        for number in 1..=MAX_MEMBERS + 1 {
            let target = Target::QueuePairs as u32;
            let claim = Claim { target, port: number, mtu: 1500, queue_pairs: 1, rings: 0, flags: 0 };
            datapath.tables().groups.add_port(id(number), claim, Vlan::UNTAGGED);
        }
        let single = datapath.set_groups(id(1), &group(Group::Mac(MAC_A))).unwrap_err();
        assert!(matches!(single, GroupsError::NotAGroup { .. }), "{single}");
        let single = datapath.set_groups(id(1), &group(IP_A.into())).unwrap_err();
        assert!(matches!(single, GroupsError::NotAGroup { .. }), "{single}");
        let nobody = datapath.set_groups(id(999), &group(MDNS4.into())).unwrap_err();
        assert!(matches!(nobody, GroupsError::NoPort { .. }), "{nobody}");

        for number in 1..=MAX_MEMBERS {
            datapath.set_groups(id(number), &group(Group::Mac(MAC_MDNS4))).unwrap();
        }
        let last = id(MAX_MEMBERS + 1);
        // A packet to the group would have to be copied for all members of its MAC, too.
        for refused in [Group::Mac(MAC_MDNS4), MDNS4.into()] {
            let wanted = BTreeSet::from([refused, MDNS6.into()]);
            let error = datapath.set_groups(last, &wanted).unwrap_err();
            assert!(matches!(error, GroupsError::TooManyMembers { .. }), "{error}");
            assert_eq!(datapath.groups(last).count(), 0);
        }
        datapath.set_groups(id(2), &BTreeSet::new()).unwrap();
        datapath.set_groups(last, &group(MDNS4.into())).unwrap();
        assert_eq!(datapath.groups(last).collect::<Vec<_>>(), [MDNS4.into()]);
    });
}

/// The rule once more: what a frame is sent to, where that is a group.
fn is_for(group: Group, frame: &[u8]) -> bool {
    let Ok(Read { ethertype, body, .. }) = read(frame) else { return false };
    match group {
        Group::Mac(mac) => frame[..6] == mac,
        Group::Ip(IpAddr::V4(address)) => {
            let header = body.first().map_or(0, |first| usize::from(first & 15) * 4);
            let whole = ethertype == IPV4
                && body.len() >= header.max(20)
                && body[0] >> 4 == 4
                && header >= 20
                && usize::from(u16::from_be_bytes([body[2], body[3]])) >= header;
            let [_, b, c, d] = address.octets();
            whole && body[16..20] == address.octets() && frame[..6] == [0x01, 0, 0x5e, b & 0x7f, c, d]
        }
        Group::Ip(IpAddr::V6(address)) => {
            let whole = ethertype == IPV6 && body.len() >= 40 && body[0] >> 4 == 6;
            let octets = address.octets();
            whole && body[24..40] == octets && frame[..2] == [0x33, 0x33] && frame[2..6] == octets[12..]
        }
    }
}

fn model(joined: &[BTreeSet<Group>; 4], frame: &[u8], passed: bool) -> BTreeMap<PortId, Counter> {
    let Ok(Read { tag, .. }) = read(frame) else { return BTreeMap::new() };
    let copies = PORTS.iter().zip(joined).filter_map(|(&(id, _, _, its_tag, mtu, _), groups)| {
        let for_it = passed && its_tag == tag && groups.iter().any(|group| is_for(*group, frame));
        let limit = mtu + if tag == Tag::None { 14 } else { 18 };
        for_it.then(|| (id, if frame.len() > limit { Counter::TooLong } else { of(id) }))
    });
    copies.collect()
}

fn one_of<T: Clone + std::fmt::Debug + 'static>(values: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(values.to_vec())
}

fn groups() -> impl Strategy<Value = [BTreeSet<Group>; 4]> {
    let set = || prop::collection::btree_set(group(), 0..4);
    [set(), set(), set(), set()]
}

fn group() -> impl Strategy<Value = Group> {
    one_of(&[
        Group::BROADCAST,
        Group::Mac(MAC_MDNS4),
        Group::Mac(MAC_MDNS6),
        Group::Mac(LLDP),
        MDNS4.into(),
        ALIKE.into(),
        MDNS6.into(),
        ALL_NODES.into(),
    ])
}

/// The kernel runs tc programs on no packet that ends in its IP header.
const LEAST: usize = 14 + 40;

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let to = one_of(&[MAC_MDNS4, MAC_MDNS4, MAC_MDNS6, MAC_MDNS6, LLDP, BROADCAST, [0x33, 0x33, 0, 0, 0, 1], MAC_FAR]);
    let four = one_of(&[MDNS4, MDNS4, ALIKE, IP_FAR]).prop_map(|to| (IPV4, ipv4(UDP, IP_FAR, to, &udp(1, 2))));
    let six = one_of(&[MDNS6, MDNS6, ALL_NODES, IP6_FAR]).prop_map(|to| (IPV6, ipv6(UDP, IP6_FAR, to, &udp(1, 2))));
    let asks = one_of(&[IP_A, IP_B]).prop_map(|target| (ARP, arp(1, (MAC_FAR, IP_FAR), ([0; 6], target))));
    let other = Just((0x88cc, vec![0; 46]));
    let body = prop_oneof![4 => four, 4 => six, 1 => asks, 1 => other];
    let tags = prop::collection::vec((one_of(&[Q, Q, Q, AD]), one_of(&[42u16, 42, 42, 0, 43])), 0..4);
    let tags = prop_oneof![2 => Just(Vec::new()).boxed(), 3 => tags.boxed()];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let length = prop_oneof![
        4 => Just(None).boxed(),
        1 => (LEAST..LEAST + 30).prop_map(Some).boxed(),
        1 => one_of(&[1414usize, 1415, 1514, 1515, 1518, 1519]).prop_map(Some).boxed()
    ];
    (to, body, tags, changes, length).prop_map(|(to, (ethertype, body), tags, changes, length)| {
        let mut frame = tagged(&ethernet(to, MAC_FAR, ethertype, &body), &tags);
        for (at, value) in changes {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        frame.resize(length.unwrap_or(frame.len()).max(LEAST), 0);
        frame
    })
}

#[test]
fn kernel_and_model_agree_on_random_groups_and_frames() {
    const ROUNDS: usize = 64;
    const FRAMES: usize = 200;
    scene(|scene| {
        let (mut runner, mut seen) = (runner(), BTreeMap::<String, u32>::new());
        for _ in 0..ROUNDS {
            let joined = groups().new_tree(&mut runner).unwrap().current();
            for ((id, ..), groups) in PORTS.iter().zip(&joined) {
                scene.datapath.set_groups(*id, groups).unwrap();
            }
            for _ in 0..FRAMES {
                let frame = frame().new_tree(&mut runner).unwrap().current();
                let passed = scene.datapath.test_uplink(&frame, scene.uplink).unwrap().verdict == Verdict::Pass;
                let copies = scene.copies(&frame);
                assert_eq!(copies, model(&joined, &frame, passed), "{frame:02x?} with {joined:?}");
                *seen.entry(format!("{:?}", copies.keys())).or_default() += 1;
                assert!(copies.is_empty() || frame[0] & 1 == 1, "a frame to one station was copied");
            }
        }
        // Nobody, each port, and both ports of a VLAN.
        assert_eq!(seen.len(), 1 + 4 + 2, "{seen:?}");
    });
}
