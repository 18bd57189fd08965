//! Memory of ours that JavaScript reads and writes as typed arrays.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::AtomicU32;

use napi::sys;

/// What can be lent to JavaScript.
///
/// # Safety
/// The bytes at [`Lent::start`] stay where they are, and readable and writable, until the value is dropped, and nobody
/// has a reference (`&[u8]`) to any of them while JavaScript runs.
pub(crate) unsafe trait Lent: 'static {
    fn start(&self) -> *mut u8;
    fn bytes(&self) -> usize;
}

// SAFETY: the mapping lives as long as the value; bytes of frames are borrowed by the data path only within one call.
unsafe impl Lent for xsknet_xsk::UmemMemory {
    fn start(&self) -> *mut u8 {
        self.start().as_ptr()
    }

    fn bytes(&self) -> usize {
        self.len()
    }
}

// SAFETY: the words live as long as any clone, and are atomic.
unsafe impl Lent for xsknet_path::Words {
    fn start(&self) -> *mut u8 {
        self.as_ptr().cast_mut().cast()
    }

    fn bytes(&self) -> usize {
        size_of_val::<[AtomicU32]>(self)
    }
}

/// An ArrayBuffer over lent memory. It can be detached, and the memory goes when JavaScript has collected it, not
/// before.
pub(crate) struct SharedBuffer {
    env: sys::napi_env,
    reference: sys::napi_ref,
}

impl SharedBuffer {
    /// The buffer and a typed array over all of it, of elements of `element` bytes.
    pub(crate) fn lend<T: Lent>(
        env: sys::napi_env,
        memory: T,
        kind: sys::napi_typedarray_type,
        element: usize,
    ) -> napi::Result<(Self, sys::napi_value)> {
        let (start, bytes) = (memory.start(), memory.bytes());
        let share: *mut T = Box::into_raw(Box::new(memory));
        let (mut buffer, mut array, mut reference) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        // SAFETY: `share` keeps the memory at `start` until the finalizer drops it.
        let made = unsafe {
            sys::napi_create_external_arraybuffer(
                env,
                start.cast(),
                bytes,
                Some(give_back::<T>),
                share.cast(),
                &mut buffer,
            )
        };
        if let Err(refused) = napi::check_status!(made, "this host takes no memory from outside") {
            // SAFETY: no buffer was made, so nobody else will drop the share.
            drop(unsafe { Box::from_raw(share) });
            return Err(refused);
        }
        // SAFETY: the buffer just made, and as many elements as it holds.
        napi::check_status!(unsafe { sys::napi_create_typedarray(env, kind, bytes / element, buffer, 0, &mut array) })?;
        // SAFETY: the buffer just made.
        napi::check_status!(unsafe { sys::napi_create_reference(env, buffer, 1, &mut reference) })?;
        Ok((Self { env, reference }, array))
    }

    /// Makes every view of it that JavaScript has zero bytes long. What JavaScript moved away by `transfer()` is out of
    /// reach; its memory stays until it is collected. The environment must be alive, and a scope open.
    pub(crate) fn detach(self) {
        let mut buffer = ptr::null_mut();
        // SAFETY: a reference made by `lend` and not yet deleted.
        unsafe { sys::napi_get_reference_value(self.env, self.reference, &mut buffer) };
        // SAFETY: the buffer, which the reference has kept. A buffer that is detached already is refused, and that is
        // as good.
        unsafe { sys::napi_detach_arraybuffer(self.env, buffer) };
        // SAFETY: deleted once, since `self` is gone.
        unsafe { sys::napi_delete_reference(self.env, self.reference) };
    }
}

unsafe extern "C" fn give_back<T: Lent>(_: sys::napi_env, _: *mut c_void, share: *mut c_void) {
    // SAFETY: the share of `lend`; a finalizer runs once.
    drop(unsafe { Box::from_raw(share.cast::<T>()) });
}
