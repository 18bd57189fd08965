//! What the errors of the crates below are in JavaScript.

use std::error::Error;
use std::fmt;

use napi::Status;
use serde_json::{Value, json};
use xsknet_bpf::contract::{MAX_TAP_FLOWS, MAX_TAPS};
use xsknet_bpf::{AttachError, ExplainError, FlowsError, GroupsError, PinnedMapError, TapError};
use xsknet_control::ListenError;
use xsknet_port::{
    CloseError, FlowClaimError, GroupError, HandOverError, JournalError, ManageError, OpenError, OpenPortError,
    ServiceError, ShareError, StepError, TapRefused,
};
use xsknet_xsk::{CreateError, LayoutError, TooManyChunks};

/// An error on its way to JavaScript.
#[derive(Debug)]
pub struct Failure(xsknet_failure::Failure);

impl Failure {
    /// A failure of our own, with nothing underneath. `details` is an object: the names and numbers of the message.
    pub fn new(code: &'static str, message: String, details: Value) -> Self {
        Self(xsknet_failure::Failure::new(code, message).details(details))
    }

    /// What to do about it.
    pub fn hint(self, hint: &str) -> Self {
        Self(self.0.hint(hint))
    }

    /// A failure from an error of the crates below.
    pub fn of(code: &'static str, error: &dyn Error, hint: Option<String>, details: Value) -> Self {
        let failure = xsknet_failure::Failure::of(code, error).details(details);
        Self(match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        })
    }

    /// Names the system call that was refused, if it was one.
    fn by(self, syscall: Option<&str>) -> Self {
        match syscall {
            Some(syscall) => Self(self.0.by(syscall)),
            None => self,
        }
    }
}

/// For places where it cannot be thrown any more.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Failure> for napi::Error {
    fn from(Failure(failure): Failure) -> Self {
        Self::new(Status::GenericFailure, failure.to_json())
    }
}

fn of_step(step: &StepError) -> &'static str {
    match step {
        StepError::Journal(cause) => of_journal(cause),
        StepError::Load(_)
        | StepError::Explain(ExplainError::Load(_))
        | StepError::Attach(_)
        | StepError::Copy(_)
        | StepError::Deaf { .. } => "PROGRAM_REFUSED",
        StepError::Link(_)
        | StepError::Offload(_)
        | StepError::Quiet(_)
        | StepError::Namespace(_)
        | StepError::Pin(_)
        | StepError::Table(_)
        | StepError::Map(_)
        | StepError::Run(_)
        | StepError::Explain(_)
        | StepError::Socket(_)
        | StepError::VlanShut { .. }
        | StepError::Io { .. } => "KERNEL_REFUSED",
    }
}

fn of_journal(error: &JournalError) -> &'static str {
    match error {
        JournalError::Damaged { .. } => "JOURNAL_DAMAGED",
        JournalError::Version { .. } | JournalError::Unknown { .. } => "JOURNAL_VERSION",
        JournalError::Io { .. } => "KERNEL_REFUSED",
    }
}

fn of_attach(error: &AttachError) -> &'static str {
    match error {
        AttachError::DeviceMissing { .. } => "DEVICE_MISSING",
        AttachError::ForeignProgram { .. } => "DEVICE_FOREIGN_PROGRAM",
        AttachError::ModeRefused { .. } | AttachError::TcRefused { .. } | AttachError::NotLoaded { .. } => {
            "PROGRAM_REFUSED"
        }
    }
}

fn of_socket(error: &CreateError) -> Value {
    match error {
        CreateError::NoSuchDevice { device } | CreateError::Lookup { device, .. } => json!({ "device": device }),
        CreateError::QueueTaken { device, queue } => json!({ "device": device, "queue": queue.0 }),
        CreateError::Refused { call, mode, device, queue, .. } => {
            json!({ "call": call, "mode": mode.name(), "device": device, "queue": queue.0 })
        }
        CreateError::Umem { bytes, .. } => json!({ "bytes": bytes }),
        CreateError::HugePages { .. } => json!({ "hugePages": "require" }),
        CreateError::UmemGone { device, .. } => json!({ "device": device }),
        CreateError::FillTooSmall { chunks, slots } => json!({ "chunks": chunks, "slots": slots }),
        CreateError::Keep { what, .. } => json!({ "what": what }),
        CreateError::Adopt(_) | CreateError::Prime(_) => json!({}),
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        let message = error.to_string();
        match error {
            ServiceError::OpenedBefore | ServiceError::Closed => Self::new("INTERNAL", message, json!({})),
            ServiceError::PortUnknown { key } => Self::new("PORT_UNKNOWN", message, json!({ "port": key.number() })),
            ServiceError::UplinkMissing { uplink } => Self::new("UPLINK_MISSING", message, json!({ "uplink": uplink }))
                .hint("`xsknetd status` lists the uplinks; `--uplink` of `xsknetd run` adds one"),
            ServiceError::Open(cause) => cause.into(),
            ServiceError::Manage(cause) => cause.into(),
            ServiceError::OpenPort(cause) => cause.into(),
            ServiceError::HandOver(cause) => cause.into(),
            ServiceError::Share(cause) => cause.into(),
            ServiceError::Flows(cause) => cause.into(),
            ServiceError::Groups(cause) => cause.into(),
            ServiceError::Step(cause) => cause.into(),
            ServiceError::Close(cause) => cause.into(),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let (code, details) = match &error {
            OpenError::AlreadyRunning { instance } => ("INSTANCE_RUNNING", json!({ "instance": instance })),
            OpenError::AbilityMissing { ability, .. } => ("ABILITY_MISSING", json!({ "ability": ability.purpose() })),
            OpenError::Journal(cause) => {
                let details = match cause {
                    JournalError::Damaged { path, line, why } => json!({ "path": path, "line": line, "why": why }),
                    JournalError::Version { path, found, known } => {
                        json!({ "path": path, "found": found, "known": known })
                    }
                    JournalError::Unknown { name } => json!({ "name": name }),
                    JournalError::Io { attempt, path, .. } => json!({ "attempt": attempt, "path": path }),
                };
                (of_journal(cause), details)
            }
            OpenError::Sweep(CloseError { left, what, cause }) => {
                (of_step(cause), json!({ "left": left, "what": what }))
            }
            OpenError::Secret(cause) => ("SECRET_INVALID", json!({ "attempt": cause.attempt, "path": cause.path })),
            OpenError::MountsHidden { path } => ("MOUNTS_HIDDEN", json!({ "path": path })),
            OpenError::Io { attempt, path, .. } => ("KERNEL_REFUSED", json!({ "attempt": attempt, "path": path })),
            OpenError::Link(_) => ("KERNEL_REFUSED", json!({})),
            OpenError::Step(cause) => (of_step(cause), json!({})),
        };
        Self::of(code, &error, error.hint(), details)
    }
}

impl From<ManageError> for Failure {
    fn from(error: ManageError) -> Self {
        let (code, device, more) = match &error {
            ManageError::DeviceMissing { device } => ("DEVICE_MISSING", device, json!({})),
            ManageError::AlreadyManaged { device, instance } => {
                ("DEVICE_MANAGED", device, json!({ "instance": instance }))
            }
            ManageError::ForeignProgram { device, id, name, tag, mode } => {
                let program = json!({ "id": id, "name": name, "tag": tag, "mode": mode.to_string() });
                ("DEVICE_FOREIGN_PROGRAM", device, program)
            }
            ManageError::NotEthernet { device } => ("DEVICE_NOT_ETHERNET", device, json!({})),
            ManageError::Deaf { device, .. } => ("DEVICE_DEAF", device, json!({})),
            ManageError::Load { device, .. } => ("PROGRAM_REFUSED", device, json!({})),
            ManageError::Attach { device, cause } => (of_attach(cause), device, json!({})),
            ManageError::Step { device, cause } => (of_step(cause), device, json!({})),
        };
        let mut details = more;
        details["device"] = device.as_str().into();
        Self::of(code, &error, error.hint(), details)
    }
}

impl From<FlowClaimError> for Failure {
    fn from(error: FlowClaimError) -> Self {
        use FlowClaimError as E;
        let (code, details) = match &error {
            E::Text { text, index, position, .. } => {
                ("FLOW_INVALID", json!({ "flow": text, "index": index, "position": position }))
            }
            E::Taken { flow, other, holder, uplink } => (
                "FLOW_TAKEN",
                json!({
                    "flow": flow.to_string(),
                    "other": other.as_ref().map(ToString::to_string),
                    "holder": holder,
                    "uplink": uplink.as_str(),
                }),
            ),
            E::HostSocket { flow, protocol, address, process } => (
                "FLOW_OF_HOST",
                json!({
                    "flow": flow.to_string(),
                    "protocol": protocol,
                    "address": address.ip().to_string(),
                    "port": address.port(),
                    "process": process,
                }),
            ),
            E::HostKernel { flow } => ("FLOW_OF_HOST", json!({ "flow": flow.to_string() })),
            E::TooMany { limit } | E::TooManyPlaceholders { limit } => ("FLOWS_EXHAUSTED", json!({ "limit": limit })),
            E::UplinkClosed { uplink } => ("UPLINK_CLOSED", json!({ "uplink": uplink.as_str() })),
            E::OfTap { port } => ("NOT_SUPPORTED", json!({ "port": port })),
            E::Refused(cause) => of_flows(cause),
            E::Step(cause) => (of_step(cause), json!({})),
        };
        Self::of(code, &error, error.hint(), details)
    }
}

fn of_flows(error: &FlowsError) -> (&'static str, Value) {
    match error {
        FlowsError::Contradiction { flow, .. } | FlowsError::Unclaimable { flow } => {
            ("FLOW_INVALID", json!({ "flow": flow.to_string() }))
        }
        FlowsError::Taken { flow, .. } => ("FLOW_TAKEN", json!({ "flow": flow.to_string() })),
        FlowsError::Full | FlowsError::TooManyKinds => ("FLOWS_EXHAUSTED", json!({})),
        FlowsError::NoPort { .. } => ("PORT_UNKNOWN", json!({})),
        FlowsError::Refused(_) => ("KERNEL_REFUSED", json!({})),
    }
}

impl From<GroupError> for Failure {
    fn from(error: GroupError) -> Self {
        use GroupError as E;
        let (code, details) = match &error {
            E::Text { text, index } => ("GROUP_INVALID", json!({ "group": text, "index": index })),
            E::TooMany { limit } => ("GROUPS_EXHAUSTED", json!({ "limit": limit })),
            E::NoCopies(_) => ("NOT_SUPPORTED", json!({})),
            E::UplinkClosed { uplink } => ("UPLINK_CLOSED", json!({ "uplink": uplink.as_str() })),
            E::OfTap { port } => ("NOT_SUPPORTED", json!({ "port": port })),
            E::Refused(cause) => match cause {
                GroupsError::NotAGroup { group } => ("GROUP_INVALID", json!({ "group": group.to_string() })),
                GroupsError::TooManyMembers { group } => ("GROUPS_EXHAUSTED", json!({ "group": group.to_string() })),
                GroupsError::Full => ("GROUPS_EXHAUSTED", json!({})),
                GroupsError::NoPort { .. } => ("PORT_UNKNOWN", json!({})),
                GroupsError::Refused(_) => ("KERNEL_REFUSED", json!({})),
            },
            E::Step(cause) => (of_step(cause), json!({})),
        };
        Self::of(code, &error, error.hint(), details)
    }
}

impl From<TapRefused> for Failure {
    fn from(error: TapRefused) -> Self {
        use TapRefused as E;
        let (code, details) = match &error {
            E::NotATaps { what } => ("NOT_SUPPORTED", json!({ "what": what })),
            E::NeedsRings | E::Nothing | E::NoSent(_) => ("NOT_SUPPORTED", json!({})),
            // The protocol's schema has the same bounds.
            E::SampleInvalid => ("INTERNAL", json!({})),
            E::SnapInvalid { snap } => ("INTERNAL", json!({ "snapLength": snap })),
            E::TooManyFlows { .. } => ("FLOWS_EXHAUSTED", json!({ "limit": MAX_TAP_FLOWS })),
            E::Refused(cause) => match cause {
                TapError::NoRings { .. } => ("NOT_SUPPORTED", json!({})),
                TapError::Full => ("PORTS_EXHAUSTED", json!({ "limit": MAX_TAPS })),
                TapError::TooManyFlows { .. } => ("FLOWS_EXHAUSTED", json!({ "limit": MAX_TAP_FLOWS })),
                TapError::Refused(_) => ("KERNEL_REFUSED", json!({})),
            },
            E::UplinkClosed { uplink } => ("UPLINK_CLOSED", json!({ "uplink": uplink.as_str() })),
            E::Step(cause) => (of_step(cause), json!({})),
        };
        Self::of(code, &error, error.hint(), details)
    }
}

impl From<OpenPortError> for Failure {
    fn from(error: OpenPortError) -> Self {
        use OpenPortError as E;
        let error = match error {
            E::Flows(cause) => return cause.into(),
            E::Groups(cause) => return cause.into(),
            E::Tap(cause) => return cause.into(),
            other => other,
        };
        let (code, details) = match &error {
            E::NoMorePorts { uplink, limit } => {
                ("PORTS_EXHAUSTED", json!({ "uplink": uplink.as_str(), "limit": limit }))
            }
            E::NoMoreQueues { uplink, limit } => {
                ("PORTS_EXHAUSTED", json!({ "uplink": uplink.as_str(), "limit": limit }))
            }
            // The protocol's schema has the same bounds.
            E::QueuesInvalid { queues, limit } => ("INTERNAL", json!({ "queues": queues, "limit": limit })),
            E::UmemNotShared { port, why } => ("NOT_SUPPORTED", json!({ "port": port, "why": why })),
            E::NoAddress => ("ADDRESS_MISSING", json!({})),
            E::AddressInvalid { address, what } => ("ADDRESS_INVALID", json!({ "address": address, "what": what })),
            E::AddressTaken { address, uplink, holder } => {
                ("ADDRESS_TAKEN", json!({ "address": address, "uplink": uplink.as_str(), "holder": holder }))
            }
            E::MacInvalid { mac, what } => ("MAC_INVALID", json!({ "mac": mac.to_string(), "what": what })),
            E::MacTaken { mac, uplink, holder } => {
                ("MAC_TAKEN", json!({ "mac": mac.to_string(), "uplink": uplink.as_str(), "holder": holder }))
            }
            E::NameTaken { name, uplink } => ("NAME_TAKEN", json!({ "name": name, "uplink": uplink.as_str() })),
            E::NameInvalid { name } => ("NAME_INVALID", json!({ "name": name })),
            E::VlanInvalid { vlan } => ("VLAN_INVALID", json!({ "vlan": vlan })),
            E::MtuTooLarge { mtu, needed, frame_size, capacity, most } => (
                "MTU_TOO_LARGE",
                json!({ "mtu": mtu, "needed": needed, "frameSize": frame_size, "capacity": capacity, "most": most }),
            ),
            E::MtuTooSmall { mtu, least } => ("MTU_TOO_SMALL", json!({ "mtu": mtu, "least": least })),
            E::MtuAboveUplink { mtu, uplink_mtu, uplink } => {
                ("MTU_ABOVE_UPLINK", json!({ "mtu": mtu, "uplinkMtu": uplink_mtu, "uplink": uplink.as_str() }))
            }
            E::NamespaceInvalid { found } => ("NAMESPACE_INVALID", json!({ "found": found })),
            E::GuardInvalid { uplink, why } => ("GUARD_INVALID", json!({ "uplink": uplink.as_str(), "why": why })),
            E::ClientDeviceTaken { device } => ("NAMESPACE_INVALID", json!({ "device": device.as_str() })),
            E::LinkDown { uplink, state } => ("LINK_DOWN", json!({ "uplink": uplink.as_str(), "state": state })),
            E::UplinkClosed { uplink } => ("UPLINK_CLOSED", json!({ "uplink": uplink.as_str() })),
            E::SelfTest { direction, waited_ms, seen } => {
                ("SELF_TEST_FAILED", json!({ "direction": direction, "waitedMs": waited_ms, "seen": seen }))
            }
            E::RingsUnavailable { uplink, why } => {
                ("RINGS_UNAVAILABLE", json!({ "uplink": uplink.as_str(), "why": why }))
            }
            E::Socket(cause) => ("SOCKET_REFUSED", of_socket(cause)),
            E::Flows(_) | E::Groups(_) | E::Tap(_) => unreachable!("returned above"),
            E::Step { uplink, cause } => (of_step(cause), json!({ "uplink": uplink.as_str() })),
        };
        let syscall = if let E::Socket(CreateError::Refused { call, .. }) = &error { Some(*call) } else { None };
        Self::of(code, &error, error.hint(), details).by(syscall)
    }
}

impl From<HandOverError> for Failure {
    fn from(error: HandOverError) -> Self {
        let HandOverError { held, tx, .. } = &error;
        Self::of("SOCKET_REFUSED", &error, None, json!({ "held": held, "tx": tx }))
    }
}

impl From<ShareError> for Failure {
    fn from(error: ShareError) -> Self {
        let (code, port) = match &error {
            ShareError::NotXsk { port, .. } | ShareError::NotBound { port } => ("SOCKET_REFUSED", port),
            ShareError::PortClosed { port } => ("PORT_UNKNOWN", port),
        };
        Self::of(code, &error, error.hint().map(Into::into), json!({ "name": port }))
    }
}

impl From<CreateError> for Failure {
    fn from(error: CreateError) -> Self {
        let syscall = if let CreateError::Refused { call, .. } = &error { Some(*call) } else { None };
        Self::of("SOCKET_REFUSED", &error, error.hint().map(Into::into), of_socket(&error)).by(syscall)
    }
}

impl From<PinnedMapError> for Failure {
    fn from(error: PinnedMapError) -> Self {
        use PinnedMapError as E;
        let (syscall, details) = match &error {
            E::NotThere { path, .. } | E::Denied { path, .. } => (Some("bpf"), json!({ "path": path })),
            E::NotASocketMap { path, queue, found } => {
                (None, json!({ "path": path, "queue": queue, "found": found.map(|found| found.to_string()) }))
            }
            E::Insert { path, queue, .. } => (Some("bpf"), json!({ "path": path, "queue": queue })),
        };
        Self::of("SOCKET_REFUSED", &error, error.hint(), details).by(syscall)
    }
}

impl From<LayoutError> for Failure {
    fn from(error: LayoutError) -> Self {
        let details = match error {
            LayoutError::FrameSize { frame_size } => json!({ "frameSize": frame_size }),
            LayoutError::Frames { frames } => json!({ "frames": frames }),
            LayoutError::Headroom { headroom, frame_size } => json!({ "headroom": headroom, "frameSize": frame_size }),
            LayoutError::RingSize { ring, slots } => json!({ "ring": ring.to_string(), "slots": slots }),
            LayoutError::FillTarget { target, frames } => json!({ "target": target, "frames": frames }),
        };
        Self::of("LAYOUT_INVALID", &error, None, details)
    }
}

impl From<TooManyChunks> for Failure {
    fn from(error: TooManyChunks) -> Self {
        let TooManyChunks { chunks, slots } = error;
        Self::new("LAYOUT_INVALID", error.to_string(), json!({ "chunks": chunks, "slots": slots }))
    }
}

impl From<StepError> for Failure {
    fn from(error: StepError) -> Self {
        Self::of(of_step(&error), &error, error.hint(), json!({}))
    }
}

impl From<CloseError> for Failure {
    fn from(error: CloseError) -> Self {
        let CloseError { left, what, cause } = &error;
        let details = json!({ "left": left, "what": what });
        let hint = cause.hint().unwrap_or_else(|| "the next start of this instance tries again".into());
        Self::of(of_step(cause), &error, Some(hint), details)
    }
}

impl From<ListenError> for Failure {
    fn from(error: ListenError) -> Self {
        let (code, details) = match &error {
            ListenError::Running { path } => ("INSTANCE_RUNNING", json!({ "path": path })),
            ListenError::PathTooLong { path } | ListenError::NotASocket { path } => {
                ("CONFIGURATION_INVALID", json!({ "path": path }))
            }
            ListenError::Words { .. } => ("INTERNAL", json!({})),
            ListenError::Failed { what, path, .. } => ("KERNEL_REFUSED", json!({ "attempt": what, "path": path })),
        };
        Self::of(code, &error, error.hint().map(str::to_owned), details)
    }
}
