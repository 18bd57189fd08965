//! The flows that ports claim, in the maps that the programs search.
//!
//! A list says which kinds of flows there are, in the order of their precedence, and in which tables their keys are. It
//! is never changed while programs may read it: another one is written, and its number stored. Few flows are entered
//! into the tables in use. Many go to new tables, with all others, and become valid with the list that names them.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapError};
use aya_obj::generated::BPF_NOEXIST;
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_HASH;
use xsknet_filter::{Flow, FlowError};

use crate::contract::{
    Claim, FLOW_LISTS, FLOW_TABLES, FlowKey4, FlowKey6, FlowList, FlowState, KindOf, LinkKey, MAX_FLOW_KINDS,
    MAX_FLOWS, MAX_LINK_KINDS, PortId,
};
use crate::flow_index::FlowIndex;
use crate::flow_kind::{self, Entries, Entry, FlowKey, Shape};
use crate::load_error::LoadError;
use crate::object::take_map;
use crate::rings::side_by_side;
use crate::sys;
use crate::table_error::TableError;

/// So many are entered or removed one by one. More than that are, with all other flows, put into new tables.
const FEW: usize = 64;

/// Entries of a table at least, so that the first flows do not each make new ones.
const LEAST_ROOM: u32 = 256;

/// The names of the outer maps, in their order.
const OUTERS: [&str; 3] = ["flows4", "flows6", "flows_link"];

/// How a change of flows fails. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum FlowsError {
    /// The port is not in the tables.
    #[error("there is no port {port} on this uplink")]
    NoPort {
        /// Its id.
        port: PortId,
    },
    /// No packet can match.
    #[error("no packet can match the flow \"{flow}\"")]
    Contradiction {
        /// Which.
        flow: Box<Flow>,
        /// Why.
        #[source]
        cause: FlowError,
    },
    /// ARP and neighbour discovery go to whose address they ask for.
    #[error("ARP and neighbour discovery cannot be claimed by a flow such as \"{flow}\"")]
    Unclaimable {
        /// Which.
        flow: Box<Flow>,
    },
    /// Some packets are of both flows, and no precedence decides between them.
    #[error("the flow \"{flow}\" is in conflict with \"{other}\" of port {port}")]
    Taken {
        /// Which.
        flow: Box<Flow>,
        /// The one that is there already, or earlier in the same list.
        other: Box<Flow>,
        /// Whose it is.
        port: PortId,
    },
    /// There are as many flows as an uplink takes.
    #[error("an uplink takes {MAX_FLOWS} flows of all its ports together")]
    Full,
    /// There are as many kinds of flows as the programs search.
    #[error("an uplink takes flows of {MAX_FLOW_KINDS} kinds for each IP version")]
    TooManyKinds,
    /// The kernel refused.
    #[error(transparent)]
    Refused(#[from] TableError),
}

impl FlowsError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Taken { .. } => Some("release the other flow first, or make one of the two more specific".into()),
            Self::TooManyKinds => Some(
                "flows are of one kind if they give the same fields, with prefixes of the same lengths and either \
                 single ports, the same range, or blocks of ports of the same power of two: use fewer combinations"
                    .into(),
            ),
            Self::Full => Some("release flows, or claim prefixes and ranges instead of single values".into()),
            Self::NoPort { .. } | Self::Contradiction { .. } | Self::Unclaimable { .. } | Self::Refused(_) => None,
        }
    }
}

/// Why maps are not changed.
enum Failure {
    Kinds,
    /// A table in use has no room for one more.
    NoRoom,
    Kernel(TableError),
}

impl From<Failure> for FlowsError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Kinds => Self::TooManyKinds,
            Failure::NoRoom => Self::Full,
            Failure::Kernel(error) => Self::Refused(error),
        }
    }
}

pub(crate) struct Flows {
    state: Array<MapData, FlowState>,
    lists: Lists,
    outers: [MapData; 3],
    /// Put where no program looks, to wait for all of them.
    spare: OwnedFd,
    /// Of ports.
    removals: u32,
    index: FlowIndex,
    claims: HashMap<PortId, Claim>,
    tables: FlowTables,
    /// A list may still be read that names the tables that are not in use.
    others_in_use: bool,
    #[cfg(test)]
    pub(crate) room_in_tests: Option<u32>,
}

/// The tables of one key in `flows4`, `flows6` and `flows_link`, and what is in them.
struct FlowTables {
    key: u32,
    four: FlowTable<FlowKey4>,
    six: FlowTable<FlowKey6>,
    link: FlowTable<LinkKey>,
}

struct FlowTable<K> {
    name: &'static str,
    kinds: Kinds<K>,
    /// `None` until there is a flow.
    map: Option<OwnedFd>,
    room: u32,
    used: u32,
}

/// In the order of their precedence.
#[derive(Clone)]
struct Kinds<K> {
    list: Vec<KindEntry<K>>,
    most: u32,
    /// The next number. None is used twice in a table: a program may still look for a kind that is gone.
    next: u16,
    changed: bool,
}

#[derive(Clone)]
struct KindEntry<K> {
    shape: Shape<K>,
    number: u16,
    flows: u32,
}

struct Lists {
    map: Array<MapData, FlowList>,
    slots: [ListSlot; FLOW_LISTS as usize],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ListSlot {
    Free,
    Used,
    /// Programs may still read it.
    Left,
}

impl Flows {
    /// Takes the maps out of the loaded object. What an earlier daemon has left in pinned ones is not valid any more.
    pub(crate) fn take(bpf: &mut Ebpf) -> Result<Self, LoadError> {
        let mut state: Array<MapData, FlowState> = take_map(bpf, "flow_states")?;
        let unprepared = |map, cause| LoadError::Map { map, cause };
        let removals = state.get(&0, 0).map_err(|cause| unprepared("flow_states", cause))?.removals.wrapping_add(1);
        state.set(0, FlowState { list: 0, removals }, 0).map_err(|cause| unprepared("flow_states", cause))?;
        let lists = Lists { map: take_map(bpf, "flow_lists")?, slots: [ListSlot::Left; FLOW_LISTS as usize] };
        let outers = OUTERS.map(|map| match bpf.take_map(map) {
            Some(Map::ArrayOfMaps(data)) => data,
            _ => unreachable!("every map named in this crate is in its object"),
        });
        let spare = make::<LinkKey>(1).map_err(|cause| unprepared("flows_link", MapError::IoError(cause)))?;
        Ok(Self {
            state,
            lists,
            outers,
            spare,
            removals,
            index: FlowIndex::default(),
            claims: HashMap::new(),
            tables: FlowTables::new(0),
            others_in_use: true,
            #[cfg(test)]
            room_in_tests: None,
        })
    }

    /// Has flows of the port lead to this claim. It has none yet.
    pub(crate) fn add_port(&mut self, port: PortId, claim: Claim) {
        self.claims.insert(port, claim);
    }

    /// Releases all flows of the port, and forgets it. Goes on past an error, and returns the first.
    pub(crate) fn remove_port(&mut self, port: PortId) -> Result<(), TableError> {
        let flows: Vec<Flow> = self.index.of_port(port).copied().collect();
        for flow in &flows {
            self.index.remove(port, flow);
        }
        let mut released = if flows.len() > FEW { self.rebuild() } else { self.take_out(&flows) };
        if released.is_err() && flows.len() > FEW {
            // There may be no memory for new tables.
            released = self.take_out(&flows);
        }
        if self.claims.remove(&port).is_some() {
            self.removals = self.removals.wrapping_add(1);
            let list = self.lists.used();
            released = released.and(self.store(list));
        }
        released.map_err(|failure| match failure {
            Failure::Kernel(error) => error,
            Failure::Kinds | Failure::NoRoom => TableError::Full { table: "flow_lists" },
        })
    }

    /// Has packets of these flows go to the port, too.
    pub(crate) fn claim(&mut self, port: PortId, flows: &[Flow]) -> Result<(), FlowsError> {
        self.known(port)?;
        let mut entered = 0;
        let mut claimed = flows.iter().try_for_each(|flow| {
            self.enter(port, flow)?;
            entered += 1;
            Ok(())
        });
        if claimed.is_ok() {
            claimed = self.put_in(port, flows).map_err(FlowsError::from);
        }
        if claimed.is_err() {
            for flow in &flows[..entered] {
                self.index.remove(port, flow);
            }
        }
        claimed
    }

    /// Leaves packets of these flows to others. What is not the port's flow is left alone.
    pub(crate) fn release(&mut self, port: PortId, flows: &[Flow]) -> Result<(), FlowsError> {
        self.known(port)?;
        let own: Vec<Flow> = flows.iter().filter(|flow| self.index.remove(port, flow)).copied().collect();
        let released = if own.len() > FEW { self.rebuild() } else { self.take_out(&own) };
        if released.is_err() {
            for flow in own {
                self.index.insert(port, flow).expect("it was there");
            }
        }
        Ok(released?)
    }

    /// Has packets of these flows go to the port, and of no others. No packet meets a part of them.
    pub(crate) fn replace(&mut self, port: PortId, flows: &[Flow]) -> Result<(), FlowsError> {
        self.known(port)?;
        let before = self.index.clone();
        let old: Vec<Flow> = self.index.of_port(port).copied().collect();
        for flow in &old {
            self.index.remove(port, flow);
        }
        let mut replaced = flows.iter().try_for_each(|flow| self.enter(port, flow));
        if replaced.is_ok() {
            let new: Vec<Flow> = flows.iter().filter(|flow| !before.has(port, flow)).copied().collect();
            let gone: Vec<Flow> = old.into_iter().filter(|flow| !self.index.has(port, flow)).collect();
            let changed = match (new.as_slice(), gone.as_slice()) {
                ([], []) => Ok(()),
                // A packet looks into one of the tables only.
                ([_], []) => self.put_in(port, &new),
                ([], [_]) => self.take_out(&gone),
                _ => self.rebuild(),
            };
            replaced = changed.map_err(FlowsError::from);
        }
        if replaced.is_err() {
            self.index = before;
        }
        replaced
    }

    /// Those of the port, sorted.
    pub(crate) fn of_port(&self, port: PortId) -> impl Iterator<Item = &Flow> {
        self.index.of_port(port)
    }

    /// The flow of the port that has this key.
    pub(crate) fn with_key4(&self, port: PortId, key: FlowKey4) -> Option<Flow> {
        self.with_entry(port, |flow| self.tables.four.has(Entries::of(flow).four, key))
    }

    /// Likewise.
    pub(crate) fn with_key6(&self, port: PortId, key: FlowKey6) -> Option<Flow> {
        self.with_entry(port, |flow| self.tables.six.has(Entries::of(flow).six, key))
    }

    /// Likewise.
    pub(crate) fn with_link_key(&self, port: PortId, key: LinkKey) -> Option<Flow> {
        self.with_entry(port, |flow| self.tables.link.has(Entries::of(flow).link, key))
    }

    fn with_entry(&self, port: PortId, is_it: impl Fn(&Flow) -> bool) -> Option<Flow> {
        self.index.of_port(port).find(|flow| is_it(flow)).copied()
    }

    fn known(&self, port: PortId) -> Result<(), FlowsError> {
        if self.claims.contains_key(&port) { Ok(()) } else { Err(FlowsError::NoPort { port }) }
    }

    fn enter(&mut self, port: PortId, flow: &Flow) -> Result<(), FlowsError> {
        flow.check().map_err(|cause| FlowsError::Contradiction { flow: Box::new(*flow), cause })?;
        if !flow_kind::is_claimable(flow) {
            return Err(FlowsError::Unclaimable { flow: Box::new(*flow) });
        }
        if self.index.len() >= MAX_FLOWS as usize {
            return Err(FlowsError::Full);
        }
        self.index.insert(port, *flow).map_err(|(port, other)| FlowsError::Taken {
            flow: Box::new(*flow),
            other: Box::new(other),
            port,
        })
    }

    /// Enters flows that the index has already into the maps.
    fn put_in(&mut self, port: PortId, flows: &[Flow]) -> Result<(), Failure> {
        if flows.len() > FEW {
            return self.rebuild();
        }
        let claim = self.claims[&port];
        let before = self.tables.kinds();
        let mut done = 0;
        let mut put = flows.iter().try_for_each(|flow| {
            self.tables.put_in(flow, &claim)?;
            done += 1;
            Ok(())
        });
        if put.is_ok() {
            put = self.publish_changes();
        }
        if put.is_err() {
            for flow in &flows[..done] {
                // What cannot be taken out again is of a kind that no list has, or is overwritten with the table.
                let _ = self.tables.take_out(flow);
            }
            self.tables.set_kinds(before);
        }
        match put {
            Err(Failure::NoRoom) => self.rebuild(),
            put => put,
        }
    }

    /// Removes flows that the index does not have any more from the maps. Goes on past an error, and returns the first.
    fn take_out(&mut self, flows: &[Flow]) -> Result<(), Failure> {
        let mut taken = Ok(());
        for flow in flows {
            let this = self.tables.take_out(flow);
            taken = taken.and(this);
        }
        let published = self.publish_changes();
        taken.and(published)
    }

    /// Makes new tables of all flows that the index has, and a list that names them.
    fn rebuild(&mut self) -> Result<(), Failure> {
        let mut tables = FlowTables::new((self.tables.key + 1) % FLOW_TABLES);
        let mut fill = Fill::default();
        for (port, flow) in self.index.iter() {
            let claim = self.claims[&port];
            let Entries { four, six, link } = Entries::of(flow);
            if let Some(entry) = four {
                fill.four.push(tables.four.kinds.key_of(&entry)?, claim);
            }
            if let Some(entry) = six {
                fill.six.push(tables.six.kinds.key_of(&entry)?, claim);
            }
            if let Some(entry) = link {
                fill.link.push(tables.link.kinds.key_of(&entry)?, claim);
            }
        }
        let room = self.room();
        fill.four.make(&mut tables.four, room)?;
        fill.six.make(&mut tables.six, room)?;
        fill.link.make(&mut tables.link, room)?;

        // Programs may still look into the tables that were in use before those that are in use now.
        if self.others_in_use {
            self.wait_for_programs()?;
        }
        let maps = [&tables.four.map, &tables.six.map, &tables.link.map];
        let changes = OUTERS.into_iter().zip(&self.outers).zip(maps);
        side_by_side(
            changes.filter_map(|((name, outer), map)| {
                map.as_ref().map(|map| (name, outer, tables.key, Some(map.as_fd())))
            }),
        )
        .map_err(Failure::Kernel)?;
        self.publish(tables.list())?;
        tables.settle();
        self.tables = tables;
        self.others_in_use = true;
        Ok(())
    }

    fn room(&self) -> Option<u32> {
        #[cfg(test)]
        return self.room_in_tests;
        #[cfg(not(test))]
        None
    }

    /// Writes another list, if there are other kinds than before.
    fn publish_changes(&mut self) -> Result<(), Failure> {
        if self.tables.changed() {
            self.publish(self.tables.list())?;
            self.tables.settle();
        }
        Ok(())
    }

    /// Has the programs read this list from the next packet on; `None`: there are no flows.
    fn publish(&mut self, list: Option<FlowList>) -> Result<(), Failure> {
        let Some(list) = list else {
            self.store(None)?;
            self.lists.use_only(None);
            return Ok(());
        };
        let slot = match self.lists.free() {
            Some(slot) => slot,
            None => {
                self.wait_for_programs()?;
                self.lists.free().expect("one of the lists is in use, and no other")
            }
        };
        self.lists.map.set(slot, list, 0).map_err(|cause| Failure::map("flow_lists", cause))?;
        self.store(Some(slot))?;
        self.lists.use_only(Some(slot));
        Ok(())
    }

    fn store(&mut self, list: Option<u32>) -> Result<(), Failure> {
        let state = FlowState { list: list.map_or(0, |slot| slot + 1), removals: self.removals };
        self.state.set(0, state, 0).map_err(|cause| Failure::map("flow_states", cause))
    }

    /// What was not in use before is not read by any program once this returns.
    fn wait_for_programs(&mut self) -> Result<(), Failure> {
        sys::set_inner_map(self.outers[2].fd().as_fd(), FLOW_TABLES, self.spare.as_fd())
            .map_err(|cause| Failure::io(OUTERS[2], cause))?;
        self.lists.none_is_read();
        self.others_in_use = false;
        Ok(())
    }
}

impl Failure {
    fn io(table: &'static str, cause: io::Error) -> Self {
        Self::map(table, MapError::IoError(cause))
    }

    fn map(table: &'static str, cause: MapError) -> Self {
        Self::Kernel(TableError::Refused { table, cause })
    }
}

impl Lists {
    fn used(&self) -> Option<u32> {
        self.slots.iter().position(|slot| *slot == ListSlot::Used).map(|slot| slot as u32)
    }

    fn free(&self) -> Option<u32> {
        self.slots.iter().position(|slot| *slot == ListSlot::Free).map(|slot| slot as u32)
    }

    fn use_only(&mut self, list: Option<u32>) {
        for (slot, state) in (0..).zip(&mut self.slots) {
            if list == Some(slot) {
                *state = ListSlot::Used;
            } else if *state == ListSlot::Used {
                *state = ListSlot::Left;
            }
        }
    }

    fn none_is_read(&mut self) {
        for slot in &mut self.slots {
            if *slot == ListSlot::Left {
                *slot = ListSlot::Free;
            }
        }
    }
}

impl FlowTables {
    fn new(key: u32) -> Self {
        let [four, six, link] = OUTERS;
        Self {
            key,
            four: FlowTable::new(four, MAX_FLOW_KINDS),
            six: FlowTable::new(six, MAX_FLOW_KINDS),
            link: FlowTable::new(link, MAX_LINK_KINDS),
        }
    }

    fn is_empty(&self) -> bool {
        self.four.kinds.list.is_empty() && self.six.kinds.list.is_empty() && self.link.kinds.list.is_empty()
    }

    fn changed(&self) -> bool {
        self.four.kinds.changed || self.six.kinds.changed || self.link.kinds.changed
    }

    fn settle(&mut self) {
        self.four.kinds.changed = false;
        self.six.kinds.changed = false;
        self.link.kinds.changed = false;
    }

    fn kinds(&self) -> (Kinds<FlowKey4>, Kinds<FlowKey6>, Kinds<LinkKey>) {
        (self.four.kinds.clone(), self.six.kinds.clone(), self.link.kinds.clone())
    }

    fn set_kinds(&mut self, (four, six, link): (Kinds<FlowKey4>, Kinds<FlowKey6>, Kinds<LinkKey>)) {
        self.four.kinds.restore(four);
        self.six.kinds.restore(six);
        self.link.kinds.restore(link);
    }

    /// In each table where it can match, or in none.
    fn put_in(&mut self, flow: &Flow, claim: &Claim) -> Result<(), Failure> {
        let Entries { four, six, link } = Entries::of(flow);
        self.four.put_in(four.as_ref(), claim)?;
        if let Err(failure) = self.six.put_in(six.as_ref(), claim) {
            let _ = self.four.take_out(four.as_ref());
            return Err(failure);
        }
        if let Err(failure) = self.link.put_in(link.as_ref(), claim) {
            let _ = self.four.take_out(four.as_ref());
            let _ = self.six.take_out(six.as_ref());
            return Err(failure);
        }
        Ok(())
    }

    fn take_out(&mut self, flow: &Flow) -> Result<(), Failure> {
        let Entries { four, six, link } = Entries::of(flow);
        let four = self.four.take_out(four.as_ref());
        let six = self.six.take_out(six.as_ref());
        let link = self.link.take_out(link.as_ref());
        four.and(six).and(link)
    }

    /// `None` where there are no flows.
    fn list(&self) -> Option<FlowList> {
        (!self.is_empty()).then(|| FlowList {
            tables: self.key,
            kinds4: self.four.kinds.list.len() as u32,
            kinds6: self.six.kinds.list.len() as u32,
            links: self.link.kinds.list.len() as u32,
            four: self.four.kinds.array(),
            six: self.six.kinds.array(),
            link: self.link.kinds.array().map(|KindOf { mask, .. }| mask),
        })
    }
}

impl<K: FlowKey> FlowTable<K> {
    fn new(name: &'static str, most: u32) -> Self {
        Self { name, kinds: Kinds { list: Vec::new(), most, next: 0, changed: false }, map: None, room: 0, used: 0 }
    }

    /// Whether the entry is at this key.
    fn has(&self, entry: Option<Entry<K>>, at: K) -> bool {
        let Some((shape, key)) = entry else { return false };
        self.kinds.list.iter().any(|kind| kind.shape == shape && key.of_kind(kind.number) == at)
    }

    fn put_in(&mut self, entry: Option<&Entry<K>>, claim: &Claim) -> Result<(), Failure> {
        let Some(entry) = entry else { return Ok(()) };
        let Some(map) = self.map.as_ref().filter(|_| self.used < self.room) else { return Err(Failure::NoRoom) };
        let key = self.kinds.key_of(entry)?;
        match sys::insert(map.as_fd(), &key, claim, u64::from(BPF_NOEXIST)) {
            Ok(()) => {
                self.used += 1;
                Ok(())
            }
            Err(cause) => {
                self.kinds.leave(entry);
                Err(Failure::io(self.name, cause))
            }
        }
    }

    fn take_out(&mut self, entry: Option<&Entry<K>>) -> Result<(), Failure> {
        let Some(entry) = entry else { return Ok(()) };
        let (Some(map), Some(key)) = (&self.map, self.kinds.leave(entry)) else { return Ok(()) };
        self.used -= 1;
        sys::remove(map.as_fd(), &key).map_err(|cause| Failure::io(self.name, cause))
    }
}

impl<K: FlowKey> Kinds<K> {
    /// The key of one more flow in the table, and room for its kind in the list.
    fn key_of(&mut self, (shape, key): &Entry<K>) -> Result<K, Failure> {
        if let Some(kind) = self.list.iter_mut().find(|kind| kind.shape == *shape) {
            kind.flows += 1;
            return Ok(key.of_kind(kind.number));
        }
        if self.list.len() >= self.most as usize {
            return Err(Failure::Kinds);
        }
        // New tables begin at 0 again.
        let number = self.next;
        self.next = number.checked_add(1).ok_or(Failure::NoRoom)?;
        let at = self.list.partition_point(|kind| kind.shape.precedence >= shape.precedence);
        self.list.insert(at, KindEntry { shape: *shape, number, flows: 1 });
        self.changed = true;
        Ok(key.of_kind(number))
    }

    /// The key of a flow that is leaving the table.
    fn leave(&mut self, (shape, key): &Entry<K>) -> Option<K> {
        let at = self.list.iter().position(|kind| kind.shape == *shape)?;
        let kind = &mut self.list[at];
        let key = key.of_kind(kind.number);
        kind.flows -= 1;
        if kind.flows == 0 {
            self.list.remove(at);
            self.changed = true;
        }
        Some(key)
    }

    /// Takes back a change that no program has seen. Its numbers stay used.
    fn restore(&mut self, before: Self) {
        *self = Self { next: self.next, ..before };
    }

    fn array<const N: usize>(&self) -> [KindOf<K>; N] {
        let mut array = [KindOf::default(); N];
        for (to, KindEntry { shape, number, .. }) in array.iter_mut().zip(&self.list) {
            *to = KindOf { mask: shape.mask.of_kind(*number), kind: shape.kind };
        }
        array
    }
}

/// What new tables are made of.
#[derive(Default)]
struct Fill {
    four: Entered<FlowKey4>,
    six: Entered<FlowKey6>,
    link: Entered<LinkKey>,
}

#[derive(Default)]
struct Entered<K> {
    keys: Vec<K>,
    claims: Vec<Claim>,
}

impl<K: FlowKey> Entered<K> {
    fn push(&mut self, key: K, claim: Claim) {
        self.keys.push(key);
        self.claims.push(claim);
    }

    /// Makes the table's map, with room for as many again.
    fn make(&self, table: &mut FlowTable<K>, room: Option<u32>) -> Result<(), Failure> {
        let used = self.keys.len() as u32;
        if used == 0 {
            return Ok(());
        }
        let name = table.name;
        let refused = |cause| Failure::io(name, cause);
        let wanted = (used * 2).next_power_of_two().clamp(LEAST_ROOM, MAX_FLOWS);
        table.room = room.unwrap_or(wanted);
        table.used = used;
        let map = make::<K>(table.room).map_err(refused)?;
        sys::insert_all(map.as_fd(), &self.keys, &self.claims).map_err(refused)?;
        table.map = Some(map);
        Ok(())
    }
}

fn make<K>(room: u32) -> io::Result<OwnedFd> {
    sys::create_map(BPF_MAP_TYPE_HASH, size_of::<K>() as u32, size_of::<Claim>() as u32, room, 0, c"xsknet_flows")
}
