//! Threads kept to processors.

use napi_derive::napi;
use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::json;

use crate::failure::Failure;

/// Lets the calling thread run on these processors alone, and the threads that it starts from now on.
#[napi]
pub fn pin_thread(cpus: Vec<u32>) -> napi::Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus.iter().filter(|cpu| (**cpu as usize) < CpuSet::MAX_CPU) {
        set.set(cpu as usize);
    }
    let refused = |cause: Errno| {
        let allowed = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        let allowed: Vec<_> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
        Failure::new("KERNEL_REFUSED", format!("this thread cannot be restricted to the processors {cpus:?}"))
            .hint("Choose processors that the process may use: `details.allowed`, or what its cpuset has.")
            .details(json!({ "cpus": cpus, "allowed": allowed }))
            .because_of(&std::io::Error::from(cause))
            .by("sched_setaffinity")
    };
    Ok(sched_setaffinity(None, &set).map_err(refused)?)
}
