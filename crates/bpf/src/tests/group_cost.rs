//! Measurements, with the feature `measure`: what groups cost a packet that is left to the host, by the kernel's
//! statistics (`BPF_ENABLE_STATS`).

use aya::sys::{Stats, enable_stats};

use super::flow_cost::mean;
use super::frames::*;
use super::groups::{MAC_MDNS4, MDNS4, MDNS6, mdns4, scene};
use super::lab::{ALICE, BOB, device};
use crate::datapath::Datapath;

const ROUNDS: usize = 9;

/// Nanoseconds for each packet: the median of the rounds.
pub fn median(cost: impl Fn() -> f64) -> f64 {
    let mut costs: Vec<f64> = (0..ROUNDS).map(|_| cost()).collect();
    costs.sort_unstable_by(f64::total_cmp);
    costs[ROUNDS / 2]
}

#[test]
fn cost_of_groups() {
    let statistics = enable_stats(Stats::RunTime).unwrap();
    scene(|scene| {
        let unicast = udp4((MAC_FAR, IP_FAR), ([2, 0, 0, 0, 0, 9], IP_FAR), (1, 2));
        let multicast = mdns4(MAC_MDNS4, MDNS4);
        let uplink = |datapath: &Datapath, frame: &[u8]| median(|| mean(datapath.uplink_program(), frame));
        let copy = |datapath: &Datapath, frame: &[u8]| median(|| mean(datapath.copy_program(), frame));
        println!("uplink program, unicast to the host: {:.1} ns", uplink(&scene.datapath, &unicast));
        println!("uplink program, multicast, no groups: {:.1} ns", uplink(&scene.datapath, &multicast));
        scene.join(BOB, &[MDNS6.into()]);
        println!("uplink program, multicast, another group: {:.1} ns", uplink(&scene.datapath, &multicast));
        println!("uplink program, unicast, some group: {:.1} ns", uplink(&scene.datapath, &unicast));
        scene.join(BOB, &[]);
        scene.join(ALICE, &[MDNS6.into()]);
        println!("uplink program, multicast, a group without rings: {:.1} ns", uplink(&scene.datapath, &multicast));
        drop(scene.datapath.attach_copy(&device("up0")).unwrap());
        println!("copy program, unicast: {:.1} ns", copy(&scene.datapath, &unicast));
        println!("copy program, multicast, another group: {:.1} ns", copy(&scene.datapath, &multicast));
    });
    drop(statistics);
}
