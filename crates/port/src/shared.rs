//! A port whose socket is on the UMEM of another port of the same client, so that frames go from the one to the other and no byte
//! moves.
//!
//! The UMEM is the client's already, who may truncate its file at any time: here it is neither mapped nor touched. What is written is
//! the new socket's FILL ring, with the chunks that the client has named.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, PoisonError, RwLock};

use xsknet_bpf::Datapath;
use xsknet_xsk::{BindMode, Layout, QueueId, SharedRequest, SharedSocket, create_shared, prefer_busy_poll};

use crate::error::{OpenPortError, StepError};
use crate::journal::Scope;
use crate::plan::Plan;
use crate::port::{BrokeredPort, Hold, PortInfo, PortOptions};
use crate::remains::{Kept, UmemFile};
use crate::room::Room;
use crate::selftest;
use crate::tried::Tried;
use crate::uplink::UplinkState;

/// The UMEM of an open port, for another one of the same client.
#[derive(Debug, Clone)]
pub struct SharedUmem {
    /// A bound socket of it.
    pub(crate) first: Arc<OwnedFd>,
    /// Shared by all ports on it.
    file: Arc<UmemFile>,
    pub(crate) layout: Layout,
    pub(crate) bind: BindMode,
}

impl SharedUmem {
    /// The shape of the UMEM, with the sizes of the first socket's rings.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}

/// Opens a port with one queue on a UMEM that is in use. Of the options' layout only the rings count, and nothing of how the UMEM lies and
/// is bound.
pub(crate) fn open(
    uplink: Arc<UplinkState>,
    options: PortOptions,
    umem: &SharedUmem,
    in_fill: &[u32],
) -> Result<(BrokeredPort, SharedSocket), OpenPortError> {
    let options = PortOptions { layout: umem.layout.with_rings_of(&options.layout), ..options };
    let layout = options.layout;
    let build = |plan: Plan, uplink: &UplinkState, datapath: &RwLock<Datapath>, scope: &Scope| {
        let (mut room, mut info) = plan.build(uplink, datapath, None, scope)?;
        let socket = room.join_umem(uplink, &options, umem, in_fill, &mut info)?;
        Ok((room, info, socket))
    };
    let (mut hold, socket) = Hold::open(uplink, &options.wanted(), build, selftest::by_counters)?;
    hold.kept = Some(Kept { umems: vec![Arc::clone(&umem.file)], map: None });
    let told = |why: &str| Tried { hook: "port", step: "self-test".into(), errno: None, why: why.to_owned() };
    if in_fill.is_empty() {
        hold.info.tried.push(told("not done to the port: no chunk was given for its FILL ring"));
    }
    hold.info
        .tried
        .push(told("not done from the port: a frame to send would have to be written into its client's memory"));
    Ok((BrokeredPort { hold, layout, bind: umem.bind }, socket))
}

impl Room {
    fn join_umem(
        &mut self,
        uplink: &UplinkState,
        options: &PortOptions,
        umem: &SharedUmem,
        in_fill: &[u32],
        info: &mut PortInfo,
    ) -> Result<SharedSocket, OpenPortError> {
        let ground = &*uplink.ground;
        let step = |cause: StepError| OpenPortError::Step { uplink: uplink.info.device.clone(), cause };
        let [member] = self.members.as_mut_slice() else {
            return Err(OpenPortError::UmemNotShared { port: self.plan.name.clone(), why: "it has several queues" });
        };
        let request = SharedRequest {
            device: member.pair.inner.as_str(),
            queue: QueueId(0),
            first: umem.first.as_fd(),
            bind: umem.bind,
            layout: options.layout,
            in_fill,
        };
        // Its FILL ring is primed before the XSKMAP knows it, as any other's.
        let mut socket = ground.ports.run(|| create_shared(&request)).map_err(step)??;
        info.bind_mode = Some(umem.bind);
        info.tried.extend(socket.tried.drain(..).map(Tried::bind));
        info.tried.extend(options.busy_poll.map(|wanted| Tried::bind(prefer_busy_poll(&socket, wanted))));
        ground.passed("the socket is bound");
        let duplicate = socket.as_fd().try_clone_to_owned();
        member.hold(duplicate.map_err(|cause| step(StepError::Io { attempt: "duplicate the socket", cause }))?);
        member.program.set_socket(socket.as_fd()).map_err(|cause| step(cause.into()))?;
        ground.passed("the socket is in the XSKMAP");
        Ok(socket)
    }
}

impl BrokeredPort {
    /// The UMEM, for another port of the same client. It stays for as long as any socket on it is open, also when this port is closed.
    ///
    /// # Errors
    /// [`OpenPortError::UmemNotShared`] of a port with several queues, which has as many UMEMs, or one that is closed;
    /// [`OpenPortError::Step`].
    pub fn share_umem(&self) -> Result<SharedUmem, OpenPortError> {
        let uplink = &self.hold.uplink;
        let refused = |why| OpenPortError::UmemNotShared { port: self.hold.info.name.clone(), why };
        let (_, room) = uplink.room(self.hold.info.id).ok_or_else(|| refused("it is closed"))?;
        let [member] = room.members.as_slice() else { return Err(refused("it has several queues, each with its own")) };
        let file = match self.hold.kept.as_ref().map(|kept| kept.umems.as_slice()) {
            Some([file]) => Arc::clone(file),
            _ => return Err(refused("its file could not be kept")),
        };
        let socket = member.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = socket.as_ref().ok_or_else(|| refused("its socket is its client's"))?;
        let first = socket.try_clone().map_err(|cause| OpenPortError::Step {
            uplink: uplink.info.device.clone(),
            cause: StepError::Io { attempt: "duplicate the socket", cause },
        })?;
        Ok(SharedUmem { first: Arc::new(first), file, layout: self.layout, bind: self.bind })
    }
}
