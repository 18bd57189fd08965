//! A program on a device: how it got there, and how it leaves.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya_obj::generated::{XDP_FLAGS_DRV_MODE, XDP_FLAGS_HW_MODE, XDP_FLAGS_SKB_MODE};
use rustix::net::{AddressFamily, SocketType, netdevice, socket};

use crate::hint;
use crate::mode::{Attempt, Mode, Obtained, TcSide};
use crate::sys;

/// A network device of the calling thread's network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// For messages only.
    pub name: String,
    /// The ifindex: what the kernel is asked with.
    pub index: u32,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (ifindex {})", self.name, self.index)
    }
}

/// How attaching a program to a device ends without an attachment.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// No such device in this network namespace.
    #[error("there is no {device} to attach the {hook} program to")]
    DeviceMissing {
        /// As asked for.
        device: Device,
        /// `"uplink"`, `"guard"` or `"port"`.
        hook: &'static str,
    },
    /// Another XDP program is on the device. It is never replaced.
    #[error("{device} carries an XDP program already, so the {hook} program was not attached in {mode} mode")]
    ForeignProgram {
        /// As asked for.
        device: Device,
        /// `"uplink"`, `"guard"` or `"port"`.
        hook: &'static str,
        /// The mode asked for, which need not be that of the other program.
        mode: Obtained,
        /// EBUSY: one in the same mode. EEXIST: one in another mode.
        #[source]
        cause: io::Error,
    },
    /// The kernel refused the mode; with [`Mode::Unspecified`], the last of the attempts.
    #[error("the kernel refused to attach the {hook} program to {device} in {mode} mode")]
    ModeRefused {
        /// As asked for.
        device: Device,
        /// `"uplink"`, `"guard"` or `"port"`.
        hook: &'static str,
        /// The mode refused.
        mode: Obtained,
        /// All steps, the refused one last.
        attempts: Vec<Attempt>,
        /// The kernel's answer.
        #[source]
        cause: io::Error,
    },
    /// The kernel refused it at tc ingress or egress.
    #[error("the kernel refused to attach the {hook} program to tc {side} of {device}")]
    TcRefused {
        /// As asked for.
        device: Device,
        /// `"copy"` or `"tap"`.
        hook: &'static str,
        /// Where on the device.
        side: TcSide,
        /// The kernel's answer. EINVAL: it has no tcx links.
        #[source]
        cause: io::Error,
    },
    /// The program is not loaded. Cannot follow a successful load.
    #[error("the {hook} program is not loaded")]
    NotLoaded {
        /// `"uplink"`, `"guard"` or `"port"`.
        hook: &'static str,
        /// What aya says.
        #[source]
        cause: aya::programs::ProgramError,
    },
}

impl AttachError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::DeviceMissing { .. } => {
                Some("check the name with `ip link`; was the device renamed or moved?".into())
            }
            Self::ForeignProgram { device, .. } => Some(format!(
                "see what it is with `bpftool net show dev {0}`; stop its owner, or remove it with \
                 `ip link set dev {0} xdp off`",
                device.name
            )),
            Self::ModeRefused { mode: Obtained::Native, .. } => {
                Some("ask for skb mode, or leave the mode unspecified".into())
            }
            Self::ModeRefused { mode: Obtained::Hw, .. } => {
                Some("no NIC runs these programs itself: ask for native or skb mode".into())
            }
            Self::ModeRefused { cause, .. } if cause.raw_os_error() == Some(libc::EPERM) => {
                Some("attaching needs CAP_NET_ADMIN and CAP_BPF".into())
            }
            Self::TcRefused { cause, side, .. } if cause.raw_os_error() == Some(libc::EINVAL) => Some(match side {
                TcSide::Ingress => "tcx links need Linux 6.6; ports with BPF rings do without".into(),
                TcSide::Egress => "tcx links need Linux 6.6; a tap of received frames alone does without".into(),
            }),
            Self::ModeRefused { .. } | Self::TcRefused { .. } | Self::NotLoaded { .. } => None,
        }
    }

    /// The kernel's errno, where it was the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::DeviceMissing { .. } => Some(libc::ENODEV),
            Self::ForeignProgram { cause, .. } | Self::ModeRefused { cause, .. } | Self::TcRefused { cause, .. } => {
                cause.raw_os_error()
            }
            Self::NotLoaded { .. } => None,
        }
    }
}

/// How pinning an attachment ends without a pin. The program stays attached.
#[derive(Debug, thiserror::Error)]
pub enum PinLinkError {
    /// Something is there already, perhaps of an earlier run. It is left alone.
    #[error("{} exists already, so the link was not pinned there", path.display())]
    Taken {
        /// As asked for.
        path: PathBuf,
    },
    /// One link, one pin.
    #[error("the link is pinned at {} already", path.display())]
    Pinned {
        /// Where.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("the kernel refused to pin the link at {}", path.display())]
    Refused {
        /// As asked for.
        path: PathBuf,
        /// Its answer; EPERM where the path is on no bpffs.
        #[source]
        cause: io::Error,
    },
}

impl PinLinkError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Taken { path } => Some(format!("remove what an earlier run left: {}", path.display())),
            Self::Pinned { .. } => None,
            Self::Refused { .. } => {
                let general = "a link can be pinned on a mounted bpffs only, under a name without dots";
                Some(hint::remedy(self).unwrap_or(general).into())
            }
        }
    }
}

/// A program on a device. Dropping it takes the program off, unless it was pinned.
#[derive(Debug)]
#[must_use = "dropping it detaches the program"]
pub struct Attachment {
    link: OwnedFd,
    pin: Option<PathBuf>,
    ifindex: u32,
    obtained: Obtained,
    attempts: Vec<Attempt>,
    link_id: u32,
    program_id: u32,
}

impl Attachment {
    /// The mode that the kernel gave.
    pub fn obtained(&self) -> Obtained {
        self.obtained
    }

    /// Every step, the successful one last.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Of the device, when the program was attached.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// The kernel's id of the link.
    pub fn link_id(&self) -> u32 {
        self.link_id
    }

    /// The kernel's id of the program.
    pub fn program_id(&self) -> u32 {
        self.program_id
    }

    /// Where it is pinned.
    pub fn pinned_at(&self) -> Option<&Path> {
        self.pin.as_deref()
    }

    /// Pins the link: the program now outlives this value and this process, until the file is removed.
    ///
    /// # Errors
    ///
    /// Nothing is overwritten: a path that exists is [`PinLinkError::Taken`].
    pub fn pin(&mut self, path: &Path) -> Result<(), PinLinkError> {
        if let Some(path) = &self.pin {
            return Err(PinLinkError::Pinned { path: path.clone() });
        }
        sys::pin(&self.link, path).map_err(|cause| match cause.raw_os_error() {
            Some(libc::EEXIST) => PinLinkError::Taken { path: path.to_owned() },
            _ => PinLinkError::Refused { path: path.to_owned(), cause },
        })?;
        self.pin = Some(path.to_owned());
        Ok(())
    }

    /// Whether the program is still on a device. Root can take it off (`bpftool link detach`), which the kernel does
    /// not report.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn is_attached(&self) -> io::Result<bool> {
        Ok(sys::link_device(&self.link)? != 0)
    }

    /// Takes the program off the device and leaves the pin, for another attachment to [take over](Self::replace).
    ///
    /// # Errors
    ///
    /// The kernel's. A device that is gone already is none.
    pub fn take_off(&self) -> io::Result<()> {
        // ENOLINK: the device is gone, and has taken the attachment with it.
        match sys::detach(&self.link) {
            Err(cause) if cause.raw_os_error() == Some(libc::ENOLINK) => Ok(()),
            answer => answer,
        }
    }

    /// Takes over from an attachment that [is over](Self::is_attached), and from its pin.
    ///
    /// # Errors
    ///
    /// The old pin could not be removed, or the new one not be made.
    pub fn replace(&mut self, fresh: Self) -> Result<(), PinLinkError> {
        let old = std::mem::replace(self, fresh).pin.take();
        let Some(path) = old else { return Ok(()) };
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(PinLinkError::Refused { path, cause }),
            _ => self.pin(&path),
        }
    }

    /// Takes the program off the device, and removes the pin. It is off when this returns. A device that is gone
    /// already is not an error.
    ///
    /// # Errors
    ///
    /// The pin could not be removed, or the kernel refused.
    pub fn detach(mut self) -> io::Result<()> {
        let detached = self.take_off();
        let removed = match self.pin.take().map(fs::remove_file) {
            Some(Err(cause)) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
            _ => Ok(()),
        };
        detached.and(removed)
    }
}

impl Drop for Attachment {
    /// Closing the fd is not enough: another thread that forks at this moment has a copy of it until its child's exec,
    /// and the device would stay taken for so long.
    fn drop(&mut self) {
        if self.pin.is_none() {
            // A device that is gone has no program; no other refusal is left to a valid link.
            let _ = sys::detach(&self.link);
        }
    }
}

/// Tries the steps of `mode`, and stops at the first that works or meets another program.
pub(crate) fn attach(
    program: BorrowedFd<'_>,
    device: &Device,
    mode: Mode,
    hook: &'static str,
) -> Result<Attachment, AttachError> {
    // The kernel says EINVAL for a missing device, as for much else.
    if !exists(device) {
        return Err(AttachError::DeviceMissing { device: device.clone(), hook });
    }
    let mut attempts = Vec::new();
    let mut refusal = None;
    for &mode in mode.steps() {
        match sys::attach_xdp(program, device.index, flags(mode)) {
            Ok(link) => {
                attempts.push(Attempt { mode, errno: None, why: "attached".into() });
                let (link_id, program_id) = sys::link_ids(&link).map_err(|cause| AttachError::ModeRefused {
                    device: device.clone(),
                    hook,
                    mode,
                    attempts: attempts.clone(),
                    cause,
                })?;
                return Ok(Attachment {
                    link,
                    pin: None,
                    ifindex: device.index,
                    obtained: mode,
                    attempts,
                    link_id,
                    program_id,
                });
            }
            Err(cause) if matches!(cause.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) => {
                return Err(AttachError::ForeignProgram { device: device.clone(), hook, mode, cause });
            }
            Err(cause) => {
                attempts.push(Attempt { mode, errno: cause.raw_os_error(), why: explain(mode, &cause) });
                refusal = Some((mode, cause));
            }
        }
    }
    let (mode, cause) = refusal.expect("every mode has a step");
    Err(AttachError::ModeRefused { device: device.clone(), hook, mode, attempts, cause })
}

/// Attaches a tc program to the device, in front of none and behind none in particular.
pub(crate) fn attach_tc(
    program: BorrowedFd<'_>,
    device: &Device,
    side: TcSide,
    hook: &'static str,
) -> Result<Attachment, AttachError> {
    if !exists(device) {
        return Err(AttachError::DeviceMissing { device: device.clone(), hook });
    }
    let refused = |cause: io::Error| AttachError::TcRefused { device: device.clone(), hook, side, cause };
    let link = sys::attach_tcx(program, device.index, side).map_err(refused)?;
    let (link_id, program_id) = sys::link_ids(&link).map_err(refused)?;
    let (attempts, ifindex, obtained) = (Vec::new(), device.index, Obtained::Skb);
    Ok(Attachment { link, pin: None, ifindex, obtained, attempts, link_id, program_id })
}

fn exists(device: &Device) -> bool {
    socket(AddressFamily::INET, SocketType::DGRAM, None)
        .and_then(|any| netdevice::index_to_name(any.as_fd(), device.index))
        .is_ok()
}

fn flags(mode: Obtained) -> u32 {
    match mode {
        Obtained::Native => XDP_FLAGS_DRV_MODE,
        Obtained::Skb => XDP_FLAGS_SKB_MODE,
        Obtained::Hw => XDP_FLAGS_HW_MODE,
    }
}

fn explain(mode: Obtained, cause: &io::Error) -> String {
    match (mode, cause.raw_os_error()) {
        (Obtained::Native, Some(libc::EOPNOTSUPP)) => "the driver has no native XDP".into(),
        (Obtained::Hw, Some(libc::EINVAL | libc::EOPNOTSUPP)) => "the NIC does not run XDP programs itself".into(),
        (_, Some(libc::ERANGE)) => "the device's MTU is too large for XDP".into(),
        (_, Some(libc::EPERM)) => "not permitted".into(),
        _ => cause.to_string(),
    }
}
