//! However an instance ends, the machine is as before: closed, told to end, in a panic, killed at any step.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv6Addr;
use std::os::fd::AsFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::common::child::{Ended, Role, kill_at, two_ports};
use crate::common::*;
use crate::flows::flows;
use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;
use xsknet_bpf::{Mode, object_ids};
use xsknet_link::{Links, MacAddr, Netns};
use xsknet_port::{Instance, InstanceOptions, Observer, PortSpec, RingsWish, Step, TapWish};
use xsknet_testkit::{CARD, device, on_fresh_mounts, port_addresses, wait_until};

/// Labs in which processes are killed side by side.
const WORKERS: usize = 4;

/// All that an instance does, from the first step to the last: a port that is closed by itself, one that is closed with
/// its uplink, and at last the instance.
fn open_and_close(instance: Instance) {
    let uplink = manage(&instance, Mode::Native);
    let [tagged, plain] = two_ports(&uplink);
    close(tagged);
    uplink.release().expect("releasing undoes everything");
    drop(plain);
    instance.close().expect("closing undoes everything");
}

/// The BPF objects that this process has descriptors of, each as its kind and id.
fn own_objects() -> BTreeSet<String> {
    let mut objects = BTreeSet::new();
    for entry in fs::read_dir("/proc/self/fdinfo").expect("/proc is mounted").flatten() {
        // The descriptor of the list itself is gone.
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        for (key, kind) in [("map_id:", "map"), ("prog_id:", "program"), ("link_id:", "link")] {
            let id = text.lines().find_map(|line| line.strip_prefix(key));
            objects.extend(id.map(|id| format!("{kind} {}", id.trim())));
        }
    }
    objects
}

/// A NIC with a filter that another program set, and that a port needs too.
fn stage() -> Stage {
    let stage = Stage::plain();
    let links = stage.lab.host.links();
    let card = links.by_name(&device(CARD)).expect("the NIC").index;
    let solicited = MacAddr::solicited_node(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10));
    links.add_filter(card, solicited).expect("a filter");
    stage
}

#[test]
fn a_kill_at_any_step_leaves_nothing_once_the_next_start_has_closed() {
    if let Some(role) = Role::mine() {
        return open_and_close(role.open());
    }
    side_by_side(WORKERS, |first| kill_at_steps((first..).step_by(WORKERS), 90));
}

#[rstest]
#[case::with_addresses(PortSpec::new(port_addresses(0)))]
#[case::at_the_uplinks_mac(PortSpec { uplink_mac: true, ..PortSpec::new(port_addresses(0)) })]
#[case::with_flows_alone(PortSpec { flows: flows(&["udp dst port 5301 and dst host 192.0.2.1"]), ..PortSpec::new([]) })]
#[case::as_a_tap(crate::taps::spec(TapWish { promiscuous: true, ..crate::taps::tap() }))]
fn a_kill_at_any_step_of_a_port_with_bpf_rings_leaves_nothing_once_the_next_start_has_closed(#[case] spec: PortSpec) {
    if let Some(role) = Role::mine() {
        let counts = Arc::new(AtomicBool::new(false));
        let instance = role.open_counted(Arc::clone(&counts));
        let uplink = manage(&instance, Mode::Native);
        counts.store(true, Ordering::SeqCst);
        let spec = PortSpec { name: Some("rings".into()), rings: RingsWish::Bpf, ..spec };
        let (port, donations) = uplink.open_rings(&spec).expect("a port").expect("with BPF rings");
        port.close().expect("closing undoes everything");
        counts.store(false, Ordering::SeqCst);
        drop(donations);
        uplink.release().expect("releasing undoes everything");
        return instance.close().expect("closing undoes everything");
    }
    // One at a time: what keeps clients from attaching their programs stays while there is one on the machine.
    on_fresh_mounts(|| kill_at_steps(0.., 30));
}

fn kill_at_steps(steps: impl Iterator<Item = usize>, least: usize) {
    let stage = stage();
    for step in steps {
        let before = stage.snapshot();
        let ended = Role::new(stage.name()).killed_at(step).play(&stage.lab.host);
        if ended != Ended::Survived {
            stage.open().close().unwrap_or_else(|error| panic!("{step}: {ended:?}: {error}: {}", error.cause));
        }
        if let Err(difference) = before.wait_for(PATIENCE, || stage.snapshot()) {
            panic!("{step}: {ended:?}: the machine is not as before:\n{difference}");
        }
        if ended == Ended::Survived {
            assert!(step > least, "it takes more than {step} steps");
            return;
        }
    }
}

#[test]
fn a_kill_at_any_step_of_the_sweep_after_a_kill_leaves_nothing_either() {
    if let Some(role) = Role::mine() {
        role.work_until_killed();
    }
    on_fresh_mounts(|| {
        let stage = stage();
        let before = stage.snapshot();
        let role = Role::new(stage.name());
        role.crash(&stage.lab.host);
        // Each sweep begins where the last one was killed: once before the oldest change that is left is undone, once
        // after it.
        let mut undone = 0;
        for before_or_after in [1, 2].into_iter().cycle() {
            match role.clone().killed_at(before_or_after).play(&stage.lab.host) {
                Ended::Killed(step) if step.starts_with("Undoing") => {}
                Ended::Killed(step) if step.starts_with("Undone") => undone += 1,
                Ended::Killed(_) => break,
                Ended::Survived => panic!("a sweep has more than {before_or_after} steps"),
            }
        }
        assert!(undone > 15, "only {undone} changes were left to undo");
        stage.open().close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

#[test]
fn a_client_that_holds_its_socket_keeps_nothing_else_alive() {
    if let Some(role) = Role::mine() {
        let instance = role.open();
        let uplink = manage(&instance, Mode::Native);
        let mut ports = two_ports(&uplink);
        let held = ports[1].socket().as_fd().try_clone_to_owned().expect("a duplicate");
        let mut client = Command::new("sleep");
        client.arg("300").stdin(Stdio::from(held)).stdout(Stdio::null()).stderr(Stdio::null());
        let client = client.spawn().expect("a client").id();
        kill_at(&format!("{client} {}", own_objects().into_iter().collect::<Vec<_>>().join(",")));
    }
    on_fresh_mounts(|| {
        let stage = stage();
        let before = stage.snapshot();
        let role = Role::new(stage.name());
        let ended = role.play(&stage.lab.host);
        let Ended::Killed(told) = ended else { panic!("{ended:?}") };
        let (client, objects) = told.split_once(' ').expect("the client and the BPF objects");
        let objects: Vec<&str> = objects.split(',').collect();
        assert!(objects.len() > 20, "{objects:?}");
        let client = Pid::from_raw(client.parse().expect("a process id")).expect("a process id");
        stage.open().close().expect("closing undoes everything");
        let as_before = before.wait_for(PATIENCE, || stage.snapshot());
        wait_until("the end of all BPF objects while the client lives", PATIENCE, || {
            let there = object_ids().expect("a list of BPF objects");
            !there.iter().any(|(kind, id)| objects.contains(&format!("{kind} {id}").as_str()))
        });
        kill_process(client, Signal::KILL).expect("the client lives");
        as_before.unwrap_or_else(|difference| panic!("while the client lives, there is still\n{difference}"));
    });
}

#[test]
fn a_process_that_is_told_to_end_leaves_nothing() {
    if let Some(role) = Role::mine() {
        let mut signals = Signals::new([SIGTERM]).expect("a handler");
        let instance = role.open();
        let uplink = manage(&instance, Mode::Native);
        let _ports = two_ports(&uplink);
        println!("ready");
        assert_eq!(signals.forever().next(), Some(SIGTERM));
        return;
    }
    on_fresh_mounts(|| {
        let stage = stage();
        let before = stage.snapshot();
        let role = Role::new(stage.name());
        let mut child = role.start(&stage.lab.host);
        child.wait_for(&["ready"], 10 * SECOND);
        assert!(before.wait_for(std::time::Duration::ZERO, || stage.snapshot()).is_err(), "the child opened nothing");
        let (status, lines) = child.terminate();
        assert!(status.success(), "{status}: {lines:#?}");
        stage.assert_as_before(&before);
    });
}

#[test]
fn a_panic_at_any_change_or_at_its_undoing_leaves_nothing() {
    side_by_side(WORKERS, |first| {
        let stage = stage();
        let before = stage.snapshot();
        for change in (first..).step_by(WORKERS) {
            let seen = AtomicUsize::new(0);
            let observer: Observer = Arc::new(move |step: &Step| {
                if matches!(step, Step::Made(_) | Step::Undoing(_)) && seen.fetch_add(1, Ordering::SeqCst) == change {
                    panic!("{step:?}");
                }
            });
            let options = InstanceOptions { observer: Some(observer), ..stage.options() };
            let ended = catch_unwind(AssertUnwindSafe(|| {
                let instance = stage.lab.host.enter(|| Instance::open(options)).expect("an instance");
                let uplink = manage(&instance, Mode::Native);
                let [tagged, _plain] = two_ports(&uplink);
                drop(tagged);
                instance.close().expect("closing undoes everything");
                change
            }));
            stage.assert_as_before(&before);
            if let Ok(changes) = ended {
                assert!(changes > 30, "an instance makes and undoes more than {changes} changes");
                break;
            }
        }
    });
}

/// What a process and an instance hold, by number.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    /// Mappings of UMEM and rings.
    mappings: usize,
    map_entries: usize,
    pins: usize,
    mounts: usize,
    /// Devices in the ports' namespace.
    inner_ends: usize,
}

impl Held {
    fn now(stage: &Stage) -> Self {
        let count = |folder: &str| std::fs::read_dir(folder).expect("a folder").count();
        let lines = |file: &str, with: &[&str]| {
            let text = std::fs::read_to_string(file).expect("a file of /proc");
            text.lines().filter(|line| with.iter().any(|with| line.contains(with))).count()
        };
        let namespace = PathBuf::from(format!("/run/xsknet/{}/netns", stage.name()));
        let ports = Netns::open(&namespace).map(|ports| Links::in_namespace(&ports).expect("a socket"));
        Self {
            descriptors: count("/proc/self/fd"),
            mappings: lines("/proc/self/maps", &["/dev/zero", "anon_inode:", "socket:"]),
            map_entries: map_entries(stage),
            pins: count(&format!("/sys/fs/bpf/xsknet/{}/v1/{CARD}", stage.name())),
            mounts: lines("/proc/thread-self/mounts", &[""]),
            inner_ends: ports.expect("the ports' namespace").list().expect("a list").len(),
        }
    }
}

/// Entries of the uplink's maps that ports are entered in.
fn map_entries(stage: &Stage) -> usize {
    let maps = format!("/sys/fs/bpf/xsknet/{}/v1/{CARD}/maps", stage.name());
    let maps = std::fs::read_dir(maps).expect("the uplink's maps").flatten();
    maps.map(|map| {
        let path = map.path().display().to_string();
        let dump = stage.lab.host.run("bpftool", &["map", "dump", "pinned", &path]).expect("bpftool");
        dump.matches("key").count()
    })
    .sum()
}

#[test]
fn fifty_ports_one_after_the_other_leave_nothing_behind() {
    on_fresh_mounts(|| {
        let stage = stage();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let before = Held::now(&stage);
        let one = port(&uplink, 0);
        let with_one = Held::now(&stage);
        eprintln!("{before:?}\n{with_one:?}");
        assert!(with_one.descriptors > before.descriptors, "{with_one:?}");
        assert!(with_one.mappings > before.mappings, "{with_one:?}");
        assert!(with_one.map_entries > before.map_entries, "{with_one:?}");
        assert_eq!(with_one.inner_ends, before.inner_ends + 1);
        close(one);
        for _ in 0..50 {
            close(port(&uplink, 0));
        }
        assert_eq!(Held::now(&stage), before);
        instance.close().expect("closing undoes everything");
    });
}
