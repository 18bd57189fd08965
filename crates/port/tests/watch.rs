//! Devices that others take away: the loss is told, and closing cleans up what is left.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use crate::common::*;
use rstest::rstest;
use xsknet_bpf::Mode;
use xsknet_link::{DeviceName, Netns};
use xsknet_port::{Instance, Loss, Watch};
use xsknet_testkit::{CARD, Snapshot, device, on_fresh_mounts, port_addresses};

fn watch(instance: &Instance) -> (Watch, Receiver<Loss>) {
    let (tell, told) = channel();
    let hear = move |loss| tell.send(loss).expect("the test listens");
    (instance.watch(hear).expect("a watch"), told)
}

#[track_caller]
fn next(told: &Receiver<Loss>) -> Loss {
    told.recv_timeout(2 * SECOND).expect("a loss is told")
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
    let card = links.by_name(&device(CARD)).expect("the card").index;
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
        assert_eq!(next(&told), Loss::Uplink { device: device(CARD) });
        close(lost);
        let error = uplink.open_port(xsknet_port::PortOptions::new(port_addresses(2))).expect_err("a port of no card");
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
fn a_pair_that_is_deleted_takes_nothing_else_with_it(#[case] mode: Mode) {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        let instance = stage.open();
        let (_watch, told) = watch(&instance);
        let uplink = manage(&instance, mode);
        // Closing is no loss.
        close(port(&uplink, 0));
        let (lost, other) = (port(&uplink, 0), port(&uplink, 1));
        let serving = serve(other);
        delete(&stage, &lost.info().outer);
        assert_eq!(next(&told), Loss::Port { uplink: device(CARD), key: lost.info().key, change: None });
        lost.statistics().expect("what can still be read");
        ping(&stage.lab, port_addresses(1)[0], 50);
        close(lost);
        let again = port(&uplink, 0);
        close(again);
        close(finish(serving));
        uplink.release().expect("releasing undoes everything");
        assert_eq!(told.try_recv().ok(), None, "closing and releasing are no losses");
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
        assert_eq!(next(&told), Loss::Port { uplink: device(CARD), key: first.info().key, change: None });
        delete(&stage, &second.info().outer);
        assert_eq!(next(&told), Loss::Port { uplink: device(CARD), key: second.info().key, change: None });
        delete_card(&stage);
        assert_eq!(next(&told), Loss::Uplink { device: device(CARD) });
        drop(watch);
        assert!(told.recv().is_err(), "nothing more was told, and the watch has ended");
    });
}
