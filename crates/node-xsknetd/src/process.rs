//! The process that a daemon runs in.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use napi_derive::napi;
use serde_json::json;

use crate::error::Failure;
use crate::sys;

/// Starts a program in this process, with the words and the environment that are given. Returns only where that fails.
#[napi]
pub fn start_anew(file: String, words: Vec<String>, environment: Vec<(String, String)>) -> napi::Result<()> {
    let cause = match replace(&file, words, environment) {
        Ok(never) => match never {},
        Err(cause) => cause,
    };
    let message = format!("{file} cannot be restarted: {cause}");
    Err(Failure::new("KERNEL_REFUSED", message, json!({ "attempt": "execve", "path": file })).into())
}

fn replace(file: &str, words: Vec<String>, environment: Vec<(String, String)>) -> io::Result<Infallible> {
    let mut words = words.into_iter();
    let mut command = Command::new(file);
    command.arg0(words.next().unwrap_or_default()).args(words).env_clear().envs(environment);
    // Node has all that it inherited closed by an exec. A copy in its place is not.
    command.stdin(copy(io::stdin().as_fd())?).stdout(copy(io::stdout().as_fd())?).stderr(copy(io::stderr().as_fd())?);
    Err(command.exec())
}

fn copy(stream: BorrowedFd<'_>) -> io::Result<Stdio> {
    Ok(stream.try_clone_to_owned()?.into())
}

/// Has the process ignore SIGUSR1 where that would open Node's inspector; listeners in JavaScript get it as before.
#[napi]
pub fn ignore_inspector_signal() -> napi::Result<()> {
    Ok(sys::ignore_inspector_signal().map_err(|cause| {
        let message = format!("SIGUSR1 cannot be ignored: {cause}");
        Failure::new("KERNEL_REFUSED", message, json!({ "attempt": "sigaction" }))
    })?)
}
