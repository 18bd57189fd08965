//! The ways in which opening and closing end badly. Each names what was attempted, and `hint()` says what to do.

use std::borrow::Cow;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use xsknet_bpf::contract::MAX_TAP_FLOWS;
use xsknet_bpf::{AttachError, CopyError, FlowsError, GroupsError, LoadError, Tap, TapError, remedy};
use xsknet_filter::Flow;
use xsknet_link::{AttachedXdpMode, DeviceName, LinkError, MacAddr, NetnsError, OffloadError, QuietError};

use crate::ability::{Ability, kernel_release};
use crate::journal::JournalError;
use crate::mac::SecretError;

/// Why an instance did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the instance's lock.
    #[error("instance `{instance}` is already running")]
    AlreadyRunning {
        /// Its name.
        instance: String,
    },
    /// The kernel cannot do something that every port needs, or not for this process.
    #[error("this kernel, Linux {}, gives this process no {}", kernel_release(), ability.purpose())]
    AbilityMissing {
        /// What is missing.
        ability: Ability,
        /// The kernel's word.
        #[source]
        cause: io::Error,
    },
    /// The journal of an earlier run cannot be followed, or none can be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The secret from which ports' MACs are made cannot be read or made.
    #[error(transparent)]
    Secret(SecretError),
    /// An earlier run's changes could not all be undone.
    #[error("cannot undo what an earlier run of this instance left")]
    Sweep(#[source] CloseError),
    /// A file, folder, mount or namespace was refused.
    #[error("cannot {attempt} {}", path.display())]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's word.
        #[source]
        cause: io::Error,
    },
    /// The ports' namespace, or bpffs, is mounted for this process and those that share its mounts, and for nobody
    /// else: it would be out of reach for the next run.
    #[error("process 1 does not see the mount at {}: the mounts of this process are its own", path.display())]
    MountsHidden {
        /// What is mounted.
        path: PathBuf,
    },
    /// Netlink or ethtool were refused.
    #[error("cannot reach the network devices")]
    Link(#[from] LinkError),
    /// A step of opening was refused.
    #[error("cannot set up the instance")]
    Step(#[from] StepError),
}

impl OpenError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let known = match self {
            Self::AlreadyRunning { .. } => Some("stop the other process, or choose another instance name".into()),
            Self::Journal(cause) => cause.hint(),
            Self::AbilityMissing { cause, .. } if is_denied(cause) => Some(
                "this needs root with CAP_NET_RAW, CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_BPF: a container or a service \
                 may have been started without some of them"
                    .into(),
            ),
            Self::AbilityMissing { cause, .. } => {
                Some(remedy(cause).unwrap_or("run Linux 6.6 or later, built with it").into())
            }
            Self::MountsHidden { .. } => Some(
                "start it among the machine's own mounts: in a systemd unit without what gives it others \
                 (PrivateMounts=, PrivateTmp=, ProtectSystem= and the like), by hand with `nsenter --target 1 --mount`"
                    .into(),
            ),
            Self::Io { cause, .. } => hint_of(cause),
            Self::Link(cause) => cause.hint().map(Into::into),
            Self::Step(cause) => cause.hint(),
            Self::Secret(cause) => Some(cause.hint()),
            Self::Sweep(cause) => cause.cause.hint(),
        };
        known.or_else(|| remedy(self).map(Into::into))
    }
}

impl JournalError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Damaged { path, .. } => Some(format!(
                "nothing was touched; look at what the file still records (offloads, filters, devices with the alias \
                 `xsknet:`), then remove {} and start again: pins, namespaces and devices are found by their names",
                path.display()
            )),
            Self::Version { .. } => Some(
                "nothing was touched; start the newer release that wrote it, which undoes what it records, or reboot: \
                 after a reboot nothing in it exists any more"
                    .into(),
            ),
            Self::Unknown { .. } => Some(
                "start the newer release that made it, or reboot: after a reboot nothing in the journal exists any more"
                    .into(),
            ),
            Self::Io { cause, .. } => hint_of(cause),
        }
    }
}

/// What to do about an answer of the kernel to a step of opening.
fn hint_of(cause: &io::Error) -> Option<String> {
    let right = "this needs root, or at least CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_BPF";
    remedy(cause).or(is_denied(cause).then_some(right)).map(Into::into)
}

/// Whether it was a right that was missing.
fn is_denied(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.any(|error| {
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    })
}

/// Why a NIC did not become an uplink.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// No such device in this network namespace.
    #[error("there is no device `{device}`")]
    DeviceMissing {
        /// The name that was asked for.
        device: DeviceName,
    },
    /// The NIC is an uplink already.
    #[error("`{device}` is already managed by instance `{instance}`")]
    AlreadyManaged {
        /// The NIC.
        device: DeviceName,
        /// Whose it is.
        instance: String,
    },
    /// Another program has attached its XDP program to the NIC. It is never replaced.
    #[error("`{device}` carries XDP program {id} `{name}` (tag {tag}, {mode} mode), which is not ours")]
    ForeignProgram {
        /// The NIC.
        device: DeviceName,
        /// The kernel's id of the program.
        id: u32,
        /// Its name, up to 15 bytes.
        name: String,
        /// A hash of its instructions.
        tag: String,
        /// Where it runs.
        mode: AttachedXdpMode,
    },
    /// The NIC has no Ethernet address.
    #[error("`{device}` is not an Ethernet device")]
    NotEthernet {
        /// The device.
        device: DeviceName,
    },
    /// Frames for the MACs of ports never come to it, although it takes filters.
    #[error("no port on `{device}` would receive a unicast frame: {why}")]
    Deaf {
        /// The device.
        device: DeviceName,
        /// By its kind.
        why: &'static str,
    },
    /// The programs did not load.
    #[error("cannot load the programs of `{device}`")]
    Load {
        /// The NIC.
        device: DeviceName,
        /// Why.
        #[source]
        cause: LoadError,
    },
    /// The program was not attached: a foreign one sits there, or the mode was refused.
    #[error("cannot attach to `{device}`")]
    Attach {
        /// The NIC.
        device: DeviceName,
        /// Why.
        #[source]
        cause: AttachError,
    },
    /// Something around the programs failed.
    #[error("cannot make `{device}` an uplink")]
    Step {
        /// The NIC.
        device: DeviceName,
        /// Why.
        #[source]
        cause: StepError,
    },
}

impl ManageError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let known = match self {
            Self::DeviceMissing { .. } => Some("`ip link` lists the devices of this network namespace".into()),
            Self::AlreadyManaged { instance, .. } => Some(format!(
                "open the port on the uplink that is there; if its process was killed, a start of instance \
                 `{instance}` gives the NIC back"
            )),
            Self::ForeignProgram { device, .. } => Some(format!(
                "stop its owner, or take it off with `ip link set dev {device} xdp off` (for a link: \
                 `bpftool link show` lists its holder), or choose another NIC"
            )),
            Self::NotEthernet { .. } => Some("choose an Ethernet interface".into()),
            Self::Deaf { .. } => Some("choose the device below it, or a macvlan in mode passthru".into()),
            Self::Load { cause, .. } => cause.hint(),
            Self::Attach { cause, .. } => cause.hint(),
            Self::Step { cause, .. } => cause.hint(),
        };
        known.or_else(|| remedy(self).map(Into::into))
    }
}

/// Why a port did not open. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum OpenPortError {
    /// The uplink has as many ports as its maps hold.
    #[error("`{uplink}` already has {limit} ports, the maximum")]
    NoMorePorts {
        /// The uplink.
        uplink: DeviceName,
        /// How many fit.
        limit: u32,
    },
    /// No port has so many queues, or none.
    #[error("a port cannot have {queues} queues: it has 1 to {limit}")]
    QueuesInvalid {
        /// As asked for.
        queues: u32,
        /// The most.
        limit: u32,
    },
    /// The uplink's ports have as many queues together as its maps hold.
    #[error("the ports of `{uplink}` can have {limit} queues in total, and these would be more")]
    NoMoreQueues {
        /// The uplink.
        uplink: DeviceName,
        /// How many fit.
        limit: u32,
    },
    /// The UMEM of this port cannot be another one's, too.
    #[error("the UMEM of port `{port}` cannot be shared: {why}")]
    UmemNotShared {
        /// The port whose UMEM was asked for.
        port: String,
        /// Why not.
        why: &'static str,
    },
    /// A port without an address has flows alone, and this one has none.
    #[error("a port needs at least one address, or flows")]
    NoAddress,
    /// An address that cannot be a host's.
    #[error("{address} cannot be a port's address: it is {what}")]
    AddressInvalid {
        /// The address, as it was given.
        address: String,
        /// What it is.
        what: Cow<'static, str>,
    },
    /// The address is in use.
    #[error("{address} on `{uplink}` belongs to {holder}")]
    AddressTaken {
        /// The address.
        address: IpAddr,
        /// The uplink.
        uplink: DeviceName,
        /// Its holder.
        holder: String,
    },
    /// A MAC that cannot be a port's.
    #[error("{mac} cannot be a port's MAC: it is {what}")]
    MacInvalid {
        /// The address.
        mac: MacAddr,
        /// What it is.
        what: &'static str,
    },
    /// The MAC is in use.
    #[error("{mac} on `{uplink}` belongs to {holder}")]
    MacTaken {
        /// The address.
        mac: MacAddr,
        /// The uplink.
        uplink: DeviceName,
        /// Its holder.
        holder: String,
    },
    /// Another port of this uplink has the name.
    #[error("`{uplink}` has a port named `{name}`")]
    NameTaken {
        /// The name.
        name: String,
        /// The uplink.
        uplink: DeviceName,
    },
    /// A name that would spoil an alias.
    #[error("`{name}` cannot name a port: it takes 1 to 64 letters, digits, `-`, `_` and `.`")]
    NameInvalid {
        /// The name.
        name: String,
    },
    /// No VLAN has this number.
    #[error("{vlan} is not a VLAN ID: they go from 1 to 4094")]
    VlanInvalid {
        /// The number.
        vlan: u32,
    },
    /// A received frame would not fit.
    #[error(
        "an MTU of {mtu} needs {needed} bytes per frame, and with chunks of {frame_size} bytes a frame can have \
         {capacity}: that is an MTU of {most} at most"
    )]
    MtuTooLarge {
        /// The port's MTU, in bytes.
        mtu: u32,
        /// The longest frame at that MTU, with one VLAN tag.
        needed: u32,
        /// Bytes of one UMEM chunk.
        frame_size: u32,
        /// The longest frame that can be received.
        capacity: u32,
        /// The largest MTU that fits.
        most: u32,
    },
    /// No Ethernet device has so small an MTU.
    #[error("an MTU of {mtu} is less than {least}, the minimum of IPv4")]
    MtuTooSmall {
        /// The port's MTU, in bytes.
        mtu: u32,
        /// The least.
        least: u32,
    },
    /// The port would take what the uplink cannot send.
    #[error("an MTU of {mtu} is more than the {uplink_mtu} of `{uplink}`")]
    MtuAboveUplink {
        /// The port's MTU.
        mtu: u32,
        /// The uplink's.
        uplink_mtu: u32,
        /// The uplink.
        uplink: DeviceName,
    },
    /// What a client gave as its network namespace is none, or one that no client's end may be in.
    #[error("the port's device cannot be made in the client's namespace: {found}")]
    NamespaceInvalid {
        /// What it is instead.
        found: String,
    },
    /// What leaves through a guard in skb mode can still be changed by what the frame's owner said beside it: checksums
    /// that are yet to be filled in, VLAN tags that are yet to be put in. So nobody gets a port of whose device it is
    /// the owner.
    #[error("a pinned port of `{uplink}` is not possible, because its guard would run in skb mode: {why}")]
    GuardInvalid {
        /// The uplink.
        uplink: DeviceName,
        /// Why it would not run in native mode.
        why: String,
    },
    /// BPF rings were asked for, and this port cannot have them.
    #[error("a port of `{uplink}` cannot have BPF rings: {why}")]
    RingsUnavailable {
        /// The uplink.
        uplink: DeviceName,
        /// Why not.
        why: String,
    },
    /// The client's network namespace has another device of this name.
    #[error("the client's network namespace already has a device named `{device}`, as the port's device")]
    ClientDeviceTaken {
        /// The name.
        device: DeviceName,
    },
    /// Nothing can leave the uplink now.
    #[error("`{uplink}` {state}, so no frame can be sent")]
    LinkDown {
        /// The uplink.
        uplink: DeviceName,
        /// `is down`, or `has no carrier`.
        state: &'static str,
    },
    /// The uplink is closed.
    #[error("`{uplink}` is no longer managed")]
    UplinkClosed {
        /// Its name.
        uplink: DeviceName,
    },
    /// A self-test frame did not arrive: the port could not receive or not send.
    #[error("a self-test frame {direction} did not arrive within {waited_ms} ms: {seen}")]
    SelfTest {
        /// `to the port` or `from the port`.
        direction: &'static str,
        /// How long it was waited for.
        waited_ms: u64,
        /// The counters that moved.
        seen: String,
    },
    /// Its flows were not claimed.
    #[error(transparent)]
    Flows(#[from] FlowClaimError),
    /// It did not get into its groups.
    #[error(transparent)]
    Groups(#[from] GroupError),
    /// It cannot be the tap that was asked for.
    #[error(transparent)]
    Tap(#[from] TapRefused),
    /// The port's socket was not made.
    #[error("cannot make the port's socket")]
    Socket(#[from] xsknet_xsk::CreateError),
    /// Something around it failed.
    #[error("cannot open a port of `{uplink}`")]
    Step {
        /// The uplink.
        uplink: DeviceName,
        /// Why.
        #[source]
        cause: StepError,
    },
}

impl OpenPortError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let known = match self {
            Self::NoMorePorts { .. } => Some("close a port, or open it on another uplink".into()),
            Self::NoMoreQueues { .. } => Some("ask for fewer queues, or open the port on another uplink".into()),
            Self::QueuesInvalid { .. } => Some("one queue for each core that reads is enough".into()),
            Self::NoAddress => Some(
                "give it an address of the uplink's network, such as 192.0.2.10, or flows of the host's address, such \
                 as `udp dst port 53 and dst host 192.0.2.1`"
                    .into(),
            ),
            Self::UmemNotShared { .. } => Some("share the UMEM of an open port with one queue".into()),
            Self::AddressTaken { .. } => Some("choose an address that no host of this network has".into()),
            Self::MacTaken { .. } => Some("leave the MAC out: one is generated".into()),
            Self::NameTaken { .. } => Some("choose another name, or leave it out".into()),
            Self::MtuTooLarge { .. } => Some(
                "let a frame take several chunks (multi-buffer), or ask for larger chunks (4096) or a smaller MTU"
                    .into(),
            ),
            Self::NamespaceInvalid { .. } => {
                Some("send a descriptor of the client's own network namespace: /proc/self/ns/net, opened".into())
            }
            Self::GuardInvalid { .. } => Some(
                "open a brokered port, whose device its client cannot reach; or have the daemon manage the NIC in \
                 native mode"
                    .into(),
            ),
            Self::RingsUnavailable { .. } => {
                Some("open the port with AF_XDP's rings (`xsk`), or let XSKNet choose (`auto`)".into())
            }
            Self::ClientDeviceTaken { .. } => Some("delete or rename that device: `ip link` lists them".into()),
            Self::MtuTooSmall { .. } | Self::MtuAboveUplink { .. } => {
                Some("leave the MTU out: the uplink's is taken".into())
            }
            Self::LinkDown { uplink, state: "is down" } => {
                Some(format!("switch it on: `ip link set dev {uplink} up`; then open the port again"))
            }
            Self::LinkDown { .. } => Some("check the cable and its other end; then open the port again".into()),
            Self::SelfTest { .. } => Some(
                "`attempts` of the uplink says which modes were granted; skb mode works where a NIC cannot transmit \
                 redirected frames"
                    .into(),
            ),
            Self::Flows(cause) => cause.hint(),
            Self::Groups(cause) => cause.hint(),
            Self::Tap(cause) => cause.hint(),
            Self::Socket(cause) => cause.hint().map(Into::into),
            Self::Step { cause, .. } => cause.hint(),
            Self::AddressInvalid { .. } => Some("give it the address of one host, such as 192.0.2.10".into()),
            Self::NameInvalid { .. } => Some("names have 1 to 64 letters, digits, `-`, `_` and `.`".into()),
            Self::VlanInvalid { .. } => Some("VLANs are 1 to 4094; leave it out for untagged frames".into()),
            Self::UplinkClosed { .. } => Some("start the daemon again once the NIC is back".into()),
            Self::MacInvalid { .. } => Some("leave the MAC out".into()),
        };
        known.or_else(|| remedy(self).map(Into::into))
    }
}

/// Why a port did not become a tap.
#[derive(Debug, thiserror::Error)]
pub enum TapRefused {
    /// A tap has copies alone.
    #[error("a tap cannot have {what}")]
    NotATaps {
        /// What was asked for.
        what: &'static str,
    },
    /// Copies are written into BPF rings.
    #[error("a tap needs BPF rings")]
    NeedsRings,
    /// Neither what is received nor what is sent.
    #[error("a tap of neither received nor sent frames would get nothing")]
    Nothing,
    /// One of no frames.
    #[error("a tap cannot sample one of 0 frames")]
    SampleInvalid,
    /// The part of a frame is too short for headers, or too long for a chunk.
    #[error("a tap cannot copy {snap} bytes of a frame: it copies from {} to {} at most", Tap::MIN_SNAP, Tap::MAX_SNAP)]
    SnapInvalid {
        /// As asked for.
        snap: u32,
    },
    /// A frame is compared with each of them.
    #[error("a tap takes {MAX_TAP_FLOWS} flows, not {flows}")]
    TooManyFlows {
        /// As given.
        flows: usize,
    },
    /// The kernel cannot copy what the host sends.
    #[error("a tap gets no copies of what the host sends from this kernel")]
    NoSent(#[source] AttachError),
    /// The tables of the uplink refused it.
    #[error(transparent)]
    Refused(#[from] TapError),
    /// The uplink is closed.
    #[error("`{uplink}` is no longer managed")]
    UplinkClosed {
        /// Its name.
        uplink: DeviceName,
    },
    /// Something around it failed.
    #[error(transparent)]
    Step(#[from] StepError),
}

impl TapRefused {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotATaps { what } => Some(format!("open another port for what has {what}")),
            Self::NeedsRings => Some("leave out `rings`, or open it with BPF rings (`bpf`)".into()),
            Self::Nothing => Some("leave out `received` or `sent`".into()),
            Self::SampleInvalid => Some("1 is all frames".into()),
            Self::SnapInvalid { .. } => Some("leave it out for as much as possible".into()),
            Self::TooManyFlows { .. } => Some("name prefixes or ranges in the place of single values".into()),
            Self::NoSent(cause) => cause.hint(),
            Self::Refused(cause) => cause.hint(),
            Self::UplinkClosed { .. } => Some("start the daemon again once the NIC is back".into()),
            Self::Step(cause) => cause.hint(),
        }
    }
}

impl From<CopyError> for TapRefused {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Load(cause) => Self::Step(cause.into()),
            CopyError::Attach(cause @ AttachError::TcRefused { .. }) => Self::NoSent(cause),
            CopyError::Attach(cause) => Self::Step(cause.into()),
        }
    }
}

/// Why the flows of a port did not change.
#[derive(Debug, thiserror::Error)]
pub enum FlowClaimError {
    /// A text is not an expression, or not a set of flows.
    #[error("\"{text}\" cannot be claimed: {why}")]
    Text {
        /// The text.
        text: String,
        /// Its place in the list.
        index: usize,
        /// The byte of the text that the reason is about.
        position: usize,
        /// Why.
        why: String,
    },
    /// Another flow is in conflict with one of these.
    #[error("the flow \"{flow}\" on `{uplink}` is in conflict with {}of {holder}", quoted(other.as_deref()))]
    Taken {
        /// Which.
        flow: Box<Flow>,
        /// The other one, if the user may see it.
        other: Option<Box<Flow>>,
        /// Whose that is.
        holder: String,
        /// The uplink.
        uplink: DeviceName,
    },
    /// A socket of the host would receive nothing any more, or less.
    #[error(
        "the flow \"{flow}\" would take packets of the host's {protocol} socket {address}{}",
        process.as_ref().map_or_else(String::new, |process| format!(" ({process})"))
    )]
    HostSocket {
        /// Which.
        flow: Box<Flow>,
        /// `TCP` or `UDP`.
        protocol: &'static str,
        /// Its address and port.
        address: SocketAddr,
        /// Who has it, if it was found and the user may know.
        process: Option<String>,
    },
    /// The host's kernel answers some of these packets.
    #[error("the flow \"{flow}\" would take packets that the host's kernel answers, such as pings")]
    HostKernel {
        /// Which.
        flow: Box<Flow>,
    },
    /// A port has so many flows at most.
    #[error("a port has at most {limit} flows")]
    TooMany {
        /// How many.
        limit: usize,
    },
    /// As many ports of the host are kept free as one instance may keep.
    #[error("an instance keeps at most {limit} ports of the host from its programs")]
    TooManyPlaceholders {
        /// How many.
        limit: usize,
    },
    /// The port is a tap.
    #[error("port `{port}` is a tap, which gets copies alone and cannot claim flows")]
    OfTap {
        /// Its name.
        port: String,
    },
    /// The uplink, or the port, is closed.
    #[error("`{uplink}` is no longer managed")]
    UplinkClosed {
        /// Its name.
        uplink: DeviceName,
    },
    /// The tables of the uplink refused them.
    #[error(transparent)]
    Refused(FlowsError),
    /// Something around them failed.
    #[error(transparent)]
    Step(#[from] StepError),
}

fn quoted(flow: Option<&Flow>) -> String {
    flow.map_or_else(|| "one ".into(), |flow| format!("\"{flow}\" "))
}

impl FlowClaimError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Text { .. } => {
                Some("docs/flows.md of the package xsknet says what an expression and a flow can have".into())
            }
            Self::Taken { .. } => Some("release the other flow first, or make one of the two more specific".into()),
            Self::HostSocket { .. } => {
                Some("end that program, make the flow more specific, or take its packets by `overrideHost`".into())
            }
            Self::HostKernel { .. } => Some("name TCP or UDP, or take these packets by `overrideHost`".into()),
            Self::TooMany { .. } => Some("claim prefixes and ranges instead of single values".into()),
            Self::TooManyPlaceholders { .. } => {
                Some("claim fewer single ports of the host's addresses, or claim them by `overrideHost`".into())
            }
            Self::OfTap { .. } => Some("open another port for it".into()),
            Self::UplinkClosed { .. } => Some("start the daemon again once the NIC is back".into()),
            Self::Refused(cause) => cause.hint(),
            Self::Step(cause) => cause.hint(),
        }
    }
}

/// Why the groups of a port did not change.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// A text is not a group.
    #[error("\"{text}\" is not a group that a port can join")]
    Text {
        /// The text.
        text: String,
        /// Its place in the list.
        index: usize,
    },
    /// A port has so many groups at most.
    #[error("a port is in at most {limit} groups")]
    TooMany {
        /// How many.
        limit: usize,
    },
    /// The kernel cannot copy for a port without BPF rings.
    #[error("a port without BPF rings gets no copies of broadcast and multicast from this kernel")]
    NoCopies(#[source] AttachError),
    /// The port is a tap.
    #[error("port `{port}` is a tap, which gets copies alone and cannot join groups")]
    OfTap {
        /// Its name.
        port: String,
    },
    /// The uplink, or the port, is closed.
    #[error("`{uplink}` is no longer managed")]
    UplinkClosed {
        /// Its name.
        uplink: DeviceName,
    },
    /// The tables of the uplink refused them.
    #[error(transparent)]
    Refused(#[from] GroupsError),
    /// Something around them failed.
    #[error(transparent)]
    Step(#[from] StepError),
}

impl GroupError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Text { .. } => Some(
                "name a multicast address such as 224.0.0.251 or ff02::1, a multicast MAC such as 01:80:c2:00:00:0e, \
                 or broadcast"
                    .into(),
            ),
            Self::TooMany { .. } => Some("leave groups that are not needed, or open another port for them".into()),
            Self::NoCopies(cause) => cause.hint(),
            Self::OfTap { .. } => Some("open another port for it".into()),
            Self::UplinkClosed { .. } => Some("start the daemon again once the NIC is back".into()),
            Self::Refused(cause) => cause.hint(),
            Self::Step(cause) => cause.hint(),
        }
    }
}

impl From<CopyError> for GroupError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Load(cause) => Self::Step(cause.into()),
            CopyError::Attach(cause @ AttachError::TcRefused { .. }) => Self::NoCopies(cause),
            CopyError::Attach(cause) => Self::Step(cause.into()),
        }
    }
}

/// A step between user space and the kernel that did not work out.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A device.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// An offload.
    #[error(transparent)]
    Offload(#[from] OffloadError),
    /// Silence on a port's device.
    #[error(transparent)]
    Quiet(#[from] QuietError),
    /// A namespace.
    #[error(transparent)]
    Namespace(#[from] NetnsError),
    /// Loading.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Attaching.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The program that copies.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// Pinning.
    #[error(transparent)]
    Pin(#[from] xsknet_bpf::PinLinkError),
    /// A map's entries.
    #[error(transparent)]
    Table(#[from] xsknet_bpf::TableError),
    /// A map.
    #[error("cannot read or write a map")]
    Map(#[from] xsknet_bpf::MapError),
    /// A program on a frame of our own.
    #[error(transparent)]
    Run(#[from] xsknet_bpf::RunError),
    /// What the programs decide about a frame.
    #[error(transparent)]
    Explain(#[from] xsknet_bpf::ExplainError),
    /// The socket.
    #[error(transparent)]
    Socket(#[from] xsknet_xsk::SocketError),
    /// A NIC's program sees nothing of what the NIC receives, although it was attached anew.
    #[error("the driver of `{device}` still does not run it: {frames} frames arrived that it did not see")]
    Deaf {
        /// The NIC.
        device: DeviceName,
        /// Frames that the NIC has received since.
        frames: u64,
    },
    /// A NIC filters VLANs, and does not accept one.
    #[error("frames of VLAN {id} are not received: {why}")]
    VlanShut {
        /// The VLAN.
        id: u16,
        /// What was tried.
        why: String,
    },
    /// Anything else of the kernel's.
    #[error("cannot {attempt}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// The kernel's word.
        #[source]
        cause: io::Error,
    },
}

impl StepError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let known = match self {
            Self::Link(cause) => cause.hint().map(Into::into),
            Self::Offload(cause) => cause.hint().map(Into::into),
            Self::Quiet(cause) => cause.hint().map(Into::into),
            Self::Namespace(cause) => cause.hint().map(Into::into),
            Self::Load(cause) => cause.hint(),
            Self::Attach(cause) => cause.hint(),
            Self::Copy(CopyError::Load(cause)) => cause.hint(),
            Self::Copy(CopyError::Attach(cause)) => cause.hint(),
            Self::Pin(cause) => cause.hint(),
            Self::Io { cause, .. } => hint_of(cause),
            Self::Deaf { .. } => {
                Some("start the daemon in skb mode, where the kernel runs it instead of the driver".into())
            }
            Self::VlanShut { id, .. } => {
                Some(format!("make a device of VLAN {id} on the NIC: `ip link add … type vlan id {id}`"))
            }
            Self::Journal(cause) => cause.hint(),
            Self::Table(_) | Self::Map(_) | Self::Run(_) | Self::Explain(_) | Self::Socket(_) => {
                remedy(self).map(Into::into)
            }
        };
        known.or_else(|| remedy(self).map(Into::into))
    }
}

/// Why a socket was not shared with its port's statistics.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The descriptor is something else.
    #[error("the descriptor shared for port `{port}` is not an AF_XDP socket")]
    NotXsk {
        /// The port's name.
        port: String,
        /// What the kernel answered to the question, if it refused it: ENOTSOCK for a file.
        #[source]
        cause: Option<io::Error>,
    },
    /// The socket is not bound to a device.
    #[error("the socket shared for port `{port}` is not bound, or its device is gone")]
    NotBound {
        /// The port's name.
        port: String,
    },
    /// The port's uplink was released in the meantime.
    #[error("port `{port}` is closed")]
    PortClosed {
        /// The port's name.
        port: String,
    },
}

impl ShareError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotXsk { .. } => Some("send a duplicate of the socket that is in the port's XSKMAP"),
            Self::NotBound { .. } => Some("bind it to the port's device first"),
            Self::PortClosed { .. } => None,
        }
    }
}

/// What could not be undone. It stays in the journal, and the next start tries again.
#[derive(Debug, thiserror::Error)]
#[error("{} of the changes to this host could not be undone; the first: {what}", left)]
pub struct CloseError {
    /// How many.
    pub left: usize,
    /// The first of them.
    pub what: String,
    /// Why.
    #[source]
    pub cause: StepError,
}
