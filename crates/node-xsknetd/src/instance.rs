//! The daemon's domain as JavaScript sees it. Whatever blocks runs on a thread of the pool.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use napi::bindgen_prelude::{Function, PromiseRaw};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Status};
use napi_derive::napi;
use serde_json::json;
use xsknet_bpf::Mode;
use xsknet_control::Arrived;
use xsknet_link::{DeviceName, Netns};
use xsknet_port::{
    BrokeredPort, Client, CloseError, InstanceName, Notice, OpenPortError, PinnedPort, Places, PortKind, StepError,
    Uplink, UplinkOptions, Watch,
};
use xsknet_xsk::RingName;

use crate::describe::{
    Change, Loss, Owner, Pin, PortInfo, PortRequest, PortStatistics, SocketDescription, Terms, UmemOf, UplinkInfo,
    UplinkStatistics,
};
use crate::descriptors::Descriptors;
use crate::error::Failure;

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
pub struct Instance(Arc<Domain>);

/// Called without keeping the process alive.
type Listener = ThreadsafeFunction<Loss, (), Loss, Status, false, true>;

#[derive(Default)]
struct Domain {
    /// Before the instance, so that it ends first.
    watch: Mutex<Option<Watch>>,
    ports: Mutex<HashMap<u32, Arc<Slot>>>,
    uplinks: Mutex<BTreeMap<String, Arc<Uplink>>>,
    instance: Mutex<Option<xsknet_port::Instance>>,
    losses: Mutex<Losses>,
    changes: Mutex<Option<ThreadsafeFunction<Change, (), Change, Status, false, true>>>,
    /// Set before `instance` is locked to be emptied: what waits for it opens nothing any more.
    over: AtomicBool,
}

/// Empty once the port is closed.
type Slot = Mutex<Option<OpenPort>>;

enum OpenPort {
    Brokered(BrokeredPort),
    Pinned(PinnedPort),
}

impl OpenPort {
    fn statistics(&self) -> Result<xsknet_port::PortStatistics, StepError> {
        match self {
            Self::Brokered(port) => port.statistics(),
            Self::Pinned(port) => port.statistics(),
        }
    }

    fn close(self) -> Result<(), CloseError> {
        match self {
            Self::Brokered(port) => port.close(),
            Self::Pinned(port) => port.close(),
        }
    }
}

/// A port may be lost before JavaScript knows of it: it hears of that once it has taken the port's descriptors.
#[derive(Default)]
struct Losses {
    known: HashSet<u32>,
    early: HashMap<u32, Loss>,
    listener: Option<Listener>,
}

impl Losses {
    fn tell(&self, loss: Loss) {
        if let Some(listener) = &self.listener {
            listener.call(loss, ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    fn hear(&mut self, loss: Loss) {
        match loss.port {
            Some(port) if !self.known.contains(&port) => {
                self.early.insert(port, loss);
            }
            _ => self.tell(loss),
        }
    }

    fn know(&mut self, port: u32) {
        self.known.insert(port);
        if let Some(loss) = self.early.remove(&port) {
            self.tell(loss);
        }
    }

    fn forget(&mut self, port: u32) {
        self.known.remove(&port);
        self.early.remove(&port);
    }
}

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
        let domain = Arc::clone(&self.0);
        let InstanceOptions { name, run, bpffs } = options;
        env.spawn_future(blocking(move || {
            // Held all the while, so that whoever closes waits for what is being made.
            let mut instance = lock(&domain.instance);
            if instance.is_some() || domain.over.load(Ordering::SeqCst) {
                return Err(Failure::new("INTERNAL", "the instance was opened or closed before".into(), json!({})));
            }
            let defaults = Places::default();
            let places = Places {
                run: run.map_or(defaults.run, PathBuf::from),
                bpffs: bpffs.map_or(defaults.bpffs, PathBuf::from),
                ..defaults
            };
            let opened = match name {
                None => xsknet_port::Instance::open_private(&places)?,
                Some(name) => {
                    let name: InstanceName = name.parse().map_err(|error: xsknet_port::InstanceNameError| {
                        Failure::new("INSTANCE_NAME_UNFIT", error.to_string(), json!({ "name": name }))
                    })?;
                    let options =
                        xsknet_port::InstanceOptions { name, places, ..xsknet_port::InstanceOptions::default() };
                    xsknet_port::Instance::open(options)?
                }
            };
            let name = opened.name().to_string();
            *instance = Some(opened);
            Ok(name)
        }))
    }

    /// Undoes what private instances left whose processes were killed and whose cards are those of this network namespace.
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

    /// Calls back when others delete a card or a port's pair. Does not keep the process alive; the last callback counts.
    #[napi]
    pub fn on_loss(
        &self,
        #[napi(ts_arg_type = "(loss: Loss) => void")] callback: Function<'_, Loss, ()>,
    ) -> napi::Result<()> {
        let listener = callback.build_threadsafe_function().callee_handled::<false>().weak::<true>().build()?;
        lock(&self.0.losses).listener = Some(listener);
        let mut watch = lock(&self.0.watch);
        if watch.is_none()
            && let Some(instance) = &*lock(&self.0.instance)
        {
            // Not the domain's strong handle, which the watch is part of.
            let domain = Arc::downgrade(&self.0);
            let hear = move |notice| {
                let Some(domain) = domain.upgrade() else { return };
                match heard(notice) {
                    Heard::Loss(loss) => lock(&domain.losses).hear(loss),
                    Heard::Change(change) => {
                        if let Some(listener) = &*lock(&domain.changes) {
                            listener.call(*change, ThreadsafeFunctionCallMode::NonBlocking);
                        }
                    }
                }
            };
            *watch = Some(instance.watch(hear).map_err(Failure::from)?);
        }
        Ok(())
    }

    /// Calls back when others change a card, give the host a port's address, or take a program off a device. Does not keep the process
    /// alive; the last callback counts. What came before [`on_loss`](Self::on_loss) was called is not told.
    #[napi]
    pub fn on_change(
        &self,
        #[napi(ts_arg_type = "(change: Change) => void")] callback: Function<'_, Change, ()>,
    ) -> napi::Result<()> {
        let listener = callback.build_threadsafe_function().callee_handled::<false>().weak::<true>().build()?;
        *lock(&self.0.changes) = Some(listener);
        Ok(())
    }

    /// Calls back with the number of each closed port of which nothing is left: no descriptor of its sockets, and so no memory. Does not
    /// keep the process alive; the last callback counts. Once the instance is open.
    #[napi]
    pub fn on_freed(
        &self,
        #[napi(ts_arg_type = "(port: number) => void")] callback: Function<'_, u32, ()>,
    ) -> napi::Result<()> {
        let listener: ThreadsafeFunction<u32, (), u32, Status, false, true> =
            callback.build_threadsafe_function().callee_handled::<false>().weak::<true>().build()?;
        if let Some(instance) = &*lock(&self.0.instance) {
            // Refused once JavaScript is being torn down.
            instance.on_freed(move |key| {
                let _ = listener.call(key.number(), ThreadsafeFunctionCallMode::NonBlocking);
            });
        }
        Ok(())
    }

    /// Makes a card an uplink.
    #[napi(ts_return_type = "Promise<UplinkInfo>")]
    pub fn manage<'env>(
        &self,
        env: &'env Env,
        device: String,
        #[napi(ts_arg_type = "'native' | 'skb' | 'hw' | 'unspecified'")] mode: String,
    ) -> napi::Result<PromiseRaw<'env, UplinkInfo>> {
        let domain = Arc::clone(&self.0);
        env.spawn_future(blocking(move || {
            let mode: Mode = mode.parse().map_err(|error: xsknet_bpf::UnknownMode| {
                Failure::new("INTERNAL", error.to_string(), json!({ "mode": mode }))
            })?;
            let device: DeviceName = device.parse().map_err(|error: xsknet_link::InvalidDeviceName| {
                Failure::new("DEVICE_NAME_UNFIT", error.to_string(), json!({ "device": device }))
            })?;
            let instance = lock(&domain.instance);
            let Some(instance) = &*instance else {
                return Err(Failure::new("INTERNAL", "the instance is closed".into(), json!({})));
            };
            let uplink = instance.manage(&UplinkOptions { device, mode })?;
            let info = UplinkInfo::from(&uplink);
            lock(&domain.uplinks).insert(info.uplink.clone(), Arc::new(uplink));
            Ok(info)
        }))
    }

    /// Throws where there can be no such port, whatever others have and whoever asks. Of the uplink only its MTU counts, and not where it is not
    /// given. At once: it asks the kernel nothing.
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
        let domain = Arc::clone(&self.0);
        env.spawn_future(blocking(move || {
            if let Some(umem_of) = request.umem_of.take() {
                return open_shared(domain, &uplink, request, terms, &umem_of);
            }
            let options = terms.of(request.spec()?);
            let (port, donations) = domain.uplink(&uplink)?.open_port(options)?.hand_over()?;
            let info = PortInfo::new(&uplink, port.info());
            domain.keep(info.port, OpenPort::Brokered(port));
            let sockets = donations.iter().map(SocketDescription::from).collect();
            let descriptors = donations.into_iter().flat_map(|donation| [donation.xsk, donation.umem]).collect();
            Ok(OpenedPort { info, sockets, descriptors, domain })
        }))
    }

    /// Opens a port for a client that makes its socket itself, with the inner end in the network namespace that the only
    /// descriptor is of; `own` is the one that the client's process is in. Both are taken over, also if this throws.
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
        let domain = Arc::clone(&self.0);
        let (namespace, own) = (namespace.take_arrived(), own.take());
        env.spawn_future(blocking(move || {
            let namespace = network_namespace(namespace)?;
            let own = own.into_iter().next().map(Netns::from_fd).transpose().map_err(StepError::from)?;
            let Owner { terms, gid } = owner;
            let uid = terms.uid;
            let options = terms.of(request.spec()?);
            let port = domain.uplink(&uplink)?.open_pinned(options, Client { uid, gid, namespace, own })?;
            let (info, pinned) = (PortInfo::new(&uplink, port.info()), Pin::from(port.pin()));
            domain.keep(info.port, OpenPort::Pinned(port));
            Ok(OpenedPinnedPort { info, pinned, domain })
        }))
    }

    /// Has the kernel's statistics of a pinned port read from a duplicate of its client's socket, the only descriptor. It is
    /// taken over, also if this throws.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn share_socket<'env>(
        &self,
        env: &'env Env,
        key: u32,
        socket: &mut Descriptors,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let domain = Arc::clone(&self.0);
        let socket = socket.take_arrived();
        env.spawn_future(blocking(move || {
            let slot = lock(&domain.ports).get(&key).cloned().ok_or_else(|| port_unknown(key))?;
            let port = lock(&slot);
            let Some(OpenPort::Pinned(port)) = port.as_ref() else { return Err(port_unknown(key)) };
            // A duplicate, because closing what was sent may take its time, which whoever sent it shall not cost others.
            let only = socket.only().ok_or_else(|| one_descriptor("the socket", socket.len()))?;
            port.check_socket(only)?;
            let duplicate =
                only.try_clone_to_owned().map_err(|cause| StepError::Io { attempt: "keep a socket", cause })?;
            Ok(port.share_socket(duplicate)?)
        }))
    }

    /// Closes a port. Whoever holds its socket can neither send nor receive any more then.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn close_port<'env>(&self, env: &'env Env, key: u32) -> napi::Result<PromiseRaw<'env, ()>> {
        let domain = Arc::clone(&self.0);
        env.spawn_future(blocking(move || {
            let slot = lock(&domain.ports).remove(&key).ok_or_else(|| port_unknown(key))?;
            lock(&domain.losses).forget(key);
            let port = lock(&slot).take();
            port.map_or(Ok(()), |port| Ok(port.close()?))
        }))
    }

    /// What the kernel says of a port.
    #[napi(ts_return_type = "Promise<PortStatistics>")]
    pub fn port_statistics<'env>(&self, env: &'env Env, key: u32) -> napi::Result<PromiseRaw<'env, PortStatistics>> {
        let domain = Arc::clone(&self.0);
        env.spawn_future(blocking(move || {
            let slot = lock(&domain.ports).get(&key).cloned().ok_or_else(|| port_unknown(key))?;
            let port = lock(&slot);
            let port = port.as_ref().ok_or_else(|| port_unknown(key))?;
            Ok(port.statistics()?.into())
        }))
    }

    /// What an uplink's program and the card say.
    #[napi(ts_return_type = "Promise<UplinkStatistics>")]
    pub fn uplink_statistics<'env>(
        &self,
        env: &'env Env,
        uplink: String,
    ) -> napi::Result<PromiseRaw<'env, UplinkStatistics>> {
        let domain = Arc::clone(&self.0);
        env.spawn_future(blocking(move || Ok(domain.uplink(&uplink)?.statistics()?.into())))
    }

    /// Closes all ports of an uplink and gives the card back as it was.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn release<'env>(&self, env: &'env Env, uplink: String) -> napi::Result<PromiseRaw<'env, ()>> {
        let domain = Arc::clone(&self.0);
        env.spawn_future(blocking(move || {
            let found = lock(&domain.uplinks).remove(&uplink);
            Ok(found.ok_or_else(|| uplink_missing(&uplink))?.release()?)
        }))
    }

    /// Closes everything and leaves the host as it was found. A second call does nothing.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn close<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, ()>> {
        let domain = Arc::clone(&self.0);
        env.spawn_future(blocking(move || domain.close()))
    }

    /// The same before it returns, for a process that is about to exit. Waits for what is being opened.
    #[napi]
    pub fn close_now(&self) -> napi::Result<()> {
        Ok(self.0.close()?)
    }
}

/// JavaScript's thread ends, a Worker's perhaps, and nobody has closed it. Ports that are being opened hold on to the domain, so
/// that dropping it would not do.
impl Drop for Instance {
    fn drop(&mut self) {
        if let Err(failure) = self.0.close() {
            eprintln!("xsknet: {failure}");
        }
    }
}

impl Instance {
    fn check(&self, uplink: Option<String>, request: PortRequest, kind: PortKind) -> napi::Result<()> {
        let uplink = uplink.and_then(|uplink| self.0.uplink(&uplink).ok()).map(|uplink| uplink.mtu_limit());
        Ok(request.spec()?.check(kind, uplink.as_ref()).map_err(Failure::from)?)
    }
}

impl Domain {
    fn keep(&self, key: u32, port: OpenPort) {
        lock(&self.ports).insert(key, Arc::new(Mutex::new(Some(port))));
    }

    fn uplink(&self, name: &str) -> Result<Arc<Uplink>, Failure> {
        lock(&self.uplinks).get(name).cloned().ok_or_else(|| uplink_missing(name))
    }

    fn close(&self) -> Result<(), Failure> {
        self.over.store(true, Ordering::SeqCst);
        // Taken out first: ending the watch waits for a listener that wants the lock.
        let watch = lock(&self.watch).take();
        drop(watch);
        lock(&self.losses).listener = None;
        lock(&self.changes).take();
        // Held all the while, so that a second call waits for the first.
        let mut instance = lock(&self.instance);
        let closed = instance.take().map_or(Ok(()), |instance| Ok(instance.close()?));
        // Nothing is left behind them.
        lock(&self.ports).clear();
        lock(&self.uplinks).clear();
        closed
    }
}

/// A port that was opened, and its sockets on their way to a client.
#[napi]
pub struct OpenedPort {
    info: PortInfo,
    sockets: Vec<SocketDescription>,
    descriptors: Vec<OwnedFd>,
    domain: Arc<Domain>,
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

    /// Of each queue the XSK and the file of its UMEM, once. From now on a loss of the port is told, an earlier one included.
    #[napi]
    pub fn take_descriptors(&mut self) -> Descriptors {
        lock(&self.domain.losses).know(self.info.port);
        Descriptors::new(std::mem::take(&mut self.descriptors))
    }
}

/// A pinned port that was opened, on its way to its client.
#[napi]
pub struct OpenedPinnedPort {
    info: PortInfo,
    pinned: Pin,
    domain: Arc<Domain>,
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
        lock(&self.domain.losses).know(self.info.port);
    }
}

/// A port on the UMEM of another one, which its client has already: its only descriptor is the XSK.
fn open_shared(
    domain: Arc<Domain>,
    uplink: &str,
    request: PortRequest,
    terms: Terms,
    umem_of: &UmemOf,
) -> Result<OpenedPort, Failure> {
    let options = terms.of(request.spec()?);
    let in_fill = umem_of.chunks(options.layout.ring(RingName::Fill))?;
    let first = lock(&domain.ports).get(&umem_of.port).cloned().ok_or_else(|| port_unknown(umem_of.port))?;
    let umem = match lock(&first).as_ref() {
        Some(OpenPort::Brokered(port)) => port.share_umem()?,
        _ => return Err(port_unknown(umem_of.port)),
    };
    let (port, socket) = domain.uplink(uplink)?.open_shared(options, &umem, &in_fill)?;
    let info = PortInfo::new(uplink, port.info());
    domain.keep(info.port, OpenPort::Brokered(port));
    let sockets = vec![SocketDescription::of_shared(&socket, umem_of.port)];
    Ok(OpenedPort { info, sockets, descriptors: vec![socket.xsk], domain })
}

enum Heard {
    Loss(Loss),
    Change(Box<Change>),
}

fn heard(notice: Notice) -> Heard {
    let change = |uplink: DeviceName| Change {
        uplink: uplink.to_string(),
        port: None,
        card: None,
        address: None,
        program: None,
        device: None,
        why: None,
        offload: None,
        vlan: None,
        failure: None,
    };
    Heard::Change(Box::new(match notice {
        Notice::Lost(xsknet_port::Loss::Uplink { device }) => {
            return Heard::Loss(Loss { uplink: device.to_string(), port: None, change: None });
        }
        Notice::Lost(xsknet_port::Loss::Port { uplink, key, change }) => {
            return Heard::Loss(Loss { uplink: uplink.to_string(), port: Some(key.number()), change });
        }
        Notice::Changed { uplink, nic } => Change { card: Some((&nic).into()), ..change(uplink) },
        Notice::Conflict { uplink, key, address } => {
            Change { port: Some(key.number()), address: Some(address.to_string()), ..change(uplink) }
        }
        Notice::Repaired { uplink, key, program, device, why, failure } => Change {
            port: key.map(|key| key.number()),
            program: Some(program.into()),
            device: Some(device.to_string()),
            why: Some(why),
            failure,
            ..change(uplink)
        },
        Notice::Vlan { uplink, vlan, failure } => Change { vlan: Some(vlan.into()), failure, ..change(uplink) },
        Notice::Offload { uplink, offload, failure } => Change { offload: Some(offload), failure, ..change(uplink) },
    }))
}

/// Looks before anything is done with what a client sent, which closes on a thread apart if it is none.
fn network_namespace(sent: Arrived) -> Result<Netns, Failure> {
    let only = sent.only().ok_or_else(|| one_descriptor("the client's network namespace", sent.len()))?;
    Netns::check(only).map_err(|error| OpenPortError::NamespaceUnfit { found: error.to_string() })?;
    let step = |cause| StepError::Io { attempt: "keep a network namespace", cause };
    let own = only.try_clone_to_owned().map_err(step)?;
    Ok(Netns::from_fd(own).map_err(StepError::from)?)
}

fn one_descriptor(what: &str, count: usize) -> Failure {
    let message = format!("{what} comes as 1 descriptor, not as {count}");
    Failure::new("UNEXPECTED_DESCRIPTORS", message, json!({ "descriptors": count, "expected": 1 }))
}

fn port_unknown(key: u32) -> Failure {
    Failure::new("PORT_UNKNOWN", format!("there is no port {key}"), json!({ "port": key }))
}

fn uplink_missing(uplink: &str) -> Failure {
    let message = format!("`{uplink}` is not managed by this instance");
    Failure::new("UPLINK_MISSING", message, json!({ "uplink": uplink }))
        .hint("`xsknetd status` lists the cards; `--uplink` of `xsknetd run` adds one")
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

/// A panic elsewhere must not keep things from being closed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
