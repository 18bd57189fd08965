//! Frames that another language has: it knows them by their addresses, and what it writes is checked.

use std::sync::atomic::{AtomicU32, Ordering};

/// A frame that is lent by address, in two words: where it begins, in bytes from the start of the UMEM, and how many
/// bytes it has.
///
/// Atomic, because the language can hand its memory to other threads.
pub type LentDescriptor = [AtomicU32; 2];

/// The bit of a length that says: the packet goes on in the next descriptor.
#[doc(alias = "XDP_PKT_CONTD")]
pub const CONTINUES: u32 = 1 << 31;

/// The address of a descriptor that is empty: it is skipped.
pub const NOWHERE: u32 = u32::MAX;

/// The most descriptors of a packet that is sent: MAX_SKB_FRAGS, which is 17 unless the kernel was configured
/// otherwise, and the linear part (`xsk_build_skb`).
pub const MAX_PARTS_SENT: usize = 18;

/// The most descriptors of a packet that is received: what 64 KiB need in the smallest chunks, and some more.
pub const MAX_PARTS_RECEIVED: usize = 64;

#[inline]
pub(crate) fn load([address, length]: &LentDescriptor) -> (u32, u32) {
    (address.load(Ordering::Relaxed), length.load(Ordering::Relaxed))
}

/// Moves the end of a table to its front, and says how many descriptors that are.
pub(crate) fn move_to_front(table: &[LentDescriptor], rest: &[LentDescriptor]) -> usize {
    if rest.len() < table.len() {
        for (to, from) in table.iter().zip(rest) {
            let (address, length) = load(from);
            store(to, address, length);
        }
    }
    rest.len()
}

#[inline]
pub(crate) fn store([at, of]: &LentDescriptor, address: u32, length: u32) {
    at.store(address, Ordering::Relaxed);
    of.store(length, Ordering::Relaxed);
}
