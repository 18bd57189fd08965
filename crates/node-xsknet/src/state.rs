//! What this binding keeps of a socket: its data path, its wait in the event loop, and what JavaScript has of it.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::io;
use std::os::fd::AsFd;
use std::ptr;
use std::rc::Rc;

use napi::bindgen_prelude::{Env, Function, JsValue};
use napi::sys;
use xsknet_path::{ChannelEnd, Closing, QueueEndpoint, SocketPath};

use crate::callback::Callback;
use crate::failure::Failure;
use crate::hand_over::Correspondence;
use crate::poll::{Poll, Watcher};
use crate::sharing::SharedBuffer;
use crate::uv::{READABLE, WRITABLE};

/// What this binding and the socket have in common as long as either is there.
pub(crate) struct State {
    env: sys::napi_env,
    /// `None` once it closes.
    path: RefCell<Option<SocketPath>>,
    /// The path that closes: its descriptors stay open until libuv has let go of them.
    leaving: Cell<Option<SocketPath>>,
    /// What the kernel may still use of a UMEM, until the daemon has closed its share of the socket, too.
    closing: Cell<Option<Closing<QueueEndpoint>>>,
    /// Set right after the state has been made.
    poll: RefCell<Option<Poll>>,
    on_ready: RefCell<Option<Callback>>,
    on_closed: RefCell<Option<Callback>>,
    buffers: RefCell<Vec<SharedBuffer>>,
    /// With the thread that has the socket, or that it came from.
    correspondence: RefCell<Option<Correspondence>>,
}

impl State {
    pub(crate) fn open(env: &Env, path: SocketPath) -> Result<Rc<Self>, Failure> {
        let state = Rc::new(Self {
            env: env.raw(),
            path: RefCell::new(Some(path)),
            leaving: Cell::new(None),
            closing: Cell::new(None),
            poll: RefCell::new(None),
            on_ready: RefCell::new(None),
            on_closed: RefCell::new(None),
            buffers: RefCell::new(Vec::new()),
            correspondence: RefCell::new(None),
        });
        let watcher: Rc<dyn Watcher> = Rc::<Self>::clone(&state);
        let poll = state.with(|path| {
            Poll::open(env.raw(), path.rings().as_fd(), watcher).map_err(|cause| {
                Failure::new("SOCKET_REFUSED", "the port's socket cannot be watched by this event loop")
                    .because_of(&cause)
            })
        })?;
        *state.poll.borrow_mut() = Some(poll);
        Ok(state)
    }

    /// Uses the path, unless it has been closed.
    pub(crate) fn with<T>(&self, body: impl FnOnce(&mut SocketPath) -> Result<T, Failure>) -> Result<T, Failure> {
        match &mut *self.path.borrow_mut() {
            Some(path) => body(path),
            None => Err(Failure::new("PORT_CLOSED", "the port's socket has been closed")),
        }
    }

    /// Waits for events, and keeps the process alive meanwhile if `keeps_alive`.
    pub(crate) fn wait(&self, events: c_int, keeps_alive: bool) -> io::Result<()> {
        let mut watched = events;
        if let Some(path) = &mut *self.path.borrow_mut() {
            path.prepare_to_sleep(events & WRITABLE != 0);
            if !path.rings().has_writable_event() {
                watched = READABLE;
            }
        }
        let mut started = Ok(());
        self.poll(|poll| started = poll.start(watched, keeps_alive));
        started
    }

    pub(crate) fn poll(&self, change: impl FnOnce(&Poll)) {
        if let Some(poll) = &*self.poll.borrow() {
            change(poll);
        }
    }

    /// Keeps a buffer lent to JavaScript for as long as the socket is open; it is detached then.
    pub(crate) fn keep(&self, buffer: SharedBuffer) {
        self.buffers.borrow_mut().push(buffer);
    }

    /// Reads an end of a channel for as long as the socket is here.
    pub(crate) fn correspond(&self, end: ChannelEnd, on_letter: Function<'_, (), ()>) -> napi::Result<()> {
        let on_letter = Callback::new(self.env, on_letter.raw())?;
        let correspondence = Correspondence::open(self.env, end, on_letter).map_err(|cause| {
            let what = "the thread that a socket comes from cannot be listened to";
            Failure::new("KERNEL_REFUSED", what).because_of(&cause)
        })?;
        *self.correspondence.borrow_mut() = Some(correspondence);
        Ok(())
    }

    /// Calls `on_ready` at events from now on. `false` where that has been done before.
    pub(crate) fn open_once(&self, on_ready: &Function<'_, u32, ()>) -> napi::Result<bool> {
        if self.on_ready.borrow().is_some() {
            return Ok(false);
        }
        *self.on_ready.borrow_mut() = Some(Callback::new(self.env, on_ready.raw())?);
        Ok(true)
    }

    /// Begins to close; `on_closed` is called in a later turn of the loop. Nothing happens the second time.
    pub(crate) fn close(&self, on_closed: &Function<'_, (), ()>) -> napi::Result<()> {
        if let Some(path) = self.path.take() {
            *self.on_closed.borrow_mut() = Some(Callback::new(self.env, on_closed.raw())?);
            self.leaving.set(Some(path));
            self.poll(Poll::close);
        }
        Ok(())
    }

    /// Takes the path out: nobody uses it here any more.
    pub(crate) fn take_path(&self) -> Option<SocketPath> {
        self.path.take()
    }

    /// Puts back what [`State::take_path`] took.
    pub(crate) fn put_path(&self, path: SocketPath) {
        *self.path.borrow_mut() = Some(path);
    }

    /// Has the loop let go of the descriptor, and JavaScript of the memory. This stops the watch at once; only the
    /// handle's own memory takes another turn.
    pub(crate) fn let_go(&self) {
        self.poll(Poll::close);
        self.buffers.take().into_iter().for_each(SharedBuffer::detach);
    }

    /// What the kernel may still use of the closed socket, once.
    pub(crate) fn take_closing(&self) -> Option<Closing<QueueEndpoint>> {
        self.closing.take()
    }

    /// The other thread, if the socket came from one or went to one.
    pub(crate) fn with_correspondence(&self, body: impl FnOnce(&Correspondence)) {
        if let Some(correspondence) = &*self.correspondence.borrow() {
            body(correspondence);
        }
    }

    fn with_scope(&self, body: impl FnOnce()) {
        let mut scope = ptr::null_mut();
        // SAFETY: the environment lives, and this is its thread.
        if unsafe { sys::napi_open_handle_scope(self.env, &mut scope) } == sys::Status::napi_ok {
            body();
            // SAFETY: the scope opened above, and the innermost.
            unsafe { sys::napi_close_handle_scope(self.env, scope) };
        }
    }
}

impl Watcher for State {
    fn ready(&self, events: c_int) {
        // From now on the wait does not keep the process alive; the watch itself goes on until `rest`.
        self.poll(|poll| poll.keep_alive(false));
        let woken = self.path.borrow_mut().as_mut().and_then(SocketPath::woken);
        let events = woken.map_or(events, |woken| {
            (if woken.readable { READABLE } else { 0 }) | (if woken.writable { WRITABLE } else { 0 })
        });
        if let Some(on_ready) = &*self.on_ready.borrow() {
            on_ready.call(|env| Ok([number(env, events)?]));
        }
    }

    fn closed(&self, alive: bool) {
        if alive {
            self.with_scope(|| self.buffers.take().into_iter().for_each(SharedBuffer::detach));
        }
        if let Some(path) = self.leaving.take().or_else(|| self.path.take()) {
            self.closing.set(Some(path.close()).filter(Closing::is_shared));
            if let Some(correspondence) = self.correspondence.take() {
                correspondence.close();
            }
        }
        let (on_ready, on_closed) = (self.on_ready.take(), self.on_closed.take());
        if alive {
            if let Some(on_closed) = &on_closed {
                on_closed.call(|_| Ok([]));
            }
            on_ready.iter().chain(&on_closed).for_each(Callback::release);
        }
    }
}

fn number(env: sys::napi_env, number: c_int) -> napi::Result<sys::napi_value> {
    let mut value = ptr::null_mut();
    // SAFETY: a valid out-pointer, in an open scope.
    napi::check_status!(unsafe { sys::napi_create_int32(env, number, &mut value) })?;
    Ok(value)
}
