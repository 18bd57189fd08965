//! A port in a VLAN speaks tagged frames both ways and sees no others; a port in none sees no tagged ones.

use std::net::IpAddr;

use crate::common::numbered::{send, send_from};
use crate::common::*;
use rstest::rstest;
use xsknet_bpf::testbed::VlanEdge;
use xsknet_bpf::{Counter, Counters, Mode};
use xsknet_link::{Ethtool, MacAddr};
use xsknet_port::{Port, PortSpec, Rights, Uplink};
use xsknet_testkit::{Ethernet, FAR, HOST4, Lab, REMOTE4, device, far_socket, port_addresses, wait_until};

const VLAN: u16 = 42;
const MAC: MacAddr = MacAddr::new([0x02, 0x42, 0, 0, 0, 0x01]);

/// With the right to tags within its own.
fn options(vlan: Option<u16>) -> PortSpec {
    let rights = Rights { inner_tags: true, ..Rights::default() };
    PortSpec { vlan: vlan.map(u32::from), mac: Some(MAC), rights, ..PortSpec::new(port_addresses(0)) }
}

fn port_in(uplink: &Uplink, vlan: Option<u16>) -> Port {
    uplink.open_port(options(vlan)).expect("a port")
}

/// Makes the remote kernel a host of one VLAN.
fn edge(lab: &Lab, vlan: u16) -> VlanEdge {
    let far = lab.remote.links().by_name(&device(FAR)).expect("the wire's far end").index.get();
    lab.remote.enter(|| VlanEdge::attach(far, vlan)).expect("the edge of a VLAN")
}

fn program(port: &Port) -> Counters {
    port.statistics().expect("statistics").program
}

/// An echo request from the remote host, with these tags in the frame.
fn echo(lab: &Lab, tags: &[[u8; 4]]) -> Vec<u8> {
    let (from, to) = (IpAddr::from(REMOTE4), port_addresses(0)[0]);
    let frame = Ethernet::new(MAC, lab.far_mac()).echo(from, to, 1, 1, b"tagged by hand");
    [&frame[..12], &tags.concat(), &frame[12..]].concat()
}

const NO_TAG: &[[u8; 4]] = &[];
const VLAN_42: &[[u8; 4]] = &[[0x81, 0, 0, 42]];
const VLAN_42_URGENT: &[[u8; 4]] = &[[0x81, 0, 0xe0, 42]];
const VLAN_42_AND_7: &[[u8; 4]] = &[[0x81, 0, 0, 42], [0x81, 0, 0, 7]];
const VLAN_43: &[[u8; 4]] = &[[0x81, 0, 0, 43]];
const PRIORITY: &[[u8; 4]] = &[[0x81, 0, 0xe0, 0]];
const SERVICE_42: &[[u8; 4]] = &[[0x88, 0xa8, 0, 42]];
const SERVICE_42_AND_42: &[[u8; 4]] = &[[0x88, 0xa8, 0, 42], [0x81, 0, 0, 42]];
const VLAN_7_AND_42: &[[u8; 4]] = &[[0x81, 0, 0, 7], [0x81, 0, 0, 42]];
const THREE_TAGS: &[[u8; 4]] = &[[0x81, 0, 0, 42]; 3];

const ALL: [(&str, &[[u8; 4]]); 10] = [
    ("no tag", NO_TAG),
    ("42", VLAN_42),
    ("42, urgent", VLAN_42_URGENT),
    ("7 in 42", VLAN_42_AND_7),
    ("43", VLAN_43),
    ("priority alone", PRIORITY),
    ("service 42", SERVICE_42),
    ("42 in service 42", SERVICE_42_AND_42),
    ("42 in 7", VLAN_7_AND_42),
    ("three tags", THREE_TAGS),
];
const IN_42: [&str; 3] = ["42", "42, urgent", "7 in 42"];

#[rstest]
#[case::none(None, &["no tag"])]
#[case::forty_two(Some(VLAN), &IN_42)]
fn a_port_sees_the_frames_of_its_vlan_and_no_others(
    #[case] vlan: Option<u16>,
    #[case] its: &[&str],
    #[values(Mode::Native, Mode::Skb)] mode: Mode,
) {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let mut port = port_in(&uplink, vlan);
    let mut far = far_socket(&stage.lab);
    let uplink_program = || uplink.statistics().expect("statistics").program;
    for (what, tags) in ALL {
        let (before, uplink_before) = (program(&port), uplink_program());
        let frame = echo(&stage.lab, tags);
        send_from(&mut far, &frame);
        if !its.contains(&what) {
            wait_until(what, SECOND, || uplink_program().passed() > uplink_before.passed());
            assert_eq!((program(&port), uplink_program().to_port()), (before, uplink_before.to_port()), "{what}");
            continue;
        }
        wait_until(what, SECOND, || program(&port).to_socket() > before.to_socket());
        let mut got = Vec::new();
        assert_eq!(port.socket().receive(8, &mut got).expect("a working socket"), 1, "{what}");
        let got = got.pop().expect("one");
        assert_eq!(port.socket().bytes(&got), frame, "{what}: as it was sent, tags and all");
        port.socket().release(got);
    }
    assert_accounted(&mut port);
    close(port);
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn a_tagged_question_gets_a_tagged_answer(#[case] mode: Mode) {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let serving = serve(port_in(&uplink, Some(VLAN)));
    let mac = MAC.to_string();
    let mut tcpdump =
        stage.lab.remote.spawn("tcpdump", &["-i", FAR, "-nn", "-e", "-v", "-l", "-U", "ether", "src", &mac]);
    tcpdump.wait_for(&["listening on"], 10 * SECOND);
    let mut far = far_socket(&stage.lab);
    send_from(&mut far, &echo(&stage.lab, VLAN_42));
    tcpdump.wait_for(&["vlan 42, p 0, ethertype IPv4"], 5 * SECOND);
    tcpdump.wait_for(&["ICMP echo reply"], 5 * SECOND);
    send_from(&mut far, &echo(&stage.lab, VLAN_42_AND_7));
    tcpdump.wait_for(&["vlan 42", "vlan 7"], 5 * SECOND);
    let lines = tcpdump.interrupt();
    assert!(lines.iter().all(|line| !line.contains(&mac) || line.contains("vlan 42")), "{lines:#?}");
    close(finish(serving));
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn a_kernel_in_the_same_vlan_talks_to_the_port(#[case] mode: Mode) {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let port = port_in(&uplink, Some(VLAN));
    let edge = edge(&stage.lab, VLAN);
    let serving = serve(port);
    for address in port_addresses(0) {
        ping(&stage.lab, address, 200);
        assert_eq!(stage.lab.remote.udp_echo(address, b"through a VLAN").expect("an echo"), b"through a VLAN");
    }
    // The NIC's own host is in no VLAN.
    let host = HOST4.to_string();
    assert!(!stage.lab.remote.run("ping", &["-c", "2", "-i", "0.2", "-W", "1", &host]).status.success());
    let mut port = finish(serving);
    assert_eq!(port.statistics().expect("statistics").guard.dropped(), 0);
    assert_accounted(&mut port);
    drop(edge);
    close(port);
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn three_ports_are_alike_but_for_their_vlan_and_each_answers_in_its_own(#[case] mode: Mode) {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let ports = [None, Some(42), Some(43)].map(|vlan| port_in(&uplink, vlan));
    assert!(uplink.open_port(options(Some(42))).is_err(), "in one VLAN a MAC is one port's");
    let mut serving: Vec<_> = ports.into_iter().map(serve).collect();
    let sums = || {
        let all = uplink.port_statistics().expect("statistics");
        all.into_iter().map(|(_, statistics)| statistics.program.seen()).collect::<Vec<_>>()
    };
    for (which, vlan) in [None, Some(42), Some(43)].into_iter().enumerate() {
        let edge = vlan.map(|vlan| edge(&stage.lab, vlan));
        let before = sums();
        for address in port_addresses(0) {
            ping(&stage.lab, address, 50);
        }
        for (other, (before, after)) in before.into_iter().zip(sums()).enumerate() {
            assert_eq!(after > before, other == which, "VLAN {vlan:?}: port {other} saw {} frames", after - before);
        }
        drop(edge);
    }
    for serving in serving.drain(..) {
        let mut port = finish(serving);
        assert_eq!(port.statistics().expect("statistics").guard.dropped(), 0);
        assert_accounted(&mut port);
        close(port);
    }
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn what_a_port_sends_into_another_vlan_is_dropped(#[case] mode: Mode) {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let mut port = port_in(&uplink, Some(VLAN));
    let neighbour = uplink.open_port(PortSpec { vlan: Some(43), ..PortSpec::new(port_addresses(1)) }).expect("a port");
    let (own, at) = (port_addresses(0)[0], port_addresses(1)[0]);
    let frame = Ethernet::new(neighbour.info().mac, MAC).echo(own, at, 1, 1, b"");
    let guard = |port: &Port| port.statistics().expect("statistics").guard;
    for (what, tags) in ALL {
        let before = guard(&port);
        send(&mut port, &[&frame[..12], &tags.concat(), &frame[12..]].concat());
        wait_until(what, SECOND, || guard(&port).seen() > before.seen());
        // In its own VLAN the neighbour's MAC is a stranger's, out on the wire.
        let expected = if IN_42.contains(&what) { Counter::ToUplink } else { Counter::Vlan };
        let moved = guard(&port) - before;
        assert_eq!((moved.seen(), moved.total(), moved[expected]), (1, 1, 1), "{what}: {moved:?}");
    }
    assert_eq!(program(&neighbour).seen(), 1, "its self-test's frame");
    assert_accounted(&mut port);
    close(port);
    close(neighbour);
}

/// A limit, not a wish. A veth's far end may leave a tag beside the frame (`tx-vlan-hw-insert`, on by default), where
/// no XDP program can see it: to a port in no VLAN it is a frame without a tag, and to a port in the VLAN it is none of
/// its own. The near end cannot prevent it, so the owner of the far end of a veth uplink must switch that off, as the
/// lab does.
#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn a_tag_beside_the_frame_is_seen_by_no_program(#[case] mode: Mode) {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let ethtool = Ethtool::in_namespace(stage.lab.remote.namespace()).expect("an ethtool socket");
    ethtool.set_features(&device(FAR), &[("tx-vlan-hw-insert", true)]).expect("tags beside the frame");
    let [untagged, tagged] = [None, Some(VLAN)].map(|vlan| port_in(&uplink, vlan));
    let before = (program(&untagged), program(&tagged));
    let edge = edge(&stage.lab, VLAN);
    // An ARP request, sent by the remote kernel into VLAN 42.
    let address = port_addresses(0)[0].to_string();
    let ping = stage.lab.remote.run("ping", &["-c", "1", "-W", "1", &address]);
    assert!(!ping.status.success());
    assert!(program(&untagged).seen() > before.0.seen());
    assert_eq!(program(&tagged), before.1);
    drop(edge);
    close(untagged);
    close(tagged);
}
