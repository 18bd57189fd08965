use std::ops::AddAssign;

use crate::refusal::Refusals;

/// What a socket has done since it was made, for all of its owners. Plain numbers, read without a system call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketCounters {
    /// Frames taken out of RX. A packet in several frames counts once per frame.
    pub received: u64,
    /// Those of `received` after which the packet continued: there were this many fewer packets than frames.
    pub received_continued: u64,
    /// Frames put into TX. A packet in several frames counts once per frame.
    pub sent: u64,
    /// Those of `sent` after which the packet continued.
    pub sent_continued: u64,
    /// Frames that came back through COMPLETION: the kernel has no more use for them, whether or not a wire saw them.
    pub completed: u64,
    /// Entries of RX that did not become a frame.
    pub refused_rx: Refusals,
    /// Entries of COMPLETION that did not bring a chunk back.
    pub refused_completions: Refusals,
    /// Packets that were to be sent by address and could not be: an address that was not lent, a length of 0 or
    /// beyond the chunk, too many parts, a last part that was missing. Their lent chunks were freed.
    pub refused_tx: u64,
    /// Packets that were to be sent by address, and that the device does not take: shorter than an Ethernet header, or
    /// longer than its MTU allows ([`Endpoint::set_mtu`](crate::Endpoint::set_mtu)). They were freed.
    pub refused_lengths: u64,
    /// Addresses that were to be given back and had not been lent.
    pub refused_recycled: u64,
    /// Refills that left the FILL ring empty because no chunk was free: the kernel drops what arrives until frames are
    /// released.
    pub fill_starved: u64,
    /// Refills that found the FILL ring empty: the reader was late, and the kernel had no chunk for what arrived in
    /// between. The kernel's own counters show whether anything arrived.
    pub fill_found_empty: u64,
    /// System calls that notified the kernel of frames in TX.
    pub kicks: u64,
    /// Those of `kicks` that followed a kick which the kernel broke off (EAGAIN, EBUSY, ENOBUFS).
    pub kick_retries: u64,
    /// System calls that notified the kernel of chunks in FILL.
    pub fill_kicks: u64,
}

/// What the kernel has counted for a socket since it was made (`XDP_STATISTICS`).
#[doc(alias = "xdp_statistics")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelStatistics {
    /// Frames dropped for other reasons, an empty FILL ring in copy mode among them.
    pub rx_dropped: u64,
    /// Entries of FILL that the kernel refused.
    pub rx_invalid_descs: u64,
    /// Entries of TX that the kernel refused, and returned through COMPLETION unsent (6.18.44; others may keep the
    /// chunk).
    pub tx_invalid_descs: u64,
    /// Frames dropped because RX was full.
    pub rx_ring_full: u64,
    /// Times the kernel wanted a chunk and FILL was empty.
    pub rx_fill_ring_empty_descs: u64,
    /// Times the kernel looked at TX and found it empty: no loss.
    pub tx_ring_empty_descs: u64,
}

/// Another socket's counts.
impl AddAssign for KernelStatistics {
    fn add_assign(&mut self, other: Self) {
        let Self {
            rx_dropped,
            rx_invalid_descs,
            tx_invalid_descs,
            rx_ring_full,
            rx_fill_ring_empty_descs,
            tx_ring_empty_descs,
        } = other;
        self.rx_dropped += rx_dropped;
        self.rx_invalid_descs += rx_invalid_descs;
        self.tx_invalid_descs += tx_invalid_descs;
        self.rx_ring_full += rx_ring_full;
        self.rx_fill_ring_empty_descs += rx_fill_ring_empty_descs;
        self.tx_ring_empty_descs += tx_ring_empty_descs;
    }
}
