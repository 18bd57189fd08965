//! What this binary carries.

use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

/// A compiled BPF object.
#[napi(object, object_from_js = false)]
pub struct BpfObject {
    pub name: String,
    pub bytes: Uint8Array,
}

/// The objects whose programs a daemon loads.
#[napi]
pub fn bpf_objects() -> Vec<BpfObject> {
    xsknet_bpf::daemon_objects()
        .map(|(name, bytes)| BpfObject { name: name.to_owned(), bytes: bytes.to_vec().into() })
        .into()
}
