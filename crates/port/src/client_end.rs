//! Inner ends that are in the namespaces of clients, which may change them as they like. Not every change leaves a port
//! that works.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use xsknet_link::{Device, DeviceName, FeatureSet, IfIndex, LinkError, MacAddr, Offload};

use crate::ids::PortKey;
use crate::namespace::Namespace;

/// An inner end in a client's namespace, which exists as long as there is a reference to this.
pub(crate) struct ClientEnd {
    /// Where its outer end is.
    pub(crate) host: Arc<Namespace>,
    /// All of them, which are notified when it ends.
    pub(crate) all: Arc<ClientEnds>,
    pub(crate) uplink: DeviceName,
    pub(crate) key: PortKey,
    pub(crate) namespace: Namespace,
    /// As it was made; its owner may call it otherwise.
    pub(crate) device: DeviceName,
    pub(crate) index: IfIndex,
    pub(crate) outer: IfIndex,
    pub(crate) mac: MacAddr,
    pub(crate) mtu: u32,
}

/// A feature is read by the device's name, which may change at that very moment; so often it is tried.
const LOOKS: usize = 3;

impl ClientEnd {
    /// What its owner has done to it that a port does not survive, in words. Its name is the owner's own affair.
    pub(crate) fn change(&self) -> Option<String> {
        for _ in 0..LOOKS {
            let device = match self.namespace.links.by_index(self.index) {
                Ok(device) => device,
                Err(LinkError::DeviceMissing { .. }) => return Some(self.missing()),
                Err(error) => return Some(format!("its device `{}` can no longer be read: {error}", self.device)),
            };
            if let Some(change) = self.settings(&device) {
                return Some(change);
            }
            match self.namespace.ethtool.features(&device.name) {
                Ok(features) => return self.offloads(&features),
                Err(LinkError::DeviceMissing { .. }) => {}
                Err(error) => return Some(format!("its device `{}` can no longer be read: {error}", self.device)),
            }
        }
        // It is being renamed all the time. Of the last time, too, there is an event.
        None
    }

    /// Why it is not where it was.
    pub(crate) fn missing(&self) -> String {
        match self.host.links.by_index(self.outer) {
            Ok(_) => format!("its device `{}` was moved to another network namespace", self.device),
            Err(_) => format!("its device `{}` was deleted", self.device),
        }
    }

    fn settings(&self, device: &Device) -> Option<String> {
        if device.mac != Some(self.mac) {
            let now = device.mac.map_or_else(|| "none".to_owned(), |mac| mac.to_string());
            return Some(format!("its MAC was changed from {} to {now}", self.mac));
        }
        if device.mtu != self.mtu {
            return Some(format!("its MTU was changed from {} to {}", self.mtu, device.mtu));
        }
        (!device.up).then(|| format!("its device `{}` was set down", self.device))
    }

    fn offloads(&self, features: &FeatureSet) -> Option<String> {
        let on = features.iter().filter(|feature| feature.active);
        let loud = on.filter(|feature| Offload::QUIET.into_iter().any(|offload| offload.covers(&feature.name)));
        let names: Vec<_> = loud.map(|feature| feature.name.as_str()).collect();
        match names.as_slice() {
            [] => None,
            [one] => Some(format!("the offload {one} of its device `{}` was switched on", self.device)),
            more => Some(format!("the offloads {} of its device `{}` were switched on", more.join(", "), self.device)),
        }
    }
}

impl fmt::Debug for ClientEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientEnd").field("device", &self.device).field("index", &self.index).finish_non_exhaustive()
    }
}

impl Drop for ClientEnd {
    fn drop(&mut self) {
        self.all.ring();
    }
}

/// All of an instance, for the threads that watch them.
#[derive(Debug, Default)]
pub(crate) struct ClientEnds {
    ends: Mutex<BTreeMap<PortKey, Weak<ClientEnd>>>,
    bells: Mutex<Vec<Weak<OwnedFd>>>,
}

impl ClientEnds {
    pub(crate) fn add(&self, end: &Arc<ClientEnd>) {
        let mut ends = lock(&self.ends);
        ends.retain(|_, end| end.strong_count() > 0);
        ends.insert(end.key, Arc::downgrade(end));
        drop(ends);
        self.ring();
    }

    /// Those that are open.
    pub(crate) fn all(&self) -> BTreeMap<PortKey, Weak<ClientEnd>> {
        lock(&self.ends)
            .iter()
            .filter(|(_, end)| end.strong_count() > 0)
            .map(|(key, end)| (*key, end.clone()))
            .collect()
    }

    /// From now on an event counter is notified of each that comes or goes.
    pub(crate) fn tell(&self, bell: &Arc<OwnedFd>) {
        lock(&self.bells).push(Arc::downgrade(bell));
    }

    fn ring(&self) {
        lock(&self.bells).retain(|bell| {
            let Some(bell) = bell.upgrade() else { return false };
            // A counter that is full has been rung often enough.
            let _ = rustix::io::write(&*bell, &1_u64.to_ne_bytes());
            true
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
