//! A port whose sockets were handed over, and what other ports of its client share with it: its UMEM, so that frames go
//! from the one to the other and no byte moves.
//!
//! That UMEM is the client's, which may truncate its file at any time: here it is neither mapped nor touched. What is
//! written is the new socket's FILL ring, with the chunks that the client has named.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, PoisonError};

use xsknet_bpf::{Group, Refusal};
use xsknet_filter::Flow;
use xsknet_xsk::{BindMode, Layout, QueueId, SharedRequest, SharedSocket, create_shared, prefer_busy_poll};

use crate::attempt::Attempt;
use crate::build::{build, connect};
use crate::datapath::SharedDatapath;
use crate::error::{CloseError, FlowClaimError, GroupError, OpenPortError, StepError};
use crate::explained::Explained;
use crate::flow_claims::FlowChange;
use crate::group_changes::GroupChange;
use crate::info::PortInfo;
use crate::kernel_port::KernelPort;
use crate::lingering::{Retained, UmemFile};
use crate::nic::Nic;
use crate::open_port::OpenPort;
use crate::plan::Plan;
use crate::selftest;
use crate::spec::PortSpec;
use crate::statistics::PortStatistics;
use crate::uplink_state::UplinkState;

/// An open port whose sockets were handed over: its frames and rings belong to another process, and this one has no
/// mapping of them. Dropping it closes it; `close` also says what could not be undone.
#[derive(Debug)]
pub struct BrokeredPort {
    open: OpenPort,
    /// Of its first queue.
    layout: Layout,
    bind: BindMode,
}

/// The UMEM of an open port, for another one of the same client.
#[derive(Debug, Clone)]
pub struct SharedUmem {
    /// A bound socket of it.
    first: Arc<OwnedFd>,
    /// Shared by all ports on it.
    file: Arc<UmemFile>,
    layout: Layout,
    bind: BindMode,
}

impl SharedUmem {
    /// The shape of the UMEM, with the sizes of the first socket's rings.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}

impl BrokeredPort {
    pub(crate) fn new(open: OpenPort, layout: Layout, bind: BindMode) -> Self {
        Self { open, layout, bind }
    }

    /// Opens a port with one queue on a UMEM that is in use. Of the spec's layout only the rings count, and nothing of
    /// how the UMEM lies and is bound.
    pub(crate) fn open_shared(
        uplink: Arc<UplinkState>,
        spec: PortSpec,
        umem: &SharedUmem,
        in_fill: &[u32],
    ) -> Result<(Self, SharedSocket), OpenPortError> {
        let layout = umem.layout.with_rings_of(&spec.layout);
        let spec = PortSpec { layout, ..spec };
        let build = |plan: Plan, uplink: &UplinkState, datapath: &SharedDatapath| {
            let (mut port, mut info) = build(plan, &uplink.nic, datapath, None, None)?;
            let socket = join_umem(&mut port, &uplink.nic, umem, in_fill, &mut info)?;
            Ok((port, info, socket))
        };
        let (mut open, socket) = OpenPort::open(uplink, spec, Some(&layout), build, selftest::by_counters)?;
        open.retained = Some(Retained { umems: vec![Arc::clone(&umem.file)], ..Retained::default() });
        let told = |why: &str| Attempt { hook: "port", step: "self-test".into(), errno: None, why: why.to_owned() };
        let attempts = &mut open.info.attempts;
        if in_fill.is_empty() {
            attempts.push(told("not done to the port: no chunk was given for its FILL ring"));
        }
        attempts
            .push(told("not done from the port: a frame to send would have to be written into its client's memory"));
        Ok((Self { open, layout, bind: umem.bind }, socket))
    }

    /// Adds what was attempted before the port was opened.
    pub(crate) fn tell(&mut self, attempt: Option<Attempt>) {
        self.open.info.attempts.extend(attempt);
    }

    /// What became of the spec.
    pub fn info(&self) -> &PortInfo {
        &self.open.info
    }

    /// The UMEM, for another port of the same client. It stays for as long as any socket on it is open, also when this
    /// port is closed.
    ///
    /// # Errors
    /// [`OpenPortError::UmemNotShared`] of a port with several queues, which has as many UMEMs, or one that is closed;
    /// [`OpenPortError::Step`].
    pub fn share_umem(&self) -> Result<SharedUmem, OpenPortError> {
        let uplink = &self.open.uplink;
        let refused = |why| OpenPortError::UmemNotShared { port: self.open.info.name.clone(), why };
        let (_, port) = uplink.port(self.open.info.id).ok_or_else(|| refused("it is closed"))?;
        if port.rings.is_some() {
            return Err(refused("it has BPF rings"));
        }
        let [queue] = port.queues.as_slice() else { return Err(refused("it has several queues, each with its own")) };
        let file = match self.open.retained.as_ref().map(|retained| retained.umems.as_slice()) {
            Some([file]) => Arc::clone(file),
            _ => return Err(refused("its file could not be kept")),
        };
        let socket = queue.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = socket.as_ref().ok_or_else(|| refused("its socket is its client's"))?;
        let duplicate = |cause| uplink.nic.step(StepError::Io { attempt: "duplicate the socket", cause });
        let first = socket.try_clone().map_err(duplicate)?;
        Ok(SharedUmem { first: Arc::new(first), file, layout: self.layout, bind: self.bind })
    }

    /// Changes what packets it takes beside those to its MAC: all of it, or nothing. Packets of the host's own are
    /// refused unless `override_host`.
    ///
    /// # Errors
    /// See [`FlowClaimError`].
    pub fn change_flows(&self, change: FlowChange, flows: &[Flow], override_host: bool) -> Result<(), FlowClaimError> {
        self.open.change_flows(change, flows, override_host)
    }

    /// What the guard decides about a frame that the port sends, and why. Nothing is sent, counted or learned. `None`
    /// once the port is closed.
    ///
    /// # Errors
    /// The kernel's, for a frame that it does not take, or a program.
    pub fn explain(&self, frame: &[u8]) -> Result<Option<Explained>, StepError> {
        self.open.explain(frame)
    }

    /// Samples of the frames of this port that its guard refused since the last call, with the first bytes of each: at
    /// most 100 per second. The first call has it take them, and returns none. `None`: the port is closed.
    ///
    /// # Errors
    /// [`StepError`], if the kernel does not answer.
    pub fn refusals(&self) -> Result<Option<Vec<Refusal>>, StepError> {
        self.open.refusals()
    }

    /// Changes of what groups it gets copies: all of it, or nothing. Returns what the switches were not told.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub fn change_groups(&self, change: GroupChange, groups: &BTreeSet<Group>) -> Result<Vec<Attempt>, GroupError> {
        self.open.change_groups(change, groups)
    }

    /// What the kernel says of the port.
    ///
    /// # Errors
    /// The kernel's, for a map or a device.
    pub fn statistics(&self) -> Result<PortStatistics, StepError> {
        self.open.statistics()
    }

    /// Closes the port. A process that holds one of its sockets, or a copy, can neither send nor receive any more once
    /// this returns.
    ///
    /// # Errors
    /// What could not be undone stays in the journal, and the next start tries again.
    pub fn close(self) -> Result<(), CloseError> {
        self.open.close()
    }
}

/// Makes the only socket of a port, on a UMEM that is there.
fn join_umem(
    port: &mut KernelPort,
    nic: &Nic,
    umem: &SharedUmem,
    in_fill: &[u32],
    info: &mut PortInfo,
) -> Result<SharedSocket, OpenPortError> {
    let KernelPort { plan, queues, .. } = port;
    let [queue] = queues.as_mut_slice() else {
        return Err(OpenPortError::UmemNotShared { port: plan.name.clone(), why: "it has several queues" });
    };
    let request = SharedRequest {
        device: queue.pair.inner.as_str(),
        queue: QueueId(0),
        first: umem.first.as_fd(),
        bind: umem.bind,
        layout: plan.spec.layout,
        in_fill,
    };
    // Its FILL ring is primed before the XSKMAP knows it, as any other's.
    let mut socket = nic.context.ports.run(|| create_shared(&request)).map_err(|cause| nic.step(cause))??;
    info.bind_mode = Some(umem.bind);
    info.attempts.extend(socket.attempts.drain(..).map(Attempt::bind));
    info.attempts.extend(plan.spec.busy_poll.map(|wanted| Attempt::bind(prefer_busy_poll(&socket, wanted))));
    connect(queue, nic, &socket)?;
    Ok(socket)
}
