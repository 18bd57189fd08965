//! The connection to the daemon, in Node's own loop.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::rc::Rc;

use napi::bindgen_prelude::{Env, Function, JsValue, ToNapiValue, Uint8Array};
use napi_derive::napi;
use xsknet_control::{Arrival, MAX_MESSAGE, Seqpacket};

use crate::callback::Callback;
use crate::descriptors::{self, Descriptors};
use crate::poll::{Poll, Watcher};
use crate::system_error::{error_object, system_error};
use crate::uv::READABLE;

/// Messages taken in one turn of the loop, so that a talkative daemon does not stop the rest of the program.
const MESSAGES_A_TURN: usize = 16;

/// A connection to the daemon.
#[napi]
pub struct Control {
    state: Rc<State>,
}

struct State {
    /// `None` once libuv has let go of it.
    socket: RefCell<Option<Seqpacket>>,
    /// Set right after the state has been made.
    poll: RefCell<Option<Poll>>,
    buffer: RefCell<Vec<u8>>,
    on_message: Callback,
    on_end: Callback,
    /// No callback comes any more.
    over: Cell<bool>,
}

#[napi]
impl Control {
    /// Connects at once, or throws as Node's own calls do: with `code`, `errno`, `syscall` and `address`. `onMessage`
    /// gets each message with the descriptors that came beside it; `onEnd` is called once, with an error if it was one.
    #[napi(ts_args_type = "path: string, \
                        onMessage: (message: Uint8Array, descriptors: Descriptors | null) => void, \
                        onEnd: (error: Error | null) => void")]
    pub fn connect(
        env: &Env,
        path: String,
        on_message: Function<'_, (), ()>,
        on_end: Function<'_, (), ()>,
    ) -> napi::Result<Self> {
        let socket = Seqpacket::connect(Path::new(&path)).map_err(|error| {
            let errno = error.errno().unwrap_or(libc::EIO);
            system_error(env, "connect", errno, Some(&path))
        })?;
        let state = Rc::new(State {
            socket: RefCell::new(Some(socket)),
            poll: RefCell::new(None),
            buffer: RefCell::new(vec![0; MAX_MESSAGE]),
            on_message: Callback::new(env.raw(), on_message.raw())?,
            on_end: Callback::new(env.raw(), on_end.raw())?,
            over: Cell::new(false),
        });
        let watcher: Rc<dyn Watcher> = Rc::<State>::clone(&state);
        let opened = match &*state.socket.borrow() {
            Some(socket) => Poll::open(env.raw(), socket.as_fd(), watcher),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        let started = opened.and_then(|poll| {
            let started = poll.start(READABLE, true);
            *state.poll.borrow_mut() = Some(poll);
            started
        });
        if let Err(error) = started {
            state.close();
            if state.poll.borrow().is_none() {
                state.closed(true);
            }
            return Err(system_error(env, "uv_poll_start", error.raw_os_error().unwrap_or(libc::ENOSYS), Some(&path)));
        }
        Ok(Self { state })
    }

    /// Sends one message, and copies of the descriptors. `false`: the daemon has not read enough yet, try again later.
    /// Throws when the connection is gone, or `EBADF` where a number is not an open descriptor.
    #[napi]
    pub fn send(&self, env: &Env, message: &[u8], fds: Option<Vec<i32>>) -> napi::Result<bool> {
        let fds = fds.unwrap_or_default();
        let borrowed: Result<Vec<_>, _> = fds.iter().map(|&fd| descriptors::borrow(fd)).collect();
        let borrowed =
            borrowed.map_err(|error| system_error(env, "fcntl", error.raw_os_error().unwrap_or(libc::EBADF), None))?;
        let sent = match (&*self.state.socket.borrow(), self.state.over.get()) {
            (Some(socket), false) => socket.send(message, &borrowed),
            _ => Err(io::Error::from_raw_os_error(libc::EPIPE)),
        };
        match sent {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => {
                // Without an errno it was refused for its length, before it got to the kernel.
                let errno = error.raw_os_error().unwrap_or(libc::EMSGSIZE);
                Err(system_error(env, "sendmsg", errno, None))
            }
        }
    }

    /// Lets the connection keep the process alive, as it does at first.
    #[napi(js_name = "ref")]
    pub fn reference(&self) {
        self.state.poll(|poll| poll.keep_alive(true));
    }

    /// Lets the process end while the connection is open.
    #[napi]
    pub fn unref(&self) {
        self.state.poll(|poll| poll.keep_alive(false));
    }

    /// Closes the connection. No callback comes after it.
    #[napi]
    pub fn close(&self) {
        self.state.close();
    }
}

impl State {
    fn poll(&self, change: impl FnOnce(&Poll)) {
        if let Some(poll) = &*self.poll.borrow() {
            change(poll);
        }
    }

    fn close(&self) {
        self.over.set(true);
        self.poll(Poll::close);
    }

    fn end(&self, error: Option<io::Error>) {
        self.close();
        self.on_end.call(|raw| {
            let error = error.map(|error| {
                let errno = error.raw_os_error().unwrap_or(libc::EPROTO);
                error_object(&Env::from_raw(raw), "recvmsg", errno, None).map(|object| object.raw())
            });
            // SAFETY: nothing is converted but null.
            let null = || unsafe { ToNapiValue::to_napi_value(raw, napi::bindgen_prelude::Null) };
            Ok([error.unwrap_or_else(null)?])
        });
    }

    fn receive(&self) -> io::Result<Option<(Vec<u8>, Option<Descriptors>)>> {
        let socket = self.socket.borrow();
        let Some(socket) = &*socket else { return Ok(None) };
        let mut buffer = self.buffer.borrow_mut();
        let received = socket.receive(&mut buffer)?;
        let descriptors = (!received.descriptors.is_empty()).then(|| Descriptors::new(received.descriptors));
        match received.arrival {
            Arrival::Message { length } => Ok(Some((buffer[..length].to_vec(), descriptors))),
            Arrival::End => Ok(None),
            // The daemon breaks the protocol; whatever it wanted to say is lost.
            Arrival::Oversized { .. } => Err(io::Error::from_raw_os_error(libc::EMSGSIZE)),
            Arrival::TooManyDescriptors { .. } => Err(io::Error::from_raw_os_error(libc::EPROTO)),
            Arrival::DescriptorsLost { .. } => Err(io::Error::from_raw_os_error(libc::EMFILE)),
        }
    }
}

impl Watcher for State {
    fn ready(&self, _: c_int) {
        for _ in 0..MESSAGES_A_TURN {
            if self.over.get() {
                return;
            }
            match self.receive() {
                Ok(Some((message, descriptors))) => self.on_message.call(|raw| {
                    // SAFETY: the environment of this callback, in an open scope.
                    let message = unsafe { ToNapiValue::to_napi_value(raw, Uint8Array::new(message)) }?;
                    // SAFETY: as above.
                    let descriptors = unsafe { ToNapiValue::to_napi_value(raw, descriptors) }?;
                    Ok([message, descriptors])
                }),
                Ok(None) => return self.end(None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.end(Some(error)),
            }
        }
    }

    fn closed(&self, alive: bool) {
        self.socket.take();
        if alive {
            self.on_message.release();
            self.on_end.release();
        }
    }
}
