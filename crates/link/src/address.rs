//! IP addresses of a device.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeader, AddressMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;

use crate::netlink::{Answer, Refusal, attributes};
use crate::{IfIndex, LinkError, Links};

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Length of `struct ifaddrmsg`.
const HEADER_LEN: usize = 8;

impl Links {
    /// Gives a device an address with the length of its prefix in bits. IPv6 addresses are usable at once: they are not
    /// probed for duplicates first (`nodad`).
    ///
    /// # Errors
    /// [`LinkError::DeviceMissing`], [`LinkError::Refused`] (EEXIST: it has this address); so for all that follow.
    pub fn add_address(&self, index: IfIndex, address: IpAddr, prefix: u8) -> Result<(), LinkError> {
        let mut message = address_message(index, address, prefix);
        if address.is_ipv6() {
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        let added = self.route.request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL);
        added.map_err(|refusal| self.refused(format!("add the address {address}/{prefix}"), index, refusal))?;
        Ok(())
    }

    /// Takes an address away; `false` if the device does not have it.
    pub fn del_address(&self, index: IfIndex, address: IpAddr, prefix: u8) -> Result<bool, LinkError> {
        let message = address_message(index, address, prefix);
        match self.route.request(RouteNetlinkMessage::DelAddress(message), 0) {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.errno() == Some(Errno::ADDRNOTAVAIL) => Ok(false),
            Err(refusal) => Err(self.refused(format!("remove the address {address}/{prefix}"), index, refusal)),
        }
    }

    /// The addresses of a device, each with the length of its prefix in bits.
    pub fn addresses(&self, index: IfIndex) -> Result<Vec<(IpAddr, u8)>, LinkError> {
        // A dump for a device that is not there may be empty instead of an error.
        self.by_index(index)?;
        let mut request = AddressMessage::default();
        request.header.index = index.get();
        let answers = self.route.dump(RouteNetlinkMessage::GetAddress(request));
        let answers = answers.map_err(|refusal| self.refused("list its addresses", index, refusal))?;
        let own = answers.iter().filter_map(|Answer { payload }| address_of(payload));
        Ok(own.filter(|(its, _)| *its == index.get()).map(|(_, address)| address).collect())
    }

    /// The addresses of all devices.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`].
    pub fn all_addresses(&self) -> Result<Vec<IpAddr>, LinkError> {
        let answers = self.route.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()));
        let answers =
            answers.map_err(|Refusal { cause, .. }| LinkError::Unreachable { what: "list the addresses", cause })?;
        Ok(answers.iter().filter_map(|Answer { payload }| Some(address_of(payload)?.1.0)).collect())
    }
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet }
}

fn address_message(index: IfIndex, address: IpAddr, prefix: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header =
        AddressHeader { family: family(address), prefix_len: prefix, index: index.get(), ..AddressHeader::default() };
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    message
}

/// The number of its device, the address, and the length of its prefix.
pub(crate) fn address_of(payload: &[u8]) -> Option<(u32, (IpAddr, u8))> {
    let header = AddressHeader::parse(payload).ok()?;
    // On a point-to-point device IFA_ADDRESS is the other side; IPv6 has no IFA_LOCAL otherwise.
    let find = |wanted| attributes(payload.get(HEADER_LEN..)?).find(|&(kind, _)| kind == wanted);
    let (_, address) = find(IFA_LOCAL).or_else(|| find(IFA_ADDRESS))?;
    let address = match header.family {
        AddressFamily::Inet => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        AddressFamily::Inet6 => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        _ => return None,
    };
    Some((header.index, (address, header.prefix_len)))
}
