//! Random rule sets, and random frames near them: what the programs do, what they explain, and what the model says.
//!
//! Each rule set has a seed of its own, the number of the first one and its position, so that it can be drawn again
//! alone. `npm run model` runs more of them than the tests do.

use std::collections::BTreeMap;
use std::env;
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use aya::maps::{Array, Map, MapData};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use xsknet_filter::{Flow, Prefix};

use super::flow_model::{self, Model, draw};
use super::flows::{IP_HOST, IP6_HOST, flow};
use super::frames::*;
use super::lab::{Exit, PrivateBpffs, QUEUE_SEED, device, exit_of, in_namespace, left_by};
use super::model::{self, Port, Read, Tag, one_of};
use crate::contract::KIND_SHIFT;
use crate::datapath::Pace;
use crate::{
    Counter, Datapath, DatapathOptions, Explanation, PortEntry, PortId, Rate, Rates, Rights, TestResult, Vlan,
};

const OUTERS: [&str; 12] = ["q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8", "q9", "q10", "q11"];

/// Differences that are shown; all are counted.
const SHOWN: usize = 5;

/// What is compared: `XSKNET_RULE_SETS`, `XSKNET_PACKETS` of all of them together, and `XSKNET_SEED` of the first.
struct Amount {
    rule_sets: u64,
    packets: u64,
    seed: u64,
}

impl Amount {
    fn asked_for() -> Self {
        let number = |name, or: fn() -> u64| {
            env::var(name).map_or_else(|_| or(), |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
        };
        // Another one each time: what one run does not meet, the next one may.
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos().into());
        Self {
            rule_sets: number("XSKNET_RULE_SETS", || 40),
            packets: number("XSKNET_PACKETS", || 16_000),
            seed: number("XSKNET_SEED", now),
        }
    }
}

fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng)
}

/// Ports, without what two of them cannot both have; and flows, each of one of them.
fn rules() -> impl Strategy<Value = (Vec<Port>, usize, Vec<(usize, Flow)>)> {
    let flows = prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![flow(), sending_flow()]), 0..24);
    (prop::collection::vec(port(), 1..7), one_of(&[1500usize, 1500, 1500, 1400]), flows).prop_map(
        |(drawn, mtu, flows)| {
            let ports = disjoint(drawn);
            let flows = flows.into_iter().map(|(port, flow)| (port.index(ports.len()), flow)).collect();
            (ports, mtu, flows)
        },
    )
}

/// A flow that lets its port send from an address of the host's.
fn sending_flow() -> impl Strategy<Value = Flow> {
    let host = one_of(&[Prefix::host(IP_HOST.into()), Prefix::host(IP6_HOST.into())]);
    (flow(), host)
        .prop_map(|(flow, host)| Flow {
            destination: Some(host),
            source: None,
            protocol: flow.protocol.or(Some(UDP)),
            ..flow
        })
        .prop_filter("contradictory", |flow| flow.check().is_ok())
}

/// What MAC a port has on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnWire {
    Own,
    /// The uplink's, with flows alone.
    FlowsAlone,
    /// The uplink's, with addresses.
    Uplink,
}

fn port() -> impl Strategy<Value = Port> {
    let identity = (
        one_of(&[MAC_A, MAC_B, MAC_C, MAC_E, MAC_G, MAC_H]),
        one_of(&[Tag::None, Tag::None, Tag::None, Tag::Id(42), Tag::Id(43)]),
        one_of(&[OnWire::Own, OnWire::Own, OnWire::Own, OnWire::FlowsAlone, OnWire::Uplink]),
    );
    let addresses = (
        prop::sample::subsequence(vec![IP_A, IP_B, IP_D, IP_E], 1..4),
        prop::sample::subsequence(vec![IP6_A, LINK_LOCAL_A, IP6_B, IP6_E], 0..4),
    );
    let rights = (one_of(&[false, false, false, true]), one_of(&[false, false, false, true]), rates());
    (identity, addresses, rights, one_of(&[1500usize, 1500, 1400, 600]), one_of(&[1u32, 1, 2, 3])).prop_map(
        |((mac, tag, on_wire), (ip4, ip6), (inner_tags, routing, rates), mtu, queue_pairs)| Port {
            id: PortId::new(1).unwrap(),
            mac: if on_wire == OnWire::Uplink { MAC_HOST } else { mac },
            tag,
            mtu,
            queue_pairs,
            ip4: if on_wire == OnWire::FlowsAlone {
                Vec::new()
            } else {
                ip4.iter().map(std::net::Ipv4Addr::octets).collect()
            },
            ip6: if on_wire == OnWire::FlowsAlone {
                Vec::new()
            } else {
                ip6.iter().map(std::net::Ipv6Addr::octets).collect()
            },
            inner_tags,
            routing,
            uplink_mac: on_wire != OnWire::Own,
            gone: false,
            rates,
        },
    )
}

/// Of so much a second that the bits of a byte take a whole number of the programs' units of time.
fn rates() -> impl Strategy<Value = Rates> {
    // With too few of them nothing leaves.
    let of = |unlimited: u32, bursts: &'static [u64]| {
        let some = one_of(bursts).prop_map(|burst| Rate { per_second: 1_000_000, burst });
        prop_oneof![unlimited => Just(None), 4 => some.prop_map(Some), 1 => Just(Some(Rate::new(0)))]
    };
    (of(2, &[0, 1, 3]), of(2, &[1, 3]), of(20, &[0, 4, 10, 20]), of(20, &[0, 479, 480, 481, 4000, 10_000])).prop_map(
        |(broadcast, multicast, frames, bits)| Rates { broadcast, multicast, frames, bits, ..Rates::UNLIMITED },
    )
}

/// The first one has a MAC or an address in its VLAN. Devices that are left over stay unused.
fn disjoint(drawn: Vec<Port>) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::new();
    let mut devices = OUTERS.len() as u32;
    for (id, mut port) in (1..).zip(drawn) {
        port.id = PortId::new(id).expect("it begins at 1");
        port.queue_pairs = port.queue_pairs.min(devices);
        let shares = port.mac == MAC_HOST;
        let taken = !shares && ports.iter().any(|other| (other.mac, other.tag) == (port.mac, port.tag));
        if taken || port.queue_pairs == 0 {
            continue;
        }
        devices -= port.queue_pairs;
        let beside = || ports.iter().filter(|other| other.tag == port.tag);
        port.ip4.retain(|address| beside().all(|other| !other.ip4.contains(address)));
        port.ip6.retain(|address| beside().all(|other| !other.ip6.contains(address)));
        // Without an address it would have flows alone.
        if !shares || !port.ip4.is_empty() || !port.ip6.is_empty() {
            ports.push(port);
        }
    }
    ports
}

/// A frame that arrives, near the rules.
fn arriving(model: &Model) -> impl Strategy<Value = Vec<u8>> + use<> {
    let of_ports = (model::draft(), one_of(&model.ports))
        .prop_map(|(draft, near)| named_after(&near, draft.frame(MAC_FAR, near.tag)));
    prop_oneof![1 => of_ports, 1 => flow_model::frame(MAC_FAR)]
}

/// A frame that a port sends, as itself or as the host.
fn sent(model: &Model) -> impl Strategy<Value = (PortId, Vec<u8>)> + use<> {
    let as_itself = (model::draft(), one_of(&model.ports), any::<bool>()).prop_map(|(draft, own, right)| {
        let frame = named_after(&own, draft.frame(own.mac, own.tag));
        (own.id, if right { from_an_own_address(&own, frame) } else { frame })
    });
    let ids: Vec<PortId> = model.ports.iter().map(|port| port.id).collect();
    let as_host = (one_of(&ids), prop_oneof![flow_model::frame(MAC_HOST), flow_model::answer()]);
    prop_oneof![1 => as_itself, 1 => as_host]
}

/// Drafts speak of Alice's addresses: let them speak of those of this port.
fn named_after(port: &Port, mut frame: Vec<u8>) -> Vec<u8> {
    let four = port.ip4.first().map(|own| (IP_A.octets().to_vec(), own.to_vec()));
    let six = port.ip6.first().map(|own| (IP6_A.octets().to_vec(), own.to_vec()));
    for (alices, own) in four.into_iter().chain(six) {
        for at in 0..frame.len().saturating_sub(alices.len() - 1) {
            if frame[at..at + alices.len()] == alices {
                frame[at..at + alices.len()].copy_from_slice(&own);
            }
        }
    }
    frame
}

/// With a source that the rules have no objection to, where there is room for one.
fn from_an_own_address(port: &Port, mut frame: Vec<u8>) -> Vec<u8> {
    let Ok(Read { ethertype, body, .. }) = model::read(&frame) else { return frame };
    let start = frame.len() - body.len();
    let (at, address): (usize, Option<&[u8]>) = match ethertype {
        ARP => (14, port.ip4.last().map(|own| own.as_slice())),
        IPV4 => (12, port.ip4.last().map(|own| own.as_slice())),
        IPV6 => (8, port.ip6.last().map(|own| own.as_slice())),
        _ => return frame,
    };
    if let Some(address) = address
        && let Some(source) = frame.get_mut(start + at..start + at + address.len())
    {
        source.copy_from_slice(address);
    }
    frame
}

/// A data path in the kernel, with the ports of one rule set after the other.
struct Scene {
    datapath: Datapath,
    uplink: u32,
    devices: Vec<u32>,
    /// What was sent counts for the next port of the same number, unless a rule set begins anew.
    rates: Array<MapData, [u64; 4]>,
    /// Those of the model, with their outer ends.
    ports: Vec<(Port, Vec<u32>)>,
    /// The last: the programs' pins.
    _pins: PrivateBpffs,
}

/// What two of three say about a frame.
struct Compared {
    counter: Counter,
    explained: Exit,
    explanation: Explanation,
}

impl Scene {
    fn new() -> Self {
        let pins = PrivateBpffs::mount();
        let shared = pins.path().join("datapath");
        let options = DatapathOptions { uplink_mtu: 1500, queue_seed: QUEUE_SEED, pins: Some(&shared) };
        // Fragments of a rule set belong together, however long it takes.
        let pace = Pace { fragment_age: u32::MAX, ..Pace::standstill() };
        let mut datapath = Datapath::load_paced(options, pace).unwrap();
        let uplink = device("up0").index;
        datapath.set_uplink(uplink).unwrap();
        datapath.set_uplink_mac(MAC_HOST).unwrap();
        let devices = OUTERS.map(|name| device(name).index).to_vec();
        let rates = Map::Array(MapData::from_pin(shared.join("maps/rates")).unwrap()).try_into().unwrap();
        Self { datapath, uplink, devices, rates, ports: Vec::new(), _pins: pins }
    }

    /// Enters other ports in the place of those that are there.
    fn renew(&mut self, ports: &[Port], uplink_mtu: usize) {
        for (port, outers) in std::mem::take(&mut self.ports) {
            with_entry(&port, &outers, |entry| self.datapath.remove_port(entry).map(drop)).unwrap();
        }
        self.datapath.set_uplink_mtu(uplink_mtu as u32).unwrap();
        for key in 0..(OUTERS.len() as u32 + 1) << KIND_SHIFT {
            self.rates.set(key, [0; 4], 0).unwrap();
        }
        let mut devices = self.devices.iter().copied();
        for port in ports {
            let outers: Vec<u32> = devices.by_ref().take(port.queue_pairs as usize).collect();
            with_entry(port, &outers, |entry| self.datapath.add_port(entry)).unwrap();
            self.ports.push((port.clone(), outers));
        }
    }

    fn arrives(&self, frame: &[u8]) -> Compared {
        let result = self.datapath.test_uplink(frame, self.uplink).unwrap();
        self.compared(&result, frame, self.datapath.explain_uplink(frame, self.uplink).unwrap())
    }

    fn sends(&self, sender: PortId, frame: &[u8]) -> Compared {
        let (_, outers) = self.ports.iter().find(|(port, _)| port.id == sender).unwrap();
        // Before it is sent: it may be the last one that its port may send.
        let explanation = self.datapath.explain_guard(frame, outers[0]).unwrap();
        let result = self.datapath.test_guard(frame, outers[0]).unwrap();
        self.compared(&result, frame, explanation)
    }

    fn compared(&self, result: &TestResult, frame: &[u8], explanation: Explanation) -> Compared {
        let several = |id| self.ports.iter().any(|(port, _)| port.id == id && port.queue_pairs > 1);
        let explained = exit_of(&explanation, several);
        Compared { counter: left_by(result, frame), explained, explanation }
    }
}

fn with_entry<T>(port: &Port, outers: &[u32], work: impl FnOnce(&PortEntry<'_>) -> T) -> T {
    let four = port.ip4.iter().map(|octets| IpAddr::from(*octets));
    let addresses: Vec<IpAddr> = four.chain(port.ip6.iter().map(|octets| IpAddr::from(*octets))).collect();
    work(&PortEntry {
        id: port.id,
        outers,
        mac: port.mac,
        uplink_mac: port.uplink_mac,
        tap: false,
        vlan: match port.tag {
            Tag::Id(id) => Vlan::tagged(id).unwrap(),
            _ => Vlan::UNTAGGED,
        },
        mtu: port.mtu as u32,
        sources: &addresses,
        targets: &addresses,
        rights: Rights { inner_tags: port.inner_tags, routing: port.routing },
        rates: port.rates,
        rings: None,
    })
}

/// A frame that is not handled as the model says, or as was explained.
struct Difference {
    seed: u64,
    rules: String,
    sender: Option<PortId>,
    frame: Vec<u8>,
    compared: Compared,
    expected: Exit,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, rules, sender, frame, compared, expected } = self;
        let way = sender.map_or_else(|| "arriving".to_owned(), |port| format!("sent by port {port}"));
        let digits = frame.iter().fold(String::new(), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        });
        writeln!(f, "rule set {seed} (again: --rule-sets 1 --seed {seed})\n{rules}")?;
        writeln!(f, "{way}: {digits}")?;
        writeln!(f, "the program counts {}, explained is {:?}", compared.counter, compared.explained)?;
        write!(f, "the model says {expected:?}\n{:#?}", compared.explanation)
    }
}

fn described(model: &Model) -> String {
    let mut text = format!("uplink MTU {}, MAC {MAC_HOST:02x?}\n", model.uplink_mtu);
    for port in &model.ports {
        let _ = writeln!(text, "{port:02x?}");
    }
    for (port, flow) in &model.flows {
        let _ = writeln!(text, "flow of port {port}: {flow}");
    }
    text
}

/// One rule set, with so many frames in each direction.
fn compare(scene: &mut Scene, seed: u64, frames: u64, exits: &mut BTreeMap<String, u64>) -> Vec<Difference> {
    let mut runner = runner(seed);
    let (ports, uplink_mtu, flows) = draw(&mut runner, &rules());
    scene.renew(&ports, uplink_mtu);
    let mut model = Model::new(ports, uplink_mtu);
    for (at, flow) in flows {
        if model.flows.iter().all(|(_, other)| !other.conflicts_with(&flow)) {
            let port = model.ports[at].id;
            scene.datapath.claim_flows(port, &[flow]).unwrap();
            model.flows.push((port, flow));
        }
    }
    let (arriving, sent) = (arriving(&model), sent(&model));
    let mut differences = Vec::new();
    let mut judge = |way: &str, sender, frame: Vec<u8>, compared: Compared, expected: Exit, model: &Model| {
        *exits.entry(format!("{way} {}", compared.counter)).or_default() += 1;
        if compared.explained != expected || compared.explanation.counter != compared.counter {
            let rules = described(model);
            differences.push(Difference { seed, rules, sender, frame, compared, expected });
        }
    };
    for number in 0..frames {
        let frame = draw(&mut runner, &arriving);
        let compared = scene.arrives(&frame);
        let expected = model.uplink(&frame);
        judge("uplink", None, frame, compared, expected, &model);

        let (drawn, frame) = draw(&mut runner, &sent);
        // As the host, mostly the one that may.
        let sender = if frame[6..12] == MAC_HOST && number % 4 != 0 { model.sender(&frame) } else { None };
        let sender = sender.unwrap_or(drawn);
        let compared = scene.sends(sender, &frame);
        let expected = model.guard(sender, &frame);
        judge("guard", Some(sender), frame, compared, expected, &model);
    }
    differences
}

#[test]
fn kernel_and_model_agree_on_random_rules() {
    let Amount { rule_sets, packets, seed } = Amount::asked_for();
    let mut names = OUTERS.to_vec();
    names.push("up0");
    let (exits, differences) = in_namespace(&names, || {
        let mut scene = Scene::new();
        let (mut exits, mut differences) = (BTreeMap::new(), Vec::new());
        for number in 0..rule_sets {
            // Half in each direction, and the rest with the first ones.
            let frames = (packets / 2) / rule_sets + u64::from(number < (packets / 2) % rule_sets);
            let found = compare(&mut scene, seed.wrapping_add(number), frames, &mut exits);
            differences.extend(found);
        }
        (exits, differences)
    });
    let compared: u64 = exits.values().sum();
    println!("seed {seed}: {rule_sets} rule sets, {compared} packets, {} differences", differences.len());
    for (exit, count) in &exits {
        println!("{count:>10} {exit}");
    }
    for difference in differences.iter().take(SHOWN) {
        println!("\n{difference}");
    }
    assert!(differences.is_empty(), "{} differences, seed {seed}", differences.len());
    // A comparison that gets to few of the exits proves little: nothing provokes no_guard, no_port, no_uplink.
    if compared >= 16_000 {
        let missing: Vec<&str> = EXITS.iter().copied().filter(|exit| !exits.contains_key(*exit)).collect();
        assert!(missing.is_empty(), "no frame left by {missing:?}, seed {seed}");
    }
}

const EXITS: [&str; 18] = [
    "uplink passed",
    "uplink passed_fragment",
    "uplink to_port",
    "uplink too_long",
    "guard to_port",
    "guard to_uplink",
    "guard source_mac",
    "guard vlan",
    "guard source_ip",
    "guard arp",
    "guard nd",
    "guard rogue",
    "guard ethertype",
    "guard malformed",
    "guard too_long",
    "guard rate",
    "guard frame_rate",
    "guard bit_rate",
];
