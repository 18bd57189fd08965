//! Whether a NIC still hands the frames that it receives to its program.
//!
//! A driver can lose a native program and nobody is told: vmxnet3 forgets it whenever it sets up its queues anew, for
//! another MTU or after the NIC was down, and the kernel still shows it as attached. Then the NIC goes on counting
//! frames, and the program sees none of them.

/// Frames that a NIC has received and its program has not seen, before the program counts as stalled: it may see the
/// next.
const MANY: u64 = 32;
/// The same after the link was away or the MTU was changed, until the program has heard something.
const FEW: u64 = 2;
/// For so many rounds after it was attached anew, a link that goes away is taken for an effect of the attaching, unless
/// the program has heard something.
const SETTLED: u32 = 10;
/// A program that sees one frame of so many is not stalled. It sees frames that the NIC never received, too, such as
/// those of self-tests, and a NIC may count some that it does not hand on.
const ONE_OF: u64 = 8;

/// What is asked of NIC and program once a round, in this order, so that what the NIC has counted may have been seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Frames that the NIC has received.
    pub(crate) received: u64,
    /// Frames that its program has seen.
    pub(crate) seen: u64,
    /// It has a carrier.
    pub(crate) carrier: bool,
    /// How often the carrier came or went.
    pub(crate) carrier_changes: u32,
    /// Its MTU: a driver sets its queues up anew for another one, as for a link that was away.
    pub(crate) mtu: u32,
}

/// A program that no longer gets the NIC's frames.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stalled {
    /// To be attached anew: it has missed so many frames.
    Found(u64),
    /// Attached anew, it still sees nothing. That is reported once, and not attempted again: it may reset the NIC each
    /// time.
    Still(u64),
}

/// What is remembered from round to round.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    last: Option<Sample>,
    missed: u64,
    /// The link was away, or the MTU was changed.
    suspect: bool,
    attempt: Reattached,
}

/// Whether it was attached anew, until it sees frames.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Reattached {
    #[default]
    None,
    /// So many rounds ago.
    Made(u32),
    Failed(u32),
}

impl Reattached {
    /// A round later.
    fn older(self) -> Self {
        match self {
            Self::None => Self::None,
            Self::Made(rounds) => Self::Made(rounds.saturating_add(1)),
            Self::Failed(rounds) => Self::Failed(rounds.saturating_add(1)),
        }
    }

    fn is_settled(self) -> bool {
        match self {
            Self::None => true,
            Self::Made(rounds) | Self::Failed(rounds) => rounds > SETTLED,
        }
    }
}

impl Delivery {
    /// One look more.
    pub(crate) fn look(&mut self, now: Sample) -> Option<Stalled> {
        let last = self.last.replace(now)?;
        self.attempt = self.attempt.older();
        // A driver may begin anew.
        let received = now.received.saturating_sub(last.received);
        let seen = now.seen.saturating_sub(last.seen);
        let hears = seen.saturating_mul(ONE_OF) >= received + self.missed;
        let other_mtu = now.mtu != last.mtu;
        // Frames of this round may have come before, and gone with the link.
        if other_mtu || !now.carrier || now.carrier_changes != last.carrier_changes {
            // Attaching takes the link away, but changes no MTU. What was heard before the change shows that attaching
            // anew was of use, so that it may be again.
            let is_done = other_mtu || (hears && seen > 0) || self.attempt.is_settled();
            let attempt = if is_done { Reattached::None } else { self.attempt };
            *self = Self { last: self.last, missed: 0, suspect: true, attempt };
            return None;
        }
        if received + self.missed == 0 {
            return None;
        }
        if hears {
            *self = Self { last: self.last, ..Self::default() };
            return None;
        }
        // What was counted just now may be seen a moment later.
        let missed = self.missed.saturating_sub(seen);
        self.missed += received.saturating_sub(seen);
        if missed < if self.suspect { FEW } else { MANY } {
            return None;
        }
        let (deaf, attempt) = match self.attempt {
            Reattached::None => (Stalled::Found(missed), Reattached::Made(0)),
            Reattached::Made(rounds) => (Stalled::Still(missed), Reattached::Failed(rounds)),
            Reattached::Failed(_) => return None,
        };
        *self = Self { last: self.last, missed: 0, suspect: self.suspect, attempt };
        Some(deaf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A NIC and its program, a round after the other: how many frames the one receives and the other sees.
    struct FakeNic {
        delivery: Delivery,
        now: Sample,
    }

    impl FakeNic {
        fn new() -> Self {
            let now = Sample { received: 1000, seen: 40, carrier: true, carrier_changes: 2, mtu: 1500 };
            let mut nic = Self { delivery: Delivery::default(), now };
            assert_eq!(nic.delivery.look(now), None);
            nic
        }

        fn round(&mut self, received: u64, seen: u64) -> Option<Stalled> {
            self.now.received += received;
            self.now.seen += seen;
            self.delivery.look(self.now)
        }

        fn link_down_and_up(&mut self) {
            self.now.carrier = false;
            self.now.carrier_changes += 1;
            assert_eq!(self.round(0, 0), None);
            self.now.carrier = true;
            self.now.carrier_changes += 1;
            assert_eq!(self.round(0, 0), None);
        }
    }

    #[test]
    fn one_that_hears_is_left_alone() {
        let mut nic = FakeNic::new();
        for (received, seen) in [(0, 0), (1_000_000, 1_000_000), (5, 4), (0, 1), (0, 3), (1000, 200), (40, 5)] {
            assert_eq!(nic.round(received, seen), None, "{received} {seen}");
        }
        nic.link_down_and_up();
        for _ in 0..100 {
            assert_eq!(nic.round(10, 10), None);
        }
    }

    #[test]
    fn one_that_misses_all_is_found_a_round_later() {
        let mut nic = FakeNic::new();
        assert_eq!(nic.round(500, 0), None, "they may be seen a moment later");
        assert_eq!(nic.round(1, 0), Some(Stalled::Found(500)));
    }

    #[test]
    fn what_is_counted_before_it_is_seen_is_not_missed() {
        let mut nic = FakeNic::new();
        assert_eq!(nic.round(500, 0), None);
        assert_eq!(nic.round(0, 500), None);
        assert_eq!(nic.round(31, 0), None);
        assert_eq!(nic.round(0, 0), None, "too few to judge by");
    }

    #[test]
    fn few_frames_are_enough_once_the_link_was_away_and_until_one_is_heard() {
        let mut nic = FakeNic::new();
        nic.link_down_and_up();
        assert_eq!(nic.round(2, 0), None);
        assert_eq!(nic.round(0, 0), Some(Stalled::Found(2)));

        let mut nic = FakeNic::new();
        nic.link_down_and_up();
        assert_eq!(nic.round(2, 2), None);
        assert_eq!(nic.round(2, 0), None);
        assert_eq!(nic.round(2, 0), None);
    }

    #[test]
    fn a_link_that_was_away_between_two_looks_is_noticed() {
        let mut nic = FakeNic::new();
        nic.now.carrier_changes += 2;
        assert_eq!(nic.round(0, 0), None);
        assert_eq!(nic.round(3, 0), None);
        assert_eq!(nic.round(0, 0), Some(Stalled::Found(3)));
    }

    #[test]
    fn few_frames_are_enough_once_the_mtu_was_changed() {
        let mut nic = FakeNic::new();
        nic.now.mtu = 1400;
        assert_eq!(nic.round(0, 0), None);
        assert_eq!(nic.round(2, 0), None);
        assert_eq!(nic.round(0, 0), Some(Stalled::Found(2)));
    }

    #[test]
    fn frames_of_self_tests_do_not_make_it_hear() {
        let mut nic = FakeNic::new();
        assert_eq!(nic.round(400, 2), None);
        assert_eq!(nic.round(400, 2), Some(Stalled::Found(396)));
    }

    #[test]
    fn it_is_attached_anew_once_and_told_once_if_that_was_no_use() {
        let mut nic = FakeNic::new();
        nic.round(100, 0);
        assert!(matches!(nic.round(100, 0), Some(Stalled::Found(_))));
        let told: Vec<_> = (0..10).filter_map(|_| nic.round(100, 0)).collect();
        assert!(matches!(told[..], [Stalled::Still(_)]), "{told:?}");
        // It heard in between.
        assert_eq!(nic.round(100, 400), None);
        nic.round(100, 0);
        assert!(matches!(nic.round(100, 0), Some(Stalled::Found(_))));
    }

    #[test]
    fn a_link_that_attaching_takes_away_is_no_reason_to_attach_again() {
        let mut nic = FakeNic::new();
        nic.round(100, 0);
        assert!(matches!(nic.round(100, 0), Some(Stalled::Found(_))));
        nic.link_down_and_up();
        nic.round(100, 0);
        assert!(matches!(nic.round(100, 0), Some(Stalled::Still(_))));
        nic.link_down_and_up();
        let told: Vec<_> = (0..10).filter_map(|_| nic.round(100, 0)).collect();
        assert_eq!(told, []);
        nic.link_down_and_up();
        nic.round(100, 0);
        assert!(matches!(nic.round(100, 0), Some(Stalled::Found(_))), "this link went by itself");
    }

    #[test]
    fn another_mtu_is_a_reason_to_attach_again_at_once() {
        let mut nic = FakeNic::new();
        nic.now.mtu = 1400;
        assert_eq!(nic.round(0, 0), None);
        nic.round(2, 0);
        assert_eq!(nic.round(0, 0), Some(Stalled::Found(2)));
        nic.link_down_and_up();
        nic.now.mtu = 1500;
        assert_eq!(nic.round(0, 0), None);
        nic.round(2, 0);
        assert_eq!(nic.round(0, 0), Some(Stalled::Found(2)));
    }

    #[test]
    fn what_was_heard_in_the_round_of_a_change_shows_that_attaching_was_of_use() {
        let mut nic = FakeNic::new();
        nic.link_down_and_up();
        nic.round(2, 0);
        assert_eq!(nic.round(0, 0), Some(Stalled::Found(2)));
        nic.link_down_and_up();
        // The driver counts from nothing again after the change.
        nic.now.received = 0;
        nic.now.carrier_changes += 2;
        assert_eq!(nic.round(0, 4), None);
        nic.round(2, 0);
        assert_eq!(nic.round(0, 0), Some(Stalled::Found(2)));
    }

    #[test]
    fn counters_that_begin_anew_are_no_frames() {
        let mut nic = FakeNic::new();
        nic.now.received = 3;
        assert_eq!(nic.round(0, 0), None);
        assert_eq!(nic.round(0, 0), None);
    }
}
