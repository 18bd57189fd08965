//! Where a NIC's driver counts what it loses, each in its own words or not at all.

use xsknet_bpf::Obtained;
use xsknet_link::{IfIndex, LinkStats, Statistics};

use crate::namespace::Namespace;

/// What a driver calls the losses of a native program.
struct Driver {
    /// As `ethtool -i` has it.
    name: &'static str,
    /// Redirects that the kernel refused after the NIC's program had returned.
    refused: Source,
    /// Frames that were redirected to the NIC and that it did not take (`ndo_xdp_xmit`).
    untaken: Source,
}

/// Where a loss is counted. Names are those of [`Statistics::sum`]; of several names a driver has one, by its version.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// Beside nothing else.
    Counter(&'static [&'static str]),
    /// Together with the frames that the program itself ends by `XDP_DROP`.
    WithDrops(&'static [&'static str]),
    /// In `TX dropped` of `ip -s`.
    Device,
    Hidden,
}

/// Others' drivers are not known, and take their losses with them as far as we can tell.
const DRIVERS: [Driver; 4] = [
    // veth_xdp_rcv_one() and veth_xdp_rcv_skb(): `rx_drops`; veth_get_stats64(): `peer_tq_xdp_xmit_err` in tx_dropped.
    // Both seen.
    Driver { name: "veth", refused: Source::Counter(&["rx_queue_#_drops"]), untaken: Source::Device },
    // receive_small_xdp() and receive_mergeable_xdp(): err_xdp, for XDP_DROP, too; virtnet_xdp_xmit(). Names since
    // 6.10, and before.
    Driver {
        name: "virtio_net",
        refused: Source::WithDrops(&["rx#_xdp_drops", "rx_queue_#_xdp_drops"]),
        untaken: Source::Counter(&["tx#_xdp_tx_drops", "tx_queue_#_xdp_tx_drops"]),
    },
    // vmxnet3_run_xdp(): `xdp_drops`, for XDP_DROP, too. vmxnet3_xdp_xmit() counts a batch that was cut short, not its
    // frames.
    Driver { name: "vmxnet3", refused: Source::WithDrops(&["xdp drops"]), untaken: Source::Hidden },
    // igb_run_xdp() and igb_xdp_xmit() count neither.
    Driver { name: "igb", refused: Source::Hidden, untaken: Source::Hidden },
];

/// Losses of a NIC since it was made. What its driver hides is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NicLosses {
    pub(crate) transmit_drops: Option<u64>,
    pub(crate) refused_redirects: Option<u64>,
}

impl NicLosses {
    /// Of a device of the host with this driver, whose program runs in this mode and has ended so many frames by
    /// `XDP_DROP`. One that is gone counts none.
    pub(crate) fn read(host: &Namespace, index: IfIndex, driver: &str, mode: Obtained, dropped: u64) -> Self {
        let Ok(device) = host.links.by_index(index) else { return Self::default() };
        let Ok(own) = host.ethtool.statistics(&device.name) else { return Self::default() };
        Self::of(driver, mode, &device.stats, &own, dropped)
    }

    /// `dropped` are the frames that the program has ended by `XDP_DROP`.
    pub(crate) fn of(driver: &str, mode: Obtained, device: &LinkStats, own: &Statistics, dropped: u64) -> Self {
        // The stack hands an skb over as a sender's, and drops a redirect that it refuses without a word.
        if mode == Obtained::Skb {
            return Self { transmit_drops: Some(device.tx_dropped), refused_redirects: None };
        }
        let known = DRIVERS.iter().find(|known| known.name == driver);
        let counted = |source: Source| match source {
            Source::Counter(names) => names.iter().find_map(|name| own.sum(name)),
            Source::WithDrops(names) => {
                names.iter().find_map(|name| own.sum(name)).map(|both| both.saturating_sub(dropped))
            }
            Source::Device => Some(0),
            Source::Hidden => None,
        };
        Self {
            // What the host sends is counted there in any case.
            transmit_drops: known.and_then(|known| counted(known.untaken)).map(|own| own + device.tx_dropped),
            refused_redirects: known.and_then(|known| counted(known.refused)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(own: &[(&str, u64)]) -> Statistics {
        own.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    fn native(driver: &str, own: &[(&str, u64)]) -> (Option<u64>, Option<u64>) {
        let device = LinkStats { tx_dropped: 1000, ..LinkStats::default() };
        let NicLosses { transmit_drops, refused_redirects } =
            NicLosses::of(driver, Obtained::Native, &device, &counted(own), 7);
        (transmit_drops, refused_redirects)
    }

    #[test]
    fn losses_are_found_under_each_drivers_names() {
        let pair = [("rx_queue_0_drops", 1), ("rx_queue_0_xdp_drops", 50), ("tx_queue_0_xdp_xmit_errors", 3)];
        assert_eq!(native("veth", &pair), (Some(1000), Some(1)));
        let virtio = [("rx0_drops", 90), ("rx0_xdp_drops", 10), ("rx1_xdp_drops", 5), ("tx1_xdp_tx_drops", 3)];
        assert_eq!(native("virtio_net", &virtio), (Some(1003), Some(8)), "without the program's own drops");
        let older = [("rx_queue_0_xdp_drops", 8), ("tx_queue_0_xdp_tx_drops", 2)];
        assert_eq!(native("virtio_net", &older), (Some(1002), Some(1)));
        let vmxnet3 = [("     xdp drops", 9), ("     xdp drops", 1), ("     xdp xmit err", 4)];
        assert_eq!(native("vmxnet3", &vmxnet3), (None, Some(3)));
    }

    #[test]
    fn what_a_driver_hides_is_not_zero() {
        assert_eq!(native("igb", &[("rx_queue_0_drops", 5)]), (None, None));
        assert_eq!(native("nobody_knows", &[("rx_queue_0_drops", 5)]), (None, None));
        assert_eq!(native("virtio_net", &[]), (None, None));
    }

    #[test]
    fn in_skb_mode_the_stack_is_the_driver() {
        let device = LinkStats { tx_dropped: 4, ..LinkStats::default() };
        for driver in ["veth", "igb", "nobody_knows"] {
            let losses = NicLosses::of(driver, Obtained::Skb, &device, &counted(&[("rx_queue_0_drops", 5)]), 0);
            assert_eq!(losses, NicLosses { transmit_drops: Some(4), refused_redirects: None });
        }
    }
}
