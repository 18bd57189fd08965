//! The process that a daemon runs in.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use napi_derive::napi;
use serde_json::json;

use crate::error::Failure;

/// Starts this process's program anew, in the same process, with the words and the environment that are given. Returns only where
/// that fails.
#[napi]
pub fn start_anew(file: String, words: Vec<String>, environment: Vec<(String, String)>) -> napi::Result<()> {
    let mut words = words.into_iter();
    let mut command = Command::new(&file);
    command.arg0(words.next().unwrap_or_default()).args(words).env_clear().envs(environment);
    let cause = command.exec();
    let message = format!("{file} cannot be started anew: {cause}");
    Err(Failure::new("KERNEL_REFUSED", message, json!({ "attempt": "execve", "path": file })).into())
}
