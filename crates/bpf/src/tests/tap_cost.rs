//! Measurements, with the feature `measure`: what taps cost a packet that is left to the host.

use aya::sys::{Stats, enable_stats};

use super::flow_cost::mean;
use super::group_cost::median;
use super::taps::{all, of_flows, scene, to};
use crate::Tap;

#[test]
fn cost_of_taps() {
    let statistics = enable_stats(Stats::RunTime).unwrap();
    scene(|scene| {
        let frame = to([2, 0, 0, 0, 0, 9]);
        let uplink = |scene: &super::taps::Scene| median(|| mean(scene.datapath.uplink_program(), &frame));
        println!("uplink program, unicast to the host, no tap: {:.1} ns", uplink(scene));
        for (what, tap) in [
            ("a tap of what is sent", Tap { received: false, ..all() }),
            ("a tap of another flow", of_flows(&["tcp dst port 80"])),
            ("a tap of 32 other flows", of_flows(&["tcp dst port 80"; 32])),
            ("a tap whose ring is full", all()),
        ] {
            scene.start(&tap);
            println!("uplink program, unicast to the host, {what}: {:.1} ns", uplink(scene));
            scene.stop();
        }
    });
    drop(statistics);
}
