//! Socket options that rustix does not know.

use std::ffi::c_void;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `XDP_MAX_TX_SKB_BUDGET` of `linux/if_xdp.h`, since Linux 6.18.
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;

/// How many frames of TX one `sendto` moves in copy mode: 32 unless set, at most the ring's slots.
pub(crate) fn set_max_tx_skb_budget(xsk: BorrowedFd<'_>, frames: u32) -> io::Result<()> {
    set(xsk, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, frames)
}

/// An option of `SOL_SOCKET` that takes a number.
pub(crate) fn set_socket_option(socket: BorrowedFd<'_>, option: i32, value: u32) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, option, value)
}

fn set(socket: BorrowedFd<'_>, level: i32, option: i32, number: u32) -> io::Result<()> {
    let value: *const u32 = &number;
    // SAFETY: the options above take four bytes, and `value` points to as many for the length of the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, value.cast::<c_void>(), size_of::<u32>() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
