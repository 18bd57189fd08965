//! The one call for which neither std nor rustix has a safe form.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// Has the process ignore SIGUSR1 if it is Node's own handler that it would reach, which opens the inspector. A
/// listener of JavaScript stays.
///
/// # Errors
/// Those of `sigaction(2)`.
pub(crate) fn ignore_inspector_signal() -> io::Result<()> {
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: no handler is given, and `now` has room for what is told.
    if unsafe { libc::sigaction(libc::SIGUSR1, ptr::null(), now.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has written it; zeroes are a valid sigaction as well.
    let now = unsafe { now.assume_init() };
    // libuv, which is behind every listener, asks for SA_RESTART; Node's own handler does not.
    let is_nodes =
        now.sa_sigaction != libc::SIG_DFL && now.sa_sigaction != libc::SIG_IGN && now.sa_flags & libc::SA_RESTART == 0;
    if !is_nodes {
        return Ok(());
    }
    let ignored = libc::sigaction { sa_sigaction: libc::SIG_IGN, sa_flags: 0, ..now };
    // SAFETY: to ignore a signal, nothing of this process is called.
    if unsafe { libc::sigaction(libc::SIGUSR1, &raw const ignored, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
