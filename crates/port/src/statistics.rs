//! Every frame's whereabouts, and the sums that must hold at rest.

use xsknet_bpf::Counters;
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

/// What an uplink's program and the card say.
#[derive(Debug, Clone, Copy, Default)]
pub struct UplinkStatistics {
    /// The uplink program's verdicts.
    pub program: Counters,
    /// Frames from outer ends of ports that were just being opened or closed.
    pub unattributed: Counters,
    /// Frames that were redirected to the card and that its driver refused, since the card is managed
    /// (`tx_queue_N_xdp_xmit_errors` of `ethtool -S`).
    pub transmit_errors: u64,
    /// Redirects that the kernel refused after the uplink program had returned (`rx_queue_N_drops`).
    pub refused_redirects: u64,
}

/// What the kernel says of a port.
#[derive(Debug, Clone, Copy, Default)]
pub struct PortStatistics {
    /// The guard's verdicts on what the port sent.
    pub guard: Counters,
    /// The port program's verdicts on what came for it.
    pub program: Counters,
    /// XDP_STATISTICS of the port's socket.
    pub socket: KernelStatistics,
    /// Frames that the port sent and that its own pair had no room for (`TX dropped` of `ip -s` at the inner end).
    pub inner_transmit_drops: u64,
    /// Frames for the port that its outer end had no room for (`tx_queue_N_xdp_xmit_errors`).
    pub outer_transmit_errors: u64,
    /// Redirects that the kernel refused after the guard had returned (`rx_queue_N_drops` of the outer end).
    pub outer_refused_redirects: u64,
}

impl UplinkStatistics {
    /// uplink seen = passed + dropped + to_port.
    pub fn equality(&self) -> Equality {
        let program = &self.program;
        Equality { what: "uplink program", left: program.seen(), right: program.total() }
    }

    /// The sum over an uplink and all its ports. `far` is how many frames from ports arrived at the wire's far end,
    /// by somebody who looked there.
    pub fn wire_equality<'a>(&self, ports: impl IntoIterator<Item = &'a PortStatistics>, far: u64) -> Equality {
        let mut left = self.program.to_port() + self.unattributed.to_port() + self.unattributed.to_uplink();
        let mut right = far + self.transmit_errors + self.refused_redirects;
        for port in ports {
            left += port.guard.to_port() + port.guard.to_uplink();
            right += port.program.seen() + port.outer_transmit_errors + port.outer_refused_redirects;
        }
        Equality { what: "between the programs", left, right }
    }
}

impl PortStatistics {
    /// The sums of one port, with what its owner counted on the socket.
    pub fn equalities(&self, owner: &SocketCounters) -> [Equality; 3] {
        [
            Equality {
                what: "port sent",
                left: owner.completed,
                right: self.guard.seen() + self.inner_transmit_drops + self.socket.tx_invalid_descs,
            },
            Equality { what: "guard program", left: self.guard.seen(), right: self.guard.total() },
            Equality {
                what: "port received",
                left: self.program.seen(),
                right: self.program.dropped() + owner.received + self.socket.rx_dropped + self.socket.rx_ring_full,
            },
        ]
    }
}
