//! What a classifier matches.

use std::fmt;
use std::net::IpAddr;

use crate::protocol::{ethertype, ip};
use crate::{Fields, FlowError, PortRange, Prefix};

/// What a packet must match. A field that is `None` matches anything.
///
/// Some fields imply the version of IP without naming it: an IPv4 prefix matches IPv4 packets only, an ICMP type IPv4
/// packets for ICMP (1) and IPv6 packets for ICMPv6 (58), a port or a protocol both. Addresses are those of IP, not
/// those in ARP packets.
///
/// It is printed as an expression of tcpdump's language that is parsed into the same flow again. The flow that matches
/// every packet is the empty expression.
///
/// ```
/// use xsknet_filter::{Flow, PortRange, Prefix};
///
/// let name_server = Flow {
///     destination: Some(Prefix::host([192, 0, 2, 10].into())),
///     protocol: Some(17),
///     destination_ports: Some(PortRange::one(53)),
///     ..Flow::default()
/// };
/// assert_eq!(name_server.check(), Ok(()));
/// assert_eq!(name_server.to_string(), "dst host 192.0.2.10 and udp dst port 53");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// The destination in the Ethernet header.
    pub destination_mac: Option<[u8; 6]>,
    /// The outer VLAN; `Some(0)` is untagged. A priority tag (VLAN 0) is neither: only `None` matches it.
    pub vlan: Option<u16>,
    /// The EtherType behind the VLAN tags.
    pub ethertype: Option<u16>,
    /// Where an IP packet comes from.
    pub source: Option<Prefix>,
    /// Where an IP packet goes to.
    pub destination: Option<Prefix>,
    /// The protocol of IPv4, or that of IPv6 behind its extension headers.
    pub protocol: Option<u8>,
    /// Source ports of TCP, UDP or SCTP; never those of a fragment other than the first one.
    pub source_ports: Option<PortRange>,
    /// Destination ports of TCP, UDP or SCTP; never those of a fragment other than the first one.
    pub destination_ports: Option<PortRange>,
    /// The type of an ICMP or ICMPv6 message; never that of a fragment other than the first one.
    pub icmp_type: Option<u8>,
}

/// Which of two flows that match the same packet gets it: the one with the greater precedence. See
/// [`Flow::precedence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Precedence {
    // The derived order compares the fields from first to last.
    destination_bits: Option<u8>,
    destination_ports: Ports,
    source_ports: Ports,
    protocol: bool,
    source_bits: Option<u8>,
    icmp_type: bool,
    vlan: bool,
    destination_mac: bool,
    ethertype: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Ports {
    Any,
    Range,
    One,
}

impl Ports {
    fn of(ports: Option<PortRange>) -> Self {
        match ports {
            None => Self::Any,
            Some(range) if range.is_one() => Self::One,
            Some(_) => Self::Range,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V4,
    V6,
}

impl Version {
    fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn ethertype(self) -> u16 {
        match self {
            Self::V4 => ethertype::IPV4,
            Self::V6 => ethertype::IPV6,
        }
    }
}

impl Flow {
    /// The flow of every packet.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Whether some packet can match.
    ///
    /// # Errors
    /// The first contradiction between two fields, or the first value that its field cannot have.
    pub fn check(&self) -> Result<(), FlowError> {
        if let Some(vlan) = self.vlan
            && vlan > 0x0fff
        {
            return Err(FlowError::VlanOutOfRange { vlan });
        }
        if let Some(ethertype) = self.ethertype {
            check_ethertype(ethertype)?;
        }
        if let (Some(source_prefix), Some(destination_prefix)) = (self.source, self.destination)
            && Version::of(source_prefix.address()) != Version::of(destination_prefix.address())
        {
            return Err(FlowError::FamiliesDiffer { source_prefix, destination_prefix });
        }
        if let (Some(ethertype), Some(prefix)) = (self.ethertype, self.destination.or(self.source))
            && ethertype != Version::of(prefix.address()).ethertype()
        {
            return Err(FlowError::AddressOfOtherEtherType { ethertype, prefix });
        }
        if let (Some(ethertype), Some(protocol)) = (self.ethertype, self.protocol)
            && !matches!(ethertype, ethertype::IPV4 | ethertype::IPV6)
        {
            return Err(FlowError::ProtocolWithoutIp { ethertype, protocol });
        }
        let has_ports = self.source_ports.is_some() || self.destination_ports.is_some();
        if has_ports && !self.protocol.is_some_and(ip::has_ports) {
            return Err(FlowError::PortsWithoutTransport { protocol: self.protocol });
        }
        if self.icmp_type.is_some() {
            self.check_icmp()?;
        }
        Ok(())
    }

    fn check_icmp(&self) -> Result<(), FlowError> {
        let (protocol, version) = match self.protocol {
            Some(ip::ICMP) => (ip::ICMP, Version::V4),
            Some(ip::ICMPV6) => (ip::ICMPV6, Version::V6),
            protocol => return Err(FlowError::TypeWithoutIcmp { protocol }),
        };
        let prefix = self.destination.or(self.source);
        let ethertype = self.ethertype.or(prefix.map(|prefix| Version::of(prefix.address()).ethertype()));
        match ethertype {
            Some(ethertype) if ethertype != version.ethertype() => Err(FlowError::IcmpOfOtherVersion { protocol }),
            _ => Ok(()),
        }
    }

    /// Whether a packet with these fields is of this flow. A flow that [`check`](Self::check) refuses may match
    /// nothing.
    #[must_use]
    pub fn matches(&self, fields: &Fields) -> bool {
        let (source, destination) = fields.addresses.unzip();
        let (source_port, destination_port) = fields.ports.unzip();
        self.destination_mac.is_none_or(|mac| mac == fields.destination_mac)
            && self.vlan.is_none_or(|vlan| match vlan {
                0 => fields.tag.is_none(),
                vlan => fields.tag == Some(vlan),
            })
            && self.ethertype.is_none_or(|ethertype| ethertype == fields.ethertype)
            && self.source.is_none_or(|prefix| source.is_some_and(|address| prefix.contains(address)))
            && self.destination.is_none_or(|prefix| destination.is_some_and(|address| prefix.contains(address)))
            && self.protocol.is_none_or(|protocol| fields.protocol == Some(protocol))
            && self.source_ports.is_none_or(|ports| source_port.is_some_and(|port| ports.contains(port)))
            && self.destination_ports.is_none_or(|ports| destination_port.is_some_and(|port| ports.contains(port)))
            && self.icmp_type.is_none_or(|icmp_type| fields.icmp_type == Some(icmp_type))
    }

    /// The flow of the packets that are of both; `None` if there is no such packet.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let both = Self {
            destination_mac: equal(self.destination_mac, other.destination_mac)?,
            vlan: equal(self.vlan, other.vlan)?,
            ethertype: equal(self.ethertype, other.ethertype)?,
            source: merged(self.source, other.source, |a, b| a.intersection(&b))?,
            destination: merged(self.destination, other.destination, |a, b| a.intersection(&b))?,
            protocol: equal(self.protocol, other.protocol)?,
            source_ports: merged(self.source_ports, other.source_ports, |a, b| a.intersection(&b))?,
            destination_ports: merged(self.destination_ports, other.destination_ports, |a, b| a.intersection(&b))?,
            icmp_type: equal(self.icmp_type, other.icmp_type)?,
        };
        both.check().is_ok().then_some(both)
    }

    /// Whether every packet of the other flow is of this one, as far as their fields tell: a flow that gives a prefix
    /// of length 0, or all ports, is not found to contain one that gives none.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        within(self.destination_mac, other.destination_mac, |a, b| a == b)
            && within(self.vlan, other.vlan, |a, b| a == b)
            && within(self.ethertype, other.implied_ethertype(), |a, b| a == b)
            && within(self.source, other.source, |a, b| a.covers(&b))
            && within(self.destination, other.destination, |a, b| a.covers(&b))
            && within(self.protocol, other.protocol, |a, b| a == b)
            && within(self.source_ports, other.source_ports, |a, b| a.covers(&b))
            && within(self.destination_ports, other.destination_ports, |a, b| a.covers(&b))
            && within(self.icmp_type, other.icmp_type, |a, b| a == b)
    }

    /// That of all packets that match, where the fields tell.
    fn implied_ethertype(&self) -> Option<u16> {
        let of_prefix = |prefix: Prefix| Version::of(prefix.address()).ethertype();
        let of_icmp = match (self.protocol, self.icmp_type) {
            (Some(ip::ICMP), Some(_)) => Some(ethertype::IPV4),
            (Some(ip::ICMPV6), Some(_)) => Some(ethertype::IPV6),
            _ => None,
        };
        self.ethertype.or(self.destination.or(self.source).map(of_prefix)).or(of_icmp)
    }

    /// Whether some packet is of both flows.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.intersection(other).is_some()
    }

    /// The place of this flow in the order in which flows are asked, as a key: **a packet that several flows match
    /// belongs to the one with the greatest precedence.** The first difference in this list decides:
    ///
    /// 1. the longer destination prefix; any prefix before none
    /// 2. one destination port before a range of ports, a range before none
    /// 3. the same for source ports
    /// 4. a protocol before none
    /// 5. the longer source prefix; any prefix before none
    /// 6. an ICMP type before none
    /// 7. a VLAN (untagged included) before none
    /// 8. a destination MAC before none
    /// 9. an EtherType before none
    ///
    /// Two different flows tie if they give the same fields, with prefixes of the same lengths and the same kinds of
    /// port ranges. Most of them match different packets, such as `udp dst port 53` and `udp dst port 123`. Flows that
    /// tie and match the same packet differ in ranges of ports only, such as `udp dst portrange 1-10` and
    /// `udp dst portrange 5-20`. Nothing decides between them: they are a conflict, see
    /// [`conflicts_with`](Self::conflicts_with).
    #[must_use]
    pub fn precedence(&self) -> Precedence {
        Precedence {
            destination_bits: self.destination.map(|prefix| prefix.length()),
            destination_ports: Ports::of(self.destination_ports),
            source_ports: Ports::of(self.source_ports),
            protocol: self.protocol.is_some(),
            source_bits: self.source.map(|prefix| prefix.length()),
            icmp_type: self.icmp_type.is_some(),
            vlan: self.vlan.is_some(),
            destination_mac: self.destination_mac.is_some(),
            ethertype: self.ethertype.is_some(),
        }
    }

    /// Whether some packet is of both flows and nothing decides whose it is: they overlap and have the same precedence.
    /// A flow conflicts with itself.
    #[must_use]
    pub fn conflicts_with(&self, other: &Self) -> bool {
        self.precedence() == other.precedence() && self.overlaps(other)
    }
}

fn check_ethertype(ethertype: u16) -> Result<(), FlowError> {
    match ethertype {
        ..ethertype::LOWEST => Err(FlowError::EtherTypeIsLength { ethertype }),
        ethertype::APPLETALK | ethertype::APPLETALK_ARP => Err(FlowError::EtherTypeIsAppleTalk { ethertype }),
        _ if ethertype::is_tag(ethertype) => Err(FlowError::EtherTypeIsTag { ethertype }),
        _ => Ok(()),
    }
}

/// What both fields allow: the outer `None` is "nothing", the inner one "anything".
fn merged<T>(a: Option<T>, b: Option<T>, both: impl FnOnce(T, T) -> Option<T>) -> Option<Option<T>> {
    match (a, b) {
        (Some(a), Some(b)) => both(a, b).map(Some),
        (one, other) => Some(one.or(other)),
    }
}

/// Whether what the outer field allows has in it all that the inner one allows.
fn within<T>(outer: Option<T>, inner: Option<T>, covers: impl FnOnce(T, T) -> bool) -> bool {
    match (outer, inner) {
        (None, _) => true,
        (Some(outer), Some(inner)) => covers(outer, inner),
        (Some(_), None) => false,
    }
}

fn equal<T: PartialEq>(a: Option<T>, b: Option<T>) -> Option<Option<T>> {
    merged(a, b, |a, b| (a == b).then_some(a))
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut terms = Terms { f, is_first: true };
        // `vlan` moves what stands behind it by a tag, so the one that names a VLAN stands first and `not vlan` last.
        if let Some(vlan) = self.vlan
            && vlan != 0
        {
            terms.add(format_args!("vlan {vlan}"))?;
        }
        if let Some([a, b, c, d, e, g]) = self.destination_mac {
            terms.add(format_args!("ether dst {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"))?;
        }
        match self.ethertype {
            Some(ethertype::IPV4) if self.protocol == Some(ip::ICMP) && self.icmp_type.is_none() => {}
            Some(ethertype::IPV6) if self.protocol == Some(ip::ICMPV6) && self.icmp_type.is_none() => {}
            Some(ethertype::IPV4) => terms.add("ip")?,
            Some(ethertype::IPV6) => terms.add("ip6")?,
            Some(ethertype::ARP) => terms.add("arp")?,
            Some(ethertype::RARP) => terms.add("rarp")?,
            Some(ethertype) => terms.add(format_args!("ether proto {ethertype:#06x}"))?,
            None => {}
        }
        for (direction, prefix) in [("src", self.source), ("dst", self.destination)] {
            match prefix {
                Some(prefix) if prefix.is_host() => terms.add(format_args!("{direction} host {}", prefix.address()))?,
                Some(prefix) => terms.add(format_args!("{direction} net {prefix}"))?,
                None => {}
            }
        }
        self.add_transport(&mut terms)?;
        if self.vlan == Some(0) {
            terms.add("not vlan")?;
        }
        Ok(())
    }
}

impl Flow {
    fn add_transport(&self, terms: &mut Terms<'_, '_>) -> fmt::Result {
        let Some(protocol) = self.protocol else { return Ok(()) };
        let name = match (protocol, self.ethertype) {
            (ip::TCP, _) => Some("tcp"),
            (ip::UDP, _) => Some("udp"),
            (ip::SCTP, _) => Some("sctp"),
            (ip::ICMP, Some(ethertype::IPV4)) => Some("icmp"),
            (ip::ICMPV6, Some(ethertype::IPV6)) => Some("icmp6"),
            _ => None,
        };
        let ranges = [("src", self.source_ports), ("dst", self.destination_ports)];
        if let (Some(name), [(_, None), (_, None)], None) = (name, ranges, self.icmp_type) {
            return terms.add(name);
        }
        for (direction, ports) in ranges {
            let (Some(name), Some(ports)) = (name, ports) else { continue };
            let what = if ports.is_one() { "port" } else { "portrange" };
            terms.add(format_args!("{name} {direction} {what} {ports}"))?;
        }
        match (protocol, self.icmp_type) {
            (ip::ICMP, Some(icmp_type)) => terms.add(format_args!("icmp[icmptype] = {icmp_type}")),
            (ip::ICMPV6, Some(icmp_type)) => terms.add(format_args!("icmp6[icmp6type] = {icmp_type}")),
            _ if name.is_none() => terms.add(format_args!("proto {protocol}")),
            _ => Ok(()),
        }
    }
}

struct Terms<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    is_first: bool,
}

impl Terms<'_, '_> {
    fn add(&mut self, term: impl fmt::Display) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.f.write_str(" and ")?;
        }
        write!(self.f, "{term}")
    }
}

#[cfg(test)]
mod tests;
