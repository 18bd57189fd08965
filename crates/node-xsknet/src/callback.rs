//! A function of JavaScript that is called from the event loop.

use std::cell::Cell;
use std::ptr;

use napi::sys;

/// It keeps the function alive until [`Callback::release`]; dropping it does not, because that may happen when the
/// environment has gone.
pub(crate) struct Callback {
    env: sys::napi_env,
    /// Null once released.
    reference: Cell<sys::napi_ref>,
}

impl Callback {
    pub(crate) fn new(env: sys::napi_env, function: sys::napi_value) -> napi::Result<Self> {
        let mut reference = ptr::null_mut();
        // SAFETY: a value of this environment in an open scope: an argument of the call that is being answered.
        napi::check_status!(unsafe { sys::napi_create_reference(env, function, 1, &mut reference) })?;
        Ok(Self { env, reference: Cell::new(reference) })
    }

    /// Calls the function as Node calls one from its loop: microtasks run afterwards, and what it throws is uncaught.
    /// Nothing happens once it has been released, or if its arguments cannot be made.
    pub(crate) fn call<const N: usize>(
        &self,
        arguments: impl FnOnce(sys::napi_env) -> napi::Result<[sys::napi_value; N]>,
    ) {
        if self.reference.get().is_null() {
            return;
        }
        let mut scope = ptr::null_mut();
        // SAFETY: called on the environment's thread while it lives, as all of this is.
        if unsafe { sys::napi_open_handle_scope(self.env, &mut scope) } != sys::Status::napi_ok {
            return;
        }
        if let Ok(arguments) = arguments(self.env) {
            self.call_in_scope(&arguments);
        }
        // SAFETY: the scope opened above, and the innermost.
        unsafe { sys::napi_close_handle_scope(self.env, scope) };
    }

    fn call_in_scope(&self, arguments: &[sys::napi_value]) {
        let (mut function, mut global) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: a reference that has not been deleted.
        unsafe { sys::napi_get_reference_value(self.env, self.reference.get(), &mut function) };
        // SAFETY: a valid out-pointer.
        unsafe { sys::napi_get_global(self.env, &mut global) };
        // SAFETY: values of the open scope, and as many arguments as said; without an async context, which is Node's
        // default one.
        let status = unsafe {
            sys::napi_make_callback(
                self.env,
                ptr::null_mut(),
                global,
                function,
                arguments.len(),
                arguments.as_ptr(),
                ptr::null_mut(),
            )
        };
        if status == sys::Status::napi_pending_exception {
            let mut exception = ptr::null_mut();
            // SAFETY: a valid out-pointer.
            unsafe { sys::napi_get_and_clear_last_exception(self.env, &mut exception) };
            // SAFETY: the value just taken.
            unsafe { sys::napi_fatal_exception(self.env, exception) };
        }
    }

    /// Lets go of the function. The environment must be alive.
    pub(crate) fn release(&self) {
        let reference = self.reference.replace(ptr::null_mut());
        if !reference.is_null() {
            // SAFETY: made by `new`, and deleted once.
            unsafe { sys::napi_delete_reference(self.env, reference) };
        }
    }
}
