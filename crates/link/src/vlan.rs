//! Making VLAN devices.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVlan, LinkAttribute, LinkInfo, LinkMessage};
use rustix::io::Errno;

use crate::{DeviceName, IfIndex, LinkError, Links, Netns};

impl Links {
    /// Makes a VLAN device (802.1Q) of an interface, down, in another namespace: the interface's filter lets the VLAN
    /// in from the moment that the device is there (`register_vlan_dev()`). False: the interface has one of this VLAN,
    /// wherever it is, or the namespace a device of this name.
    ///
    /// # Errors
    /// [`LinkError::DeviceMissing`], [`LinkError::Refused`]: EOPNOTSUPP where the kernel has no such devices
    /// (CONFIG_VLAN_8021Q).
    pub fn add_vlan(&self, nic: IfIndex, id: u16, name: &DeviceName, inside: &Netns) -> Result<bool, LinkError> {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.as_str().to_owned()),
            LinkAttribute::Link(nic.get()),
            LinkAttribute::NetNsFd(inside.as_fd().as_raw_fd()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vlan),
                LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(id)])),
            ]),
        ];
        match self.route.request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL) {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.errno() == Some(Errno::EXIST) => Ok(false),
            Err(refusal) => Err(self.refused(format!("make a device of its VLAN {id}"), nic, refusal)),
        }
    }
}
