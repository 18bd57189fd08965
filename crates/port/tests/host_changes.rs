//! Names and changes of a host as nobody would think of them, each sequence generated: a NIC is called anything that
//! the kernel takes, and changes at any moment while frames come and go.
//!
//! The sequences are the same in each run. Others: `PROPTEST_RNG_SEED=7 PROPTEST_CASES=100 cargo test … host_changes`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use crate::common::*;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{RngSeed, TestRunner};
use xsknet_bpf::Mode;
use xsknet_link::{Device, DeviceName, Ethtool, FeatureSet, IfIndex, MacAddr, OffloadError};
use xsknet_port::{PortSpec, UplinkOptions};
use xsknet_testkit::{CARD, HOST6, device, on_fresh_mounts, port_addresses, wait_until};

/// An instance switches it off again: it takes a tag out of the frame before any program sees it.
const HIDES_TAGS: &str = "rx-vlan-hw-parse";

/// Runs `test` on so many generated values.
fn generated<S: Strategy>(cases: u32, values: &S, test: impl Fn(S::Value)) {
    let mut config = ProptestConfig { failure_persistence: None, max_shrink_iters: 20, ..ProptestConfig::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(1);
        config.cases = cases;
    }
    let tested = TestRunner::new(config).run(values, |value| {
        test(value);
        Ok(())
    });
    tested.unwrap_or_else(|failure| panic!("{failure}"));
}

/// Names that the kernel takes: any bytes but a few, 15 at most. A `%` would be a pattern for one.
fn names() -> impl Strategy<Value = DeviceName> {
    let odd = select(vec!['.', '-', '_', '@', '+', '~', '#', '!', '*', '?', '\\', '"', '\'', '$', '=', 'é', '網', '{']);
    let letter = prop_oneof![3 => proptest::char::range('a', 'z'), 2 => proptest::char::range('0', '9'), 3 => odd];
    proptest::collection::vec(letter, 1..=15).prop_filter_map("a name", |letters| {
        let mut name = String::new();
        for letter in letters {
            if name.len() + letter.len_utf8() <= DeviceName::MAX_LEN {
                name.push(letter);
            }
        }
        name.parse().ok()
    })
}

#[derive(Debug, Clone)]
enum Change {
    Rename(DeviceName),
    DownAndUp,
    Mtu(u32),
    Mac(MacAddr),
    Address(IpAddr, u8),
    Promiscuous,
    /// Switched to what it is not.
    Feature(&'static str),
}

fn changes() -> impl Strategy<Value = Change> {
    let mac = any::<[u8; 5]>().prop_map(|rest| {
        let [a, b, c, d, e] = rest;
        MacAddr::new([2, a, b, c, d, e])
    });
    let address = prop_oneof![
        (30..200_u8).prop_map(|last| (IpAddr::from([192, 0, 2, last]), 24)),
        (0x100..0xffff_u16).prop_map(|last| (IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]), 64)),
    ];
    // Those of a veth on which a path of frames may rest.
    let features = vec![HIDES_TAGS, "tx-vlan-hw-insert", "rx-gro", "tx-checksum-ip-generic", "tx-scatter-gather"];
    prop_oneof![
        names().prop_map(Change::Rename),
        Just(Change::DownAndUp),
        (1280..=3000_u32).prop_map(Change::Mtu),
        mac.prop_map(Change::Mac),
        address.prop_map(|(address, prefix)| Change::Address(address, prefix)),
        Just(Change::Promiscuous),
        select(features).prop_map(Change::Feature),
    ]
}

/// What the host's administrator does to the NIC.
struct Administrator<'a> {
    stage: &'a Stage,
    index: IfIndex,
    was: Device,
    /// Before an instance changed any.
    features: FeatureSet,
    addresses: Vec<(IpAddr, u8)>,
    set: BTreeSet<&'static str>,
    promiscuous: bool,
}

impl<'a> Administrator<'a> {
    fn new(stage: &'a Stage) -> Self {
        let was = stage.lab.host.links().by_name(&device(CARD)).expect("the NIC");
        let ethtool = Ethtool::in_namespace(stage.lab.host.namespace()).expect("ethtool");
        let features = ethtool.features(&was.name).expect("features");
        let (addresses, set) = (Vec::new(), BTreeSet::new());
        Self { stage, index: was.index, was, features, addresses, set, promiscuous: false }
    }

    fn card(&self) -> Device {
        self.stage.lab.host.links().by_index(self.index).expect("the NIC")
    }

    fn make(&mut self, change: &Change) {
        let links = self.stage.lab.host.links();
        match change {
            Change::Rename(name) => links.rename(self.index, name).expect("renamed"),
            Change::DownAndUp => self.down_and_up(|| {}),
            Change::Mtu(mtu) => links.set_mtu(self.index, *mtu).expect("set"),
            Change::Mac(mac) => links.set_mac(self.index, *mac).expect("set"),
            Change::Address(address, prefix) if !self.addresses.contains(&(*address, *prefix)) => {
                links.add_address(self.index, *address, *prefix).expect("added");
                self.addresses.push((*address, *prefix));
            }
            Change::Address(..) => {}
            Change::Promiscuous => {
                self.promiscuous = !self.promiscuous;
                links.set_promiscuous(self.index, self.promiscuous).expect("set");
            }
            Change::Feature(feature) => {
                self.set.insert(feature);
                let features = self.ethtool().features(&self.card().name).expect("features");
                self.set_feature(feature, !features.is_active(feature));
            }
        }
    }

    fn ethtool(&self) -> Ethtool {
        Ethtool::in_namespace(self.stage.lab.host.namespace()).expect("ethtool")
    }

    fn set_feature(&self, feature: &str, on: bool) {
        match self.ethtool().set_features(&self.card().name, &[(feature, on)]) {
            // The instance took it back between the setting and the look at it.
            Err(OffloadError::Stayed { .. }) if feature == HIDES_TAGS && on => {}
            set => drop(set.expect("it can be set")),
        }
    }

    fn down_and_up(&mut self, between: impl FnOnce()) {
        let links = self.stage.lab.host.links();
        links.set_down(self.index).expect("down");
        between();
        links.set_up(self.index).expect("up");
        // The kernel drops global IPv6 addresses of a device that goes down.
        self.addresses.retain(|(address, _)| address.is_ipv4());
        links.add_address(self.index, HOST6.into(), 64).expect("added again");
    }

    /// Takes back all of it, and nothing else.
    fn take_back(mut self) {
        let links = self.stage.lab.host.links();
        links.rename(self.index, &self.was.name).expect("renamed");
        links.set_mtu(self.index, self.was.mtu).expect("set");
        let (index, mac) = (self.index, self.was.mac.expect("a MAC"));
        // A link-local address follows its device's MAC only then.
        self.down_and_up(|| links.set_mac(index, mac).expect("set"));
        for (address, prefix) in std::mem::take(&mut self.addresses) {
            links.del_address(self.index, address, prefix).expect("removed");
        }
        if self.promiscuous {
            links.set_promiscuous(self.index, false).expect("set");
        }
        for feature in &self.set {
            self.set_feature(feature, self.features.is_active(feature));
        }
    }
}

/// Pings without end, which may be lost: frames that come and go.
const TRAFFIC: [&str; 7] = ["-n", "-q", "-i", "0.001", "-W", "1", "-c"];

fn changed_at_any_moment(mode: Mode, changes: &[(Change, u64)]) {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        let mut administrator = Administrator::new(&stage);
        let instance = stage.open();
        let watch = instance.watch(drop).expect("a watch");
        let uplink = manage(&instance, mode);
        let mut open = port(&uplink, 0);
        for (change, after) in changes {
            let serving = serve(open);
            let to = port_addresses(0)[0].to_string();
            let traffic = stage.lab.remote.spawn("ping", &[&TRAFFIC[..], &["60", &to]].concat());
            thread::sleep(Duration::from_micros(*after));
            administrator.make(change);
            traffic.terminate();
            wait_until("what the host changed is known", 2 * SECOND, || {
                let (known, card) = (uplink.nic(), administrator.card());
                known.name == card.name
                    && Some(known.mac) == card.mac
                    && (known.mtu, known.up, known.carrier) == (card.mtu, card.up, card.lower_up)
            });
            for address in port_addresses(0) {
                ping(&stage.lab, address, 20);
            }
            open = finish(serving);
            assert_accounted(&mut open);
        }
        // One that is opened now is as good as one that was there.
        let serving = serve(uplink.open_port(PortSpec::new(port_addresses(1))).expect("a port"));
        ping(&stage.lab, port_addresses(1)[0], 20);
        close(finish(serving));
        close(open);
        uplink.release().expect("releasing undoes everything");
        drop(watch);
        instance.close().expect("closing undoes everything");
        administrator.take_back();
        stage.assert_as_before(&before);
    });
}

fn sequences() -> impl Strategy<Value = Vec<(Change, u64)>> {
    proptest::collection::vec((changes(), 0..20_000_u64), 1..6)
}

#[test]
fn ports_live_through_whatever_the_host_changes_native() {
    generated(8, &sequences(), |changes| changed_at_any_moment(Mode::Native, &changes));
}

#[test]
fn ports_live_through_whatever_the_host_changes_skb() {
    generated(8, &sequences(), |changes| changed_at_any_moment(Mode::Skb, &changes));
}

/// Managed, used and given back, by itself or with the instance.
#[test]
fn a_card_may_have_any_name_that_the_kernel_takes() {
    generated(16, &(names(), any::<bool>()), |(name, released)| {
        on_fresh_mounts(|| {
            let stage = Stage::plain();
            let links = stage.lab.host.links();
            let index = links.by_name(&device(CARD)).expect("the NIC").index;
            links.rename(index, &name).expect("the kernel takes it");
            let before = stage.snapshot();
            let instance = stage.open();
            let uplink =
                instance.manage(&UplinkOptions { device: name.clone(), mode: Mode::Native }).expect("an uplink");
            let serving = serve(uplink.open_port(PortSpec::new(port_addresses(0))).expect("a port"));
            ping(&stage.lab, port_addresses(0)[0], 5);
            let open = finish(serving);
            if released {
                close(open);
                uplink.release().expect("releasing undoes everything");
            }
            instance.close().expect("closing undoes everything");
            stage.assert_as_before(&before);
        });
    });
}
