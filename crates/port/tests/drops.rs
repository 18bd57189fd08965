//! Every reason to drop a frame, provoked on purpose: it moves exactly its own counter, and the frame gets nowhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::common::numbered::*;
use crate::common::*;
use rstest::rstest;
use xsknet_bpf::{Counter, Counters, Mode};
use xsknet_link::MacAddr;
use xsknet_port::{Port, PortSpec, Rate, Rates};
use xsknet_testkit::{Arp, CARD, Ethernet, HOST4, REMOTE4, REMOTE6, device, far_socket, port_addresses, wait_until};

/// The neighbour's MTU, smaller than the uplink's.
const SMALL: u32 = 1300;

/// What a port may send, and what it may not.
struct Sender {
    mac: MacAddr,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    neighbour: MacAddr,
    neighbour4: Ipv4Addr,
    neighbour6: Ipv6Addr,
    far: MacAddr,
}

fn v4(port: &Port) -> Ipv4Addr {
    port.info().addresses.iter().find_map(|it| if let IpAddr::V4(v4) = it { Some(*v4) } else { None }).expect("IPv4")
}

fn v6(port: &Port) -> Ipv6Addr {
    port.info().addresses.iter().find_map(|it| if let IpAddr::V6(v6) = it { Some(*v6) } else { None }).expect("IPv6")
}

fn udp(header: &Ethernet, from: impl Into<IpAddr>, to: impl Into<IpAddr>, ports: (u16, u16), length: usize) -> Vec<u8> {
    let (from, to) = (SocketAddr::new(from.into(), ports.0), SocketAddr::new(to.into(), ports.1));
    header.udp(from, to, &vec![0; length])
}

fn patched(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

fn cut(mut frame: Vec<u8>, length: usize) -> Vec<u8> {
    frame.truncate(length);
    frame
}

/// The frame with tags in front of its EtherType.
fn tagged(frame: &[u8], tags: &[[u8; 4]]) -> Vec<u8> {
    [&frame[..12], &tags.concat(), &frame[12..]].concat()
}

/// Another locally administered MAC: nobody's.
const FORGED: MacAddr = MacAddr::new([2, 0xf0, 0xf0, 0xf0, 0xf0, 0xf0]);
/// Where the ICMPv6 type stands in an untagged frame.
const ICMPV6: usize = 14 + 40;
/// Where a neighbour advertisement's link-layer address stands.
const LINK_ADDRESS: usize = ICMPV6 + 26;
const UNKNOWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);

impl Sender {
    fn new(port: &Port, neighbour: &Port, far: MacAddr) -> Self {
        let (mac, v4, v6) = (port.info().mac, v4(port), v6(port));
        let (neighbour, neighbour4, neighbour6) = (neighbour.info().mac, self::v4(neighbour), self::v6(neighbour));
        Self { mac, v4, v6, neighbour, neighbour4, neighbour6, far }
    }

    fn good(&self) -> Vec<u8> {
        udp(&Ethernet::new(self.far, self.mac), self.v4, REMOTE4, (9, 9), 100)
    }

    /// What each frame tries, the frame, and the counter that must move.
    fn forbidden(&self) -> Vec<(&'static str, Vec<u8>, Counter)> {
        use Counter::{Arp as ArpDrop, Ethertype, Malformed, Nd, Rogue, SourceIp, SourceMac, TooLong, Vlan};
        let good = self.good();
        let own = Ethernet::new(self.far, self.mac);
        let all = Ethernet::new(MacAddr::BROADCAST, self.mac);
        let forged = Ethernet::new(self.far, FORGED);
        let beside = Ethernet::new(self.neighbour, self.mac);
        let unknown = (MacAddr::new([0; 6]), UNKNOWN);
        let unspecified = Ipv6Addr::UNSPECIFIED;
        let nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let advertisement = own.advertisement(self.v6, nodes, self.v6);
        let echo6 = own.echo(self.v6.into(), REMOTE6.into(), 1, 1, b"");
        vec![
            ("a MAC of nobody", udp(&forged, self.v4, REMOTE4, (9, 9), 100), SourceMac),
            ("the neighbour's MAC", patched(good.clone(), 6, &self.neighbour.octets()), SourceMac),
            ("the far end's MAC", patched(good.clone(), 6, &self.far.octets()), SourceMac),
            ("a VLAN", tagged(&good, &[[0x81, 0, 0, 42]]), Vlan),
            ("a priority tag", tagged(&good, &[[0x81, 0, 0xe0, 0]]), Vlan),
            ("a service tag", tagged(&good, &[[0x88, 0xa8, 0, 42]]), Vlan),
            ("three tags", tagged(&good, &[[0x81, 0, 0, 1]; 3]), Vlan),
            ("the neighbour's IPv4", udp(&own, self.neighbour4, REMOTE4, (9, 9), 1), SourceIp),
            ("the host's IPv4", udp(&own, HOST4, REMOTE4, (9, 9), 1), SourceIp),
            ("no IPv4, and no DHCP", udp(&own, Ipv4Addr::UNSPECIFIED, REMOTE4, (9, 9), 1), SourceIp),
            ("the neighbour's IPv6", udp(&own, self.neighbour6, REMOTE6, (9, 9), 1), SourceIp),
            ("no IPv6, and an echo", own.echo(unspecified.into(), REMOTE6.into(), 1, 1, b""), SourceIp),
            ("ARP: who has, asks the neighbour", all.arp(Arp::Request, (self.mac, self.neighbour4), unknown), ArpDrop),
            ("ARP: who has, with a forged MAC", all.arp(Arp::Request, (FORGED, self.v4), unknown), ArpDrop),
            ("ARP: the neighbour is at my MAC", own.arp(Arp::Reply, (self.mac, self.neighbour4), unknown), ArpDrop),
            ("ARP: the host is at my MAC", all.arp(Arp::Reply, (self.mac, HOST4), unknown), ArpDrop),
            ("ARP: I am at a forged MAC", own.arp(Arp::Reply, (FORGED, self.v4), unknown), ArpDrop),
            (
                "ARP: a probe for the neighbour's address",
                all.arp(Arp::Request, (self.mac, Ipv4Addr::UNSPECIFIED), (MacAddr::new([0; 6]), self.neighbour4)),
                ArpDrop,
            ),
            ("NA: the neighbour is here", own.advertisement(self.v6, nodes, self.neighbour6), Nd),
            ("NA: the remote host is here", own.advertisement(self.v6, nodes, REMOTE6), Nd),
            ("NA: I am at a forged MAC", patched(advertisement, LINK_ADDRESS, &FORGED.octets()), Nd),
            (
                "NS: I am at a forged MAC",
                patched(own.solicitation(self.v6, REMOTE6), LINK_ADDRESS, &FORGED.octets()),
                Nd,
            ),
            ("NS: is the neighbour's address free", all.solicitation(unspecified, self.neighbour6), Nd),
            ("RA", all.router_advertisement(self.v6), Rogue),
            ("redirect", patched(echo6.clone(), ICMPV6, &[137]), Rogue),
            ("a DHCP server's offer", udp(&all, self.v4, Ipv4Addr::BROADCAST, (67, 68), 240), Rogue),
            ("the same from another port", udp(&all, self.v4, Ipv4Addr::BROADCAST, (1067, 68), 240), Rogue),
            ("DHCP for another client", udp(&all, self.v4, Ipv4Addr::BROADCAST, (68, 67), 240), Rogue),
            ("HSRP", udp(&own, self.v4, REMOTE4, (1985, 1985), 20), Rogue),
            ("a DHCPv6 server's reply", udp(&own, self.v6, REMOTE6, (547, 546), 100), Rogue),
            ("a local experiment", own.frame(0x88b5, b"hello"), Ethertype),
            ("LLDP", own.frame(0x88cc, b"hello"), Ethertype),
            ("a cut tag", cut(tagged(&good, &[[0x81, 0, 0, 42]]), 16), Malformed),
            ("a cut IPv4 header", cut(good.clone(), 14 + 19), Malformed),
            ("a cut UDP header", cut(good.clone(), 14 + 20 + 7), Malformed),
            ("a cut IPv6 header", cut(echo6.clone(), 14 + 39), Malformed),
            ("cut ICMPv6", cut(echo6, ICMPV6 + 3), Malformed),
            ("cut ARP", cut(all.arp(Arp::Request, (self.mac, self.v4), unknown), 14 + 27), Malformed),
            ("only an Ethernet header", cut(good.clone(), 14), Malformed),
            ("longer than the uplink's MTU", udp(&own, self.v4, REMOTE4, (9, 9), 1500 - 28 + 1), TooLong),
            (
                "longer than the neighbour's MTU",
                udp(&beside, self.v4, self.neighbour4, (9, 9), SMALL as usize - 28 + 1),
                TooLong,
            ),
        ]
    }
}

/// A scene with a neighbour, whose MTU is smaller.
fn with_neighbour(mode: Mode) -> (Scene, Port) {
    let scene = Scene::new(mode);
    let options = PortSpec { mtu: Some(SMALL), ..PortSpec::new(port_addresses(1)) };
    let neighbour = scene.uplink.open_port(options).expect("a port");
    (scene, neighbour)
}

fn guard(scene: &Scene) -> Counters {
    scene.port.statistics().expect("statistics").guard
}

/// Exactly one frame was seen, and it left by this counter.
#[track_caller]
fn assert_moved(what: &str, moved: Counters, counter: Counter) {
    assert_eq!((moved.seen(), moved.total(), moved[counter]), (1, 1, 1), "{what}: {moved:?}, wanted {counter}");
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn what_a_port_may_not_send_gets_nowhere_and_moves_its_own_counter(#[case] mode: Mode) {
    let (mut scene, mut neighbour) = with_neighbour(mode);
    let sender = Sender::new(&scene.port, &neighbour, scene.lab().far_mac());
    let sources = [sender.mac, sender.neighbour, sender.far, FORGED];
    let arrived = |scene: &Scene| sources.map(|mac| scene.sink.frames_from(mac.octets()).expect("a count"));
    let beside_before = neighbour.statistics().expect("statistics").program;

    for (what, frame, counter) in sender.forbidden() {
        let (before, arrived_before) = (guard(&scene), arrived(&scene));
        send(&mut scene.port, &frame);
        wait_until(what, SECOND, || guard(&scene).seen() > before.seen());
        assert_moved(what, guard(&scene) - before, counter);
        assert_eq!(arrived(&scene), arrived_before, "{what}");

        // The port is none the worse for it.
        let before = guard(&scene);
        send(&mut scene.port, &sender.good());
        wait_until("arrival of a good frame", SECOND, || arrived(&scene)[0] > arrived_before[0]);
        assert_moved("a good frame", guard(&scene) - before, Counter::ToUplink);
    }
    assert_eq!(neighbour.statistics().expect("statistics").program, beside_before, "nothing came to the neighbour");
    assert_all_accounted(&scene.uplink, &mut [&mut scene.port, &mut neighbour], &scene.sink);
    close(neighbour);
    scene.close();
}

/// Each kind by itself, and no kind at the cost of another. The self-test's probe was the first broadcast.
#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn what_is_more_than_a_port_may_send_a_second_moves_its_own_counter(#[case] mode: Mode) {
    let scene = Scene::new(mode);
    let [one, two] = [1, 2].map(|rate| Some(Rate::new(rate)));
    let rates = Rates { broadcast: two, multicast: one, unknown_unicast: one, ..Rates::UNLIMITED };
    let options = PortSpec { rates, ..PortSpec::new(port_addresses(1)) };
    let mut port = scene.uplink.open_port(options).expect("a port");
    let (own, mac) = (v4(&port), port.info().mac);
    let counters = |port: &Port| port.statistics().expect("statistics").guard;
    for (kind, to) in [
        ("broadcast", MacAddr::BROADCAST),
        ("multicast", MacAddr::new([1, 0, 0x5e, 0, 0, 0x80])),
        ("unknown unicast", FORGED),
    ] {
        let frame = udp(&Ethernet::new(to, mac), own, REMOTE4, (9, 9), 100);
        let before = counters(&port);
        for _ in 0..8 {
            send(&mut port, &frame);
        }
        wait_until(kind, SECOND, || counters(&port).seen() == before.seen() + 8);
        let moved = counters(&port) - before;
        // On a slow machine a second may have passed.
        assert!((1..=4).contains(&moved.to_uplink()), "{kind}: {moved:?}");
        assert_eq!(moved.to_uplink() + moved[Counter::Rate], 8, "{kind}: {moved:?}");
    }
    assert_accounted(&mut port);
    close(port);
    for (rates, counter) in [
        (Rates { frames: Some(Rate { per_second: 1, burst: 3 }), ..Rates::UNLIMITED }, Counter::FrameRate),
        (Rates { bits: Some(Rate { per_second: 1000, burst: 2000 }), ..Rates::UNLIMITED }, Counter::BitRate),
    ] {
        let mut port = scene.uplink.open_port(PortSpec { rates, ..PortSpec::new(port_addresses(1)) }).expect("a port");
        let frame = udp(&Ethernet::new(FORGED, port.info().mac), v4(&port), REMOTE4, (9, 9), 100);
        let before = counters(&port);
        for _ in 0..8 {
            send(&mut port, &frame);
        }
        wait_until(counter.name(), SECOND, || counters(&port).seen() == before.seen() + 8);
        let moved = counters(&port) - before;
        assert!((1..=6).contains(&moved.to_uplink()), "{moved:?}");
        assert_eq!(moved.to_uplink() + moved[counter], 8, "{moved:?}");
        assert_accounted(&mut port);
        close(port);
    }
    // Who may send none of it has a port all the same.
    let zero = Some(Rate::new(0));
    for (rates, counter) in [
        (Rates { broadcast: zero, multicast: zero, unknown_unicast: zero, ..Rates::UNLIMITED }, Counter::Rate),
        (Rates { frames: zero, ..Rates::UNLIMITED }, Counter::FrameRate),
        (Rates { bits: zero, ..Rates::UNLIMITED }, Counter::BitRate),
    ] {
        let silent = scene.uplink.open_port(PortSpec { rates, ..PortSpec::new(port_addresses(1)) }).expect("a port");
        assert_eq!((counters(&silent).to_uplink(), counters(&silent)[counter]), (0, 1), "its self-test");
        close(silent);
    }
    scene.close();
}

/// Sends a frame out of the far end, and waits until the uplink program has seen it.
#[track_caller]
fn assert_drops_at_the_uplink(scene: &Scene, what: &str, frame: &[u8], counter: Counter) {
    let uplink = || scene.uplink.statistics().expect("statistics").program;
    let before = uplink();
    send_from(&mut far_socket(scene.lab()), frame);
    wait_until(what, SECOND, || uplink()[counter] > before[counter]);
    // Beside it the remote kernel may talk, which is passed on.
    let moved = uplink() - before;
    assert_eq!((moved[counter], moved.dropped(), moved.to_port()), (1, 1, 0), "{what}: {moved:?}");
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn what_is_too_long_for_a_port_is_dropped_at_the_uplink(#[case] mode: Mode) {
    let (mut scene, mut neighbour) = with_neighbour(mode);
    let to = Ethernet::new(neighbour.info().mac, scene.lab().far_mac());
    let frame = udp(&to, REMOTE4, v4(&neighbour), (9, 9), SMALL as usize - 28 + 1);
    assert_drops_at_the_uplink(&scene, "too long", &frame, Counter::TooLong);
    assert_all_accounted(&scene.uplink, &mut [&mut scene.port, &mut neighbour], &scene.sink);
    close(neighbour);
    scene.close();
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn a_port_whose_pair_was_deleted_is_no_port(#[case] mode: Mode) {
    let (mut scene, mut neighbour) = with_neighbour(mode);
    let links = scene.lab().host.links();
    links.delete(links.by_name(&neighbour.info().outer).expect("its outer end").index).expect("deleted");

    let to = neighbour.info().mac;
    let outward = udp(&Ethernet::new(to, scene.port.info().mac), v4(&scene.port), v4(&neighbour), (9, 9), 1);
    let before = guard(&scene);
    send(&mut scene.port, &outward);
    wait_until("the guard's verdict", SECOND, || guard(&scene).seen() > before.seen());
    assert_moved("to a neighbour that is gone", guard(&scene) - before, Counter::NoPort);

    let inward = udp(&Ethernet::new(to, scene.lab().far_mac()), REMOTE4, v4(&neighbour), (9, 9), 1);
    assert_drops_at_the_uplink(&scene, "to a neighbour that is gone", &inward, Counter::NoPort);
    assert_all_accounted(&scene.uplink, &mut [&mut scene.port, &mut neighbour], &scene.sink);
    close(neighbour);
    scene.close();
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn without_the_card_there_is_no_uplink(#[case] mode: Mode) {
    let mut scene = Scene::new(mode);
    let links = scene.lab().host.links();
    links.delete(links.by_name(&device(CARD)).expect("the NIC").index).expect("deleted");
    let good = scene.outward().frame(0);
    let before = guard(&scene);
    send(&mut scene.port, &good);
    wait_until("the guard's verdict", SECOND, || guard(&scene).seen() > before.seen());
    assert_moved("out of a NIC that is gone", guard(&scene) - before, Counter::NoUplink);
    let Scene { port, uplink, instance, .. } = scene;
    close(port);
    uplink.release().expect("a NIC that is gone needs no undoing");
    instance.close().expect("closing undoes everything");
}

/// Removes an entry of a pinned map by the hand of root.
fn delete_entry(scene: &Scene, map: &str, key: u32) {
    let path = format!("/sys/fs/bpf/xsknet/{}/v1/{CARD}/{map}", scene.stage.name());
    let key = key.to_ne_bytes().map(|byte| byte.to_string());
    let arguments = [&["map", "delete", "pinned", &path, "key"][..], &key.each_ref().map(String::as_str)].concat();
    scene.lab().host.run("bpftool", &arguments).expect("an entry of the map");
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn without_its_entry_an_outer_end_has_no_guard(#[case] mode: Mode) {
    let mut scene = Scene::new(mode);
    let outer = scene.lab().host.links().by_name(&scene.port.info().outer).expect("the outer end").index.get();
    delete_entry(&scene, "maps/guards", outer);
    let (before, good) = (guard(&scene), scene.outward().frame(0));
    send(&mut scene.port, &good);
    let unattributed = || scene.uplink.statistics().expect("statistics").unattributed;
    wait_until("the guard's verdict", SECOND, || unattributed().seen() > 0);
    assert_moved("from nobody", unattributed(), Counter::NoGuard);
    assert_eq!(guard(&scene), before);
    assert_eq!(scene.sink.seen().expect("a report").frames, 0);
    scene.close();
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn without_its_slot_a_port_has_no_socket(#[case] mode: Mode) {
    let mut scene = Scene::new(mode);
    // Of the first port.
    delete_entry(&scene, "maps/xsks", 0);
    let program = |scene: &Scene| scene.port.statistics().expect("statistics").program;
    let before = program(&scene);
    send_from(&mut far_socket(scene.lab()), &scene.inward().frame(0));
    wait_until("the port program's verdict", SECOND, || program(&scene).seen() > before.seen());
    assert_moved("to a port without a socket", program(&scene) - before, Counter::NoSocket);
    scene.assert_accounted();
    scene.close();
}
