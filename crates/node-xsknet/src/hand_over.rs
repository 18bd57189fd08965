//! The two ends of a socket's way to another thread, in the event loops of both.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::io;
use std::os::fd::AsFd;
use std::ptr;
use std::rc::Rc;

use napi::sys;
use xsknet_path::{ChannelEnd, Key, QueueSocket, Registry};

use crate::callback::Callback;
use crate::poll::{Poll, Watcher};
use crate::uv::READABLE;

/// Sockets that threads of this process have given away and that were not taken yet.
pub(crate) static GIVEN: Registry<QueueSocket> = Registry::new();

/// An end of a channel in the event loop of its thread, for as long as both sides hold theirs.
pub(crate) struct Correspondence(Rc<Desk>);

struct Desk {
    /// Closed before it is dropped: libuv may have its descriptor for another turn.
    end: RefCell<ChannelEnd>,
    poll: RefCell<Option<Poll>>,
    /// Called with each message, and with null when the other side has gone.
    on_letter: Callback,
    /// The socket's key until it is taken.
    key: Cell<Option<Key>>,
}

impl Correspondence {
    /// Has the messages that come in read by `on_letter`. It does not keep the process alive.
    ///
    /// # Errors
    /// As [`Poll::open`].
    pub(crate) fn open(env: sys::napi_env, end: ChannelEnd, on_letter: Callback) -> io::Result<Self> {
        let desk = Rc::new(Desk { end: RefCell::new(end), poll: RefCell::new(None), on_letter, key: Cell::new(None) });
        let watcher: Rc<dyn Watcher> = Rc::<Desk>::clone(&desk);
        let poll = Poll::open(env, desk.end.borrow().as_fd(), watcher)?;
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
        self.0.end.borrow().post(letter);
    }

    /// Closes the socket if it was not taken yet.
    pub(crate) fn recall(&self) {
        self.0.recall();
    }

    /// Reads no more, and notifies the other side.
    pub(crate) fn close(&self) {
        self.0.close();
    }
}

impl Desk {
    fn recall(&self) {
        drop(self.key.take().and_then(|key| GIVEN.take(&key)));
    }

    fn close(&self) {
        self.end.borrow_mut().close();
        if let Some(poll) = &*self.poll.borrow() {
            poll.close();
        }
    }
}

impl Watcher for Desk {
    fn ready(&self, _: c_int) {
        let letters = self.end.borrow().take_messages();
        for letter in letters {
            if letter.is_none() {
                self.close();
            }
            self.on_letter.call(|env| Ok([text(env, letter.as_deref())?]));
        }
    }

    fn closed(&self, alive: bool) {
        // The end of this thread: what it gave must not outlive it unnoticed.
        self.recall();
        self.end.borrow_mut().close();
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
