//! What the devices are told: the NIC's filters, and a pair's offloads and silence.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::common::child::{Ended, Role, kill_at};
use crate::common::*;
use rstest::rstest;
use xsknet_bpf::Mode;
use xsknet_link::{DeviceName, End, Ethtool, FilterAnswer, LinkStats, Links, MacAddr, Netns, Offload, VethPair};
use xsknet_port::{Port, PortSpec, Uplink, UplinkOptions};
use xsknet_testkit::{CARD, device, on_fresh_mounts, port_addresses};

/// What the NIC lets in, beside its own address.
fn filters(stage: &Stage) -> Vec<MacAddr> {
    let links = stage.lab.host.links();
    let mut filters = links.filters(links.by_name(&device(CARD)).expect("the NIC").index).expect("its filters");
    filters.sort();
    filters
}

fn promiscuity(stage: &Stage) -> u32 {
    stage.lab.host.links().by_name(&device(CARD)).expect("the NIC").promiscuity
}

/// `before` and these.
fn and(before: &[MacAddr], more: &[MacAddr]) -> Vec<MacAddr> {
    let mut all = [before, more].concat();
    all.sort();
    all
}

fn port_at(uplink: &Uplink, addresses: &[&str]) -> Port {
    let addresses = addresses.iter().map(|address| address.parse::<IpAddr>().expect("an address"));
    uplink.open_port(PortSpec::new(addresses)).expect("a port")
}

/// The group of a port's link-local address, which follows from its MAC.
fn own_group(port: &Port) -> MacAddr {
    MacAddr::solicited_node(port.info().mac.link_local_ipv6())
}

fn group(address: &str) -> MacAddr {
    MacAddr::solicited_node(address.parse::<Ipv6Addr>().expect("an address"))
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn the_card_lets_in_a_ports_mac_and_its_solicited_node_groups(#[case] mode: Mode) {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let (before, promiscuous) = (filters(&stage), promiscuity(&stage));
    let port = port_at(&uplink, &["192.0.2.10", "2001:db8::10", "2001:db8::20"]);
    let expected = [port.info().mac, group("2001:db8::10"), group("2001:db8::20"), own_group(&port)];
    assert_eq!(filters(&stage), and(&before, &expected));
    assert_eq!(promiscuity(&stage), promiscuous + 1, "a veth has no filters, and takes all instead");
    close(port);
    assert_eq!((filters(&stage), promiscuity(&stage)), (before, promiscuous));
}

#[test]
fn a_group_of_two_ports_goes_with_the_last() {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let before = filters(&stage);
    // Their last 24 bits are equal.
    let left = port_at(&uplink, &["2001:db8:1::10"]);
    let right = port_at(&uplink, &["2001:db8:2::10"]);
    let shared = group("2001:db8::10");
    let of_right = [right.info().mac, own_group(&right)];
    let of_left = [left.info().mac, own_group(&left)];
    assert_eq!(filters(&stage), and(&before, &[&[shared][..], &of_left, &of_right].concat()));
    close(left);
    assert_eq!(filters(&stage), and(&before, &[&[shared][..], &of_right].concat()));
    close(right);
    assert_eq!(filters(&stage), before);
}

#[test]
fn a_filter_that_was_there_before_survives_the_port() {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let links = stage.lab.host.links();
    let card = links.by_name(&device(CARD)).expect("the NIC").index;
    let (mac, shared) = (MacAddr::new([2, 0, 0, 0, 0, 7]), group("2001:db8::10"));
    for foreign in [mac, shared] {
        assert!(matches!(links.add_filter(card, foreign), Ok(FilterAnswer::Added)));
    }
    let before = filters(&stage);
    let [v4, v6] = port_addresses(0);
    let options = PortSpec { mac: Some(mac), ..PortSpec::new([v4, v6, mac.link_local_ipv6().into()]) };
    let port = uplink.open_port(options).expect("a port");
    assert_eq!(filters(&stage), and(&before, &[own_group(&port)]));
    close(port);
    assert_eq!(filters(&stage), before);
    instance.close().expect("closing undoes everything");
    assert_eq!(filters(&stage), before);
}

/// As VLAN devices have them.
#[test]
fn a_card_may_have_a_dot_in_its_name() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let links = stage.lab.host.links();
        let names = [device("eth0.100"), device("eth0.101")];
        let pair =
            links.add_veth(&VethPair::new(End::new(names[0].clone()), End::new(names[1].clone()))).expect("a pair");
        for index in [pair.outer, pair.inner] {
            links.set_up(index).expect("up");
        }
        let before = stage.snapshot();
        for mode in [Mode::Native, Mode::Skb] {
            let instance = stage.open();
            let options = UplinkOptions { device: names[0].clone(), mode };
            let uplink = instance.manage(&options).expect("an uplink");
            close(port(&uplink, 0));
            let kept = port(&uplink, 1);
            drop(instance);
            drop(kept);
            stage.assert_as_before(&before);
        }
    });
}

/// As the kernel does with LRO where a program in skb mode is attached: of all devices here a macvlan alone lets it be
/// wanted.
#[test]
fn an_offload_that_attaching_switches_is_as_wanted_before_afterwards() {
    if let Some(role) = Role::mine() {
        let instance = role.open();
        let _uplink = instance.manage(&UplinkOptions { device: device("mv0"), mode: Mode::Skb }).expect("an uplink");
        kill_at("managed");
    }
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let words = ["link", "add", "mv0", "link", CARD, "type", "macvlan", "mode", "passthru"];
        stage.lab.host.run("ip", &words).expect("a macvlan");
        stage.lab.host.run("ip", &["link", "set", "mv0", "up"]).expect("up");
        let ethtool = stage.lab.host.enter(|| Ethtool::here().expect("an ethtool socket"));
        let wanted = || {
            let features = ethtool.features(&device("mv0")).expect("features");
            features.iter().filter(|feature| feature.wanted).map(|feature| feature.name.clone()).collect::<Vec<_>>()
        };
        // It has none to offer, and remembers the wish.
        assert!(ethtool.set_features(&device("mv0"), &[("rx-lro", true)]).is_err());
        let before = wanted();
        assert!(before.iter().any(|name| name == "rx-lro"), "{before:?}");

        let instance = stage.open();
        let options = UplinkOptions { device: device("mv0"), mode: Mode::Skb };
        let uplink = instance.manage(&options).expect("an uplink");
        assert!(!wanted().iter().any(|name| name == "rx-lro"), "the kernel takes it back");
        assert!(
            uplink.info().attempts.iter().any(|attempt| attempt.step == "rx-lro off"),
            "{:?}",
            uplink.info().attempts
        );
        uplink.release().expect("releasing undoes everything");
        assert_eq!(wanted(), before);
        instance.close().expect("closing undoes everything");

        let ended = Role::new(stage.name()).play(&stage.lab.host);
        assert!(matches!(&ended, Ended::Killed(_)), "{ended:?}");
        assert_ne!(wanted(), before);
        stage.open().close().expect("closing undoes everything");
        assert_eq!(wanted(), before);
    });
}

/// Both ends of a port's pair, each with the namespace that it is in.
fn ends<'a>(stage: &'a Stage, inside: &'a Netns, port: &Port) -> [(&'a Netns, DeviceName); 2] {
    [(stage.lab.host.namespace(), port.info().outer.clone()), (inside, port.info().inner.clone())]
}

#[test]
fn both_ends_of_a_pair_have_no_offload_that_a_wire_could_not_carry() {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let port = port(&uplink, 0);
    for (namespace, end) in ends(&stage, &stage.inside(), &port) {
        let features = Ethtool::in_namespace(namespace).expect("an ethtool socket").features(&end).expect("features");
        for offload in Offload::QUIET {
            let names: Vec<_> = features.iter().filter(|feature| offload.covers(&feature.name)).collect();
            assert!(!names.is_empty() && names.iter().all(|feature| !feature.active), "{end}: {names:?}");
        }
        let device = Links::in_namespace(namespace).expect("a netlink socket").by_name(&end).expect("the device");
        assert_eq!((device.mtu, device.up, device.tx_queues, device.rx_queues), (1500, true, 1, 1), "{end}");
    }
    // A NIC that took tags out of frames would hide them.
    let card = stage.lab.host.enter(|| Ethtool::here().expect("an ethtool socket").features(&device(CARD)));
    let card = card.expect("features");
    assert!(card.names(Offload::VlanRx).iter().all(|name| !card.is_active(name)));
    close(port);
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn an_idle_port_is_silent(#[case] mode: Mode) {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let port = port(&uplink, 0);
    let inside = stage.inside();
    let look = || {
        let stats = ends(&stage, &inside, &port).map(|(namespace, end)| {
            let LinkStats { rx_packets, tx_packets, .. } =
                Links::in_namespace(namespace).expect("a netlink socket").by_name(&end).expect("the device").stats;
            (rx_packets, tx_packets)
        });
        let statistics = port.statistics().expect("statistics");
        (stats, statistics.guard, statistics.program)
    };
    let before = look();
    // A fresh pair left alone sends its first frame within the first second.
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        assert_eq!(look(), before);
        std::thread::sleep(Duration::from_millis(100));
    }
    close(port);
}
