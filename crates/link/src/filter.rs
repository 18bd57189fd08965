//! The MAC addresses that a device receives beside its own.

use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;

use crate::netlink::{Answer, Refusal, attributes};
use crate::{IfIndex, LinkError, Links, MacAddr};

/// What became of a filter that was to be added.
#[derive(Debug)]
pub enum FilterAnswer {
    /// It is there now, and ours to remove.
    Added,
    /// It was there before: it belongs to another program, and is gone when that removes it. The kernel does not count
    /// filters.
    AlreadyThere,
    /// The device takes none: frames for the address arrive in promiscuous mode only.
    Refused(io::Error),
}

const NDA_LLADDR: u16 = 2;
/// Length of `struct ndmsg`.
const HEADER_LEN: usize = 12;

impl Links {
    /// Lets a device receive frames for `mac`, unicast or multicast. A device without filters of its own (a veth) turns
    /// promiscuous for a unicast one while it is up.
    ///
    /// # Errors
    /// [`LinkError::DeviceMissing`]; every other refusal is [`FilterAnswer::Refused`].
    pub fn add_filter(&self, index: IfIndex, mac: MacAddr) -> Result<FilterAnswer, LinkError> {
        // Without NLM_F_EXCL the kernel acks a duplicate (ndo_dflt_fdb_add).
        let added = self.route.request(RouteNetlinkMessage::NewNeighbour(entry(index, mac)), NLM_F_CREATE | NLM_F_EXCL);
        match added {
            Ok(_) => Ok(FilterAnswer::Added),
            Err(refusal) => match refusal.errno() {
                Some(Errno::EXIST) => Ok(FilterAnswer::AlreadyThere),
                Some(Errno::NODEV) => Err(LinkError::DeviceMissing { device: index.into() }),
                _ => Ok(FilterAnswer::Refused(refusal.cause)),
            },
        }
    }

    /// Removes a filter; `false` if there is none.
    ///
    /// # Errors
    /// [`LinkError::DeviceMissing`], [`LinkError::Refused`].
    pub fn remove_filter(&self, index: IfIndex, mac: MacAddr) -> Result<bool, LinkError> {
        match self.route.request(RouteNetlinkMessage::DelNeighbour(entry(index, mac)), 0) {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.errno() == Some(Errno::NOENT) => Ok(false),
            Err(refusal) => Err(self.refused(format!("remove the filter for {mac}"), index, refusal)),
        }
    }

    /// The filters of a device, those of the kernel's own groups included (`bridge fdb show dev … self`).
    ///
    /// # Errors
    /// [`LinkError::DeviceMissing`], [`LinkError::Refused`].
    pub fn filters(&self, index: IfIndex) -> Result<Vec<MacAddr>, LinkError> {
        // A dump for a device that is not there is empty, not an error.
        self.by_index(index)?;
        let mut request = NeighbourMessage::default();
        request.header.family = AddressFamily::Bridge;
        request.header.ifindex = index.get();
        let answers = self.route.dump(RouteNetlinkMessage::GetNeighbour(request));
        let answers = answers.map_err(|refusal: Refusal| self.refused("list its filters", index, refusal))?;
        Ok(answers.iter().filter_map(|Answer { payload }| filter_of(payload, index)).collect())
    }
}

fn entry(index: IfIndex, mac: MacAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index.get();
    message.header.state = NeighbourState::Permanent;
    // NTF_SELF: the device's own table, not that of a bridge above it.
    message.header.flags = NeighbourFlags::Own;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()));
    message
}

fn filter_of(payload: &[u8], index: IfIndex) -> Option<MacAddr> {
    let header = netlink_packet_route::neighbour::NeighbourHeader::parse(payload).ok()?;
    if header.ifindex != index.get() || !header.flags.contains(NeighbourFlags::Own) {
        return None;
    }
    let (_, mac) = attributes(payload.get(HEADER_LEN..)?).find(|&(kind, _)| kind == NDA_LLADDR)?;
    mac.try_into().ok()
}
