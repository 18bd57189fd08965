//! The few libuv functions that waiting in Node's own loop needs, looked up in the process at the first use: a host
//! without them can still load the binding, and gets an error that says what is missing.

use std::ffi::{CStr, c_int, c_void};
use std::mem::transmute_copy;
use std::sync::OnceLock;

use napi::sys::uv_loop_s;

/// `uv_handle_type` of a `uv_poll_t`.
pub(crate) const UV_POLL: c_int = 8;
/// `uv_poll_event`: what can be read, and what can be written.
pub(crate) const READABLE: c_int = 1;
pub(crate) const WRITABLE: c_int = 2;

/// `uv_handle_t` and `uv_poll_t`: libuv knows their size, we need not.
pub(crate) type Handle = *mut c_void;
pub(crate) type PollCallback = unsafe extern "C" fn(handle: Handle, status: c_int, events: c_int);
pub(crate) type CloseCallback = unsafe extern "C" fn(handle: Handle);

pub(crate) struct Uv {
    pub(crate) handle_size: unsafe extern "C" fn(kind: c_int) -> usize,
    pub(crate) handle_set_data: unsafe extern "C" fn(handle: Handle, data: *mut c_void),
    pub(crate) handle_get_data: unsafe extern "C" fn(handle: Handle) -> *mut c_void,
    pub(crate) reference: unsafe extern "C" fn(handle: Handle),
    pub(crate) unreference: unsafe extern "C" fn(handle: Handle),
    pub(crate) close: unsafe extern "C" fn(handle: Handle, closed: CloseCallback),
    pub(crate) poll_init: unsafe extern "C" fn(uv_loop: *mut uv_loop_s, handle: Handle, fd: c_int) -> c_int,
    pub(crate) poll_start: unsafe extern "C" fn(handle: Handle, events: c_int, ready: PollCallback) -> c_int,
    pub(crate) poll_stop: unsafe extern "C" fn(handle: Handle) -> c_int,
}

impl Uv {
    /// `None` where the process exports no libuv.
    pub(crate) fn get() -> Option<&'static Self> {
        static UV: OnceLock<Option<Uv>> = OnceLock::new();
        UV.get_or_init(Self::look_up).as_ref()
    }

    fn look_up() -> Option<Self> {
        Some(Self {
            handle_size: symbol(c"uv_handle_size")?,
            handle_set_data: symbol(c"uv_handle_set_data")?,
            handle_get_data: symbol(c"uv_handle_get_data")?,
            reference: symbol(c"uv_ref")?,
            unreference: symbol(c"uv_unref")?,
            close: symbol(c"uv_close")?,
            poll_init: symbol(c"uv_poll_init")?,
            poll_start: symbol(c"uv_poll_start")?,
            poll_stop: symbol(c"uv_poll_stop")?,
        })
    }
}

/// `F` must be the function's pointer type.
fn symbol<F: Copy>(name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: a name that ends with NUL.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    // SAFETY: `look_up` names each symbol beside a field whose type is that function's in uv.h, stable since libuv
    // 1.19.
    (!address.is_null()).then(|| unsafe { transmute_copy(&address) })
}
