//! Every frame's whereabouts, and the sums that must hold at rest.
//!
//! Each term stands where a provoked loss was seen to move it (`tests/losses.rs`), unless it says "by the kernel's
//! source". Two kinds of loss move nothing at all: in skb mode the kernel refuses a redirect to a device that is down
//! (`xdp_do_generic_redirect`) without a word to any statistic, and an skb that was redirected before it reached the
//! NIC (by tc at a veth's far end, say) goes past generic XDP (`skb_is_redirected`), so that the uplink program never
//! sees it. In native mode the one is counted and the other seen.

use std::ops::AddAssign;

use xsknet_bpf::{Counters, RingCounters};
use xsknet_xsk::{KernelStatistics, SocketCounters};

/// Two counts of the same frames, taken at different places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Equality {
    /// What both sides count.
    pub what: &'static str,
    /// Frames that went in.
    pub left: u64,
    /// Frames that came out, or were lost and counted.
    pub right: u64,
}

impl Equality {
    /// Whether no frame is missing. Only at rest: while frames move, the two sides are read at different moments.
    pub fn holds(&self) -> bool {
        self.left == self.right
    }
}

/// What an uplink's program and the NIC say.
#[derive(Debug, Clone, Copy, Default)]
pub struct UplinkStatistics {
    /// The uplink program's verdicts.
    pub program: Counters,
    /// Frames from outer ends of ports that were just being opened or closed.
    pub unattributed: Counters,
    /// Frames that the NIC would not take, since it is managed (`TX dropped` of `ip -s`). For a veth that is all of
    /// them: a full ring at the far end (also in `tx_queue_N_xdp_xmit_errors` of `ethtool -S`), a far end that is down
    /// and, by the kernel's source, a full backlog in skb mode. The host's own frames that it would not take count too.
    /// `None`: the NIC's driver (`driver_losses.rs`) does not count what it does not take of redirected frames.
    pub transmit_drops: Option<u64>,
    /// Redirects that the kernel refused after the uplink program had returned (`rx_queue_N_drops`): an outer end that
    /// is down. By the kernel's source, a frame for which it found no memory in front of the program counts here too,
    /// and was not seen. `None`: nobody counts them, as in skb mode, or the NIC's driver does not.
    pub refused_redirects: Option<u64>,
    /// Frames by which the daemon announced ports to the neighbours, from the ports' MACs: the NIC sent them, and no
    /// port did.
    pub announced: u64,
    /// The ports that were closed since, summed up.
    pub closed: PortStatistics,
}

/// What the kernel says of a port.
#[derive(Debug, Clone, Copy, Default)]
pub struct PortStatistics {
    /// The guard's verdicts on what the port sent.
    pub guard: Counters,
    /// What became of the copies for it of what was left to the host (`bpf/copy.bpf.c`, and the uplink program where it
    /// has BPF rings). The uplink program counts the packets themselves as passed.
    pub copies: Counters,
    /// The port program's verdicts on what came for it.
    pub program: Counters,
    /// XDP_STATISTICS of the port's socket; `None` for a pinned port whose client has not shared its socket.
    pub socket: Option<KernelStatistics>,
    /// Frames that the port sent and that its own pair had no room for (`TX dropped` of `ip -s` at the inner end). The
    /// kernel completes them like any other.
    pub inner_transmit_drops: u64,
    /// Frames for the port that its pair had no room for (`TX dropped` of the outer end, which holds
    /// `tx_queue_N_xdp_xmit_errors`).
    pub outer_transmit_drops: u64,
    /// Redirects that the kernel refused after the guard had returned (`rx_queue_N_drops` of the outer end): the NIC is
    /// down, or its far end stopped taking redirected frames (GRO switched off). Native mode only.
    pub outer_refused_redirects: u64,
    /// What was counted at its BPF rings, where it has such: beside `guard`, which counts all that the port sends, and
    /// in the place of `program` and `socket`.
    pub rings: Option<RingCounters>,
}

impl UplinkStatistics {
    /// uplink seen = passed + dropped + to_port.
    pub fn equality(&self) -> Equality {
        let program = &self.program;
        Equality { what: "uplink program", left: program.seen(), right: program.total() }
    }

    /// The sum over an uplink and all its ports; `ports` are the open ones. `far` is how many frames
    /// from ports arrived at the wire's far end, as counted there. What a driver hides is missing on the
    /// right.
    pub fn wire_equality<'a>(&'a self, ports: impl IntoIterator<Item = &'a PortStatistics>, far: u64) -> Equality {
        let mut left =
            self.program.to_port() + self.unattributed.to_port() + self.unattributed.to_uplink() + self.announced;
        let mut right = far + self.transmit_drops.unwrap_or(0) + self.refused_redirects.unwrap_or(0);
        for port in ports.into_iter().chain([&self.closed]) {
            left += port.guard.to_port() + port.guard.to_uplink() + port.copies.to_port();
            right += port.program.seen() + port.outer_transmit_drops + port.outer_refused_redirects;
            // What found no chunk, or one that is not there, was dropped where it was counted.
            right += port.rings.map_or(0, |rings| rings.received - rings.invalid_chunk);
        }
        Equality { what: "between the programs", left, right }
    }
}

impl PortStatistics {
    /// The sums of one port, with what its owners counted, each on one of its sockets. What the kernel counted on it is
    /// taken for nothing where it is not known.
    ///
    /// A descriptor that the kernel refuses is completed like any other (seen on 6.18.44). A `Socket` writes none; an
    /// owner that writes its rings itself may.
    pub fn equalities<'a>(&self, owners: impl IntoIterator<Item = &'a SocketCounters>) -> [Equality; 4] {
        let (mut completed, mut received) = (0, 0);
        for owner in owners {
            // The programs count packets, of which one may be several frames; at rest all that was sent is completed.
            completed += owner.completed.saturating_sub(owner.sent_continued);
            received += owner.received.saturating_sub(owner.received_continued);
        }
        let socket = self.socket.unwrap_or_default();
        let rings = self.rings.unwrap_or_default();
        [
            Equality {
                what: "port sent",
                left: completed,
                right: self.guard.seen() + self.inner_transmit_drops + socket.tx_invalid_descs,
            },
            Equality { what: "guard program", left: self.guard.seen(), right: self.guard.total() },
            Equality { what: "copies", left: self.copies.seen(), right: self.copies.total() },
            Equality {
                what: "port received",
                left: self.program.seen() + rings.received,
                right: self.program.dropped()
                    + received
                    + rings.invalid_chunk
                    + socket.rx_dropped
                    + socket.rx_ring_full,
            },
        ]
    }
}

/// One more port.
impl AddAssign for PortStatistics {
    fn add_assign(&mut self, other: Self) {
        let Self { guard, copies, program, socket, rings, .. } = other;
        let Self { inner_transmit_drops, outer_transmit_drops, outer_refused_redirects, .. } = other;
        self.guard += guard;
        self.copies += copies;
        self.program += program;
        if let Some(socket) = socket {
            *self.socket.get_or_insert_default() += socket;
        }
        if let Some(rings) = rings {
            *self.rings.get_or_insert_default() += rings;
        }
        self.inner_transmit_drops += inner_transmit_drops;
        self.outer_transmit_drops += outer_transmit_drops;
        self.outer_refused_redirects += outer_refused_redirects;
    }
}
