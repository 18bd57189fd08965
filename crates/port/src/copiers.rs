//! The tc programs of an uplink that copy beside its other programs, each attached as long as it is needed.

use xsknet_bpf::{Attachment, CopyError, Datapath, Device};

use crate::context::{COPY_LINK, TAP_LINK};
use crate::datapath::write;
use crate::error::StepError;
use crate::journal::Change;
use crate::paths::PinPath;
use crate::repair::{Part, Repair, TAKEN_OFF};
use crate::uplink_state::UplinkState;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copier {
    /// What is left to the host, for ports in groups that have no BPF rings.
    Groups,
    /// What the host sends, for taps.
    Taps,
}

impl Copier {
    fn link(self) -> &'static str {
        match self {
            Self::Groups => COPY_LINK,
            Self::Taps => TAP_LINK,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Groups => "copy",
            Self::Taps => "tap",
        }
    }

    fn attach(self, datapath: &mut Datapath, device: &Device) -> Result<Attachment, CopyError> {
        match self {
            Self::Groups => datapath.attach_copy(device),
            Self::Taps => datapath.attach_tap(device),
        }
    }
}

/// Attaches the program, if it is not attached yet. `None`: the uplink is closed.
pub(crate) fn attach_copier<E: From<CopyError> + From<StepError> + Send>(
    uplink: &UplinkState,
    attached: &mut Option<Attachment>,
    copier: Copier,
) -> Result<Option<()>, E> {
    if attached.is_some() {
        return Ok(Some(()));
    }
    let (nic, context) = (&uplink.nic, &uplink.nic.context);
    let Some((datapath, _)) = uplink.ports() else { return Ok(None) };
    let pin = PinPath::uplink(&nic.info.device).file(copier.link());
    let attach = || {
        let target = Device { name: nic.info.device.to_string(), index: nic.info.index.get() };
        let made = context.host.run(|| -> Result<_, E> {
            let mut attachment = copier.attach(&mut write(&datapath), &target)?;
            context.passed("the program that copies is attached");
            attachment.pin(&context.paths.pin(&pin)).map_err(StepError::from)?;
            Ok(attachment)
        });
        made?
    };
    *attached = Some(context.change(nic.scope, Change::Attachment { pin: pin.clone() }, attach)?);
    Ok(Some(()))
}

pub(crate) fn detach_copier_unless(
    needed: bool,
    uplink: &UplinkState,
    attached: &mut Option<Attachment>,
    copier: Copier,
) -> Result<(), StepError> {
    if needed || attached.is_none() {
        return Ok(());
    }
    let link = PinPath::uplink(&uplink.nic.info.device).file(copier.link());
    uplink.nic.context.undo_one(|change| matches!(change, Change::Attachment { pin } if *pin == link))?;
    *attached = None;
    Ok(())
}

/// Attaches a program again that others have detached.
pub(crate) fn repair_copier(uplink: &UplinkState, attached: &mut Option<Attachment>, copier: Copier) -> Option<Repair> {
    let copy = attached.as_mut().filter(|copy| !matches!(copy.is_attached(), Ok(true)))?;
    let (datapath, _) = uplink.ports()?;
    let (host, info) = (&uplink.nic.context.host, &uplink.nic.info);
    let device = host.links.by_index(info.index).ok()?.name;
    let target = Device { name: device.to_string(), index: info.index.get() };
    let fresh = host.run(|| copier.attach(&mut write(&datapath), &target));
    let attached = fresh.and_then(|fresh| fresh.map_err(StepError::from));
    let outcome = attached.and_then(|fresh| Ok(copy.replace(fresh)?));
    Some(Repair { part: Part::Program { key: None, program: copier.name(), device, why: TAKEN_OFF.into() }, outcome })
}
