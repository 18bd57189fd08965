//! A port: a veth pair, a guard at its outer end, an AF_XDP socket at its inner end.

use std::net::IpAddr;
use std::sync::Arc;

use xsknet_bpf::{Obtained, PortId};
use xsknet_link::{DeviceName, MacAddr};
use xsknet_xsk::{BindMode, BindRequest, Census, Layout, Socket};

use crate::error::{CloseError, OpenPortError, StepError};
use crate::plan::Plan;
use crate::room::steer;
use crate::selftest;
use crate::statistics::{Equality, PortStatistics};
use crate::tried::Tried;
use crate::uplink::UplinkState;

/// What a port is to be. `PortOptions::new` has the defaults.
#[derive(Debug, Clone)]
pub struct PortOptions {
    /// Its name, unique on the uplink, of 1 to 64 letters, digits, `-`, `_` and `.`; made up where there is none.
    pub name: Option<String>,
    /// Its addresses on the uplink's network; at least one.
    pub addresses: Vec<IpAddr>,
    /// Its MAC. Default: stable for a port with a name, else random; locally administered either way.
    pub mac: Option<MacAddr>,
    /// Its VLAN, 1 to 4094: all its frames carry this tag. Default: none do.
    pub vlan: Option<u16>,
    /// Its MTU in bytes, at most the uplink's, which is the default.
    pub mtu: Option<u32>,
    /// Its UMEM and rings.
    pub layout: Layout,
    /// How its socket is bound.
    pub bind: BindRequest,
}

impl PortOptions {
    /// A port with these addresses.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            name: None,
            addresses: addresses.into_iter().collect(),
            mac: None,
            vlan: None,
            mtu: None,
            layout: Layout::builder().build().expect("the defaults fit each other"),
            bind: BindRequest::Automatic,
        }
    }
}

/// What became of a port's options.
#[derive(Debug, Clone)]
pub struct PortInfo {
    /// Its name.
    pub name: String,
    /// Its number on the uplink: the key of its slot in the DEVMAP.
    pub id: PortId,
    /// Its MAC.
    pub mac: MacAddr,
    /// Its addresses; with an IPv6 address among them, the link-local one comes last.
    pub addresses: Vec<IpAddr>,
    /// Its VLAN.
    pub vlan: Option<u16>,
    /// Its MTU, in bytes.
    pub mtu: u32,
    /// The device at its outer end, among the host's.
    pub outer: DeviceName,
    /// The device at its inner end, in the instance's namespace.
    pub inner: DeviceName,
    /// Where its guard runs.
    pub guard_mode: Obtained,
    /// Where the program at its inner end runs.
    pub port_mode: Obtained,
    /// How its socket is bound.
    pub bind_mode: BindMode,
    /// What was tried on the way.
    pub tried: Vec<Tried>,
}

/// An open port. Dropping it closes it; `close` also says what could not be undone.
#[derive(Debug)]
pub struct Port {
    uplink: Arc<UplinkState>,
    info: PortInfo,
    socket: Option<Socket>,
}

impl Port {
    pub(crate) fn open(uplink: Arc<UplinkState>, options: PortOptions) -> Result<Self, OpenPortError> {
        let mut open = uplink.lock();
        let Some(card) = open.as_mut() else {
            return Err(OpenPortError::UplinkClosed { uplink: uplink.info.device.clone() });
        };
        let plan = Plan::new(&uplink, card, &options)?;
        let id = plan.id;
        let scope = uplink.port_scope(id);
        let (room, mut socket, info) = match plan.build(&uplink, card, &options, &scope) {
            Ok(built) => built,
            Err(error) => {
                drop(open);
                // What cannot be undone stays in the journal; the reason is the better story.
                let _ = uplink.ground.undo(&scope);
                return Err(error);
            }
        };
        card.ports.insert(id, room);
        let ready = steer(&uplink, card, id)
            .map_err(|cause| OpenPortError::Step { uplink: uplink.info.device.clone(), cause })
            .and_then(|()| selftest::both_ways(&uplink, card, id, &info, &mut socket));
        drop(open);
        if let Err(error) = ready {
            let _ = uplink.close_port(id);
            return Err(error);
        }
        Ok(Self { uplink, info, socket: Some(socket) })
    }

    /// What became of the options.
    pub fn info(&self) -> &PortInfo {
        &self.info
    }

    /// The port's socket: frames and rings.
    pub fn socket(&mut self) -> &mut Socket {
        self.socket.as_mut().expect("a port has its socket until it is closed")
    }

    /// What the kernel says of the port.
    ///
    /// # Errors
    /// The kernel's, for a map or a device.
    pub fn statistics(&self) -> Result<PortStatistics, StepError> {
        self.uplink.statistics_of(self.info.id)
    }

    /// The sums of this port's frames, which hold at rest.
    ///
    /// # Errors
    /// The kernel's, for a map or a device.
    pub fn equalities(&mut self) -> Result<[Equality; 3], StepError> {
        let owner = self.socket().counters();
        Ok(self.statistics()?.equalities(&owner))
    }

    /// Closes the port: nothing is steered to it any more, its pair is gone, and every frame is at home.
    ///
    /// # Errors
    /// What could not be undone stays in the journal, and the next start tries again.
    pub fn close(mut self) -> Result<Census, CloseError> {
        let socket = self.socket.take().expect("a port has its socket until it is closed");
        let closed = self.uplink.close_port(self.info.id);
        let census = socket.close();
        closed.map(|()| census)
    }
}

impl AsMut<Socket> for Port {
    fn as_mut(&mut self) -> &mut Socket {
        self.socket()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if self.socket.take().is_some()
            && let Err(error) = self.uplink.close_port(self.info.id)
        {
            eprintln!("xsknet: port `{}`: {error}: {}", self.info.name, error.cause);
        }
    }
}
