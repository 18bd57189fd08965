//! The kernel's half of an open port: its devices, programs and maps, and what they count.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use xsknet_bpf::{AttachError, Attachment, Counters, Datapath, Mode, Obtained, PortEntry};
use xsknet_link::{Drops, IfIndex};

use crate::client_end::ClientEnd;
use crate::context::Context;
use crate::datapath::read;
use crate::driver_losses::NicLosses;
use crate::error::StepError;
use crate::info::QueuePair;
use crate::inner_program::InnerProgram;
use crate::lingering::Umem;
use crate::namespace::Namespace;
use crate::plan::Plan;
use crate::repair::{Part, Repair, TAKEN_OFF};
use crate::rings::PortRings;
use crate::statistics::PortStatistics;

/// The kernel's half of a port.
#[derive(Debug)]
pub(crate) struct KernelPort {
    pub(crate) plan: Plan,
    /// In their order.
    pub(crate) queues: Vec<Queue>,
    /// The numbers of the outer ends.
    outers: Vec<u32>,
    /// The inner end, where it is in a client's namespace.
    pub(crate) client: Option<Arc<ClientEnd>>,
    /// What its frames go through, where that is not its sockets.
    pub(crate) rings: Option<Arc<PortRings>>,
}

/// What one queue of a port consists of: a veth pair, with a program on either end.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) pair: QueuePair,
    pub(crate) outer_index: IfIndex,
    /// In its own namespace.
    pub(crate) inner_index: IfIndex,
    /// Kept until the devices are gone, which is longer than the port.
    pub(crate) program: Arc<InnerProgram>,
    pub(crate) attachments: Mutex<Attachments>,
    /// That its socket was made with.
    pub(crate) umem: Option<Umem>,
    /// Held for its statistics; `None` until its owner shares it. It must go with the port, or a dead owner's socket
    /// would stay in the XSKMAP.
    pub(crate) socket: Mutex<Option<OwnedFd>>,
}

#[derive(Debug)]
pub(crate) struct Attachments {
    pub(crate) inner: Attachment,
    pub(crate) guard: Attachment,
}

type Attach<'a> = &'a (dyn Fn(&xsknet_bpf::Device, Mode) -> Result<Attachment, AttachError> + Sync);

impl KernelPort {
    pub(crate) fn new(
        plan: Plan,
        queues: Vec<Queue>,
        client: Option<Arc<ClientEnd>>,
        rings: Option<Arc<PortRings>>,
    ) -> Self {
        let outers = queues.iter().map(|queue| queue.outer_index.get()).collect();
        Self { plan, queues, outers, client, rings }
    }

    /// The port as the programs know it.
    pub(crate) fn entry(&self) -> PortEntry<'_> {
        let Plan { id, mac, vlan, mtu, addresses, spec, .. } = &self.plan;
        PortEntry {
            id: *id,
            outers: &self.outers,
            mac: mac.octets(),
            uplink_mac: spec.has_uplink_mac(),
            tap: spec.tap.is_some(),
            vlan: *vlan,
            mtu: *mtu,
            sources: addresses,
            targets: addresses,
            rights: spec.rights,
            rates: spec.rates,
            rings: self.rings.as_deref().map(PortRings::entry),
        }
    }

    /// The namespace of the inner ends.
    fn inner_namespace<'a>(&'a self, context: &'a Context) -> &'a Namespace {
        self.client.as_ref().map_or(&context.ports, |client| &client.namespace)
    }

    /// Attaches programs of the pairs again that others have detached, where the devices are still there.
    pub(crate) fn repair(&self, context: &Context, datapath: &RwLock<Datapath>) -> Vec<Repair> {
        self.queues.iter().flat_map(|queue| queue.repair(self, context, datapath)).collect()
    }

    /// All but the guard's verdicts, which are the uplink's, of all queues together.
    pub(crate) fn statistics(&self, context: &Context) -> Result<PortStatistics, StepError> {
        let rings = self.rings.as_deref().map(PortRings::counters).transpose()?;
        let mut sum = PortStatistics { rings, ..PortStatistics::default() };
        let outers = dropped(&context.host, &self.queues, |queue| queue.outer_index)?;
        let inners = dropped(self.inner_namespace(context), &self.queues, |queue| queue.inner_index)?;
        for ((queue, outer), inner) in self.queues.iter().zip(outers).zip(inners) {
            let socket = queue.socket.lock().unwrap_or_else(PoisonError::into_inner);
            let socket = socket.as_ref().map(xsknet_xsk::kernel_statistics).transpose();
            sum += PortStatistics {
                guard: Counters::default(),
                copies: Counters::default(),
                program: queue.program.counters()?,
                socket: socket.map_err(|cause| StepError::Io { attempt: "read a socket's statistics", cause })?,
                inner_transmit_drops: inner.sent,
                outer_transmit_drops: outer.sent,
                outer_refused_redirects: queue.refused(context, outer),
                rings: None,
            };
        }
        Ok(sum)
    }

    /// Frames of its own that the kernel refused after its guard had let them go.
    pub(crate) fn refused(&self, context: &Context) -> Result<u64, StepError> {
        let outers = dropped(&context.host, &self.queues, |queue| queue.outer_index)?;
        Ok(self.queues.iter().zip(outers).map(|(queue, outer)| queue.refused(context, outer)).sum())
    }
}

/// What one device of each queue dropped. By its number: a client may rename its end. One that is gone dropped nothing.
fn dropped(site: &Namespace, queues: &[Queue], device: impl Fn(&Queue) -> IfIndex) -> Result<Vec<Drops>, StepError> {
    let devices: Vec<_> = queues.iter().map(device).collect();
    let told = site.drops.of(&devices).map_err(|cause| StepError::Io { attempt: "read what a port dropped", cause })?;
    Ok(told.into_iter().map(Option::unwrap_or_default).collect())
}

impl Queue {
    /// Where its guard runs.
    fn guard_mode(&self) -> Obtained {
        self.attached().guard.obtained()
    }

    pub(crate) fn attached(&self) -> MutexGuard<'_, Attachments> {
        self.attachments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a duplicate of its socket.
    pub(crate) fn hold(&self, socket: OwnedFd) {
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
    }

    /// Redirects that the kernel refused at the outer end, which has dropped `outer` since it was made.
    ///
    /// They are among the received frames that it dropped, as are those that were too long for it. Only the driver
    /// counts them separately, and asking it waits for RTNL: so it is not asked where there are none.
    fn refused(&self, context: &Context, outer: Drops) -> u64 {
        if outer.received == 0 {
            return 0;
        }
        // A veth counts apart what its program drops.
        let losses = NicLosses::read(&context.host, self.outer_index, "veth", self.guard_mode(), 0);
        losses.refused_redirects.unwrap_or(0)
    }

    fn repair(&self, port: &KernelPort, context: &Context, datapath: &RwLock<Datapath>) -> Vec<Repair> {
        let mut attached = self.attached();
        let Attachments { inner, guard } = &mut *attached;
        let off = |attachment: &Attachment| !matches!(attachment.is_attached(), Ok(true));
        let mut repairs = Vec::new();
        let mut repair =
            |program, site: &Namespace, index: IfIndex, attachment: &mut Attachment, attach: Attach<'_>| {
                // Without its device it had to go.
                let Ok(device) = site.links.by_index(index) else { return };
                let target = xsknet_bpf::Device { name: device.name.to_string(), index: index.get() };
                let mode = attachment.obtained().into();
                let outcome = site.run(|| attach(&target, mode)).and_then(|fresh| Ok(attachment.replace(fresh?)?));
                let why = TAKEN_OFF.into();
                let part = Part::Program { key: Some(port.plan.key), program, device: device.name, why };
                repairs.push(Repair { part, outcome });
            };
        if off(guard) {
            let attach = |target: &_, mode| read(datapath).attach_guard(target, mode);
            repair("guard", &context.host, self.outer_index, guard, &attach);
        }
        if off(inner) {
            let attach = |target: &_, mode| self.program.attach(target, mode);
            repair("port", port.inner_namespace(context), self.inner_index, inner, &attach);
        }
        repairs
    }
}
