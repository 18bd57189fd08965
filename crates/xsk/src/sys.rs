//! Socket options that rustix does not know.

use std::ffi::c_void;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};

/// `XDP_MAX_TX_SKB_BUDGET` of `linux/if_xdp.h`, since Linux 6.18.
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;

/// How many frames of TX one `sendto` moves in copy mode: 32 unless set, at most the ring's slots.
pub(crate) fn set_max_tx_skb_budget(xsk: &OwnedFd, frames: u32) -> io::Result<()> {
    let value: *const u32 = &frames;
    // SAFETY: the option takes a u32, and `value` points to one for the length of the call.
    let result = unsafe {
        libc::setsockopt(
            xsk.as_raw_fd(),
            libc::SOL_XDP,
            XDP_MAX_TX_SKB_BUDGET,
            value.cast::<c_void>(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
