//! Measurements, with the feature `measure`: what rates cost a packet in the guard, by the kernel's statistics
//! (`BPF_ENABLE_STATS`).

use std::net::IpAddr;

use aya::sys::{Stats, enable_stats};

use super::flow_cost::mean;
use super::frames::*;
use super::group_cost::median;
use super::lab::{ALICE, device, in_namespace};
use crate::{Datapath, DatapathOptions, PortEntry, Rate, Rates, Rights, Vlan};

/// Test packets come from it unless a device is named.
const LOOPBACK: u32 = 1;

static IPS_OF_A: [IpAddr; 2] = [IpAddr::V4(IP_A), IpAddr::V6(IP6_A)];

#[test]
fn cost_of_rates() {
    let statistics = enable_stats(Stats::RunTime).unwrap();
    in_namespace(&["up0"], || {
        let options = DatapathOptions { uplink_mtu: 1500, queue_seed: 0, pins: None };
        let mut datapath = Datapath::load(options).unwrap();
        let uplink = device("up0").index;
        datapath.set_uplink(uplink).unwrap();
        let entry = |rates| PortEntry {
            id: ALICE,
            outers: &[LOOPBACK],
            mac: MAC_A,
            uplink_mac: false,
            tap: false,
            vlan: Vlan::UNTAGGED,
            mtu: 1500,
            sources: &IPS_OF_A,
            targets: &IPS_OF_A,
            rights: Rights::default(),
            rates,
            rings: None,
        };
        let [frame, broadcast] =
            [FAR.0, BROADCAST].map(|to| ethernet(to, MAC_A, IPV4, &ipv4(UDP, IP_A, IP_FAR, &udp(9, 53))));
        let (wide, none) = (Some(Rate::new(u64::from(u32::MAX))), Some(Rate::new(0)));
        let bits = Some(Rate::new(1_000_000_000_000));
        for (what, frame, rates) in [
            ("no rates", &frame, Rates::UNLIMITED),
            ("those of a grant without `rates`, a known station", &frame, Rates::default()),
            ("frames", &frame, Rates { frames: wide, ..Rates::UNLIMITED }),
            ("bits", &frame, Rates { bits, ..Rates::UNLIMITED }),
            ("frames and bits", &frame, Rates { frames: wide, bits, ..Rates::UNLIMITED }),
            ("frames, beyond the rate", &frame, Rates { frames: none, ..Rates::UNLIMITED }),
            ("no rates, broadcast", &broadcast, Rates::UNLIMITED),
            ("broadcast", &broadcast, Rates { broadcast: wide, ..Rates::UNLIMITED }),
            ("broadcast, beyond the rate", &broadcast, Rates { broadcast: none, ..Rates::UNLIMITED }),
        ] {
            datapath.add_port(&entry(rates)).unwrap();
            datapath.test_uplink(&udp4(FAR, A, (53, 9)), uplink).unwrap();
            println!("guard, {what}: {:.1} ns", median(|| mean(datapath.guard_program(), frame)));
            datapath.remove_port(&entry(rates)).unwrap();
        }
    });
    drop(statistics);
}
