//! Makes what a port consists of, step by step: veth pairs, programs, sockets; and has frames steered to it.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, RwLock};

use xsknet_bpf::{Datapath, Mode, PortProgram, bpffs};
use xsknet_link::{End, IfIndex, LinkError, VethPair, quiet};
use xsknet_xsk::{Created, QueueId, Request, Socket, prefer_busy_poll};

use crate::attempt::Attempt;
use crate::client_end::ClientEnd;
use crate::context::Context;
use crate::datapath::{SharedDatapath, read, write};
use crate::error::{OpenPortError, StepError};
use crate::guard_mode::guard_mode;
use crate::info::{PortInfo, QueuePair, RingKind};
use crate::inner_program::InnerProgram;
use crate::journal::Change;
use crate::kernel_port::{Attachments, KernelPort, Queue};
use crate::namespace::Namespace;
use crate::nic::Nic;
use crate::paths::PinPath;
use crate::pins;
use crate::plan::Plan;
use crate::rings::PortRings;
use crate::spec::PortSpec;

/// Builds everything up to the sockets, with the inner end in a client's namespace where one is given. The outer ends
/// are still down. What a failure leaves is undone by the caller.
pub(crate) fn build(
    plan: Plan,
    nic: &Nic,
    datapath: &SharedDatapath,
    client: Option<Namespace>,
    rings: Option<Arc<PortRings>>,
) -> Result<(KernelPort, PortInfo), OpenPortError> {
    let mut attempts = Vec::new();
    let mode = guard_mode(nic, plan.mtu, &mut attempts);
    if client.is_some() && mode == Mode::Skb {
        let told = attempts.pop().map(|attempt| attempt.why);
        let why = told.unwrap_or_else(|| format!("the program of `{}` runs in skb mode", nic.info.device));
        return Err(OpenPortError::GuardInvalid { uplink: nic.info.device.clone(), why });
    }
    let builder =
        QueueBuilder { plan: &plan, nic, datapath, client: client.as_ref(), rings: rings.as_deref(), guard_mode: mode };
    let made = (0..plan.queue_pairs.len()).map(|at| builder.build_queue(at, &mut attempts));
    let queues: Vec<Queue> = made.collect::<Result<_, _>>()?;
    let [first, ..] = queues.as_slice() else { unreachable!("a port has at least one queue") };
    let attached = first.attached();
    let info = PortInfo {
        name: plan.name.clone(),
        key: plan.key,
        id: plan.id,
        mac: if plan.spec.has_uplink_mac() { nic.state().mac } else { plan.mac },
        addresses: plan.addresses.clone(),
        vlan: plan.vlan.id(),
        mtu: plan.mtu,
        outer: first.pair.outer.clone(),
        inner: first.pair.inner.clone(),
        queue_pairs: plan.queue_pairs.clone(),
        guard_mode: attached.guard.obtained(),
        port_mode: attached.inner.obtained(),
        rings: if rings.is_some() { RingKind::Bpf } else { RingKind::Xsk },
        groups: BTreeSet::new(),
        bind_mode: None,
        attempts,
    };
    drop(attached);
    let client = client.map(|namespace| {
        Arc::new(ClientEnd {
            host: Arc::clone(&nic.context.host),
            all: Arc::clone(&nic.context.client_ends),
            uplink: nic.info.device.clone(),
            key: plan.key,
            namespace,
            device: first.pair.inner.clone(),
            index: first.inner_index,
            outer: first.outer_index,
            mac: plan.mac,
            mtu: plan.mtu,
        })
    });
    Ok((KernelPort::new(plan, queues, client, rings), info))
}

/// Makes the port's sockets, here in this process: one a queue.
pub(crate) fn make_sockets(
    port: &mut KernelPort,
    nic: &Nic,
    info: &mut PortInfo,
) -> Result<Vec<Socket>, OpenPortError> {
    let KernelPort { plan, queues, .. } = port;
    queues.iter_mut().map(|queue| make_socket(queue, &plan.spec, nic, info)).collect()
}

fn make_socket(queue: &mut Queue, spec: &PortSpec, nic: &Nic, info: &mut PortInfo) -> Result<Socket, OpenPortError> {
    let context = &*nic.context;
    // The socket is bound and its FILL ring primed before the XSKMAP knows it, else the first frames are lost.
    let request = Request {
        device: queue.pair.inner.as_str(),
        queue: QueueId(0),
        layout: spec.layout,
        huge_pages: spec.huge_pages,
        bind: spec.bind,
        prime: true,
    };
    let bytes = spec.layout.umem_bytes();
    let create = || context.umem_ends.registered(bytes, || xsknet_xsk::create(&request));
    let (created, umem) = context.ports.run(create).map_err(|cause| nic.step(cause))?;
    let Created { socket, obtained, attempts: bound } = created?;
    queue.umem = umem;
    info.bind_mode.get_or_insert(obtained);
    let polled = spec.busy_poll.map(|wanted| prefer_busy_poll(&socket, wanted));
    add_new(&mut info.attempts, bound.into_iter().chain(polled).map(Attempt::bind));
    connect(queue, nic, &socket)?;
    Ok(socket)
}

/// Directs the frames of a queue to a bound socket, and keeps a duplicate of it for its statistics.
pub(crate) fn connect(queue: &mut Queue, nic: &Nic, socket: &impl AsFd) -> Result<(), OpenPortError> {
    nic.context.passed("the socket is bound");
    let duplicate = socket.as_fd().try_clone_to_owned();
    queue.hold(duplicate.map_err(|cause| nic.step(StepError::Io { attempt: "duplicate the socket", cause }))?);
    queue.program.set_socket(socket.as_fd()).map_err(|cause| nic.step(cause))?;
    nic.context.passed("the socket is in the XSKMAP");
    Ok(())
}

/// Has the uplink's program send frames to the port, and the guard let the port's frames out; then the port comes up.
/// The outer ends come last: until then nothing leaves the pairs.
pub(crate) fn steer(nic: &Nic, datapath: &RwLock<Datapath>, port: &KernelPort) -> Result<(), StepError> {
    nic.context.host.run(|| write(datapath).add_port(&port.entry()))??;
    nic.context.passed("the port's map entries are set");
    for queue in &port.queues {
        nic.context.host.links.set_up(queue.outer_index)?;
    }
    nic.context.passed("the outer ends are up");
    Ok(())
}

/// What all queues of a port are made of.
struct QueueBuilder<'a> {
    plan: &'a Plan,
    nic: &'a Nic,
    datapath: &'a RwLock<Datapath>,
    client: Option<&'a Namespace>,
    rings: Option<&'a PortRings>,
    guard_mode: Mode,
}

impl QueueBuilder<'_> {
    /// Both programs are on the pair while both its ends are down and out of reach; only then does the inner
    /// end go to a client, which may set it up at once and send.
    fn build_queue(&self, at: usize, attempts: &mut Vec<Attempt>) -> Result<Queue, OpenPortError> {
        let Self { plan, nic, datapath, client, rings, guard_mode } = *self;
        let context = &*nic.context;
        let scope = plan.scope;
        let step = |cause: StepError| nic.step(cause);
        let pair = plan.queue_pairs[at].clone();
        let (outer, inner) = self.make_pair(&pair).map_err(step)?;

        let folder = PinPath::queue(&nic.info.device, plan.id.number(), at);
        let pins = context.paths.pin(&folder);
        let mut program = context
            .change(scope, Change::Pins { folder: folder.clone() }, || -> Result<_, StepError> {
                // A loader would use a map that it finds, and an earlier port's client may hold that one.
                pins::remove(&pins)?;
                Ok(match (rings, client) {
                    (Some(rings), _) => InnerProgram::Rings(read(datapath).load_ring_program(
                        rings.range(),
                        at as u32,
                        inner.get(),
                        &pins,
                    )?),
                    (None, Some(_)) => InnerProgram::Socket(PortProgram::load(Some(&pins))?.inner_end(inner.get())?),
                    (None, None) => {
                        let made = bpffs::make_folder(&pins);
                        made.map_err(|cause| StepError::Io { attempt: "make the folder of a port's pins", cause })?;
                        InnerProgram::Socket(read(datapath).inner_end(inner.get())?)
                    }
                })
            })
            .map_err(step)?;

        let pin = folder.file("guard-link");
        let guard = context
            .change(scope, Change::Attachment { pin: pin.clone() }, || {
                let device = xsknet_bpf::Device { name: pair.outer.to_string(), index: outer.get() };
                context.host.run(|| -> Result<_, StepError> {
                    let mut attachment = read(datapath).attach_guard(&device, guard_mode)?;
                    context.passed("the guard is attached");
                    attachment.pin(&context.paths.pin(&pin))?;
                    Ok(attachment)
                })?
            })
            .map_err(step)?;
        add_new(attempts, Attempt::programs("guard", guard.attempts()));

        let pin = folder.file("port-link");
        let own = context
            .change(scope, Change::Attachment { pin: pin.clone() }, || {
                let device = xsknet_bpf::Device { name: pair.inner.to_string(), index: inner.get() };
                context.ports.run(|| -> Result<_, StepError> {
                    // A native redirect reaches no other program, and generic XDP would not see clones (copy.bpf.c).
                    let mut attachment = program.attach(&device, Mode::Native)?;
                    context.passed("the port's program is attached");
                    attachment.pin(&context.paths.pin(&pin))?;
                    Ok(attachment)
                })?
            })
            .map_err(step)?;
        add_new(attempts, Attempt::programs("port", own.attempts()));

        let inner = match client {
            Some(client) => move_to_client(&pair, context, client, outer, inner).map_err(|cause| match cause {
                StepError::Link(LinkError::NameTaken { name }) if name == pair.inner => {
                    OpenPortError::ClientDeviceTaken { device: name }
                }
                cause => step(cause),
            })?,
            None => inner,
        };
        if let InnerProgram::Socket(end) = &mut program {
            end.renumber(inner.get()).map_err(|cause| step(cause.into()))?;
        }
        let links = &client.unwrap_or(&context.ports).links;
        links.set_up(inner).map_err(|cause| nic.step(cause))?;
        context.passed("the inner end is up");
        // The program brings the device's NAPI instances along, once it is up.
        add_new(attempts, plan.spec.coalesce.map(|time| Attempt::coalescing(time, links.coalesce(inner, time))));

        let attachments = Mutex::new(Attachments { inner: own, guard });
        let socket = Mutex::new(None);
        let program = Arc::new(program);
        Ok(Queue { pair, outer_index: outer, inner_index: inner, program, attachments, umem: None, socket })
    }

    /// Both ends are born in the ports' namespace, down, and get their alias there, so that no device without our mark
    /// is ever among the host's.
    fn make_pair(&self, names: &QueuePair) -> Result<(IfIndex, IfIndex), StepError> {
        let Self { plan, nic, .. } = *self;
        let (context, mtu, alias) = (&*nic.context, plan.mtu, &plan.alias);
        let change = Change::Pair { outer: names.outer.clone(), inner: names.inner.clone(), alias: alias.clone() };
        context.change(plan.scope, change, || {
            let links = &context.ports.links;
            // Each end is made where it belongs: moving it there would hold the lock of all network devices for some 20
            // ms.
            let pair = links.add_veth(&VethPair::new(
                // The NIC's MAC, so that the host takes what is sent to it there.
                End::new(names.outer.clone()).mac(nic.state().mac).mtu(mtu).inside(&context.host.netns),
                End::new(names.inner.clone()).mac(plan.mac).mtu(mtu),
            ))?;
            context.passed("the pair is made");
            context.host.links.set_alias(pair.outer, alias)?;
            links.set_alias(pair.inner, alias)?;
            context.passed("the pair is marked");
            // Neither end may talk by itself, nor hand on frames that only a kernel's own stack could take.
            context.host.run(|| quiet(&names.outer))??;
            context.ports.run(|| quiet(&names.inner))??;
            context.passed("the pair is quiet");
            Ok((pair.outer, pair.inner))
        })
    }
}

/// Returns the number of the inner end there, by which it is known from now on: its name is its owner's to change.
fn move_to_client(
    pair: &QueuePair,
    context: &Context,
    client: &Namespace,
    outer: IfIndex,
    inner: IfIndex,
) -> Result<IfIndex, StepError> {
    context.ports.links.move_to(inner, &client.netns)?;
    context.passed("the inner end is in the client's namespace");
    // Asked of the end that is out of the client's reach.
    let peer = context.host.links.by_index(outer)?.peer_index;
    let inner = peer.ok_or_else(|| LinkError::DeviceMissing { device: (&pair.inner).into() })?;
    let name = client.links.by_index(inner)?.name;
    client.run(|| quiet(&name))??;
    context.passed("the inner end is quiet in the client's namespace");
    Ok(inner)
}

/// What was attempted for one queue is usually what was attempted for all, and is listed once.
fn add_new(told: &mut Vec<Attempt>, more: impl IntoIterator<Item = Attempt>) {
    for attempt in more {
        if !told.contains(&attempt) {
            told.push(attempt);
        }
    }
}
