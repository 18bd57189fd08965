//! Tells when others take away the devices that uplinks and ports are made of.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use xsknet_link::{DeviceName, IfIndex, LinkError, LinkEvent, Monitor};

use crate::error::StepError;
use crate::ground::Ground;
use crate::port::PortKey;
use crate::uplink::UplinkState;

/// Something that is gone although nobody closed it here. What is left of it goes by closing it all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// A card was deleted, or moved to another network namespace. All its ports are cut off; they are not told one by one.
    Uplink {
        /// The card.
        device: DeviceName,
    },
    /// A port's pair was deleted.
    Port {
        /// The card it belongs to.
        uplink: DeviceName,
        /// The port.
        key: PortKey,
    },
}

/// The uplinks of an instance, each as long as somebody holds it.
pub(crate) type Uplinks = Mutex<BTreeMap<DeviceName, Weak<UplinkState>>>;

/// Watches the devices of an instance until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the watch"]
pub struct Watch {
    end: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn begin(
        ground: &Ground,
        uplinks: Arc<Uplinks>,
        mut hear: impl FnMut(Loss) + Send + 'static,
    ) -> Result<Self, StepError> {
        let refused = |cause: io::Error| StepError::Io { attempt: "watch the devices", cause };
        let mut monitor = Monitor::in_namespace(&ground.host.namespace)?;
        let end = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).map_err(|errno| refused(errno.into()))?);
        let ended = Arc::clone(&end);
        let work = move || {
            if let Err(error) = watch(&mut monitor, &ended, &uplinks, &mut hear) {
                // Nobody waits for it, and it must not be silent.
                eprintln!("xsknet: devices are no longer watched: {error}");
            }
        };
        let thread = thread::Builder::new().name("xsknet watch".into()).spawn(work).map_err(refused)?;
        Ok(Self { end, thread: Some(thread) })
    }
}

/// Whoever hears of a loss may drop the watch; it ends a moment later then.
impl Drop for Watch {
    fn drop(&mut self) {
        let told = rustix::io::write(&*self.end, &1_u64.to_ne_bytes());
        debug_assert_eq!(told, Ok(8), "a counter of our own has room for one");
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // A panic of the listener has been printed.
            let _ = thread.join();
        }
    }
}

fn watch(
    monitor: &mut Monitor,
    end: &OwnedFd,
    uplinks: &Uplinks,
    hear: &mut impl FnMut(Loss),
) -> Result<(), LinkError> {
    let mut told = HashSet::new();
    let mut look = |suspect: &dyn Fn(IfIndex) -> bool| {
        for (index, loss) in losses(uplinks, suspect) {
            if told.insert(index) {
                hear(loss);
            }
        }
    };
    // What went before the first event.
    look(&|_| true);
    loop {
        let mut ready = [PollFd::new(end, PollFlags::IN), PollFd::new(monitor, PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(LinkError::Unreachable { what: "wait for events", cause: errno.into() }),
        }
        if !ready[0].revents().is_empty() {
            return Ok(());
        }
        while let Some(event) = monitor.next(Duration::ZERO)? {
            match event {
                LinkEvent::Deleted(index) => look(&|its| its == index),
                LinkEvent::Overrun => look(&|_| true),
                LinkEvent::Changed { .. } => {}
            }
        }
    }
}

fn losses(uplinks: &Uplinks, suspect: &dyn Fn(IfIndex) -> bool) -> Vec<(IfIndex, Loss)> {
    let uplinks = uplinks.lock().unwrap_or_else(PoisonError::into_inner);
    let uplinks: Vec<_> = uplinks.values().filter_map(Weak::upgrade).collect();
    uplinks.iter().flat_map(|uplink| uplink.losses_among(suspect)).collect()
}
