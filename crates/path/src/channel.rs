//! What two threads of one process say to each other about a socket that went from one to the other. No frame goes this
//! way.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

/// Which thread has an end.
#[derive(Clone, Copy, Debug)]
enum Side {
    /// The thread that gave the socket away.
    Giver = 0,
    /// The thread that has it.
    Taker = 1,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Giver => Self::Taker,
            Self::Taker => Self::Giver,
        }
    }
}

/// What waits to be read on a side.
#[derive(Debug)]
struct Inbox {
    /// An eventfd, readable for as long as there is a message.
    signal: OwnedFd,
    messages: Mutex<Vec<Option<String>>>,
}

/// One end of a channel. Closing or dropping it is the last message to the other.
#[derive(Debug)]
pub struct ChannelEnd {
    inboxes: Arc<[Inbox; 2]>,
    side: Side,
    closed: bool,
}

/// A channel: the end of the thread that gives a socket away, and the end that goes with the socket.
///
/// # Errors
/// What `eventfd` answered.
pub fn channel() -> io::Result<(ChannelEnd, ChannelEnd)> {
    let inbox = || {
        let signal = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        io::Result::Ok(Inbox { signal, messages: Mutex::default() })
    };
    let inboxes = Arc::new([inbox()?, inbox()?]);
    let giver = ChannelEnd { inboxes: Arc::clone(&inboxes), side: Side::Giver, closed: false };
    Ok((giver, ChannelEnd { inboxes, side: Side::Taker, closed: false }))
}

impl ChannelEnd {
    /// Writes to the other side, unless this end is closed. Nobody reads it where the other end is.
    pub fn post(&self, message: String) {
        if !self.closed {
            self.put(Some(message));
        }
    }

    /// Takes all messages that have come; `None`, the last one, says that the other side has gone. There is none once
    /// this end is closed.
    #[must_use]
    pub fn take_messages(&self) -> Vec<Option<String>> {
        if self.closed {
            return Vec::new();
        }
        let inbox = &self.inboxes[self.side as usize];
        let _ = rustix::io::read(&inbox.signal, &mut [0_u8; 8]); // nothing to read is as good
        std::mem::take(&mut *locked(&inbox.messages))
    }

    /// Notifies the other side that nothing more comes. The descriptor stays open until the end is dropped.
    pub fn close(&mut self) {
        if !std::mem::replace(&mut self.closed, true) {
            self.put(None);
        }
    }

    fn put(&self, message: Option<String>) {
        let inbox = &self.inboxes[self.side.other() as usize];
        locked(&inbox.messages).push(message);
        // It can fail only where it counts 2^64 - 1 messages already.
        let _ = rustix::io::write(&inbox.signal, &1_u64.to_ne_bytes());
    }
}

/// Readable for as long as there is a message.
impl AsFd for ChannelEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inboxes[self.side as usize].signal.as_fd()
    }
}

impl Drop for ChannelEnd {
    fn drop(&mut self) {
        self.close();
    }
}

/// What is guarded stays whole between any two statements, so that a panic elsewhere spoils nothing.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
