//! An adopted socket as JavaScript sees it: its adoption, its waiting, its end. What is called once a batch is in [`hot`](crate::hot).

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr;
use std::rc::Rc;

use napi::bindgen_prelude::{Env, Function, JsValue};
use napi::sys;
use napi_derive::napi;
use serde_json::json;
use xsknet_xsk::{BindMode, DeviceState, Donation, Layout, Socket};

use crate::callback::Callback;
use crate::data_path::{Closing, DataPath};
use crate::descriptors::Descriptors;
use crate::failure::Failure;
use crate::hand_over::{self, Correspondence, Key, LineEnd, Parcel};
use crate::hot::HotPath;
use crate::poll::{Poll, Watcher};
use crate::sharing::SharedBuffer;
use crate::statistics::{Census, KernelStatistics, SocketCounters};

/// What a socket's two descriptors cannot tell.
#[napi(object, object_to_js = false)]
pub struct SocketDescription {
    /// Bytes of a chunk of the UMEM.
    pub frame_size: u32,
    /// Chunks of the UMEM.
    pub frames: u32,
    /// Bytes left free in front of each frame, beside the kernel's own 256.
    pub headroom: u32,
    /// Slots of RX.
    pub rx: u32,
    /// Slots of TX.
    pub tx: u32,
    /// Slots of FILL.
    pub fill: u32,
    /// Slots of COMPLETION.
    pub completion: u32,
    /// The most chunks that reception may hold.
    pub fill_target: u32,
    /// The chunks lent to reception: ranges of first chunk and number.
    #[napi(ts_type = "[number, number][]")]
    pub in_fill: Vec<(u32, u32)>,
    /// Whether a frame may take several chunks.
    pub multi_buffer: bool,
    /// Whether the UMEM lies in huge pages.
    pub huge_pages: bool,
    /// The mode that the kernel granted.
    #[napi(ts_type = "'copy' | 'zero-copy'")]
    pub bind_mode: String,
    /// What was counted before the hand-over.
    pub counted: Counted,
}

/// Frames that went through a socket's rings.
#[napi(object)]
pub struct Counted {
    /// Out of RX.
    pub received: u32,
    /// Into TX.
    pub sent: u32,
    /// Out of COMPLETION.
    pub completed: u32,
}

impl SocketDescription {
    pub(crate) fn layout(&self) -> Result<Layout, Failure> {
        let layout = Layout::builder()
            .frame_size(self.frame_size)
            .frames(self.frames)
            .headroom(self.headroom)
            .rx(self.rx)
            .tx(self.tx)
            .fill(self.fill)
            .completion(self.completion)
            .fill_target(self.fill_target)
            .multi_buffer(self.multi_buffer)
            .huge_pages(self.huge_pages);
        Ok(layout.build()?)
    }

    /// The chunks of the ranges; `layout` bounds them, so that a lie costs no memory.
    fn chunks_in_fill(&self, layout: &Layout) -> Result<Vec<u32>, Failure> {
        let mut chunks = Vec::new();
        for &(first, count) in &self.in_fill {
            let end = first.checked_add(count).filter(|end| *end <= layout.frames());
            let end = end.filter(|_| chunks.len() + count as usize <= layout.frames() as usize);
            let Some(end) = end else {
                return Err(Failure {
                    details: json!({ "first": first, "count": count, "frames": layout.frames() }),
                    ..Failure::new(
                        "ERR_XSKNET_SOCKET_REFUSED",
                        format!(
                            "{count} chunks from {first} on are said to be in FILL, of {} chunks in all",
                            layout.frames()
                        ),
                    )
                });
            };
            chunks.extend(first..end);
        }
        Ok(chunks)
    }

    fn adopt(&self, xsk: OwnedFd, umem: OwnedFd) -> Result<Socket, Failure> {
        let layout = self.layout()?;
        let (in_fill, bind) = (self.chunks_in_fill(&layout)?, self.bind()?);
        Ok(Socket::adopt(Donation { xsk, umem, layout, in_fill, bind, counters: self.counters() })?)
    }

    pub(crate) fn counters(&self) -> xsknet_xsk::SocketCounters {
        let Counted { received, sent, completed } = self.counted;
        xsknet_xsk::SocketCounters {
            received: received.into(),
            sent: sent.into(),
            completed: completed.into(),
            ..Default::default()
        }
    }

    pub(crate) fn bind(&self) -> Result<BindMode, Failure> {
        match self.bind_mode.as_str() {
            "copy" => Ok(BindMode::Copy),
            "zero-copy" => Ok(BindMode::ZeroCopy),
            other => Err(Failure::new(
                "ERR_XSKNET_SOCKET_REFUSED",
                format!("a socket is bound in mode copy or zero-copy, not in {other:?}"),
            )),
        }
    }
}

/// Takes over bound sockets: exactly two descriptors for each, the XSK and the file of its UMEM. All are closed if one cannot be.
#[napi]
pub fn adopt(
    env: Env,
    descriptors: &mut Descriptors,
    descriptions: Vec<SocketDescription>,
) -> napi::Result<Vec<AdoptedSocket>> {
    let mut files = descriptors.take_all().into_iter();
    let (wanted, count) = (2 * descriptions.len(), files.len());
    if count != wanted {
        let what = format!("a port comes as {wanted} descriptors, two for each of its sockets, not as {count}");
        return Err(Failure::new("ERR_XSKNET_SOCKET_REFUSED", what).into());
    }
    let mut adopted = Adopted(Vec::with_capacity(descriptions.len()));
    for description in descriptions {
        let (Some(xsk), Some(umem)) = (files.next(), files.next()) else { break };
        adopted.0.push(AdoptedSocket::of(&env, description.adopt(xsk, umem)?)?);
    }
    Ok(std::mem::take(&mut adopted.0))
}

/// Sockets that are closed unless somebody takes them.
struct Adopted(Vec<AdoptedSocket>);

impl Drop for Adopted {
    fn drop(&mut self) {
        for socket in &self.0 {
            socket.state.poll(Poll::close);
        }
    }
}

/// Takes over a socket that another thread has given away by [`AdoptedSocket::hand_over`]. `on_letter` is told what that thread posts,
/// and null when it is gone. Null where nobody gave a socket under this key, or somebody has taken it before.
#[napi]
pub fn take_over(
    env: Env,
    key: Vec<u32>,
    #[napi(ts_arg_type = "(letter: string | null) => void")] on_letter: Function<'_, (), ()>,
) -> napi::Result<Option<AdoptedSocket>> {
    let Ok(key) = Key::try_from(key) else { return Ok(None) };
    let Some(Parcel { socket, line }) = hand_over::take(&key) else { return Ok(None) };
    let state = State::open(&env, DataPath::new(socket))?;
    if let Err(error) = state.correspond(line, on_letter) {
        state.poll(Poll::close);
        return Err(error);
    }
    Ok(Some(AdoptedSocket { state }))
}

/// What this binding and the socket have in common as long as either is there.
pub(crate) struct State {
    env: sys::napi_env,
    /// `None` once it closes.
    path: RefCell<Option<DataPath>>,
    /// The path that closes: its descriptors stay open until libuv has let go of them.
    leaving: Cell<Option<DataPath>>,
    /// What the kernel may still use of a UMEM, until the daemon has closed its share of the socket, too.
    closing: Cell<Option<Closing>>,
    /// Set right after the state has been made.
    poll: RefCell<Option<Poll>>,
    on_ready: RefCell<Option<Callback>>,
    on_closed: RefCell<Option<Callback>>,
    buffers: RefCell<Vec<SharedBuffer>>,
    /// With the thread that has the socket, or that it came from.
    correspondence: RefCell<Option<Correspondence>>,
}

impl State {
    pub(crate) fn open(env: &Env, path: DataPath) -> Result<Rc<Self>, Failure> {
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
            Poll::open(env.raw(), path.endpoint().as_fd(), watcher).map_err(|cause| {
                Failure::new("ERR_XSKNET_SOCKET_REFUSED", "the port's socket cannot be watched by this event loop")
                    .because_of(&cause)
            })
        })?;
        *state.poll.borrow_mut() = Some(poll);
        Ok(state)
    }

    /// Uses the path, unless it has been closed.
    pub(crate) fn with<T>(&self, body: impl FnOnce(&mut DataPath) -> Result<T, Failure>) -> Result<T, Failure> {
        match &mut *self.path.borrow_mut() {
            Some(path) => body(path),
            None => Err(Failure::new("ERR_XSKNET_PORT_CLOSED", "the port's socket has been closed")),
        }
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

    /// Answers an end of a line for as long as the socket is here.
    fn correspond(&self, end: LineEnd, on_letter: Function<'_, (), ()>) -> napi::Result<()> {
        let on_letter = Callback::new(self.env, on_letter.raw())?;
        let correspondence = Correspondence::open(self.env, end, on_letter).map_err(|cause| {
            let what = "the thread that a socket comes from cannot be listened to";
            Failure::new("ERR_XSKNET_KERNEL_REFUSED", what).because_of(&cause)
        })?;
        *self.correspondence.borrow_mut() = Some(correspondence);
        Ok(())
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
        // Nobody waits from now on, as far as the process's life goes; the watch itself goes on until `rest`.
        self.poll(|poll| poll.keep_alive(false));
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

/// A socket that this process has taken over.
#[napi]
pub struct AdoptedSocket {
    pub(crate) state: Rc<State>,
}

impl AdoptedSocket {
    /// The binding of a socket.
    pub(crate) fn of(env: &Env, socket: Socket) -> napi::Result<Self> {
        Ok(Self { state: State::open(env, DataPath::new(socket))? })
    }
}

#[napi]
impl AdoptedSocket {
    /// Lends the memory to JavaScript and makes the functions. Once. What is queued and no packet of this MTU is refused from now on.
    #[napi]
    pub fn open<'env>(&self, env: &'env Env, on_ready: Function<'_, u32, ()>, mtu: u32) -> napi::Result<HotPath<'env>> {
        let state = &self.state;
        if state.on_ready.borrow().is_some() {
            return Err(Failure::new("ERR_XSKNET_INTERNAL", "a socket is opened once").into());
        }
        *state.on_ready.borrow_mut() = Some(Callback::new(env.raw(), on_ready.raw())?);
        state.with(|path| {
            path.set_mtu(mtu);
            Ok(())
        })?;
        HotPath::of(env, state)
    }

    /// Asks the kernel how the device is.
    #[napi(ts_return_type = "'up' | 'down' | 'gone'")]
    pub fn check(&self) -> napi::Result<&'static str> {
        Ok(self.state.with(|path| {
            Ok(match path.device() {
                DeviceState::Up => "up",
                DeviceState::Down => "down",
                DeviceState::Gone => "gone",
            })
        })?)
    }

    /// How many chunks each owner has.
    #[napi]
    pub fn census(&self) -> napi::Result<Census> {
        Ok(self.state.with(|path| {
            path.settle()?;
            Ok(Census::of(path))
        })?)
    }

    /// What the socket has done.
    #[napi]
    pub fn counters(&self) -> napi::Result<SocketCounters> {
        Ok(self.state.with(|path| {
            path.settle()?;
            Ok(SocketCounters::of(path))
        })?)
    }

    /// What the kernel has counted. A system call.
    #[napi]
    pub fn statistics(&self) -> napi::Result<KernelStatistics> {
        Ok(self.state.with(|path| {
            let kernel = path.statistics().map_err(|cause| {
                Failure::new("ERR_XSKNET_KERNEL_REFUSED", "asking for the socket's statistics failed")
                    .because_of(&cause)
            })?;
            Ok(kernel.into())
        })?)
    }

    /// Stops everything at once. In a later turn of the loop the memory is detached, then the descriptors are closed, then the callback
    /// comes. A second call does nothing, its callback never comes.
    #[napi]
    pub fn close(&self, env: &Env, on_closed: Function<'_, (), ()>) -> napi::Result<()> {
        let state = &self.state;
        if let Some(path) = state.path.take() {
            *state.on_closed.borrow_mut() = Some(Callback::new(env.raw(), on_closed.raw())?);
            state.leaving.set(Some(path));
            state.poll(Poll::close);
        }
        Ok(())
    }
}

/// Why a socket stays in its thread: the ledger of a UMEM is its thread's.
fn shares_its_umem() -> Failure {
    Failure {
        hint: Some("Open the port without `umemOf`."),
        ..Failure::new("ERR_XSKNET_NOT_SUPPORTED", "a queue whose UMEM is shared cannot be handed over")
    }
}

#[napi]
impl AdoptedSocket {
    /// Throws what `hand_over` would where others share the UMEM. Nothing has changed then.
    #[napi]
    pub fn check_hand_over(&self) -> napi::Result<()> {
        Ok(self.state.with(|path| if path.is_shared() { Err(shares_its_umem()) } else { Ok(()) })?)
    }

    /// Gives the socket away: what it lent to this thread is detached, and the first thread that names the key in [`take_over`] has it.
    /// From then on only `post` and `recall` are of use here. `on_letter` is told what that thread posts, and null when the socket has
    /// been closed.
    #[napi(ts_return_type = "[number, number, number, number]")]
    pub fn hand_over(
        &self,
        #[napi(ts_arg_type = "(letter: string | null) => void")] on_letter: Function<'_, (), ()>,
    ) -> napi::Result<Vec<u32>> {
        let state = &self.state;
        let refused = |what: &str, cause: &io::Error| Failure::new("ERR_XSKNET_KERNEL_REFUSED", what).because_of(cause);
        let (ours, theirs) =
            hand_over::line().map_err(|cause| refused("two threads cannot be connected by an eventfd", &cause))?;
        let Some(path) = state.path.take() else {
            return Err(Failure::new("ERR_XSKNET_PORT_CLOSED", "the port's socket has been closed").into());
        };
        let socket = match path.dismantle() {
            Ok(socket) => socket,
            Err(path) => {
                *state.path.borrow_mut() = Some(path);
                return Err(shares_its_umem().into());
            }
        };
        // The loop must have let go of the descriptor, and JavaScript of the memory, before another thread has them. This stops the
        // watch at once; only the handle's own memory takes another turn.
        state.poll(Poll::close);
        state.buffers.take().into_iter().for_each(SharedBuffer::detach);
        let parcel = Parcel { socket, line: theirs };
        state.correspond(ours, on_letter)?;
        let key = hand_over::give(parcel).map_err(|cause| refused("a key for a socket cannot be made", &cause))?;
        if let Some(correspondence) = &*state.correspondence.borrow() {
            correspondence.sent(key);
        }
        Ok(key.into())
    }

    /// Frees the chunks that the socket had when it was closed, for others that share its UMEM: nobody has a descriptor of it any more.
    #[napi]
    pub fn reclaim(&self) {
        if let Some(closing) = self.state.closing.take() {
            closing.reclaim();
        }
    }

    /// Writes to the thread at the other end: the one that has the socket, or that it came from. Nothing happens once that is gone.
    #[napi]
    pub fn post(&self, letter: String) {
        if let Some(correspondence) = &*self.state.correspondence.borrow() {
            correspondence.post(letter);
        }
    }

    /// Closes a socket that was given away and that nobody has taken yet.
    #[napi]
    pub fn recall(&self) {
        if let Some(correspondence) = &*self.state.correspondence.borrow() {
            correspondence.recall();
        }
    }
}

fn number(env: sys::napi_env, number: c_int) -> napi::Result<sys::napi_value> {
    let mut value = ptr::null_mut();
    // SAFETY: a valid out-pointer, in an open scope.
    napi::check_status!(unsafe { sys::napi_create_int32(env, number, &mut value) })?;
    Ok(value)
}
