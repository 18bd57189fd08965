//! How much a port may send to the uplink of what reaches all stations there, and which stations are known.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use rstest::rstest;

use super::frames::*;
use super::lab::{ALICE, BOB, device, in_namespace, left_by};
use crate::datapath::Pace;
use crate::{Counter, Datapath, DatapathOptions, PortEntry, Rate, Rates, Rights, Verdict, Vlan};

const DEADLINE: Duration = Duration::from_secs(10);

static IPS_OF_A: [IpAddr; 2] = [IpAddr::V4(IP_A), IpAddr::V6(IP6_A)];
static IPS_OF_B: [IpAddr; 1] = [IpAddr::V4(IP_B)];

/// Whatever goes to an unknown station is dropped: so a frame tells whether its destination is known.
const KNOWN_ONLY: Rates = Rates { unknown_unicast: Some(Rate::new(0)), ..Rates::UNLIMITED };

/// Alice with two queue pairs, and Bob, who is not limited.
struct Scene {
    datapath: Datapath,
    alice: [u32; 2],
    bob: [u32; 1],
    uplink: u32,
    vlan: Vlan,
}

fn scene_in(vlan: Vlan, pace: Pace, rates: Rates, test: impl FnOnce(&mut Scene) + Send) {
    in_namespace(&["a0", "a1", "b0", "up0"], || {
        let options = DatapathOptions { uplink_mtu: 1500, queue_seed: 0, pins: None };
        let [first, second, bob, uplink] = ["a0", "a1", "b0", "up0"].map(|name| device(name).index);
        let mut datapath = Datapath::load_paced(options, pace).unwrap();
        datapath.set_uplink(uplink).unwrap();
        let mut scene = Scene { datapath, alice: [first, second], bob: [bob], uplink, vlan };
        scene.enter_alice(rates);
        scene.enter_bob();
        test(&mut scene);
    });
}

fn scene(pace: Pace, rates: Rates, test: impl FnOnce(&mut Scene) + Send) {
    scene_in(Vlan::UNTAGGED, pace, rates, test);
}

impl Scene {
    fn enter_alice(&mut self, rates: Rates) {
        let entry = PortEntry {
            id: ALICE,
            outers: &self.alice,
            mac: MAC_A,
            uplink_mac: false,
            tap: false,
            vlan: self.vlan,
            mtu: 1500,
            sources: &IPS_OF_A,
            targets: &IPS_OF_A,
            rights: Rights::default(),
            rates,
            rings: None,
        };
        // Of an earlier entry.
        self.datapath.remove_port(&entry).unwrap();
        self.datapath.add_port(&entry).unwrap();
    }

    fn bob(&self) -> PortEntry<'static> {
        PortEntry {
            id: BOB,
            outers: &[],
            mac: MAC_B,
            uplink_mac: false,
            tap: false,
            vlan: self.vlan,
            mtu: 1500,
            sources: &IPS_OF_B,
            targets: &IPS_OF_B,
            rights: Rights::default(),
            rates: Rates::UNLIMITED,
            rings: None,
        }
    }

    fn enter_bob(&mut self) {
        self.datapath.add_port(&PortEntry { outers: &self.bob, ..self.bob() }).unwrap();
    }

    fn remove_bob(&mut self) {
        self.datapath.remove_port(&PortEntry { outers: &self.bob, ..self.bob() }).unwrap();
    }

    /// What becomes of a frame of Alice's, by one of its queue pairs.
    fn send_by(&self, queue_pair: usize, frame: &[u8]) -> Counter {
        left_by(&self.datapath.test_guard(frame, self.alice[queue_pair]).unwrap(), frame)
    }

    fn send(&self, frame: &[u8]) -> Counter {
        self.send_by(0, frame)
    }

    /// A frame comes in at the uplink.
    fn hear(&self, frame: &[u8]) -> Counter {
        left_by(&self.datapath.test_uplink(frame, self.uplink).unwrap(), frame)
    }

    /// How many of these frames leave before the first one does not.
    fn burst(&self, frame: &[u8], most: usize) -> usize {
        let counters: Vec<_> = (0..most).map(|_| self.send(frame)).collect();
        let passed = counters.iter().take_while(|&&counter| counter == Counter::ToUplink).count();
        assert!(counters[passed..].iter().all(|&counter| counter == Counter::Rate), "{counters:?}");
        passed
    }

    fn knows(&self, mac: Mac) -> bool {
        match self.send(&udp4(A, (mac, IP_FAR), (9, 53))) {
            Counter::ToUplink => true,
            Counter::Rate => false,
            other => panic!("{other}"),
        }
    }
}

/// A station of that number.
fn station(number: u32) -> Mac {
    let [a, b, c, d] = number.to_be_bytes();
    [0x02, 0xee, a, b, c, d]
}

fn from(mac: Mac) -> Vec<u8> {
    udp4((mac, IP_FAR), A, (53, 9))
}

fn broadcast() -> Vec<u8> {
    ethernet(BROADCAST, MAC_A, IPV4, &ipv4(UDP, IP_A, [255; 4].into(), &udp(9, 53)))
}

fn multicast() -> Vec<u8> {
    ethernet(MULTICAST6, MAC_A, IPV6, &ipv6(UDP, IP6_A, GROUP6, &udp(9, 53)))
}

fn unicast() -> Vec<u8> {
    udp4(A, FAR, (9, 53))
}

#[rstest]
#[case::broadcast(broadcast(), Rates { broadcast: Some(Rate::new(5)), ..Rates::UNLIMITED })]
#[case::arp_request(arp_request(A, IP_FAR), Rates { broadcast: Some(Rate::new(5)), ..Rates::UNLIMITED })]
#[case::multicast(multicast(), Rates { multicast: Some(Rate::new(5)), ..Rates::UNLIMITED })]
#[case::solicitation(solicitation(A6, IP6_FAR, &[]), Rates { multicast: Some(Rate::new(5)), ..Rates::UNLIMITED })]
#[case::ipv4_multicast(ethernet([1, 0, 0x5e, 0, 0, 1], MAC_A, IPV4, &ipv4(UDP, IP_A, [224, 0, 0, 1].into(), &udp(9, 53))), Rates { multicast: Some(Rate::new(5)), ..Rates::UNLIMITED })]
#[case::unknown_unicast(unicast(), Rates { unknown_unicast: Some(Rate::new(5)), ..Rates::UNLIMITED })]
#[case::to_its_own_mac(udp4(A, A, (9, 53)), Rates { unknown_unicast: Some(Rate::new(5)), ..Rates::UNLIMITED })]
fn a_burst_passes_and_no_more(#[case] frame: Vec<u8>, #[case] rates: Rates) {
    scene(Pace::standstill(), rates, |scene| {
        let bad = patched(frame.clone(), 6, &MAC_FAR);
        assert_eq!(scene.send(&bad), Counter::SourceMac, "what is dropped before counts for nothing");
        assert_eq!(scene.burst(&frame, 12), 5);
        for other in [broadcast(), multicast(), unicast()].iter().filter(|other| kind(other) != kind(&frame)) {
            assert_eq!(scene.burst(other, 12), 12, "other kinds are not limited");
        }
        scene.enter_alice(rates);
        assert_eq!(scene.burst(&frame, 12), 0, "a port that is closed and opened again has sent what it has sent");
    });
}

fn kind(frame: &[u8]) -> usize {
    match frame[..6].try_into() {
        Ok(BROADCAST) => 0,
        Ok([first, ..]) if first & 1 == 1 => 1,
        _ => 2,
    }
}

#[test]
fn none_passes_at_a_rate_of_0() {
    let zero = Some(Rate::new(0));
    let none = Rates { broadcast: zero, multicast: zero, unknown_unicast: zero, ..Rates::UNLIMITED };
    scene(Pace::real(), none, |scene| {
        for frame in [broadcast(), arp_request(A, IP_FAR), multicast(), unicast()] {
            assert_eq!(scene.burst(&frame, 5), 0);
        }
        assert_eq!(scene.send(&udp4(A, B, (9, 53))), Counter::ToPort, "to a port it is free");
        assert_eq!(scene.send(&arp_request(A, IP_B)), Counter::ToPort, "likewise");
    });
}

#[test]
fn the_default_is_a_thousand_of_each() {
    scene(Pace::standstill(), Rates::default(), |scene| {
        for frame in [broadcast(), multicast(), unicast()] {
            assert_eq!(scene.burst(&frame, 1010), 1000);
        }
    });
}

#[test]
fn the_queue_pairs_of_a_port_share_its_rates() {
    scene(Pace::standstill(), Rates { broadcast: Some(Rate::new(6)), ..Rates::UNLIMITED }, |scene| {
        let passed: Vec<_> = (0..10).map(|turn| scene.send_by(turn % 2, &broadcast())).collect();
        assert_eq!(passed.iter().filter(|&&counter| counter == Counter::ToUplink).count(), 6, "{passed:?}");
    });
}

/// Frames for all stations, for one and for a port.
fn any() -> [Vec<u8>; 4] {
    [broadcast(), multicast(), unicast(), udp4(A, B, (9, 53))]
}

#[test]
fn all_frames_of_a_port_have_one_rate() {
    scene(Pace::standstill(), Rates { frames: Some(Rate::new(6)), ..Rates::UNLIMITED }, |scene| {
        let sent: Vec<_> = any().iter().cycle().take(10).map(|frame| scene.send(frame)).collect();
        let out = Counter::ToUplink;
        let passed = [out, out, out, Counter::ToPort, out, out];
        assert_eq!((&sent[..6], &sent[6..]), (&passed[..], &[Counter::FrameRate; 4][..]));
        let bad = patched(unicast(), 6, &MAC_FAR);
        assert_eq!(scene.send(&bad), Counter::SourceMac, "the rule that the frame breaks is told, not the rate");
    });
}

#[test]
fn all_bits_of_a_port_have_one_rate() {
    let long = [unicast(), vec![0; 1000]].concat();
    let bits = 8 * (3 * long.len() + unicast().len()) as u64;
    let rates = Rates { bits: Some(Rate { per_second: 1_000_000, burst: bits - 8 }), ..Rates::UNLIMITED };
    scene(Pace::standstill(), rates, |scene| {
        let sent = [&long, &unicast(), &long, &long, &unicast(), &long].map(|frame| scene.send(frame));
        let (out, over) = (Counter::ToUplink, Counter::BitRate);
        assert_eq!(sent, [out, out, out, out, over, over], "the frame that exceeds the burst is the last one");
    });
}

#[rstest]
#[case::of_frames(Rates { frames: Some(Rate::new(0)), ..Rates::UNLIMITED }, Counter::FrameRate)]
#[case::of_bits(Rates { bits: Some(Rate::new(0)), ..Rates::UNLIMITED }, Counter::BitRate)]
fn a_port_may_be_silent(#[case] rates: Rates, #[case] reason: Counter) {
    scene(Pace::real(), rates, |scene| {
        for frame in any() {
            assert_eq!(scene.send(&frame), reason);
        }
    });
}

#[test]
fn a_frame_that_one_rate_drops_counts_for_no_other() {
    let bits = 8 * (broadcast().len() + 4 * unicast().len()) as u64;
    let rates = Rates {
        broadcast: Some(Rate::new(1)),
        frames: Some(Rate::new(7)),
        bits: Some(Rate { per_second: 1_000_000, burst: bits - 8 }),
        ..Rates::UNLIMITED
    };
    scene(Pace::standstill(), rates, |scene| {
        assert_eq!(scene.burst(&broadcast(), 20), 1);
        let sent: Vec<_> = (0..8).map(|_| scene.send(&unicast())).collect();
        assert_eq!(sent, [[Counter::ToUplink; 4], [Counter::BitRate; 4]].concat());
        scene.enter_alice(Rates { bits: None, ..rates });
        let sent: Vec<_> = (0..4).map(|_| scene.send(&unicast())).collect();
        assert_eq!(sent, [[Counter::ToUplink; 2], [Counter::FrameRate; 2]].concat(), "five of seven were sent");
    });
}

#[test]
fn a_burst_is_as_large_as_was_asked_for() {
    let rates = Rates {
        broadcast: Some(Rate { per_second: 1000, burst: 3 }),
        multicast: Some(Rate { per_second: 1000, burst: 0 }),
        unknown_unicast: Some(Rate { per_second: 1, burst: 20 }),
        ..Rates::UNLIMITED
    };
    scene(Pace::standstill(), rates, |scene| {
        let passed = [broadcast(), multicast(), unicast()].map(|frame| scene.burst(&frame, 30));
        assert_eq!(passed, [3, 1, 20]);
    });
}

/// Both the queue pairs, on a CPU each.
fn send_side_by_side(scene: &Scene, frame: &[u8], frames: u64) -> u64 {
    let passed_by = |queue_pair: usize| {
        let run = || scene.datapath.test_guard(frame, scene.alice[queue_pair]).unwrap().verdict;
        (0..frames).filter(|_| run() == Verdict::Redirect).count() as u64
    };
    std::thread::scope(|scope| {
        let threads = [0, 1].map(|queue_pair| {
            let passed_by = &passed_by;
            scope.spawn(move || passed_by(queue_pair))
        });
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

#[test]
fn cpus_that_send_at_the_same_moment_send_a_burst() {
    const BURST: u64 = 4000;
    let bits = 8 * BURST * broadcast().len() as u64;
    for rates in [
        Rates { broadcast: Some(Rate::new(BURST)), ..Rates::UNLIMITED },
        Rates { frames: Some(Rate::new(BURST)), broadcast: Some(Rate::new(2 * BURST)), ..Rates::UNLIMITED },
        Rates { bits: Some(Rate { per_second: 1_000_000, burst: bits - 8 }), ..Rates::UNLIMITED },
    ] {
        scene(Pace::standstill(), rates, |scene| {
            let passed = send_side_by_side(scene, &broadcast(), BURST);
            // A frame may have been refused while the other CPU took back what it had counted for its last one.
            assert!((BURST - 1..=BURST).contains(&passed), "{passed} by {rates:?}");
            let rest = (0..3).filter(|_| scene.send(&broadcast()) == Counter::ToUplink).count() as u64;
            assert_eq!(passed + rest, BURST, "{rates:?}");
        });
    }
}

#[test]
fn a_rate_is_a_rate() {
    const RATE: u32 = 50;
    scene(Pace::real(), Rates { broadcast: Some(Rate::new(RATE.into())), ..Rates::UNLIMITED }, |scene| {
        let start = Instant::now();
        let mut passed = 0;
        // A burst, and a fifth of a second's worth: whatever the machine does meanwhile, it takes that long.
        while passed < RATE + RATE / 5 {
            assert!(start.elapsed() < DEADLINE, "only {passed} passed");
            passed += u32::from(scene.send(&broadcast()) == Counter::ToUplink);
        }
        // A jiffy is 10 ms at most.
        assert!(start.elapsed() > Duration::from_millis(180), "{passed} in {:?}", start.elapsed());
    });
}

#[test]
fn a_station_is_known_once_it_sent_to_a_port() {
    scene(Pace::real(), KNOWN_ONLY, |scene| {
        assert!(!scene.knows(MAC_FAR));
        assert_eq!(scene.hear(&ethernet(BROADCAST, MAC_FAR, 0x88b5, &[0; 46])), Counter::Passed);
        assert!(!scene.knows(MAC_FAR), "what is the host's, teaches nothing");
        assert_eq!(scene.hear(&from(MAC_FAR)), Counter::ToPort);
        assert!(scene.knows(MAC_FAR));
        assert!(!scene.knows(station(1)), "others are not");
        assert_eq!(scene.hear(&udp4((station(1), IP_FAR), B, (9, 9))), Counter::ToPort);
        assert!(scene.knows(station(1)), "a frame to any port will do");
        assert_eq!(scene.hear(&arp_request((station(2), IP_FAR), IP_A)), Counter::ToPort);
        assert!(scene.knows(station(2)), "one that was steered by its target too");
        let too_long = [from(station(3)), vec![0; 1500]].concat();
        assert_eq!(scene.hear(&too_long), Counter::TooLong);
        assert!(!scene.knows(station(3)), "what gets to no port, teaches nothing");
    });
}

#[test]
fn a_station_is_known_in_its_vlan_alone() {
    scene_in(Vlan::tagged(42).unwrap(), Pace::real(), KNOWN_ONLY, |scene| {
        let out = |scene: &Scene| scene.send(&tagged(&unicast(), &[(Q, 42)]));
        assert_eq!(scene.hear(&from(MAC_FAR)), Counter::Passed);
        assert_eq!(scene.hear(&tagged(&from(MAC_FAR), &[(Q, 43)])), Counter::Passed);
        assert_eq!(out(scene), Counter::Rate);
        assert_eq!(scene.hear(&tagged(&from(MAC_FAR), &[(Q, 0xe02a)])), Counter::ToPort);
        assert_eq!(out(scene), Counter::ToUplink);
    });
}

#[test]
fn a_port_is_no_station() {
    scene(Pace::real(), KNOWN_ONLY, |scene| {
        assert_eq!(scene.hear(&from(MAC_B)), Counter::ToPort, "a station forges a port's MAC");
        scene.remove_bob();
        assert!(!scene.knows(MAC_B));
        assert_eq!(scene.hear(&from(MAC_B)), Counter::ToPort);
        assert!(scene.knows(MAC_B), "nobody's any more");
    });
}

#[test]
fn a_station_that_says_no_more_is_forgotten() {
    let pace = Pace::real();
    let age = pace.jiffies_per_second / 5;
    scene(Pace { station_age: age, ..pace }, KNOWN_ONLY, |scene| {
        let start = Instant::now();
        let known = |scene: &Scene| {
            scene.hear(&from(MAC_FAR));
            scene.knows(MAC_FAR)
        };
        // On a machine that stands still meanwhile, it is forgotten at once.
        while !known(scene) {
            assert!(start.elapsed() < DEADLINE, "never known");
        }
        while scene.knows(MAC_FAR) {
            assert!(start.elapsed() < DEADLINE, "never forgotten, though it is sent to all the time");
        }
        assert!(start.elapsed() > Duration::from_millis(170), "forgotten after {:?}", start.elapsed());
        while !known(scene) {
            assert!(start.elapsed() < DEADLINE, "not known again");
        }
    });
}

#[test]
fn made_up_stations_do_not_displace_those_that_ports_send_to() {
    scene(Pace::real(), KNOWN_ONLY, |scene| {
        let friends: Vec<_> = (0..64).map(|number| [0x02, 0xaa, 0, 0, 0, number]).collect();
        let hear = |mac| assert_eq!(scene.hear(&from(mac)), Counter::ToPort);
        // By and by, so that two friends in a bucket are both kept before a third one could come.
        let mut kept: Vec<Mac> = Vec::new();
        for &friend in &friends {
            hear(friend);
            if scene.knows(friend) {
                kept.push(friend);
            }
        }
        assert!(kept.len() > 60, "{} of 64 found a place among 4096", kept.len());
        // Ten for each bucket.
        for number in 0..40_960 {
            hear(station(number));
        }
        for friend in kept {
            assert!(scene.knows(friend), "{friend:?} was forgotten");
        }
        // Beside them, the latest are known.
        assert!(scene.knows(station(40_959)));
    });
}
