//! The maps of the data path: which port is where, and which addresses it has.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::maps::xdp::XdpMapError;
use aya::maps::{Array, DevMap, DevMapHash, HashMap, MapData, MapError, PerCpuArray, PerCpuHashMap, PerCpuValues};
use aya::{Ebpf, Pod};
use aya_obj::generated::BPF_NOEXIST;

use crate::contract::{
    CLAIM_PACKETS, Claim, Guard, KIND_SHIFT, MAX_PORT_QUEUE_PAIRS, MacKey, NO_PORT_ID, PortId, REFUSALS, RateState,
    Source4, Source6, TAP, TIME_SHIFT, Target, Target4, Target6, UPLINK_MAC, Vlan,
};
use crate::counters::Counters;
use crate::flows::Flows;
use crate::groups::Groups;
use crate::load_error::LoadError;
use crate::object::take_map;
use crate::refusals::{Refusal, Refusals, SAMPLES};
use crate::rights::{self, Rate, Rates, Rights};
use crate::rings::{RingCounters, RingMaps, RingRange, Rings, RingsEntry};
use crate::sys;
use crate::table_error::{Claimed, TableError, errno};
use crate::taps::{Tap, TapError, Taps};

/// A port, as the programs know it.
#[derive(Debug, Clone, Copy)]
pub struct PortEntry<'a> {
    /// Its name in the maps.
    pub id: PortId,
    /// Ifindices of the outer ends of its veth pairs, on which the guard sits: one per queue pair, in their order, 1 to
    /// [`MAX_PORT_QUEUE_PAIRS`](crate::contract::MAX_PORT_QUEUE_PAIRS).
    pub outers: &'a [u32],
    /// Its MAC, unicast: that of its inner ends.
    pub mac: [u8; 6],
    /// On the wire it has the uplink's MAC instead: nothing is steered to its own, and nothing that it sends from that
    /// one gets out. Packets to the uplink's MAC that are for its addresses are its own; without addresses it has flows
    /// alone, or is a tap.
    pub uplink_mac: bool,
    /// It is a tap, and sends nothing. It has the uplink's MAC then, no addresses, and no flows.
    pub tap: bool,
    /// Its VLAN.
    pub vlan: Vlan,
    /// Bytes behind the Ethernet header and one VLAN tag, at most.
    pub mtu: u32,
    /// The addresses that it may send from, the IPv6 link-local one included.
    pub sources: &'a [IpAddr],
    /// The addresses whose ARP and neighbour discovery it gets, the IPv6 link-local one included.
    pub targets: &'a [IpAddr],
    /// What it may send that others may not.
    pub rights: Rights,
    /// How much it may send of what reaches all stations behind the uplink.
    pub rates: Rates,
    /// What its frames go into, where that is not its pairs.
    pub rings: Option<RingsEntry>,
}

pub(crate) struct Tables {
    pub(crate) ports: DevMapHash<MapData>,
    uplinks: DevMap<MapData>,
    uplink_mtus: Array<MapData, u32>,
    uplink_macs: Array<MapData, u64>,
    pub(crate) macs: HashMap<MapData, MacKey, Claim>,
    sources4: HashMap<MapData, Source4, u32>,
    sources6: HashMap<MapData, Source6, u32>,
    targets4: HashMap<MapData, Target4, Claim>,
    targets6: HashMap<MapData, Target6, Claim>,
    guards: HashMap<MapData, u32, Guard>,
    rates: Array<MapData, RateState>,
    /// Buckets of two stations of three words each, the station's name first.
    stations: Array<MapData, [u64; 8]>,
    /// Of the rates, in nanoseconds.
    second: u64,
    uplink_counters: PerCpuArray<MapData, Counters>,
    guard_counters: PerCpuHashMap<MapData, u32, Counters>,
    rings: Rings,
    refusals: Refusals,
    pub(crate) flows: Flows,
    pub(crate) groups: Groups,
    pub(crate) taps: Taps,
    /// The uplink's, once it is known.
    mac: Option<[u8; 6]>,
    /// The ports with addresses at the uplink's MAC. In each of these VLANs `macs` has one entry for it.
    at_uplink_mac: BTreeMap<PortId, Vlan>,
}

/// What was counted for a port that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LastCounters {
    /// What became of the frames that it sent.
    pub guard: Counters,
    /// What became of the copies for it.
    pub copies: Counters,
}

impl Tables {
    /// Takes the maps out of the loaded object, and makes the entry that the guard relies on.
    pub(crate) fn take(bpf: &mut Ebpf, second: u64) -> Result<Self, LoadError> {
        let mut tables = Self {
            ports: take_map(bpf, "ports")?,
            uplinks: take_map(bpf, "uplinks")?,
            uplink_mtus: take_map(bpf, "uplink_mtus")?,
            uplink_macs: take_map(bpf, "uplink_macs")?,
            macs: take_map(bpf, "macs")?,
            sources4: take_map(bpf, "sources4")?,
            sources6: take_map(bpf, "sources6")?,
            targets4: take_map(bpf, "targets4")?,
            targets6: take_map(bpf, "targets6")?,
            guards: take_map(bpf, "guards")?,
            rates: take_map(bpf, "rates")?,
            stations: take_map(bpf, "stations")?,
            second,
            uplink_counters: take_map(bpf, "uplink_counters")?,
            guard_counters: take_map(bpf, "guard_counters")?,
            rings: Rings::take(bpf)?,
            refusals: Refusals::take(bpf)?,
            flows: Flows::take(bpf)?,
            groups: Groups::take(bpf)?,
            taps: Taps::take(bpf)?,
            mac: None,
            at_uplink_mac: BTreeMap::new(),
        };
        match tables.start_counters(NO_PORT_ID) {
            // Pinned maps bring it along.
            Err(cause) if errno(&cause) == Some(libc::EEXIST) => {}
            answer => answer.map_err(|cause| LoadError::Map { map: "guard_counters", cause })?,
        }
        Ok(tables)
    }

    pub(crate) fn set_uplink(&mut self, ifindex: u32) -> Result<(), TableError> {
        let refused = |cause| device_refused("uplinks", ifindex, cause);
        self.uplinks.set(0, ifindex, None, 0).map_err(refused)
    }

    pub(crate) fn set_uplink_mtu(&mut self, mtu: u32) -> Result<(), MapError> {
        self.uplink_mtus.set(0, mtu, 0)
    }

    /// The packets of ports at the uplink's MAC are steered to them at the new one before they send from it, and at the
    /// old one until then.
    pub(crate) fn set_uplink_mac(&mut self, mac: [u8; 6]) -> Result<(), TableError> {
        let vlans: BTreeSet<Vlan> = self.at_uplink_mac.values().copied().collect();
        for &vlan in &vlans {
            self.steer_by_address(mac, vlan)?;
        }
        let set = self.uplink_macs.set(0, mac_word(mac, Vlan::UNTAGGED), 0);
        set.map_err(|cause| TableError::Refused { table: "uplink_macs", cause })?;
        let Some(before) = self.mac.replace(mac).filter(|before| *before != mac) else { return Ok(()) };
        vlans.into_iter().try_for_each(|vlan| self.leave_by_address(before, vlan))
    }

    /// Steers what comes to the uplink's MAC by the address that it is for. Once more is as good as once.
    fn steer_by_address(&mut self, mac: [u8; 6], vlan: Vlan) -> Result<(), TableError> {
        let entry =
            Claim { target: Target::Address as u32, port: NO_PORT_ID, mtu: 0, queue_pairs: 0, rings: 0, flags: 0 };
        if self.macs.get(&mac_key(mac, vlan), 0).is_ok_and(|there| there == entry) {
            return Ok(());
        }
        add(&mut self.macs, "macs", mac_key(mac, vlan), entry, Claimed::Mac(mac), vlan)
    }

    fn leave_by_address(&mut self, mac: [u8; 6], vlan: Vlan) -> Result<(), TableError> {
        let is_own = |claim: &Claim| claim.target == Target::Address as u32;
        remove(&mut self.macs, "macs", mac_key(mac, vlan), is_own)
    }

    fn add_at_uplink_mac(&mut self, port: PortId, vlan: Vlan) -> Result<(), TableError> {
        self.at_uplink_mac.insert(port, vlan);
        self.mac.map_or(Ok(()), |mac| self.steer_by_address(mac, vlan))
    }

    fn remove_at_uplink_mac(&mut self, port: PortId) -> Result<(), TableError> {
        let Some(vlan) = self.at_uplink_mac.remove(&port) else { return Ok(()) };
        let is_last = !self.at_uplink_mac.values().any(|other| *other == vlan);
        self.mac.filter(|_| is_last).map_or(Ok(()), |mac| self.leave_by_address(mac, vlan))
    }

    pub(crate) fn clear_uplink(&mut self) -> Result<(), TableError> {
        // aya knows no removal; the kernel takes ifindex 0 for one.
        self.uplinks.set(0, 0, None, 0).map_err(|cause| device_refused("uplinks", 0, cause))
    }

    pub(crate) fn add_port(&mut self, port: &PortEntry<'_>) -> Result<(), TableError> {
        if port.mac[0] & 1 != 0 || port.mac == [0; 6] {
            return Err(TableError::NotUnicast { claimed: Claimed::Mac(port.mac) });
        }
        let mut addresses = port.sources.iter().chain(port.targets);
        if let Some(&address) = addresses.find(|address| !is_unicast(address)) {
            return Err(TableError::NotUnicast { claimed: Claimed::Address(address) });
        }
        let queue_pairs = port.outers.len();
        if queue_pairs == 0 || queue_pairs > MAX_PORT_QUEUE_PAIRS as usize {
            return Err(TableError::QueuePairs { queue_pairs });
        }

        // Until the id is ours, nothing of it may be taken back: it may be another port's.
        self.start_counters(port.id.number())
            .map_err(|cause| refused("guard_counters", cause, Claimed::Id(port.id), port.vlan))?;
        self.enter(port).inspect_err(|_| {
            // The reason for the failure is the first one; what cannot be taken back does no harm without the rest.
            let _ = self.remove_port(port);
        })
    }

    fn enter(&mut self, port: &PortEntry<'_>) -> Result<(), TableError> {
        let PortEntry { id, outers, mac, uplink_mac, tap, vlan, sources, targets, rights, rates, rings, .. } = *port;
        let claim = claim_of(port);
        let sends_from = if uplink_mac { [0; 6] } else { mac };
        let at_uplink_mac = if uplink_mac && !sources.is_empty() { UPLINK_MAC } else { 0 };
        let sends_nothing = if tap { TAP } else { 0 };
        let flags = rights::flags(rights, &rates) | at_uplink_mac | sends_nothing;
        let guard = Guard { port: id.number(), mac: sends_from, vlan: vlan.key(), flags };

        for (queue_pair, &outer) in (0..).zip(outers) {
            self.ports
                .insert(id.key_of(queue_pair), outer, None, u64::from(BPF_NOEXIST))
                .map_err(|cause| device_refused("ports", outer, cause))?;
        }
        self.set_rates(id, &rates)?;
        for &address in sources {
            self.enter_source(id, address)?;
        }
        for &outer in outers {
            add(&mut self.guards, "guards", outer, guard, Claimed::Outer(outer), vlan)?;
        }
        if let Some(rings) = &rings {
            self.rings.enter(rings, guard)?;
        }
        if !uplink_mac {
            self.steer_mac(port)?;
        } else if !targets.is_empty() {
            self.add_at_uplink_mac(id, vlan)?;
        }
        for &address in targets {
            let claimed = Claimed::Address(address);
            match address {
                IpAddr::V4(v4) => add(&mut self.targets4, "targets4", target4(v4, vlan), claim, claimed, vlan)?,
                IpAddr::V6(v6) => add(&mut self.targets6, "targets6", target6(v6, vlan), claim, claimed, vlan)?,
            }
        }
        self.flows.add_port(id, claim);
        self.groups.add_port(id, claim, vlan);
        Ok(())
    }

    /// Steers what comes to the port's MAC to the port.
    pub(crate) fn steer_mac(&mut self, port: &PortEntry<'_>) -> Result<(), TableError> {
        let PortEntry { mac, vlan, .. } = *port;
        add(&mut self.macs, "macs", mac_key(mac, vlan), claim_of(port), Claimed::Mac(mac), vlan)
    }

    /// What comes to the port's MAC is not the port's any more.
    pub(crate) fn leave_mac(&mut self, port: &PortEntry<'_>) -> Result<(), TableError> {
        let PortEntry { id, mac, vlan, .. } = *port;
        remove(&mut self.macs, "macs", mac_key(mac, vlan), |claim: &Claim| claim.port == id.number())
    }

    fn enter_source(&mut self, port: PortId, address: IpAddr) -> Result<(), TableError> {
        let (table, entered) = match address {
            IpAddr::V4(v4) => ("sources4", self.sources4.insert(source4(v4, port), 0, 0)),
            IpAddr::V6(v6) => ("sources6", self.sources6.insert(source6(v6, port), 0, 0)),
        };
        entered.map_err(|cause| match errno(&cause) {
            Some(libc::E2BIG) => TableError::Full { table },
            _ => TableError::Refused { table, cause },
        })
    }

    /// Goes on past an error, and returns the first.
    pub(crate) fn remove_port(&mut self, port: &PortEntry<'_>) -> Result<LastCounters, TableError> {
        let PortEntry { id, outers, vlan, sources, targets, .. } = *port;
        let own_claim = |claim: &Claim| claim.port == id.number();
        let mut removed = self.taps.stop(id);
        let copies = self.groups.remove_port(id);
        removed = removed.and(self.flows.remove_port(id));
        for &address in targets {
            removed = removed.and(match address {
                IpAddr::V4(v4) => remove(&mut self.targets4, "targets4", target4(v4, vlan), own_claim),
                IpAddr::V6(v6) => remove(&mut self.targets6, "targets6", target6(v6, vlan), own_claim),
            });
        }
        removed = removed.and(self.remove_at_uplink_mac(id));
        // Also where it has the uplink's: its trial may not have ended.
        removed = removed.and(self.leave_mac(port));
        let own_guard = |guard: &Guard| guard.port == id.number();
        for &outer in outers {
            removed = removed.and(remove(&mut self.guards, "guards", outer, own_guard));
        }
        for &address in sources {
            removed = removed.and(match address {
                IpAddr::V4(v4) => gone("sources4", self.sources4.remove(&source4(v4, id))),
                IpAddr::V6(v6) => gone("sources6", self.sources6.remove(&source6(v6, id))),
            });
        }
        removed = removed.and(self.set_rates(id, &Rates::UNLIMITED));
        self.refusals.forget(id);
        for queue_pair in 0..MAX_PORT_QUEUE_PAIRS {
            // The kernel has removed it already where the device is gone.
            removed = removed.and(gone("ports", self.ports.remove(id.key_of(queue_pair))));
        }

        let counters = match self.guard_counters(id.number()) {
            Err(MapError::KeyNotFound) => Ok(Counters::default()),
            answer => answer.map_err(|cause| TableError::Refused { table: "guard_counters", cause }),
        };
        removed = removed.and(gone("guard_counters", self.guard_counters.remove(&id.number())));
        removed.and(counters).and_then(|guard| Ok(LastCounters { guard, copies: copies? }))
    }

    pub(crate) fn uplink_counters(&self) -> Result<Counters, MapError> {
        Ok(self.uplink_counters.get(&0, 0)?.iter().copied().sum())
    }

    /// Reads all of them: only the programs know in which bucket a station is.
    pub(crate) fn has_heard(&self, mac: [u8; 6], vlan: Vlan) -> Result<bool, MapError> {
        let name = mac_word(mac, vlan);
        for bucket in self.stations.iter() {
            let bucket = bucket?;
            if [bucket[0], bucket[3]].contains(&name) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn claim_rings(&mut self, count: u32, key: u32) -> Result<RingRange, TableError> {
        self.rings.claim(count, key).ok_or(TableError::Full { table: "ring_states" })
    }

    /// Has rings send as what an outer end may, beside that.
    #[cfg(test)]
    pub(crate) fn enter_rings(&mut self, rings: &RingsEntry, outer: u32) -> Result<(), TableError> {
        let guard = self.guards.get(&outer, 0).map_err(|cause| TableError::Refused { table: "guards", cause })?;
        self.rings.enter(rings, guard)
    }

    pub(crate) fn release_rings(&mut self, range: RingRange) -> Result<(), TableError> {
        self.taps.release(range);
        self.rings.release(range)
    }

    pub(crate) fn start_tap(&mut self, port: &PortEntry<'_>, tap: &Tap) -> Result<(), TapError> {
        let Some(rings) = &port.rings else { return Err(TapError::NoRings { port: port.id }) };
        self.groups.start_counters(port.id)?;
        self.taps.start(port.id, claim_of(port), rings.range, tap)
    }

    pub(crate) fn install_rings(&self, range: RingRange, maps: &[RingMaps]) -> Result<(), TableError> {
        self.rings.install(range, maps)
    }

    pub(crate) fn uninstall_rings(&self, range: RingRange) -> Result<(), TableError> {
        self.rings.uninstall(range)
    }

    pub(crate) fn ring_counters(&self, range: RingRange) -> Result<RingCounters, TableError> {
        self.rings.counters(range)
    }

    pub(crate) fn guard_counters(&self, port: u32) -> Result<Counters, MapError> {
        Ok(self.guard_counters.get(&port, 0)?.iter().copied().sum())
    }

    pub(crate) fn all_guard_counters(&self) -> Result<Counters, MapError> {
        let mut sum = Counters::default();
        for port in self.guard_counters.keys() {
            sum += self.guard_counters(port?)?;
        }
        Ok(sum)
    }

    /// What the id's last port has sent counts: closing a port and opening it again does not start its rates afresh.
    fn set_rates(&mut self, port: PortId, rates: &Rates) -> Result<(), TableError> {
        let refused = |cause| TableError::Refused { table: "rates", cause };
        let now = sys::programs_time() << TIME_SHIFT;
        for (kind, rate) in (0..).zip(rates.states(self.second)) {
            let key = port.number() << KIND_SHIFT | kind;
            let due = self.rates.get(&key, 0).map_err(refused)?.due;
            self.rates.set(key, rate.after(due, now), 0).map_err(refused)?;
        }
        self.set_sampling(port, None)
    }

    pub(crate) fn prepare_sampling(&self, port: PortId) -> Result<(), TableError> {
        self.refusals.prepare(port)
    }

    /// What the guard of a port refuses is sampled from now on.
    pub(crate) fn start_sampling(&mut self, port: PortId) -> Result<(), TableError> {
        self.set_sampling(port, Some(SAMPLES))
    }

    /// What was sampled since the last call; `None` if nothing is.
    pub(crate) fn refusals(&self, port: PortId) -> Result<Option<Vec<Refusal>>, TableError> {
        let key = port.number() << KIND_SHIFT | REFUSALS;
        let state = self.rates.get(&key, 0).map_err(|cause| TableError::Refused { table: "rates", cause })?;
        Ok((state.frame != 0).then(|| self.refusals.drain(port)))
    }

    fn set_sampling(&mut self, port: PortId, rate: Option<Rate>) -> Result<(), TableError> {
        let state = rights::of_frames(rate, self.second);
        let key = port.number() << KIND_SHIFT | REFUSALS;
        self.rates.set(key, state, 0).map_err(|cause| TableError::Refused { table: "rates", cause })
    }

    fn start_counters(&mut self, port: u32) -> Result<(), MapError> {
        let cpus = aya::util::nr_cpus().map_err(|(_, cause)| MapError::IoError(cause))?;
        let zeros = PerCpuValues::try_from(vec![Counters::default(); cpus]).map_err(MapError::IoError)?;
        self.guard_counters.insert(port, zeros, u64::from(BPF_NOEXIST))
    }
}

/// Where frames that are steered to the port go.
fn claim_of(port: &PortEntry<'_>) -> Claim {
    let (target, rings) = match &port.rings {
        Some(entry) => (Target::Rings as u32, entry.range.first),
        None => (Target::QueuePairs as u32, 0),
    };
    let flags = if port.uplink_mac { CLAIM_PACKETS } else { 0 };
    Claim { target, port: port.id.number(), mtu: port.mtu, queue_pairs: port.outers.len() as u32, rings, flags }
}

/// As mac_word() in parse.h.
fn mac_word(mac: [u8; 6], vlan: Vlan) -> u64 {
    let [a, b, c, d, e, f] = mac;
    let [g, h] = vlan.key().to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

fn mac_key(mac: [u8; 6], vlan: Vlan) -> MacKey {
    MacKey { mac, vlan: vlan.key() }
}

fn source4(address: Ipv4Addr, port: PortId) -> Source4 {
    Source4 { address: address.octets(), port: port.number() }
}

fn source6(address: Ipv6Addr, port: PortId) -> Source6 {
    Source6 { address: address.octets(), port: port.number() }
}

fn target4(address: Ipv4Addr, vlan: Vlan) -> Target4 {
    Target4 { address: address.octets(), vlan: vlan.key(), zero: 0 }
}

fn target6(address: Ipv6Addr, vlan: Vlan) -> Target6 {
    Target6 { address: address.octets(), vlan: vlan.key(), zero: 0 }
}

fn is_unicast(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && *address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

fn add<K: Pod, V: Pod>(
    map: &mut HashMap<MapData, K, V>,
    table: &'static str,
    key: K,
    value: V,
    claimed: Claimed,
    vlan: Vlan,
) -> Result<(), TableError> {
    map.insert(key, value, u64::from(BPF_NOEXIST)).map_err(|cause| refused(table, cause, claimed, vlan))
}

/// Removes the entry if it is the port's own.
fn remove<K: Pod, V: Pod>(
    map: &mut HashMap<MapData, K, V>,
    table: &'static str,
    key: K,
    is_own: impl FnOnce(&V) -> bool,
) -> Result<(), TableError> {
    match map.get(&key, 0) {
        Ok(value) if is_own(&value) => gone(table, map.remove(&key)),
        Ok(_) | Err(MapError::KeyNotFound) => Ok(()),
        Err(cause) => Err(TableError::Refused { table, cause }),
    }
}

fn gone(table: &'static str, removed: Result<(), MapError>) -> Result<(), TableError> {
    match removed {
        Err(cause) if errno(&cause) != Some(libc::ENOENT) => Err(TableError::Refused { table, cause }),
        _ => Ok(()),
    }
}

fn refused(table: &'static str, cause: MapError, claimed: Claimed, vlan: Vlan) -> TableError {
    match errno(&cause) {
        Some(libc::EEXIST) => TableError::Taken { claimed, vlan },
        Some(libc::E2BIG) => TableError::Full { table },
        _ => TableError::Refused { table, cause },
    }
}

fn device_refused(table: &'static str, ifindex: u32, cause: XdpMapError) -> TableError {
    let cause = match cause {
        XdpMapError::MapError(cause) => cause,
        other => MapError::IoError(io::Error::other(other)),
    };
    match errno(&cause) {
        Some(libc::EINVAL) => TableError::DeviceMissing { ifindex },
        Some(libc::E2BIG) => TableError::Full { table },
        _ => TableError::Refused { table, cause },
    }
}
