//! What the ports of an uplink have: from the moment that one is asked for until the last of it is undone.
//!
//! Nothing here asks the kernel, so that reading or changing it keeps nobody waiting.

use std::collections::BTreeMap;
use std::net::IpAddr;

use xsknet_bpf::contract::{MAX_PORTS, MAX_QUEUE_PAIRS};
use xsknet_bpf::{PortId, Vlan};
use xsknet_link::{DeviceName, MacAddr};

use crate::error::OpenPortError;
use crate::ids::ROOT;

/// What one port has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Its user. A name is one among the ports of the same user.
    pub(crate) owner: u32,
    pub(crate) name: String,
    /// Of its inner ends.
    pub(crate) mac: MacAddr,
    /// On the wire it has the uplink's, and nothing comes to its own.
    pub(crate) uplink_mac: bool,
    pub(crate) vlan: Vlan,
    /// Without any it has flows alone.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) queues: u32,
}

/// What all of them have.
#[derive(Debug)]
pub(crate) struct Claims {
    uplink: DeviceName,
    held: BTreeMap<PortId, Claim>,
    /// Numbers whose port could not be undone: devices and pins go by them.
    spoiled: Vec<PortId>,
}

impl Claims {
    pub(crate) fn new(uplink: DeviceName, spoiled: Vec<PortId>) -> Self {
        Self { uplink, held: BTreeMap::new(), spoiled }
    }

    /// A number that no port has.
    pub(crate) fn free_id(&self) -> Result<PortId, OpenPortError> {
        let mut ids = (1..=MAX_PORTS).filter_map(PortId::new);
        let free = ids.find(|id| !self.held.contains_key(id) && !self.spoiled.contains(id));
        free.ok_or_else(|| OpenPortError::NoMorePorts { uplink: self.uplink.clone(), limit: MAX_PORTS })
    }

    /// A name that no port of this user has. Others may have chosen the obvious one.
    pub(crate) fn made_up_name(&self, owner: u32, id: PortId) -> String {
        let obvious = format!("port-{id}");
        let others = (2..).map(|n| format!("{obvious}-{n}"));
        let mut names = std::iter::once(obvious.clone()).chain(others);
        names.find(|name| !self.has_name(owner, name)).expect("fewer names are taken than there are")
    }

    fn has_name(&self, owner: u32, name: &str) -> bool {
        self.held.values().any(|held| held.owner == owner && held.name == name)
    }

    /// Takes everything that a port requests, or refuses it and says which part another port has.
    pub(crate) fn take(&mut self, id: PortId, claim: Claim) -> Result<(), OpenPortError> {
        let uplink = || self.uplink.clone();
        let pairs: u32 = self.held.values().map(|held| held.queues).sum();
        if pairs + claim.queues > MAX_QUEUE_PAIRS {
            return Err(OpenPortError::NoMoreQueues { uplink: uplink(), limit: MAX_QUEUE_PAIRS });
        }
        if self.has_name(claim.owner, &claim.name) {
            return Err(OpenPortError::NameTaken { name: claim.name, uplink: uplink() });
        }
        // A VLAN is another network.
        let beside = || self.held.values().filter(|held| held.vlan == claim.vlan);
        // First, because the MAC of a port without a name follows from them.
        for address in &claim.addresses {
            if let Some(held) = beside().find(|held| held.addresses.contains(address)) {
                let holder = holder(held, claim.owner);
                return Err(OpenPortError::AddressTaken { address: *address, uplink: uplink(), holder });
            }
        }
        if let Some(held) = beside().find(|held| held.mac == claim.mac) {
            return Err(OpenPortError::MacTaken {
                mac: claim.mac,
                uplink: uplink(),
                holder: holder(held, claim.owner),
            });
        }
        self.held.insert(id, claim);
        Ok(())
    }

    /// Releases the claim of a port that is undone completely.
    pub(crate) fn give_back(&mut self, id: PortId) {
        self.held.remove(&id);
    }

    /// The port is gone, but not all of it could be undone: nobody gets its number any more.
    pub(crate) fn spoil(&mut self, id: PortId) {
        self.held.remove(&id);
        self.spoiled.push(id);
    }

    /// Whether some port has this MAC.
    pub(crate) fn has_mac(&self, mac: MacAddr) -> bool {
        self.held.values().any(|held| held.mac == mac)
    }
}

/// The holder, in words for this user, which does not see the ports of others.
fn holder(held: &Claim, asker: u32) -> String {
    if asker == ROOT || asker == held.owner { format!("port `{}`", held.name) } else { "another user's port".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims::new("card0".parse().unwrap(), Vec::new())
    }

    fn id(number: u32) -> PortId {
        PortId::new(number).unwrap()
    }

    fn claim(owner: u32, name: &str, n: u8) -> Claim {
        Claim {
            owner,
            name: name.into(),
            mac: MacAddr::new([2, 0, 0, 0, 0, n]),
            uplink_mac: false,
            vlan: Vlan::UNTAGGED,
            addresses: vec![[192, 0, 2, n].into()],
            queues: 1,
        }
    }

    #[test]
    fn names_are_each_users_own() {
        let mut claims = claims();
        claims.take(id(1), claim(1000, "web", 1)).unwrap();
        claims.take(id(2), claim(1001, "web", 2)).unwrap();
        let error = claims.take(id(3), claim(1000, "web", 3)).unwrap_err();
        assert!(matches!(error, OpenPortError::NameTaken { .. }), "{error}");
        claims.give_back(id(1));
        claims.take(id(1), claim(1000, "web", 3)).unwrap();

        claims.take(id(4), claim(1000, "port-7", 4)).unwrap();
        claims.take(id(5), claim(1000, "port-7-2", 5)).unwrap();
        assert_eq!(claims.made_up_name(1000, id(7)), "port-7-3");
        assert_eq!(claims.made_up_name(1001, id(7)), "port-7");
    }

    #[test]
    fn who_has_a_mac_or_an_address_is_told_to_its_user_and_to_root_alone() {
        let mut claims = claims();
        claims.take(id(1), claim(1000, "web", 1)).unwrap();
        for (asker, shown) in [(0, "port `web`"), (1000, "port `web`"), (1001, "another user's port")] {
            let same_mac = Claim { addresses: vec![[192, 0, 2, 9].into()], ..claim(asker, "other", 1) };
            let error = claims.take(id(2), same_mac).unwrap_err();
            assert_eq!(error.to_string(), format!("02:00:00:00:00:01 on `card0` belongs to {shown}"));
            let same_address = Claim { mac: MacAddr::new([2, 0, 0, 0, 0, 9]), ..claim(asker, "other", 1) };
            let error = claims.take(id(2), same_address).unwrap_err();
            assert_eq!(error.to_string(), format!("192.0.2.1 on `card0` belongs to {shown}"));
        }
        let vlan = Vlan::tagged(5).unwrap();
        claims.take(id(2), Claim { vlan, ..claim(1001, "web", 1) }).unwrap();
    }

    #[test]
    fn queues_are_bounded() {
        let mut claims = claims();
        claims.take(id(1), Claim { queues: MAX_QUEUE_PAIRS - 7, ..claim(0, "a", 1) }).unwrap();
        let error = claims.take(id(2), Claim { queues: 8, ..claim(0, "b", 2) }).unwrap_err();
        assert_eq!(error.to_string(), "the ports of `card0` can have 4096 queues in total, and these would be more");
        assert!(error.hint().is_some());
        claims.take(id(2), Claim { queues: 7, ..claim(0, "b", 2) }).unwrap();
    }

    #[test]
    fn the_lowest_free_number_is_taken_until_there_is_none_and_a_spoiled_one_never() {
        let mut claims = Claims::new("card0".parse().unwrap(), vec![id(2)]);
        for number in (1..=MAX_PORTS).filter(|number| *number != 2) {
            let free = claims.free_id().unwrap();
            assert_eq!(free.number(), number);
            let [_, _, high, low] = number.to_be_bytes();
            let mac = MacAddr::new([2, 0, 0, 0, high, low]);
            claims.take(free, Claim { mac, addresses: Vec::new(), ..claim(0, &format!("n{number}"), 0) }).unwrap();
        }
        let error = claims.free_id().unwrap_err();
        assert_eq!(error.to_string(), "`card0` already has 1024 ports, the maximum");
        assert!(matches!(error, OpenPortError::NoMorePorts { limit: 1024, .. }));
        assert!(error.hint().is_some());

        claims.give_back(id(700));
        assert_eq!(claims.free_id().unwrap(), id(700));
        claims.spoil(id(800));
        claims.take(id(700), Claim { mac: MacAddr::new([6, 0, 0, 0, 0, 7]), ..claim(0, "x", 7) }).unwrap();
        assert!(claims.free_id().is_err());
    }
}
