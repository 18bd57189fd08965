//! Filters: added once, listed, removed.

use crate::common::Pair;
use xsknet_link::{FilterAnswer, LinkStats, MacAddr};

#[test]
fn a_unicast_filter_makes_a_veth_promiscuous_by_one() {
    let pair = Pair::new().up();
    let outer = &pair.outer;
    let mac = MacAddr::random_local();
    let before = outer.device().promiscuity;

    assert!(matches!(outer.links.add_filter(outer.index, mac).unwrap(), FilterAnswer::Added));
    assert!(matches!(outer.links.add_filter(outer.index, mac).unwrap(), FilterAnswer::AlreadyThere));
    assert!(outer.links.filters(outer.index).unwrap().contains(&mac));
    let device = outer.device();
    assert_eq!((device.promiscuity, device.promiscuous), (before + 1, false));

    assert!(outer.links.remove_filter(outer.index, mac).unwrap());
    assert!(!outer.links.remove_filter(outer.index, mac).unwrap());
    assert!(!outer.links.filters(outer.index).unwrap().contains(&mac));
    assert_eq!(outer.device().promiscuity, before);
}

#[test]
fn a_multicast_filter_is_listed_and_leaves_promiscuity_alone() {
    let pair = Pair::new().up();
    let outer = &pair.outer;
    let group = MacAddr::solicited_node("2001:db8::12:3456".parse().unwrap());
    let before = outer.device().promiscuity;
    assert!(matches!(outer.links.add_filter(outer.index, group).unwrap(), FilterAnswer::Added));
    assert!(matches!(outer.links.add_filter(outer.index, group).unwrap(), FilterAnswer::AlreadyThere));
    assert!(outer.links.filters(outer.index).unwrap().contains(&group));
    assert_eq!(outer.device().promiscuity, before);
    assert!(outer.links.remove_filter(outer.index, group).unwrap());
    assert!(!outer.links.filters(outer.index).unwrap().contains(&group));
}

#[test]
fn the_filters_of_one_device_are_not_those_of_its_neighbour() {
    let pair = Pair::new();
    let (outer, inner) = (&pair.outer, &pair.inner);
    let (here, there) = (MacAddr::random_local(), MacAddr::random_local());
    outer.links.add_filter(outer.index, here).unwrap();
    inner.links.add_filter(inner.index, there).unwrap();
    inner.links.move_to(inner.index, &outer.netns).unwrap();
    let moved = outer.links.by_name(&inner.name).unwrap();
    outer.links.add_filter(moved.index, there).unwrap();
    assert!(outer.links.filters(outer.index).unwrap().contains(&here));
    assert!(!outer.links.filters(outer.index).unwrap().contains(&there));
    assert!(!outer.links.filters(moved.index).unwrap().contains(&here));
}

#[test]
fn a_device_that_takes_no_filter_refuses_it_with_the_errno() {
    let netns = xsknet_link::Netns::create().unwrap();
    let links = xsknet_link::Links::in_namespace(&netns).unwrap();
    let lo = links.by_name(&crate::common::name("lo")).unwrap();
    match links.add_filter(lo.index, MacAddr::random_local()).unwrap() {
        FilterAnswer::Refused(cause) => assert_eq!(cause.raw_os_error(), Some(libc::EINVAL)),
        other => panic!("{other:?}"),
    }
    assert_eq!(lo.stats, LinkStats::default());
}
