//! An instance as a daemon serves it: uplinks by their names, ports by their keys, and listeners for what others do.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xsknet_bpf::{Group, Refusal};
use xsknet_filter::Flow;
use xsknet_xsk::SharedSocket;

use crate::attempt::Attempt;
use crate::brokered::{BrokeredPort, SharedUmem};
use crate::error::{
    CloseError, FlowClaimError, GroupError, ManageError, OpenError, OpenPortError, ShareError, StepError,
};
use crate::explained::Explained;
use crate::flow_claims::FlowChange;
use crate::group_changes::GroupChange;
use crate::ids::PortKey;
use crate::info::PortInfo;
use crate::instance::Instance;
use crate::loss::{Loss, LossGate};
use crate::pinned::{Client, Pin, PinnedPort};
use crate::port::HandOverError;
use crate::port_table::PortTable;
use crate::ring_port::HandedOver;
use crate::spec::PortSpec;
use crate::statistics::{PortStatistics, UplinkStatistics};
use crate::uplink::{Uplink, UplinkOptions};
use crate::watch::{Notice, Watch};

/// Why a daemon could not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// An instance is opened once.
    #[error("the instance was opened or closed before")]
    OpenedBefore,
    /// It is not open, or no longer.
    #[error("the instance is closed")]
    Closed,
    /// No open port has this key.
    #[error("there is no port {key}")]
    PortUnknown {
        /// As it was asked for.
        key: PortKey,
    },
    /// The instance does not manage this NIC.
    #[error("`{uplink}` is not managed by this instance")]
    UplinkMissing {
        /// As it was asked for.
        uplink: String,
    },
    /// See [`OpenError`].
    #[error(transparent)]
    Open(#[from] OpenError),
    /// See [`ManageError`].
    #[error(transparent)]
    Manage(#[from] ManageError),
    /// See [`OpenPortError`].
    #[error(transparent)]
    OpenPort(#[from] OpenPortError),
    /// See [`HandOverError`].
    #[error(transparent)]
    HandOver(#[from] HandOverError),
    /// See [`ShareError`].
    #[error(transparent)]
    Share(#[from] ShareError),
    /// See [`FlowClaimError`].
    #[error(transparent)]
    Flows(#[from] FlowClaimError),
    /// See [`GroupError`].
    #[error(transparent)]
    Groups(#[from] GroupError),
    /// See [`StepError`].
    #[error(transparent)]
    Step(#[from] StepError),
    /// See [`CloseError`].
    #[error(transparent)]
    Close(#[from] CloseError),
}

/// Is notified of losses, on a thread that it must not keep.
pub type OnLoss = Box<dyn Fn(Loss) + Send + Sync>;
/// Is notified of everything else that others do, on a thread that it must not keep.
pub type OnNotice = Box<dyn Fn(Notice) + Send + Sync>;

/// An instance with its uplinks and ports. It has to be closed before it is dropped: ports that are being opened hold
/// on to it.
#[derive(Default)]
pub struct Service {
    /// Before the instance, so that it ends first.
    watch: Mutex<Option<Watch>>,
    ports: PortTable<ServedPort>,
    uplinks: Mutex<BTreeMap<String, Arc<Uplink>>>,
    instance: Mutex<Option<Instance>>,
    /// A port may be lost before its owner knows of it.
    losses: Mutex<(LossGate, Option<OnLoss>)>,
    on_notice: Mutex<Option<OnNotice>>,
    /// Set before `instance` is locked to be emptied: what waits for it opens nothing any more.
    over: AtomicBool,
}

#[derive(Debug)]
enum ServedPort {
    Brokered(BrokeredPort),
    Pinned(PinnedPort),
}

impl Service {
    /// Opens the instance by `open`, once. Returns its name.
    ///
    /// # Errors
    /// [`ServiceError::OpenedBefore`], [`ServiceError::Open`].
    pub fn open(&self, open: impl FnOnce() -> Result<Instance, OpenError>) -> Result<String, ServiceError> {
        // Held all the while, so that closing waits for what is being made.
        let mut instance = lock(&self.instance);
        if instance.is_some() || self.over.load(Ordering::SeqCst) {
            return Err(ServiceError::OpenedBefore);
        }
        let opened = open()?;
        let name = opened.name().to_string();
        *instance = Some(opened);
        Ok(name)
    }

    /// Reports losses, those of a port from the moment that it is [announced](Self::announce). The last listener
    /// counts. The first call for an open instance begins the watch that the other listener depends on, too.
    ///
    /// # Errors
    /// [`ServiceError::Step`].
    pub fn on_loss(self: &Arc<Self>, listener: OnLoss) -> Result<(), ServiceError> {
        lock(&self.losses).1 = Some(listener);
        let mut watch = lock(&self.watch);
        if watch.is_none()
            && let Some(instance) = &*lock(&self.instance)
        {
            // Not a strong handle, which the watch is part of.
            let service = Arc::downgrade(self);
            *watch = Some(instance.watch(move |notice| {
                if let Some(service) = service.upgrade() {
                    service.hear(notice);
                }
            })?);
        }
        Ok(())
    }

    /// Reports changes by others that lose nothing. The last listener counts.
    pub fn on_notice(&self, listener: OnNotice) {
        *lock(&self.on_notice) = Some(listener);
    }

    /// See [`Instance::on_freed`]; nothing where the instance is not open.
    pub fn on_freed(&self, hear: impl FnMut(PortKey) + Send + 'static) {
        if let Some(instance) = &*lock(&self.instance) {
            instance.on_freed(hear);
        }
    }

    fn hear(&self, notice: Notice) {
        match notice {
            Notice::Lost(loss) => {
                let (gate, listener) = &mut *lock(&self.losses);
                tell(listener, gate.lost(loss));
            }
            other => {
                if let Some(listener) = &*lock(&self.on_notice) {
                    listener(other);
                }
            }
        }
    }

    /// From now on a loss of this port is told, an earlier one included.
    pub fn announce(&self, key: PortKey) {
        let (gate, listener) = &mut *lock(&self.losses);
        tell(listener, gate.announced(key));
    }

    /// Makes a NIC an uplink.
    ///
    /// # Errors
    /// [`ServiceError::Closed`], [`ServiceError::Manage`].
    pub fn manage(&self, options: &UplinkOptions) -> Result<Arc<Uplink>, ServiceError> {
        let instance = lock(&self.instance);
        let uplink = Arc::new(instance.as_ref().ok_or(ServiceError::Closed)?.manage(options)?);
        lock(&self.uplinks).insert(uplink.info().device.to_string(), Arc::clone(&uplink));
        Ok(uplink)
    }

    /// The uplink of this name.
    ///
    /// # Errors
    /// [`ServiceError::UplinkMissing`].
    pub fn uplink(&self, name: &str) -> Result<Arc<Uplink>, ServiceError> {
        let missing = || ServiceError::UplinkMissing { uplink: name.to_owned() };
        lock(&self.uplinks).get(name).cloned().ok_or_else(missing)
    }

    /// Opens a port and hands its sockets over, with the rings that the spec asks for.
    ///
    /// # Errors
    /// [`ServiceError::UplinkMissing`], [`ServiceError::OpenPort`], [`ServiceError::HandOver`].
    pub fn open_port(&self, uplink: &str, spec: PortSpec) -> Result<(PortInfo, HandedOver), ServiceError> {
        let uplink = self.uplink(uplink)?;
        let (port, handed) = match uplink.open_rings(&spec)? {
            Ok((port, donations)) => (port, HandedOver::Rings(donations)),
            Err(why) => {
                let (mut port, donations) = uplink.open_port(spec)?.hand_over()?;
                port.tell(why);
                (port, HandedOver::Sockets(donations))
            }
        };
        Ok((self.keep(port.info().clone(), ServedPort::Brokered(port)), handed))
    }

    /// The UMEM of an open port, for another one of the same client.
    ///
    /// # Errors
    /// [`ServiceError::PortUnknown`], [`ServiceError::OpenPort`].
    pub fn umem_of(&self, key: PortKey) -> Result<SharedUmem, ServiceError> {
        let share = |port: &ServedPort| match port {
            ServedPort::Brokered(port) => Ok(port.share_umem()?),
            ServedPort::Pinned(_) => Err(ServiceError::PortUnknown { key }),
        };
        self.with(key, share)?
    }

    /// Opens a port on the UMEM of another one: see [`Uplink::open_shared`].
    ///
    /// # Errors
    /// [`ServiceError::UplinkMissing`], [`ServiceError::OpenPort`].
    pub fn open_shared(
        &self,
        uplink: &str,
        spec: PortSpec,
        umem: &SharedUmem,
        in_fill: &[u32],
    ) -> Result<(PortInfo, SharedSocket), ServiceError> {
        let (port, socket) = self.uplink(uplink)?.open_shared(spec, umem, in_fill)?;
        Ok((self.keep(port.info().clone(), ServedPort::Brokered(port)), socket))
    }

    /// Opens a port for a client that makes its socket: see [`Uplink::open_pinned`].
    ///
    /// # Errors
    /// [`ServiceError::UplinkMissing`], [`ServiceError::OpenPort`].
    pub fn open_pinned(&self, uplink: &str, spec: PortSpec, client: Client) -> Result<(PortInfo, Pin), ServiceError> {
        let port = self.uplink(uplink)?.open_pinned(spec, client)?;
        let pin = port.pin().clone();
        Ok((self.keep(port.info().clone(), ServedPort::Pinned(port)), pin))
    }

    /// Has the statistics of a pinned port read from a duplicate of its client's socket.
    ///
    /// # Errors
    /// [`ServiceError::PortUnknown`] where the port is not a pinned one, [`ServiceError::Share`],
    /// [`ServiceError::Step`].
    pub fn share_socket(&self, key: PortKey, socket: BorrowedFd<'_>) -> Result<(), ServiceError> {
        let share = |port: &ServedPort| {
            let ServedPort::Pinned(port) = port else { return Err(ServiceError::PortUnknown { key }) };
            port.check_socket(socket)?;
            let kept = |cause| StepError::Io { attempt: "keep a socket", cause };
            Ok(port.share_socket(socket.try_clone_to_owned().map_err(kept)?)?)
        };
        self.with(key, share)?
    }

    /// Changes what packets a port takes beside those to its MAC: see [`BrokeredPort::change_flows`].
    ///
    /// # Errors
    /// [`ServiceError::PortUnknown`], [`ServiceError::Flows`].
    pub fn change_flows(
        &self,
        key: PortKey,
        change: FlowChange,
        flows: &[Flow],
        override_host: bool,
    ) -> Result<(), ServiceError> {
        let work = |port: &ServedPort| match port {
            ServedPort::Brokered(port) => port.change_flows(change, flows, override_host),
            ServedPort::Pinned(port) => port.change_flows(change, flows, override_host),
        };
        Ok(self.with(key, work)??)
    }

    /// Changes of what groups a port gets copies: see [`BrokeredPort::change_groups`].
    ///
    /// # Errors
    /// [`ServiceError::PortUnknown`], [`ServiceError::Groups`].
    pub fn change_groups(
        &self,
        key: PortKey,
        change: GroupChange,
        groups: &BTreeSet<Group>,
    ) -> Result<Vec<Attempt>, ServiceError> {
        let work = |port: &ServedPort| match port {
            ServedPort::Brokered(port) => port.change_groups(change, groups),
            ServedPort::Pinned(port) => port.change_groups(change, groups),
        };
        Ok(self.with(key, work)??)
    }

    /// What the kernel says of a port.
    ///
    /// # Errors
    /// [`ServiceError::PortUnknown`], [`ServiceError::Step`].
    pub fn port_statistics(&self, key: PortKey) -> Result<PortStatistics, ServiceError> {
        let read = |port: &ServedPort| match port {
            ServedPort::Brokered(port) => port.statistics(),
            ServedPort::Pinned(port) => port.statistics(),
        };
        Ok(self.with(key, read)??)
    }

    /// What an uplink's program and the NIC say.
    ///
    /// # Errors
    /// [`ServiceError::UplinkMissing`], [`ServiceError::Step`].
    pub fn uplink_statistics(&self, uplink: &str) -> Result<UplinkStatistics, ServiceError> {
        Ok(self.uplink(uplink)?.statistics()?)
    }

    /// What an uplink's program decides about a frame that arrives, and why. Nothing is sent, counted or learned.
    ///
    /// # Errors
    /// [`ServiceError::UplinkMissing`], [`ServiceError::Step`].
    pub fn explain_arrival(&self, uplink: &str, frame: &[u8]) -> Result<Explained, ServiceError> {
        let missing = || ServiceError::UplinkMissing { uplink: uplink.to_owned() };
        self.uplink(uplink)?.explain(frame)?.ok_or_else(missing)
    }

    /// What the guard decides about a frame that a port sends, and why. Nothing is sent, counted or learned.
    ///
    /// # Errors
    /// [`ServiceError::PortUnknown`], [`ServiceError::Step`].
    pub fn explain_sending(&self, key: PortKey, frame: &[u8]) -> Result<Explained, ServiceError> {
        let explain = |port: &ServedPort| match port {
            ServedPort::Brokered(port) => port.explain(frame),
            ServedPort::Pinned(port) => port.explain(frame),
        };
        self.with(key, explain)??.ok_or(ServiceError::PortUnknown { key })
    }

    /// Samples of the frames of a port that its guard refused since the last call. The first call has it take them.
    ///
    /// # Errors
    /// [`ServiceError::PortUnknown`], [`ServiceError::Step`].
    pub fn refusals(&self, key: PortKey) -> Result<Vec<Refusal>, ServiceError> {
        let refusals = |port: &ServedPort| match port {
            ServedPort::Brokered(port) => port.refusals(),
            ServedPort::Pinned(port) => port.refusals(),
        };
        self.with(key, refusals)??.ok_or(ServiceError::PortUnknown { key })
    }

    /// Closes a port. A socket of it that is still held can neither send nor receive any more.
    ///
    /// # Errors
    /// [`ServiceError::PortUnknown`], [`ServiceError::Close`].
    pub fn close_port(&self, key: PortKey) -> Result<(), ServiceError> {
        let port = self.ports.take(key).ok_or(ServiceError::PortUnknown { key })?;
        lock(&self.losses).0.closed(key);
        match port {
            ServedPort::Brokered(port) => port.close(),
            ServedPort::Pinned(port) => port.close(),
        }
        .map_err(Into::into)
    }

    /// Closes all ports of an uplink and gives the NIC back as it was.
    ///
    /// # Errors
    /// [`ServiceError::UplinkMissing`], [`ServiceError::Close`].
    pub fn release(&self, uplink: &str) -> Result<(), ServiceError> {
        let found = lock(&self.uplinks).remove(uplink);
        let found = found.ok_or_else(|| ServiceError::UplinkMissing { uplink: uplink.to_owned() })?;
        Ok(found.release()?)
    }

    /// Closes everything and leaves the host as it was found. Waits for what is being opened. A second call does
    /// nothing.
    ///
    /// # Errors
    /// What could not be undone stays in the journal, and the next start tries again.
    pub fn close(&self) -> Result<(), CloseError> {
        self.over.store(true, Ordering::SeqCst);
        // Taken out first: ending the watch waits for a listener that wants the lock.
        let watch = lock(&self.watch).take();
        drop(watch);
        lock(&self.losses).1 = None;
        lock(&self.on_notice).take();
        // Held all the while, so that a second call waits for the first.
        let mut instance = lock(&self.instance);
        let closed = instance.take().map_or(Ok(()), Instance::close);
        // Nothing is left behind them.
        self.ports.clear();
        lock(&self.uplinks).clear();
        closed
    }

    fn keep(&self, info: PortInfo, port: ServedPort) -> PortInfo {
        self.ports.insert(info.key, port);
        info
    }

    fn with<R>(&self, key: PortKey, work: impl FnOnce(&ServedPort) -> R) -> Result<R, ServiceError> {
        self.ports.with(key, work).ok_or(ServiceError::PortUnknown { key })
    }
}

fn tell(listener: &Option<OnLoss>, loss: Option<Loss>) {
    if let (Some(listener), Some(loss)) = (listener, loss) {
        listener(loss);
    }
}

/// A panic elsewhere must not keep things from being closed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_closed_opens_nothing_any_more() {
        let service = Service::default();
        service.close().unwrap();
        let opened = service.open(|| panic!("it must not be opened"));
        assert!(matches!(opened, Err(ServiceError::OpenedBefore)), "{opened:?}");
        service.close().expect("a second close does nothing");
        let options = UplinkOptions { device: "eth0".parse().unwrap(), mode: xsknet_bpf::Mode::Skb };
        assert!(matches!(service.manage(&options), Err(ServiceError::Closed)));
    }

    #[test]
    fn one_that_did_not_open_may_be_opened_again() {
        let service = Service::default();
        for _ in 0..2 {
            let error = service.open(|| Err(OpenError::AlreadyRunning { instance: "a".into() })).unwrap_err();
            assert!(matches!(error, ServiceError::Open(OpenError::AlreadyRunning { .. })), "{error}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_with_its_name() {
        let (service, key) = (Service::default(), PortKey::new(7));
        assert_eq!(service.close_port(key).unwrap_err().to_string(), "there is no port 7");
        assert_eq!(service.port_statistics(key).unwrap_err().to_string(), "there is no port 7");
        assert_eq!(service.umem_of(key).unwrap_err().to_string(), "there is no port 7");
        let spec = PortSpec::new([[192, 0, 2, 10].into()]);
        for error in [service.open_port("eth9", spec).map(drop), service.release("eth9")] {
            assert_eq!(error.unwrap_err().to_string(), "`eth9` is not managed by this instance");
        }
    }

    #[test]
    fn a_loss_reaches_the_last_listener_once_its_port_is_announced() {
        let (service, told) = (Arc::new(Service::default()), Arc::new(Mutex::new(Vec::new())));
        let listener = |name: &'static str| -> OnLoss {
            let told = Arc::clone(&told);
            Box::new(move |loss| told.lock().unwrap().push((name, loss)))
        };
        let key = PortKey::new(1);
        let loss = Loss::Port { uplink: "eth0".parse().unwrap(), key, change: None };
        service.on_loss(listener("first")).unwrap();
        service.on_loss(listener("last")).unwrap();
        service.hear(Notice::Lost(loss.clone()));
        assert_eq!(*told.lock().unwrap(), []);
        service.announce(key);
        assert_eq!(*told.lock().unwrap(), [("last", loss.clone())]);
        service.close().unwrap();
        service.hear(Notice::Lost(loss));
        assert_eq!(told.lock().unwrap().len(), 1, "nobody hears any more");
    }
}
