//! The edge of a VLAN, for tests on a kernel without VLAN devices.

use aya::Ebpf;
use aya::programs::TcAttachType;
use aya::programs::links::FdLink;

use super::tcx::{self, TcxError};
use crate::object::{Object, object};

static VLAN: Object = object!("vlan");

/// Puts the host of a device into a VLAN: what it sends gets the 802.1Q tag, what comes with it loses it, and the rest
/// that comes is dropped. Needs Linux 6.6 (tcx). Gone with its value.
pub struct VlanEdge {
    _links: [FdLink; 2],
    _bpf: Ebpf,
}

impl VlanEdge {
    /// Makes a device of the calling thread's network namespace the edge of VLAN `vlan`, 1 to 4094.
    ///
    /// # Errors
    ///
    /// See [`TcxError`].
    pub fn attach(ifindex: u32, vlan: u16) -> Result<Self, TcxError> {
        let mut bpf = VLAN.load(&[("vlan", u32::from(vlan))], &[], None)?;
        let push = tcx::attach(&mut bpf, "push", ifindex, TcAttachType::Egress)?;
        let pop = tcx::attach(&mut bpf, "pop", ifindex, TcAttachType::Ingress)?;
        Ok(Self { _links: [push, pop], _bpf: bpf })
    }
}
