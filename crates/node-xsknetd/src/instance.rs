//! The daemon's instance as JavaScript sees it. Whatever blocks runs on a thread of the pool.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use napi::bindgen_prelude::{Function, PromiseRaw, Uint8Array};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Status};
use napi_derive::napi;
use serde_json::json;
use xsknet_bpf::Mode;
use xsknet_control::Arrived;
use xsknet_link::{DeviceName, Netns};
use xsknet_port::{
    Client, FlowChange, GroupChange, HandedOver, InstanceName, OpenPortError, Places, PortKey, PortKind, Service,
    StepError, UplinkOptions, parse_flows, parse_groups,
};
use xsknet_xsk::{RingDonation, RingName, chunks_for_fill};

use crate::describe::{
    Attempt, Change, Loss, Owner, Pin, PortInfo, PortRequest, PortStatistics, SocketDescription, Terms, UmemOf,
    UplinkInfo, UplinkStatistics,
};
use crate::descriptors::Descriptors;
use crate::error::Failure;
use crate::explanation::explanation;
use crate::refusals::refusals;

/// Which instance, and where it keeps what outlives its process.
#[napi(object, object_to_js = false)]
pub struct InstanceOptions {
    /// A private one, `embedded-<process>-<number>`, unless given.
    pub name: Option<String>,
    /// `/run/xsknet` unless given.
    pub run: Option<String>,
    /// `/sys/fs/bpf` unless given.
    pub bpffs: Option<String>,
}

/// What became of an instance that a killed process had left.
#[napi(object, object_from_js = false)]
pub struct Swept {
    pub instance: String,
    /// Why something of it is still there.
    pub failure: Option<String>,
}

/// An instance: its uplinks and ports. It is closed when JavaScript's thread ends, at the latest.
#[napi]
pub struct Instance(Arc<Service>);

/// A callback that does not keep the process alive.
type Listener<T> = ThreadsafeFunction<T, (), T, Status, false, true>;

#[napi]
impl Instance {
    /// An instance that is not open yet.
    #[napi(constructor)]
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Opens it, once, after undoing what an earlier run of its name left. Resolves with its name.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn open<'env>(&self, env: &'env Env, options: InstanceOptions) -> napi::Result<PromiseRaw<'env, String>> {
        let service = Arc::clone(&self.0);
        env.spawn_future(blocking(move || {
            let InstanceOptions { name, run, bpffs } = options;
            let defaults = Places::default();
            let places = Places {
                run: run.map_or(defaults.run, PathBuf::from),
                bpffs: bpffs.map_or(defaults.bpffs, PathBuf::from),
                ..defaults
            };
            let invalid = |name: String| {
                name.parse::<InstanceName>()
                    .map_err(|error| Failure::new("INSTANCE_NAME_INVALID", error.to_string(), json!({ "name": name })))
            };
            let name = name.map(invalid).transpose()?;
            Ok(service.open(|| match name {
                None => xsknet_port::Instance::open_private(&places),
                Some(name) => xsknet_port::Instance::open(xsknet_port::InstanceOptions {
                    name,
                    places,
                    ..xsknet_port::InstanceOptions::default()
                }),
            })?)
        }))
    }

    /// Undoes what private instances left whose processes were killed and whose NICs are those of this network
    /// namespace.
    #[napi]
    pub async fn sweep_dead() -> napi::Result<Vec<Swept>> {
        blocking(|| {
            let swept = xsknet_port::sweep_dead_here(&Places::default(), xsknet_port::PRIVATE_PREFIX);
            let told = swept.into_iter().map(|(name, became)| Swept {
                instance: name.to_string(),
                failure: became.err().map(|error| Failure::from(error).to_string()),
            });
            Ok(told.collect())
        })
        .await
    }

    /// Calls back when others delete a NIC or a port's pair. Does not keep the process alive; the last callback counts.
    #[napi]
    pub fn on_loss(
        &self,
        #[napi(ts_arg_type = "(loss: Loss) => void")] callback: Function<'_, Loss, ()>,
    ) -> napi::Result<()> {
        let listener: Listener<Loss> =
            callback.build_threadsafe_function().callee_handled::<false>().weak::<true>().build()?;
        // Refused once JavaScript is being torn down.
        let tell = move |loss| {
            let _ = listener.call(Loss::from(loss), ThreadsafeFunctionCallMode::NonBlocking);
        };
        Ok(self.0.on_loss(Box::new(tell)).map_err(Failure::from)?)
    }

    /// Calls back when others change a NIC, give the host a port's address, or take a program off a device. Does not
    /// keep the process alive; the last callback counts. What came before [`on_loss`](Self::on_loss) was called is not
    /// told.
    #[napi]
    pub fn on_change(
        &self,
        #[napi(ts_arg_type = "(change: Change) => void")] callback: Function<'_, Change, ()>,
    ) -> napi::Result<()> {
        let listener: Listener<Change> =
            callback.build_threadsafe_function().callee_handled::<false>().weak::<true>().build()?;
        self.0.on_notice(Box::new(move |notice| {
            if let Some(change) = Change::of(notice) {
                let _ = listener.call(change, ThreadsafeFunctionCallMode::NonBlocking);
            }
        }));
        Ok(())
    }

    /// Calls back with the number of each closed port once nothing of it is left: no descriptor of its sockets, and so
    /// no memory. Does not keep the process alive; the last callback counts. Once the instance is open.
    #[napi]
    pub fn on_freed(
        &self,
        #[napi(ts_arg_type = "(port: number) => void")] callback: Function<'_, u32, ()>,
    ) -> napi::Result<()> {
        let listener: Listener<u32> =
            callback.build_threadsafe_function().callee_handled::<false>().weak::<true>().build()?;
        self.0.on_freed(move |key| {
            let _ = listener.call(key.number(), ThreadsafeFunctionCallMode::NonBlocking);
        });
        Ok(())
    }

    /// Makes a NIC an uplink.
    #[napi(ts_return_type = "Promise<UplinkInfo>")]
    pub fn manage<'env>(
        &self,
        env: &'env Env,
        device: String,
        #[napi(ts_arg_type = "'native' | 'skb' | 'hw' | 'unspecified'")] mode: String,
    ) -> napi::Result<PromiseRaw<'env, UplinkInfo>> {
        let service = Arc::clone(&self.0);
        env.spawn_future(blocking(move || {
            let mode: Mode = mode.parse().map_err(|error: xsknet_bpf::UnknownMode| {
                Failure::new("INTERNAL", error.to_string(), json!({ "mode": mode }))
            })?;
            let device: DeviceName = device.parse().map_err(|error: xsknet_link::InvalidDeviceName| {
                Failure::new("DEVICE_NAME_INVALID", error.to_string(), json!({ "device": device }))
            })?;
            Ok(UplinkInfo::from(&*service.manage(&UplinkOptions { device, mode })?))
        }))
    }

    /// Throws where no such port is possible, regardless of other ports and of the user. Of the uplink only its MTU
    /// counts, if the uplink is given. Makes no system call.
    #[napi]
    pub fn check_port(&self, uplink: Option<String>, mut request: PortRequest) -> napi::Result<()> {
        let kind = if request.umem_of.take().is_some() { PortKind::Shared } else { PortKind::Brokered };
        self.check(uplink, request, kind)
    }

    /// The same of a pinned port.
    #[napi]
    pub fn check_pinned_port(&self, uplink: Option<String>, request: PortRequest) -> napi::Result<()> {
        self.check(uplink, request, PortKind::Pinned)
    }

    /// Opens a port and hands its sockets over.
    #[napi(ts_return_type = "Promise<OpenedPort>")]
    pub fn open_port<'env>(
        &self,
        env: &'env Env,
        uplink: String,
        mut request: PortRequest,
        terms: Terms,
    ) -> napi::Result<PromiseRaw<'env, OpenedPort>> {
        let service = Arc::clone(&self.0);
        env.spawn_future(blocking(move || {
            if let Some(umem_of) = request.umem_of.take() {
                return open_shared(service, &uplink, request, terms, &umem_of);
            }
            let (info, handed_over) = service.open_port(&uplink, terms.of(request.spec()?))?;
            let info = PortInfo::new(&uplink, &info);
            let (sockets, descriptors) = apart(handed_over);
            Ok(OpenedPort { info, sockets, descriptors, service })
        }))
    }

    /// Opens a port for a client that makes its socket itself, with the inner end in the network namespace that the
    /// only descriptor is of; `own` is the one that the client's process is in. Both are taken over, also if this
    /// throws.
    #[napi(ts_return_type = "Promise<OpenedPinnedPort>")]
    pub fn open_pinned_port<'env>(
        &self,
        env: &'env Env,
        uplink: String,
        request: PortRequest,
        owner: Owner,
        namespace: &mut Descriptors,
        own: &mut Descriptors,
    ) -> napi::Result<PromiseRaw<'env, OpenedPinnedPort>> {
        let service = Arc::clone(&self.0);
        let (namespace, own) = (namespace.take_arrived(), own.take());
        env.spawn_future(blocking(move || {
            let namespace = network_namespace(namespace)?;
            let own = own.into_iter().next().map(Netns::from_fd).transpose().map_err(StepError::from)?;
            let Owner { terms, gid } = owner;
            let client = Client { uid: terms.uid, gid, namespace, own };
            let (info, pin) = service.open_pinned(&uplink, terms.of(request.spec()?), client)?;
            Ok(OpenedPinnedPort { info: PortInfo::new(&uplink, &info), pinned: Pin::from(&pin), service })
        }))
    }

    /// Has the kernel's statistics of a pinned port read from a duplicate of its client's socket, the only descriptor.
    /// It is taken over, also if this throws.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn share_socket<'env>(
        &self,
        env: &'env Env,
        key: u32,
        socket: &mut Descriptors,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let service = Arc::clone(&self.0);
        let socket = socket.take_arrived();
        env.spawn_future(blocking(move || {
            // A duplicate is kept, because closing what was sent may block, and a client must not delay others by
            // that.
            let only = socket.only().ok_or_else(|| one_descriptor("the socket", socket.len()))?;
            Ok(service.share_socket(PortKey::new(key), only)?)
        }))
    }

    /// Changes the flows of a port: all of it, or nothing. The texts are in tcpdump's language.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn change_flows<'env>(
        &self,
        env: &'env Env,
        key: u32,
        #[napi(ts_arg_type = "'claim' | 'release' | 'replace'")] change: String,
        flows: Vec<String>,
        override_host: bool,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let service = Arc::clone(&self.0);
        env.spawn_future(blocking(move || {
            let change = match change.as_str() {
                "claim" => FlowChange::Claim,
                "release" => FlowChange::Release,
                "replace" => FlowChange::Replace,
                _ => {
                    let message = format!("`{change}` is not a change of flows");
                    return Err(Failure::new("INTERNAL", message, json!({ "change": change })));
                }
            };
            let flows = parse_flows(&flows)?;
            Ok(service.change_flows(PortKey::new(key), change, &flows, override_host)?)
        }))
    }

    /// Those of the texts of which not every flow is contained in a flow of those granted.
    #[napi]
    pub async fn flows_outside(flows: Vec<String>, granted: Vec<String>) -> napi::Result<Vec<String>> {
        blocking(move || Ok(xsknet_port::flows_outside(&flows, &granted)?)).await
    }

    /// Puts a port into groups, or takes it out: all of it, or nothing. Returns what the switches were not told.
    #[napi(ts_return_type = "Promise<Attempt[]>")]
    pub fn change_groups<'env>(
        &self,
        env: &'env Env,
        key: u32,
        #[napi(ts_arg_type = "'join' | 'leave'")] change: String,
        groups: Vec<String>,
    ) -> napi::Result<PromiseRaw<'env, Vec<Attempt>>> {
        let service = Arc::clone(&self.0);
        env.spawn_future(blocking(move || {
            let change = match change.as_str() {
                "join" => GroupChange::Join,
                "leave" => GroupChange::Leave,
                _ => {
                    let message = format!("`{change}` is not a change of groups");
                    return Err(Failure::new("INTERNAL", message, json!({ "change": change })));
                }
            };
            let told = service.change_groups(PortKey::new(key), change, &parse_groups(&groups)?)?;
            Ok(told.iter().map(Into::into).collect())
        }))
    }

    /// Closes a port. A socket of it that is still held can neither send nor receive any more.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn close_port<'env>(&self, env: &'env Env, key: u32) -> napi::Result<PromiseRaw<'env, ()>> {
        let service = Arc::clone(&self.0);
        env.spawn_future(blocking(move || Ok(service.close_port(PortKey::new(key))?)))
    }

    /// What the kernel says of a port.
    #[napi(ts_return_type = "Promise<PortStatistics>")]
    pub fn port_statistics<'env>(&self, env: &'env Env, key: u32) -> napi::Result<PromiseRaw<'env, PortStatistics>> {
        let service = Arc::clone(&self.0);
        env.spawn_future(blocking(move || Ok(service.port_statistics(PortKey::new(key))?.into())))
    }

    /// What an uplink's program and the NIC say.
    #[napi(ts_return_type = "Promise<UplinkStatistics>")]
    pub fn uplink_statistics<'env>(
        &self,
        env: &'env Env,
        uplink: String,
    ) -> napi::Result<PromiseRaw<'env, UplinkStatistics>> {
        let service = Arc::clone(&self.0);
        env.spawn_future(blocking(move || Ok(service.uplink_statistics(&uplink)?.into())))
    }

    /// What an uplink's program decides about a packet that arrives, and why, in JSON. Nothing is sent or counted.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn explain_arrival<'env>(
        &self,
        env: &'env Env,
        uplink: String,
        packet: Uint8Array,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let (service, packet) = (Arc::clone(&self.0), packet.to_vec());
        env.spawn_future(blocking(move || Ok(explanation(&service.explain_arrival(&uplink, &packet)?))))
    }

    /// What the guard decides about a packet that a port sends, likewise.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn explain_sending<'env>(
        &self,
        env: &'env Env,
        key: u32,
        packet: Uint8Array,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let (service, packet) = (Arc::clone(&self.0), packet.to_vec());
        env.spawn_future(blocking(move || Ok(explanation(&service.explain_sending(PortKey::new(key), &packet)?))))
    }

    /// Samples of the frames of a port that its guard refused since the last call, in JSON. The first call has it take
    /// them.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn refusals<'env>(&self, env: &'env Env, key: u32) -> napi::Result<PromiseRaw<'env, String>> {
        let service = Arc::clone(&self.0);
        env.spawn_future(blocking(move || Ok(refusals(&service.refusals(PortKey::new(key))?))))
    }

    /// Closes all ports of an uplink and gives the NIC back as it was.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn release<'env>(&self, env: &'env Env, uplink: String) -> napi::Result<PromiseRaw<'env, ()>> {
        let service = Arc::clone(&self.0);
        env.spawn_future(blocking(move || Ok(service.release(&uplink)?)))
    }

    /// Closes everything and leaves the host as it was found. A second call does nothing.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn close<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, ()>> {
        let service = Arc::clone(&self.0);
        env.spawn_future(blocking(move || Ok(service.close()?)))
    }

    /// The same before it returns, for a process that is about to exit. Waits for what is being opened.
    #[napi]
    pub fn close_now(&self) -> napi::Result<()> {
        Ok(self.0.close().map_err(Failure::from)?)
    }
}

impl Instance {
    fn check(&self, uplink: Option<String>, request: PortRequest, kind: PortKind) -> napi::Result<()> {
        let uplink = uplink.and_then(|uplink| self.0.uplink(&uplink).ok()).map(|uplink| uplink.mtu_limit());
        Ok(request.spec()?.check(kind, uplink.as_ref()).map_err(Failure::from)?)
    }
}

/// JavaScript's thread, or a Worker's, ends without having closed it. Ports that are being opened hold on to the
/// service, so that dropping it would not do.
impl Drop for Instance {
    fn drop(&mut self) {
        if let Err(error) = self.0.close() {
            eprintln!("xsknet: {}", Failure::from(error));
        }
    }
}

/// A port that was opened, and its sockets on their way to a client.
#[napi]
pub struct OpenedPort {
    info: PortInfo,
    sockets: Vec<SocketDescription>,
    descriptors: Vec<OwnedFd>,
    service: Arc<Service>,
}

#[napi]
impl OpenedPort {
    /// Its number, unique in the instance's life.
    #[napi(getter)]
    pub fn key(&self) -> u32 {
        self.info.port
    }

    /// What became of the request.
    #[napi(getter, ts_return_type = "PortInfo & { bindMode: 'copy' | 'zero-copy' }")]
    pub fn info(&self) -> PortInfo {
        self.info.clone()
    }

    /// What the descriptors cannot tell: of each queue, in their order.
    #[napi(getter)]
    pub fn sockets(&self) -> Vec<SocketDescription> {
        self.sockets.clone()
    }

    /// Of each queue the XSK and its UMEM, and with BPF rings their control, wake-up and program, once. From now on a
    /// loss of the port is told, an earlier one included.
    #[napi]
    pub fn take_descriptors(&mut self) -> Descriptors {
        self.service.announce(PortKey::new(self.info.port));
        Descriptors::new(std::mem::take(&mut self.descriptors))
    }
}

/// A pinned port that was opened, on its way to its client.
#[napi]
pub struct OpenedPinnedPort {
    info: PortInfo,
    pinned: Pin,
    service: Arc<Service>,
}

#[napi]
impl OpenedPinnedPort {
    /// Its number, unique in the instance's life.
    #[napi(getter)]
    pub fn key(&self) -> u32 {
        self.info.port
    }

    /// What became of the request.
    #[napi(getter)]
    pub fn info(&self) -> PortInfo {
        self.info.clone()
    }

    /// What the client needs for its socket.
    #[napi(getter)]
    pub fn pinned(&self) -> Pin {
        self.pinned.clone()
    }

    /// From now on a loss of the port is told, an earlier one included.
    #[napi]
    pub fn announce(&self) {
        self.service.announce(PortKey::new(self.info.port));
    }
}

/// What is told of the sockets, and their descriptors, in the order in which clients expect them.
fn apart(handed_over: HandedOver) -> (Vec<SocketDescription>, Vec<OwnedFd>) {
    match handed_over {
        HandedOver::Sockets(donations) => {
            let sockets = donations.iter().map(SocketDescription::from).collect();
            (sockets, donations.into_iter().flat_map(|donation| [donation.xsk, donation.umem]).collect())
        }
        HandedOver::Rings(donations) => {
            let sockets = donations.iter().map(SocketDescription::from).collect();
            let descriptors = donations.into_iter().flat_map(|RingDonation { socket, rings }| {
                [socket.xsk, socket.umem, rings.control, rings.wake, rings.program]
            });
            (sockets, descriptors.collect())
        }
    }
}

/// A port on the UMEM of another one, which its client has already: its only descriptor is the XSK.
fn open_shared(
    service: Arc<Service>,
    uplink: &str,
    request: PortRequest,
    terms: Terms,
    umem_of: &UmemOf,
) -> Result<OpenedPort, Failure> {
    let spec = terms.of(request.spec()?);
    let in_fill = chunks_for_fill(&umem_of.in_fill, spec.layout.ring(RingName::Fill))?;
    let umem = service.umem_of(PortKey::new(umem_of.port))?;
    let (info, socket) = service.open_shared(uplink, spec, &umem, &in_fill)?;
    let info = PortInfo::new(uplink, &info);
    let sockets = vec![SocketDescription::of_shared(&socket, umem_of.port)];
    Ok(OpenedPort { info, sockets, descriptors: vec![socket.xsk], service })
}

/// Looks before anything is done with what a client sent, which closes on a thread apart if it is none.
fn network_namespace(sent: Arrived) -> Result<Netns, Failure> {
    let only = sent.only().ok_or_else(|| one_descriptor("the client's network namespace", sent.len()))?;
    Netns::check(only).map_err(|error| OpenPortError::NamespaceInvalid { found: error.to_string() })?;
    let step = |cause| StepError::Io { attempt: "keep a network namespace", cause };
    let own = only.try_clone_to_owned().map_err(step)?;
    Ok(Netns::from_fd(own).map_err(StepError::from)?)
}

fn one_descriptor(what: &str, count: usize) -> Failure {
    let message = format!("{what} comes as 1 descriptor, not as {count}");
    Failure::new("UNEXPECTED_DESCRIPTORS", message, json!({ "descriptors": count, "expected": 1 }))
}

pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> napi::Result<T> {
    // Not napi's own, which panics where a Worker's end has just taken the runtime away.
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(panic) => Err(Failure::new("INTERNAL", panic.to_string(), json!({})).into()),
    }
}
