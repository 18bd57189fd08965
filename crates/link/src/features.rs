//! Offloads: what a device does instead of the stack.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ethtool::{StringSet, u32_at};
use crate::sys::GuardedBuffer;
use crate::{DeviceName, Ethtool, LinkError};

const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETHTOOL_SFEATURES: u32 = 0x3b;

/// A feature of a device, by the name the kernel gives it (`ethtool -k`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// The kernel's name: `tx-checksum-ip-generic`.
    pub name: String,
    /// In effect.
    pub active: bool,
    /// Asked for. It may be so without effect, where another feature is missing that it needs.
    pub wanted: bool,
    /// User space may change it.
    pub changeable: bool,
}

/// The features of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureSet(Vec<Option<Feature>>);

/// A set of features that one request concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Checksums are filled in by the device: frames leave the stack with partial ones.
    Checksum,
    /// TCP segments are cut by the device.
    Tso,
    /// Segments are cut behind the stack, UDP and SCTP included.
    Gso,
    /// Received segments are joined. For a veth end this also makes the *peer* take redirected frames.
    Gro,
    /// A tag (802.1Q or 802.1ad) travels beside the frame and is inserted by the device.
    VlanTx,
    /// A received tag is taken out of the frame and travels beside it, where native XDP cannot see it.
    VlanRx,
    /// The device drops the frames of VLANs (802.1Q) that were not added to its filter.
    VlanFilter,
    /// A frame is handed to the device in several pieces. Without it the kernel joins them first, so that an AF_XDP
    /// socket whose owner cuts a frame inside its Ethernet header (`XDP_PKT_CONTD` behind a few bytes) cannot bring
    /// such a frame to `eth_type_trans()` at the other end of a pair, which takes it for a bug of the kernel.
    ScatterGather,
}

impl Offload {
    /// All that makes a kernel stack's frames differ from what is on a wire. Without GRO: see [`Offload::Gro`].
    pub const QUIET: [Self; 6] =
        [Self::Checksum, Self::Tso, Self::Gso, Self::VlanTx, Self::VlanRx, Self::ScatterGather];

    /// Whether the feature of this name belongs here.
    pub fn covers(self, name: &str) -> bool {
        match self {
            Self::Checksum => name.starts_with("tx-checksum-"),
            // By form and not by list: kernels gain new ones (tx-tcp-accecn-segmentation).
            Self::Tso => name.starts_with("tx-tcp") && name.ends_with("-segmentation"),
            Self::Gso => {
                matches!(
                    name,
                    "tx-generic-segmentation" | "tx-udp-segmentation" | "tx-sctp-segmentation" | "tx-gso-list"
                )
            }
            Self::Gro => name == "rx-gro",
            Self::VlanTx => matches!(name, "tx-vlan-hw-insert" | "tx-vlan-stag-hw-insert"),
            Self::VlanRx => matches!(name, "rx-vlan-hw-parse" | "rx-vlan-stag-hw-parse"),
            Self::VlanFilter => name == "rx-vlan-filter",
            Self::ScatterGather => name == "tx-scatter-gather",
        }
    }
}

impl FeatureSet {
    /// The feature of this name, if the kernel knows it.
    pub fn feature(&self, name: &str) -> Option<&Feature> {
        self.iter().find(|feature| feature.name == name)
    }

    /// Whether the feature of this name is in effect.
    pub fn is_active(&self, name: &str) -> bool {
        self.feature(name).is_some_and(|feature| feature.active)
    }

    /// All of them, in the kernel's order.
    pub fn iter(&self) -> impl Iterator<Item = &Feature> {
        self.0.iter().flatten()
    }

    /// The names of `offload` that mean something on this device: in effect, or changeable.
    pub fn names(&self, offload: Offload) -> Vec<&str> {
        let present = |feature: &&Feature| feature.active || feature.changeable;
        self.iter().filter(present).map(|feature| feature.name.as_str()).filter(|name| offload.covers(name)).collect()
    }

    /// The wishes of [`Offload::QUIET`] for this device, for [`Ethtool::set_features`].
    pub fn quiet_offloads(&self) -> Vec<(&str, bool)> {
        Offload::QUIET.into_iter().flat_map(|offload| self.names(offload)).map(|name| (name, false)).collect()
    }
}

/// A feature whose wish was changed, and what was wished before: enough to take it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureChange {
    /// The kernel's name.
    pub name: String,
    /// What was wanted before.
    pub was: bool,
}

impl Ethtool {
    /// The features of a device.
    ///
    /// # Errors
    /// [`LinkError::DeviceMissing`], [`LinkError::Refused`].
    pub fn features(&self, device: &DeviceName) -> Result<FeatureSet, LinkError> {
        let refused = |cause| LinkError::refused("read its features", device, cause);
        let names = self.strings(device, StringSet::Features).map_err(refused)?;
        let blocks = names.len().div_ceil(32);
        // struct ethtool_gfeatures: a head of 8 bytes, then available, requested, active, never_changed for each 32
        // bits.
        let mut command = GuardedBuffer::new(8 + blocks * 16).map_err(refused)?;
        command[0..4].copy_from_slice(&ETHTOOL_GFEATURES.to_ne_bytes());
        command[4..8].copy_from_slice(&u32::try_from(blocks).expect("a few").to_ne_bytes());
        self.run(device, &mut command).map_err(refused)?;
        let features = names.into_iter().enumerate().map(|(bit, name)| {
            let word = |of: usize| u32_at(&command, 8 + bit / 32 * 16 + of * 4) >> (bit % 32) & 1 == 1;
            let feature = Feature { name, changeable: word(0), wanted: word(1), active: word(2) };
            (!feature.name.is_empty()).then_some(feature)
        });
        Ok(FeatureSet(features.collect()))
    }

    /// Switches features on or off and returns what it changed. It looks afterwards, because the kernel acks wishes
    /// that have no effect.
    ///
    /// # Errors
    /// [`OffloadError::Unknown`] before anything is changed; [`OffloadError::Stayed`] if a feature is not as wished.
    pub fn set_features(
        &self,
        device: &DeviceName,
        wishes: &[(&str, bool)],
    ) -> Result<Vec<FeatureChange>, OffloadError> {
        let before = self.features(device)?;
        let unknown: Vec<_> = wishes.iter().filter(|(name, _)| before.feature(name).is_none()).collect();
        if !unknown.is_empty() {
            let names = unknown.iter().map(|(name, _)| (*name).to_owned()).collect();
            return Err(OffloadError::Unknown { device: device.clone(), names: Names(names) });
        }
        self.wish(device, &before, wishes)?;
        let after = self.features(device)?;
        let changed: Vec<_> = before
            .iter()
            .filter(|old| after.feature(&old.name).is_some_and(|new| new.wanted != old.wanted))
            .map(|old| FeatureChange { name: old.name.clone(), was: old.wanted })
            .collect();
        let stayed: Vec<_> = wishes.iter().filter(|(name, on)| after.is_active(name) != *on).collect();
        if stayed.is_empty() {
            return Ok(changed);
        }
        let stayed = stayed.iter().map(|(name, _)| (*name).to_owned()).collect();
        Err(OffloadError::Stayed { device: device.clone(), stayed: Names(stayed), changed })
    }

    /// Takes changes of [`set_features`](Self::set_features) back: the wishes are as before, and what follows from them
    /// is the kernel's affair.
    ///
    /// # Errors
    /// [`OffloadError::Stayed`] if a wish is not as before.
    pub fn restore_features(&self, device: &DeviceName, changes: &[FeatureChange]) -> Result<(), OffloadError> {
        let wishes: Vec<_> = changes.iter().map(|change| (change.name.as_str(), change.was)).collect();
        self.wish(device, &self.features(device)?, &wishes)?;
        let after = self.features(device)?;
        let differs = |(name, on): &&(&str, bool)| after.feature(name).is_none_or(|feature| feature.wanted != *on);
        let stayed: Vec<_> = wishes.iter().filter(differs).map(|(name, _)| (*name).to_owned()).collect();
        if stayed.is_empty() {
            return Ok(());
        }
        Err(OffloadError::Stayed { device: device.clone(), stayed: Names(stayed), changed: Vec::new() })
    }

    /// Sends those wishes that the device may follow and that differ from what it has.
    fn wish(&self, device: &DeviceName, now: &FeatureSet, wishes: &[(&str, bool)]) -> Result<(), LinkError> {
        let refused = |cause| LinkError::refused("change its features", device, cause);
        let blocks = now.0.len().div_ceil(32);
        // struct ethtool_sfeatures: a head of 8 bytes, then valid and requested for each 32 bits.
        let mut command = GuardedBuffer::new(8 + blocks * 8).map_err(refused)?;
        let mut differs = false;
        for (bit, feature) in now.0.iter().enumerate().filter_map(|(bit, feature)| Some((bit, feature.as_ref()?))) {
            let Some(&(_, on)) = wishes.iter().find(|(name, _)| *name == feature.name) else { continue };
            if !feature.changeable || feature.wanted == on && feature.active == on {
                continue;
            }
            differs = true;
            let (word, mask) = (8 + bit / 32 * 8, 1_u32 << (bit % 32));
            for at in [Some(word), on.then_some(word + 4)].into_iter().flatten() {
                let set = u32_at(&command, at) | mask;
                command[at..at + 4].copy_from_slice(&set.to_ne_bytes());
            }
        }
        if !differs {
            return Ok(());
        }
        command[0..4].copy_from_slice(&ETHTOOL_SFEATURES.to_ne_bytes());
        command[4..8].copy_from_slice(&u32::try_from(blocks).expect("a few").to_ne_bytes());
        self.run(device, &mut command).map_err(refused)
    }
}

/// Names of features, written with commas between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// How a change of features failed.
#[derive(Debug, thiserror::Error)]
pub enum OffloadError {
    /// The device is missing, or the kernel refused.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The kernel does not know features of these names; nothing was changed.
    #[error("{device}: this kernel has no features named {names}")]
    Unknown {
        /// The device.
        device: DeviceName,
        /// Their names.
        names: Names,
    },
    /// The kernel took the wishes, but these features are not as wished.
    #[error("{device}: cannot change the features {stayed}")]
    Stayed {
        /// The device.
        device: DeviceName,
        /// Their names.
        stayed: Names,
        /// What has changed all the same: for [`Ethtool::restore_features`].
        changed: Vec<FeatureChange>,
    },
}

impl OffloadError {
    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Link(error) => error.hint(),
            Self::Unknown { .. } => Some("`ethtool -k` lists the features by name"),
            Self::Stayed { .. } => {
                Some("the driver fixes them, or another feature needs them: `ethtool -k` marks [fixed] and [requested]")
            }
        }
    }
}
