//! A device as the kernel describes it.

use netlink_packet_route::link::{LinkFlags, LinkHeader};

use crate::netlink::{attributes, text_of, u32_of};
use crate::{DeviceName, IfIndex, MacAddr};

/// A device at the moment it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its index in its namespace.
    pub index: IfIndex,
    /// Its name.
    pub name: DeviceName,
    /// Its address, if it is six bytes long.
    pub mac: Option<MacAddr>,
    /// Most bytes behind the Ethernet header.
    pub mtu: u32,
    /// Switched on (`IFF_UP`).
    pub up: bool,
    /// It has a carrier (`IFF_LOWER_UP`); for a veth end: both ends are up.
    pub lower_up: bool,
    /// How often the carrier came or went since the device was made.
    pub carrier_changes: u32,
    /// Promiscuous mode was requested by the flag, one bit for all users. `promiscuity` counts the others.
    pub promiscuous: bool,
    /// How many users made it promiscuous: the flag, packet sockets, filters on a device without any.
    pub promiscuity: u32,
    /// Free text (`ip link set … alias`).
    pub alias: Option<String>,
    /// The driver's kind where it has one: `veth`, `bridge`, …; a NIC has none.
    pub kind: Option<String>,
    /// Why frames for other MACs than its own never come, whatever it says to filters and promiscuous mode; `None`
    /// where they may.
    pub deaf: Option<&'static str>,
    /// The bridge, bond or the like whose port it is.
    pub master: Option<IfIndex>,
    /// Of a VLAN device (802.1Q) of an interface in this namespace.
    pub vlan: Option<VlanOf>,
    /// The other end of a veth pair, by its index in *its* namespace.
    pub peer_index: Option<IfIndex>,
    /// Queues to send on that were allocated.
    pub tx_queues: u32,
    /// Queues to receive on that were allocated.
    pub rx_queues: u32,
    /// The XDP programs: at most one in native or generic mode, and one more on hardware.
    pub xdp: Vec<AttachedXdp>,
    /// Its counters.
    pub stats: LinkStats,
}

/// Which frames are a VLAN device's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanOf {
    /// The interface below it.
    pub nic: IfIndex,
    /// The VLAN.
    pub id: u16,
}

/// An XDP program on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachedXdp {
    /// The kernel's id of the program.
    pub program_id: u32,
    /// Where it runs.
    pub mode: AttachedXdpMode,
}

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachedXdpMode {
    /// In the driver.
    Native,
    /// In the stack, on socket buffers.
    #[doc(alias = "generic")]
    Skb,
    /// On the NIC.
    Hardware,
}

impl std::fmt::Display for AttachedXdpMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Skb => "skb",
            Self::Hardware => "hw",
        })
    }
}

/// Counters of a device since it was made (`struct rtnl_link_stats64`), in frames unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the kernel's names: Documentation/networking/statistics.rst")]
pub struct LinkStats {
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
    pub multicast: u64,
    /// For another station's MAC, dropped by the stack (5.19 and later, else 0).
    pub rx_otherhost_dropped: u64,
}

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_STATS64: u16 = 23;
const IFLA_PROMISCUITY: u16 = 30;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_CARRIER_CHANGES: u16 = 35;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_VLAN_PROTOCOL: u16 = 5;
const IFLA_MACVLAN_MODE: u16 = 1;
const MACVLAN_MODE_PASSTHRU: u32 = 8;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;
const IFLA_XDP_HW_PROG_ID: u16 = 7;

/// Length of `struct ifinfomsg`.
const HEADER_LEN: usize = 16;

impl Device {
    /// Reads an RTM_NEWLINK. `None` for a device without an index or a name that [`DeviceName`] takes: the kernel lets
    /// names be any bytes, and such a device cannot be one of ours.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let header = LinkHeader::parse(payload).ok()?;
        let all = payload.get(HEADER_LEN..)?;
        let find = |wanted| attributes(all).find(|&(kind, _)| kind == wanted).map(|(_, value)| value);
        let number = |wanted| find(wanted).and_then(u32_of);
        let text = |wanted| find(wanted).and_then(text_of).map(str::to_owned);

        let info = |wanted| find(IFLA_LINKINFO).and_then(|info| attributes(info).find(|&(kind, _)| kind == wanted));
        let kind = info(IFLA_INFO_KIND).and_then(|(_, value)| text_of(value)).map(str::to_owned);
        let deaf = deaf(kind.as_deref(), info(IFLA_INFO_DATA).map(|(_, data)| data));
        let data = info(IFLA_INFO_DATA).map(|(_, data)| data).filter(|_| kind.as_deref() == Some("vlan"));
        // An index of another namespace does not count here.
        let nic = number(IFLA_LINK).filter(|_| find(IFLA_LINK_NETNSID).is_none()).and_then(IfIndex::new);
        let vlan = data.and_then(vlan_id).and_then(|id| Some(VlanOf { nic: nic?, id }));
        // For other kinds IFLA_LINK is the device below.
        let peer_index = number(IFLA_LINK).filter(|_| kind.as_deref() == Some("veth")).and_then(IfIndex::new);
        Some(Self {
            index: IfIndex::new(header.index)?,
            name: text(IFLA_IFNAME)?.parse().ok()?,
            mac: find(IFLA_ADDRESS).and_then(|mac| mac.try_into().ok()),
            mtu: number(IFLA_MTU)?,
            up: header.flags.contains(LinkFlags::Up),
            lower_up: header.flags.contains(LinkFlags::LowerUp),
            carrier_changes: number(IFLA_CARRIER_CHANGES).unwrap_or(0),
            promiscuous: header.flags.contains(LinkFlags::Promisc),
            promiscuity: number(IFLA_PROMISCUITY).unwrap_or(0),
            alias: text(IFLA_IFALIAS),
            kind,
            deaf,
            master: number(IFLA_MASTER).and_then(IfIndex::new),
            vlan,
            peer_index,
            tx_queues: number(IFLA_NUM_TX_QUEUES).unwrap_or(1),
            rx_queues: number(IFLA_NUM_RX_QUEUES).unwrap_or(1),
            xdp: find(IFLA_XDP).map(attached).unwrap_or_default(),
            stats: find(IFLA_STATS64).map(LinkStats::parse).unwrap_or_default(),
        })
    }
}

/// These take a filter and do nothing with it: they hand on a frame by its destination, which has to be one that they
/// know.
fn deaf(kind: Option<&str>, data: Option<&[u8]>) -> Option<&'static str> {
    match kind? {
        // `macvlan_handle_frame()` looks for the device that has the MAC; the mode `passthru` has one device and does
        // not.
        "macvlan" | "macvtap" => {
            let mode =
                attributes(data?).find(|&(kind, _)| kind == IFLA_MACVLAN_MODE).and_then(|(_, mode)| u32_of(mode));
            (mode != Some(MACVLAN_MODE_PASSTHRU)).then_some("a macvlan gets unicast frames for its own MAC only")
        }
        // `ipvlan_handle_frame()` looks for the device that has the IP address.
        "ipvlan" | "ipvtap" => Some("an ipvlan gets frames for its own IP addresses only"),
        _ => None,
    }
}

/// Of a VLAN of 802.1Q; those of 802.1ad are others.
fn vlan_id(data: &[u8]) -> Option<u16> {
    let number = |wanted| {
        let (_, value) = attributes(data).find(|&(kind, _)| kind == wanted)?;
        value.try_into().ok()
    };
    let protocol =
        number(IFLA_VLAN_PROTOCOL).map_or(libc::ETH_P_8021Q, |protocol| i32::from(u16::from_be_bytes(protocol)));
    (protocol == libc::ETH_P_8021Q).then_some(())?;
    number(IFLA_VLAN_ID).map(u16::from_ne_bytes)
}

fn attached(xdp: &[u8]) -> Vec<AttachedXdp> {
    attributes(xdp)
        .filter_map(|(kind, value)| {
            let mode = match kind {
                IFLA_XDP_DRV_PROG_ID => AttachedXdpMode::Native,
                IFLA_XDP_SKB_PROG_ID => AttachedXdpMode::Skb,
                IFLA_XDP_HW_PROG_ID => AttachedXdpMode::Hardware,
                _ => return None,
            };
            Some(AttachedXdp { program_id: u32_of(value)?, mode })
        })
        .collect()
}

impl LinkStats {
    /// Counters that the kernel does not have yet are 0.
    fn parse(bytes: &[u8]) -> Self {
        let counter = |at: usize| {
            let word = bytes.get(at * 8..).and_then(|rest| rest.first_chunk());
            word.map_or(0, |word| u64::from_ne_bytes(*word))
        };
        Self {
            rx_packets: counter(0),
            tx_packets: counter(1),
            rx_bytes: counter(2),
            tx_bytes: counter(3),
            rx_errors: counter(4),
            tx_errors: counter(5),
            rx_dropped: counter(6),
            tx_dropped: counter(7),
            multicast: counter(8),
            rx_otherhost_dropped: counter(24),
        }
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{DefaultNla, Emitable};
    use netlink_packet_route::link::{LinkAttribute, LinkMessage};

    use super::*;

    fn nested(kind: u16, attributes: &[DefaultNla]) -> LinkAttribute {
        let mut value = vec![0; attributes.buffer_len()];
        attributes.emit(&mut value);
        LinkAttribute::Other(DefaultNla::new(kind, value))
    }

    fn number(kind: u16, value: u32) -> DefaultNla {
        DefaultNla::new(kind, value.to_ne_bytes().to_vec())
    }

    /// A NIC with a program on hardware beside a native one, a kind that is not veth, and half the usual counters.
    fn message() -> Vec<u8> {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.attributes = vec![
            LinkAttribute::IfName("eth7".to_owned()),
            LinkAttribute::Mtu(1500),
            LinkAttribute::Link(3),
            nested(IFLA_LINKINFO, &[DefaultNla::new(IFLA_INFO_KIND, b"vlan\0".to_vec())]),
            nested(IFLA_XDP, &[number(4, 11), number(IFLA_XDP_DRV_PROG_ID, 11), number(IFLA_XDP_HW_PROG_ID, 12)]),
            LinkAttribute::Other(DefaultNla::new(IFLA_STATS64, [1_u64, 2, 3].map(u64::to_ne_bytes).concat())),
            LinkAttribute::Address(vec![10, 0, 0, 1]),
        ];
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    #[test]
    fn a_device_is_read_from_what_the_kernel_says() {
        let device = Device::parse(&message()).unwrap();
        assert_eq!((device.index.get(), device.name.as_str(), device.mtu), (7, "eth7", 1500));
        assert_eq!((device.kind.as_deref(), device.peer_index, device.mac), (Some("vlan"), None, None));
        let native = AttachedXdp { program_id: 11, mode: AttachedXdpMode::Native };
        let hardware = AttachedXdp { program_id: 12, mode: AttachedXdpMode::Hardware };
        assert_eq!(device.xdp, [native, hardware]);
        assert_eq!(device.stats, LinkStats { rx_packets: 1, tx_packets: 2, rx_bytes: 3, ..LinkStats::default() });
    }

    #[test]
    fn a_vlan_device_is_known_by_its_card_and_id() {
        let parse = |protocol: Option<u16>, more: &[LinkAttribute]| {
            let short = |kind, value: [u8; 2]| DefaultNla::new(kind, value.to_vec());
            let mut data = vec![short(IFLA_VLAN_ID, 42_u16.to_ne_bytes())];
            data.extend(protocol.map(|protocol| short(IFLA_VLAN_PROTOCOL, protocol.to_be_bytes())));
            let mut bytes = vec![0; data.as_slice().buffer_len()];
            data.as_slice().emit(&mut bytes);
            let kind = DefaultNla::new(IFLA_INFO_KIND, b"vlan\0".to_vec());
            let mut message = LinkMessage::default();
            message.header.index = 7;
            message.attributes = vec![
                LinkAttribute::IfName("eth0.42".to_owned()),
                LinkAttribute::Mtu(1500),
                LinkAttribute::Link(3),
                nested(IFLA_LINKINFO, &[kind, DefaultNla::new(IFLA_INFO_DATA, bytes)]),
            ];
            message.attributes.extend_from_slice(more);
            let mut bytes = vec![0; message.buffer_len()];
            message.emit(&mut bytes);
            Device::parse(&bytes).expect("a device")
        };
        let of = VlanOf { nic: IfIndex::new(3).unwrap(), id: 42 };
        assert_eq!(parse(Some(0x8100), &[]).vlan, Some(of));
        assert_eq!(parse(None, &[]).vlan, Some(of));
        assert_eq!(parse(Some(0x88a8), &[]).vlan, None, "a service VLAN");
        assert_eq!(parse(Some(0x8100), &[LinkAttribute::Other(number(IFLA_LINK_NETNSID, 0))]).vlan, None);
        let port = parse(None, &[LinkAttribute::Other(number(IFLA_MASTER, 9))]);
        assert_eq!(port.master, IfIndex::new(9));
    }

    #[test]
    fn devices_are_deaf_by_their_kind_and_mode() {
        let mode = |mode| {
            let mut bytes = vec![0; number(IFLA_MACVLAN_MODE, mode).buffer_len()];
            number(IFLA_MACVLAN_MODE, mode).emit(&mut bytes);
            bytes
        };
        for (kind, data, is_deaf) in [
            (None, None, false),
            (Some("veth"), None, false),
            (Some("vlan"), None, false),
            (Some("macvlan"), Some(mode(4)), true),
            (Some("macvlan"), Some(mode(MACVLAN_MODE_PASSTHRU)), false),
            (Some("macvtap"), Some(mode(1)), true),
            (Some("ipvlan"), None, true),
        ] {
            assert_eq!(deaf(kind, data.as_deref()).is_some(), is_deaf, "{kind:?} {data:?}");
        }
    }

    #[test]
    fn a_message_cut_anywhere_is_read_as_far_as_it_goes() {
        let bytes = message();
        let whole = Device::parse(&bytes).unwrap();
        for length in 0..bytes.len() {
            if let Some(device) = Device::parse(&bytes[..length]) {
                assert_eq!((device.index, device.name, device.mtu), (whole.index, whole.name.clone(), whole.mtu));
            }
        }
    }
}
