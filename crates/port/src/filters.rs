//! Counts how many ports need an address or a VLAN in a NIC's filters, since the filters do not.
//!
//! A filter refuses a duplicate (EEXIST), and addresses whose last 24 bits are equal share one multicast group, so two
//! ports may need the same entry: it is added for the first and removed with the last. An entry that stood there before
//! us is never removed.

use std::collections::BTreeMap;

use xsknet_link::MacAddr;

/// What a NIC is to let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Entry {
    /// Frames for this address.
    Mac(MacAddr),
    /// Frames of this VLAN.
    Vlan(u16),
}

/// The entries of one uplink's filters that ports need.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    users: BTreeMap<Entry, u32>,
}

impl Filters {
    /// One more user of `entry`; true where the NIC has to be told.
    pub(crate) fn need(&mut self, entry: Entry) -> bool {
        let users = self.users.entry(entry).or_default();
        *users += 1;
        *users == 1
    }

    /// The VLANs among them.
    pub(crate) fn vlans(&self) -> Vec<u16> {
        let ids = self.users.keys().filter_map(|entry| match entry {
            Entry::Vlan(id) => Some(*id),
            Entry::Mac(_) => None,
        });
        ids.collect()
    }

    /// One user of `entry` less; true where it was the last.
    pub(crate) fn release(&mut self, entry: Entry) -> bool {
        match self.users.get_mut(&entry) {
            Some(1) => self.users.remove(&entry).is_some(),
            Some(users) => {
                *users -= 1;
                false
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nic_is_told_of_an_address_once_and_again_when_the_last_user_leaves() {
        let mac = Entry::Mac("33:33:ff:00:00:10".parse().unwrap());
        let other = Entry::Vlan(42);
        let mut filters = Filters::default();
        assert!(filters.need(mac));
        assert!(!filters.need(mac));
        assert!(filters.need(other));
        assert_eq!(filters.vlans(), [42]);
        assert!(!filters.release(mac));
        assert!(filters.release(mac));
        assert!(!filters.release(mac), "nobody needs it any more");
        assert!(filters.need(mac));
    }
}
