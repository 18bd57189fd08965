//! An uplink: a NIC that the instance manages.

use std::sync::{Arc, Weak};

use xsknet_bpf::{Datapath, DatapathOptions, Mode, Obtained, PortId, describe_program};
use xsknet_link::{Device, DeviceName, LinkError, MacAddr, Offload};
use xsknet_xsk::SharedSocket;

use crate::attempt::Attempt;
use crate::brokered::{BrokeredPort, SharedUmem};
use crate::claims::Claims;
use crate::context::{Context, UPLINK_LINK};
use crate::error::{CloseError, ManageError, OpenPortError, StepError};
use crate::explained::Explained;
use crate::info::{NicState, UplinkInfo};
use crate::journal::{Change, Scope};
use crate::mtu::MtuLimit;
use crate::nic::Nic;
use crate::offloads;
use crate::paths::PinPath;
use crate::pinned::{Client, PinnedPort};
use crate::pins;
use crate::port::Port;
use crate::ring_port::{WithRings, open_rings};
use crate::spec::PortSpec;
use crate::statistics::{PortStatistics, UplinkStatistics};
use crate::uplink_state::{Managed, UplinkState};

/// Which NIC, and how.
#[derive(Debug, Clone)]
pub struct UplinkOptions {
    /// The NIC, in the namespace of the thread that opened the instance.
    pub device: DeviceName,
    /// Where the NIC's program runs. The ports' programs follow it as far as the kernel lets them.
    pub mode: Mode,
}

/// A NIC that is managed, until it is released, its instance is closed, or this and its last port are dropped.
#[derive(Debug)]
pub struct Uplink {
    state: Arc<UplinkState>,
}

impl Uplink {
    pub(crate) fn open(context: Arc<Context>, options: &UplinkOptions) -> Result<Self, ManageError> {
        let device = options.device.clone();
        let nic = context.host.links.by_name(&device).map_err(|error| match error {
            LinkError::DeviceMissing { .. } => ManageError::DeviceMissing { device: device.clone() },
            other => ManageError::Step { device: device.clone(), cause: other.into() },
        })?;
        // The loopback device has six zeros.
        let mac = nic.mac.filter(|mac| mac.octets() != [0; 6]);
        let Some(mac) = mac else { return Err(ManageError::NotEthernet { device }) };
        if let Some(why) = nic.deaf {
            return Err(ManageError::Deaf { device, why });
        }
        if let Some(there) = nic.xdp.first() {
            if let Some(instance) = pins::owner(&context.paths.all_pins(), there.program_id) {
                return Err(ManageError::AlreadyManaged { device, instance });
            }
            let program = describe_program(there.program_id).ok().flatten();
            let (name, tag) = program.map_or_else(Default::default, |program| (program.name, program.tag));
            let (id, mode) = (there.program_id, there.mode);
            return Err(ManageError::ForeignProgram { device, id, name, tag, mode });
        }
        let scope = context.open_uplink(&device).map_err(|cause| ManageError::Step { device, cause })?;
        let opened = attach(&context, scope, &nic, mac, options).inspect_err(|_| {
            let _ = context.undo(scope);
        });
        let (info, managed) = opened?;
        let seen = NicState::of(&nic).expect("it has a MAC");
        let state = UplinkState::new(Nic::new(context, info, scope, seen), managed);
        // The first look reveals nothing; a link that goes away before the second is noticed by it.
        let _ = state.check_delivery();
        Ok(Self { state: Arc::new(state) })
    }

    /// What became of the options.
    pub fn info(&self) -> &UplinkInfo {
        &self.state.nic.info
    }

    /// The NIC as it is now.
    pub fn nic(&self) -> NicState {
        self.state.refresh()
    }

    /// The MTU that no port of it may exceed, as it was last seen.
    pub fn mtu_limit(&self) -> MtuLimit {
        self.state.nic.mtu_limit()
    }

    /// Opens a port. It is handed out once a self-test frame went through it each way.
    ///
    /// # Errors
    /// See [`OpenPortError`]; nothing of the port is left.
    pub fn open_port(&self, spec: PortSpec) -> Result<Port, OpenPortError> {
        Port::open(Arc::clone(&self.state), spec)
    }

    /// Opens a port with BPF rings where the spec asks for them and they can be had: for a client, to which all of it
    /// goes. Otherwise why it was not opened; nothing of it is left then.
    ///
    /// # Errors
    /// See [`OpenPortError`].
    pub fn open_rings(&self, spec: &PortSpec) -> Result<WithRings, OpenPortError> {
        open_rings(&self.state, spec)
    }

    /// Opens a port with one queue, on the UMEM of another port of the same client: of any uplink of the instance.
    /// `in_fill` are the chunks for its FILL ring, which are the client's to give. The socket goes to that client; what
    /// of the UMEM this process has is its socket alone. A self-test frame comes back as a descriptor, unread; none is
    /// sent.
    ///
    /// # Errors
    /// See [`OpenPortError`]; nothing of the port is left.
    pub fn open_shared(
        &self,
        spec: PortSpec,
        umem: &SharedUmem,
        in_fill: &[u32],
    ) -> Result<(BrokeredPort, SharedSocket), OpenPortError> {
        BrokeredPort::open_shared(Arc::clone(&self.state), spec, umem, in_fill)
    }

    /// Opens a port whose inner end is in its client's namespace and whose socket the client makes. No self-test is
    /// possible. Frames for the port that come before its socket are dropped, and counted as `no_socket`.
    ///
    /// # Errors
    /// See [`OpenPortError`]; nothing of the port is left.
    pub fn open_pinned(&self, spec: PortSpec, client: Client) -> Result<PinnedPort, OpenPortError> {
        PinnedPort::open(Arc::clone(&self.state), spec, client)
    }

    /// What the uplink's program and the NIC say; zero once the uplink is closed.
    ///
    /// # Errors
    /// The kernel's, for a map or a device.
    pub fn statistics(&self) -> Result<UplinkStatistics, StepError> {
        self.state.statistics()
    }

    /// What the uplink's program decides about a frame that arrives, and why. Nothing is sent, counted or learned.
    /// `None` once the uplink is closed.
    ///
    /// # Errors
    /// The kernel's, for a frame that it does not take, or a program.
    pub fn explain(&self, frame: &[u8]) -> Result<Option<Explained>, StepError> {
        self.state.explain_arrival(frame)
    }

    /// The names of the open ports, and what the kernel says of each.
    ///
    /// # Errors
    /// The kernel's, for a map or a device.
    pub fn port_statistics(&self) -> Result<Vec<(String, PortStatistics)>, StepError> {
        self.state.port_statistics()
    }

    /// Closes all ports and gives the NIC back as it was. Twice is once.
    ///
    /// # Errors
    /// What could not be undone stays in the journal, and the next start tries again.
    pub fn release(&self) -> Result<(), CloseError> {
        self.state.release()
    }

    pub(crate) fn downgrade(&self) -> Weak<UplinkState> {
        Arc::downgrade(&self.state)
    }
}

/// Loads the programs of a NIC, and attaches its own.
fn attach(
    context: &Context,
    scope: Scope,
    nic: &Device,
    mac: MacAddr,
    options: &UplinkOptions,
) -> Result<(UplinkInfo, Managed), ManageError> {
    let device = &options.device;
    let step = |cause| ManageError::Step { device: device.clone(), cause };
    let features = || context.host.links.xdp_features(nic.index).ok().flatten();
    let features_before = features();

    let folder = PinPath::uplink(device);
    let pins = context.paths.pin(&folder);
    // The loader would use maps that it finds, and an earlier run may have left some that could not be removed.
    pins::remove(&pins).map_err(step)?;
    let mut datapath = context
        .change(scope, Change::Pins { folder: folder.clone() }, || {
            let options = DatapathOptions { uplink_mtu: nic.mtu, queue_seed: random(), pins: Some(&pins) };
            Ok(Datapath::load(options)?)
        })
        .map_err(|error| match error {
            StepError::Load(cause) => ManageError::Load { device: device.clone(), cause },
            other => step(other),
        })?;

    // A NIC that strips tags would show a frame of some VLAN as an untagged one, and so to a port of none.
    let mut attempts = offloads::switch_off(context, scope, nic, Offload::VlanRx).map_err(step)?;

    let pin = folder.file(UPLINK_LINK);
    let attach = || {
        context.change(scope, Change::Attachment { pin: pin.clone() }, || {
            let target = xsknet_bpf::Device { name: device.to_string(), index: nic.index.get() };
            context.host.run(|| {
                let mut attachment = datapath.attach_uplink(&target, options.mode)?;
                context.passed("the uplink's program is attached");
                attachment.pin(&context.paths.pin(&pin))?;
                Ok(attachment)
            })?
        })
    };
    let (attachment, switched) = offloads::recorded(context, scope, nic, attach).map_err(|error| match error {
        StepError::Attach(cause) => ManageError::Attach { device: device.clone(), cause },
        other => step(other),
    })?;
    let index = nic.index;
    context.host.run(|| datapath.set_uplink(index.get())).and_then(|set| set.map_err(StepError::from)).map_err(step)?;
    datapath.set_uplink_mac(mac.octets()).map_err(|cause| step(cause.into()))?;
    context.passed("the uplink's slot is set");

    attempts.extend(Attempt::programs("uplink", attachment.attempts()));
    attempts.extend(switched);
    let driver = context.host.ethtool.driver(&nic.name).unwrap_or_default();
    attempts.extend(unfinished_checksums(&driver, attachment.obtained()));
    let info = UplinkInfo {
        device: device.clone(),
        index,
        mac,
        mode: attachment.obtained(),
        attempts,
        features_before,
        features_after: features(),
    };
    let left = context.left.iter().filter(|port| port.device == *device);
    let spoiled = left.filter_map(|port| PortId::new(port.number));
    let managed = Managed::new(datapath, attachment, Claims::new(device.clone(), spoiled.collect()));
    Ok((info, managed))
}

/// Of the kernel.
fn random() -> u32 {
    let mut bytes = [0; 4];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    assert_eq!(filled, Ok(bytes.len()), "getrandom answers up to 256 bytes at once");
    u32::from_ne_bytes(bytes)
}

/// A sender's stack leaves checksums to its NIC. A pair and a hypervisor have none, and hand the packet on as it is.
fn unfinished_checksums(driver: &str, mode: Obtained) -> Option<Attempt> {
    let sender = match (driver, mode) {
        ("veth", _) => "a kernel sends at the other end of this pair",
        // In native mode it is asked to finish them: virtnet_xdp_set() clears VIRTIO_NET_F_GUEST_CSUM.
        ("virtio_net", Obtained::Skb) => "the hypervisor and its other guests send",
        _ => return None,
    };
    let why = format!(
        "not known: what {sender} comes with unfinished checksums, and looks damaged, unless `ethtool -K <that end> \
         tx off` was run there"
    );
    Some(Attempt { hook: "uplink", step: "whole checksums".into(), errno: None, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_that_a_sender_may_leave_unfinished_are_told_with_what_mends_it() {
        for (driver, mode, told) in [
            ("veth", Obtained::Native, true),
            ("veth", Obtained::Skb, true),
            ("virtio_net", Obtained::Skb, true),
            ("virtio_net", Obtained::Native, false),
            ("igb", Obtained::Skb, false),
        ] {
            let attempt = unfinished_checksums(driver, mode);
            assert_eq!(attempt.is_some_and(|attempt| attempt.why.contains("tx off")), told, "{driver} {mode:?}");
        }
    }
}
