//! A silenced pair beside one that was left as the kernel made it.

use std::fs;
use std::time::{Duration, Instant};

use crate::common::{Pair, wait_until};
use xsknet_link::{Ipv6Before, disable_ipv6, quiet};

#[test]
fn a_silenced_pair_sends_nothing_while_a_fresh_one_beside_it_does() {
    let silent = Pair::new();
    for side in [&silent.outer, &silent.inner] {
        let done = side.netns.run(|| quiet(&side.name)).unwrap().unwrap();
        assert!(done.addrgenmode && done.ipv6 == Ipv6Before::On && !done.offloads.is_empty(), "{done:?}");
        let again = side.netns.run(|| quiet(&side.name)).unwrap().unwrap();
        assert_eq!((again.ipv6, again.offloads.len()), (Ipv6Before::Off, 0));
        let setting = side.netns.run(|| fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6")).unwrap();
        assert_eq!(setting.unwrap().trim(), "0", "only the device was meant");
    }
    let silent = silent.up();
    let fresh = Pair::new().up();
    let begun = Instant::now();

    // An observation, no proof: the fresh pair shows that there was time to talk, and the window is at least 1 s long.
    wait_until("frame on the fresh pair", || {
        let talked = fresh.outer.device().stats.rx_packets + fresh.inner.device().stats.rx_packets;
        if talked >= 4 && begun.elapsed() >= Duration::from_secs(1) { Ok(()) } else { Err(talked) }
    });
    for side in [&silent.outer, &silent.inner] {
        let stats = side.device().stats;
        assert_eq!((stats.rx_packets, stats.tx_packets), (0, 0), "{}", side.name);
        assert_eq!(side.links.addresses(side.index).unwrap(), []);
    }
}

#[test]
fn a_device_too_small_for_ipv6_has_none_to_switch_off() {
    let pair = Pair::new();
    let outer = &pair.outer;
    outer.links.set_mtu(outer.index, 1000).unwrap();
    assert_eq!(outer.netns.run(|| disable_ipv6(&outer.name)).unwrap().unwrap(), Ipv6Before::Absent);
    assert!(!outer.links.set_addrgenmode_none(outer.index).unwrap());
}

#[test]
fn without_an_address_generation_mode_a_device_comes_up_without_an_address() {
    let pair = Pair::new();
    assert!(pair.outer.links.set_addrgenmode_none(pair.outer.index).unwrap());
    let pair = pair.up();
    // The other end, brought up later and left alone, shows that the kernel had its chance.
    wait_until("link-local address on the inner end", || {
        let addresses = pair.inner.links.addresses(pair.inner.index).unwrap();
        if addresses.iter().any(|(address, _)| address.is_ipv6()) { Ok(()) } else { Err(addresses) }
    });
    assert_eq!(pair.outer.links.addresses(pair.outer.index).unwrap(), []);
}
