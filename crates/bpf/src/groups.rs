//! The groups that ports are in: of what is left to the host, their members get copies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuHashMap, PerCpuValues};
use aya_obj::generated::BPF_NOEXIST;

use crate::contract::{
    Claim, GROUP_IP4, GROUP_IP6, GROUP_MAC, GroupKey, GroupMembers, GroupState, MAX_GROUPS, MAX_MEMBERS, PortId,
    Target, Vlan,
};
use crate::counters::Counters;
use crate::load_error::LoadError;
use crate::object::take_map;
use crate::table_error::{TableError, errno};

/// A destination of frames that is not a single station.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// All frames to this MAC, whatever is in them.
    Mac([u8; 6]),
    /// Packets to this address, to the MAC that follows from it.
    Ip(IpAddr),
}

impl Group {
    /// All stations.
    pub const BROADCAST: Self = Self::Mac([0xff; 6]);

    /// Whether it is one: MACs and addresses of single stations are not.
    pub const fn is_group(self) -> bool {
        match self {
            Self::Mac(mac) => mac[0] & 1 != 0,
            Self::Ip(address) => address.is_multicast(),
        }
    }

    /// The MAC that frames to it have (RFC 1112, RFC 2464).
    pub const fn mac(self) -> [u8; 6] {
        match self {
            Self::Mac(mac) => mac,
            Self::Ip(IpAddr::V4(address)) => {
                let [_, b, c, d] = address.octets();
                [0x01, 0x00, 0x5e, b & 0x7f, c, d]
            }
            Self::Ip(IpAddr::V6(address)) => {
                let [.., a, b, c, d] = address.octets();
                [0x33, 0x33, a, b, c, d]
            }
        }
    }

    fn key(self, vlan: Vlan) -> GroupKey {
        let mut address = [0; 16];
        let kind = match self {
            Self::Mac(mac) => {
                address[..6].copy_from_slice(&mac);
                GROUP_MAC
            }
            Self::Ip(IpAddr::V4(ip)) => {
                address[..4].copy_from_slice(&ip.octets());
                GROUP_IP4
            }
            Self::Ip(IpAddr::V6(ip)) => {
                address = ip.octets();
                GROUP_IP6
            }
        };
        GroupKey { address, vlan: vlan.key(), kind }
    }
}

impl From<Ipv4Addr> for Group {
    fn from(address: Ipv4Addr) -> Self {
        Self::Ip(address.into())
    }
}

impl From<Ipv6Addr> for Group {
    fn from(address: Ipv6Addr) -> Self {
        Self::Ip(address.into())
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BROADCAST => f.write_str("broadcast"),
            Self::Mac([a, b, c, d, e, g]) => write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// How a change of groups fails. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum GroupsError {
    /// The port is not in the tables.
    #[error("there is no port {port} on this uplink")]
    NoPort {
        /// Its id.
        port: PortId,
    },
    /// It names a single station, whose frames are never copied.
    #[error("{group} is not a group: frames to a single station are never copied")]
    NotAGroup {
        /// Which.
        group: Group,
    },
    /// A packet is copied for so many ports, and no more.
    #[error("the group {group} has {MAX_MEMBERS} ports of this uplink already")]
    TooManyMembers {
        /// Which.
        group: Group,
    },
    /// There are as many groups as the table takes.
    #[error("an uplink takes {MAX_GROUPS} groups of all its ports together")]
    Full,
    /// The kernel refused.
    #[error(transparent)]
    Refused(#[from] TableError),
}

impl GroupsError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotAGroup { .. } => Some("name a multicast address, a multicast MAC, or broadcast".into()),
            Self::TooManyMembers { .. } => Some("have other ports leave it, or close them".into()),
            Self::Full => Some("have ports leave groups that they do not need".into()),
            Self::NoPort { .. } | Self::Refused(_) => None,
        }
    }
}

/// A port, as far as groups are concerned.
struct Member {
    claim: Claim,
    vlan: Vlan,
    groups: BTreeSet<Group>,
}

pub(crate) struct Groups {
    groups: HashMap<MapData, GroupKey, GroupMembers>,
    state: Array<MapData, GroupState>,
    counters: PerCpuHashMap<MapData, u32, Counters>,
    members: BTreeMap<PortId, Member>,
}

impl Groups {
    pub(crate) fn take(bpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self {
            groups: take_map(bpf, "groups")?,
            state: take_map(bpf, "group_states")?,
            counters: take_map(bpf, "copy_counters")?,
            members: BTreeMap::new(),
        })
    }

    pub(crate) fn add_port(&mut self, port: PortId, claim: Claim, vlan: Vlan) {
        self.members.insert(port, Member { claim, vlan, groups: BTreeSet::new() });
    }

    /// The port leaves all its groups. Returns what became of its copies.
    pub(crate) fn remove_port(&mut self, port: PortId) -> Result<Counters, TableError> {
        let left = match self.set(port, &BTreeSet::new()) {
            Ok(()) | Err(GroupsError::NoPort { .. }) => Ok(()),
            Err(GroupsError::Refused(cause)) => Err(cause),
            Err(_) => unreachable!("leaving asks for no room"),
        };
        self.members.remove(&port);
        let last = self.counters(port);
        let removed = match self.counters.remove(&port.number()) {
            Err(cause) if errno(&cause) != Some(libc::ENOENT) => Err(refused("copy_counters", cause)),
            _ => Ok(()),
        };
        left.and(removed).and(last)
    }

    /// What became of a port's copies; zeros where it was in no group yet.
    pub(crate) fn counters(&self, port: PortId) -> Result<Counters, TableError> {
        match self.counters.get(&port.number(), 0) {
            Ok(of_cpus) => Ok(of_cpus.iter().copied().sum()),
            Err(MapError::KeyNotFound) => Ok(Counters::default()),
            Err(cause) => Err(refused("copy_counters", cause)),
        }
    }

    /// The groups of a port.
    pub(crate) fn of_port(&self, port: PortId) -> impl Iterator<Item = Group> {
        self.members.get(&port).into_iter().flat_map(|member| member.groups.iter().copied())
    }

    /// Whether a port without BPF rings is in a group.
    pub(crate) fn need_clones(&self) -> bool {
        self.members.values().any(|member| !member.has_rings() && !member.groups.is_empty())
    }

    /// Puts a port into these groups, and takes it out of all others.
    pub(crate) fn set(&mut self, port: PortId, wanted: &BTreeSet<Group>) -> Result<(), GroupsError> {
        if let Some(&group) = wanted.iter().find(|group| !group.is_group()) {
            return Err(GroupsError::NotAGroup { group });
        }
        let member = self.members.get_mut(&port).ok_or(GroupsError::NoPort { port })?;
        let vlan = member.vlan;
        let before = std::mem::replace(&mut member.groups, wanted.clone());
        if before == *wanted {
            return Ok(());
        }
        let affected = self.affected(&(&before ^ wanted), vlan);
        let written = self.start_counters(port).map_err(GroupsError::from).and_then(|()| self.write(&affected, vlan));
        if written.is_err() {
            self.members.get_mut(&port).expect("it was there").groups = before;
            // The first error is the one to report. What cannot be restored has a member too many or too few.
            let _ = self.write(&affected, vlan);
        }
        written
    }

    /// These groups, and those whose members depend on them: a packet to an IP group is one to its MAC, too.
    fn affected(&self, changed: &BTreeSet<Group>, vlan: Vlan) -> BTreeSet<Group> {
        let macs: BTreeSet<[u8; 6]> =
            changed.iter().filter(|group| matches!(group, Group::Mac(_))).map(|group| group.mac()).collect();
        let in_vlan = self.members.values().filter(|member| member.vlan == vlan);
        let below = in_vlan.flat_map(|member| &member.groups).filter(|group| macs.contains(&group.mac()));
        changed.iter().chain(below).copied().collect()
    }

    fn write(&mut self, affected: &BTreeSet<Group>, vlan: Vlan) -> Result<(), GroupsError> {
        for &group in affected {
            let key = group.key(vlan);
            match self.entry(group, vlan)? {
                Some(entry) => self.groups.insert(key, entry, 0).map_err(|cause| match errno(&cause) {
                    Some(libc::E2BIG) => GroupsError::Full,
                    _ => refused("groups", cause).into(),
                })?,
                None => match self.groups.remove(&key) {
                    Err(cause) if errno(&cause) != Some(libc::ENOENT) => return Err(refused("groups", cause).into()),
                    _ => {}
                },
            }
        }
        let mut state = GroupState::default();
        for member in self.members.values() {
            state.members += member.groups.len() as u32;
            state.rings += if member.has_rings() { member.groups.len() as u32 } else { 0 };
        }
        Ok(self.state.set(0, state, 0).map_err(|cause| refused("group_states", cause))?)
    }

    /// The members of a group, those with rings first; `None` where nobody has joined just this one.
    fn entry(&self, group: Group, vlan: Vlan) -> Result<Option<GroupMembers>, GroupsError> {
        let in_vlan = || self.members.values().filter(|member| member.vlan == vlan);
        if !in_vlan().any(|member| member.groups.contains(&group)) {
            return Ok(None);
        }
        let all = [group, Group::Mac(group.mac())];
        let has = |member: &&Member| all.iter().any(|group| member.groups.contains(group));
        let (first, last): (Vec<_>, Vec<_>) = in_vlan().filter(has).partition(|member| member.has_rings());
        let mut entry = GroupMembers { rings: first.len() as u32, ..GroupMembers::NONE };
        for member in first.into_iter().chain(last) {
            let place = entry.member.get_mut(entry.members as usize).ok_or(GroupsError::TooManyMembers { group })?;
            *place = member.claim;
            entry.members += 1;
        }
        Ok(Some(entry))
    }

    /// From the first group, or the start of a tap, until the port is removed.
    pub(crate) fn start_counters(&mut self, port: PortId) -> Result<(), TableError> {
        let refused = |cause| TableError::Refused { table: "copy_counters", cause };
        let cpus = aya::util::nr_cpus().map_err(|(_, cause)| refused(MapError::IoError(cause)))?;
        let zeros = PerCpuValues::try_from(vec![Counters::default(); cpus])
            .map_err(|cause| refused(MapError::IoError(cause)))?;
        match self.counters.insert(port.number(), zeros, u64::from(BPF_NOEXIST)) {
            Err(cause) if errno(&cause) != Some(libc::EEXIST) => Err(refused(cause)),
            _ => Ok(()),
        }
    }
}

impl Member {
    fn has_rings(&self) -> bool {
        self.claim.target == Target::Rings as u32
    }
}

fn refused(table: &'static str, cause: MapError) -> TableError {
    TableError::Refused { table, cause }
}
