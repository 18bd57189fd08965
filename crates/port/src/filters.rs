//! Counts who needs which address in a card's filter, since the card's filter does not.
//!
//! A filter refuses a duplicate (EEXIST), and addresses whose last 24 bits are equal share one multicast group, so two
//! ports may need the same entry: it is added for the first and removed with the last. An entry that stood there before
//! us is never removed.

use std::collections::HashMap;

use xsknet_link::MacAddr;

/// The addresses of one uplink's filter that ports need.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    users: HashMap<MacAddr, u32>,
}

impl Filters {
    /// One more user of `mac`; true where the card has to be told.
    pub(crate) fn need(&mut self, mac: MacAddr) -> bool {
        let users = self.users.entry(mac).or_default();
        *users += 1;
        *users == 1
    }

    /// One user of `mac` less; true where it was the last.
    pub(crate) fn release(&mut self, mac: MacAddr) -> bool {
        match self.users.get_mut(&mac) {
            Some(1) => self.users.remove(&mac).is_some(),
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
    fn the_card_hears_of_an_address_once_and_again_when_the_last_user_leaves() {
        let mac: MacAddr = "33:33:ff:00:00:10".parse().unwrap();
        let other: MacAddr = "33:33:ff:00:00:11".parse().unwrap();
        let mut filters = Filters::default();
        assert!(filters.need(mac));
        assert!(!filters.need(mac));
        assert!(filters.need(other));
        assert!(!filters.release(mac));
        assert!(filters.release(mac));
        assert!(!filters.release(mac), "nobody needs it any more");
        assert!(filters.need(mac));
    }
}
