//! Ports with addresses of their own at the uplink's MAC: the network sees one MAC, and the host and each port get what
//! is for their own addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::common::attack::{attach, client, client_machine};
use crate::common::numbered::send_from;
use crate::common::*;
use crate::flows::{Client, asker, flows, host};
use crate::flows_alone::{far_end, frames_at, inner_mac, send};
use rstest::rstest;
use xsknet_bpf::testbed::VlanEdge;
use xsknet_bpf::{Counter, Mode};
use xsknet_link::MacAddr;
use xsknet_port::{OpenPortError, PortSpec, RingsWish};
use xsknet_testkit::{
    Arp, CARD, Ethernet, FAR, HOST4, HOST6, Lab, REMOTE4, REMOTE6, device, far_socket, on_fresh_mounts, port_addresses,
    wait_until,
};
use xsknet_xsk::Socket;

const SERVED: u16 = 5301;

fn shared(n: u8) -> PortSpec {
    PortSpec { uplink_mac: true, ..PortSpec::new(port_addresses(n)) }
}

/// Frames that no port at the uplink's MAC with the addresses of `n` may send: as the host, as another port, with
/// another MAC, and those of DHCP.
fn forbidden(lab: &Lab, inner: MacAddr, n: u8) -> Vec<(Counter, Vec<u8>)> {
    let (card, far, nobody) = (lab.card_mac(), lab.far_mac(), MacAddr::new([0; 6]));
    let [own, own6] = port_addresses(n);
    let (IpAddr::V4(own4), IpAddr::V6(own6)) = (own, own6) else { panic!("an address of each version") };
    let remote = SocketAddr::new(REMOTE4.into(), 4_000);
    let at = |address: [u8; 4], port| SocketAddr::new(Ipv4Addr::from(address).into(), port);
    let (to_far, to_all) = (Ethernet::new(far, card), Ethernet::new(MacAddr::BROADCAST, card));
    let all_nodes = "ff02::1".parse().expect("an address");
    vec![
        (Counter::SourceMac, Ethernet::new(far, inner).udp(SocketAddr::new(own, 9), remote, b"its device's MAC")),
        (Counter::SourceMac, Ethernet::new(far, nobody).udp(SocketAddr::new(own, 9), remote, b"no MAC")),
        (Counter::SourceMac, Ethernet::new(far, far).udp(SocketAddr::new(own, 9), remote, b"a neighbour's MAC")),
        (Counter::SourceIp, to_far.udp(host(SERVED), remote, b"the host's address")),
        (Counter::SourceIp, to_far.udp(SocketAddr::new(port_addresses(n + 1)[0], 9), remote, b"another port's")),
        (Counter::SourceIp, to_far.echo(HOST4.into(), REMOTE4.into(), 1, 1, b"the host's ping")),
        (Counter::Rogue, to_all.udp(at([0; 4], 68), at([255; 4], 67), &[0; 300])),
        (Counter::Rogue, to_all.udp(SocketAddr::new(own, 68), at([255; 4], 67), &[0; 300])),
        (Counter::Arp, to_all.arp(Arp::Request, (card, HOST4), (nobody, REMOTE4))),
        (Counter::Arp, to_all.arp(Arp::Request, (card, HOST4), (nobody, HOST4))),
        (Counter::Arp, to_far.arp(Arp::Reply, (card, HOST4), (far, REMOTE4))),
        (Counter::Arp, to_all.arp(Arp::Request, (inner, own4), (nobody, REMOTE4))),
        (Counter::Nd, to_far.solicitation(HOST6, REMOTE6)),
        (Counter::Nd, to_all.advertisement(HOST6, all_nodes, HOST6)),
        (Counter::Nd, to_all.advertisement(own6, all_nodes, HOST6)),
        (Counter::Ethertype, to_far.frame(0x88cc, &[0; 46])),
    ]
}

#[rstest]
#[case::xsk(RingsWish::Xsk, Mode::Native)]
#[case::skb(RingsWish::Xsk, Mode::Skb)]
#[case::bpf_rings(RingsWish::Bpf, Mode::Native)]
fn what_is_not_its_own_stays_the_hosts_and_does_not_get_out(#[case] rings: RingsWish, #[case] mode: Mode) {
    let stage = Stage::plain();
    let before = stage.snapshot();
    let (lab, far, asker) = (&stage.lab, far_end(&stage.lab), asker(&stage.lab));
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let card = || lab.host.links().by_name(&device(CARD)).expect("the NIC");
    let promiscuity = card().promiscuity;
    ping(lab, HOST4.into(), 1);
    frames_at(&far);

    let mut client = Client::open(&uplink, PortSpec { rings, ..shared(1) });
    let inner = inner_mac(&stage, client.info());
    assert_eq!((client.info().mac, client.info().addresses.as_slice()), (lab.card_mac(), &port_addresses(1)[..]));
    assert_ne!(inner, lab.card_mac());
    assert_eq!(card().promiscuity, promiscuity);
    let heard = frames_at(&far);
    let with_inner = |frame: &&Vec<u8>| frame.windows(6).any(|mac| mac == inner.octets());
    assert_eq!(heard.iter().find(with_inner), None, "no frame has the MAC of its device");
    let announced = |frame: &&Vec<u8>| frame[12..14] == [8, 6] && frame[22..32] == frame_of(lab, 1)[..];
    assert_eq!(heard.iter().filter(announced).count(), 1, "announced at the uplink's MAC");

    // To its address and no port of it; to the host's.
    let [own, _] = port_addresses(1);
    let known = Ethernet::new(lab.card_mac(), lab.far_mac());
    let from = asker.local_addr().expect("an address");
    let asked = known.udp(SocketAddr::new(REMOTE4.into(), from.port()), SocketAddr::new(own, SERVED), b"a question");
    let index = lab.remote.links().by_name(&device(FAR)).expect("the wire's far end").index.get();
    let remote = xsknet_testkit::PacketSocket::sender(lab.remote.namespace()).expect("a packet socket");
    remote.send(index, &asked).expect("sent");
    client.expect_datagram(SERVED, b"a question");
    let seen = client.statistics().program.seen();
    ping(lab, HOST4.into(), 20);
    ping(lab, HOST6.into(), 20);
    assert_eq!(client.statistics().program.seen(), seen, "what is for the host is not the port's");

    frames_at(&far);
    let guard = client.statistics().guard;
    let forbidden = forbidden(lab, inner, 1);
    let frames: Vec<_> = forbidden.iter().map(|(_, frame)| frame.clone()).collect();
    send(client.socket(), &frames);
    let answer = Ethernet::new(lab.far_mac(), lab.card_mac()).udp(SocketAddr::new(own, SERVED), from, b"the last");
    send(client.socket(), &[answer]);
    assert_eq!(asker.recv_from(&mut [0; 64]).expect("the answer"), (8, SocketAddr::new(own, SERVED)));
    let out: Vec<_> = frames_at(&far).into_iter().filter(|frame| frames.contains(frame)).collect();
    assert!(out.is_empty(), "{out:02x?}");
    let after = client.statistics().guard;
    for counter in [Counter::SourceMac, Counter::SourceIp, Counter::Rogue, Counter::Arp, Counter::Nd] {
        let expected = forbidden.iter().filter(|(its, _)| *its == counter).count() as u64;
        assert_eq!(after[counter] - guard[counter], expected, "{counter} of {after:?}");
    }
    assert_eq!(after.dropped() - guard.dropped(), forbidden.len() as u64, "{after:?}");
    assert_eq!(after[Counter::ToUplink] - guard[Counter::ToUplink], 1);

    client.close();
    drop(uplink);
    instance.close().expect("closing undoes everything");
    stage.assert_as_before(&before);
}

/// The sender's half of an ARP announcement.
fn frame_of(lab: &Lab, n: u8) -> Vec<u8> {
    let IpAddr::V4(own) = port_addresses(n)[0] else { panic!("the first is of IPv4") };
    [&lab.card_mac().octets()[..], &own.octets()].concat()
}

#[rstest]
#[case::native(Mode::Native, None)]
#[case::skb(Mode::Skb, None)]
#[case::native_in_a_vlan(Mode::Native, Some(42))]
#[case::skb_in_a_vlan(Mode::Skb, Some(42))]
fn two_of_them_answer_and_follow_the_uplinks_mac(#[case] mode: Mode, #[case] vlan: Option<u16>) {
    let stage = Stage::plain();
    let before = stage.snapshot();
    let (lab, far) = (&stage.lab, far_end(&stage.lab));
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let far_index = lab.remote.links().by_name(&device(FAR)).expect("the wire's far end").index.get();
    let edge = vlan.map(|vlan| lab.remote.enter(|| VlanEdge::attach(far_index, vlan)).expect("an edge"));
    let spec = |n| PortSpec { vlan: vlan.map(u32::from), ..shared(n) };
    let ports = [0, 1].map(|n| uplink.open_port(spec(n)).expect("a port"));
    let servings = ports.map(serve);
    let pinged = || (0..2).flat_map(port_addresses).for_each(|address| ping(lab, address, 20));
    pinged();
    if vlan.is_none() {
        ping(lab, HOST4.into(), 20);
        ping(lab, HOST6.into(), 20);
    }

    let ports = servings.map(finish);
    frames_at(&far);
    let (links, index) = (lab.host.links(), uplink.info().index);
    let (old, new) = (lab.card_mac(), MacAddr::new([0x02, 0, 0, 0, 0xaa, 1]));
    links.set_mac(index, new).expect("set");
    // Looking at it is what the watch does, too.
    wait_until("the new MAC", 2 * SECOND, || uplink.nic().mac == new);
    let mut heard = Vec::new();
    wait_until("announcements of the new MAC", 2 * SECOND, || {
        heard.extend(frames_at(&far));
        let of_new = heard.iter().filter(|frame| frame[6..12] == new.octets());
        // Two addresses of two ports.
        of_new.filter(|frame| frame[..6] == [0xff; 6] || frame[..6] == [0x33, 0x33, 0, 0, 0, 1]).count() >= 4
    });
    let servings = ports.map(|port| {
        let addresses = port.info().addresses.clone();
        xsknet_testkit::Responder::new(new.octets(), addresses).start(port)
    });
    pinged();
    let ports = servings.map(finish);
    links.set_mac(index, old).expect("set");
    wait_until("the old MAC", 2 * SECOND, || uplink.nic().mac == old);
    for mut port in ports {
        assert_accounted(&mut port);
        close(port);
    }
    drop((edge, uplink));
    instance.close().expect("closing undoes everything");
    stage.assert_as_before(&before);
}

#[test]
fn packets_for_its_address_reach_all_of_its_queues() {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let mut port = uplink.open_port(PortSpec { queues: 3, ..shared(0) }).expect("a port");
    let mut far = far_socket(&stage.lab);
    let (to_card, to) = (Ethernet::new(stage.lab.card_mac(), stage.lab.far_mac()), port_addresses(0)[0]);
    for from in 1000..1064 {
        let flow = [SocketAddr::new(REMOTE4.into(), from), SocketAddr::new(to, SERVED)];
        send_from(&mut far, &to_card.udp(flow[0], flow[1], b"one of many"));
    }
    let mut received = [0; 3];
    wait_until("all of them", 2 * SECOND, || {
        for (socket, received) in port.sockets().iter_mut().zip(&mut received) {
            let mut frames = Vec::new();
            *received += socket.receive(64, &mut frames).expect("a sound ring");
            frames.into_iter().for_each(|frame| socket.release(frame));
        }
        received.iter().sum::<usize>() == 64
    });
    assert!(received.iter().all(|received| *received > 0), "{received:?}");
    close(port);
    instance.close().expect("closing undoes everything");
}

#[test]
fn each_queue_with_bpf_rings_is_tested() {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let spec = PortSpec { rings: RingsWish::Bpf, queues: 3, ..shared(0) };
    let (port, donations) = uplink.open_rings(&spec).expect("a port").expect("with BPF rings");
    let statistics = port.statistics().expect("statistics");
    assert_eq!((statistics.guard.seen(), statistics.guard.to_uplink()), (3, 3));
    port.close().expect("closing undoes everything");
    drop(donations);
    instance.close().expect("closing undoes everything");
}

#[test]
fn on_the_umem_of_another_port_it_receives() {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let (first, mut donations) = port(&uplink, 0).hand_over().expect("an idle port");
    let (_socket, mut umem, _file) = Socket::adopt(donations.remove(0)).expect("a socket").into_parts();
    let in_fill = umem.reserve_chunks(64);
    let of_first = first.share_umem().expect("an open port");
    let (port, mut socket) = uplink.open_shared(shared(1), &of_first, in_fill.chunks()).expect("a port");
    assert_eq!(port.info().mac, stage.lab.card_mac());
    assert_eq!(port.statistics().expect("statistics").program.to_socket(), 1, "its self-test's frame");
    asker(&stage.lab).send_to(b"a question", SocketAddr::new(port_addresses(1)[0], SERVED)).expect("sent");
    // Nobody answers for the port: what comes is the question for its MAC.
    wait_until("an ARP request", SECOND, || {
        let came = socket.turn_back().expect("a ring");
        came.iter().any(|length| (42..=60).contains(length))
    });
    port.close().expect("closing undoes everything");
    first.close().expect("closing undoes everything");
    instance.close().expect("closing undoes everything");
}

#[test]
fn a_pinned_port_answers_at_the_uplinks_mac() {
    on_fresh_mounts(|| {
        let (stage, clients) = (Stage::plain(), client_machine());
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let spec = PortSpec { owner: 65_534, name: Some("pinned".into()), ..shared(1) };
        let port = uplink.open_pinned(spec, client(&clients)).expect("a pinned port");
        assert_eq!(port.info().mac, stage.lab.card_mac());
        let responder = xsknet_testkit::Responder::new(port.info().mac.octets(), port.info().addresses.clone());
        let serving = responder.start(Box::new(attach(&port, &clients)));
        for address in port_addresses(1) {
            ping(&stage.lab, address, 20);
        }
        ping(&stage.lab, HOST4.into(), 20);
        drop(serving.finish());
        port.close().expect("closing undoes everything");
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

#[test]
fn ports_of_both_kinds_reach_each_other_on_one_uplink() {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let mut own = Client::open(&uplink, PortSpec::new(port_addresses(0)));
    let mut at_uplinks = Client::open(&uplink, shared(1));
    let (own_mac, card) = (own.info().mac, stage.lab.card_mac());
    let at = |n| SocketAddr::new(port_addresses(n)[0], SERVED);
    send(own.socket(), &[Ethernet::new(card, own_mac).udp(at(0), at(1), b"a question")]);
    at_uplinks.expect_datagram(SERVED, b"a question");
    send(at_uplinks.socket(), &[Ethernet::new(own_mac, card).udp(at(1), at(0), b"an answer")]);
    own.expect_datagram(SERVED, b"an answer");
    // Between two at one MAC, the address decides.
    let mut third = Client::open(&uplink, shared(2));
    send(at_uplinks.socket(), &[Ethernet::new(card, card).udp(at(1), at(2), b"to another")]);
    third.expect_datagram(SERVED, b"to another");
    third.close();
    at_uplinks.close();
    own.close();
    instance.close().expect("closing undoes everything");
}

#[test]
fn with_flows_beside_its_addresses_it_answers_for_the_host_too() {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let (lab, asker) = (&stage.lab, asker(&stage.lab));
    let spec = PortSpec { flows: flows(&["udp dst port 5301 and dst host 192.0.2.1"]), ..shared(1) };
    let mut client = Client::open(&uplink, spec);
    asker.send_to(b"a question", host(SERVED)).expect("sent");
    client.expect_datagram(SERVED, b"a question");
    let to = SocketAddr::new(REMOTE4.into(), asker.local_addr().expect("an address").port());
    let answer = Ethernet::new(lab.far_mac(), lab.card_mac()).udp(host(SERVED), to, b"an answer");
    send(client.socket(), &[answer]);
    assert_eq!(asker.recv_from(&mut [0; 64]).expect("an answer"), (9, host(SERVED)));
    client.close();
    instance.close().expect("closing undoes everything");
}

#[test]
fn an_address_that_somebody_has_is_refused() {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let open = |address: IpAddr| {
        refused(&stage, || uplink.open_port(PortSpec { uplink_mac: true, ..PortSpec::new([address]) }).map(drop))
    };
    for (address, holder) in
        [(IpAddr::from(HOST4), "the host"), (HOST6.into(), "the host"), (REMOTE4.into(), "a neighbour")]
    {
        let error = open(address);
        assert!(matches!(error, OpenPortError::AddressTaken { .. }), "{error}");
        assert_tells(&error, &[&address.to_string(), holder]);
    }
    let other = uplink.open_port(shared(1)).expect("a port");
    assert!(matches!(open(port_addresses(1)[0]), OpenPortError::AddressTaken { .. }));
    close(other);
    let spec = PortSpec { mac: Some(MacAddr::new([2, 0, 0, 0, 0, 7])), ..shared(1) };
    let error = refused(&stage, || uplink.open_port(spec).map(drop));
    assert!(matches!(error, OpenPortError::MacInvalid { .. }), "{error}");
    instance.close().expect("closing undoes everything");
}
