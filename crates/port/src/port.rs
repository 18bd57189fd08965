//! A port whose sockets this process has: a veth pair, a guard at its outer end, an AF_XDP socket at its inner end; and
//! as often as it has queues.

use std::collections::BTreeSet;
use std::sync::Arc;

use xsknet_bpf::{Group, Refusal};
use xsknet_filter::Flow;
use xsknet_xsk::{ChunkCounts, Donation, RingBroken, Socket};

use crate::attempt::Attempt;
use crate::brokered::BrokeredPort;
use crate::build::{build, make_sockets};
use crate::datapath::SharedDatapath;
use crate::error::{CloseError, FlowClaimError, GroupError, OpenPortError, StepError};
use crate::explained::Explained;
use crate::flow_claims::FlowChange;
use crate::group_changes::GroupChange;
use crate::info::PortInfo;
use crate::lingering::{Retained, UmemFile};
use crate::mtu::for_mtu;
use crate::open_port::OpenPort;
use crate::plan::Plan;
use crate::selftest::{self, Trial};
use crate::spec::PortSpec;
use crate::statistics::{Equality, PortStatistics};
use crate::uplink_state::UplinkState;

/// An open port and its sockets. Dropping it closes it; `close` also says what could not be undone.
#[derive(Debug)]
pub struct Port {
    // Before the sockets: nothing may be steered to them any more when they go.
    open: OpenPort,
    sockets: Vec<Socket>,
}

/// A port whose socket is in use cannot be handed over.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot hand over port `{}`: {held} of its frames are held and {tx} have not been completed; release the ones, \
     flush and complete the others",
    port.info().name
)]
pub struct HandOverError {
    /// Frames that the caller holds.
    pub held: u32,
    /// Frames sent and not completed.
    pub tx: u32,
    /// COMPLETION could not be drained.
    #[source]
    pub broken: Option<RingBroken>,
    /// The port, as it was.
    pub port: Box<Port>,
}

impl Port {
    pub(crate) fn open(uplink: Arc<UplinkState>, spec: PortSpec) -> Result<Self, OpenPortError> {
        let mtu = spec.mtu.unwrap_or(uplink.refresh().mtu);
        let layout = for_mtu(spec.layout, mtu, spec.multi_buffer);
        let spec = PortSpec { layout, ..spec };
        let build = |plan: Plan, uplink: &UplinkState, datapath: &SharedDatapath| {
            let (mut port, mut info) = build(plan, &uplink.nic, datapath, None, None)?;
            let sockets = make_sockets(&mut port, &uplink.nic, &mut info)?;
            Ok((port, info, sockets))
        };
        let prove = |trial: &Trial<'_>, sockets: &mut Vec<Socket>| {
            let mut numbered = sockets.iter_mut().enumerate();
            numbered.try_for_each(|(queue, socket)| selftest::both_ways(trial, queue, socket))
        };
        let (mut open, sockets) = OpenPort::open(uplink, spec, Some(&layout), build, prove)?;
        let untested = selftest::untested(&open.info);
        open.info.attempts.extend(untested);
        Ok(Self { open, sockets })
    }

    /// What became of the options.
    pub fn info(&self) -> &PortInfo {
        &self.open.info
    }

    /// The socket of its first queue: frames and rings.
    pub fn socket(&mut self) -> &mut Socket {
        &mut self.sockets[0]
    }

    /// The sockets of all its queues, in their order.
    pub fn sockets(&mut self) -> &mut [Socket] {
        &mut self.sockets
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

    /// The sums of this port's frames, which hold at rest.
    ///
    /// # Errors
    /// The kernel's, for a map or a device.
    pub fn equalities(&mut self) -> Result<[Equality; 4], StepError> {
        let owners: Vec<_> = self.sockets.iter().map(Socket::counters).collect();
        Ok(self.statistics()?.equalities(&owners))
    }

    /// Gives the sockets away, to another process perhaps, in the order of their queues, and keeps the port open. No
    /// mapping of the UMEM or of a ring stays in this process: the receiver of the UMEM's file may truncate it, and an
    /// access to a mapping would then raise SIGBUS.
    ///
    /// # Errors
    /// [`HandOverError`] with the port in it, unless all frames are released and everything sent has been completed.
    pub fn hand_over(mut self) -> Result<(BrokeredPort, Vec<Donation>), HandOverError> {
        // All or none, so that the port stays whole.
        let (mut held, mut tx, mut broken) = (0, 0, None);
        for socket in &mut self.sockets {
            broken = broken.or(socket.complete().err());
            let chunks = socket.chunks();
            held += chunks.outstanding();
            tx += chunks.tx;
        }
        if held > 0 || tx > 0 || broken.is_some() {
            return Err(HandOverError { held, tx, broken, port: Box::new(self) });
        }
        let Self { mut open, sockets } = self;
        let (layout, bind) = (*sockets[0].layout(), sockets[0].bind_mode());
        let donations =
            sockets.into_iter().map(|socket| socket.donate().expect("nothing was sent since it was looked at"));
        let donations: Vec<_> = donations.collect();
        let port = open.uplink.port(open.info.id);
        let watched = |at: usize| port.as_ref().and_then(|(_, port)| port.queues.get(at)?.umem.clone());
        let files = donations.iter().enumerate();
        let umems = files.filter_map(|(at, donation)| UmemFile::new(&donation.umem, watched(at)).ok()).collect();
        open.retained = Some(Retained { umems, ..Retained::default() });
        Ok((BrokeredPort::new(open, layout, bind), donations))
    }

    /// Closes the port: nothing is steered to it any more, and its pairs are gone. Returns the chunk counts of its
    /// sockets.
    ///
    /// # Errors
    /// What could not be undone stays in the journal, and the next start tries again.
    pub fn close(self) -> Result<Vec<ChunkCounts>, CloseError> {
        let Self { open, sockets } = self;
        let closed = open.close();
        let chunks = sockets.into_iter().map(Socket::close).collect();
        closed.map(|()| chunks)
    }
}

impl AsMut<Socket> for Port {
    fn as_mut(&mut self) -> &mut Socket {
        self.socket()
    }
}
