//! Where the guard of a port runs.

use xsknet_bpf::{Mode, Obtained};
use xsknet_link::XdpFeatures;

use crate::attempt::Attempt;
use crate::mtu::HEADERS;
use crate::nic::Nic;

/// The guard runs native only if the NIC can transmit what is redirected to it: for a veth that hangs on the wire's
/// far end, and a refused frame would vanish without an error.
pub(crate) fn guard_mode(nic: &Nic, mtu: u32, attempts: &mut Vec<Attempt>) -> Mode {
    if nic.info.mode == Obtained::Skb {
        return Mode::Skb;
    }
    let device = &nic.info.device;
    let why = match nic.context.host.links.xdp_features(nic.info.index) {
        Ok(Some(features)) if !features.contains(XdpFeatures::NDO_XMIT) => format!(
            "not taken: {device} does not transmit redirected frames (no ndo-xmit); the far end of a veth needs GRO \
             or a native program for that"
        ),
        Ok(Some(features)) if mtu > one_buffer() && !features.contains(XdpFeatures::NDO_XMIT_SG) => format!(
            "not taken: {device} transmits no redirected frames in several buffers (no ndo-xmit-sg), which an MTU of \
             {mtu} makes; up to {} it would be native",
            one_buffer()
        ),
        _ => return Mode::Native,
    };
    attempts.push(Attempt { hook: "guard", step: "native".into(), errno: None, why });
    Mode::Skb
}

/// The largest MTU whose frames XDP has in one buffer: a page less XDP's headroom, the kernel's book-keeping behind it
/// (`skb_shared_info`, 320 bytes), the Ethernet header and one VLAN tag.
fn one_buffer() -> u32 {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
    page - xsknet_xsk::XDP_PACKET_HEADROOM - 320 - HEADERS
}
