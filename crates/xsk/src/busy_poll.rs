use std::os::fd::AsFd;

use crate::request::Attempt;
use crate::sys;

/// How a socket is to be polled busily: by the thread that waits for it, in place of an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// How long one wait polls the device, in microseconds (`SO_BUSY_POLL`).
    #[doc(alias = "SO_BUSY_POLL")]
    pub microseconds: u32,
    /// How many frames one poll handles at most, up to 65,535 (`SO_BUSY_POLL_BUDGET`).
    #[doc(alias = "SO_BUSY_POLL_BUDGET")]
    pub budget: u32,
}

/// Has a socket prefer busy polling. It needs CAP_NET_ADMIN, which the socket's later owner may not have; that one
/// still has to wait by `recv` or `poll` for anything to be polled. Since Linux 5.11.
pub fn prefer_busy_poll(socket: &impl AsFd, wanted: BusyPoll) -> Attempt {
    let BusyPoll { microseconds, budget } = wanted;
    let options = [
        ("SO_PREFER_BUSY_POLL", libc::SO_PREFER_BUSY_POLL, 1),
        ("SO_BUSY_POLL", libc::SO_BUSY_POLL, microseconds),
        ("SO_BUSY_POLL_BUDGET", libc::SO_BUSY_POLL_BUDGET, budget),
    ];
    for (name, option, value) in options {
        if let Err(cause) = sys::set_socket_option(socket.as_fd(), option, value) {
            let why = format!("the kernel refused the value {value} of {name}: {cause}");
            return Attempt { step: "busy-poll", errno: cause.raw_os_error(), why };
        }
    }
    let why = format!("a wait polls for up to {microseconds} us, and up to {budget} frames at a time");
    Attempt { step: "busy-poll", errno: None, why }
}
