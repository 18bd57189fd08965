//! Taps: copies of what passes the uplink, which goes on untouched.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::common::numbered::send_from;
use crate::common::*;
use crate::flows::{Client, flows};
use rstest::rstest;
use xsknet_bpf::{Counter, Mode};
use xsknet_link::MacAddr;
use xsknet_port::{
    FlowChange, FlowClaimError, Group, GroupChange, GroupError, OpenPortError, PortSpec, RingsWish, Tap, TapRefused,
    TapWish, Uplink,
};
use xsknet_testkit::{CARD, Ethernet, HOST4, Lab, REMOTE4, device, far_socket, port_addresses, wait_until};

const PORT: u16 = 7000;

pub fn tap() -> TapWish {
    let tap = Tap { received: true, sent: true, flows: flows(&["udp port 7000"]), sample: 1, snap: Tap::MAX_SNAP };
    TapWish { tap, promiscuous: false }
}

pub fn spec(tap: TapWish) -> PortSpec {
    PortSpec { rings: RingsWish::Bpf, tap: Some(tap), ..PortSpec::new([]) }
}

/// From the remote host to a MAC, with this text.
fn datagram(lab: &Lab, mac: MacAddr, to: IpAddr, text: &str) -> Vec<u8> {
    let from = SocketAddr::new(REMOTE4.into(), PORT);
    Ethernet::new(mac, lab.far_mac()).udp(from, SocketAddr::new(to, PORT), text.as_bytes())
}

/// All frames that have come by now and are of the test.
fn received(client: &mut Client, found: &mut Vec<Vec<u8>>) {
    let (socket, mut frames) = (client.socket(), Vec::new());
    socket.receive(64, &mut frames).expect("a sound ring");
    for frame in frames {
        found.push(socket.bytes(&frame).to_vec());
        socket.release(frame);
    }
}

#[track_caller]
fn expect(client: &mut Client, expected: &[Vec<u8>]) {
    let mut found = Vec::new();
    wait_until("all copies", 2 * SECOND, || {
        received(client, &mut found);
        found.len() >= expected.len()
    });
    assert_eq!(found, expected);
}

fn card(lab: &Lab) -> xsknet_link::Device {
    lab.host.links().by_name(&device(CARD)).expect("the NIC")
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn a_tap_gets_what_comes_in_and_what_the_host_sends_and_both_go_on(#[case] mode: Mode) {
    let stage = Stage::plain();
    let before = stage.snapshot();
    let (lab, mut far) = (&stage.lab, far_socket(&stage.lab));
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let mut port = Client::open(&uplink, PortSpec::new(port_addresses(0)));
    let mut tap = Client::open(&uplink, spec(tap()));
    let of_host = lab.host.enter(|| UdpSocket::bind((HOST4, PORT)).expect("a socket"));
    of_host.set_read_timeout(Some(SECOND)).expect("a timeout");

    let own = port.info().mac;
    let to_port = datagram(lab, own, port.info().addresses[0], "to the port");
    let to_host = datagram(lab, card(lab).mac.expect("a MAC"), HOST4.into(), "to the host");
    let others = Ethernet::new(own, lab.far_mac());
    let other = others.udp(SocketAddr::new(REMOTE4.into(), 1), SocketAddr::new(port.info().addresses[0], 2), b"other");
    for frame in [&to_port, &other, &to_host] {
        send_from(&mut far, frame);
    }
    expect(&mut tap, &[to_port.clone(), to_host.clone()]);
    let mut bytes = [0; 64];
    let (length, from) = of_host.recv_from(&mut bytes).expect("the host gets its own");
    assert_eq!(&bytes[..length], b"to the host");
    port.expect_datagram(PORT, b"to the port");

    of_host.send_to(b"from the host", from).expect("sent");
    let mut found = Vec::new();
    wait_until("a copy of what the host sends", 2 * SECOND, || {
        received(&mut tap, &mut found);
        !found.is_empty()
    });
    assert!(found.len() == 1 && found[0].ends_with(b"from the host"), "{found:02x?}");

    let copies = tap.statistics().copies;
    assert_eq!((copies.seen(), copies[Counter::ToRing]), (3, 3), "{copies:?}");
    wait_until("rest", 2 * SECOND, || uplink.statistics().expect("statistics").equality().holds());
    tap.close();
    send_from(&mut far, &to_port);
    port.expect_datagram(PORT, b"to the port");
    port.close();
    assert_eq!(uplink.statistics().expect("statistics").closed.copies.seen(), 3);
    drop(of_host);
    drop(uplink);
    instance.close().expect("closing undoes everything");
    stage.assert_as_before(&before);
}

#[test]
fn the_nic_is_promiscuous_as_long_as_a_tap_asks_for_it() {
    let stage = Stage::plain();
    let before = stage.snapshot();
    let (lab, mut far) = (&stage.lab, far_socket(&stage.lab));
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let users = || card(lab).promiscuity;
    let none = users();
    let mut tap_of_all = Client::open(&uplink, spec(TapWish { promiscuous: true, ..tap() }));
    assert_eq!(users(), none + 1);
    let frame = datagram(lab, MacAddr::new([2, 0, 0, 0, 0, 77]), HOST4.into(), "to another station");
    send_from(&mut far, &frame);
    expect(&mut tap_of_all, std::slice::from_ref(&frame));
    let second = Client::open(&uplink, spec(TapWish { promiscuous: true, ..tap() }));
    assert_eq!(users(), none + 2);
    tap_of_all.close();
    assert_eq!(users(), none + 1);
    second.close();
    assert_eq!(users(), none);
    drop(uplink);
    instance.close().expect("closing undoes everything");
    stage.assert_as_before(&before);
}

fn refused(uplink: &Uplink, spec: PortSpec) -> TapRefused {
    match uplink.open_rings(&spec) {
        Err(OpenPortError::Tap(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_tap_cannot_be_or_do_is_refused_and_nothing_is_left() {
    let stage = Stage::plain();
    let before = stage.snapshot();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let a_tap = || spec(tap());
    let with = |change: fn(&mut Tap)| {
        let mut wish = tap();
        change(&mut wish.tap);
        spec(wish)
    };
    for (wrong, expected) in [
        (PortSpec { addresses: port_addresses(0).to_vec(), ..a_tap() }, "a tap cannot have addresses"),
        (PortSpec { flows: flows(&["udp"]), ..a_tap() }, "a tap cannot have flows outside of `tap`"),
        (PortSpec { groups: [Group::BROADCAST].into(), ..a_tap() }, "a tap cannot have groups"),
        (PortSpec { vlan: Some(42), ..a_tap() }, "a tap cannot have a VLAN"),
        (PortSpec { mtu: Some(1000), ..a_tap() }, "a tap cannot have an MTU"),
        (PortSpec { rings: RingsWish::Xsk, ..a_tap() }, "a tap needs BPF rings"),
        (PortSpec { rings: RingsWish::Auto, ..a_tap() }, "a tap needs BPF rings"),
        (
            with(|tap| (tap.received, tap.sent) = (false, false)),
            "a tap of neither received nor sent frames would get nothing",
        ),
        (with(|tap| tap.sample = 0), "a tap cannot sample one of 0 frames"),
        (with(|tap| tap.snap = 63), "a tap cannot copy 63 bytes of a frame: it copies from 64 to 1536 at most"),
        (with(|tap| tap.flows = vec![Default::default(); 33]), "a tap takes 32 flows, not 33"),
    ] {
        let error = refused(&uplink, wrong);
        assert_eq!(error.to_string(), expected);
        assert!(error.hint().is_some(), "{error}");
    }
    let Client::Rings(port, socket) = Client::open(&uplink, a_tap()) else { unreachable!("it asks for them") };
    let error = port.change_flows(FlowChange::Claim, &flows(&["udp dst port 9"]), true).expect_err("a tap");
    assert!(matches!(&error, FlowClaimError::OfTap { .. }) && error.hint().is_some(), "{error}");
    let error = port.change_groups(GroupChange::Join, &[Group::BROADCAST].into()).expect_err("a tap");
    assert!(matches!(&error, GroupError::OfTap { .. }) && error.hint().is_some(), "{error}");
    port.close().expect("closing undoes everything");
    drop(socket);
    drop(uplink);
    instance.close().expect("closing undoes everything");
    stage.assert_as_before(&before);
}
