//! The lab: two namespaces and a wire between them, standing for a NIC and a remote host.
//!
//! ```text
//!   remote                                host
//!   far0  192.0.2.2/24  ---- wire ----  card0  192.0.2.1/24
//!         2001:db8::2/64                       2001:db8::1/64       ports from 192.0.2.10, 2001:db8::10
//! ```
//!
//! The far end has no offloads that a wire could not carry: no partial checksums, no segmentation, no VLAN tags in
//! metadata. The near end is left as a fresh veth is, since an uplink's settings are the daemon's to change.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use xsknet_link::{End, Ethtool, Links, MacAddr, Netns, VethPair};

use crate::device::device;
use crate::lab_error::LabError;
use crate::machine::Machine;

/// The near end of the wire: what an instance manages.
pub const CARD: &str = "card0";
/// The far end of the wire.
pub const FAR: &str = "far0";

/// The host's address on the wire.
pub const HOST4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The host's address on the wire.
pub const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The remote host's address.
pub const REMOTE4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The remote host's address.
pub const REMOTE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// The addresses that the lab keeps for port `n`, from 0.
pub fn port_addresses(n: u8) -> [IpAddr; 2] {
    let n = n.min(5);
    [
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10 + n)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10 + u16::from(n))),
    ]
}

/// How a lab's wire is to be.
#[derive(Debug, Clone, Copy)]
pub struct Wire {
    /// MTU of both ends, in bytes.
    pub mtu: u32,
    /// GRO at the far end. A frame can be redirected natively out of the near end only while this is on.
    pub far_gro: bool,
}

impl Default for Wire {
    fn default() -> Self {
        Self { mtu: 1500, far_gro: true }
    }
}

/// Two machines and a wire. Nothing of it outlives the process: the namespaces have no name.
#[derive(Debug)]
pub struct Lab {
    /// The machine with the near end of the wire.
    pub host: Machine,
    /// The machine at the wire's far end; its kernel answers and asks.
    pub remote: Machine,
    macs: Macs,
}

impl Lab {
    /// Builds the lab and waits until the wire carries.
    ///
    /// # Errors
    /// The kernel's, for namespaces, devices and addresses.
    pub fn new(wire: Wire) -> Result<Self, LabError> {
        let (host, remote) = (Machine::new("host")?, Machine::new("remote")?);
        let macs = lay(host.namespace(), remote.namespace(), wire)?;
        Ok(Self { host, remote, macs })
    }

    /// The near end's MAC.
    pub fn card_mac(&self) -> MacAddr {
        self.macs.card
    }

    /// The far end's MAC.
    pub fn far_mac(&self) -> MacAddr {
        self.macs.far
    }
}

/// The MACs of a wire's two ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Macs {
    card: MacAddr,
    far: MacAddr,
}

/// Lays a wire from one machine to the other, with the addresses of both, and waits until it carries.
pub(crate) fn lay(host: &Netns, remote: &Netns, wire: Wire) -> Result<Macs, LabError> {
    let macs = Macs { card: MacAddr::random_local(), far: MacAddr::random_local() };
    let (card, far) = (device(CARD), device(FAR));
    let near_links = Links::in_namespace(host)?;
    let far_links = Links::in_namespace(remote)?;
    let pair = near_links.add_veth(&VethPair::new(
        End::new(card).mac(macs.card).mtu(wire.mtu),
        End::new(far.clone()).mac(macs.far).mtu(wire.mtu).inside(remote),
    ))?;
    let (near, far_end) = (pair.outer, pair.inner);
    near_links.set_up(near)?;
    far_links.set_up(far_end)?;
    let ethtool = Ethtool::in_namespace(remote)?;
    ethtool.set_features(&far, &ethtool.features(&far)?.quiet_offloads())?;
    // After both ends are up: the near end's ndo_xdp_xmit follows a change of GRO only then.
    ethtool.set_features(&far, &[("rx-gro", wire.far_gro)])?;
    for (links, index, v4, v6) in [(&near_links, near, HOST4, HOST6), (&far_links, far_end, REMOTE4, REMOTE6)] {
        links.add_address(index, v4.into(), 24)?;
        links.add_address(index, v6.into(), 64)?;
    }
    wait_for("carrier on the wire", DEADLINE, || near_links.by_index(near).is_ok_and(|device| device.lower_up))?;
    // The kernel joins the multicast groups of its addresses a moment later; after the first snapshot that would look
    // like a change.
    for (links, index, mac, v6) in [(&near_links, near, macs.card, HOST6), (&far_links, far_end, macs.far, REMOTE6)] {
        let groups = [v6, mac.link_local_ipv6()].map(MacAddr::solicited_node);
        wait_for("multicast groups of the lab's addresses", DEADLINE, || {
            links.filters(index).is_ok_and(|filters| groups.iter().all(|group| filters.contains(group)))
        })?;
    }
    Ok(macs)
}

/// How long the kernel may take for what it does by itself.
const DEADLINE: Duration = Duration::from_secs(5);

/// Waits for a condition.
///
/// # Panics
/// Names the condition once the deadline has passed.
#[track_caller]
pub fn wait_until(what: &str, deadline: Duration, holds: impl FnMut() -> bool) {
    if let Err(error) = wait_for(what, deadline, holds) {
        panic!("{error}");
    }
}

fn wait_for(what: &str, deadline: Duration, mut holds: impl FnMut() -> bool) -> Result<(), LabError> {
    let end = Instant::now() + deadline;
    while !holds() {
        if Instant::now() >= end {
            return Err(LabError::Late { what: what.into(), deadline });
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
