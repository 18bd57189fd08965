//! The binding of the client package to Node: it decodes what JavaScript passes, calls the crates below, and maps their
//! errors. What it keeps is tied to Node: callbacks, buffers, handles of the event loop. The data path is
//! `crates/path`.
//!
//! Nothing in this crate is public API of the package.

mod adopted;
mod callback;
mod control;
mod description;
mod descriptors;
mod failure;
mod hand_over;
mod hot;
#[cfg(feature = "loopback")]
mod loopback;
mod pin;
mod poll;
mod reservation;
mod sharing;
mod slate_layout;
mod state;
mod statistics;
mod system_error;
mod uv;

use napi_derive::napi;

/// The Node-API version whose functions this binding calls: the number in the `napi8` feature of the napi crate.
const NODE_API: u32 = 8;

/// What this binary was built as.
#[napi(object)]
pub struct Versions {
    /// Version of the crate, which is also the version of the package that loads it.
    pub binding: String,
    /// The lowest Node-API version that can load it.
    pub node_api: u32,
}

/// The versions of this binary.
#[napi]
pub fn versions() -> Versions {
    Versions { binding: env!("CARGO_PKG_VERSION").to_owned(), node_api: NODE_API }
}
