//! The way of a socket from one thread of this process to another, and what the two say to each other afterwards.
//!
//! A socket is on the way as a [`Parcel`] in a register of the process, under a key that nobody can guess. Whoever gave it and whoever
//! has it hold one end each of a [`Line`]: letters in both directions, each with a bell (an eventfd) in the loop of who reads it. No
//! frame ever touches it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use napi::sys;
use rustix::event::{EventfdFlags, eventfd};
use rustix::rand::{GetRandomFlags, getrandom};
use xsknet_xsk::Socket;

use crate::callback::Callback;
use crate::poll::{Poll, Watcher};
use crate::uv::READABLE;

/// What names a parcel: 128 random bits.
pub(crate) type Key = [u32; 4];

/// Sockets that were given away and not yet taken.
static PARCELS: Mutex<BTreeMap<Key, Parcel>> = Mutex::new(BTreeMap::new());

/// A socket on its way. Dropping it closes the socket, then tells who gave it.
pub(crate) struct Parcel {
    /// Closed before the line is hung up: fields are dropped in this order.
    pub(crate) socket: Socket,
    pub(crate) line: LineEnd,
}

/// Puts a socket where another thread can take it.
///
/// # Errors
/// Where the kernel has no random bytes; the socket is closed then.
pub(crate) fn give(parcel: Parcel) -> io::Result<Key> {
    let mut bytes = [MaybeUninit::<u8>::uninit(); 16];
    let (bytes, _) = getrandom(&mut bytes, GetRandomFlags::empty())?;
    let mut key = Key::default();
    for (word, bytes) in key.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
    locked(&PARCELS).insert(key, parcel);
    Ok(key)
}

/// Takes the socket of a key, which nobody can do a second time.
pub(crate) fn take(key: &Key) -> Option<Parcel> {
    locked(&PARCELS).remove(key)
}

/// A side of a line.
#[derive(Clone, Copy)]
enum Side {
    Giver = 0,
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
struct Mailbox {
    /// An eventfd: readable as long as there is something to read.
    bell: OwnedFd,
    letters: Mutex<Vec<Option<String>>>,
}

struct Line([Mailbox; 2]);

/// One end of a line. Dropping it hangs up, which the other side is told as its last letter.
pub(crate) struct LineEnd {
    line: Arc<Line>,
    side: Side,
}

/// A line: the end of who gives, and the end that goes with the socket.
pub(crate) fn line() -> io::Result<(LineEnd, LineEnd)> {
    let mailbox = || {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        io::Result::Ok(Mailbox { bell, letters: Mutex::default() })
    };
    let line = Arc::new(Line([mailbox()?, mailbox()?]));
    Ok((LineEnd { line: Arc::clone(&line), side: Side::Giver }, LineEnd { line, side: Side::Taker }))
}

impl LineEnd {
    /// Writes to the other side.
    pub(crate) fn post(&self, letter: String) {
        self.line.put(self.side.other(), Some(letter));
    }

    fn inbox(&self) -> &Mailbox {
        &self.line.0[self.side as usize]
    }
}

impl Drop for LineEnd {
    fn drop(&mut self) {
        self.line.put(self.side.other(), None);
    }
}

impl Line {
    fn put(&self, to: Side, letter: Option<String>) {
        let mailbox = &self.0[to as usize];
        locked(&mailbox.letters).push(letter);
        // It can fail only where it rings already, 2^64 - 1 times.
        let _ = rustix::io::write(&mailbox.bell, &1_u64.to_ne_bytes());
    }
}

/// An end of a line in the event loop of its thread, for as long as both sides hold theirs.
pub(crate) struct Correspondence(Rc<Desk>);

struct Desk {
    /// `None` once hung up.
    end: RefCell<Option<LineEnd>>,
    /// Kept until libuv has let go of its bell.
    _line: Arc<Line>,
    poll: RefCell<Option<Poll>>,
    /// Told each letter, and null when the other side has hung up.
    on_letter: Callback,
    /// What the socket is named by as long as nobody has taken it.
    key: Cell<Option<Key>>,
}

impl Correspondence {
    /// Has the letters that come in read by `on_letter`. It does not keep the process alive.
    ///
    /// # Errors
    /// As [`Poll::open`].
    pub(crate) fn open(env: sys::napi_env, end: LineEnd, on_letter: Callback) -> io::Result<Self> {
        let (line, side) = (Arc::clone(&end.line), end.side);
        let desk = Rc::new(Desk {
            end: RefCell::new(Some(end)),
            _line: Arc::clone(&line),
            poll: RefCell::new(None),
            on_letter,
            key: Cell::new(None),
        });
        let watcher: Rc<dyn Watcher> = Rc::<Desk>::clone(&desk);
        let poll = Poll::open(env, line.0[side as usize].bell.as_fd(), watcher)?;
        let started = poll.start(READABLE, false);
        if started.is_err() {
            poll.close();
        }
        *desk.poll.borrow_mut() = Some(poll);
        started?;
        Ok(Self(desk))
    }

    /// Remembers the parcel that went out, to call it back.
    pub(crate) fn sent(&self, key: Key) {
        self.0.key.set(Some(key));
    }

    /// Writes to the other side, unless it is too late.
    pub(crate) fn post(&self, letter: String) {
        if let Some(end) = &*self.0.end.borrow() {
            end.post(letter);
        }
    }

    /// Closes the socket if nobody has taken it yet.
    pub(crate) fn recall(&self) {
        self.0.recall();
    }

    /// Reads no more, and hangs up.
    pub(crate) fn close(&self) {
        self.0.close();
    }
}

impl Desk {
    fn recall(&self) {
        drop(self.key.take().and_then(|key| take(&key)));
    }

    fn close(&self) {
        self.end.take();
        if let Some(poll) = &*self.poll.borrow() {
            poll.close();
        }
    }

    fn letters(&self) -> Vec<Option<String>> {
        let end = self.end.borrow();
        let Some(end) = &*end else { return Vec::new() };
        let mailbox = end.inbox();
        let _ = rustix::io::read(&mailbox.bell, &mut [0_u8; 8]); // nothing to read is as good
        std::mem::take(&mut *locked(&mailbox.letters))
    }
}

impl Watcher for Desk {
    fn ready(&self, _: c_int) {
        for letter in self.letters() {
            if letter.is_none() {
                self.close();
            }
            self.on_letter.call(|env| Ok([text(env, letter.as_deref())?]));
        }
    }

    fn closed(&self, alive: bool) {
        // The end of this thread: what it gave must not outlive it unnoticed.
        self.recall();
        self.end.take();
        if alive {
            self.on_letter.release();
        }
    }
}

/// A string, or null.
fn text(env: sys::napi_env, text: Option<&str>) -> napi::Result<sys::napi_value> {
    let mut value = ptr::null_mut();
    let status = match text {
        // SAFETY: as many bytes of UTF-8 as said, and a valid out-pointer, in an open scope.
        Some(text) => unsafe {
            sys::napi_create_string_utf8(env, text.as_ptr().cast(), text.len().cast_signed(), &mut value)
        },
        // SAFETY: a valid out-pointer.
        None => unsafe { sys::napi_get_null(env, &mut value) },
    };
    napi::check_status!(status)?;
    Ok(value)
}

/// What is guarded stays whole between any two statements, so that a panic elsewhere spoils nothing.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
