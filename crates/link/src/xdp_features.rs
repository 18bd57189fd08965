//! What a device can do with XDP, as it says itself.

use std::fmt;

use netlink_packet_core::{DefaultNla, Emitable, NetlinkSerializable};
use rustix::io::Errno;

use crate::netlink::{Answer, Refusal, attributes};
use crate::{IfIndex, LinkError, Links};

/// The XDP features of a device (`enum netdev_xdp_act`). They change with its state: a veth gains
/// [`NDO_XMIT`](Self::NDO_XMIT) while its peer has a native program, or GRO switched on while up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpFeatures(u64);

impl XdpFeatures {
    /// Verdicts ABORTED, DROP, PASS and TX in native mode.
    pub const BASIC: Self = Self(1);
    /// The verdict REDIRECT.
    pub const REDIRECT: Self = Self(2);
    /// Frames may be redirected *to* it (`ndo_xdp_xmit`).
    #[doc(alias = "ndo-xmit")]
    pub const NDO_XMIT: Self = Self(4);
    /// AF_XDP in zero-copy mode.
    pub const ZERO_COPY: Self = Self(8);
    /// Programs run on the card.
    pub const HARDWARE: Self = Self(16);
    /// Frames of several buffers are received.
    pub const RX_SG: Self = Self(32);
    /// Frames of several buffers may be redirected to it.
    pub const NDO_XMIT_SG: Self = Self(64);

    const NAMES: [(Self, &str); 7] = [
        (Self::BASIC, "basic"),
        (Self::REDIRECT, "redirect"),
        (Self::NDO_XMIT, "ndo-xmit"),
        (Self::ZERO_COPY, "zero-copy"),
        (Self::HARDWARE, "hw"),
        (Self::RX_SG, "rx-sg"),
        (Self::NDO_XMIT_SG, "ndo-xmit-sg"),
    ];

    /// The kernel's bits, also those without a name here.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Has all of `features`.
    pub const fn contains(self, features: Self) -> bool {
        self.0 & features.0 == features.0
    }
}

impl fmt::Display for XdpFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Self::NAMES.iter().filter(|(bit, _)| self.contains(*bit)).map(|(_, name)| *name).collect();
        f.write_str(&if names.is_empty() { "none".to_owned() } else { names.join(", ") })
    }
}

impl Links {
    /// The XDP features of a device; `None` where the kernel cannot tell (before 6.3).
    ///
    /// # Errors
    /// [`LinkError::DeviceMissing`], [`LinkError::Refused`].
    pub fn xdp_features(&self, index: IfIndex) -> Result<Option<XdpFeatures>, LinkError> {
        let refused = |refusal| self.refused("ask for its XDP features", index, refusal);
        let Some(family) = self.netdev_family().map_err(refused)? else { return Ok(None) };
        let attribute = DefaultNla::new(NETDEV_A_DEV_IFINDEX, index.get().to_ne_bytes().to_vec());
        let request = GenericRequest { family, command: NETDEV_CMD_DEV_GET, version: 1, attribute };
        let answers = self.generic.request(request, 0).map_err(refused)?;
        let bits = find(&answers, NETDEV_A_DEV_XDP_FEATURES).and_then(|value| value.try_into().ok());
        Ok(bits.map(|bits| XdpFeatures(u64::from_ne_bytes(bits))))
    }

    fn netdev_family(&self) -> Result<Option<u16>, Refusal> {
        let attribute = DefaultNla::new(CTRL_ATTR_FAMILY_NAME, b"netdev\0".to_vec());
        let request = GenericRequest { family: GENL_ID_CTRL, command: CTRL_CMD_GETFAMILY, version: 1, attribute };
        match self.generic.request(request, 0) {
            Ok(answers) => {
                let id = find(&answers, CTRL_ATTR_FAMILY_ID).and_then(|value| value.try_into().ok());
                Ok(id.map(u16::from_ne_bytes))
            }
            Err(refusal) if refusal.errno() == Some(Errno::NOENT) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }
}

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
/// Length of `struct genlmsghdr`.
const HEADER_LEN: usize = 4;

fn find(answers: &[Answer], wanted: u16) -> Option<&[u8]> {
    let payload = answers.first()?.payload.get(HEADER_LEN..)?;
    attributes(payload).find(|&(kind, _)| kind == wanted).map(|(_, value)| value)
}

/// A request of a generic netlink family with one attribute.
struct GenericRequest {
    family: u16,
    command: u8,
    version: u8,
    attribute: DefaultNla,
}

impl NetlinkSerializable for GenericRequest {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        HEADER_LEN + self.attribute.buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer[..HEADER_LEN].copy_from_slice(&[self.command, self.version, 0, 0]);
        self.attribute.emit(&mut buffer[HEADER_LEN..]);
    }
}
