//! Offloads and the driver's counters, through the ethtool ioctl; XDP features.

use std::time::Duration;

use crate::common::{Pair, name, wait_until};
use xsknet_link::{Ethtool, LinkError, Netns, Offload, OffloadError, XdpFeatures};

#[test]
fn every_quiet_offload_is_off_afterwards_and_comes_back() {
    let pair = Pair::new();
    let outer = &pair.outer;
    let before = outer.ethtool.features(&outer.name).unwrap();
    let segmentations = before.names(Offload::Tso);
    assert!(segmentations.len() >= 4, "{segmentations:?}");
    for expected in ["tx-checksum-ip-generic", "tx-tcp-segmentation", "tx-generic-segmentation", "tx-vlan-hw-insert"] {
        assert!(before.is_active(expected), "{expected} is on by default");
    }

    let changed = outer.ethtool.set_features(&outer.name, &before.quiet_offloads()).unwrap();
    let quiet = outer.ethtool.features(&outer.name).unwrap();
    let left: Vec<_> =
        Offload::QUIET.into_iter().flat_map(|offload| quiet.names(offload)).filter(|n| quiet.is_active(n)).collect();
    assert_eq!(left, [""; 0]);
    let tso_left =
        |f: &&xsknet_link::Feature| f.active && f.name.starts_with("tx-tcp") && f.name.ends_with("-segmentation");
    assert_eq!(quiet.iter().filter(tso_left).count(), 0);
    assert!(
        changed
            .iter()
            .any(|change| change.name == "tx-tcp-accecn-segmentation" || change.name == "tx-tcp-segmentation")
    );
    assert!(changed.iter().all(|change| change.was));
    assert_eq!(outer.ethtool.set_features(&outer.name, &quiet.quiet_offloads()).unwrap(), []);

    outer.ethtool.restore_features(&outer.name, &changed).unwrap();
    assert_eq!(outer.ethtool.features(&outer.name).unwrap(), before);
}

#[test]
fn an_ack_is_no_proof_what_stayed_is_named() {
    let pair = Pair::new();
    let outer = &pair.outer;
    let before = outer.ethtool.features(&outer.name).unwrap();
    let fixed = before.iter().find(|feature| !feature.changeable && !feature.active).unwrap().name.clone();
    let wishes = [(fixed.as_str(), true), ("tx-vlan-hw-insert", false)];
    match outer.ethtool.set_features(&outer.name, &wishes) {
        Err(OffloadError::Stayed { stayed, changed, .. }) => {
            assert_eq!(stayed.0, [fixed]);
            assert_eq!(changed.iter().map(|change| change.name.as_str()).collect::<Vec<_>>(), ["tx-vlan-hw-insert"]);
            outer.ethtool.restore_features(&outer.name, &changed).unwrap();
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(outer.ethtool.features(&outer.name).unwrap(), before);

    // Taken by the kernel, without effect: TSO without checksums.
    let off = before.names(Offload::Checksum).into_iter().map(|name| (name, false)).collect::<Vec<_>>();
    outer.ethtool.set_features(&outer.name, &off).unwrap();
    match outer.ethtool.set_features(&outer.name, &[("tx-tcp-segmentation", true)]) {
        Err(OffloadError::Stayed { stayed, .. }) => assert_eq!(stayed.0, ["tx-tcp-segmentation"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_unknown_feature_changes_nothing() {
    let pair = Pair::new();
    let outer = &pair.outer;
    let before = outer.ethtool.features(&outer.name).unwrap();
    let wishes = [("tx-vlan-hw-insert", false), ("tx-no-such", false)];
    let error = outer.ethtool.set_features(&outer.name, &wishes).unwrap_err();
    assert_eq!(error.to_string(), "outer: this kernel has no features named tx-no-such");
    assert_eq!(outer.ethtool.features(&outer.name).unwrap(), before);
}

#[test]
fn a_missing_device_is_said_to_be_missing() {
    let ethtool = Ethtool::in_namespace(&Netns::create().unwrap()).unwrap();
    assert!(matches!(ethtool.features(&name("ghost")), Err(LinkError::DeviceMissing { .. })));
    assert!(matches!(ethtool.statistics(&name("ghost")), Err(LinkError::DeviceMissing { .. })));
    let set = ethtool.set_features(&name("ghost"), &[("rx-gro", true)]);
    assert!(matches!(set, Err(OffloadError::Link(LinkError::DeviceMissing { .. }))));
}

#[test]
fn the_counters_of_a_veth_have_the_names_that_the_sums_rest_on() {
    let pair = Pair::new().up();
    let statistics = pair.outer.ethtool.statistics(&pair.outer.name).unwrap();
    assert_eq!(statistics.value("peer_ifindex"), Some(u64::from(pair.inner.index.get())));
    for counter in ["tx_queue_0_xdp_xmit_errors", "rx_queue_0_drops", "rx_queue_0_xdp_packets"] {
        assert_eq!(statistics.value(counter), Some(0), "{counter}");
    }
    assert_eq!((statistics.sum("tx_queue_#_xdp_xmit_errors"), statistics.sum("rx_queue_#_drops")), (Some(0), Some(0)));
    assert_eq!(statistics.sum("rx_queue_#_no_such"), None);

    let lo = pair.outer.ethtool.statistics(&name("lo")).unwrap();
    assert_eq!(lo.iter().count(), 0);
}

#[test]
fn a_veth_takes_redirected_frames_once_its_peer_that_is_up_has_gro() {
    let pair = Pair::new();
    let (outer, inner) = (&pair.outer, &pair.inner);
    let features = || outer.links.xdp_features(outer.index).unwrap().expect("a kernel of 6.3 or later");
    assert!(features().contains(XdpFeatures::BASIC) && features().contains(XdpFeatures::REDIRECT));
    let gro = |on| inner.ethtool.set_features(&inner.name, &[("rx-gro", on)]).map(drop);

    outer.links.set_up(outer.index).unwrap();
    gro(true).unwrap();
    inner.links.set_up(inner.index).unwrap();
    wait_until("carrier", || if outer.device().lower_up { Ok(()) } else { Err(()) });
    // Switched on while the peer was down, it shows only when the device itself is brought up the next time.
    assert!(!features().contains(XdpFeatures::NDO_XMIT), "{}", features());
    outer.links.set_down(outer.index).unwrap();
    outer.links.set_up(outer.index).unwrap();
    assert!(features().contains(XdpFeatures::NDO_XMIT), "{}", features());

    gro(false).unwrap();
    assert!(!features().contains(XdpFeatures::NDO_XMIT), "{}", features());
    gro(true).unwrap();
    assert!(features().contains(XdpFeatures::NDO_XMIT), "{}", features());
    assert!(features().to_string().contains("ndo-xmit"));
    gro(false).unwrap();
    assert!(!features().contains(XdpFeatures::NDO_XMIT), "{}", features());
}

#[test]
fn frames_gather_where_a_device_has_napi_instances() {
    let pair = Pair::new();
    let inner = &pair.inner;
    let coalesce = || inner.links.coalesce(inner.index, Duration::from_micros(20)).expect("Linux 6.13 or later");
    inner.links.set_up(inner.index).unwrap();
    assert_eq!(coalesce(), 0);
    inner.ethtool.set_features(&inner.name, &[("rx-gro", true)]).unwrap();
    assert_eq!(coalesce(), 1);
}
