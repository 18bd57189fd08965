//! How an operation on a device ends when it does not succeed.

use std::fmt;
use std::io;

use rustix::io::Errno;

use crate::netlink::Refusal;
use crate::{DeviceName, IfIndex};

/// The device an error speaks of: its name wherever it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceRef {
    /// By name.
    Name(DeviceName),
    /// By index, where the device went before its name could be learnt.
    Index(IfIndex),
}

impl fmt::Display for DeviceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Index(index) => write!(f, "device {index}"),
        }
    }
}

impl From<&DeviceName> for DeviceRef {
    fn from(name: &DeviceName) -> Self {
        Self::Name(name.clone())
    }
}

impl From<IfIndex> for DeviceRef {
    fn from(index: IfIndex) -> Self {
        Self::Index(index)
    }
}

/// How an operation on a device failed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The namespace has no such device.
    #[error("{device} does not exist in this network namespace")]
    DeviceMissing {
        /// The device asked for.
        device: DeviceRef,
    },
    /// The namespace where a device was to get this name has one already.
    #[error("the network namespace already has a device named {name}")]
    NameTaken {
        /// The name.
        name: DeviceName,
    },
    /// The kernel said no.
    #[error("{device}: cannot {what}{}", told(said))]
    Refused {
        /// What was attempted, with its numbers: "set the MTU to 9000".
        what: String,
        /// On which device.
        device: DeviceRef,
        /// The reason in the kernel's own words, where it gave one (`NLMSGERR_ATTR_MSG`).
        said: Option<String>,
        /// Its errno.
        #[source]
        cause: io::Error,
    },
    /// No socket to the kernel could be made, or the kernel would not list what was asked.
    #[error("cannot {what} in this network namespace")]
    Unreachable {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

fn told(said: &Option<String>) -> String {
    said.as_ref().map(|said| format!(" ({said})")).unwrap_or_default()
}

impl LinkError {
    pub(crate) fn refused(what: impl Into<String>, device: impl Into<DeviceRef>, refusal: impl Into<Refusal>) -> Self {
        let (device, Refusal { cause, said }) = (device.into(), refusal.into());
        match Errno::from_io_error(&cause) {
            Some(Errno::NODEV) => Self::DeviceMissing { device },
            _ => Self::Refused { what: what.into(), device, said, cause },
        }
    }

    /// The kernel's errno, positive, where it gave one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::DeviceMissing { .. } => Some(Errno::NODEV.raw_os_error()),
            Self::NameTaken { .. } => Some(Errno::EXIST.raw_os_error()),
            Self::Refused { cause, .. } | Self::Unreachable { cause, .. } => cause.raw_os_error(),
        }
    }

    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::DeviceMissing { .. } => Some("`ip link` lists the devices of a namespace"),
            Self::NameTaken { .. } => Some("choose another name, or delete the device that has it"),
            Self::Refused { cause, .. } | Self::Unreachable { cause, .. } => match Errno::from_io_error(cause)? {
                Errno::PERM | Errno::ACCESS => Some("needs CAP_NET_ADMIN in the namespace's user namespace"),
                Errno::BUSY => Some("the device is in use: bring it down first"),
                Errno::ROFS => Some("/proc/sys is mounted read-only here: remount it, or give the process the host's"),
                _ => None,
            },
        }
    }
}
