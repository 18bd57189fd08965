//! What a port may send beyond the rules, and the rates of what it sends and of its copies.

use crate::contract::{
    BYTE_SHIFT, COPIES, KINDS, LIMITED, MAX_RATED_LENGTH, MAY_INNER_TAGS, MAY_ROUTING, RateState, TIME_SHIFT,
};

/// What a port may send that others may not. By default nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rights {
    /// A second VLAN tag behind its own.
    pub inner_tags: bool,
    /// What routers and DHCP servers say: router advertisements, redirects, routing protocols, queries of multicast
    /// groups, source routes, and DHCP of all kinds.
    pub routing: bool,
}

/// How much may pass in a second, and how much of it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Frames, or bits. 0: none may pass.
    pub per_second: u64,
    /// After a pause, so much passes at once, and at least one frame. Of bits, the frame that exceeds it passes, too: a
    /// long frame is never held back for ever.
    pub burst: u64,
}

impl Rate {
    /// With a burst of one second's worth.
    pub const fn new(per_second: u64) -> Self {
        Self { per_second, burst: per_second }
    }
}

/// What a port may send, and how many copies it may receive, all its queue pairs together. `None`: not limited.
///
/// At a rate of 0, none passes: no broadcast, no ARP requests either; no multicast, no neighbour solicitations either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rates {
    /// Frames to the uplink, to `ff:ff:ff:ff:ff:ff`.
    pub broadcast: Option<Rate>,
    /// Likewise to any other group.
    pub multicast: Option<Rate>,
    /// Likewise to a MAC that is not another port's and from which no frame has come for any port of this uplink within
    /// 300 seconds.
    pub unknown_unicast: Option<Rate>,
    /// Received: copies of what the host gets, too, because the port is in a group. Each costs a CPU of the host.
    pub copies: Option<Rate>,
    /// All frames, those to other ports included.
    pub frames: Option<Rate>,
    /// The bits of these, from the Ethernet header to the end of the frame, without the frame check sequence.
    pub bits: Option<Rate>,
}

impl Rates {
    /// No limits.
    pub const UNLIMITED: Self =
        Self { broadcast: None, multicast: None, unknown_unicast: None, copies: None, frames: None, bits: None };

    /// In the order of the contract.
    const fn kinds(&self) -> [Option<Rate>; KINDS as usize] {
        [self.broadcast, self.multicast, self.unknown_unicast, self.copies, self.frames, self.bits]
    }

    /// As the programs read them, where a second has so many nanoseconds.
    pub(crate) fn states(&self, second: u64) -> [RateState; KINDS as usize] {
        let [frames @ .., bits] = self.kinds();
        let [broadcast, multicast, unknown_unicast, copies, frames] = frames.map(|rate| of_frames(rate, second));
        [broadcast, multicast, unknown_unicast, copies, frames, of_bits(bits, second)]
    }
}

/// 1000 of each kind that costs others, and no limit of all frames and bits.
impl Default for Rates {
    fn default() -> Self {
        let some = Some(Rate::new(1000));
        Self { broadcast: some, multicast: some, unknown_unicast: some, copies: some, ..Self::UNLIMITED }
    }
}

pub(crate) fn flags(rights: Rights, rates: &Rates) -> u32 {
    let rights =
        [(rights.inner_tags, MAY_INNER_TAGS), (rights.routing, MAY_ROUTING)].map(|(has, flag)| u32::from(has) * flag);
    let kinds = (0..).zip(rates.kinds()).filter(|(kind, rate)| *kind != COPIES && rate.is_some());
    rights.into_iter().chain(kinds.map(|(kind, _)| LIMITED << kind)).fold(0, |flags, flag| flags | flag)
}

/// No clock gets that far behind.
const NONE_PASSES: i64 = i64::MIN;

/// Ahead of the programs' clock, at most: two years. A sum of the two is far from the end of the numbers.
const MOST_AHEAD: u128 = 1 << 60;

const UNLIMITED: RateState = RateState { due: 0, limit: 0, frame: 0, byte: 0 };

/// The share is rounded up, so that no more passes than the rate; and the limit is a multiple of it, so that a burst
/// has exactly as many frames as were asked for.
pub(crate) fn of_frames(rate: Option<Rate>, second: u64) -> RateState {
    let Some(Rate { per_second, burst }) = rate else { return UNLIMITED };
    let second = u128::from(second) << TIME_SHIFT;
    let share = second.div_ceil(u128::from(per_second.max(1)));
    let ahead = share * u128::from(burst.saturating_sub(1));
    RateState { due: 0, limit: limit(per_second, ahead), frame: share as u64, byte: 0 }
}

fn of_bits(rate: Option<Rate>, second: u64) -> RateState {
    let Some(Rate { per_second, burst }) = rate else { return UNLIMITED };
    let second = u128::from(second) << TIME_SHIFT;
    let per_second_at_least_1 = u128::from(per_second.max(1));
    let byte = (second << BYTE_SHIFT << 3).div_ceil(per_second_at_least_1);
    // Where a second is longer than the kernel's: the share of the longest frame is within 64 bits.
    let byte = byte.min(u128::from(u64::MAX / 2 / MAX_RATED_LENGTH)) as u64;
    let ahead = second * u128::from(burst) / per_second_at_least_1;
    RateState { due: 0, limit: limit(per_second, ahead), frame: 0, byte }
}

fn limit(per_second: u64, ahead: u128) -> i64 {
    if per_second == 0 { NONE_PASSES } else { ahead.min(MOST_AHEAD) as i64 + 1 }
}

impl RateState {
    /// As share_of() in rate.h.
    const fn share(&self, length: u64) -> u64 {
        self.frame + (length * self.byte).div_ceil(1 << BYTE_SHIFT)
    }

    /// With what a port has sent already: opening it again does not begin anew. But where the rate was another one,
    /// what was sent at that counts for one burst and one frame, at most.
    pub(crate) fn after(self, due: u64, now: u64) -> Self {
        let longest = self.share(MAX_RATED_LENGTH);
        if longest == 0 {
            return Self { due, ..self };
        }
        let most = u64::try_from(self.limit).unwrap_or(0).saturating_add(longest);
        let ahead = due.wrapping_sub(now) as i64;
        let is_beyond = u64::try_from(ahead).is_ok_and(|ahead| ahead > most);
        Self { due: if is_beyond { now.wrapping_add(most) } else { due }, ..self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const TICKS: u64 = SECOND << TIME_SHIFT;

    /// As the programs do it, on one CPU.
    fn take(state: &mut RateState, now: u64, length: u64) -> bool {
        let share = state.share(length);
        if share == 0 {
            return true;
        }
        if state.due.wrapping_sub(now) as i64 >= state.limit {
            return false;
        }
        if (state.due.wrapping_sub(now) as i64) < 0 {
            state.due = now;
        }
        state.due = state.due.wrapping_add(share);
        true
    }

    fn frames(rate: Rate) -> RateState {
        Rates { broadcast: Some(rate), ..Rates::UNLIMITED }.states(SECOND)[0]
    }

    fn bits(rate: Rate) -> RateState {
        let [.., bits] = Rates { bits: Some(rate), ..Rates::UNLIMITED }.states(SECOND);
        bits
    }

    /// How many frames of this length pass at one moment.
    fn burst(mut state: RateState, now: u64, length: u64) -> u64 {
        let most = 1_000_000;
        (0..most).take_while(|_| take(&mut state, now, length)).count() as u64
    }

    #[test]
    fn a_burst_has_as_many_frames_as_were_asked_for() {
        for per_second in [1, 2, 3, 7, 999, 1000, 12_345, 100_000_000, u64::from(u32::MAX)] {
            for size in [1, 2, 3, 10, 1000, 99_999] {
                let state = frames(Rate { per_second, burst: size });
                assert_eq!(burst(state, TICKS, 60), size, "{size} at {per_second} a second");
            }
            assert_eq!(burst(frames(Rate { per_second, burst: 0 }), TICKS, 60), 1, "one at a time");
        }
        assert_eq!(burst(frames(Rate::new(1000)), TICKS, 60), 1000, "one second's worth");
    }

    #[test]
    fn a_burst_of_bits_ends_with_the_frame_that_exceeds_it() {
        let state = bits(Rate { per_second: 1_000_000, burst: 80_000 });
        assert_eq!(burst(state, TICKS, 1000), 11);
        assert_eq!(burst(state, TICKS, 60), 167);
        assert_eq!(burst(state, TICKS, 65_549), 1, "longer than the burst");
        assert_eq!(burst(bits(Rate { per_second: 1, burst: 0 }), TICKS, 65_549), 1);
    }

    #[test]
    fn nothing_passes_at_0_and_everything_without_a_limit() {
        for now in [0, TICKS, u64::MAX, 1 << 63] {
            assert_eq!(burst(frames(Rate { per_second: 0, burst: 5 }), now, 60), 0);
            assert_eq!(burst(bits(Rate { per_second: 0, burst: 5 }), now, 60), 0);
            assert!(Rates::UNLIMITED.states(SECOND).into_iter().all(|state| burst(state, now, 60) == 1_000_000));
        }
    }

    #[test]
    fn four_hundred_gigabits_are_told_from_more() {
        let mut state = bits(Rate { per_second: 400_000_000_000, burst: 0 });
        let start = 1 << 59;
        // As fast as the bucket lets them, for a tenth of a second.
        let (mut now, mut sent) = (start, 0);
        while now < start + TICKS / 10 {
            sent += if take(&mut state, now, 1500) { 12_000 } else { 0 };
            now = now.max(state.due);
        }
        assert!((39_840_000_000..=40_000_012_000_u64).contains(&sent), "{sent}");
    }

    #[test]
    fn the_highest_numbers_overflow_nothing() {
        let longest = u64::from(u32::MAX);
        for rate in [1, longest, u64::MAX].map(|per_second| Rate { per_second, burst: u64::MAX }) {
            for state in [frames(rate), bits(rate)] {
                let mut state = state.after(u64::MAX, 0);
                for now in [0, 1, u64::MAX / 2, u64::MAX - 1, 0] {
                    take(&mut state, now, MAX_RATED_LENGTH);
                }
            }
        }
    }

    #[test]
    fn another_rate_does_not_wait_for_years() {
        let mut slow = frames(Rate { per_second: 1, burst: 100_000 });
        (0..100_000).for_each(|_| assert!(take(&mut slow, TICKS, 60)));
        let mut fast = frames(Rate::new(1000)).after(slow.due, TICKS);
        assert!(!take(&mut fast, TICKS, 60), "what was sent was sent");
        assert!(take(&mut fast, TICKS + TICKS / 999, 60));
        let same = frames(Rate { per_second: 1, burst: 100_000 }).after(slow.due, TICKS);
        assert_eq!(same, slow);
    }

    #[test]
    fn each_right_and_each_limit_has_a_flag_of_its_own() {
        let none = Some(Rate::new(0));
        assert_eq!(flags(Rights::default(), &Rates::UNLIMITED), 0);
        assert_eq!(flags(Rights { inner_tags: true, routing: false }, &Rates::UNLIMITED), MAY_INNER_TAGS);
        assert_eq!(flags(Rights { inner_tags: false, routing: true }, &Rates::UNLIMITED), MAY_ROUTING);
        assert_eq!(flags(Rights::default(), &Rates::default()), 0x700);
        assert_eq!(flags(Rights::default(), &Rates { multicast: none, ..Rates::UNLIMITED }), 0x200);
        assert_eq!(flags(Rights::default(), &Rates { frames: none, bits: none, ..Rates::UNLIMITED }), 0x3000);
    }

    proptest! {
        /// From any moment on, idle for years before it or not, and whenever frames are offered: it passes what a
        /// bucket does that gets a share's worth of tokens each time that so much has elapsed, and holds a burst of
        /// them.
        #[test]
        fn any_rate_is_kept(
            per_second in 1..2_000_000_u64, size in 1..2000_u64, start in any::<u64>(), idle in 0..1_u64 << 62,
            offers in proptest::collection::vec((0..TICKS / 1000, 0..20_u64), 1..300),
        ) {
            let mut state = RateState { due: start.wrapping_sub(idle), ..frames(Rate { per_second, burst: size }) };
            let (mut tokens, full) = (size * state.frame, size * state.frame);
            let (mut elapsed, mut passed) = (0, 0);
            for (wait, offered) in offers {
                elapsed += wait;
                tokens = full.min(tokens + wait);
                for _ in 0..offered {
                    let passes = take(&mut state, start.wrapping_add(elapsed), 60);
                    prop_assert_eq!(passes, tokens >= state.frame);
                    tokens -= if passes { state.frame } else { 0 };
                    passed += u128::from(passes);
                }
                let earned = u128::from(elapsed) * u128::from(per_second) / u128::from(TICKS);
                prop_assert!(passed <= u128::from(size) + earned, "{} passed", passed);
            }
        }
    }
}
