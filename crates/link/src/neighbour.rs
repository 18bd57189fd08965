//! Who the host has heard of on its networks.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{NeighbourHeader, NeighbourMessage, NeighbourState};

use crate::netlink::{Answer, Refusal, attributes};
use crate::{LinkError, Links, MacAddr};

const NDA_LLADDR: u16 = 2;
/// Length of `struct ndmsg`.
const HEADER_LEN: usize = 12;

impl Links {
    /// The MACs of the hosts that this one has resolved an address of, on any device (`ip neigh`).
    ///
    /// # Errors
    /// [`LinkError::Unreachable`].
    pub fn neighbours(&self) -> Result<Vec<MacAddr>, LinkError> {
        let answers = self.route.dump(RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()));
        let answers =
            answers.map_err(|Refusal { cause, .. }| LinkError::Unreachable { what: "list the neighbours", cause })?;
        Ok(answers.iter().filter_map(|Answer { payload }| mac_of(payload)).collect())
    }
}

/// What has failed, or was never resolved, has the MAC of an earlier time or none. The kernel's own entries (NOARP) are
/// groups.
fn mac_of(payload: &[u8]) -> Option<MacAddr> {
    let header = NeighbourHeader::parse(payload).ok()?;
    if matches!(header.state, NeighbourState::Failed | NeighbourState::Incomplete | NeighbourState::Noarp) {
        return None;
    }
    let (_, mac) = attributes(payload.get(HEADER_LEN..)?).find(|&(kind, _)| kind == NDA_LLADDR)?;
    mac.try_into().ok()
}
