//! A port whose frames go through BPF rings. It keeps a pair and a socket for each queue: the pair's inner end is where
//! the client's program is attached, which it has to be, and the socket tells how the device is.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Once};
use std::thread;

use xsknet_xsk::{
    CreatedOn, Donation, HugePages, QueueId, Request, RingDonation, RingSocket, RingsDonation, create_on,
};

use crate::attempt::Attempt;
use crate::bpffs_mount::guard_links;
use crate::brokered::BrokeredPort;
use crate::build::{build, connect};
use crate::datapath::SharedDatapath;
use crate::error::{OpenPortError, StepError};
use crate::info::PortInfo;
use crate::inner_program::InnerProgram;
use crate::kernel_port::KernelPort;
use crate::lingering::{Retained, UmemFile};
use crate::nic::Nic;
use crate::open_port::OpenPort;
use crate::plan::Plan;
use crate::rings::{MAX_MTU, PortRings, chain, obstacle, told, unavailable};
use crate::selftest::{self, Trial};
use crate::spec::{PortSpec, RingsWish};
use crate::uplink_state::UplinkState;

/// What a client is given of an open port, one of them for each queue.
#[derive(Debug)]
pub enum HandedOver {
    /// Sockets with the kernel's rings.
    Sockets(Vec<Donation>),
    /// Sockets with BPF rings.
    Rings(Vec<RingDonation>),
}

/// A port with BPF rings, or why it has none, where anybody asked for them.
pub type WithRings = Result<(BrokeredPort, Vec<RingDonation>), Option<Attempt>>;

/// Opens a port with BPF rings where the spec asks for them and they can be had.
///
/// # Errors
/// [`OpenPortError::RingsUnavailable`] where nothing else will do, and what keeps any port from being opened.
pub(crate) fn open_rings(uplink: &Arc<UplinkState>, spec: &PortSpec) -> Result<WithRings, OpenPortError> {
    spec.check_tap()?;
    if spec.rings == RingsWish::Xsk {
        return Ok(Err(None));
    }
    let mtu = spec.mtu.unwrap_or(uplink.refresh().mtu);
    // Of a longer frame, a tap gets as much as a chunk takes.
    let of_tap = spec.tap.as_ref().map(|_| mtu.min(MAX_MTU));
    let spec = &PortSpec { mtu: of_tap.or(spec.mtu), ..spec.clone() };
    let opened = match obstacle(&uplink.nic, spec, of_tap.unwrap_or(mtu)) {
        Some(why) => Err(unavailable(&uplink.nic, why)),
        None => open(Arc::clone(uplink), spec.clone()),
    };
    match opened {
        Ok(opened) => Ok(Ok(opened)),
        Err(OpenPortError::RingsUnavailable { why, .. }) if spec.rings == RingsWish::Auto => Ok(Err(Some(told(why)))),
        Err(error) => Err(error),
    }
}

fn open(uplink: Arc<UplinkState>, spec: PortSpec) -> Result<(BrokeredPort, Vec<RingDonation>), OpenPortError> {
    static TOLD: Once = Once::new();
    if let Err(error) = guard_links(&uplink.nic.context.paths) {
        TOLD.call_once(|| {
            eprintln!(
                "xsknet: clients with BPF rings can attach their programs to devices of the host: {}",
                chain(&error)
            );
        });
    }
    let layout = spec.layout.with_multi_buffer(false);
    let spec = PortSpec { layout, huge_pages: HugePages::Never, ..spec };
    let build = |plan: Plan, uplink: &UplinkState, datapath: &SharedDatapath| {
        let nic = &uplink.nic;
        let rings = Arc::new(PortRings::new(datapath, nic, &layout, plan.spec.queues)?);
        thread::scope(|scope| {
            // What takes longest there is waiting, and so it is here.
            let installing = scope.spawn(|| rings.install(nic));
            let (mut port, mut info) = build(plan, nic, datapath, None, Some(Arc::clone(&rings)))?;
            let sockets = make_sockets(&mut port, nic, &mut info)?;
            installing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            nic.context.passed("the programs find the rings' memory");
            Ok((port, info, sockets))
        })
    };
    let prove = |trial: &Trial<'_>, sockets: &mut Vec<RingSocket>| {
        let mut numbered = sockets.iter_mut().enumerate();
        numbered.try_for_each(|(queue, socket)| selftest::both_ways(trial, queue, socket))
    };
    let (mut open, sockets) = OpenPort::open(uplink, spec, Some(&layout), build, prove)?;
    let untested = selftest::untested(&open.info);
    open.info.attempts.extend(untested);
    let donations = sockets.into_iter().map(|socket| {
        socket.donate().map_err(|error| OpenPortError::SelfTest {
            direction: "from the port",
            waited_ms: 0,
            seen: error.to_string(),
        })
    });
    let donations: Vec<_> = donations.collect::<Result<_, _>>()?;
    let bind = donations[0].socket.bind;
    if let Some((_, port)) = open.uplink.port(open.info.id) {
        let umems = port.queues.iter().map(|queue| UmemFile::of_map(queue.umem.clone())).collect();
        let maps = port.rings.iter().flat_map(|rings| rings.maps.iter().flat_map(|maps| maps.ids())).collect();
        open.retained = Some(Retained { umems, maps, owns_sockets: false });
    }
    Ok((BrokeredPort::new(open, layout, bind), donations))
}

fn make_sockets(port: &mut KernelPort, nic: &Nic, info: &mut PortInfo) -> Result<Vec<RingSocket>, OpenPortError> {
    let context = &*nic.context;
    let KernelPort { plan, queues, rings: Some(rings), .. } = port else {
        unreachable!("it was built with rings");
    };
    let (layout, bytes) = (plan.spec.layout, plan.spec.layout.umem_bytes());
    let mut sockets = Vec::new();
    for (queue, maps) in queues.iter_mut().zip(&rings.maps) {
        let request = Request {
            device: queue.pair.inner.as_str(),
            queue: QueueId(0),
            layout,
            huge_pages: HugePages::Never,
            bind: plan.spec.bind,
            prime: false,
        };
        let create = || context.umem_ends.registered(bytes, || create_on(&request, maps.memory.as_fd()));
        let (created, umem) = context.ports.run(create).map_err(|cause| nic.step(cause))?;
        let CreatedOn { donation: socket, attempts } = created?;
        queue.umem = umem;
        info.bind_mode.get_or_insert(socket.bind);
        for attempt in attempts.into_iter().map(Attempt::bind) {
            if !info.attempts.contains(&attempt) {
                info.attempts.push(attempt);
            }
        }
        connect(queue, nic, &socket.xsk)?;
        let InnerProgram::Rings(program) = &*queue.program else { unreachable!("it was built with rings") };
        let duplicate = |fd: std::io::Result<OwnedFd>| {
            fd.map_err(|cause| nic.step(StepError::Io { attempt: "duplicate a descriptor of BPF rings", cause }))
        };
        let rings = RingsDonation {
            control: duplicate(maps.control.try_clone())?,
            wake: duplicate(maps.wake.try_clone())?,
            program: duplicate(program.for_client())?,
            rx_slots: rings.rx_slots,
            tx_slots: rings.tx_slots,
            rx_position: 0,
            tx_position: 0,
            posted: Vec::new(),
        };
        let mut socket = RingSocket::adopt(RingDonation { socket, rings }).map_err(xsknet_xsk::CreateError::from)?;
        // Before the tables know of the port, else the first frames are lost.
        socket.prime();
        sockets.push(socket);
    }
    let why = format!("{} slots for reception, {} for sending", rings.rx_slots, rings.tx_slots);
    info.attempts.push(Attempt { hook: "rings", step: "bpf".into(), errno: None, why });
    Ok(sockets)
}
