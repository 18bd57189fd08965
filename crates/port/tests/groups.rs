//! Groups of ports: of broadcast and multicast, the host gets the frames and the ports copies.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use crate::common::attack::{client, client_machine};
use crate::common::numbered::send_from;
use crate::common::*;
use crate::flows::Client;
use rstest::rstest;
use xsknet_bpf::{Counter, Counters, Mode};
use xsknet_link::{Ethtool, MacAddr};
use xsknet_port::{
    Group, GroupChange, GroupError, OpenPortError, Port, PortSpec, Rate, Rates, RingsWish, parse_groups,
};
use xsknet_testkit::{
    CARD, Ethernet, FAR, HOST4, Lab, PacketSocket, REMOTE4, REMOTE6, device, far_socket, port_addresses, wait_until,
};

const MDNS4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const PORT: u16 = 5353;

fn groups(texts: &[&str]) -> BTreeSet<Group> {
    let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
    parse_groups(&texts).expect("groups")
}

fn spec(n: u8, texts: &[&str]) -> PortSpec {
    PortSpec { groups: groups(texts), ..PortSpec::new(port_addresses(n)) }
}

fn change(client: &Client, change: GroupChange, texts: &[&str]) {
    match client {
        Client::Xsk(port) => port.change_groups(change, &groups(texts)),
        Client::Rings(port, _) => port.change_groups(change, &groups(texts)),
    }
    .expect("groups of a port");
}

/// What the remote host sends to a group: a datagram with this number in it.
fn datagram(lab: &Lab, group: &str, number: u8) -> Vec<u8> {
    let (mac, to, from) = match group {
        "broadcast" => (MacAddr::BROADCAST, Ipv4Addr::BROADCAST.into(), IpAddr::from(REMOTE4)),
        text => {
            let to: IpAddr = text.parse().expect("an address");
            (MacAddr::new(Group::Ip(to).mac()), to, if to.is_ipv4() { REMOTE4.into() } else { REMOTE6.into() })
        }
    };
    let (from, to) = (SocketAddr::new(from, PORT), SocketAddr::new(to, PORT));
    Ethernet::new(mac, lab.far_mac()).udp(from, to, &[b"to a group "[..].to_vec(), vec![number]].concat())
}

/// All frames that have come and contain this.
fn received(client: &mut Client, mark: &[u8]) -> Vec<Vec<u8>> {
    let (socket, mut frames, mut found) = (client.socket(), Vec::new(), Vec::new());
    socket.receive(64, &mut frames).expect("a sound ring");
    for frame in frames {
        let bytes = socket.bytes(&frame);
        if bytes.windows(mark.len()).any(|part| part == mark) {
            found.push(bytes.to_vec());
        }
        socket.release(frame);
    }
    found
}

#[track_caller]
fn expect_copies(client: &mut Client, expected: &[Vec<u8>]) {
    let mut found = Vec::new();
    wait_until("all copies", 2 * SECOND, || {
        found.extend(received(client, b"to a group"));
        found.len() >= expected.len()
    });
    assert_eq!(found, expected);
}

/// A program of the host's that is a member, too.
fn member_of_host(lab: &Lab) -> UdpSocket {
    lab.host.enter(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).expect("a socket");
        socket.join_multicast_v4(&MDNS4, &HOST4).expect("a membership");
        socket.set_read_timeout(Some(SECOND)).expect("a timeout");
        socket
    })
}

/// The sum over the wire holds at rest, with copies among what goes to ports.
#[track_caller]
fn assert_wire(uplink: &xsknet_port::Uplink, clients: &[&Client], from_ports: u64) {
    wait_until("rest", 2 * SECOND, || {
        let of_ports: Vec<_> = clients.iter().map(|client| client.statistics()).collect();
        assert!(of_ports.iter().all(|port| port.copies.balanced()), "{of_ports:?}");
        let of_uplink = uplink.statistics().expect("statistics");
        of_uplink.equality().holds() && of_uplink.wire_equality(&of_ports, from_ports).holds()
    });
}

fn far_end(lab: &Lab) -> PacketSocket {
    let far = lab.remote.links().by_name(&device(FAR)).expect("the wire's far end").index;
    PacketSocket::capture(lab.remote.namespace(), Some(far)).expect("a packet socket")
}

const ALL: [&str; 3] = ["broadcast", "224.0.0.251", "ff02::fb"];

#[rstest]
#[case::xsk(RingsWish::Xsk, Mode::Native)]
#[case::skb(RingsWish::Xsk, Mode::Skb)]
#[case::bpf_rings(RingsWish::Bpf, Mode::Native)]
fn ports_get_copies_and_the_host_the_frames(#[case] rings: RingsWish, #[case] mode: Mode) {
    let stage = Stage::plain();
    let before = stage.snapshot();
    let (lab, mut far, seen) = (&stage.lab, far_socket(&stage.lab), far_end(&stage.lab));
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let of_host = member_of_host(lab);
    let mut first = Client::open(&uplink, PortSpec { rings, ..spec(0, &ALL) });
    let mut second = Client::open(&uplink, PortSpec { rings, ..spec(1, &["ff02::fb"]) });

    let frames: Vec<_> = (0..30).map(|number| datagram(lab, ALL[usize::from(number) % 3], number)).collect();
    frames.iter().for_each(|frame| send_from(&mut far, frame));
    expect_copies(&mut first, &frames);
    let sixes: Vec<_> = frames.iter().skip(2).step_by(3).cloned().collect();
    expect_copies(&mut second, &sixes);
    for _ in 0..10 {
        let mut bytes = [0; 64];
        let length = of_host.recv(&mut bytes).expect("the host gets each of them");
        assert!(bytes[..length].starts_with(b"to a group"));
    }
    let copies = first.statistics().copies;
    let expected = if rings == RingsWish::Bpf { Counter::ToRing } else { Counter::ToPort };
    assert_eq!((copies.seen(), copies[expected]), (30, 30), "{copies:?}");
    assert_eq!(second.statistics().copies[expected], 10);

    change(&first, GroupChange::Leave, &["broadcast", "ff02::fb", "239.1.2.3"]);
    frames.iter().for_each(|frame| send_from(&mut far, frame));
    let fours: Vec<_> = frames.iter().skip(1).step_by(3).cloned().collect();
    expect_copies(&mut first, &fours);
    expect_copies(&mut second, &sixes);
    change(&first, GroupChange::Join, &["broadcast"]);
    send_from(&mut far, &frames[0]);
    expect_copies(&mut first, &frames[..1]);

    let is_of_port = |mac: &[u8]| [&first, &second].iter().any(|client| client.info().mac.octets() == mac);
    let captured = seen.drain().expect("the wire's far end stays up");
    // The first capture comes before the ports are tested and announced.
    let from_ports = captured.iter().filter(|frame| is_of_port(&frame.bytes[6..12])).count();
    assert_wire(&uplink, &[&first, &second], from_ports as u64);
    first.close();
    assert_wire(&uplink, &[&second], from_ports as u64);
    second.close();
    drop(of_host);
    drop(uplink);
    instance.close().expect("closing undoes everything");
    stage.assert_as_before(&before);
}

#[rstest]
#[case::in_the_frame(false, Mode::Native)]
#[case::beside_the_frame(true, Mode::Skb)]
fn a_copy_has_its_tag_where_it_was_on_the_wire(#[case] beside: bool, #[case] mode: Mode) {
    let stage = Stage::plain();
    let (lab, mut far) = (&stage.lab, far_socket(&stage.lab));
    if beside {
        let ethtool = Ethtool::in_namespace(lab.remote.namespace()).expect("a socket");
        ethtool.set_features(&device(FAR), &[("tx-vlan-hw-insert", true)]).expect("a feature");
    }
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let mut tagged = Client::open(&uplink, PortSpec { vlan: Some(42), ..spec(0, &["224.0.0.251"]) });
    let mut plain = Client::open(&uplink, spec(1, &["224.0.0.251"]));
    let told = &tagged.info().attempts;
    assert!(told.iter().any(|attempt| attempt.step == "membership of 224.0.0.251"), "{told:?}");

    let frame = |number, tags: &[[u8; 4]]| {
        let frame = datagram(lab, "224.0.0.251", number);
        [&frame[..12], &tags.concat(), &frame[12..]].concat()
    };
    let in_42 = [
        frame(1, &[[0x81, 0, 0, 42]]),
        frame(2, &[[0x81, 0, 0xe0, 42]]),
        frame(3, &[[0x81, 0, 0, 42], [0x81, 0, 0, 7]]),
    ];
    let untagged = [frame(4, &[])];
    let others = [frame(5, &[[0x81, 0, 0, 43]]), frame(6, &[[0x88, 0xa8, 0, 42]]), frame(7, &[[0x81, 0, 0, 0]])];
    for frame in others.iter().chain(&in_42).chain(&untagged) {
        send_from(&mut far, frame);
    }
    expect_copies(&mut tagged, &in_42);
    expect_copies(&mut plain, &untagged);
    tagged.close();
    plain.close();
}

#[test]
fn what_a_sender_left_to_its_nic_is_finished_in_a_copy() {
    let stage = Stage::plain();
    let lab = &stage.lab;
    let ethtool = Ethtool::in_namespace(lab.remote.namespace()).expect("a socket");
    ethtool.set_features(&device(FAR), &[("tx-checksum-ip-generic", true)]).expect("a feature");
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let mut client = Client::open(&uplink, spec(0, &["224.0.0.251"]));
    lab.remote.enter(|| {
        let socket = UdpSocket::bind((REMOTE4, 0)).expect("a socket");
        socket.send_to(b"to a group, by a kernel", (MDNS4, PORT)).expect("sent");
    });
    let mut found = Vec::new();
    wait_until("a copy", 2 * SECOND, || {
        found.extend(received(&mut client, b"to a group"));
        !found.is_empty()
    });
    let bytes = &found[0];
    // The sum over the pseudo-header and the datagram, with its checksum, has all bits.
    let length = u32::from(u16::from_be_bytes([bytes[38], bytes[39]]));
    let words = bytes[26..].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum::<u32>() + 17 + length;
    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "{bytes:02x?}");
    client.close();
}

#[test]
fn a_group_has_one_entry_in_the_filter_and_one_membership_for_all_its_ports() {
    let stage = Stage::plain();
    let (lab, seen) = (&stage.lab, far_end(&stage.lab));
    let before = stage.snapshot();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let links = lab.host.links();
    let card = links.by_name(&device(CARD)).expect("the NIC").index;
    let mac: MacAddr = "01:00:5e:00:00:fb".parse().expect("a MAC");
    let lets_in = || links.filters(card).expect("filters").contains(&mac);
    let members = || {
        let listed = lab.host.enter(|| std::fs::read_to_string("/proc/thread-self/net/igmp").expect("/proc"));
        // In hexadecimal digits, as the machine stores it.
        listed.to_lowercase().contains("fb0000e0")
    };
    let ports = [0, 1].map(|n| uplink.open_port(spec(n, &[])).expect("a port"));
    assert!(!lets_in() && !members());
    for port in &ports {
        port.change_groups(GroupChange::Join, &groups(&["224.0.0.251", "01:00:5e:00:00:fb"])).expect("groups");
        assert!(lets_in() && members());
    }
    let mut reported = false;
    wait_until("a report to the switches", 5 * SECOND, || {
        let frames = seen.drain().expect("the wire's far end stays up");
        reported |=
            frames.iter().any(|frame| frame.bytes.get(23) == Some(&2) && frame.bytes.ends_with(&MDNS4.octets()));
        reported
    });
    let [first, second] = ports;
    first.change_groups(GroupChange::Leave, &groups(&["224.0.0.251"])).expect("it leaves");
    close(first);
    assert!(lets_in() && members(), "the second port is in it");
    second.change_groups(GroupChange::Leave, &groups(&["224.0.0.251"])).expect("it leaves");
    assert!(lets_in() && !members(), "it is in the group of the MAC");
    close(second);
    assert!(!lets_in());
    instance.close().expect("closing undoes everything");
    stage.assert_as_before(&before);
}

#[test]
fn copies_beyond_the_rate_and_those_that_a_pair_does_not_take_are_counted() {
    let stage = Stage::plain();
    let (lab, mut far) = (&stage.lab, far_socket(&stage.lab));
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let open = |n, rates| uplink.open_port(PortSpec { rates, ..spec(n, &["224.0.0.251"]) }).expect("a port");
    let limited = open(0, Rates { copies: Some(Rate::new(0)), ..Rates::UNLIMITED });
    let down = open(1, Rates::UNLIMITED);
    let outer = lab.host.links().by_name(&down.info().outer).expect("its outer end").index;
    lab.host.links().set_down(outer).expect("down");
    for number in 0..20 {
        send_from(&mut far, &datagram(lab, "224.0.0.251", number));
    }
    let statistics = |port: &Port| port.statistics().expect("statistics");
    wait_until("all frames", 2 * SECOND, || statistics(&limited).copies.seen() == 20);
    assert_eq!(statistics(&limited).copies[Counter::Rate], 20);
    assert_eq!(statistics(&limited).program.seen(), 1, "the self-test");
    wait_until("all drops", 2 * SECOND, || statistics(&down).outer_transmit_drops == 20);
    assert_eq!(statistics(&down).copies.to_port(), 20);
    close(limited);
    close(down);
    let closed = uplink.statistics().expect("statistics").closed;
    assert_eq!((closed.copies.seen(), closed.copies[Counter::Rate], closed.copies.to_port()), (40, 20, 20));
}

#[test]
fn a_flow_has_its_copies_in_the_queue_of_the_port_that_it_has_anyway() {
    let stage = Stage::plain();
    let (lab, mut far) = (&stage.lab, far_socket(&stage.lab));
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let mut port = uplink.open_port(PortSpec { queues: 4, ..spec(0, &["239.1.2.3"]) }).expect("a port");
    let mac = port.info().mac;
    let to: SocketAddr = "239.1.2.3:5000".parse().expect("an address");
    let mut queue_of = |port: &mut Port, frame: &[u8]| {
        send_from(&mut far, frame);
        let (mut frames, mut found) = (Vec::new(), None);
        wait_until("a frame", 2 * SECOND, || {
            for (at, socket) in port.sockets().iter_mut().enumerate() {
                socket.receive(64, &mut frames).expect("a sound ring");
                for frame in frames.drain(..) {
                    found = found.or(socket.bytes(&frame).windows(9).any(|part| part == b"of a flow").then_some(at));
                    socket.release(frame);
                }
            }
            found.is_some()
        });
        found
    };
    let mut queues = BTreeSet::new();
    for source in 4000..4032 {
        let from = SocketAddr::new(REMOTE4.into(), source);
        let copied = Ethernet::new(MacAddr::new(Group::Ip(to.ip()).mac()), lab.far_mac()).udp(from, to, b"of a flow");
        let steered = Ethernet::new(mac, lab.far_mac()).udp(from, to, b"of a flow");
        let queue = queue_of(&mut port, &copied);
        assert_eq!(queue, queue_of(&mut port, &steered), "from port {source}");
        queues.insert(queue);
    }
    assert_eq!(queues.len(), 4);
    close(port);
}

#[test]
fn a_pinned_port_gets_copies_at_its_end() {
    let stage = Stage::plain();
    let clients = client_machine();
    let (lab, mut far) = (&stage.lab, far_socket(&stage.lab));
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let port = uplink.open_pinned(spec(0, &["broadcast"]), client(&clients)).expect("a pinned port");
    for number in 0..5 {
        send_from(&mut far, &datagram(lab, "broadcast", number));
        send_from(&mut far, &datagram(lab, "224.0.0.251", number));
    }
    let program = || port.statistics().expect("statistics").program;
    wait_until("all copies", 2 * SECOND, || program().seen() == 5);
    assert_eq!(program()[Counter::NoSocket], 5, "its client has not made one");
    let copies: Counters = port.statistics().expect("statistics").copies;
    assert_eq!((copies.seen(), copies.to_port()), (5, 5));
    port.close().expect("closing undoes everything");
}

#[test]
fn too_many_groups_are_refused_and_nothing_is_left() {
    let stage = Stage::plain();
    let before = stage.snapshot();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let many = (0..=255).map(|n| Group::from(Ipv4Addr::new(239, 0, 0, n))).collect::<BTreeSet<_>>();
    let port = uplink.open_port(PortSpec { groups: many, ..spec(0, &[]) }).expect("a port");
    let error = port.change_groups(GroupChange::Join, &groups(&["broadcast"])).expect_err("one too many");
    assert!(matches!(error, GroupError::TooMany { limit: 256 }), "{error}");
    close(port);

    // A single station is none.
    let wrong = BTreeSet::from([Group::Mac([2, 0, 0, 0, 0, 1])]);
    let error = uplink.open_port(PortSpec { groups: wrong, ..spec(0, &[]) }).expect_err("no group");
    assert!(matches!(&error, OpenPortError::Groups(GroupError::Refused(_))), "{error}");
    instance.close().expect("closing undoes everything");
    stage.assert_as_before(&before);
}
