//! Devices that others take away: the loss is told, and closing cleans up what is left.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use crate::common::bypass::bypass;
use crate::common::*;
use rstest::rstest;
use xsknet_bpf::{Counter, Mode};
use xsknet_link::{DeviceName, Ethtool, MacAddr, Netns, Offload};
use xsknet_port::{Group, Instance, Loss, NicState, Notice, OpenPortError, Port, PortSpec, Watch};
use xsknet_testkit::{CARD, HOST4, Machine, Snapshot, device, on_fresh_mounts, port_addresses, wait_until};

fn watch(instance: &Instance) -> (Watch, Receiver<Notice>) {
    let (tell, told) = channel();
    let hear = move |notice| tell.send(notice).expect("the test listens");
    (instance.watch(hear).expect("a watch"), told)
}

#[track_caller]
fn next(told: &Receiver<Notice>) -> Notice {
    told.recv_timeout(3 * SECOND).expect("something is told")
}

#[track_caller]
fn next_loss(told: &Receiver<Notice>) -> Loss {
    loop {
        if let Notice::Lost(loss) = next(told) {
            return loss;
        }
    }
}

fn delete(stage: &Stage, name: &DeviceName) {
    let links = stage.lab.host.links();
    links.delete(links.by_name(name).expect("the device").index).expect("deleted");
}

/// All but the devices: files, mounts, pins, BPF objects.
fn ground(nowhere: &Netns) -> Snapshot {
    Snapshot::take(nowhere, &[Path::new("/run/xsknet"), Path::new("/sys/fs/bpf")])
}

fn delete_card(stage: &Stage) {
    delete(stage, &device(CARD));
}

fn move_card(stage: &Stage) {
    let links = stage.lab.host.links();
    let card = links.by_name(&device(CARD)).expect("the NIC").index;
    links.move_to(card, stage.lab.remote.namespace()).expect("moved");
}

#[rstest]
#[case::deleted_native(Mode::Native, delete_card)]
#[case::deleted_skb(Mode::Skb, delete_card)]
#[case::moved_away(Mode::Native, move_card)]
fn a_card_that_is(#[case] mode: Mode, #[case] lose: fn(&Stage)) {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let nowhere = Netns::create().expect("a namespace");
        let before = ground(&nowhere);
        let instance = stage.open();
        let uplink = manage(&instance, mode);
        let (lost, left) = (port(&uplink, 0), port(&uplink, 1));
        let (_watch, told) = watch(&instance);
        lose(&stage);
        assert_eq!(next_loss(&told), Loss::Uplink { device: device(CARD) });
        close(lost);
        let error = uplink.open_port(xsknet_port::PortSpec::new(port_addresses(2))).expect_err("a port of no NIC");
        assert!(chain(&error).iter().any(|text| text.contains("does not exist")), "{:?}", chain(&error));
        uplink.release().expect("releasing undoes everything");
        close(left);
        instance.close().expect("closing undoes everything");
        assert_eq!(stage.lab.host.links().list().expect("a list").len(), 1, "only lo is left");
        if let Err(difference) = before.wait_for(PATIENCE, || ground(&nowhere)) {
            panic!("not as before:\n{difference}");
        }
    });
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn a_card_that_is_moved_away_is_given_back_as_it_was(#[case] mode: Mode) {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let elsewhere = Machine::new("elsewhere").expect("a namespace");
        // A namespace is found by those who are in it.
        let resident = elsewhere.spawn("sleep", &["60"]);
        let state = |machine: &Machine| {
            let card = machine.links().by_name(&device(CARD)).expect("the NIC");
            let ethtool = Ethtool::in_namespace(machine.namespace()).expect("ethtool");
            (card.promiscuity, card.xdp, ethtool.features(&card.name).expect("features"))
        };
        let before = state(&stage.lab.host);
        let instance = stage.open();
        let uplink = manage(&instance, mode);
        let open = port(&uplink, 0);
        assert_ne!(state(&stage.lab.host).2, before.2, "offloads are switched off for as long");
        stage.lab.host.links().move_to(uplink.info().index, elsewhere.namespace()).expect("moved");
        close(open);
        uplink.release().expect("releasing undoes everything");
        instance.close().expect("closing undoes everything");
        let links = elsewhere.links();
        links.set_up(links.by_name(&device(CARD)).expect("the NIC").index).expect("up");
        assert_eq!(state(&elsewhere), before);
        resident.terminate();
    });
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn a_pair_that_is_deleted_takes_nothing_else_with_it(#[case] mode: Mode) {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        let instance = stage.open();
        let (_watch, told) = watch(&instance);
        let uplink = manage(&instance, mode);
        // Closing is not a loss.
        close(port(&uplink, 0));
        let (lost, other) = (port(&uplink, 0), port(&uplink, 1));
        let serving = serve(other);
        delete(&stage, &lost.info().outer);
        assert_eq!(next_loss(&told), Loss::Port { uplink: device(CARD), key: lost.info().key, change: None });
        lost.statistics().expect("what can still be read");
        ping(&stage.lab, port_addresses(1)[0], 50);
        close(lost);
        let again = port(&uplink, 0);
        close(again);
        close(finish(serving));
        uplink.release().expect("releasing undoes everything");
        assert_eq!(told.try_recv().ok(), None, "closing and releasing are not losses");
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

#[test]
fn a_loss_before_the_watch_is_told_and_each_is_told_once() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let [first, second] = [0, 1].map(|n| port(&uplink, n));
        delete(&stage, &first.info().outer);
        let (watch, told) = watch(&instance);
        assert_eq!(next_loss(&told), Loss::Port { uplink: device(CARD), key: first.info().key, change: None });
        delete(&stage, &second.info().outer);
        assert_eq!(next_loss(&told), Loss::Port { uplink: device(CARD), key: second.info().key, change: None });
        delete_card(&stage);
        assert_eq!(next_loss(&told), Loss::Uplink { device: device(CARD) });
        drop(watch);
        assert!(told.recv().is_err(), "nothing more was told, and the watch has ended");
    });
}

/// What changed about the NIC, once it is as `wanted`.
#[track_caller]
fn next_change(told: &Receiver<Notice>, wanted: impl Fn(&NicState) -> bool) -> NicState {
    loop {
        if let Notice::Changed { uplink, nic } = next(told) {
            assert_eq!(uplink, device(CARD));
            if wanted(&nic) {
                return nic;
            }
        }
    }
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn a_card_whose_mtu_changes_is_followed(#[case] mode: Mode) {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, mode);
        let (_watch, told) = watch(&instance);
        let mut sender = port(&uplink, 0);
        let links = stage.lab.host.links();
        let index = uplink.info().index;
        let too_long = |port: &Port| port.statistics().expect("statistics").guard[Counter::TooLong];

        // Nothing arrives that the NIC cannot send, and each such frame is counted.
        links.set_mtu(index, 1400).expect("set");
        next_change(&told, |card| card.mtu == 1400);
        assert_eq!(uplink.nic().mtu, 1400);
        let dropped = too_long(&sender);
        let sent = send_padded(&mut sender, 1400 + 14 + 1);
        assert_eq!(too_long(&sender) - dropped, sent);
        let refusal = PortSpec { mtu: Some(1401), ..PortSpec::new(port_addresses(1)) };
        let error = uplink.open_port(refusal).expect_err("more than the NIC has");
        assert!(matches!(error, OpenPortError::MtuAboveUplink { mtu: 1401, uplink_mtu: 1400, .. }), "{error}");

        links.set_mtu(index, 1500).expect("set");
        next_change(&told, |card| card.mtu == 1500);
        let dropped = too_long(&sender);
        send_padded(&mut sender, 1400 + 14 + 1);
        assert_eq!(too_long(&sender), dropped);

        close(sender);
        uplink.release().expect("releasing undoes everything");
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

/// Sends four datagrams of so many bytes, header included, to nobody in particular; returns how many the guard has
/// seen.
fn send_padded(port: &mut Port, length: usize) -> u64 {
    let before = port.statistics().expect("statistics").guard[Counter::Seen];
    let mac = port.info().mac;
    let mut bytes = [&[2, 0, 0, 0, 0, 0x77][..], &mac.octets(), &[0x08, 0x00]].concat();
    let address = port.info().addresses.iter().find_map(|address| match address {
        IpAddr::V4(address) => Some(address.octets()),
        IpAddr::V6(_) => None,
    });
    let total = u16::try_from(length - 14).expect("a short packet").to_be_bytes();
    bytes.extend([0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 253, 0, 0]);
    bytes.extend(address.expect("an IPv4 address"));
    bytes.extend([192, 0, 2, 200]);
    bytes.resize(length, 0);
    let socket = port.socket();
    for _ in 0..4 {
        let mut frame = socket.allocate().expect("a frame");
        frame.set_len(bytes.len()).expect("it fits");
        socket.bytes_mut(&mut frame).copy_from_slice(&bytes);
        let mut frames = vec![frame];
        socket.transmit(&mut frames).expect("room in TX");
        socket.flush().expect("a kick");
    }
    let seen = || port.statistics().expect("statistics").guard[Counter::Seen] - before;
    wait_until("the guard has seen them", SECOND, || seen() >= 4);
    seen()
}

#[test]
fn a_card_that_is_renamed_is_known_and_given_back_as_it_was() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let (_watch, told) = watch(&instance);
        let first = serve(port(&uplink, 0));
        let links = stage.lab.host.links();
        links.rename(uplink.info().index, &device("wan0")).expect("renamed");
        assert_eq!(next_change(&told, |card| card.name == device("wan0")).name, device("wan0"));
        ping(&stage.lab, port_addresses(0)[0], 50);
        let second = serve(port(&uplink, 1));
        ping(&stage.lab, port_addresses(1)[0], 50);
        for serving in [first, second] {
            close(finish(serving));
        }
        uplink.release().expect("releasing undoes everything");
        instance.close().expect("closing undoes everything");
        links.rename(uplink.info().index, &device(CARD)).expect("renamed back");
        stage.assert_as_before(&before);
    });
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn ports_live_through_down_up_and_another_mac_of_their_card(#[case] mode: Mode) {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let instance = stage.open();
        let uplink = manage(&instance, mode);
        let (_watch, told) = watch(&instance);
        let open = port(&uplink, 0);
        let outer = open.info().outer.clone();
        let serving = serve(open);
        let (links, index) = (stage.lab.host.links(), uplink.info().index);
        ping(&stage.lab, port_addresses(0)[0], 50);
        links.set_down(index).expect("down");
        next_change(&told, |card| !card.up);
        let error = uplink.open_port(PortSpec::new(port_addresses(1))).expect_err("nothing can leave");
        assert!(matches!(error, OpenPortError::LinkDown { state: "is down", .. }), "{error}");
        let mac = MacAddr::new([2, 0, 0, 0, 0x10, 0x77]);
        links.set_mac(index, mac).expect("set");
        links.set_up(index).expect("up");
        assert_eq!(next_change(&told, |card| card.up && card.carrier && card.mac == mac).mac, mac);
        assert_eq!(
            links.by_name(&outer).expect("the outer end").mac,
            Some(mac),
            "the host takes in what is sent to it"
        );
        ping(&stage.lab, port_addresses(0)[0], 50);
        close(finish(serving));
        close(port(&uplink, 1));
        instance.close().expect("closing undoes everything");
    });
}

#[test]
fn an_address_that_the_host_gets_later_is_told_once() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let (_watch, told) = watch(&instance);
        let [address, other] = port_addresses(0);
        let open = port(&uplink, 0);
        let key = open.info().key;
        let links = stage.lab.host.links();
        let lo = links.by_name(&device("lo")).expect("lo").index;
        for address in [address, other] {
            let prefix = if address.is_ipv4() { 32 } else { 128 };
            links.add_address(lo, address, prefix).expect("added");
            assert_eq!(next_conflict(&told), Notice::Conflict { uplink: device(CARD), key, address });
            links.del_address(lo, address, prefix).expect("removed");
            links.add_address(lo, address, prefix).expect("added again");
        }
        links.add_address(lo, port_addresses(1)[0], 32).expect("nobody's");
        close(open);
        assert!(!told.try_iter().any(|notice| matches!(notice, Notice::Conflict { .. })), "once each");
        instance.close().expect("closing undoes everything");
    });
}

#[track_caller]
fn next_conflict(told: &Receiver<Notice>) -> Notice {
    loop {
        let notice = next(told);
        if matches!(notice, Notice::Conflict { .. }) {
            return notice;
        }
    }
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn a_program_that_somebody_takes_off_is_put_back(#[case] mode: Mode) {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, mode);
        let (_watch, told) = watch(&instance);
        let groups = BTreeSet::from([Group::BROADCAST]);
        let open = uplink.open_port(PortSpec { groups, ..PortSpec::new(port_addresses(0)) }).expect("a port");
        let (key, queue_pairs) = (open.info().key, open.info().queue_pairs.clone());
        let serving = serve(open);
        let folder = Path::new("/sys/fs/bpf/xsknet").join(stage.name()).join("v1");
        let links = links_below(&folder);
        assert_eq!(links.len(), 4, "{links:?}");
        for (pin, program) in links {
            let finished = stage.lab.host.run("bpftool", &["link", "detach", "pinned", pin.to_str().expect("a path")]);
            finished.expect("bpftool");
            let on = match program {
                "uplink" | "copy" => device(CARD),
                "guard" => queue_pairs[0].outer.clone(),
                _ => queue_pairs[0].inner.clone(),
            };
            let key = ["guard", "port"].contains(&program).then_some(key);
            let put_back = Notice::Repaired {
                uplink: device(CARD),
                key,
                program,
                device: on,
                why: "another program detached it".into(),
                failure: None,
            };
            let notice = loop {
                let notice = next(&told);
                if matches!(notice, Notice::Repaired { .. }) {
                    break notice;
                }
            };
            assert_eq!(notice, put_back);
            ping(&stage.lab, port_addresses(0)[0], 50);
        }
        close(finish(serving));
        uplink.release().expect("releasing undoes everything");
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

/// The kernel shows the link attached all the while, as it does where a driver has lost the program.
#[rstest]
#[case::many_frames(false, 100, "0.01")]
#[case::few_after_the_link_was_away(true, 8, "0.3")]
fn a_program_that_is_attached_and_does_not_run_is_attached_anew(
    #[case] link_away: bool,
    #[case] frames: u32,
    #[case] seconds: &str,
) {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let (_watch, told) = watch(&instance);
        let serving = serve(port(&uplink, 0));
        ping(&stage.lab, port_addresses(0)[0], 20);
        let pin = format!("/sys/fs/bpf/xsknet/{}/v1/{CARD}/uplink-link", stage.name());
        bypass(Path::new(&pin)).expect("another program");
        if link_away {
            let (links, index) = (stage.lab.host.links(), uplink.info().index);
            links.set_down(index).expect("down");
            next_change(&told, |card| !card.up);
            links.set_up(index).expect("up");
            next_change(&told, |card| card.up && card.carrier);
        }
        let (count, host) = (frames.to_string(), HOST4.to_string());
        stage.lab.remote.run("ping", &["-n", "-i", seconds, "-c", &count, &host]).expect("the host answers");
        let notice = loop {
            let notice = next(&told);
            if matches!(notice, Notice::Repaired { .. }) {
                break notice;
            }
        };
        let Notice::Repaired { key: None, program: "uplink", failure: None, why, .. } = &notice else {
            panic!("{notice:?}")
        };
        assert!(why.contains("frames arrived that it did not see"), "{why}");
        ping(&stage.lab, port_addresses(0)[0], 50);
        close(finish(serving));
        assert!(!told.try_iter().any(|notice| matches!(notice, Notice::Repaired { .. })), "once");
        uplink.release().expect("releasing undoes everything");
        instance.close().expect("closing undoes everything");
        // Down, the NIC loses its IPv6 addresses.
        if !link_away {
            stage.assert_as_before(&before);
        }
    });
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn an_offload_that_hides_vlans_is_switched_off_again(#[case] mode: Mode) {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, mode);
        let (watch, told) = watch(&instance);
        let ethtool = stage.lab.host.enter(|| Ethtool::here().expect("an ethtool socket"));
        let hiding = || {
            let features = ethtool.features(&device(CARD)).expect("features");
            features.names(Offload::VlanRx).into_iter().filter(|name| features.is_active(name)).count()
        };
        for (word, name) in [("rxvlan", "rx-vlan-hw-parse"), ("rx-vlan-stag-hw-parse", "rx-vlan-stag-hw-parse")] {
            stage.lab.host.run("ethtool", &["-K", CARD, word, "on"]).expect("ethtool");
            let notice = loop {
                let notice = next(&told);
                if matches!(notice, Notice::Offload { .. }) {
                    break notice;
                }
            };
            assert_eq!(notice, Notice::Offload { uplink: device(CARD), offload: name.into(), failure: None });
            assert_eq!(hiding(), 0);
        }
        // A port is not handed out while it is on, with or without a watch.
        drop(watch);
        ethtool.set_features(&device(CARD), &[("rx-vlan-hw-parse", true)]).expect("on");
        assert_eq!(hiding(), 1);
        let port = port(&uplink, 0);
        assert_eq!(hiding(), 0);
        close(port);
        uplink.release().expect("releasing undoes everything");
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

/// The pinned links of an instance, and whose they are.
fn links_below(folder: &Path) -> Vec<(PathBuf, &'static str)> {
    let names = [("uplink-link", "uplink"), ("copy-link", "copy"), ("guard-link", "guard"), ("port-link", "port")];
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match names.iter().find(|(file, _)| name == *file) {
            Some((_, program)) => found.push((entry, *program)),
            None if entry.is_dir() => found.extend(links_below(&entry)),
            None => {}
        }
    }
    found
}

/// Test frames run a program wherever it is, so that they alone would not show it.
#[test]
fn no_port_is_handed_out_while_the_cards_program_is_off() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let folder = Path::new("/sys/fs/bpf/xsknet").join(stage.name()).join("v1");
        let (pin, program) = links_below(&folder).remove(0);
        assert_eq!(program, "uplink");
        let detach = ["link", "detach", "pinned", pin.to_str().expect("a path")];
        stage.lab.host.run("bpftool", &detach).expect("bpftool");
        let serving = serve(port(&uplink, 0));
        ping(&stage.lab, port_addresses(0)[0], 50);
        close(finish(serving));
        instance.close().expect("closing undoes everything");
    });
}
