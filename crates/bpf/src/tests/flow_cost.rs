//! Measurements, with the feature `measure`: what a packet costs in the uplink's program, by the kernel's statistics
//! (`BPF_ENABLE_STATS`), and what changes of flows cost.

use std::time::{Duration, Instant};

use aya::maps::{MapData, ProgramArray};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions, Xdp};
use aya::sys::{Stats, enable_stats};
use xsknet_filter::{Flow, PortRange, Prefix};

use super::flows::{IP_HOST, Scene, many, to_port};
use super::frames::*;
use super::lab::{ALICE, BOB};
use crate::object::{self, Object, object};

static DRAW: Object = object!("draw");

const PORT_OFFSET: u32 = 36;
const FIRST_PORT: u32 = 20_000;
const RUNS: u32 = 100_000;
const ROUNDS: usize = 9;

/// Runs packets to random ports of a range through the uplink's program, and subtracts what the drawing takes.
struct Drawer {
    with: aya::Ebpf,
    without: aya::Ebpf,
    _target: ProgramArray<MapData>,
}

impl Drawer {
    fn new(scene: &Scene, first: u32, ports: u32) -> Self {
        let globals = [("port_offset", PORT_OFFSET), ("first_port", first), ("ports", ports)];
        let [mut with, without] = [(); 2].map(|()| DRAW.load(&globals, &[], None).unwrap());
        let mut target: ProgramArray<MapData> = object::take_map(&mut with, "target").unwrap();
        target.set(0, scene.datapath.uplink_program().fd().unwrap(), 0).unwrap();
        Self { with, without, _target: target }
    }

    /// Nanoseconds for each packet: the median of the rounds.
    fn measure(&self, frame: &[u8]) -> f64 {
        let mut costs: Vec<f64> = (0..ROUNDS)
            .map(|_| mean(object::xdp(&self.with, "draw"), frame) - mean(object::xdp(&self.without, "draw"), frame))
            .collect();
        costs.sort_unstable_by(f64::total_cmp);
        costs[ROUNDS / 2]
    }
}

/// Nanoseconds for each run on a packet.
pub fn mean(program: &impl Measured, frame: &[u8]) -> f64 {
    let read = || program.runs();
    let before = read();
    program.run(TestRunOptions { data_in: Some(frame), repeat: RUNS, ..Default::default() });
    let after = read();
    let spent: Duration = after.0 - before.0;
    spent.as_nanos() as f64 / (after.1 - before.1) as f64
}

/// A program whose runs the kernel counts and times.
pub trait Measured {
    fn run(&self, options: TestRunOptions<'_>);
    fn runs(&self) -> (Duration, u64);
}

impl Measured for Xdp {
    fn run(&self, options: TestRunOptions<'_>) {
        self.test_run(options).unwrap();
    }

    fn runs(&self) -> (Duration, u64) {
        let info = self.info().unwrap();
        (info.run_time(), info.run_count())
    }
}

impl Measured for SchedClassifier {
    fn run(&self, options: TestRunOptions<'_>) {
        self.test_run(options).unwrap();
    }

    fn runs(&self) -> (Duration, u64) {
        let info = self.info().unwrap();
        (info.run_time(), info.run_count())
    }
}

fn flow(at: u32) -> Flow {
    Flow {
        destination: Some(Prefix::host(IP_HOST.into())),
        protocol: Some(UDP),
        destination_ports: Some(PortRange::one((FIRST_PORT + at) as u16)),
        ..Flow::default()
    }
}

/// Of this many kinds, none of which matches: they are searched before the others.
fn other_kinds(count: u8) -> Vec<Flow> {
    let other = |length: u8| {
        let source = Prefix::new([10, 0, 0, 0].into(), length).ok();
        Flow { source, ..flow(u32::from(length)) }
    };
    (0..count).map(|at| other(8 + at)).collect()
}

#[test]
fn cost_of_a_packet() {
    let statistics = enable_stats(Stats::RunTime).unwrap();
    Scene::run(|scene| {
        let to_port = udp4(FAR, A, (9, 53));
        let to_host = udp4(FAR, (MAC_HOST, IP_HOST), (9, 53));
        let all = |scene: &Scene| Drawer::new(scene, FIRST_PORT, 10_000);
        let redirect = all(scene).measure(&to_port);
        println!("a port's own MAC, no flows: {redirect:.1} ns");
        println!("the host's MAC, no flows: {:.1} ns", all(scene).measure(&to_host));
        for kinds in [1, 4, 16] {
            let mut hits = Vec::new();
            for count in [10, 10_000] {
                let mut flows: Vec<Flow> = (0..count).map(flow).collect();
                flows.extend(other_kinds(kinds - 1));
                scene.datapath.replace_flows(ALICE, &flows).unwrap();
                let hit = Drawer::new(scene, FIRST_PORT, count).measure(&to_host);
                let miss = Drawer::new(scene, FIRST_PORT - 10_000, 10_000).measure(&to_host);
                let bare = all(scene).measure(&to_port);
                println!(
                    "{kinds} kinds, {count} flows: hit {hit:.1} ns, {:.1} over a redirect by MAC ({bare:.1}), \
                     miss {miss:.1} ns",
                    hit - bare
                );
                hits.push(hit);
            }
            println!("10,000 / 10: {:.2}", hits[1] / hits[0]);
        }
    });
    drop(statistics);
}

#[test]
fn what_changes_cost() {
    Scene::run(|scene| {
        scene.claim(BOB, &many(10_000));
        let new: Vec<Flow> = (0..10_000).map(|at| to_port(30_000 + at)).collect();
        let begin = Instant::now();
        scene.claim(ALICE, &new);
        println!("claim of 10,000 beside 10,000: {:?}", begin.elapsed());
        let begin = Instant::now();
        scene.datapath.replace_flows(ALICE, &many(0)).unwrap();
        println!("release of 10,000 beside 10,000: {:?}", begin.elapsed());
        for round in 0..3 {
            let begin = Instant::now();
            for flow in &new[..1000] {
                scene.claim(ALICE, std::slice::from_ref(flow));
            }
            let claimed = begin.elapsed();
            for flow in &new[..1000] {
                scene.datapath.release_flows(ALICE, std::slice::from_ref(flow)).unwrap();
            }
            println!(
                "round {round}: one claim {:?}, one release {:?}",
                claimed / 1000,
                (begin.elapsed() - claimed) / 1000
            );
        }
    });
}
