//! What a socket has done and where its chunks are, as JavaScript sees it.

use napi_derive::napi;

/// How many chunks each owner has.
#[napi(object)]
pub struct ChunkCounts {
    /// Free chunks.
    pub free: u32,
    /// Chunks that JavaScript has: of the lease, and of batches of descriptors.
    pub held: u32,
    /// Chunks of frames that it keeps.
    pub kept: u32,
    /// Chunks lent to reception.
    pub fill: u32,
    /// Chunks lent to sending.
    pub tx: u32,
    /// Chunks lent to reception and sending of other sockets of the UMEM.
    pub elsewhere: u32,
    /// All chunks.
    pub total: u32,
}

impl From<xsknet_path::ChunkCounts> for ChunkCounts {
    fn from(counts: xsknet_path::ChunkCounts) -> Self {
        let xsknet_path::ChunkCounts { free, held, kept, fill, tx, elsewhere, total } = counts;
        Self { free, held, kept, fill, tx, elsewhere, total }
    }
}

/// What the socket has done since it was adopted.
#[napi(object)]
pub struct SocketCounters {
    /// Frames taken out of RX. A packet in several counts as so many.
    pub received: f64,
    /// Those of `received` after which the packet went on.
    pub received_continued: f64,
    /// Frames put into TX. A packet in several counts as so many.
    pub sent: f64,
    /// Those of `sent` after which the packet went on.
    pub sent_continued: f64,
    /// Frames that came back through COMPLETION.
    pub completed: f64,
    /// Entries of RX that did not become a frame.
    pub refused_rx: f64,
    /// Entries of COMPLETION that brought no chunk back.
    pub refused_completions: f64,
    /// Packets that could not be sent: no such frame, no byte, too long, or too many parts.
    pub refused_queued: f64,
    /// Packets that were shorter than an Ethernet header, or longer than the MTU allows.
    pub refused_lengths: f64,
    /// Frames that were given back and had not been lent.
    pub refused_recycled: f64,
    /// Refills that found no free chunk for an empty FILL ring.
    pub fill_starved: f64,
    /// Refills that found the FILL ring empty.
    pub fill_found_empty: f64,
    /// System calls that notified the kernel of frames in TX.
    pub kicks: f64,
    /// Those that followed a kick which the kernel broke off.
    pub kick_retries: f64,
    /// System calls that notified the kernel of chunks in FILL.
    pub fill_kicks: f64,
}

impl From<xsknet_xsk::SocketCounters> for SocketCounters {
    fn from(counters: xsknet_xsk::SocketCounters) -> Self {
        Self {
            received: count(counters.received),
            received_continued: count(counters.received_continued),
            sent: count(counters.sent),
            sent_continued: count(counters.sent_continued),
            completed: count(counters.completed),
            refused_rx: count(counters.refused_rx.total()),
            refused_completions: count(counters.refused_completions.total()),
            refused_queued: count(counters.refused_tx),
            refused_lengths: count(counters.refused_lengths),
            refused_recycled: count(counters.refused_recycled),
            fill_starved: count(counters.fill_starved),
            fill_found_empty: count(counters.fill_found_empty),
            kicks: count(counters.kicks),
            kick_retries: count(counters.kick_retries),
            fill_kicks: count(counters.fill_kicks),
        }
    }
}

/// What the kernel has counted for the socket (`XDP_STATISTICS`).
#[napi(object)]
pub struct KernelStatistics {
    /// Frames dropped for other reasons, an empty FILL ring in copy mode among them.
    pub rx_dropped: f64,
    /// Entries of FILL that the kernel refused.
    pub rx_invalid_descs: f64,
    /// Entries of TX that the kernel refused.
    pub tx_invalid_descs: f64,
    /// Frames dropped because RX was full.
    pub rx_ring_full: f64,
    /// Times the kernel wanted a chunk and FILL was empty.
    pub rx_fill_ring_empty_descs: f64,
    /// Times the kernel looked at TX and found it empty.
    pub tx_ring_empty_descs: f64,
}

impl From<xsknet_xsk::KernelStatistics> for KernelStatistics {
    fn from(kernel: xsknet_xsk::KernelStatistics) -> Self {
        Self {
            rx_dropped: count(kernel.rx_dropped),
            rx_invalid_descs: count(kernel.rx_invalid_descs),
            tx_invalid_descs: count(kernel.tx_invalid_descs),
            rx_ring_full: count(kernel.rx_ring_full),
            rx_fill_ring_empty_descs: count(kernel.rx_fill_ring_empty_descs),
            tx_ring_empty_descs: count(kernel.tx_ring_empty_descs),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "no counter gets to 2^53")]
fn count(count: u64) -> f64 {
    count as f64
}
