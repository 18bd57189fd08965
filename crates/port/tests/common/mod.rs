//! What all tests of this crate start from: a lab, an instance in it, and an uplink with ports.

pub mod attack;
pub mod bypass;
pub mod child;
pub mod numbered;

use std::error::Error;
use std::fmt::Debug;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use rustix::io::Errno;
use xsknet_bpf::Mode;
use xsknet_link::Netns;
use xsknet_port::{
    Equality, Instance, InstanceOptions, Loss, Notice, Places, Port, PortSpec, Uplink, UplinkOptions, sweep_dead,
};
use xsknet_testkit::{
    CARD, Lab, Responder, Serving, Snapshot, Wire, device, on_fresh_mounts, port_addresses, wait_until,
};
use xsknet_xsk::Socket;

/// Passes on losses only. Its listener may be gone.
pub fn losses(tell: Sender<Loss>) -> impl FnMut(Notice) + Send + 'static {
    move |notice| {
        if let Notice::Lost(loss) = notice {
            let _ = tell.send(loss);
        }
    }
}

pub const SECOND: Duration = Duration::from_secs(1);
/// BPF objects vanish within two seconds of their last user, and a test may have to wait for that.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// A lab, and the names of an instance that is this test's alone.
pub struct Stage {
    pub lab: Lab,
    name: String,
}

impl Stage {
    pub fn new(wire: Wire) -> Self {
        static SWEEP: Once = Once::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        SWEEP.call_once(|| {
            sweep_dead(&places(), "lab-").expect("what a killed run left can be swept");
        });
        let name = format!("lab-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self { lab: Lab::new(wire).expect("a lab"), name }
    }

    pub fn plain() -> Self {
        Self::new(Wire::default())
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn options(&self) -> InstanceOptions {
        options(&self.name)
    }

    pub fn open(&self) -> Instance {
        self.lab.host.enter(|| Instance::open(self.options())).expect("an instance")
    }

    /// The namespace of the ports' inner ends.
    pub fn inside(&self) -> Netns {
        Netns::open(format!("/run/xsknet/{}/netns", self.name).as_ref()).expect("the ports' namespace")
    }

    /// What closing has to bring back.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(self.lab.host.namespace(), &[Path::new("/run/xsknet"), Path::new("/sys/fs/bpf")])
    }

    #[track_caller]
    pub fn assert_as_before(&self, before: &Snapshot) {
        if let Err(difference) = before.wait_for(PATIENCE, || self.snapshot()) {
            panic!("the machine is not as before:\n{difference}");
        }
    }
}

/// The machine's own, on whose mounts most tests are not: they have some of their own (`on_fresh_mounts`).
pub fn places() -> Places {
    Places { may_be_hidden: true, state: None, ..Places::default() }
}

/// Runs `work` several times at once, each on mounts of its own and with its number: most of the time the kernel is
/// being waited for.
pub fn side_by_side(workers: usize, work: impl Fn(usize) + Sync) {
    // A child finds its role by the name of its parent's thread.
    let test = std::thread::current().name().expect("the thread of a test").to_owned();
    std::thread::scope(|scope| {
        for number in 0..workers {
            let (worker, work) = (std::thread::Builder::new().name(test.clone()), &work);
            worker.spawn_scoped(scope, move || on_fresh_mounts(|| work(number))).expect("a thread");
        }
    });
}

pub fn options(name: &str) -> InstanceOptions {
    InstanceOptions { name: name.parse().expect("a good name"), places: places(), ..InstanceOptions::default() }
}

pub fn manage(instance: &Instance, mode: Mode) -> Uplink {
    instance.manage(&UplinkOptions { device: device(CARD), mode }).expect("an uplink")
}

pub fn port(uplink: &Uplink, n: u8) -> Port {
    uplink.open_port(PortSpec::new(port_addresses(n))).expect("a port")
}

pub fn responder(port: &Port) -> Responder {
    Responder::new(port.info().mac.octets(), port.info().addresses.iter().copied())
}

pub fn serve(port: Port) -> Serving<Port> {
    responder(&port).start(port)
}

/// Ends a responder and checks that nothing was refused on the way.
#[track_caller]
pub fn finish(serving: Serving<Port>) -> Port {
    let (port, served) = serving.finish();
    served.expect("a responder's socket works to the end");
    port
}

/// Waits until everything that was sent has come back, then checks the sums and that no frame is missing.
#[track_caller]
pub fn assert_accounted(port: &mut Port) {
    wait_until("completion of all frames", 2 * SECOND, || {
        port.sockets().iter_mut().all(|socket| {
            socket.flush().expect("a kick");
            socket.complete().expect("a sound ring");
            socket.chunks().tx == 0
        })
    });
    let mut sums = None;
    wait_until("rest", 2 * SECOND, || {
        // The far end's kernel may have asked for a neighbour after the responder's last look.
        port.sockets().iter_mut().for_each(discard_all);
        let counters: Vec<_> = port.sockets().iter().map(Socket::counters).collect();
        let statistics = port.statistics().expect("statistics");
        let now = statistics.equalities(&counters);
        let holds = now.iter().all(Equality::holds);
        if !holds && sums.replace(now) != Some(now) {
            eprintln!("{now:?}\n{statistics:?}\n{counters:?}");
        }
        holds
    });
    assert!(port.sockets().iter().all(|socket| socket.outstanding() == 0));
}

const DISCARDED_AT_ONCE: usize = 64;

fn discard_all(socket: &mut Socket) {
    let mut frames = Vec::new();
    while socket.receive(DISCARDED_AT_ONCE, &mut frames).expect("a sound ring") > 0 {
        frames.drain(..).for_each(|frame| socket.release(frame));
    }
}

/// Closes a port and checks that every chunk is free.
#[track_caller]
pub fn close(port: Port) {
    for chunks in port.close().expect("closing undoes everything") {
        assert_eq!(chunks.free, chunks.total, "{chunks:?}");
    }
}

/// What a port of one queue has one of.
#[track_caller]
pub fn only<T>(all: Vec<T>) -> T {
    let mut all = all.into_iter();
    match (all.next(), all.next()) {
        (Some(only), None) => only,
        (first, _) => panic!("{} instead of one", if first.is_some() { "several" } else { "none" }),
    }
}

/// Pings beyond those that are judged: ping waits no longer for its last answer than its interval, or twice the longest
/// time so far.
const UNJUDGED: u32 = 64;

/// `count` pings, one a millisecond; panics where one is lost.
#[track_caller]
pub fn ping(lab: &Lab, to: IpAddr, count: u32) {
    let lost = lost_pings(lab, to, count);
    assert!(lost.is_empty(), "{lost:?} of {count} are lost");
}

/// The numbers of those that are lost of `count` pings, one a millisecond.
pub fn lost_pings(lab: &Lab, to: IpAddr, count: u32) -> Vec<u32> {
    let to = to.to_string();
    let sent = (count + UNJUDGED).to_string();
    let output = lab.remote.run("ping", &["-n", "-i", "0.001", "-W", "1", "-c", &sent, &to]).expect("ping");
    (1..=count).filter(|number| !output.contains(&format!("icmp_seq={number} "))).collect()
}

/// An error and what it follows from.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// All messages of an error's chain.
pub fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    causes(error).map(ToString::to_string).collect()
}

/// The kernel's errno, somewhere down an error's chain.
pub fn errno(error: &(dyn Error + 'static)) -> Option<Errno> {
    causes(error).find_map(|error| Errno::from_io_error(error.downcast_ref::<io::Error>()?))
}

/// What was attempted has failed, and the machine is as it was.
#[track_caller]
pub fn refused<T: Debug, E: Error>(stage: &Stage, attempt: impl FnOnce() -> Result<T, E>) -> E {
    let before = stage.snapshot();
    let error = attempt().expect_err("a refusal");
    stage.assert_as_before(&before);
    error
}

/// The text of an error names all that one has to know.
#[track_caller]
pub fn assert_tells(error: &dyn Error, nouns: &[&str]) {
    let text = error.to_string();
    assert!(nouns.iter().all(|noun| text.contains(noun)), "{text:?} does not name all of {nouns:?}");
}
