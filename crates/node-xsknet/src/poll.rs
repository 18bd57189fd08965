//! A descriptor watched by Node's own event loop.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::rc::Rc;

use napi::sys;

use crate::uv::{Handle, READABLE, UV_POLL, Uv, WRITABLE};

/// Who is told. It is kept alive until [`Watcher::closed`] has been called, and has to keep the descriptor open until
/// then.
pub(crate) trait Watcher {
    /// Something can be read or written, as asked; or the descriptor is in error, which looks like both.
    fn ready(&self, events: c_int);

    /// The loop has let go of the descriptor. Unless `alive`, the environment is being torn down, and nothing of
    /// JavaScript may be touched any more.
    fn closed(&self, alive: bool);
}

/// A poll handle. Dropping it does not close it; the end of the environment does.
pub(crate) struct Poll(Rc<Registration>);

struct Registration {
    uv: &'static Uv,
    env: sys::napi_env,
    /// Memory of `uv_handle_size(UV_POLL)` bytes, ours until this value is dropped. libuv has a share of this value
    /// until then.
    handle: NonNull<c_void>,
    watcher: RefCell<Option<Rc<dyn Watcher>>>,
    /// What is waited for.
    armed: Cell<c_int>,
    closing: Cell<bool>,
    torn_down: Cell<bool>,
}

impl Poll {
    /// Makes a handle for a descriptor that `watcher` keeps open. It waits for nothing yet.
    ///
    /// # Errors
    /// `Unsupported` where the process has no libuv; else what `uv_poll_init` answered.
    pub(crate) fn open(env: sys::napi_env, fd: BorrowedFd<'_>, watcher: Rc<dyn Watcher>) -> io::Result<Self> {
        let uv = Uv::get().ok_or(io::ErrorKind::Unsupported)?;
        let mut uv_loop = ptr::null_mut();
        // SAFETY: called on the environment's thread, as all of this is; the out-pointer is valid for the call.
        let status = unsafe { sys::napi_get_uv_event_loop(env, &mut uv_loop) };
        if status != sys::Status::napi_ok {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // SAFETY: a size in, a size out.
        let bytes = unsafe { (uv.handle_size)(UV_POLL) };
        // SAFETY: asks for zeroed memory; null is checked below.
        let memory = unsafe { libc::calloc(1, bytes) };
        let registration = Rc::new(Registration {
            uv,
            env,
            handle: NonNull::new(memory).ok_or(io::ErrorKind::OutOfMemory)?,
            watcher: RefCell::new(Some(watcher)),
            armed: Cell::new(0),
            closing: Cell::new(false),
            torn_down: Cell::new(false),
        });
        // SAFETY: the loop of this thread, memory of the size that libuv asked for, and an open descriptor.
        let status = unsafe { (uv.poll_init)(uv_loop, registration.handle(), fd.as_raw_fd()) };
        if status != 0 {
            return Err(io::Error::from_raw_os_error(-status));
        }
        let share = Rc::into_raw(Rc::clone(&registration)).cast_mut().cast();
        // SAFETY: an initialised handle; `share` stays valid until `on_closed` takes it back.
        unsafe { (uv.handle_set_data)(registration.handle(), share) };
        // SAFETY: the hook's argument is the same share; the hook is removed before the share is taken back.
        unsafe { sys::napi_add_env_cleanup_hook(env, Some(on_teardown), share) };
        Ok(Self(registration))
    }

    /// Waits for `events`, and keeps the process alive meanwhile if `keeps_alive`. Until stopped, the watcher is
    /// notified at each turn of the loop as long as they hold.
    ///
    /// # Errors
    /// What `uv_poll_start` answered.
    pub(crate) fn start(&self, events: c_int, keeps_alive: bool) -> io::Result<()> {
        let Registration { uv, closing, armed, .. } = &*self.0;
        if closing.get() {
            return Ok(());
        }
        if armed.get() != events {
            // SAFETY: an initialised handle that is not closing.
            let status = unsafe { (uv.poll_start)(self.0.handle(), events, on_ready) };
            if status != 0 {
                return Err(io::Error::from_raw_os_error(-status));
            }
            armed.set(events);
        }
        self.keep_alive(keeps_alive);
        Ok(())
    }

    /// Whether waiting keeps the process alive.
    pub(crate) fn keep_alive(&self, keeps_alive: bool) {
        let Registration { uv, closing, .. } = &*self.0;
        if !closing.get() {
            let change = if keeps_alive { uv.reference } else { uv.unreference };
            // SAFETY: an initialised handle that is not closing.
            unsafe { change(self.0.handle()) };
        }
    }

    /// Waits no longer.
    pub(crate) fn stop(&self) {
        let Registration { uv, closing, armed, .. } = &*self.0;
        if !closing.get() && armed.replace(0) != 0 {
            // SAFETY: an initialised handle that is not closing. It cannot fail.
            unsafe { (uv.poll_stop)(self.0.handle()) };
        }
    }

    /// Begins to close; the watcher is notified only of [`Watcher::closed`], in a later turn of the loop.
    pub(crate) fn close(&self) {
        self.0.close();
    }
}

impl Registration {
    fn handle(&self) -> Handle {
        self.handle.as_ptr()
    }

    fn close(&self) {
        if !self.closing.replace(true) {
            // SAFETY: an initialised handle, closed once. It stops polling, too.
            unsafe { (self.uv.close)(self.handle(), on_closed) };
        }
    }

    fn watcher(&self) -> Option<Rc<dyn Watcher>> {
        self.watcher.borrow().clone()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: from `calloc`; libuv's share has been given back, or it never had one, so nobody else knows the
        // memory.
        unsafe { libc::free(self.handle()) };
    }
}

unsafe extern "C" fn on_ready(handle: Handle, status: c_int, events: c_int) {
    let Some(uv) = Uv::get() else { return };
    // SAFETY: libuv calls this for a handle whose data `Poll::open` has set.
    let data = unsafe { (uv.handle_get_data)(handle) };
    // SAFETY: libuv's share is valid until `on_closed`, and what is called below can close the handle, but not run
    // that.
    let registration = unsafe { &*data.cast::<Registration>() };
    let events = if status == 0 {
        events
    } else {
        registration.armed.set(0); // libuv has stopped a descriptor in error
        READABLE | WRITABLE
    };
    if let (Some(watcher), false) = (registration.watcher(), registration.closing.get()) {
        watcher.ready(events);
    }
}

unsafe extern "C" fn on_closed(handle: Handle) {
    let Some(uv) = Uv::get() else { return };
    // SAFETY: as in `on_ready`.
    let data = unsafe { (uv.handle_get_data)(handle) };
    // SAFETY: the share that `Poll::open` gave away; this is called once, and it is the last use of it.
    let registration = unsafe { Rc::from_raw(data.cast_const().cast::<Registration>()) };
    let alive = !registration.torn_down.get();
    if alive {
        // SAFETY: the pair that was added; the environment lives.
        unsafe { sys::napi_remove_env_cleanup_hook(registration.env, Some(on_teardown), data) };
    }
    let watcher = registration.watcher.take();
    if let Some(watcher) = watcher {
        watcher.closed(alive);
    }
}

/// Node aborts the process if a worker ends with an open handle in its loop. It runs the loop once more for those that
/// close.
unsafe extern "C" fn on_teardown(data: *mut c_void) {
    // SAFETY: libuv's share, valid until `on_closed`, which removes this hook.
    let registration = unsafe { &*data.cast::<Registration>() };
    registration.torn_down.set(true);
    registration.close();
}
