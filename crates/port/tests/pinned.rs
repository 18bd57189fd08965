//! Ports whose client makes the socket: the inner end is in the client's network namespace, and the client may do with
//! it what it likes. Whatever that is, nothing but its own port suffers.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};

use crate::common::child::{Ended, Role};
use crate::common::*;
use rstest::rstest;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, socket};
use xsknet_bpf::{Mode, Obtained, PinnedMapError, PinnedSocketMap, PortProgram, bpffs};
use xsknet_link::{Device, DeviceName, End, Ethtool, IfIndex, LinkStats, Links, MacAddr, Netns, VethPair};
use xsknet_port::{
    Client, Equality, Instance, InstanceOptions, Loss, Observer, OpenPortError, PinnedPort, PortSpec, ShareError, Step,
    Uplink, Watch,
};
use xsknet_testkit::{
    CARD, Machine, NumberedFrames, Responder, Wire, device, on_fresh_mounts, port_addresses, wait_until,
};
use xsknet_xsk::{Layout, QueueId, Readiness, Request, Socket};

/// Uid and gid of `nobody` and `nogroup`.
const NOBODY: u32 = 65_534;
const BPFFS: &str = "/sys/fs/bpf";

fn client_machine() -> Machine {
    Machine::new("client").expect("a machine")
}

/// A second descriptor of a machine's namespace.
fn namespace_of(machine: &Machine) -> Netns {
    let own = machine.namespace().as_fd().try_clone_to_owned().expect("a descriptor");
    Netns::from_fd(own).expect("a namespace")
}

fn client(machine: &Machine) -> Client {
    Client { uid: NOBODY, gid: NOBODY, namespace: namespace_of(machine), own: Some(namespace_of(machine)) }
}

fn try_pinned(uplink: &Uplink, n: u8, machine: &Machine) -> Result<PinnedPort, OpenPortError> {
    let options = PortSpec { name: Some(format!("pinned-{n}")), ..PortSpec::new(port_addresses(n)) };
    uplink.open_pinned(options, client(machine))
}

fn pinned(uplink: &Uplink, n: u8, machine: &Machine) -> PinnedPort {
    try_pinned(uplink, n, machine).expect("a pinned port")
}

/// What a client does: its own socket, put into the map.
fn attach(port: &PinnedPort, machine: &Machine) -> Socket {
    let pin = port.pin();
    let layout = Layout::builder().frames(1024).rings(512).build().expect("a layout");
    let request = Request {
        device: pin.device.as_str(),
        queue: QueueId(pin.queue),
        layout,
        huge_pages: Default::default(),
        bind: Default::default(),
        prime: true,
    };
    let socket = machine.enter(|| xsknet_xsk::create(&request)).expect("a socket").socket;
    let mut map = PinnedSocketMap::open(&pin.xsks, pin.queue).expect("the port's map");
    map.insert(pin.queue, socket.as_fd()).expect("the socket fits");
    socket
}

fn responder(port: &PinnedPort) -> Responder {
    Responder::new(port.info().mac.octets(), port.info().addresses.iter().copied())
}

/// The client's end, as it is called when it is made.
fn end_of(machine: &Machine, port: &PinnedPort) -> (Links, IfIndex) {
    let links = machine.links();
    let index = links.by_name(&port.pin().device).expect("the client's end").index;
    (links, index)
}

fn watch(instance: &Instance) -> (Watch, Receiver<Loss>) {
    let (tell, told) = channel();
    (instance.watch(losses(tell)).expect("a watch"), told)
}

/// The devices of a client's machine, without their counters.
fn devices(machine: &Machine) -> Vec<Device> {
    let mut all = machine.links().list().expect("a list");
    for device in &mut all {
        device.stats = LinkStats::default();
    }
    all
}

/// What closing has to bring back there, at once.
#[track_caller]
fn assert_devices_as_before(before: &[Device], machine: &Machine) {
    assert_eq!(devices(machine), before);
}

#[test]
fn a_socket_of_the_clients_own_gets_all_frames_of_its_port_and_every_sum_holds() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let (before, clients) = (stage.snapshot(), client_machine());
        let clients_before = devices(&clients);
        let instance = stage.open();
        let (_watch, told) = watch(&instance);
        let uplink = manage(&instance, Mode::Native);
        let port = pinned(&uplink, 0, &clients);
        assert_eq!(port.info().bind_mode, None);
        let honest = |attempt: &&xsknet_port::Attempt| attempt.step == "self-test" && attempt.why.contains("not done");
        assert!(port.info().attempts.iter().any(|attempt| honest(&attempt)), "{:?}", port.info().attempts);

        // Before there is a socket, frames are counted and lost.
        let missed = stage.lab.remote.run("ping", &["-c", "1", "-W", "1", &port_addresses(0)[0].to_string()]);
        assert!(!missed.status.success(), "{missed:?}");
        let early = port.statistics().expect("statistics");
        assert_eq!(early.socket.map(|_| ()), None);
        assert!(early.program.dropped() > 0 && early.program.dropped() == early.program.seen(), "{early:?}");

        let socket = attach(&port, &clients);
        let not_one = OwnedFd::from(fs::File::open("/dev/null").expect("a file"));
        let error = port.share_socket(not_one).expect_err("no socket");
        assert!(matches!(error, ShareError::NotXsk { cause: Some(_), .. }), "{error:?}");
        let other = socket_of_another_kind();
        assert!(matches!(port.share_socket(other), Err(ShareError::NotXsk { cause: None, .. })));
        // Whose owner could still register a UMEM that is never done.
        let unbound = rustix::net::socket(AddressFamily::XDP, SocketType::RAW, None).expect("an XSK");
        assert!(matches!(port.share_socket(unbound), Err(ShareError::NotBound { .. })));
        port.share_socket(socket.as_fd().try_clone_to_owned().expect("a duplicate")).expect("an XSK");

        let serving = responder(&port).start(Box::new(socket));
        for address in port_addresses(0) {
            ping(&stage.lab, address, 1000);
            assert_eq!(stage.lab.remote.udp_echo(address, b"there and back").expect("an echo"), b"there and back");
        }
        let (mut socket, served) = serving.finish();
        assert!(served.expect("a working socket").answered >= 2000);
        wait_until("completion of all frames", 2 * SECOND, || {
            socket.flush().expect("a kick");
            socket.complete().expect("a sound ring");
            socket.chunks().tx == 0
        });
        let own = socket.counters();
        wait_until("rest", 2 * SECOND, || {
            let now = port.statistics().expect("statistics");
            assert!(now.socket.is_some());
            now.equalities([&own]).iter().all(Equality::holds)
        });
        try_pinned(&uplink, 0, &clients).expect_err("name and addresses are still taken");

        port.close().expect("closing undoes everything");
        assert_eq!(socket.wait(SECOND).expect("an answer"), Readiness::DeviceGone);
        assert_devices_as_before(&clients_before, &clients);
        pinned(&uplink, 0, &clients).close().expect("closing undoes everything");
        uplink.release().expect("releasing undoes everything");
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
        assert_eq!(told.try_recv().ok(), None, "closing is not a loss");
        let chunks = socket.close();
        assert_eq!(chunks.free, chunks.total, "{chunks:?}");
    });
}

fn socket_of_another_kind() -> OwnedFd {
    socket(AddressFamily::UNIX, SocketType::DGRAM, None).expect("a socket")
}

/// What an owner does to its end, and what is told of it.
struct Deed {
    act: fn(&Machine, &PinnedPort),
    told: &'static str,
}

const DELETED: Deed = Deed { act: delete, told: "its device `xski2-1` was deleted" };
const MOVED: Deed = Deed {
    act: |machine, port| {
        static ELSEWHERE: OnceLock<Netns> = OnceLock::new();
        let elsewhere = ELSEWHERE.get_or_init(|| Netns::create().expect("a namespace"));
        let (links, index) = end_of(machine, port);
        links.move_to(index, elsewhere).expect("moved");
    },
    told: "its device `xski2-1` was moved to another network namespace",
};
const DOWN: Deed = Deed {
    act: |machine, port| {
        let (links, index) = end_of(machine, port);
        links.set_down(index).expect("down");
    },
    told: "its device `xski2-1` was set down",
};
const MAC: Deed = Deed {
    act: |machine, port| {
        let (links, index) = end_of(machine, port);
        links.set_mac(index, "02:00:00:00:00:99".parse().expect("a MAC")).expect("set");
    },
    told: "its MAC was changed from ",
};
const MTU: Deed = Deed {
    act: |machine, port| {
        let (links, index) = end_of(machine, port);
        links.set_mtu(index, 1400).expect("set");
    },
    told: "its MTU was changed from 1500 to 1400",
};
/// With a native guard the kernel keeps segmentation off.
const CHECKSUM: Deed = Deed {
    act: |machine, port| offload(machine, port, &["tx-checksum-ip-generic"]),
    told: "the offload tx-checksum-ip-generic of its device `xski2-1` was switched on",
};
fn delete(machine: &Machine, port: &PinnedPort) {
    let (links, index) = end_of(machine, port);
    links.delete(index).expect("deleted");
}

fn offload(machine: &Machine, port: &PinnedPort, names: &[&str]) {
    let wishes: Vec<_> = names.iter().map(|name| (*name, true)).collect();
    let ethtool = Ethtool::in_namespace(machine.namespace()).expect("ethtool");
    ethtool.set_features(&port.pin().device, &wishes).expect("switched on");
}

#[rstest]
#[case::deleted(DELETED)]
#[case::moved(MOVED)]
#[case::down(DOWN)]
#[case::mac(MAC)]
#[case::mtu(MTU)]
#[case::checksum(CHECKSUM)]
fn an_end_that_its_owner_spoils_is_told_with_what_was_done_and_no_neighbour_loses_a_frame(#[case] deed: Deed) {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let (before, clients) = (stage.snapshot(), client_machine());
        let clients_before = devices(&clients);
        let instance = stage.open();
        let (_watch, told) = watch(&instance);
        let uplink = manage(&instance, Mode::Native);
        let port = pinned(&uplink, 0, &clients);
        let neighbour = pinned(&uplink, 2, &clients);
        let socket = attach(&port, &clients);
        let own = responder(&port).start(Box::new(socket));
        let beside = responder(&neighbour).start(Box::new(attach(&neighbour, &clients)));
        let brokered = serve(crate::common::port(&uplink, 1));
        ping(&stage.lab, port_addresses(0)[0], 10);

        std::thread::scope(|scope| {
            let loops = [1, 2].map(|n| {
                let lab = &stage.lab;
                scope.spawn(move || ping(lab, port_addresses(n)[0], 500))
            });
            (deed.act)(&clients, &port);
            let loss = told.recv_timeout(2 * SECOND).expect("a loss is told");
            let Loss::Port { uplink: of, key, change: Some(change) } = &loss else { panic!("{loss:?}") };
            assert_eq!((of, *key), (&device(CARD), port.info().key));
            assert!(change.starts_with(deed.told), "{change}");
            port.statistics().expect("what can still be read");
            port.close().expect("closing undoes everything");
            for pings in loops {
                pings.join().expect("nothing is lost");
            }
        });
        // A socket whose device went has no more to do than to end.
        drop(own.finish());
        ping(&stage.lab, port_addresses(2)[1], 50);
        let (socket, served) = beside.finish();
        served.expect("a working socket");
        drop(socket);
        neighbour.close().expect("closing undoes everything");
        close(finish(brokered));
        assert_eq!(told.try_recv().ok(), None, "one loss, told once");
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
        assert_devices_as_before(&clients_before, &clients);
    });
}

#[rstest]
#[case::a_card_in_skb_mode(Mode::Skb, true, "the program of `card0` runs in skb mode")]
#[case::a_card_that_does_not_transmit(Mode::Native, false, "no ndo-xmit")]
fn no_port_is_pinned_whose_guard_would_run_in_skb_mode(#[case] mode: Mode, #[case] far_gro: bool, #[case] why: &str) {
    on_fresh_mounts(|| {
        let (stage, clients) = (Stage::new(Wire { far_gro, ..Wire::default() }), client_machine());
        let clients_before = devices(&clients);
        let instance = stage.open();
        let uplink = manage(&instance, mode);
        let error = refused(&stage, || try_pinned(&uplink, 0, &clients));
        assert!(matches!(error, OpenPortError::GuardInvalid { .. }), "{error:?}");
        assert_tells(&error, &["`card0`", "skb mode", why]);
        assert!(error.hint().is_some_and(|hint| hint.contains("brokered")));
        assert_devices_as_before(&clients_before, &clients);
        close(crate::common::port(&uplink, 0));
        instance.close().expect("closing undoes everything");
    });
}

#[test]
fn another_name_is_the_owners_affair() {
    on_fresh_mounts(|| {
        let (stage, clients) = (Stage::plain(), client_machine());
        let instance = stage.open();
        let (_watch, told) = watch(&instance);
        let uplink = manage(&instance, Mode::Native);
        let port = pinned(&uplink, 0, &clients);
        let serving = responder(&port).start(Box::new(attach(&port, &clients)));
        let (links, index) = end_of(&clients, &port);
        links.rename(index, &device("mine")).expect("renamed");
        // Another device has the name now, with losses of its own.
        let pair = VethPair::new(End::new(port.pin().device.clone()), End::new(device("other")));
        links.add_veth(&pair).expect("a pair");
        ping(&stage.lab, port_addresses(0)[0], 200);
        // The next look at it follows from this.
        links.set_alias(index, "mine").expect("set");
        assert_eq!(told.recv_timeout(SECOND / 2).ok(), None);
        let (socket, served) = serving.finish();
        served.expect("a working socket");
        let own = socket.counters();
        port.share_socket(socket.as_fd().try_clone_to_owned().expect("a duplicate")).expect("an XSK");
        wait_until("rest", 2 * SECOND, || {
            let now = port.statistics().expect("statistics");
            now.equalities([&own])[1..].iter().all(Equality::holds)
        });
        port.close().expect("closing undoes everything");
        assert!(links.by_name(&device("other")).is_ok(), "what is not ours stays");
        instance.close().expect("closing undoes everything");
    });
}

/// What the owner of another namespace does at the same time; the watch is notified of all of it.
#[test]
fn an_owner_that_floods_its_namespace_with_events_keeps_no_loss_of_others_from_being_told() {
    on_fresh_mounts(|| {
        let (stage, flooder, quiet) = (Stage::plain(), client_machine(), client_machine());
        let instance = stage.open();
        let (_watch, told) = watch(&instance);
        let uplink = manage(&instance, Mode::Native);
        let (loud, other) = (pinned(&uplink, 0, &flooder), pinned(&uplink, 1, &quiet));
        let stop = AtomicBool::new(false);
        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (links, index) = end_of(&flooder, &loud);
                while !stop.load(Ordering::Relaxed) {
                    let n = made.fetch_add(1, Ordering::Relaxed);
                    links.set_alias(index, &format!("flood {n}")).expect("set");
                }
            });
            wait_until("a flood", 10 * SECOND, || made.load(Ordering::Relaxed) > 5000);
            delete(&quiet, &other);
            let loss = told.recv_timeout(SECOND);
            stop.store(true, Ordering::Relaxed);
            let Ok(Loss::Port { key, .. }) = loss else { panic!("{loss:?} after {made:?} events") };
            assert_eq!(key, other.info().key);
        });
        // The flooder itself is heard in the end, too.
        let (links, index) = end_of(&flooder, &loud);
        links.set_mtu(index, 1300).expect("set");
        let Ok(Loss::Port { key, change, .. }) = told.recv_timeout(SECOND) else { panic!("no loss") };
        assert_eq!((key, change.as_deref()), (loud.info().key, Some("its MTU was changed from 1500 to 1300")));
        instance.close().expect("closing undoes everything");
    });
}

#[test]
fn a_change_before_the_watch_is_told_too() {
    on_fresh_mounts(|| {
        let (stage, clients) = (Stage::plain(), client_machine());
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let port = pinned(&uplink, 0, &clients);
        (MTU.act)(&clients, &port);
        let (_watch, told) = watch(&instance);
        let Ok(Loss::Port { change, .. }) = told.recv_timeout(2 * SECOND) else { panic!("no loss") };
        assert_eq!(change.as_deref(), Some(MTU.told));
        instance.close().expect("closing undoes everything");
    });
}

#[test]
fn a_client_may_be_in_the_hosts_own_namespace() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        let instance = stage.open();
        let (_watch, told) = watch(&instance);
        let uplink = manage(&instance, Mode::Native);
        let port = pinned(&uplink, 0, &stage.lab.host);
        let serving = responder(&port).start(Box::new(attach(&port, &stage.lab.host)));
        for address in port_addresses(0) {
            ping(&stage.lab, address, 100);
        }
        drop(serving.finish());
        delete(&stage.lab.host, &port);
        let Ok(Loss::Port { change, .. }) = told.recv_timeout(2 * SECOND) else { panic!("no loss") };
        assert!(change.is_some_and(|change| change.ends_with("was deleted")));
        port.close().expect("closing undoes everything");
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

#[test]
fn a_namespace_that_everybody_has_left_is_kept_for_the_port_and_goes_with_it() {
    on_fresh_mounts(|| {
        let (stage, clients, witness) = (Stage::plain(), client_machine(), client_machine());
        let before = stage.snapshot();
        // Goes when the client's namespace does.
        let pair = VethPair::new(End::new(device("here")), End::new(device("there")).inside(clients.namespace()));
        witness.links().add_veth(&pair).expect("a pair");
        let instance = stage.open();
        let (_watch, told) = watch(&instance);
        let uplink = manage(&instance, Mode::Native);
        let port = pinned(&uplink, 0, &clients);
        drop(clients);
        assert_eq!(told.recv_timeout(SECOND / 2).ok(), None);
        port.statistics().expect("statistics");
        assert!(witness.links().by_name(&device("here")).is_ok());
        port.close().expect("closing undoes everything");
        wait_until("end of the client's namespace", 5 * SECOND, || witness.links().by_name(&device("here")).is_err());
        assert_eq!(told.try_recv().ok(), None, "closing is not a loss");
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

#[test]
fn a_namespace_that_cannot_have_the_end_is_refused_and_nothing_is_left() {
    on_fresh_mounts(|| {
        let (stage, clients) = (Stage::plain(), client_machine());
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let own = || Client { uid: NOBODY, gid: NOBODY, namespace: stage.inside(), own: Some(stage.inside()) };
        let options = PortSpec::new(port_addresses(0));
        let error = refused(&stage, || uplink.open_pinned(options, own()));
        assert!(matches!(error, OpenPortError::NamespaceInvalid { .. }), "{error:?}");
        assert_tells(&error, &["the instance's own network namespace"]);
        assert!(error.hint().is_some_and(|hint| hint.contains("/proc/self/ns/net")));

        let pair = VethPair::new(End::new(device("xski2-1")), End::new(device("other")));
        clients.links().add_veth(&pair).expect("a pair");
        let clients_before = devices(&clients);
        let error = refused(&stage, || try_pinned(&uplink, 0, &clients));
        assert!(
            matches!(&error, OpenPortError::ClientDeviceTaken { device } if device.as_str() == "xski2-1"),
            "{error:?}"
        );
        assert_tells(&error, &["xski2-1", "client's network namespace"]);
        assert!(error.hint().is_some());
        assert_devices_as_before(&clients_before, &clients);
        instance.close().expect("closing undoes everything");
    });
}

/// An owner that is quick: whatever the daemon does next finds the end deleted, or called otherwise.
#[test]
fn an_end_that_is_deleted_or_renamed_at_any_step_of_opening_leaves_nothing() {
    on_fresh_mounts(|| {
        let (stage, clients) = (Stage::plain(), client_machine());
        let (before, clients_before) = (stage.snapshot(), devices(&clients));
        let mut outcomes = [0, 0];
        for rename in [false, true] {
            for at in 0.. {
                let inside = Arc::new(AtomicUsize::new(usize::MAX));
                let (counted, namespace) = (Arc::clone(&inside), namespace_of(&clients));
                let observer: Observer = Arc::new(move |step: &Step| {
                    if matches!(step, Step::Passed("the inner end is in the client's namespace")) {
                        counted.store(0, Ordering::SeqCst);
                    }
                    let n = counted.load(Ordering::SeqCst);
                    if n == usize::MAX {
                        return;
                    }
                    counted.store(n + 1, Ordering::SeqCst);
                    if n == at {
                        let links = Links::in_namespace(&namespace).expect("a socket");
                        let index = links.by_name(&device("xski2-1")).expect("the end").index;
                        let done = if rename { links.rename(index, &device("mine")) } else { links.delete(index) };
                        done.expect("done");
                    }
                });
                let options = InstanceOptions { observer: Some(observer), ..stage.options() };
                let instance = stage.lab.host.enter(|| Instance::open(options)).expect("an instance");
                let (_watch, told) = watch(&instance);
                let uplink = manage(&instance, Mode::Native);
                let opened = try_pinned(&uplink, 0, &clients);
                let steps = inside.load(Ordering::SeqCst);
                match &opened {
                    Err(error) => {
                        outcomes[0] += 1;
                        assert!(chain(error).iter().any(|text| !text.is_empty()), "{error:?}");
                    }
                    Ok(port) if !rename && steps > at => {
                        outcomes[1] += 1;
                        let loss = told.recv_timeout(2 * SECOND);
                        let Ok(Loss::Port { key, change: Some(change), .. }) = loss else { panic!("{at}: {loss:?}") };
                        assert_eq!((key, change.as_str()), (port.info().key, DELETED.told));
                    }
                    Ok(_) => {}
                }
                // The end is given back before the instance's own steps come.
                inside.store(usize::MAX, Ordering::SeqCst);
                drop(opened);
                instance.close().unwrap_or_else(|error| panic!("{at}: {error}: {}", error.cause));
                stage.assert_as_before(&before);
                assert_devices_as_before(&clients_before, &clients);
                if steps <= at {
                    assert!(at > 5, "opening takes more than {at} steps");
                    break;
                }
            }
        }
        assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
    });
}

/// Where a child finds the client's namespace, which outlives it.
const KEPT: &str = "/run/client-netns";

#[test]
fn a_kill_at_any_step_leaves_nothing_in_the_clients_namespace_either() {
    if let Some(role) = Role::mine() {
        let instance = role.open();
        let uplink = manage(&instance, Mode::Native);
        let namespace = Netns::open(Path::new(KEPT)).expect("the client's namespace");
        let own = Netns::open(Path::new(KEPT)).ok();
        let client = Client { uid: NOBODY, gid: NOBODY, namespace, own };
        let options = PortSpec::new(port_addresses(0));
        let port = uplink.open_pinned(options, client).expect("a pinned port");
        port.close().expect("closing undoes everything");
        return instance.close().expect("closing undoes everything");
    }
    const WORKERS: usize = 4;
    side_by_side(WORKERS, |first| kill_at_steps((first..).step_by(WORKERS)));
}

fn kill_at_steps(steps: impl Iterator<Item = usize>) {
    let (stage, clients) = (Stage::plain(), client_machine());
    clients.namespace().bind_to(Path::new(KEPT)).expect("kept");
    let clients_before = devices(&clients);
    let before = stage.snapshot();
    for step in steps {
        let ended = Role::new(stage.name()).killed_at(step).play(&stage.lab.host);
        if ended != Ended::Survived {
            stage.open().close().unwrap_or_else(|error| panic!("{step}: {ended:?}: {error}: {}", error.cause));
        }
        let same = before.wait_for(PATIENCE, || stage.snapshot());
        same.unwrap_or_else(|difference| panic!("{step}: {ended:?}: the machine is not as before:\n{difference}"));
        assert_devices_as_before(&clients_before, &clients);
        if ended == Ended::Survived {
            assert!(step > 50, "an instance takes more than {step} steps");
            return;
        }
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

fn owner(path: &Path) -> (u32, u32) {
    let found = fs::metadata(path).expect("it is there");
    (found.uid(), found.gid())
}

#[test]
fn the_map_alone_is_the_clients_and_the_machines_bpffs_is_closed_again_by_the_last_instance() {
    on_fresh_mounts(|| {
        let (stage, clients) = (Stage::plain(), client_machine());
        bpffs::mount(Path::new(BPFFS)).expect("a bpffs");
        fs::set_permissions(BPFFS, fs::Permissions::from_mode(0o1700)).expect("set");
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let brokered = crate::common::port(&uplink, 1);
        let folder = PathBuf::from(format!("{BPFFS}/xsknet/{}/v1/{CARD}", stage.name()));
        let way = || folder.ancestors().take_while(|folder| folder.starts_with(BPFFS)).map(Path::to_path_buf);
        assert!(way().all(|folder| mode(&folder) & 0o777 == 0o700), "nobody passes for a brokered port");

        let port = pinned(&uplink, 0, &clients);
        let xsks = port.pin().xsks.clone();
        assert_eq!(xsks, folder.join("port-2/maps/xsks"));
        assert_eq!((mode(&xsks), owner(&xsks)), (0o600, (NOBODY, NOBODY)));
        assert_eq!(mode(Path::new(BPFFS)), 0o1711);
        for passed in xsks.ancestors().skip(1).take_while(|folder| *folder != Path::new(BPFFS)) {
            assert_eq!((mode(passed), owner(passed)), (0o711, (0, 0)), "{}", passed.display());
        }
        // All else is as it was.
        for kept in ["port-1", "maps", "programs", "port-2/programs"] {
            assert_eq!((mode(&folder.join(kept)), owner(&folder.join(kept))), (0o700, (0, 0)), "{kept}");
        }
        for kept in ["uplink-link", "port-2/port-link", "port-2/guard-link", "port-2/maps/port_counters"] {
            assert_eq!((mode(&folder.join(kept)) & 0o77, owner(&folder.join(kept))), (0, (0, 0)), "{kept}");
        }

        // A second instance that needs the same.
        let second = Stage::plain();
        let another = second.open();
        let uplink_too = manage(&another, Mode::Native);
        let neighbour = pinned(&uplink_too, 0, &second.lab.remote);
        close(brokered);
        port.close().expect("closing undoes everything");
        assert!(!xsks.exists() && !folder.join("port-2").exists());
        instance.close().expect("closing undoes everything");
        assert_eq!(mode(Path::new(BPFFS)), 0o1711, "it is still needed");
        assert!(neighbour.pin().xsks.exists());
        another.close().expect("closing undoes everything");
        assert_eq!(mode(Path::new(BPFFS)), 0o1700);
    });
}

#[test]
fn what_is_pinned_is_looked_at_before_it_is_trusted() {
    on_fresh_mounts(|| {
        let (stage, clients) = (Stage::plain(), client_machine());
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let port = pinned(&uplink, 0, &clients);
        let xsks = &port.pin().xsks;
        let invalid = |path: &Path, queue| PinnedSocketMap::open(path, queue).expect_err("no map for a socket");

        let error = invalid(xsks, 1);
        assert!(matches!(error, PinnedMapError::NotASocketMap { found: Some(_), queue: 1, .. }), "{error:?}");
        let error = invalid(&xsks.with_file_name("port_counters"), 0);
        assert!(matches!(error, PinnedMapError::NotASocketMap { found: Some(_), .. }), "{error:?}");
        assert_tells(&error, &["port_counters", "is not an XSKMAP", "type 6"]);
        for other in ["../programs/port", "../port-link"] {
            let error = invalid(&xsks.parent().expect("a folder").join(other), 0);
            assert!(matches!(error, PinnedMapError::NotASocketMap { .. }), "{other}: {error:?}");
        }
        let error = invalid(&xsks.with_file_name("nothing"), 0);
        assert!(matches!(error, PinnedMapError::NotThere { .. }), "{error:?}");
        assert_eq!(errno(&error), Some(Errno::NOENT));
        assert!(error.hint().is_some_and(|hint| hint.contains("mount namespace")));
        // What the path leads to in a container that has a folder of this name, and no bpffs.
        fs::write("/run/xsks", "").expect("a file");
        let error = invalid(Path::new("/run/xsks"), 0);
        assert!(matches!(error, PinnedMapError::NotThere { .. }), "{error:?}");

        let mut map = PinnedSocketMap::open(xsks, 0).expect("the port's map");
        let error = map.insert(0, socket_of_another_kind().as_fd()).expect_err("no XSK");
        assert_eq!(errno(&error), Some(Errno::OPNOTSUPP));
        instance.close().expect("closing undoes everything");
    });
}

#[test]
fn a_map_that_an_earlier_port_left_is_not_used_again() {
    on_fresh_mounts(|| {
        let (stage, clients) = (Stage::plain(), client_machine());
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        // As where its folder could not be removed; its client still holds it.
        let folder = PathBuf::from(format!("{BPFFS}/xsknet/{}/v1/{CARD}/port-1", stage.name()));
        drop(PortProgram::load(Some(&folder)).expect("an earlier port's program"));
        let xsks = folder.join("maps/xsks");
        let id = || {
            let shown = stage.lab.host.run("bpftool", &["map", "show", "pinned", xsks.to_str().expect("a path")]);
            shown.expect("bpftool").split(':').next().expect("an id").to_owned()
        };
        let _held = PinnedSocketMap::open(&xsks, 0).expect("the earlier port's map");
        let earlier = id();
        let port = pinned(&uplink, 0, &clients);
        assert_eq!(port.pin().xsks, xsks);
        assert_ne!(id(), earlier);
        instance.close().expect("closing undoes everything");
    });
}

/// What a client that is another process is told in its environment.
const CLIENT: &str = "XSKNET_LAB_CLIENT";

/// A client of a process of its own, with CAP_NET_RAW and nothing else: what it is told is the pin, the device, the MAC
/// and the addresses.
fn play_client(told: &str) -> ! {
    let mut told = told.split(' ');
    let mut next = || told.next().expect("one more word");
    let (xsks, name): (PathBuf, DeviceName) = (next().into(), next().parse().expect("a name"));
    let mac: MacAddr = next().parse().expect("a MAC");
    let addresses: Vec<IpAddr> = told.map(|address| address.parse().expect("an address")).collect();
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let held = |kind| status.lines().find_map(|line| line.strip_prefix(kind)).map(str::trim).expect("capabilities");
    // Bit 13 is CAP_NET_RAW.
    assert_eq!(["CapPrm:", "CapEff:", "CapBnd:"].map(held), ["0000000000002000"; 3]);

    let layout = Layout::builder().frames(512).rings(256).build().expect("a layout");
    let request = Request {
        device: name.as_str(),
        queue: QueueId(0),
        layout,
        huge_pages: Default::default(),
        bind: Default::default(),
        prime: true,
    };
    let socket = xsknet_xsk::create(&request).expect("a socket").socket;
    let mut map = PinnedSocketMap::open(&xsks, 0).expect("the port's map");
    map.insert(0, socket.as_fd()).expect("the socket fits");
    // Nothing else of the port's opens, and nothing can be listed.
    for other in ["port_counters", "../programs/port", "../port-link"] {
        let error = PinnedSocketMap::open(&xsks.with_file_name(other), 0).expect_err("not the client's");
        assert_eq!(errno(&error), Some(Errno::ACCESS), "{other}");
    }
    assert!(fs::read_dir(xsks.parent().expect("a folder")).is_err());
    let _serving = Responder::new(mac.octets(), addresses).start(Box::new(socket));
    println!("ready");
    // Until it is killed.
    loop {
        std::thread::park();
    }
}

#[test]
fn a_process_of_nobody_with_net_raw_alone_makes_its_socket_and_answers() {
    if let Ok(told) = std::env::var(CLIENT) {
        play_client(&told);
    }
    on_fresh_mounts(|| {
        let (stage, clients) = (Stage::plain(), client_machine());
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let port = pinned(&uplink, 0, &clients);
        // Where nobody can read it.
        let program = "/run/client";
        fs::copy(std::env::current_exe().expect("a test has a program"), program).expect("a copy");
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("set");
        let addresses: Vec<_> = port.info().addresses.iter().map(ToString::to_string).collect();
        let (pin, mac) = (port.pin(), port.info().mac);
        let told = format!("{CLIENT}={} {} {mac} {}", pin.xsks.display(), pin.device, addresses.join(" "));
        let test = std::thread::current().name().expect("the thread of a test").to_owned();
        let start = |as_whom: &[&str]| {
            let run = ["env", &told, program, "--exact", &test, "--nocapture", "--test-threads=1"];
            clients.spawn("setpriv", &[as_whom, &["--clear-groups"], &run].concat())
        };
        let net_raw = ["--inh-caps=-all,+net_raw", "--ambient-caps=-all,+net_raw", "--bounding-set=-all,+net_raw"];
        let mut nobody = start(&[&["--reuid=65534", "--regid=65534"], &net_raw[..]].concat());
        nobody.wait_for(&["ready"], 10 * SECOND);
        for address in port_addresses(0) {
            ping(&stage.lab, address, 500);
        }
        drop(nobody);
        // Another user cannot pass for the client.
        let mut stranger = start(&[&["--reuid=65533", "--regid=65533"], &net_raw[..]].concat());
        stranger.wait_for(&["Denied"], 10 * SECOND);
        drop(stranger);
        port.close().expect("closing undoes everything");
        fs::remove_file(program).expect("the copy");
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

#[test]
fn frames_that_a_client_sends_as_fast_as_it_can_are_all_accounted_for() {
    on_fresh_mounts(|| {
        let (stage, clients) = (Stage::plain(), client_machine());
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let port = pinned(&uplink, 0, &clients);
        assert_eq!(port.info().port_mode, Obtained::Native);
        let mut socket = attach(&port, &clients);
        port.share_socket(socket.as_fd().try_clone_to_owned().expect("a duplicate")).expect("an XSK");
        let to = (stage.lab.far_mac(), "192.0.2.2:9".parse().expect("an address"));
        let frames = NumberedFrames::new((port.info().mac, SocketAddr::new(port.info().addresses[0], 9)), to);
        let mut next = 0;
        while next < 20_000 {
            next = frames.send(&mut socket, next, 256).expect("a working socket");
            socket.flush().expect("a kick");
            socket.complete().expect("a sound ring");
        }
        wait_until("completion of all frames", 2 * SECOND, || {
            socket.flush().expect("a kick");
            socket.complete().expect("a sound ring");
            socket.chunks().tx == 0
        });
        let own = socket.counters();
        assert!(own.completed >= 20_000);
        // What the remote host's kernel has to say to such frames stays unread.
        wait_until("rest", 2 * SECOND, || {
            port.statistics().expect("statistics").equalities([&own])[..2].iter().all(Equality::holds)
        });
        port.close().expect("closing undoes everything");
        instance.close().expect("closing undoes everything");
    });
}
