//! Flows of ports: packets to the host's own address that go to a port, and what of the host is kept from them.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Instant;

use crate::common::child::{Ended, Role, kill_at};
use crate::common::*;
use rstest::rstest;
use xsknet_bpf::{Flow, Mode};
use xsknet_link::MacAddr;
use xsknet_port::{
    BrokeredPort, FlowChange, FlowClaimError, Instance, OpenPortError, Port, PortInfo, PortSpec, PortStatistics,
    RingsWish, Uplink, parse_flows,
};
use xsknet_testkit::{CARD, HOST4, Lab, REMOTE4, device, on_fresh_mounts, port_addresses};
use xsknet_xsk::{FrameSocket, RingSocket};

pub fn flows(texts: &[&str]) -> Vec<Flow> {
    let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
    parse_flows(&texts).expect("flows")
}

fn spec(n: u8, texts: &[&str]) -> PortSpec {
    PortSpec { flows: flows(texts), ..PortSpec::new(port_addresses(n)) }
}

pub fn host(port: u16) -> SocketAddr {
    (HOST4, port).into()
}

/// A program of the host's that has a port there.
pub fn bind(lab: &Lab, address: SocketAddr) -> std::io::Result<UdpSocket> {
    lab.host.enter(|| {
        let socket = UdpSocket::bind(address)?;
        socket.set_read_timeout(Some(SECOND))?;
        Ok(socket)
    })
}

fn listen(lab: &Lab, address: SocketAddr) -> std::io::Result<TcpListener> {
    lab.host.enter(|| TcpListener::bind(address))
}

#[track_caller]
pub fn assert_kept<T>(bound: std::io::Result<T>) {
    assert_eq!(bound.err().expect("the port is kept from programs").kind(), ErrorKind::AddrInUse);
}

/// A program on the far host, which sends from one socket.
pub fn asker(lab: &Lab) -> UdpSocket {
    lab.remote.enter(|| {
        let socket = UdpSocket::bind((REMOTE4, 0)).expect("a socket");
        socket.set_read_timeout(Some(SECOND)).expect("a timeout");
        socket
    })
}

/// A port, with rings of either kind.
pub enum Client {
    Xsk(Port),
    Rings(BrokeredPort, Box<RingSocket>),
}

impl Client {
    pub fn open(uplink: &Uplink, spec: PortSpec) -> Self {
        match spec.rings {
            RingsWish::Xsk => Self::Xsk(uplink.open_port(spec).expect("a port")),
            _ => {
                let (port, donations) = uplink.open_rings(&spec).expect("a port").expect("with BPF rings");
                let socket = RingSocket::adopt(only(donations)).expect("what was handed over");
                Self::Rings(port, Box::new(socket))
            }
        }
    }

    pub fn socket(&mut self) -> &mut dyn FrameSocket {
        match self {
            Self::Xsk(port) => port.socket(),
            Self::Rings(_, socket) => &mut **socket,
        }
    }

    pub fn info(&self) -> &PortInfo {
        match self {
            Self::Xsk(port) => port.info(),
            Self::Rings(port, _) => port.info(),
        }
    }

    pub fn statistics(&self) -> PortStatistics {
        match self {
            Self::Xsk(port) => port.statistics(),
            Self::Rings(port, _) => port.statistics(),
        }
        .expect("statistics")
    }

    fn change(&self, change: FlowChange, texts: &[&str]) -> Result<(), FlowClaimError> {
        match self {
            Self::Xsk(port) => port.change_flows(change, &flows(texts), false),
            Self::Rings(port, _) => port.change_flows(change, &flows(texts), false),
        }
    }

    /// Waits for the next UDP datagram to this port.
    #[track_caller]
    pub fn expect_datagram(&mut self, to: u16, payload: &[u8]) {
        let deadline = Instant::now() + 2 * SECOND;
        loop {
            let mut frames = Vec::new();
            let is_it = |bytes: &[u8]| {
                bytes.get(36..38) == Some(&to.to_be_bytes()[..]) && bytes.get(42..42 + payload.len()) == Some(payload)
            };
            let (socket, mut found) = (self.socket(), false);
            socket.receive(64, &mut frames).expect("a sound ring");
            for frame in frames {
                found |= is_it(socket.bytes(&frame));
                socket.release(frame);
            }
            if found {
                return;
            }
            socket.wait(SECOND / 10).expect("a wait");
            assert!(Instant::now() < deadline, "no datagram to port {to} reached the port");
        }
    }

    pub fn close(self) {
        match self {
            Self::Xsk(port) => close(port),
            Self::Rings(port, socket) => {
                drop(socket);
                port.close().expect("closing undoes everything");
            }
        }
    }
}

#[track_caller]
pub fn assert_reaches_host(lab: &Lab, asker: &UdpSocket, port: u16) {
    let program = bind(lab, host(port)).expect("the port is the host's again");
    asker.send_to(b"to the host", host(port)).expect("sent");
    let (length, from) = program.recv_from(&mut [0; 64]).expect("the host receives it");
    assert_eq!((length, from.ip()), (11, IpAddr::from(REMOTE4)));
}

fn scene() -> (Stage, Instance, Uplink) {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    (stage, instance, uplink)
}

#[rstest]
#[case::xsk(RingsWish::Xsk)]
#[case::bpf_rings(RingsWish::Bpf)]
fn flows_are_claimed_at_the_opening_and_later_and_go_with_the_port(#[case] rings: RingsWish) {
    let stage = Stage::plain();
    let before = stage.snapshot();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let (lab, asker) = (&stage.lab, asker(&stage.lab));
    let opened = PortSpec { rings, ..spec(0, &["udp dst port 5301 and dst host 192.0.2.1"]) };
    let mut client = Client::open(&uplink, opened);

    asker.send_to(b"at once", host(5301)).expect("sent");
    client.expect_datagram(5301, b"at once");
    assert_kept(bind(lab, host(5301)));
    assert_kept(bind(lab, (IpAddr::from([0, 0, 0, 0]), 5301).into()));
    ping(lab, HOST4.into(), 3);
    assert_reaches_host(lab, &asker, 5302);

    client.change(FlowChange::Claim, &["udp dst port 5302", "tcp dst port 5303"]).expect("two flows more");
    client.change(FlowChange::Claim, &["udp dst port 5302"]).expect("what it has stays");
    asker.send_to(b"later", host(5302)).expect("sent");
    client.expect_datagram(5302, b"later");
    assert_kept(bind(lab, host(5302)));
    assert_kept(listen(lab, host(5303)));
    drop(bind(lab, host(5303)).expect("UDP is another protocol"));

    let released = ["tcp dst port 5303", "udp dst port 5302", "udp dst port 9"];
    client.change(FlowChange::Release, &released).expect("releasing what it does not have, too");
    drop(listen(lab, host(5303)).expect("the host has it again"));
    assert_reaches_host(lab, &asker, 5302);

    client.change(FlowChange::Replace, &["udp dst port 5304", "udp dst port 5305"]).expect("other flows");
    assert_reaches_host(lab, &asker, 5301);
    for port in [5304, 5305] {
        asker.send_to(b"instead", host(port)).expect("sent");
        client.expect_datagram(port, b"instead");
        assert_kept(bind(lab, host(port)));
    }
    client.close();
    for port in [5304, 5305] {
        assert_reaches_host(lab, &asker, port);
    }
    ping(lab, HOST4.into(), 3);
    drop(uplink);
    instance.close().expect("closing undoes everything");
    stage.assert_as_before(&before);
}

#[test]
fn what_the_host_receives_is_not_taken_unless_it_is_said() {
    let (stage, _instance, uplink) = scene();
    let (lab, asker) = (&stage.lab, asker(&stage.lab));
    let program = bind(lab, host(5301)).expect("a socket");
    let everywhere = bind(lab, (IpAddr::from([0, 0, 0, 0]), 5302).into()).expect("a socket");
    let server = listen(lab, host(5303)).expect("a listener");

    let error = uplink.open_port(spec(0, &["udp dst port 5301"])).expect_err("the host has it");
    let OpenPortError::Flows(FlowClaimError::HostSocket { protocol, address, process, .. }) = &error else {
        panic!("{error}")
    };
    assert_eq!((*protocol, *address), ("UDP", host(5301)));
    let own = format!("process {}", std::process::id());
    assert!(process.as_ref().is_some_and(|process| process.ends_with(&own)), "{process:?}, not {own}");
    assert!(error.to_string().contains("192.0.2.1:5301"), "{error}");
    assert_reaches_host(lab, &asker, 5300);

    let mut client = Client::open(&uplink, spec(0, &[]));
    for (texts, what) in [
        ("udp dst port 5301 and dst host 192.0.2.1", Some("UDP")),
        ("udp dst portrange 5300-5400", Some("UDP")),
        ("udp dst port 5302 and dst host 192.0.2.1", Some("UDP")),
        ("tcp and dst net 192.0.2.0/24", Some("TCP")),
        ("tcp dst port 5303 and src net 192.0.2.0/24", Some("TCP")),
        ("icmp and dst host 192.0.2.1", None),
        ("dst host 192.0.2.1", None),
    ] {
        let error = client.change(FlowChange::Claim, &["udp dst port 5400", texts]).expect_err(texts);
        match (&error, what) {
            (FlowClaimError::HostSocket { protocol, .. }, Some(what)) => assert_eq!(*protocol, what, "{texts}"),
            (FlowClaimError::HostKernel { .. }, None) => {}
            _ => panic!("{texts}: {error}"),
        }
    }
    // Nothing was claimed, and nothing is kept.
    assert_reaches_host(lab, &asker, 5400);
    asker.send_to(b"still", host(5301)).expect("sent");
    assert_eq!(program.recv_from(&mut [0; 64]).expect("the host receives it").0, 5);

    let other = PortSpec { owner: 1000, ..spec(1, &["udp dst port 5301"]) };
    let error = uplink.open_port(other).expect_err("the host has it");
    let OpenPortError::Flows(FlowClaimError::HostSocket { process: None, .. }) = error else {
        panic!("{error} names a process to a user")
    };

    let Client::Xsk(port) = &client else { unreachable!("it has the rings of AF_XDP") };
    port.change_flows(FlowChange::Claim, &flows(&["udp dst port 5301"]), true).expect("the host is overridden");
    asker.send_to(b"taken", host(5301)).expect("sent");
    client.expect_datagram(5301, b"taken");
    client.change(FlowChange::Claim, &["udp dst port 5401"]).expect("what was overridden is not asked again");
    client.close();
    asker.send_to(b"back", host(5301)).expect("sent");
    assert_eq!(program.recv_from(&mut [0; 64]).expect("the host receives it").0, 4);
    drop((everywhere, server));
}

#[test]
fn a_conflict_names_its_holder_to_those_who_may_know_it() {
    let (_stage, _instance, uplink) = scene();
    let named = |owner, name: &str, n, text: &str| {
        uplink.open_port(PortSpec { owner, name: Some(name.into()), ..spec(n, &[text]) })
    };
    let web = named(1000, "web", 0, "udp dst portrange 6000-6100").expect("a port");
    for (owner, told) in [
        (0, "is in conflict with \"udp dst portrange 6000-6100\" of port `web`"),
        (1000, "is in conflict with \"udp dst portrange 6000-6100\" of port `web`"),
        (1001, "is in conflict with one of another user's port"),
    ] {
        let error = named(owner, "other", 1, "udp dst portrange 6050-6200").expect_err("a conflict").to_string();
        assert!(error.ends_with(told), "{error}");
        assert_eq!(error.contains("6100"), owner != 1001, "{error}");
    }
    let other = named(1001, "other", 1, "udp dst portrange 6101-6200").expect("a port");
    let wider = flows(&["udp dst portrange 6100-6200"]);
    let error = other.change_flows(FlowChange::Replace, &wider, false).expect_err("a conflict");
    assert!(matches!(&error, FlowClaimError::Taken { other: None, .. }), "{error}");
    close(web);
    other.change_flows(FlowChange::Replace, &wider, false).expect("nobody has it any more");
    close(other);
}

#[test]
fn a_more_specific_flow_of_another_port_shares_a_port_that_is_kept_from_the_host() {
    let (stage, instance, uplink) = scene();
    let all = uplink.open_port(spec(0, &["udp dst port 5301"])).expect("a port");
    let one = uplink.open_port(spec(1, &["udp dst port 5301 and dst host 192.0.2.1"])).expect("a port");
    close(all);
    assert_kept(bind(&stage.lab, host(5301)));
    uplink.release().expect("releasing undoes everything");
    drop(bind(&stage.lab, host(5301)).expect("the flows went with the uplink"));
    close(one);
    instance.close().expect("closing undoes everything");
}

#[rstest]
#[case::beside_addresses(port_addresses(0).to_vec())]
#[case::alone(Vec::new())]
fn answers_leave_with_the_macs_of_the_uplink_also_after_it_has_changed(#[case] addresses: Vec<IpAddr>) {
    let (stage, _instance, uplink) = scene();
    let asker = asker(&stage.lab);
    let texts = ["udp dst port 5301 and dst host 192.0.2.1"];
    let mut port = uplink.open_port(PortSpec { addresses, ..spec(0, &texts) }).expect("a port");
    let changed = MacAddr::new([2, 0, 0, 0, 0xca, 0xfe]);
    for mac in [stage.lab.card_mac(), changed] {
        if mac == changed {
            let links = stage.lab.host.links();
            links.set_mac(links.by_name(&device(CARD)).expect("the NIC").index, mac).expect("another MAC");
            assert_eq!(uplink.nic().mac, mac);
        }
        asker.send_to(b"a question", host(5301)).expect("sent");
        let (socket, deadline) = (port.socket(), Instant::now() + 2 * SECOND);
        let mut answers = Vec::new();
        while answers.is_empty() {
            assert!(Instant::now() < deadline, "no question reached the port");
            let mut frames = Vec::new();
            socket.wait(SECOND / 10).expect("a wait");
            socket.receive(64, &mut frames).expect("a sound ring");
            for mut frame in frames {
                let bytes = socket.bytes_mut(&mut frame);
                if bytes.get(36..38) != Some(&5301_u16.to_be_bytes()[..]) {
                    socket.release(frame);
                    continue;
                }
                // The ends of the packet are exchanged, which keeps its checksums.
                for (a, b, length) in [(0, 6, 6), (26, 30, 4), (34, 36, 2)] {
                    for at in 0..length {
                        bytes.swap(a + at, b + at);
                    }
                }
                bytes[6..12].copy_from_slice(&mac.octets());
                answers.push(frame);
            }
        }
        assert_eq!(socket.transmit(&mut answers).expect("a frame of ours"), 1);
        socket.flush().expect("a kick");
        let (length, from) = asker.recv_from(&mut [0; 64]).expect("an answer");
        assert_eq!((length, from), (10, host(5301)));
    }
    assert_accounted(&mut port);
    close(port);
}

#[test]
fn a_kill_leaves_neither_flows_nor_ports_that_are_kept() {
    if let Some(role) = Role::mine() {
        let instance = role.open();
        let uplink = manage(&instance, Mode::Native);
        let _port = uplink.open_port(spec(0, &["udp dst port 5301"])).expect("a port");
        assert_eq!(UdpSocket::bind(host(5301)).expect_err("it is kept").kind(), ErrorKind::AddrInUse);
        kill_at("claimed");
    }
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        let ended = Role::new(stage.name()).play(&stage.lab.host);
        assert_eq!(ended, Ended::Killed("claimed".into()));
        drop(bind(&stage.lab, host(5301)).expect("the socket went with its process"));
        stage.open().close().expect("closing undoes everything");
        stage.assert_as_before(&before);
        assert_reaches_host(&stage.lab, &asker(&stage.lab), 5301);
    });
}
