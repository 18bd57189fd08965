//! What is called once a batch: bare functions, which cost a tenth of a method's call.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::rc::Rc;
use std::time::Duration;

use napi::bindgen_prelude::{Env, Unknown};
use napi::sys;
use napi_derive::napi;
use xsknet_path::{PathError, Rings, SocketPath, Word};
use xsknet_xsk::MAX_PARTS_RECEIVED;
use xsknet_xsk::ring::RingName;

use crate::failure::Failure;
use crate::poll::Poll;
use crate::sharing::SharedBuffer;
use crate::state::State;

/// What is used once a batch. The places in the slate are those of [`slate_layout`](crate::slate_layout::slate_layout).
#[napi(object, object_from_js = false)]
pub struct HotPath<'env> {
    /// The UMEM.
    #[napi(ts_type = "Uint8Array<ArrayBuffer>")]
    pub memory: Unknown<'env>,
    /// The words shared with the socket.
    #[napi(ts_type = "Uint32Array<ArrayBuffer>")]
    pub slate: Unknown<'env>,
    /// A number that all sockets of one UMEM have, and no other.
    pub umem: u32,
    /// The most frames of a lease.
    pub places: u32,
    /// Bytes of a chunk of the UMEM: a power of two.
    pub frame_size: u32,
    /// The longest packet that can be sent, in bytes.
    pub frame_capacity: u32,
    /// Whether packets may take several frames.
    pub multi_buffer: bool,
    /// The most frames of a received packet.
    pub parts: u32,
    /// Chunks of the UMEM beyond those that reception may hold.
    pub spare: u32,
    /// Slots of TX.
    pub slots: u32,
    /// Ends the lease and begins the next with up to so many received frames; says how many. Kicks at once if there is
    /// none.
    ///
    /// This function and those of tables have their arguments and their result in words of the slate, a fraction of the
    /// cost.
    #[napi(ts_type = "() => void")]
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
    /// Makes a table of `capacity` descriptors, each an address and a length; its number is the slate's second word.
    #[napi(ts_type = "(capacity: number) => Uint32Array<ArrayBuffer>")]
    pub make_table: Unknown<'env>,
    /// Received frames into a table, behind the first `length`; says how many. If there is none, kicks at once and
    /// sleeps until one comes, for up to as many microseconds as the third argument says.
    #[napi(ts_type = "() => void")]
    pub receive_into: Unknown<'env>,
    /// Takes the first `length` frames of a table back, then receives as `receiveInto` does, from its front on.
    #[napi(ts_type = "() => void")]
    pub recycle_and_receive_into: Unknown<'env>,
    /// Empty frames into a table, from the first `length` on to `end`; says how many.
    #[napi(ts_type = "() => void")]
    pub allocate_into: Unknown<'env>,
    /// Sends the first `length` frames of a table and says how many; those that found no slot are at its front then,
    /// and how many they are is the slate's second word.
    #[napi(ts_type = "() => void")]
    pub transmit_from: Unknown<'env>,
    /// Takes the first `length` frames of a table back; says how many were lent.
    #[napi(ts_type = "() => void")]
    pub recycle_from: Unknown<'env>,
    /// Whether RX has an entry.
    #[napi(ts_type = "() => boolean")]
    pub is_readable: Unknown<'env>,
    /// Waits for events (1 readable, 2 writable), of which the callback of `open` is notified once or more often, until
    /// `rest`.
    #[napi(ts_type = "(events: number, keepsAlive: boolean) => void")]
    pub wait: Unknown<'env>,
    /// Waits no longer.
    #[napi(ts_type = "() => void")]
    pub rest: Unknown<'env>,
}

impl<'env> HotPath<'env> {
    /// Lends the memory to JavaScript and makes the functions.
    pub(crate) fn of(env: &'env Env, state: &Rc<State>) -> napi::Result<Self> {
        let raw = env.raw();
        let (memory, number) = state.with(|path| Ok(path.with_pool(|umem| (umem.memory(), umem.number()))))?;
        let (words, places) = state.with(|path| Ok((path.slate().words().clone(), path.slate().places())))?;
        let (layout, capacity, multi_buffer) = state.with(|path| {
            let endpoint = path.rings();
            Ok((*endpoint.layout(), path.packet_capacity(), endpoint.multi_buffer()))
        })?;
        let (umem, memory) = SharedBuffer::lend(raw, memory, sys::TypedarrayType::uint8_array, 1)?;
        state.keep(umem);
        let (words, slate) = SharedBuffer::lend(raw, words, sys::TypedarrayType::uint32_array, 4)?;
        state.keep(words);
        let function = |name, body| bare_function(env, name, body, state);
        Ok(Self {
            memory: unknown(env, memory),
            slate: unknown(env, slate),
            umem: number,
            places: saturated(places),
            frame_size: layout.frame_size(),
            frame_capacity: saturated(capacity),
            multi_buffer,
            parts: if multi_buffer { saturated(MAX_PARTS_RECEIVED) } else { 1 },
            spare: layout.frames().saturating_sub(layout.fill_target()),
            slots: layout.ring(RingName::Tx),
            receive: function(c"receive", receive)?,
            finish: function(c"finish", finish)?,
            flush: function(c"flush", flush)?,
            allocate: function(c"allocate", allocate)?,
            try_send: function(c"trySend", try_send)?,
            make_table: function(c"makeTable", make_table)?,
            receive_into: function(c"receiveInto", receive_into)?,
            recycle_and_receive_into: function(c"recycleAndReceiveInto", recycle_and_receive_into)?,
            allocate_into: function(c"allocateInto", allocate_into)?,
            transmit_from: function(c"transmitFrom", transmit_from)?,
            recycle_from: function(c"recycleFrom", recycle_from)?,
            is_readable: function(c"isReadable", is_readable)?,
            wait: function(c"wait", wait)?,
            rest: function(c"rest", rest)?,
        })
    }
}

/// What a bare function answers.
enum Answer {
    Nothing,
    Number(usize),
    Boolean(bool),
    Value(sys::napi_value),
}

type Arguments = [sys::napi_value; 2];

unsafe extern "C" fn receive(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    in_words(env, info, |path| {
        let max = path.slate().get(Word::Argument);
        path.receive(max)
    })
}

unsafe extern "C" fn finish(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    answer(env, info, |state, _| state.with(|path| Ok(path.finish().map(|()| Answer::Nothing)?)))
}

unsafe extern "C" fn flush(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    answer(env, info, |state, _| state.with(|path| Ok(path.flush().map(|()| Answer::Nothing)?)))
}

unsafe extern "C" fn allocate(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    answer(env, info, |state, [count, ..]| {
        let count = unsigned(env, count);
        state.with(|path| Ok(Answer::Number(path.allocate(count)?)))
    })
}

unsafe extern "C" fn try_send(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    answer(env, info, |state, [bytes, ..]| {
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
            return Err(Failure::new("INTERNAL", "a frame is sent from a Uint8Array with at least one byte"));
        }
        let from = data.cast_const().cast::<u8>();
        state.with(|path| {
            let sent = path.try_send(length, |at, frame| {
                // SAFETY: `try_send` asks for bytes within the `length` of the array alone, which the call keeps alive.
                let from = unsafe { from.add(at) };
                // SAFETY: as many bytes are there as the frame has. The array may be a view of the UMEM, so the two may
                // overlap, and no reference is made to it.
                unsafe { ptr::copy(from, frame.as_mut_ptr(), frame.len()) }
            })?;
            Ok(Answer::Boolean(sent))
        })
    })
}

unsafe extern "C" fn make_table(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    answer(env, info, |state, [capacity, ..]| {
        let capacity = unsigned(env, capacity);
        let words = state.with(|path| {
            let (number, words) = path.make_table(capacity);
            path.slate().set_count(Word::Second, number);
            Ok(words)
        })?;
        let refused = |error: napi::Error| Failure::new("INTERNAL", error.reason.clone());
        let (buffer, table) = SharedBuffer::lend(env, words, sys::TypedarrayType::uint32_array, 4).map_err(refused)?;
        state.keep(buffer);
        Ok(Answer::Value(table))
    })
}

unsafe extern "C" fn receive_into(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    in_words(env, info, |path| {
        let [table, length, microseconds] = path.slate().arguments();
        path.receive_into_or_sleep(table, length, Duration::from_micros(microseconds as u64))
    })
}

unsafe extern "C" fn recycle_and_receive_into(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    in_words(env, info, |path| {
        let [table, length, microseconds] = path.slate().arguments();
        path.recycle_and_receive_into(table, length, Duration::from_micros(microseconds as u64))
    })
}

unsafe extern "C" fn allocate_into(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    in_words(env, info, |path| {
        let [table, length, end] = path.slate().arguments();
        path.allocate_into(table, length, end)
    })
}

unsafe extern "C" fn transmit_from(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    in_words(env, info, |path| {
        let [table, length, _] = path.slate().arguments();
        let (sent, left) = path.transmit_from(table, length)?;
        path.slate().set_count(Word::Second, left);
        Ok(sent)
    })
}

unsafe extern "C" fn recycle_from(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    in_words(env, info, |path| {
        let [table, length, _] = path.slate().arguments();
        path.recycle_from(table, length)
    })
}

unsafe extern "C" fn is_readable(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    answer(env, info, |state, _| state.with(|path| Ok(Answer::Boolean(path.is_readable()))))
}

/// Runs the body of a bare function whose arguments and result are in words.
#[inline]
fn in_words(
    env: sys::napi_env,
    info: sys::napi_callback_info,
    body: impl FnOnce(&mut SocketPath) -> Result<usize, PathError>,
) -> sys::napi_value {
    answer(env, info, |state, _| {
        state.with(|path| {
            let result = body(path)?;
            path.slate().set_count(Word::Result, result);
            Ok(Answer::Nothing)
        })
    })
}

unsafe extern "C" fn wait(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    answer(env, info, |state, [events, keeps_alive]| {
        let events = c_int::try_from(unsigned(env, events)).unwrap_or(0);
        let mut alive = true;
        // SAFETY: a value of the call and a valid out-pointer.
        unsafe { sys::napi_get_value_bool(env, keeps_alive, &mut alive) };
        state
            .wait(events, alive)
            .map(|()| Answer::Nothing)
            .map_err(|cause| Failure::new("KERNEL_REFUSED", "waiting for the port's socket failed").because_of(&cause))
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
    // SAFETY: `info` is of this call; as many arguments are filled in as there is room for, the missing ones as
    // undefined.
    unsafe {
        sys::napi_get_cb_info(env, info, &mut count, arguments.as_mut_ptr(), ptr::null_mut(), &mut data);
    }
    // SAFETY: the function's share of the state. The function lives during its call, and no body runs JavaScript.
    let state = unsafe { &*data.cast_const().cast::<State>() };
    let mut value = ptr::null_mut();
    match body(state, arguments) {
        Ok(Answer::Nothing) => {} // null is undefined
        Ok(Answer::Number(number)) => {
            let number = saturated(number);
            // SAFETY: a valid out-pointer.
            unsafe { sys::napi_create_uint32(env, number, &mut value) };
        }
        Ok(Answer::Value(made)) => value = made,
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

/// The number, or 0 for a value that is not one.
fn unsigned(env: sys::napi_env, value: sys::napi_value) -> u32 {
    let mut number = 0;
    // SAFETY: a value of the call and a valid out-pointer.
    unsafe { sys::napi_get_value_uint32(env, value, &mut number) };
    number
}

fn saturated(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn unknown<'env>(env: &'env Env, value: sys::napi_value) -> Unknown<'env> {
    // SAFETY: a value made by this very call.
    unsafe { Unknown::from_raw_unchecked(env.raw(), value) }
}
