//! When the kernel is notified of frames in TX: a kick is a system call, so it is put off while there is something to
//! receive, but not for long.

/// Frames in TX from which on a kick is no longer put off, although more frames wait to be received.
pub const KICK_AFTER_FRAMES: usize = 512;
/// The same of BPF rings, which the kernel makes a page for each frame of and takes them up again after 64.
pub const KICK_AFTER_FRAMES_IN_BPF_RINGS: usize = 512;
/// Calls from which on it is not, however few frames there are.
pub const KICK_AFTER_CALLS: u32 = 64;

/// What there is to kick for.
#[derive(Debug)]
pub(crate) struct Kicks {
    /// Frames from which on a kick is due.
    after: usize,
    /// Frames in TX since the last kick.
    unkicked: usize,
    /// Frames in TX that the kernel had not taken after it.
    waiting: u32,
    /// Calls since there is something to kick for.
    put_off: u32,
}

/// Whether to kick before the next frames are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// No: there is nothing to kick for.
    No,
    /// If no frame waits to be received.
    WhenIdle,
    /// In any case.
    Now,
}

impl Kicks {
    pub(crate) fn after(frames: usize) -> Self {
        Self { after: frames, unkicked: 0, waiting: 0, put_off: 0 }
    }

    /// So many frames were put into TX.
    #[inline]
    pub(crate) fn queued(&mut self, frames: usize) {
        self.unkicked += frames;
    }

    /// Asked by each call that receives.
    #[inline]
    pub(crate) fn before_receiving(&mut self) -> Due {
        if self.unkicked == 0 && self.waiting == 0 {
            return Due::No;
        }
        self.put_off += 1;
        if self.is_due() || self.put_off >= KICK_AFTER_CALLS { Due::Now } else { Due::WhenIdle }
    }

    /// Asked by each call that sends.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.unkicked >= self.after
    }

    /// The kernel was notified, and has not taken so many frames.
    #[inline]
    pub(crate) fn kicked(&mut self, waiting: u32) {
        *self = Self { waiting, ..Self::after(self.after) };
    }
}

#[cfg(test)]
mod tests {
    use super::{Due, KICK_AFTER_CALLS, KICK_AFTER_FRAMES, Kicks};

    #[test]
    fn nothing_in_tx_is_nothing_to_kick_for() {
        let mut kicks = Kicks::after(KICK_AFTER_FRAMES);
        for _ in 0..2 * KICK_AFTER_CALLS {
            assert_eq!(kicks.before_receiving(), Due::No);
        }
        kicks.queued(1);
        assert_eq!(kicks.before_receiving(), Due::WhenIdle, "calls without a frame in TX put nothing off");
    }

    #[test]
    fn a_frame_is_put_off_for_as_many_calls_and_no_more() {
        let mut kicks = Kicks::after(KICK_AFTER_FRAMES);
        kicks.queued(1);
        for call in 1..KICK_AFTER_CALLS {
            assert_eq!(kicks.before_receiving(), Due::WhenIdle, "{call}");
        }
        assert_eq!(kicks.before_receiving(), Due::Now);
        kicks.kicked(0);
        assert_eq!(kicks.before_receiving(), Due::No);
    }

    #[test]
    fn many_frames_are_not_put_off() {
        let mut kicks = Kicks::after(KICK_AFTER_FRAMES);
        kicks.queued(KICK_AFTER_FRAMES - 1);
        assert_eq!((kicks.is_due(), kicks.before_receiving()), (false, Due::WhenIdle));
        kicks.queued(1);
        assert_eq!((kicks.is_due(), kicks.before_receiving()), (true, Due::Now));
    }

    #[test]
    fn what_the_kernel_did_not_take_is_kicked_for_again() {
        let mut kicks = Kicks::after(KICK_AFTER_FRAMES);
        kicks.queued(3);
        kicks.kicked(3);
        assert_eq!((kicks.is_due(), kicks.before_receiving()), (false, Due::WhenIdle));
        kicks.kicked(0);
        assert_eq!(kicks.before_receiving(), Due::No);
    }
}
