//! Frames along the whole path: wire, NIC, uplink program, DEVMAP, pair, XSKMAP, socket, and back out.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::common::numbered::end;
use crate::common::*;
use rstest::rstest;
use xsknet_bpf::{Mode, Obtained};
use xsknet_link::XdpFeatures;
use xsknet_port::PortSpec;
use xsknet_testkit::{Asker, CARD, FAR, FarSource, HOST4, HOST6, NumberedFrames, REMOTE4, Wire, port_addresses};
use xsknet_xsk::{BindMode, BindRequest, Layout};

/// Whether the NIC said that it transmits redirected frames.
fn transmits(features: Option<XdpFeatures>) -> bool {
    features.expect("this kernel tells").contains(XdpFeatures::NDO_XMIT)
}

#[rstest]
#[case::native(Mode::Native, Obtained::Native)]
#[case::skb(Mode::Skb, Obtained::Skb)]
#[case::unspecified(Mode::Unspecified, Obtained::Native)]
fn a_thousand_pings_of_each_version_are_answered(#[case] mode: Mode, #[case] obtained: Obtained) {
    let stage = Stage::plain();
    let before = stage.snapshot();
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    assert_eq!(uplink.info().mode, obtained);
    assert_eq!([uplink.info().features_before, uplink.info().features_after].map(transmits), [true; 2]);
    let port = port(&uplink, 0);
    assert_eq!((port.info().guard_mode, port.info().port_mode), (obtained, Obtained::Native));
    let addresses = port_addresses(0);
    let serving = serve(port);
    for address in addresses {
        ping(&stage.lab, address, 1000);
    }
    let mut port = finish(serving);
    assert_accounted(&mut port);
    let statistics = uplink.statistics().expect("statistics");
    assert!(statistics.equality().holds(), "{statistics:?}");
    assert!(statistics.program.to_port() >= 2000);
    close(port);
    instance.close().expect("closing undoes everything");
    stage.assert_as_before(&before);
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn udp_comes_back_identical_at_every_length(#[case] mode: Mode) {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let serving = serve(port(&uplink, 0));
    for address in port_addresses(0) {
        for length in [1, 64, 512, 1452, if address.is_ipv4() { 1472 } else { 1452 }] {
            let payload: Vec<u8> = (0..length).map(|n| (n * 7 + length) as u8).collect();
            let answer = stage
                .lab
                .remote
                .udp_echo(address, &payload)
                .unwrap_or_else(|error| panic!("{address} {length}: {error}"));
            assert_eq!(answer, payload, "{address} {length}");
        }
    }
    let mut port = finish(serving);
    assert_accounted(&mut port);
    close(port);
}

/// 4,096 bytes hold 3,840 from the wire: an MTU of 3,822.
#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn larger_frames_carry_a_larger_mtu(#[case] mode: Mode) {
    let stage = Stage::new(Wire { mtu: 3500, ..Wire::default() });
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let layout = Layout::builder().frame_size(4096).build().expect("a layout");
    let port = uplink.open_port(PortSpec { layout, ..PortSpec::new(port_addresses(0)) }).expect("a port");
    assert_eq!(port.info().mtu, 3500);
    let serving = serve(port);
    for address in port_addresses(0) {
        let longest = vec![7; if address.is_ipv4() { 3472 } else { 3452 }];
        assert_eq!(stage.lab.remote.udp_echo(address, &longest).expect("an echo"), longest, "{address}");
    }
    let mut port = finish(serving);
    assert_accounted(&mut port);
    close(port);
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn answers_leave_by_the_card_with_right_checksums(#[case] mode: Mode) {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let port = port(&uplink, 0);
    let mac = port.info().mac.to_string();
    let serving = serve(port);
    let mut tcpdump =
        stage.lab.remote.spawn("tcpdump", &["-i", FAR, "-nn", "-e", "-vv", "-l", "-U", "ether", "src", &mac]);
    tcpdump.wait_for(&["listening on"], 10 * SECOND);
    for address in port_addresses(0) {
        ping(&stage.lab, address, 1);
        stage.lab.remote.udp_echo(address, b"checked by tcpdump").expect("an echo");
        let address = address.to_string();
        tcpdump.wait_for(&[&format!("{address}.7 >"), "udp sum ok"], 5 * SECOND);
    }
    tcpdump.wait_for(&["icmp6", "echo reply", "icmp6 sum ok"], 5 * SECOND);
    tcpdump.wait_for(&["ICMP echo reply"], 5 * SECOND);
    let lines = tcpdump.interrupt();
    assert!(lines.iter().all(|line| !line.contains("bad") && !line.contains("wrong")), "{lines:#?}");
    close(finish(serving));
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn what_no_port_claims_still_reaches_the_host(#[case] mode: Mode) {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let serving = serve(port(&uplink, 0));
    ping(&stage.lab, HOST4.into(), 200);
    ping(&stage.lab, HOST6.into(), 200);
    for address in [IpAddr::from(HOST4), HOST6.into()] {
        let listener = stage.lab.host.enter(|| TcpListener::bind((address, 0))).expect("a listener");
        let to = listener.local_addr().expect("bound");
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let echoed = std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut all = Vec::new();
                stream.read_to_end(&mut all).expect("all of it");
                stream.write_all(&all).expect("all of it back");
            });
            stage.lab.remote.enter(|| {
                let mut stream = TcpStream::connect_timeout(&to, 5 * SECOND).expect("TCP to the host");
                stream.set_read_timeout(Some(10 * SECOND)).expect("a timeout");
                stream.write_all(&sent).expect("sent");
                stream.shutdown(std::net::Shutdown::Write).expect("half closed");
                let mut all = Vec::new();
                stream.read_to_end(&mut all).expect("all of it back");
                all
            })
        });
        assert!(echoed == sent, "TCP to {address} came back altered");
    }
    ping(&stage.lab, port_addresses(0)[0], 50);
    assert!(uplink.statistics().expect("statistics").program.passed() > 400);
    close(finish(serving));
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn two_ports_get_their_own_frames_and_reach_one_another(#[case] mode: Mode) {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let mut left = port(&uplink, 0);
    let right = port(&uplink, 1);
    let right_mac = right.info().mac;
    let serving = serve(right);

    let from = port_addresses(0);
    let to = port_addresses(1);
    let out_before = left.statistics().expect("statistics").guard.to_uplink();
    let (mac, addresses) = (left.info().mac, left.info().addresses.clone());
    for (from, to) in from.into_iter().zip(to) {
        let mut asker = Asker::new(left.socket(), mac, None, &addresses);
        assert_eq!(asker.resolve(from, to).expect("a working socket"), Some(right_mac), "{to}");
        let asked = asker.ping(from, (right_mac, to), 200).expect("a working socket");
        assert_eq!((asked.lost, asked.times.len()), (0, 200));
        let asked = asker.udp(from, (right_mac, to), 100, 200).expect("a working socket");
        assert_eq!((asked.lost, asked.times.len()), (0, 200));
    }
    // None of it went over the wire.
    assert_eq!(left.statistics().expect("statistics").guard.to_uplink(), out_before);
    assert!(left.statistics().expect("statistics").guard.to_port() >= 800);

    // From outside each gets its own: the neighbour's counters stand still.
    let other_before = left.statistics().expect("statistics").program;
    ping(&stage.lab, to[0], 100);
    ping(&stage.lab, to[1], 100);
    assert_eq!(left.statistics().expect("statistics").program, other_before);

    assert_accounted(&mut left);
    let mut right = finish(serving);
    assert_accounted(&mut right);
    close(left);
    close(right);
}

#[test]
fn a_far_end_that_takes_no_redirects_is_reached_all_the_same() {
    let stage = Stage::new(Wire { far_gro: false, ..Wire::default() });
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    assert_eq!(uplink.info().mode, Obtained::Native);
    assert_eq!([uplink.info().features_before, uplink.info().features_after].map(transmits), [false; 2]);
    let port = port(&uplink, 0);
    assert_eq!(port.info().guard_mode, Obtained::Skb);
    assert_eq!(port.info().port_mode, Obtained::Native);
    let told = port.info().attempts.iter().find(|attempt| attempt.hook == "guard").expect("the guard's story");
    assert!(told.step == "native" && told.why.contains("ndo-xmit") && told.why.contains(CARD), "{told}");
    let serving = serve(port);
    for address in port_addresses(0) {
        ping(&stage.lab, address, 300);
    }
    let mut port = finish(serving);
    assert_accounted(&mut port);
    close(port);
}

#[test]
fn zero_copy_falls_back_to_copy_on_a_pair_and_says_why() {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let port = port(&uplink, 0);
    assert_eq!(port.info().bind_mode, Some(BindMode::Copy));
    let bound: Vec<_> = port.info().attempts.iter().filter(|attempt| attempt.hook == "bind").collect();
    assert_eq!(bound[0].errno, Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()), "{bound:?}");
    assert!(bound.iter().any(|attempt| attempt.errno.is_none()), "{bound:?}");
    close(port);

    let options = PortSpec { bind: BindRequest::ZeroCopy, ..PortSpec::new(port_addresses(0)) };
    let error = uplink.open_port(options).expect_err("veth has no zero-copy");
    assert!(chain(&error).iter().any(|told| told.contains("zero-copy")), "{error:?}");
}

#[test]
fn a_port_in_a_vlan_speaks_tagged_frames_and_sees_no_others() {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let tagged = uplink.open_port(PortSpec { vlan: Some(42), ..PortSpec::new(port_addresses(0)) }).expect("a port");
    assert_eq!(tagged.statistics().expect("statistics").program.seen(), 1, "its own self-test frame, tagged");
    // Untagged, nobody has its addresses.
    let address = port_addresses(0)[0].to_string();
    let output = stage.lab.remote.run("ping", &["-c", "2", "-i", "0.2", "-W", "1", &address]);
    assert!(!output.status.success());
    assert_eq!(tagged.statistics().expect("statistics").program.seen(), 1);
    assert_eq!(tagged.statistics().expect("statistics").guard.dropped(), 0);
    assert!(uplink.statistics().expect("statistics").program.drops().all(|(_, count)| count == 0));
    close(tagged);
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn a_port_opens_although_more_frames_come_for_it_than_it_can_hold(#[case] mode: Mode) {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let layout = Layout::builder().rx(64).build().expect("a layout");
    let name = Some("under-fire".into()); // and so the same MAC each time
    let asked = PortSpec { name, layout, ..PortSpec::new(port_addresses(0)) };
    let first = uplink.open_port(asked.clone()).expect("a port");
    let from = (stage.lab.far_mac(), SocketAddr::new(REMOTE4.into(), 9));
    let frames = NumberedFrames::new(from, end(&first));
    close(first);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            stage.lab.remote.enter(|| {
                let mut source = FarSource::skb(&stage.lab, &frames);
                while !over.load(Ordering::Relaxed) {
                    source.send(64);
                }
            });
        });
        let opened: Vec<_> = (0..10).map(|_| uplink.open_port(asked.clone()).map(close)).collect();
        over.store(true, Ordering::Relaxed);
        for port in opened {
            port.expect("a port");
        }
    });
    instance.close().expect("closing undoes everything");
}
