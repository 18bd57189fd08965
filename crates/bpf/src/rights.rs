//! What a port may send beyond the rules, and the rates of what it sends to all stations and of its copies.

use crate::contract::{ALL_KINDS, KINDS, LIMITED, MAY_INNER_TAGS, MAY_ROUTING, Rate, TICK_SHIFT};

/// What a port may send that others may not. By default nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rights {
    /// A second VLAN tag behind its own.
    pub inner_tags: bool,
    /// What routers and DHCP servers say: router advertisements, redirects, routing protocols, queries of multicast
    /// groups, source routes, and DHCP of all kinds.
    pub routing: bool,
}

/// How many frames a second a port may send to the uplink of the kinds that reach all stations there, and how many
/// copies it may receive, all its queue pairs together. Bursts are one second's worth. `None`: not limited. `Some(0)`:
/// none may pass, ARP requests (broadcast) and neighbour solicitations (multicast) neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rates {
    /// To `ff:ff:ff:ff:ff:ff`.
    pub broadcast: Option<u32>,
    /// To any other group.
    pub multicast: Option<u32>,
    /// To a MAC that is not another port's and from which no frame has come for any port of this uplink within 300
    /// seconds.
    pub unknown_unicast: Option<u32>,
    /// Received: copies of what the host gets, too, because the port is in a group. Each costs a CPU of the host.
    pub copies: Option<u32>,
}

impl Rates {
    /// No limits.
    pub const UNLIMITED: Self = Self { broadcast: None, multicast: None, unknown_unicast: None, copies: None };

    /// In the order of the contract.
    const fn kinds(&self) -> [Option<u32>; ALL_KINDS as usize] {
        [self.broadcast, self.multicast, self.unknown_unicast, self.copies]
    }

    /// As the guard reads them: a kind that is not limited has no interval.
    pub(crate) fn entries(&self, jiffies_per_second: u32) -> [Rate; ALL_KINDS as usize] {
        let second = u64::from(jiffies_per_second) << TICK_SHIFT;
        self.kinds().map(|rate| {
            let interval = match rate {
                None => 0,
                Some(0) => second + 1,
                Some(rate) => second / u64::from(rate),
            };
            Rate { interval, due: 0 }
        })
    }
}

/// 1000 of each.
impl Default for Rates {
    fn default() -> Self {
        let some = Some(1000);
        Self { broadcast: some, multicast: some, unknown_unicast: some, copies: some }
    }
}

pub(crate) fn flags(rights: Rights, rates: &Rates) -> u32 {
    let rights =
        [(rights.inner_tags, MAY_INNER_TAGS), (rights.routing, MAY_ROUTING)].map(|(has, flag)| u32::from(has) * flag);
    let limited =
        (0..).zip(rates.kinds()).take(KINDS as usize).map(|(kind, rate)| u32::from(rate.is_some()) * (LIMITED << kind));
    rights.into_iter().chain(limited).fold(0, |flags, flag| flags | flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_one_seconds_worth() {
        for rate in [1, 2, 3, 7, 999, 1000, 12_345] {
            for jiffies in [100, 250, 300, 1000, 1024] {
                let second = u64::from(jiffies) << TICK_SHIFT;
                let [entry, ..] = Rates { broadcast: Some(rate), ..Rates::UNLIMITED }.entries(jiffies);
                assert_eq!(second / entry.interval, u64::from(rate), "{rate} a second of {jiffies} jiffies");
            }
        }
    }

    #[test]
    fn none_may_pass_at_0_and_all_at_more_than_any_nic_sends() {
        let of = |rate| Rates { broadcast: rate, ..Rates::UNLIMITED };
        assert!(of(Some(0)).entries(250)[0].interval > 250 << TICK_SHIFT);
        assert!(of(Some(u32::MAX)).entries(250)[0].interval < 2);
        assert_eq!(of(None).entries(250)[0].interval, 0);
    }

    #[test]
    fn each_right_and_each_limit_has_a_flag_of_its_own() {
        assert_eq!(flags(Rights::default(), &Rates::UNLIMITED), 0);
        assert_eq!(flags(Rights { inner_tags: true, routing: false }, &Rates::UNLIMITED), MAY_INNER_TAGS);
        assert_eq!(flags(Rights { inner_tags: false, routing: true }, &Rates::UNLIMITED), MAY_ROUTING);
        assert_eq!(flags(Rights::default(), &Rates::default()), 0x700);
        assert_eq!(flags(Rights::default(), &Rates { multicast: Some(0), ..Rates::UNLIMITED }), 0x200);
    }
}
