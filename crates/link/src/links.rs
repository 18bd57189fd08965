//! The devices of one namespace: finding them, and changing one.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage};
use netlink_sys::protocols::{NETLINK_GENERIC, NETLINK_ROUTE};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use crate::netlink::{Answer, Netlink, Refusal};
use crate::{Device, DeviceName, DeviceRef, IfIndex, LinkError, MacAddr, Netns};

/// The devices of one network namespace.
///
/// Every call enters the kernel and waits for its answer. Threads may share the handle; they take turns.
pub struct Links {
    pub(crate) route: Netlink,
    pub(crate) generic: Netlink,
}

impl Links {
    /// The devices of the calling thread's namespace.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`] if the kernel gives no netlink socket.
    pub fn here() -> Result<Self, LinkError> {
        let open = |protocol| {
            Netlink::open(protocol).map_err(|cause| LinkError::Unreachable { what: "open a netlink socket", cause })
        };
        Ok(Self { route: open(NETLINK_ROUTE)?, generic: open(NETLINK_GENERIC)? })
    }

    /// The devices of another namespace.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`] if it may not be entered, or gives no netlink socket.
    pub fn in_namespace(netns: &Netns) -> Result<Self, LinkError> {
        netns.run(Self::here).map_err(|cause| LinkError::Unreachable { what: "open a netlink socket", cause })?
    }

    /// The device with this name, or this alternative name.
    ///
    /// # Errors
    /// [`LinkError::DeviceMissing`].
    pub fn by_name(&self, name: &DeviceName) -> Result<Device, LinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.as_str().to_owned()));
        self.look_up(message).map_err(|refusal| LinkError::refused("look the device up", name, refusal))
    }

    /// The device with this index.
    ///
    /// # Errors
    /// [`LinkError::DeviceMissing`].
    pub fn by_index(&self, index: IfIndex) -> Result<Device, LinkError> {
        self.look_up(of(index)).map_err(|refusal| LinkError::refused("look the device up", index, refusal))
    }

    fn look_up(&self, message: LinkMessage) -> Result<Device, Refusal> {
        let answers = self.route.request(RouteNetlinkMessage::GetLink(message), 0)?;
        answers.first().and_then(|Answer { payload }| Device::parse(payload)).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer does not describe a device").into()
        })
    }

    /// All devices, except those whose name is not a [`DeviceName`].
    ///
    /// # Errors
    /// [`LinkError::Unreachable`].
    pub fn list(&self) -> Result<Vec<Device>, LinkError> {
        let answers = self.route.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()));
        let answers =
            answers.map_err(|Refusal { cause, .. }| LinkError::Unreachable { what: "list the devices", cause })?;
        Ok(answers.iter().filter_map(|Answer { payload }| Device::parse(payload)).collect())
    }

    /// Switches a device on.
    ///
    /// # Errors
    /// [`LinkError::DeviceMissing`], [`LinkError::Refused`]; so for all that follow.
    pub fn set_up(&self, index: IfIndex) -> Result<(), LinkError> {
        self.set_flag(index, LinkFlags::Up, true, "bring it up")
    }

    /// Switches a device off.
    pub fn set_down(&self, index: IfIndex) -> Result<(), LinkError> {
        self.set_flag(index, LinkFlags::Up, false, "bring it down")
    }

    /// Asks for promiscuous mode, or takes that back. It is one bit, not a count: see [`Device::promiscuous`] for
    /// whether it had been set before.
    pub fn set_promiscuous(&self, index: IfIndex, on: bool) -> Result<(), LinkError> {
        let what = if on { "make it promiscuous" } else { "end its promiscuous mode" };
        self.set_flag(index, LinkFlags::Promisc, on, what)
    }

    /// Sets the MTU, in bytes behind the Ethernet header.
    pub fn set_mtu(&self, index: IfIndex, mtu: u32) -> Result<(), LinkError> {
        self.set(index, LinkAttribute::Mtu(mtu), format!("set the MTU to {mtu}"))
    }

    /// Sets the MAC address.
    pub fn set_mac(&self, index: IfIndex, mac: MacAddr) -> Result<(), LinkError> {
        self.set(index, LinkAttribute::Address(mac.octets().to_vec()), format!("set the MAC address to {mac}"))
    }

    /// Sets the alias, at most 254 bytes; the empty text removes it.
    pub fn set_alias(&self, index: IfIndex, alias: &str) -> Result<(), LinkError> {
        self.set(index, LinkAttribute::IfAlias(alias.to_owned()), format!("set the alias {alias:?}"))
    }

    /// Renames a device. It must be down on kernels before 6.2.
    ///
    /// # Errors
    /// [`LinkError::NameTaken`] too.
    pub fn rename(&self, index: IfIndex, name: &DeviceName) -> Result<(), LinkError> {
        let renamed = self.set(index, LinkAttribute::IfName(name.as_str().to_owned()), format!("rename it to {name}"));
        renamed.map_err(|error| if_taken(error, || Some(name.clone())))
    }

    /// Moves a device to another namespace. Addresses, filters and DEVMAP entries are lost; the index may change.
    ///
    /// # Errors
    /// [`LinkError::NameTaken`] too.
    pub fn move_to(&self, index: IfIndex, netns: &Netns) -> Result<(), LinkError> {
        let target = LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd());
        let moved = self.set(index, target, "move it to another network namespace".to_owned());
        moved.map_err(|error| if_taken(error, || self.by_index(index).ok().map(|device| device.name)))
    }

    /// Deletes a device, for a veth both ends.
    pub fn delete(&self, index: IfIndex) -> Result<(), LinkError> {
        let deleted = self.route.request(RouteNetlinkMessage::DelLink(of(index)), 0);
        deleted.map_err(|refusal| self.refused("delete it", index, refusal))?;
        Ok(())
    }

    /// Keeps the kernel from giving the device a link-local IPv6 address when it comes up. `false`: the device has no
    /// IPv6 that could (EAFNOSUPPORT).
    pub fn set_addrgenmode_none(&self, index: IfIndex) -> Result<bool, LinkError> {
        let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        let spec = LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]);
        match self.set(index, spec, "set the address generation mode to none".to_owned()) {
            Err(error) if error.errno() == Some(Errno::AFNOSUPPORT.raw_os_error()) => Ok(false),
            set => set.map(|()| true),
        }
    }

    fn set_flag(&self, index: IfIndex, flag: LinkFlags, on: bool, what: &str) -> Result<(), LinkError> {
        let mut message = of(index);
        message.header.change_mask = flag;
        message.header.flags = if on { flag } else { LinkFlags::empty() };
        self.change(message, what)
    }

    fn set(&self, index: IfIndex, attribute: LinkAttribute, what: String) -> Result<(), LinkError> {
        let mut message = of(index);
        message.attributes.push(attribute);
        self.change(message, &what)
    }

    fn change(&self, message: LinkMessage, what: &str) -> Result<(), LinkError> {
        let index = IfIndex::new(message.header.index).expect("made from an IfIndex");
        let changed = self.route.request(RouteNetlinkMessage::SetLink(message), 0);
        changed.map_err(|refusal| self.refused(what, index, refusal))?;
        Ok(())
    }

    /// The error for a refusal, with the device's name if it still has one.
    pub(crate) fn refused(&self, what: impl Into<String>, index: IfIndex, refusal: Refusal) -> LinkError {
        let device = self.by_index(index).map_or(DeviceRef::Index(index), |device| DeviceRef::Name(device.name));
        LinkError::refused(what, device, refusal)
    }
}

fn of(index: IfIndex) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index.get();
    message
}

fn if_taken(error: LinkError, name: impl FnOnce() -> Option<DeviceName>) -> LinkError {
    match error {
        LinkError::Refused { cause, what, device, said } if Errno::from_io_error(&cause) == Some(Errno::EXIST) => {
            name().map_or(LinkError::Refused { what, device, said, cause }, |name| LinkError::NameTaken { name })
        }
        other => other,
    }
}
