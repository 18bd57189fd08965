//! A pinned client sends forged frames from the first instant that it has a device: while its port is opened and
//! closed, where opening fails, and where the process ends in the middle of either. The host's own stack must not get
//! one of them, nor the wire.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::common::attack::*;
use crate::common::child::{Ended, Role};
use crate::common::*;
use rstest::rstest;
use xsknet_bpf::Mode;
use xsknet_link::{End, Netns, VethPair};
use xsknet_port::{Instance, InstanceOptions, Observer, Step};
use xsknet_testkit::{Machine, Snapshot, Wire, device, on_fresh_mounts, wait_until};

/// A wire whose NIC transmits no redirected frames: the guard runs in skb mode below a native program.
const WITHOUT_XMIT: Wire = Wire { mtu: 1500, far_gro: false };
const WITH_XMIT: Wire = Wire { mtu: 1500, far_gro: true };

/// The lab under attack.
struct Siege {
    stage: Stage,
    clients: Machine,
    attacker: Attacker,
    victims: Victims,
    /// What came of the bursts, by the step that they were sent at.
    told: Mutex<Vec<(String, Harm)>>,
    before: Snapshot,
    devices_before: Vec<xsknet_link::Device>,
}

impl Siege {
    fn new(wire: Wire) -> Arc<Self> {
        let (stage, clients) = (Stage::new(wire), client_machine());
        make_router(&stage.lab);
        let attacker = Attacker::new(&stage.lab, clients.namespace());
        let victims = Victims::new(&stage.lab);
        let (before, devices_before) = (stage.snapshot(), devices(&clients));
        Arc::new(Self { stage, clients, attacker, victims, told: Mutex::default(), before, devices_before })
    }

    /// Attacks at every step.
    fn observer(self: &Arc<Self>) -> Observer {
        let siege = Arc::clone(self);
        Arc::new(move |step: &Step| siege.attack(&format!("{step:?}")))
    }

    fn attack(&self, when: &str) {
        self.attacker.burst();
        self.look(when);
    }

    fn look(&self, when: &str) {
        let harm = Harm { answers: self.attacker.heard(), ..self.victims.harm() };
        if harm != Harm::default() {
            self.told.lock().expect("no panic inside").push((when.into(), harm));
        }
    }

    fn open(self: &Arc<Self>, observer: Observer) -> Instance {
        let options = InstanceOptions { observer: Some(observer), ..self.stage.options() };
        self.stage.lab.host.enter(|| Instance::open(options)).expect("an instance")
    }

    /// Nothing has come anywhere, and the machine is as it was.
    #[track_caller]
    fn assert_harmless(&self, what: &str) {
        self.attack("afterwards");
        self.stage.assert_as_before(&self.before);
        assert_eq!(devices(&self.clients), self.devices_before);
        // What was still on its way has come by now.
        self.look("at last");
        let told = std::mem::take(&mut *self.told.lock().expect("no panic inside"));
        let mut sum = Harm::default();
        told.iter().for_each(|(_, harm)| sum += *harm);
        let tried = self.attacker.tried();
        let lines: Vec<_> = told.iter().map(|(when, harm)| format!("{when}: {harm:?}")).collect();
        assert!(lines.is_empty(), "{what}: {sum:?} of {tried} forged frames:\n{}", lines.join("\n"));
    }
}

/// Without a guard all of it does harm: the judge is not blind.
#[test]
fn the_attack_harms_a_host_without_a_guard() {
    let siege = Siege::new(WITH_XMIT);
    let ends = [End::new(device("outer")).mac(siege.stage.lab.card_mac()), End::new(device("inner"))];
    let [outer, inner] = ends;
    let pair = VethPair::new(outer, inner.inside(siege.clients.namespace()));
    let links = siege.stage.lab.host.links();
    let pair = links.add_veth(&pair).expect("a pair");
    links.set_up(pair.outer).expect("up");
    let mut harm = Harm::default();
    wait_until("harm", 5 * SECOND, || {
        siege.attacker.burst();
        harm += Harm { answers: siege.attacker.heard(), ..siege.victims.harm() };
        harm.datagrams > 4 && harm.frames > 4 && harm.answers > 0
    });
    links.delete(pair.outer).expect("deleted");
    siege.stage.assert_as_before(&siege.before);
}

#[rstest]
#[case::native(WITH_XMIT, Mode::Native)]
#[case::skb_guard(WITHOUT_XMIT, Mode::Native)]
#[case::skb(WITH_XMIT, Mode::Skb)]
fn no_step_of_opening_or_closing_lets_a_forged_frame_through(#[case] wire: Wire, #[case] mode: Mode) {
    on_fresh_mounts(|| {
        let siege = Siege::new(wire);
        let instance = siege.open(siege.observer());
        let uplink = manage(&instance, mode);
        let Some(port) = pinned_where_native(&uplink, 0, &siege.clients) else {
            // A port that was refused must not have been there for a moment either.
            instance.close().expect("closing undoes everything");
            return siege.assert_harmless("a refused port");
        };
        port.close().expect("closing undoes everything");
        for n in 0..3 {
            // Beside others, and with a socket of its own.
            let port = pinned(&uplink, n, &siege.clients);
            let _socket = attach(&port, &siege.clients);
            let beside = pinned(&uplink, n + 1, &siege.clients);
            siege.attack("two ports are open");
            port.close().expect("closing undoes everything");
            siege.attack("one port is open");
            drop(beside);
            siege.attack("no port is open");
        }
        // With its uplink.
        let port = pinned(&uplink, 0, &siege.clients);
        uplink.release().expect("releasing undoes everything");
        siege.attack("the uplink is released");
        drop(port);
        // With its instance.
        let uplink = manage(&instance, mode);
        let port = pinned(&uplink, 0, &siege.clients);
        instance.close().expect("closing undoes everything");
        drop((port, uplink));
        assert!(siege.attacker.tried() > 300, "{} tried", siege.attacker.tried());
        siege.assert_harmless("ports that come and go");
    });
}

#[rstest]
#[case::native(WITH_XMIT, Mode::Native)]
#[case::skb_guard(WITHOUT_XMIT, Mode::Native)]
#[case::skb(WITH_XMIT, Mode::Skb)]
fn a_flood_from_the_first_instant_on_gets_nowhere_in_many_openings(#[case] wire: Wire, #[case] mode: Mode) {
    const OPENINGS: usize = 10;
    on_fresh_mounts(|| {
        let siege = Siege::new(wire);
        let instance = siege.stage.open();
        let uplink = manage(&instance, mode);
        let ends = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| siege.attacker.flood(|| !ends.load(Ordering::Relaxed)));
            for opening in 0..OPENINGS {
                let before = siege.attacker.tried();
                let Some(port) = pinned_where_native(&uplink, 0, &siege.clients) else { break };
                wait_until("a flood", 5 * SECOND, || siege.attacker.tried() > before + 200);
                port.close().expect("closing undoes everything");
                siege.look(&format!("opening {opening}"));
            }
            ends.store(true, Ordering::Relaxed);
        });
        instance.close().expect("closing undoes everything");
        siege.assert_harmless("a flood");
    });
}

/// Labs that are attacked side by side.
const WORKERS: usize = 4;

/// A failure in the middle, whatever its reason: what was begun is undone under attack.
#[rstest]
#[case::native(WITH_XMIT, Mode::Native)]
#[case::skb_guard(WITHOUT_XMIT, Mode::Native)]
fn an_opening_that_fails_at_any_step_lets_nothing_through(#[case] wire: Wire, #[case] mode: Mode) {
    side_by_side(WORKERS, |first| {
        let siege = Siege::new(wire);
        for at in (first..).step_by(WORKERS) {
            assert!(at < 100, "an opening has fewer steps");
            if !fail_at(&siege, mode, at) {
                break;
            }
        }
        siege.assert_harmless("openings that failed");
    });
}

/// False: the opening has no more than `at` steps.
fn fail_at(siege: &Arc<Siege>, mode: Mode, at: usize) -> bool {
    let (seen, attack, counts) = (AtomicUsize::new(0), siege.observer(), Arc::new(AtomicBool::new(false)));
    let counted = Arc::clone(&counts);
    let observer: Observer = Arc::new(move |step: &Step| {
        attack(step);
        if counted.load(Ordering::SeqCst) && seen.fetch_add(1, Ordering::SeqCst) == at {
            counted.store(false, Ordering::SeqCst);
            panic!("{step:?}");
        }
    });
    let instance = siege.open(observer);
    let uplink = manage(&instance, mode);
    counts.store(true, Ordering::SeqCst);
    let opened = catch_unwind(AssertUnwindSafe(|| pinned_where_native(&uplink, 0, &siege.clients)));
    counts.store(false, Ordering::SeqCst);
    let failed = opened.is_err();
    drop(opened);
    siege.attack("after the failure");
    // What a panic left is undone with the instance.
    instance.close().expect("closing undoes everything");
    failed
}

/// Refusals before and after the pair is made.
#[test]
fn a_refused_opening_lets_nothing_through() {
    on_fresh_mounts(|| {
        let siege = Siege::new(WITH_XMIT);
        let instance = siege.open(siege.observer());
        let uplink = manage(&instance, Mode::Native);
        let port = pinned(&uplink, 0, &siege.clients);
        try_pinned(&uplink, 0, &siege.clients).expect_err("name and addresses are taken");
        // Its device's name is taken in the client's namespace.
        let taken = port.pin().device.as_str().replace("-1", "-2");
        let pair = VethPair::new(End::new(device(&taken)), End::new(device("other")));
        let own = siege.clients.links().add_veth(&pair).expect("a pair");
        try_pinned(&uplink, 1, &siege.clients).expect_err("its device's name is taken");
        siege.clients.links().delete(own.outer).expect("deleted");
        port.close().expect("closing undoes everything");
        instance.close().expect("closing undoes everything");
        siege.assert_harmless("openings that were refused");
    });
}

/// Where a child finds the client's namespace, which outlives it.
const KEPT: &str = "/run/client-netns";

fn open_and_close_at(path: &Path, instance: &Instance) {
    let uplink = manage(instance, Mode::Native);
    let namespace = Netns::open(path).expect("the client's namespace");
    let client = client_with(NOBODY, &namespace, duplicate(&namespace));
    let port = uplink.open_pinned(pinned_options(0), client).expect("a pinned port");
    port.close().expect("closing undoes everything");
}

/// The instance is killed at each step at which the client has a device; the attack goes on through the next start,
/// which sweeps.
#[test]
fn a_kill_at_any_step_and_the_sweep_let_nothing_through() {
    if let Some(role) = Role::mine() {
        let instance = role.open();
        open_and_close_at(Path::new(KEPT), &instance);
        return instance.close().expect("closing undoes everything");
    }
    side_by_side(WORKERS, |first| {
        let siege = Siege::new(WITH_XMIT);
        siege.clients.namespace().bind_to(Path::new(KEPT)).expect("kept");
        let armed = armed_steps(&siege);
        assert!(!armed.is_empty(), "the client has a device at no step");
        for step in armed.into_iter().skip(first).step_by(WORKERS) {
            let ended = Role::new(siege.stage.name()).killed_at(step).play(&siege.stage.lab.host);
            let Ended::Killed(at) = ended else { panic!("{step}: it was not killed") };
            assert!(siege.attacker.is_armed(), "{at}");
            siege.attack(&format!("after a kill at {at}"));
            siege.open(siege.observer()).close().unwrap_or_else(|error| panic!("{at}: {error}: {}", error.cause));
        }
        siege.assert_harmless("kills and sweeps");
    });
}

/// The steps of an instance's life at which the client has a device.
fn armed_steps(siege: &Arc<Siege>) -> Vec<usize> {
    let (armed, steps) = (Arc::new(Mutex::new(Vec::new())), AtomicUsize::new(0));
    let (seen, of) = (Arc::clone(&armed), Arc::clone(siege));
    let survey: Observer = Arc::new(move |_: &Step| {
        let step = steps.fetch_add(1, Ordering::SeqCst);
        if of.attacker.is_armed() {
            seen.lock().expect("no panic inside").push(step);
        }
    });
    let instance = siege.open(survey);
    open_and_close_at(Path::new(KEPT), &instance);
    instance.close().expect("closing undoes everything");
    armed.lock().expect("no panic inside").clone()
}
