//! Silence on a device that belongs to us.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{DeviceName, Ethtool, FeatureChange, LinkError, Links, OffloadError};

/// How IPv6 stood on a device before [`disable_ipv6`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ipv6Before {
    /// It was on, and was switched off.
    On,
    /// It was off already.
    Off,
    /// The kernel has no IPv6, or not for this device (an MTU below 1280).
    Absent,
}

/// Switches IPv6 off on a device of the calling thread's namespace: it loses its addresses and gets none.
///
/// # Errors
/// [`LinkError::DeviceMissing`]; [`LinkError::Refused`] where `/proc/sys` is read-only.
pub fn disable_ipv6(device: &DeviceName) -> Result<Ipv6Before, LinkError> {
    // A name is not a path: `DeviceName` has no '/', is not `..`, and not `all`. /proc/sys/net shows the namespace of
    // the thread that opens it.
    let setting: PathBuf = Path::new("/proc/sys/net/ipv6/conf").join(device.as_str()).join("disable_ipv6");
    let refused = |cause| LinkError::refused("switch its IPv6 off", device, cause);
    match fs::read_to_string(&setting) {
        Ok(value) if value.trim() == "0" => {
            fs::write(&setting, "1").map_err(refused)?;
            Ok(Ipv6Before::On)
        }
        Ok(_) => Ok(Ipv6Before::Off),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            Links::here()?.by_name(device)?;
            Ok(Ipv6Before::Absent)
        }
        Err(cause) => Err(refused(cause)),
    }
}

/// What [`quiet`] changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quieted {
    /// The address generation mode is none now; `false`: the device has no IPv6.
    pub addrgenmode: bool,
    /// How IPv6 stood before.
    pub ipv6: Ipv6Before,
    /// The offloads that are no longer wanted.
    pub offloads: Vec<FeatureChange>,
}

/// Silences a fresh device of the calling thread's namespace, which is best still down: it sends nothing of its own (no
/// router solicitation, MLD report or duplicate address detection), and what a stack sends through it looks as on a
/// wire: see [`Offload::QUIET`](crate::Offload::QUIET).
///
/// # Errors
/// As its steps; steps done before stay done.
pub fn quiet(device: &DeviceName) -> Result<Quieted, QuietError> {
    let links = Links::here()?;
    let addrgenmode = links.set_addrgenmode_none(links.by_name(device)?.index)?;
    let ipv6 = disable_ipv6(device)?;
    let ethtool = Ethtool::here()?;
    let features = ethtool.features(device)?;
    let offloads = ethtool.set_features(device, &features.quiet_offloads())?;
    Ok(Quieted { addrgenmode, ipv6, offloads })
}

/// How [`quiet`] failed.
#[derive(Debug, thiserror::Error)]
pub enum QuietError {
    /// The device is missing, or refused to give up IPv6.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// An offload stayed on.
    #[error(transparent)]
    Offload(#[from] OffloadError),
}

impl QuietError {
    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Link(error) => error.hint(),
            Self::Offload(error) => error.hint(),
        }
    }
}
