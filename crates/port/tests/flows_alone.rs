//! Ports without an address: on the host's own, with flows alone. What they have no flow of stays the host's, and of
//! what they send, only what their flows match, reversed, gets out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use crate::common::attack::{attach, client, client_machine, duplicate};
use crate::common::*;
use crate::flows::{Client, asker, assert_kept, assert_reaches_host, bind, flows, host};
use rstest::rstest;
use xsknet_bpf::{Counter, Mode};
use xsknet_link::MacAddr;
use xsknet_port::{OpenPortError, PortInfo, PortSpec, RingsWish};
use xsknet_testkit::{
    Arp, CARD, Ethernet, FAR, HOST4, HOST6, Lab, PacketSocket, REMOTE4, REMOTE6, device, on_fresh_mounts,
    port_addresses, wait_until,
};
use xsknet_xsk::{FrameSocket, Socket};

const SERVED: u16 = 5301;
const FLOW: &str = "udp dst port 5301 and dst host 192.0.2.1";
const NOBODY: u32 = 65_534;

fn alone(texts: &[&str]) -> PortSpec {
    PortSpec { flows: flows(texts), ..PortSpec::new([]) }
}

/// What arrives at the wire's far end.
pub fn far_end(lab: &Lab) -> PacketSocket {
    let far = lab.remote.links().by_name(&device(FAR)).expect("the wire's far end").index;
    PacketSocket::capture(lab.remote.namespace(), Some(far)).expect("a packet socket")
}

pub fn frames_at(far: &PacketSocket) -> Vec<Vec<u8>> {
    far.drain().expect("the wire's far end stays up").into_iter().map(|captured| captured.bytes).collect()
}

pub fn inner_mac(stage: &Stage, info: &PortInfo) -> MacAddr {
    let links = xsknet_link::Links::in_namespace(&stage.inside()).expect("a netlink socket");
    links.by_name(&info.inner).expect("the inner end").mac.expect("a MAC")
}

pub fn send(socket: &mut dyn FrameSocket, frames: &[Vec<u8>]) {
    for bytes in frames {
        let mut frame = socket.allocate().expect("a free chunk");
        frame.set_len(bytes.len()).expect("it fits");
        socket.bytes_mut(&mut frame).copy_from_slice(bytes);
        let mut frames = vec![frame];
        wait_until("room in TX, and completion", 2 * SECOND, || {
            socket.transmit(&mut frames).expect("a frame of ours");
            socket.flush().expect("a kick");
            socket.complete().expect("a sound ring");
            frames.is_empty() && socket.chunks().tx == 0
        });
    }
}

/// The port's answer to a question of `asker`.
fn answer(card: MacAddr, far: MacAddr, asker: &UdpSocket, payload: &[u8]) -> Vec<u8> {
    let to = SocketAddr::new(REMOTE4.into(), asker.local_addr().expect("an address").port());
    Ethernet::new(far, card).udp(host(SERVED), to, payload)
}

/// Frames that a port with [`FLOW`] alone must not get out: from MACs that are not the uplink's, and from that one what
/// no flow describes.
fn forbidden(lab: &Lab, inner: MacAddr) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (card, far, nobody) = (lab.card_mac(), lab.far_mac(), MacAddr::new([0; 6]));
    let remote = SocketAddr::new(REMOTE4.into(), 4_000);
    let at = |address: [u8; 4], port| SocketAddr::new(Ipv4Addr::from(address).into(), port);
    let all_nodes = "ff02::1".parse().expect("an address");
    let spoken = |source: MacAddr| {
        let (to_far, to_all) = (Ethernet::new(far, source), Ethernet::new(MacAddr::BROADCAST, source));
        vec![
            to_far.udp(at([192, 0, 2, 77], SERVED), remote, b"a foreign address"),
            to_far.udp(host(5302), remote, b"no flow of the port"),
            to_far.echo(HOST4.into(), REMOTE4.into(), 1, 1, b"the host's ping"),
            to_all.udp(at([0; 4], 68), at([255; 4], 67), b"no address"),
            to_all.arp(Arp::Request, (source, HOST4), (nobody, REMOTE4)),
            to_all.arp(Arp::Request, (source, HOST4), (nobody, HOST4)),
            to_all.arp(Arp::Request, (source, Ipv4Addr::UNSPECIFIED), (nobody, HOST4)),
            to_far.arp(Arp::Reply, (source, HOST4), (far, REMOTE4)),
            to_far.arp(Arp::Reply, (far, REMOTE4), (far, REMOTE4)),
            to_far.solicitation(HOST6, REMOTE6),
            to_all.advertisement(HOST6, all_nodes, HOST6),
            to_all.router_advertisement(HOST6),
            to_far.frame(0x88cc, &[0; 46]),
        ]
    };
    let by_flow = |source| Ethernet::new(far, source).udp(host(SERVED), remote, b"from another MAC");
    let foreign = [inner, nobody, far].into_iter();
    (foreign.flat_map(|source| [spoken(source), vec![by_flow(source)]].concat()).collect(), spoken(card))
}

#[rstest]
#[case::xsk(RingsWish::Xsk, Mode::Native)]
#[case::skb(RingsWish::Xsk, Mode::Skb)]
#[case::bpf_rings(RingsWish::Bpf, Mode::Native)]
fn a_port_without_addresses_has_its_flows_and_nothing_else(#[case] rings: RingsWish, #[case] mode: Mode) {
    let stage = Stage::plain();
    let before = stage.snapshot();
    let (lab, far, asker) = (&stage.lab, far_end(&stage.lab), asker(&stage.lab));
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let card = || lab.host.links().by_name(&device(CARD)).expect("the NIC");
    let promiscuity = card().promiscuity;
    // The neighbours know each other, and nothing of that is taken for the port's.
    ping(lab, HOST4.into(), 1);
    frames_at(&far);

    let mut client = Client::open(&uplink, PortSpec { rings, ..alone(&[FLOW]) });
    let inner = inner_mac(&stage, client.info());
    assert_eq!((client.info().mac, client.info().addresses.as_slice()), (lab.card_mac(), &[][..]));
    let told = |attempt: &xsknet_port::Attempt| attempt.step == "self-test" && attempt.why.contains("the guard");
    let attempts = &client.info().attempts;
    assert_eq!(attempts.iter().filter(|attempt| told(attempt)).count(), 1, "{attempts:?}");
    assert_ne!(inner, lab.card_mac());
    assert_eq!(card().promiscuity, promiscuity, "no filter is put into the NIC");
    let heard = frames_at(&far);
    let of_port = |frame: &&Vec<u8>| frame[12..14] == [8, 6] || frame.windows(6).any(|mac| mac == inner.octets());
    assert_eq!(heard.iter().find(of_port), None, "nobody is asked and nothing announced");
    assert_eq!(client.statistics().guard[Counter::SourceMac], 1, "the self-test's");

    asker.send_to(b"a question", host(SERVED)).expect("sent");
    client.expect_datagram(SERVED, b"a question");
    assert_kept(bind(lab, host(SERVED)));
    send(client.socket(), &[answer(lab.card_mac(), lab.far_mac(), &asker, b"an answer")]);
    assert_eq!(asker.recv_from(&mut [0; 64]).expect("an answer"), (9, host(SERVED)));

    // What no flow matches is the host's, to its MAC; to the port's device it is nobody's.
    assert_reaches_host(lab, &asker, 5302);
    ping(lab, HOST4.into(), 20);
    ping(lab, HOST6.into(), 20);
    let arrived = client.statistics().program.seen();
    let index = lab.remote.links().by_name(&device(FAR)).expect("the wire's far end").index.get();
    let from = SocketAddr::new(REMOTE4.into(), 9);
    let stray = Ethernet::new(inner, lab.far_mac()).udp(from, host(SERVED + 1), b"to its device");
    PacketSocket::sender(lab.remote.namespace()).expect("a packet socket").send(index, &stray).expect("sent");
    ping(lab, HOST4.into(), 1);
    assert_eq!(client.statistics().program.seen(), arrived);

    frames_at(&far);
    let guard = client.statistics().guard;
    let (foreign, as_host) = forbidden(lab, inner);
    send(client.socket(), &foreign);
    send(client.socket(), &as_host);
    send(client.socket(), &[answer(lab.card_mac(), lab.far_mac(), &asker, b"the last")]);
    assert_eq!(asker.recv_from(&mut [0; 64]).expect("the last answer").0, 8);
    let sent: Vec<_> = foreign.iter().chain(&as_host).collect();
    let out: Vec<_> = frames_at(&far).into_iter().filter(|frame| sent.contains(&frame)).collect();
    assert!(out.is_empty(), "{out:02x?}");
    let after = client.statistics().guard;
    let moved = |counter| after[counter] - guard[counter];
    assert_eq!(moved(Counter::SourceMac), foreign.len() as u64);
    assert_eq!(after.dropped() - guard.dropped(), sent.len() as u64, "{after:?}");
    assert_eq!((moved(Counter::Arp), moved(Counter::Nd), moved(Counter::Ethertype)), (5, 3, 1), "{after:?}");
    assert_eq!(moved(Counter::ToUplink), 1);

    client.close();
    assert_reaches_host(lab, &asker, SERVED);
    drop(uplink);
    instance.close().expect("closing undoes everything");
    stage.assert_as_before(&before);
}

#[test]
fn without_addresses_and_flows_a_port_is_refused() {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    for rings in [RingsWish::Xsk, RingsWish::Bpf] {
        let error = refused(&stage, || match rings {
            RingsWish::Xsk => uplink.open_port(alone(&[])).map(drop),
            _ => uplink.open_rings(&PortSpec { rings, ..alone(&[]) }).map(drop),
        });
        assert!(matches!(error, OpenPortError::NoAddress), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("flows")), "{:?}", error.hint());
    }
    let mac = Some(MacAddr::new([2, 0, 0, 0, 0, 7]));
    let error = refused(&stage, || uplink.open_port(PortSpec { mac, ..alone(&[FLOW]) }));
    assert!(matches!(error, OpenPortError::MacInvalid { .. }), "{error}");
    // A flow that the host needs, after all that was made before.
    let _held = bind(&stage.lab, host(SERVED)).expect("a socket");
    let error = refused(&stage, || uplink.open_port(alone(&[FLOW])));
    assert!(matches!(error, OpenPortError::Flows(_)), "{error}");
    instance.close().expect("closing undoes everything");
}

#[rstest]
#[case::xsk(RingsWish::Xsk)]
#[case::bpf_rings(RingsWish::Bpf)]
fn each_queue_of_several_ports_without_names_is_tested(#[case] rings: RingsWish) {
    let stage = Stage::plain();
    let before = stage.snapshot();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let open = |port: u16| {
        let text = format!("udp dst port {port} and dst host 192.0.2.1");
        let spec = PortSpec { rings, queues: 3, owner: 1000, ..alone(&[&text]) };
        match rings {
            RingsWish::Xsk => uplink.open_port(spec).expect("a port").hand_over().expect("an idle port").0,
            _ => uplink.open_rings(&spec).expect("a port").expect("with BPF rings").0,
        }
    };
    let ports = [5301, 5302].map(open);
    let macs = ports.each_ref().map(|port| inner_mac(&stage, port.info()));
    assert_ne!(macs[0], macs[1]);
    for port in ports {
        let statistics = port.statistics().expect("statistics");
        assert_eq!((statistics.guard.seen(), statistics.guard[Counter::SourceMac]), (3, 3));
        port.close().expect("closing undoes everything");
    }
    instance.close().expect("closing undoes everything");
    stage.assert_as_before(&before);
}

#[test]
fn on_the_umem_of_another_port_it_is_tested_as_far_as_that_goes() {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let (first, mut donations) = port(&uplink, 0).hand_over().expect("an idle port");
    let (_socket, mut umem, _file) = Socket::adopt(donations.remove(0)).expect("a socket").into_parts();
    let in_fill = umem.reserve_chunks(64);
    let shared = first.share_umem().expect("an open port");
    let (port, mut socket) = uplink.open_shared(alone(&[FLOW]), &shared, in_fill.chunks()).expect("a port");
    assert_eq!(port.info().mac, stage.lab.card_mac());
    assert_eq!(port.statistics().expect("statistics").program.to_socket(), 1, "its self-test's frame");
    asker(&stage.lab).send_to(b"a question", host(SERVED)).expect("sent");
    wait_until("the question", SECOND, || socket.turn_back().expect("a ring").contains(&(42 + 10)));
    port.close().expect("closing undoes everything");
    first.close().expect("closing undoes everything");
    instance.close().expect("closing undoes everything");
}

/// The device in its client's namespace has a MAC of its own, and the kernel there may use it: nothing gets out.
#[test]
fn a_pinned_port_has_its_flows_and_its_clients_kernel_gets_nothing_out() {
    on_fresh_mounts(|| {
        let (stage, clients) = (Stage::plain(), client_machine());
        let before = stage.snapshot();
        let (lab, far, asker) = (&stage.lab, far_end(&stage.lab), asker(&stage.lab));
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        ping(lab, HOST4.into(), 1);
        let spec = PortSpec { owner: NOBODY, name: Some("pinned".into()), ..alone(&[FLOW]) };
        let port = uplink.open_pinned(spec, client(&clients)).expect("a pinned port");
        assert_eq!((port.info().mac, port.info().addresses.len()), (lab.card_mac(), 0));
        let mut socket = attach(&port, &clients);
        asker.send_to(b"a question", host(SERVED)).expect("sent");
        let (mut frames, payload) = (Vec::new(), b"a question");
        wait_until("the question", SECOND, || {
            socket.receive(64, &mut frames).expect("a sound ring");
            let found = frames.iter().any(|frame| socket.bytes(frame).ends_with(payload));
            frames.drain(..).for_each(|frame| socket.release(frame));
            found
        });
        frames_at(&far);

        let end = clients.links().by_name(&port.pin().device).expect("the client's end");
        let (foreign, as_host) = forbidden(lab, end.mac.expect("a MAC"));
        let kernel = PacketSocket::sender(&duplicate(clients.namespace())).expect("a packet socket");
        for frame in foreign.iter().chain(&as_host) {
            kernel.send(end.index.get(), frame).expect("sent");
        }
        send(&mut socket, &[answer(lab.card_mac(), lab.far_mac(), &asker, b"the last")]);
        assert_eq!(asker.recv_from(&mut [0; 64]).expect("an answer").0, 8);
        let out = frames_at(&far).into_iter().filter(|frame| foreign.contains(frame) || as_host.contains(frame));
        assert_eq!(out.collect::<Vec<_>>(), Vec::<Vec<u8>>::new());
        drop(socket);
        port.close().expect("closing undoes everything");
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

#[test]
fn a_port_with_addresses_and_one_without_share_an_uplink() {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let asker = asker(&stage.lab);
    let beside = serve(port(&uplink, 1));
    let mut client = Client::open(&uplink, alone(&[FLOW]));
    let address: IpAddr = port_addresses(1)[0];
    ping(&stage.lab, address, 20);
    asker.send_to(b"a question", host(SERVED)).expect("sent");
    client.expect_datagram(SERVED, b"a question");
    client.close();
    ping(&stage.lab, address, 20);
    close(finish(beside));
    instance.close().expect("closing undoes everything");
}
