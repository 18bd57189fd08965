//! The binding of the daemon package to Node: decodes, calls, and maps errors.
#![deny(unsafe_code)]

mod control;
mod describe;
mod descriptors;
mod error;
mod explanation;
mod instance;
mod lab;
mod limits;
mod pinned;
mod process;
mod refusals;
#[expect(unsafe_code, reason = "sigaction")]
mod sys;
mod version;

use napi::bindgen_prelude::create_custom_tokio_runtime;
use tokio::runtime::Builder;

/// One thread carries all control traffic, which is little; what blocks has threads of its own.
#[napi_derive::module_init]
fn init() {
    let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("xsknetd").enable_all().build();
    create_custom_tokio_runtime(runtime.expect("a process that may not start a thread cannot be a daemon"));
}
