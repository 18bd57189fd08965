//! What a device can do with XDP, as it says itself.

use std::fmt;

use crate::generic::attribute;
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
    /// Programs run on the NIC itself.
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
        let request = family.request(NETDEV_CMD_DEV_GET, &[(NETDEV_A_DEV_IFINDEX, index.get())]);
        let answers = self.generic.request(request, 0).map_err(refused)?;
        let bits = answers.first().and_then(|answer| attribute(answer, NETDEV_A_DEV_XDP_FEATURES)?.try_into().ok());
        Ok(bits.map(|bits| XdpFeatures(u64::from_ne_bytes(bits))))
    }
}

const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
