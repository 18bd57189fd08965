//! An adopted socket as JavaScript sees it: what is called once a batch as bare functions, which cost a tenth of a method's call, the
//! rest as a class.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int, c_void};
use std::os::fd::AsFd;
use std::ptr;
use std::rc::Rc;

use napi::bindgen_prelude::{Env, Function, JsValue, Unknown};
use napi::sys;
use napi_derive::napi;
use serde_json::json;
use xsknet_xsk::ring::RingName;
use xsknet_xsk::{BindMode, DeviceState, Donation, Layout, Socket};

use crate::callback::Callback;
use crate::data_path::DataPath;
use crate::descriptors::Descriptors;
use crate::failure::Failure;
use crate::poll::{Poll, Watcher};
use crate::sharing::SharedBuffer;

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
    fn layout(&self) -> Result<Layout, Failure> {
        let layout = Layout::builder()
            .frame_size(self.frame_size)
            .frames(self.frames)
            .headroom(self.headroom)
            .rx(self.rx)
            .tx(self.tx)
            .fill(self.fill)
            .completion(self.completion)
            .fill_target(self.fill_target);
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

    fn bind(&self) -> Result<BindMode, Failure> {
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

/// Takes over a bound socket: exactly two descriptors, the XSK and the file of its UMEM. They are closed if it fails.
#[napi]
pub fn adopt(env: Env, descriptors: &mut Descriptors, description: SocketDescription) -> napi::Result<AdoptedSocket> {
    let [xsk, umem] = descriptors.take().map_err(|count| {
        descriptors.close();
        Failure::new("ERR_XSKNET_SOCKET_REFUSED", format!("a socket comes as 2 descriptors, not as {count}"))
    })?;
    let layout = description.layout()?;
    let Counted { received, sent, completed } = description.counted;
    let counters = xsknet_xsk::SocketCounters {
        received: received.into(),
        sent: sent.into(),
        completed: completed.into(),
        ..Default::default()
    };
    let (in_fill, bind) = (description.chunks_in_fill(&layout)?, description.bind()?);
    let donation = Donation { xsk, umem, layout, in_fill, bind, counters };
    let socket = Socket::adopt(donation).map_err(Failure::from)?;
    Ok(AdoptedSocket { state: State::open(&env, DataPath::new(socket))? })
}

/// What this binding and the socket have in common as long as either is there.
struct State {
    env: sys::napi_env,
    /// `None` once it closes.
    path: RefCell<Option<DataPath>>,
    /// The path that closes: its descriptors stay open until libuv has let go of them.
    leaving: Cell<Option<DataPath>>,
    /// Set right after the state has been made.
    poll: RefCell<Option<Poll>>,
    on_ready: RefCell<Option<Callback>>,
    on_closed: RefCell<Option<Callback>>,
    buffers: RefCell<Vec<SharedBuffer>>,
}

impl State {
    fn open(env: &Env, path: DataPath) -> Result<Rc<Self>, Failure> {
        let state = Rc::new(Self {
            env: env.raw(),
            path: RefCell::new(Some(path)),
            leaving: Cell::new(None),
            poll: RefCell::new(None),
            on_ready: RefCell::new(None),
            on_closed: RefCell::new(None),
            buffers: RefCell::new(Vec::new()),
        });
        let watcher: Rc<dyn Watcher> = Rc::<Self>::clone(&state);
        let poll = state.with(|path| {
            Poll::open(env.raw(), path.socket().as_fd(), watcher).map_err(|cause| {
                Failure::new("ERR_XSKNET_SOCKET_REFUSED", "the port's socket cannot be watched by this event loop")
                    .because_of(&cause)
            })
        })?;
        *state.poll.borrow_mut() = Some(poll);
        Ok(state)
    }

    /// Uses the path, unless it has been closed.
    fn with<T>(&self, body: impl FnOnce(&mut DataPath) -> Result<T, Failure>) -> Result<T, Failure> {
        match &mut *self.path.borrow_mut() {
            Some(path) => body(path),
            None => Err(Failure::new("ERR_XSKNET_PORT_CLOSED", "the port's socket has been closed")),
        }
    }

    fn poll(&self, change: impl FnOnce(&Poll)) {
        if let Some(poll) = &*self.poll.borrow() {
            change(poll);
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
        // Nobody waits from now on, as far as the process's life goes; the watch itself goes on until `rest`.
        self.poll(|poll| poll.keep_alive(false));
        if let Some(on_ready) = &*self.on_ready.borrow() {
            on_ready.call(|env| Ok([number(env, f64::from(events))?]));
        }
    }

    fn closed(&self, alive: bool) {
        if alive {
            self.with_scope(|| self.buffers.take().into_iter().for_each(SharedBuffer::detach));
        }
        if let Some(path) = self.leaving.take().or_else(|| self.path.take()) {
            path.close();
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
    state: Rc<State>,
}

/// What is used once a batch. `packages/xsknet/src/slate.ts` knows the places in the slate.
#[napi(object, object_from_js = false)]
pub struct HotPath<'env> {
    /// The UMEM.
    #[napi(ts_type = "Uint8Array<ArrayBuffer>")]
    pub memory: Unknown<'env>,
    /// The words shared with the socket.
    #[napi(ts_type = "Uint32Array<ArrayBuffer>")]
    pub slate: Unknown<'env>,
    /// The most frames of a lease.
    pub places: u32,
    /// Bytes of a chunk of the UMEM: a power of two.
    pub frame_size: u32,
    /// The longest frame that can be sent, in bytes.
    pub frame_capacity: u32,
    /// Slots of TX.
    pub slots: u32,
    /// Ends the lease and begins the next with up to `max` received frames; says how many. Kicks at once if there is none.
    #[napi(ts_type = "(max: number) => number")]
    pub receive: Unknown<'env>,
    /// Ends the lease and kicks.
    #[napi(ts_type = "() => void")]
    pub finish: Unknown<'env>,
    /// Kicks; the lease goes on.
    #[napi(ts_type = "() => void")]
    pub flush: Unknown<'env>,
    /// Adds up to `count` empty frames to the lease; says how many.
    #[napi(ts_type = "(count: number) => number")]
    pub allocate: Unknown<'env>,
    /// Queues a copy of the bytes behind all that is queued; the next kick sends it.
    #[napi(ts_type = "(bytes: Uint8Array) => boolean")]
    pub try_send: Unknown<'env>,
    /// Waits for events (1 readable, 2 writable), which are told to the callback of `open` once or more often, until `rest`.
    #[napi(ts_type = "(events: number, keepsAlive: boolean) => void")]
    pub wait: Unknown<'env>,
    /// Waits no longer.
    #[napi(ts_type = "() => void")]
    pub rest: Unknown<'env>,
}

/// How many chunks each owner has.
#[napi(object)]
pub struct Census {
    /// Free chunks.
    pub home: u32,
    /// Chunks of the lease.
    pub held: u32,
    /// Chunks lent to reception.
    pub fill: u32,
    /// Chunks lent to sending.
    pub tx: u32,
    /// All chunks.
    pub total: u32,
}

/// What the socket has done since it was adopted.
#[napi(object)]
pub struct SocketCounters {
    /// Frames taken out of RX.
    pub received: f64,
    /// Frames put into TX.
    pub sent: f64,
    /// Frames that came back through COMPLETION.
    pub completed: f64,
    /// Entries of RX that did not become a frame.
    pub refused_rx: f64,
    /// Entries of COMPLETION that brought no chunk back.
    pub refused_completions: f64,
    /// Entries of the outbox that could not be sent: a bug of this package.
    pub refused_queued: f64,
    /// Refills that found no free chunk for an empty FILL ring.
    pub fill_starved: f64,
    /// Refills that found the FILL ring empty.
    pub fill_found_empty: f64,
    /// System calls that told the kernel to look at TX.
    pub kicks: f64,
    /// Those that followed a kick which the kernel broke off.
    pub kick_retries: f64,
    /// System calls that told the kernel to look at FILL.
    pub fill_kicks: f64,
}

/// What the kernel has counted for the socket (`XDP_STATISTICS`).
#[napi(object)]
pub struct KernelStatistics {
    /// Frames dropped for other reasons, an empty FILL ring in copy mode among them.
    pub rx_dropped: f64,
    /// Entries of FILL that the kernel refused.
    pub rx_invalid_descs: f64,
    /// Entries of TX that the kernel refused.
    pub tx_invalid_descs: f64,
    /// Frames dropped because RX was full.
    pub rx_ring_full: f64,
    /// Times the kernel wanted a chunk and FILL was empty.
    pub rx_fill_ring_empty_descs: f64,
    /// Times the kernel looked at TX and found it empty.
    pub tx_ring_empty_descs: f64,
}

#[napi]
impl AdoptedSocket {
    /// Lends the memory to JavaScript and makes the functions. Once.
    #[napi]
    pub fn open<'env>(&self, env: &'env Env, on_ready: Function<'_, u32, ()>) -> napi::Result<HotPath<'env>> {
        let state = &self.state;
        let raw = env.raw();
        if state.on_ready.borrow().is_some() {
            return Err(Failure::new("ERR_XSKNET_INTERNAL", "a socket is opened once").into());
        }
        let (memory, slate, layout) =
            state.with(|path| Ok((path.memory(), path.slate().clone(), *path.socket().layout())))?;
        let places = u32::try_from(slate.places()).unwrap_or(u32::MAX);
        let (umem, memory) = SharedBuffer::lend(raw, memory, sys::TypedarrayType::uint8_array, 1)?;
        state.buffers.borrow_mut().push(umem);
        let (words, slate) = SharedBuffer::lend(raw, slate, sys::TypedarrayType::uint32_array, 4)?;
        state.buffers.borrow_mut().push(words);
        *state.on_ready.borrow_mut() = Some(Callback::new(raw, on_ready.raw())?);
        let function = |name, body| bare_function(env, name, body, state);
        Ok(HotPath {
            memory: unknown(env, memory),
            slate: unknown(env, slate),
            places,
            frame_size: layout.frame_size(),
            frame_capacity: layout.frame_capacity(),
            slots: layout.ring(RingName::Tx),
            receive: function(c"receive", receive)?,
            finish: function(c"finish", finish)?,
            flush: function(c"flush", flush)?,
            allocate: function(c"allocate", allocate)?,
            try_send: function(c"trySend", try_send)?,
            wait: function(c"wait", wait)?,
            rest: function(c"rest", rest)?,
        })
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
            let xsknet_xsk::Census { home, held, fill, tx, total } = path.census();
            Ok(Census { home, held, fill, tx, total })
        })?)
    }

    /// What the socket has done.
    #[napi]
    pub fn counters(&self) -> napi::Result<SocketCounters> {
        Ok(self.state.with(|path| {
            path.settle()?;
            let counters = path.counters();
            Ok(SocketCounters {
                received: count(counters.received),
                sent: count(counters.sent),
                completed: count(counters.completed),
                refused_rx: count(counters.refused_rx.total()),
                refused_completions: count(counters.refused_completions.total()),
                refused_queued: count(path.refused()),
                fill_starved: count(counters.fill_starved),
                fill_found_empty: count(counters.fill_found_empty),
                kicks: count(counters.kicks),
                kick_retries: count(counters.kick_retries),
                fill_kicks: count(counters.fill_kicks),
            })
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
            Ok(KernelStatistics {
                rx_dropped: count(kernel.rx_dropped),
                rx_invalid_descs: count(kernel.rx_invalid_descs),
                tx_invalid_descs: count(kernel.tx_invalid_descs),
                rx_ring_full: count(kernel.rx_ring_full),
                rx_fill_ring_empty_descs: count(kernel.rx_fill_ring_empty_descs),
                tx_ring_empty_descs: count(kernel.tx_ring_empty_descs),
            })
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

#[expect(clippy::cast_precision_loss, reason = "no counter gets to 2^53")]
fn count(count: u64) -> f64 {
    count as f64
}

/// What a bare function answers.
enum Answer {
    Nothing,
    Number(usize),
    Boolean(bool),
}

type Arguments = [sys::napi_value; 2];

unsafe extern "C" fn receive(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    answer(env, info, |state, [max, _]| {
        let max = unsigned(env, max);
        state.with(|path| Ok(Answer::Number(path.receive(max)?)))
    })
}

unsafe extern "C" fn finish(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    answer(env, info, |state, _| state.with(|path| Ok(path.finish().map(|()| Answer::Nothing)?)))
}

unsafe extern "C" fn flush(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    answer(env, info, |state, _| state.with(|path| Ok(path.flush().map(|()| Answer::Nothing)?)))
}

unsafe extern "C" fn allocate(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    answer(env, info, |state, [count, _]| {
        let count = unsigned(env, count);
        state.with(|path| Ok(Answer::Number(path.allocate(count)?)))
    })
}

unsafe extern "C" fn try_send(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    answer(env, info, |state, [bytes, _]| {
        let (mut length, mut data) = (0, ptr::null_mut());
        let mut kind = 0;
        // SAFETY: a value of the call, and out-pointers that are valid for it, or null where nothing is asked.
        let status = unsafe {
            sys::napi_get_typedarray_info(
                env,
                bytes,
                &mut kind,
                &mut length,
                &mut data,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        if status != sys::Status::napi_ok || kind != sys::TypedarrayType::uint8_array || length == 0 {
            return Err(Failure::new(
                "ERR_XSKNET_INTERNAL",
                "a frame is sent from a Uint8Array with at least one byte",
            ));
        }
        let from = data.cast_const().cast::<u8>();
        state.with(|path| {
            let sent = path.try_send(length, |frame| {
                // SAFETY: `frame` has `length` bytes, and so has the array, which the call keeps alive. It may be a view of the UMEM, so the
                // two may overlap, and no reference is made to it.
                unsafe { ptr::copy(from, frame.as_mut_ptr(), length) }
            })?;
            Ok(Answer::Boolean(sent))
        })
    })
}

unsafe extern "C" fn wait(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    answer(env, info, |state, [events, keeps_alive]| {
        let events = c_int::try_from(unsigned(env, events)).unwrap_or(0);
        let mut alive = true;
        // SAFETY: a value of the call and a valid out-pointer.
        unsafe { sys::napi_get_value_bool(env, keeps_alive, &mut alive) };
        let mut started = Ok(());
        state.poll(|poll| started = poll.start(events, alive));
        started.map(|()| Answer::Nothing).map_err(|cause| {
            Failure::new("ERR_XSKNET_KERNEL_REFUSED", "waiting for the port's socket failed").because_of(&cause)
        })
    })
}

unsafe extern "C" fn rest(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    answer(env, info, |state, _| {
        state.poll(Poll::stop);
        Ok(Answer::Nothing)
    })
}

type Body = unsafe extern "C" fn(sys::napi_env, sys::napi_callback_info) -> sys::napi_value;

/// A function that has a share of the state for as long as JavaScript can call it.
fn bare_function<'env>(env: &'env Env, name: &CStr, body: Body, state: &Rc<State>) -> napi::Result<Unknown<'env>> {
    let share: *mut c_void = Rc::into_raw(Rc::clone(state)).cast_mut().cast();
    let length = name.count_bytes().cast_signed();
    let mut function = ptr::null_mut();
    // SAFETY: a name of that length, and a share that the finalizer below takes back.
    let made = unsafe { sys::napi_create_function(env.raw(), name.as_ptr(), length, Some(body), share, &mut function) };
    napi::check_status!(made)?;
    // SAFETY: the function just made, with the share that goes when the function does.
    napi::check_status!(unsafe {
        sys::napi_add_finalizer(env.raw(), function, share, Some(give_back), ptr::null_mut(), ptr::null_mut())
    })?;
    Ok(unknown(env, function))
}

unsafe extern "C" fn give_back(_: sys::napi_env, share: *mut c_void, _: *mut c_void) {
    // SAFETY: the share of `bare_function`; a finalizer runs once, after which the function cannot be called.
    drop(unsafe { Rc::from_raw(share.cast_const().cast::<State>()) });
}

/// Runs the body of a bare function and turns its answer into a value, or throws.
fn answer(
    env: sys::napi_env,
    info: sys::napi_callback_info,
    body: impl FnOnce(&State, Arguments) -> Result<Answer, Failure>,
) -> sys::napi_value {
    let mut arguments: Arguments = [ptr::null_mut(); 2];
    let (mut count, mut data) = (arguments.len(), ptr::null_mut());
    // SAFETY: `info` is of this call; as many arguments are filled in as there is room for, the missing ones as undefined.
    unsafe {
        sys::napi_get_cb_info(env, info, &mut count, arguments.as_mut_ptr(), ptr::null_mut(), &mut data);
    }
    // SAFETY: the function's share of the state. The function lives during its call, and no body runs JavaScript.
    let state = unsafe { &*data.cast_const().cast::<State>() };
    let mut value = ptr::null_mut();
    match body(state, arguments) {
        Ok(Answer::Nothing) => {} // null is undefined
        Ok(Answer::Number(number)) => {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            // SAFETY: a valid out-pointer.
            unsafe { sys::napi_create_uint32(env, number, &mut value) };
        }
        Ok(Answer::Boolean(boolean)) => {
            // SAFETY: a valid out-pointer.
            unsafe { sys::napi_get_boolean(env, boolean, &mut value) };
        }
        Err(failure) => {
            let thrown = Env::from_raw(env).throw_error(&failure.to_json(), None);
            debug_assert!(thrown.is_ok(), "an error can be thrown where a value can be returned");
        }
    }
    value
}

/// The number, or 0 for what is none.
fn unsigned(env: sys::napi_env, value: sys::napi_value) -> u32 {
    let mut number = 0;
    // SAFETY: a value of the call and a valid out-pointer.
    unsafe { sys::napi_get_value_uint32(env, value, &mut number) };
    number
}

fn number(env: sys::napi_env, number: f64) -> napi::Result<sys::napi_value> {
    let mut value = ptr::null_mut();
    // SAFETY: a valid out-pointer, in an open scope.
    napi::check_status!(unsafe { sys::napi_create_double(env, number, &mut value) })?;
    Ok(value)
}

fn unknown<'env>(env: &'env Env, value: sys::napi_value) -> Unknown<'env> {
    // SAFETY: a value made by this very call.
    unsafe { Unknown::from_raw_unchecked(env.raw(), value) }
}
