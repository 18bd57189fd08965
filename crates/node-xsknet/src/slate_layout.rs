//! What the slate looks like, for a test that compares it with the other side.

use std::collections::HashMap;

use napi_derive::napi;

/// The places of the words that both languages share, and the marks in descriptors, by the names that
/// `packages/xsknet/src` has for them.
#[napi(ts_return_type = "Record<string, number>")]
pub fn slate_layout() -> HashMap<&'static str, u32> {
    xsknet_path::layout().collect()
}
