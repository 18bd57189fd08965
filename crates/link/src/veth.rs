//! Making a veth pair.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};
use rustix::io::Errno;

use crate::{DeviceName, IfIndex, LinkError, Links, MacAddr, Netns};

/// A veth pair to be made: what enters one end leaves the other.
#[derive(Clone, Debug)]
pub struct VethPair<'a> {
    /// One end.
    pub outer: End<'a>,
    /// The other.
    pub inner: End<'a>,
}

/// One end of a pair to be made. It has one queue in each direction: a redirect chooses the queue of a veth by CPU, so
/// with more of them frames would reach sockets they are not meant for.
#[derive(Clone, Debug)]
pub struct End<'a> {
    /// Its name.
    pub name: DeviceName,
    /// Its address; `None`: the kernel draws one.
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes behind the Ethernet header; `None`: 1500.
    pub mtu: Option<u32>,
    /// Where it is made; `None`: in the namespace of the [`Links`].
    pub namespace: Option<&'a Netns>,
}

/// The ends of a new pair, each by its index in its own namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VethIndexes {
    /// The outer end.
    pub outer: IfIndex,
    /// The inner end.
    pub inner: IfIndex,
}

impl<'a> VethPair<'a> {
    /// A pair of these two.
    pub fn new(outer: End<'a>, inner: End<'a>) -> Self {
        Self { outer, inner }
    }
}

impl<'a> End<'a> {
    /// An end with the kernel's address and MTU, in the namespace of the [`Links`].
    pub fn new(name: DeviceName) -> Self {
        Self { name, mac: None, mtu: None, namespace: None }
    }

    /// With this address.
    pub fn mac(self, mac: MacAddr) -> Self {
        Self { mac: Some(mac), ..self }
    }

    /// With this MTU.
    pub fn mtu(self, mtu: u32) -> Self {
        Self { mtu: Some(mtu), ..self }
    }

    /// In this namespace.
    pub fn inside(self, namespace: &'a Netns) -> Self {
        Self { namespace: Some(namespace), ..self }
    }

    fn message(&self) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(self.name.as_str().to_owned()),
            LinkAttribute::NumTxQueues(1),
            LinkAttribute::NumRxQueues(1),
        ];
        message.attributes.extend(self.mac.map(|mac| LinkAttribute::Address(mac.octets().to_vec())));
        message.attributes.extend(self.mtu.map(LinkAttribute::Mtu));
        message.attributes.extend(self.namespace.map(|netns| LinkAttribute::NetNsFd(netns.as_fd().as_raw_fd())));
        message
    }
}

impl Links {
    /// Makes a veth pair, each end directly in its namespace, both down. It is made whole or not at all.
    ///
    /// # Errors
    /// [`LinkError::NameTaken`], [`LinkError::Refused`].
    pub fn add_veth(&self, pair: &VethPair<'_>) -> Result<VethIndexes, LinkError> {
        let VethPair { outer, inner } = pair;
        let mut message = outer.message();
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(inner.message()))),
        ]));
        let added = self.route.request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL);
        added.map_err(|refusal| match refusal.errno() {
            Some(Errno::EXIST) => LinkError::NameTaken { name: self.taken(pair) },
            _ => LinkError::refused(format!("make a veth pair with {}", inner.name), &outer.name, refusal),
        })?;

        let device = match outer.namespace {
            Some(netns) => Self::in_namespace(netns)?.by_name(&outer.name)?,
            None => self.by_name(&outer.name)?,
        };
        let inner = device.peer_index.ok_or_else(|| LinkError::DeviceMissing { device: (&inner.name).into() })?;
        Ok(VethIndexes { outer: device.index, inner })
    }

    /// EEXIST does not say which of the two names it means.
    fn taken(&self, VethPair { outer, inner }: &VethPair<'_>) -> DeviceName {
        let exists = match outer.namespace {
            Some(netns) => Self::in_namespace(netns).and_then(|links| links.by_name(&outer.name)),
            None => self.by_name(&outer.name),
        };
        if exists.is_ok() { outer.name.clone() } else { inner.name.clone() }
    }
}
