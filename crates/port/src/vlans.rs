//! Has a NIC that filters VLANs let in those of ports.
//!
//! A NIC with `rx-vlan-filter` drops the frames of VLANs that nobody asked it for. What asks is a VLAN device, from the
//! moment that it is registered. So each VLAN of ports gets one, down, without an address, in the ports' namespace,
//! unless the host has one itself.

use xsknet_link::{DeviceName, LinkError, Offload, VlanOf};

use crate::attempt::Attempt;
use crate::error::StepError;
use crate::journal::Change;
use crate::nic::Nic;
use crate::offloads;

/// How a VLAN gets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VlanAccess {
    /// The NIC filters none.
    Open,
    /// The host or another program has a device of it.
    Theirs,
    /// A device of ours asks for it.
    Ours,
    /// The filter was switched off, and why nothing less would do.
    Unfiltered(String),
    /// In promiscuous mode a NIC lets in all VLANs as a rule; and why nothing less would do.
    Promiscuous(String),
    /// Not at all.
    Shut(String),
}

/// What can be done about a NIC's filter.
pub(crate) trait VlanFilter {
    /// Whether it filters VLANs.
    fn is_on(&self) -> Result<bool, StepError>;
    /// Whether a device of ours asks for the VLAN.
    fn we_ask(&self, id: u16) -> Result<bool, StepError>;
    /// Whether the host has a device of the VLAN.
    fn host_asks(&self, id: u16) -> Result<bool, StepError>;
    /// Why no device may ask on a port's behalf.
    fn spared(&self) -> Result<Option<String>, StepError>;
    /// Makes a device of ours; false: another program has one.
    fn ask(&self, id: u16) -> Result<bool, StepError>;
    /// False: the NIC does not let it be switched off.
    fn switch_off(&self) -> Result<bool, StepError>;
    fn make_promiscuous(&self) -> Result<(), StepError>;
}

/// Lets a VLAN in, by what changes least. Doing it twice is doing it once.
pub(crate) fn let_in(nic: &impl VlanFilter, id: u16) -> Result<VlanAccess, StepError> {
    if !nic.is_on()? {
        return Ok(VlanAccess::Open);
    }
    if nic.we_ask(id)? {
        return Ok(VlanAccess::Ours);
    }
    if nic.host_asks(id)? {
        return Ok(VlanAccess::Theirs);
    }
    let refused = match nic.spared()? {
        Some(why) => why,
        None => match nic.ask(id) {
            Ok(true) => return Ok(VlanAccess::Ours),
            Ok(false) => return Ok(VlanAccess::Theirs),
            Err(StepError::Link(cause @ LinkError::Refused { .. })) => told(&cause),
            Err(other) => return Err(other),
        },
    };
    if nic.switch_off()? {
        return Ok(VlanAccess::Unfiltered(refused));
    }
    match nic.make_promiscuous() {
        Ok(()) => Ok(VlanAccess::Promiscuous(refused)),
        Err(cause) => Ok(VlanAccess::Shut(format!("{refused}; {}", told(&cause)))),
    }
}

/// An error and what it follows from.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}

impl VlanAccess {
    /// What `attempts` of the port says; `None` where nothing was done.
    pub(crate) fn attempt(&self, id: u16) -> Option<Attempt> {
        let why = match self {
            Self::Open => return None,
            Self::Theirs => "the NIC filters VLANs; the host has a device of this VLAN, which must stay".to_owned(),
            Self::Ours => "the NIC filters VLANs; a device of ours requests this one".to_owned(),
            Self::Unfiltered(why) => format!("the NIC's filter is switched off: {why}"),
            Self::Promiscuous(why) => {
                format!("the NIC is in promiscuous mode, in which most NICs accept all VLANs: {why}")
            }
            Self::Shut(why) => {
                format!("the NIC filters VLANs and does not accept this one, so none of its frames are received: {why}")
            }
        };
        Some(Attempt { hook: "uplink", step: format!("VLAN {id}"), errno: None, why })
    }
}

impl VlanFilter for Nic {
    fn is_on(&self) -> Result<bool, StepError> {
        let Some(name) = self.context.name_of(self.info.index)? else { return Ok(false) };
        let features = self.context.host.ethtool.features(&name)?;
        Ok(features.names(Offload::VlanFilter).into_iter().any(|name| features.is_active(name)))
    }

    fn we_ask(&self, id: u16) -> Result<bool, StepError> {
        match self.context.ports.links.by_name(&device_of(self, id)) {
            Ok(_) => Ok(true),
            Err(LinkError::DeviceMissing { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn host_asks(&self, id: u16) -> Result<bool, StepError> {
        let wanted = VlanOf { nic: self.info.index, id };
        Ok(self.context.host.links.list()?.iter().any(|device| device.vlan == Some(wanted)))
    }

    /// A VLAN device takes the frames of its VLAN that a program passes, and drops them while it is down: nobody misses
    /// them on a NIC, but a bridge would.
    fn spared(&self) -> Result<Option<String>, StepError> {
        let master = self.context.host.links.by_index(self.info.index)?.master;
        Ok(master.map(|_| "a VLAN device would take frames of the bridge or bond that the NIC is a port of".into()))
    }

    fn ask(&self, id: u16) -> Result<bool, StepError> {
        let name = device_of(self, id);
        let (links, inside) = (&self.context.host.links, &self.context.ports.netns);
        let change = Change::Vlan { device: name.clone(), id };
        // One that others have deleted is made anew, and is in the journal already.
        self.context.forget(&change)?;
        let made = self.context.change(self.scope, change.clone(), || -> Result<_, StepError> {
            Ok(links.add_vlan(self.info.index, id, &name, inside)?)
        })?;
        if !made {
            self.context.forget(&change)?;
        }
        Ok(made)
    }

    fn switch_off(&self) -> Result<bool, StepError> {
        let nic = self.context.host.links.by_index(self.info.index)?;
        Ok(offloads::switch_off(&self.context, self.scope, &nic, Offload::VlanFilter)?.is_empty())
    }

    fn make_promiscuous(&self) -> Result<(), StepError> {
        Self::make_promiscuous(self)
    }
}

/// Ends what [`let_in`] made for a VLAN alone. A filter that was switched off, and promiscuous mode, stay until the NIC
/// is given back.
pub(crate) fn let_out(nic: &Nic, id: u16) -> Result<(), StepError> {
    let ours = device_of(nic, id);
    nic.context.undo_one(|change| matches!(change, Change::Vlan { device, .. } if *device == ours))
}

/// By which a start knows it: among the ports' devices all are ours.
fn device_of(nic: &Nic, id: u16) -> DeviceName {
    format!("v{:x}.{id}", nic.info.index.get()).parse().expect("eight hex digits and four more fit")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io;

    use super::*;

    /// A NIC as it answers, and what was done to it.
    struct FakeNic {
        filters: bool,
        ours: bool,
        host: bool,
        spared: bool,
        ask: fn() -> Result<bool, StepError>,
        fixed: bool,
        promiscuous: bool,
        done: RefCell<Vec<&'static str>>,
    }

    impl Default for FakeNic {
        fn default() -> Self {
            let done = RefCell::default();
            Self {
                filters: true,
                ours: false,
                host: false,
                spared: false,
                ask: || Ok(true),
                fixed: true,
                promiscuous: true,
                done,
            }
        }
    }

    fn eth0() -> DeviceName {
        "eth0".parse().unwrap()
    }

    fn refused() -> StepError {
        let (what, device) = ("make a device of its VLAN 42".into(), (&eth0()).into());
        LinkError::Refused { what, device, said: None, cause: io::Error::from_raw_os_error(95) }.into()
    }

    impl VlanFilter for FakeNic {
        fn is_on(&self) -> Result<bool, StepError> {
            Ok(self.filters)
        }

        fn we_ask(&self, _: u16) -> Result<bool, StepError> {
            Ok(self.ours)
        }

        fn host_asks(&self, _: u16) -> Result<bool, StepError> {
            Ok(self.host)
        }

        fn spared(&self) -> Result<Option<String>, StepError> {
            Ok(self.spared.then(|| "a bridge".into()))
        }

        fn ask(&self, _: u16) -> Result<bool, StepError> {
            self.done.borrow_mut().push("ask");
            (self.ask)()
        }

        fn switch_off(&self) -> Result<bool, StepError> {
            self.done.borrow_mut().push("switch off");
            Ok(!self.fixed)
        }

        fn make_promiscuous(&self) -> Result<(), StepError> {
            self.done.borrow_mut().push("make promiscuous");
            if self.promiscuous { Ok(()) } else { Err(refused()) }
        }
    }

    #[track_caller]
    fn assert_access(nic: FakeNic, access: &str, done: &[&str]) {
        let taken = let_in(&nic, 42).expect("no error");
        assert!(format!("{taken:?}").starts_with(access), "{taken:?}");
        assert_eq!(*nic.done.borrow(), done);
    }

    #[test]
    fn a_nic_is_changed_no_more_than_it_takes() {
        assert_access(FakeNic { filters: false, ..FakeNic::default() }, "Open", &[]);
        assert_access(FakeNic { ours: true, ..FakeNic::default() }, "Ours", &[]);
        assert_access(FakeNic { host: true, ..FakeNic::default() }, "Theirs", &[]);
        assert_access(FakeNic::default(), "Ours", &["ask"]);
        assert_access(FakeNic { ask: || Ok(false), ..FakeNic::default() }, "Theirs", &["ask"]);
        let no_devices = || FakeNic { ask: || Err(refused()), ..FakeNic::default() };
        assert_access(FakeNic { fixed: false, ..no_devices() }, "Unfiltered", &["ask", "switch off"]);
        assert_access(no_devices(), "Promiscuous", &["ask", "switch off", "make promiscuous"]);
        assert_access(
            FakeNic { promiscuous: false, ..no_devices() },
            "Shut",
            &["ask", "switch off", "make promiscuous"],
        );
        assert_access(FakeNic { spared: true, fixed: false, ..FakeNic::default() }, "Unfiltered", &["switch off"]);
    }

    #[test]
    fn why_a_vlan_is_shut_out_is_told_with_its_number() {
        let nic = FakeNic { ask: || Err(refused()), promiscuous: false, ..FakeNic::default() };
        let attempt = let_in(&nic, 42).expect("no error").attempt(42).expect("something to tell");
        assert_eq!(attempt.step, "VLAN 42");
        assert!(attempt.why.contains("none of its frames are received") && attempt.why.contains("eth0"), "{attempt}");
        assert_eq!(VlanAccess::Open.attempt(42), None);
    }

    #[test]
    fn a_nic_that_is_gone_is_an_error_and_no_reason_to_try_more() {
        let gone = || Err(LinkError::DeviceMissing { device: (&eth0()).into() }.into());
        let nic = FakeNic { ask: gone, ..FakeNic::default() };
        assert!(let_in(&nic, 42).is_err());
        assert_eq!(*nic.done.borrow(), ["ask"]);
    }
}
