//! What the kernel tells of devices that change and go.

use std::time::{Duration, Instant};

use crate::common::Pair;
use xsknet_link::{IfIndex, LinkEvent, Monitor, Netns};

/// Reads on until `wanted`; gives up after 5 s with all that came instead.
fn until(monitor: &mut Monitor, wanted: LinkEvent) {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut seen = Vec::new();
    while let Some(event) = monitor.next(deadline.saturating_duration_since(Instant::now())).unwrap() {
        if event == wanted {
            return;
        }
        seen.push(event);
    }
    panic!("{wanted:?} did not come within 5 s, but {seen:?}");
}

#[test]
fn up_carrier_and_deletion_are_told_in_the_namespace_where_they_happen() {
    let pair = Pair::new();
    let (outer, inner) = (&pair.outer, &pair.inner);
    let mut outside = Monitor::in_namespace(&outer.netns).unwrap();
    let mut inside = Monitor::in_namespace(&inner.netns).unwrap();

    outer.links.set_up(outer.index).unwrap();
    until(&mut outside, LinkEvent::Changed { index: outer.index, up: true, lower_up: false });
    inner.links.set_up(inner.index).unwrap();
    until(&mut outside, LinkEvent::Changed { index: outer.index, up: true, lower_up: true });
    inner.links.set_down(inner.index).unwrap();
    until(&mut outside, LinkEvent::Changed { index: outer.index, up: true, lower_up: false });

    outer.links.delete(outer.index).unwrap();
    until(&mut outside, LinkEvent::Deleted(outer.index));
    until(&mut inside, LinkEvent::Deleted(inner.index));
}

#[test]
fn a_device_that_moves_away_is_deleted_where_it_was() {
    let pair = Pair::new();
    let elsewhere = Netns::create().unwrap();
    let mut monitor = Monitor::in_namespace(&pair.inner.netns).unwrap();
    pair.inner.links.move_to(pair.inner.index, &elsewhere).unwrap();
    until(&mut monitor, LinkEvent::Deleted(pair.inner.index));
}

#[test]
fn without_an_event_waiting_ends_with_its_timeout() {
    let mut monitor = Monitor::in_namespace(&Netns::create().unwrap()).unwrap();
    let begun = Instant::now();
    assert_eq!(monitor.next(Duration::from_millis(50)).unwrap(), None);
    assert!(begun.elapsed() >= Duration::from_millis(50));
    assert_eq!(monitor.next(Duration::ZERO).unwrap(), None);
}

#[test]
fn a_reader_too_slow_is_told_to_look_again_and_hears_what_follows() {
    let pair = Pair::new();
    let outer = &pair.outer;
    let mut monitor = Monitor::in_namespace(&outer.netns).unwrap();
    for turn in 0..2000 {
        outer.links.set_mtu(outer.index, 1400 + turn % 2).unwrap();
    }
    until(&mut monitor, LinkEvent::Overrun);
    while monitor.next(Duration::ZERO).unwrap().is_some() {}

    let fresh = pair.inner.index;
    pair.inner.links.move_to(fresh, &outer.netns).unwrap();
    let moved: IfIndex = outer.links.by_name(&pair.inner.name).unwrap().index;
    until(&mut monitor, LinkEvent::Changed { index: moved, up: false, lower_up: false });
}
