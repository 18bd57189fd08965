//! A port whose client makes the socket: the inner end is in the client's network namespace, and the pin of the port's
//! map is the client's.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::sockopt::socket_domain;
use rustix::net::{AddressFamily, RecvFlags, recv};
use xsknet_bpf::{Group, Refusal};
use xsknet_filter::Flow;
use xsknet_link::{DeviceName, Netns, NetnsId};

use crate::attempt::Attempt;
use crate::build::build;
use crate::client_end::ClientEnd;
use crate::datapath::SharedDatapath;
use crate::error::{CloseError, FlowClaimError, GroupError, OpenPortError, ShareError, StepError};
use crate::explained::Explained;
use crate::flow_claims::FlowChange;
use crate::group_changes::GroupChange;
use crate::ids::ROOT;
use crate::info::PortInfo;
use crate::inner_program::InnerProgram;
use crate::lingering::Retained;
use crate::namespace::Namespace;
use crate::nic::Nic;
use crate::open_port::OpenPort;
use crate::paths::PinPath;
use crate::pins;
use crate::plan::Plan;
use crate::selftest::Trial;
use crate::spec::PortSpec;
use crate::statistics::PortStatistics;
use crate::uplink_state::UplinkState;

/// The client of a pinned port.
#[derive(Debug)]
pub struct Client {
    /// Gets the pin of the port's map.
    pub uid: u32,
    /// Gets it as its group.
    pub gid: u32,
    /// Gets the inner end. It is kept alive for as long as the port is open. It has to be the client's: that of its
    /// process, `own`, or one of a user namespace that this user has made. Root may name any.
    pub namespace: Netns,
    /// Where the client's process is, if that is known.
    pub own: Option<Netns>,
}

/// Where a client finds what it needs for its socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The port's XSKMAP in bpffs.
    pub xsks: PathBuf,
    /// The device to bind to, in the client's namespace.
    pub device: DeviceName,
    /// The queue to bind to, which is the key in the map, too.
    pub queue: u32,
}

/// An open port that waits for its client's socket, or has it. Dropping it closes it; `close` also says what could not
/// be undone.
///
/// The inner end is its client's: deleted, moved, set down, with another MAC or MTU or with offloads switched on, it is
/// lost, which [`Instance::watch`](crate::Instance::watch) reports.
#[derive(Debug)]
pub struct PinnedPort {
    open: OpenPort,
    pin: Pin,
}

impl PinnedPort {
    /// Of the spec, what is about sockets does not count.
    pub(crate) fn open(uplink: Arc<UplinkState>, spec: PortSpec, client: Client) -> Result<Self, OpenPortError> {
        check_namespace(&uplink.nic, &client)?;
        let Client { uid, gid, namespace, .. } = client;
        let namespace = Namespace::new(namespace).map_err(|cause| uplink.nic.step(cause))?;
        let build = |plan: Plan, uplink: &UplinkState, datapath: &SharedDatapath| {
            let (port, mut info) = build(plan, &uplink.nic, datapath, Some(namespace), None)?;
            let why = "not done: the client makes the port's socket".to_owned();
            info.attempts.push(Attempt { hook: "port", step: "self-test".into(), errno: None, why });
            Ok((port, info, None))
        };
        // The client gets the pin of a port that nothing stands in the way of any more.
        let give = |trial: &Trial<'_>, given: &mut Option<(Pin, Arc<ClientEnd>, u32)>| {
            let Trial { uplink: UplinkState { nic, .. }, port, info, .. } = trial;
            let folder = PinPath::port(&nic.info.device, info.id.number());
            let xsks = pins::give_away(&nic.context.paths, &folder, uid, gid).map_err(|cause| nic.step(cause))?;
            nic.context.passed("the pin is the client's");
            let end = port.client.clone().expect("it was built in a client's namespace");
            let pin = Pin { xsks, device: info.inner.clone(), queue: 0 };
            let InnerProgram::Socket(program) = &*port.queues[0].program else {
                unreachable!("it was built without rings");
            };
            *given = Some((pin, end, program.program().socket_map_id()));
            Ok(())
        };
        let spec = PortSpec { queues: 1, ..spec };
        let (mut open, given) = OpenPort::open(uplink, spec, None, build, give)?;
        let (pin, end, map) = given.expect("a port that opened was given away");
        // Its memory is the client's own.
        open.retained = Some(Retained { umems: Vec::new(), maps: vec![map], owns_sockets: true });
        open.uplink.nic.context.client_ends.add(&end);
        Ok(Self { open, pin })
    }

    /// What became of the options.
    pub fn info(&self) -> &PortInfo {
        &self.open.info
    }

    /// What the client needs for its socket.
    pub fn pin(&self) -> &Pin {
        &self.pin
    }

    /// Takes a duplicate of the client's socket, from which its statistics are read from now on. It is believed to be
    /// this port's.
    ///
    /// # Errors
    /// See [`ShareError`]; the descriptor is closed then, which may block for what its maker likes.
    pub fn share_socket(&self, socket: OwnedFd) -> Result<(), ShareError> {
        self.check_socket(socket.as_fd())?;
        if self.open.uplink.share_socket(self.open.info.id, socket) {
            Ok(())
        } else {
            Err(ShareError::PortClosed { port: self.open.info.name.clone() })
        }
    }

    /// Whether a descriptor of a stranger's is a socket that could be this port's. Neither this nor reading the
    /// statistics of one that passes can be made to wait: before it is bound, the registration of a UMEM may hold a
    /// socket's lock for as long as its owner's page faults take.
    ///
    /// # Errors
    /// [`ShareError::NotXsk`], [`ShareError::NotBound`].
    pub fn check_socket(&self, socket: BorrowedFd<'_>) -> Result<(), ShareError> {
        let port = || self.open.info.name.clone();
        match socket_domain(socket) {
            Ok(AddressFamily::XDP) => {}
            Ok(_) => return Err(ShareError::NotXsk { port: port(), cause: None }),
            Err(errno) => return Err(ShareError::NotXsk { port: port(), cause: Some(errno.into()) }),
        }
        // The one question that is answered without the socket's lock (xsk_check_common in net/xdp/xsk.c).
        match recv(socket, &mut [0_u8; 0], RecvFlags::DONTWAIT) {
            Err(Errno::NXIO) => Err(ShareError::NotBound { port: port() }),
            _ => Ok(()),
        }
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

    /// Closes the port. Its device is gone from the client's namespace once this returns, and with it all that the
    /// client's socket could send to or receive from; the map that the client may still have open leads nowhere.
    ///
    /// # Errors
    /// What could not be undone stays in the journal, and the next start tries again.
    pub fn close(self) -> Result<(), CloseError> {
        self.open.close()
    }
}

/// A device must not be put into a namespace of another user.
fn check_namespace(nic: &Nic, client: &Client) -> Result<(), OpenPortError> {
    let Client { uid, namespace, own, .. } = client;
    let invalid = |found: String| OpenPortError::NamespaceInvalid { found };
    let identity = |of: &Netns| match of.identity() {
        Ok(NetnsId { dev, ino }) => Ok((dev, ino)),
        Err(cause) => Err(invalid(format!("it cannot be read ({cause})"))),
    };
    let wanted = identity(namespace)?;
    if wanted == nic.context.ports.identity {
        return Err(invalid("it is the instance's own network namespace".into()));
    }
    if *uid == ROOT {
        return Ok(());
    }
    if let Some(own) = own
        && identity(own)? == wanted
    {
        return Ok(());
    }
    match namespace.owner() {
        Ok(owner) if owner == *uid => Ok(()),
        Ok(_) => Err(invalid(format!(
            "it is neither the network namespace of the client's process nor one that user {uid} has made"
        ))),
        Err(cause) => Err(invalid(format!("the owner of the network namespace cannot be found out ({cause})"))),
    }
}
