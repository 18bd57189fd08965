//! Errors of system calls as Node's own calls throw them.

use napi::bindgen_prelude::{Env, JsValue, Object};
use xsknet_failure::errno_name;

/// An error as Node's own calls throw it.
pub(crate) fn system_error(env: &Env, syscall: &str, errno: i32, address: Option<&str>) -> napi::Error {
    match error_object(env, syscall, errno, address) {
        Ok(object) => napi::Error::from(object.to_unknown()),
        Err(error) => error,
    }
}

/// The error as an object: with `code`, `errno`, `syscall`, and `address` where there is one.
pub(crate) fn error_object<'env>(
    env: &'env Env,
    syscall: &str,
    errno: i32,
    address: Option<&str>,
) -> napi::Result<Object<'env>> {
    let code = errno_name(errno);
    let message = match address {
        Some(address) => format!("{syscall} {code} {address}"),
        None => format!("{syscall} {code}"),
    };
    let mut object = env.create_error(napi::Error::from_reason(message))?;
    object.set("code", code)?;
    object.set("errno", -errno)?;
    object.set("syscall", syscall)?;
    if let Some(address) = address {
        object.set("address", address)?;
    }
    Ok(object)
}
