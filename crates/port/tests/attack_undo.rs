//! Whatever the client of a pinned port does with what is its own (the map, its pin, the device, the namespace), its
//! port is undone without its help: closed, or swept after a crash. Nobody else is kept from anything meanwhile.

use std::any::Any;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::common::attack::*;
use crate::common::child::{Ended, Role, kill_at};
use crate::common::*;
use rstest::rstest;
use xsknet_bpf::testbed::VlanEdge;
use xsknet_bpf::{Mode, PinnedSocketMap, PortProgram};
use xsknet_link::{DeviceName, End, IfIndex, Links, Netns, VethPair};
use xsknet_testkit::{Machine, PacketSocket, device, on_fresh_mounts, port_addresses};
use xsknet_xsk::{Layout, QueueId, Request, Socket};

/// What the client has of its port.
struct Target<'a> {
    machine: &'a Machine,
    device: DeviceName,
    xsks: PathBuf,
    stage: &'a str,
}

/// What it keeps open meanwhile.
type Held = Vec<Box<dyn Any>>;
type Deed = fn(&Target<'_>) -> Held;

impl Target<'_> {
    fn links(&self) -> Links {
        self.machine.links()
    }

    fn index(&self) -> IfIndex {
        self.links().by_name(&self.device).expect("the client's end").index
    }

    fn ip(&self, arguments: &[&str]) {
        self.machine.run("ip", arguments).expect("ip");
    }

    fn map(&self) -> PinnedSocketMap {
        PinnedSocketMap::open(&self.xsks, 0).expect("the port's map")
    }

    fn socket_on(&self, device: &DeviceName) -> Socket {
        let layout = Layout::builder().frames(1024).rings(512).build().expect("a layout");
        let request = Request {
            device: device.as_str(),
            queue: QueueId(0),
            layout,
            huge_pages: Default::default(),
            bind: Default::default(),
            prime: true,
        };
        self.machine.enter(|| xsknet_xsk::create(&request)).expect("a socket").socket
    }

    fn alias_of_the_port(&self) -> String {
        format!("xsknet:{}:pinned-0", self.stage)
    }
}

const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_MAP_FREEZE: libc::c_long = 22;

/// The map by the kernel's own call, for what no library offers.
fn open_raw(path: &Path) -> OwnedFd {
    let path = CString::new(path.as_os_str().as_bytes()).expect("a path");
    let attribute = [path.as_ptr() as u64, 0];
    let fd = bpf(BPF_OBJ_GET, attribute).expect("the port's map");
    // SAFETY: the call has just made this descriptor, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn freeze(path: &Path) -> OwnedFd {
    let map = open_raw(path);
    bpf(BPF_MAP_FREEZE, [map.as_raw_fd() as u64, 0]).expect("frozen");
    map
}

fn pin_at(map: &OwnedFd, path: &Path) {
    let path = CString::new(path.as_os_str().as_bytes()).expect("a path");
    bpf(BPF_OBJ_PIN, [path.as_ptr() as u64, map.as_raw_fd() as u64]).expect("pinned");
}

fn bpf(command: libc::c_long, attribute: [u64; 2]) -> io::Result<i32> {
    // SAFETY: the attribute is as long as told, and what it points to outlives the call.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attribute.as_ptr(), size_of_val(&attribute)) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(answer).expect("a descriptor")) }
}

fn held<T: Any>(thing: T) -> Held {
    vec![Box::new(thing)]
}

fn freezes_its_map(target: &Target<'_>) -> Held {
    held(freeze(&target.xsks))
}

fn freezes_its_map_with_a_socket_in_it(target: &Target<'_>) -> Held {
    let (mut map, socket) = (target.map(), target.socket_on(&target.device));
    map.insert(0, socket.as_fd()).expect("the socket fits");
    vec![Box::new(freeze(&target.xsks)), Box::new(socket), Box::new(map)]
}

fn freezes_its_map_and_lets_go_of_it(target: &Target<'_>) -> Held {
    let (mut map, socket) = (target.map(), target.socket_on(&target.device));
    map.insert(0, socket.as_fd()).expect("the socket fits");
    drop(freeze(&target.xsks));
    held(socket)
}

fn keeps_its_map_open(target: &Target<'_>) -> Held {
    vec![Box::new(target.map()), Box::new(open_raw(&target.xsks))]
}

fn puts_a_socket_of_another_device_into_it(target: &Target<'_>) -> Held {
    let links = target.links();
    let pair = links.add_veth(&VethPair::new(End::new(device("own0")), End::new(device("own1")))).expect("a pair");
    links.set_up(pair.outer).expect("up");
    let socket = target.socket_on(&device("own0"));
    let mut map = target.map();
    map.insert(0, socket.as_fd()).expect("the socket fits");
    vec![Box::new(socket), Box::new(map)]
}

/// In a bpffs of its own, as a user namespace may have one.
fn pins_its_map_elsewhere(target: &Target<'_>) -> Held {
    struct Own(PathBuf);
    impl Drop for Own {
        fn drop(&mut self) {
            let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
            let _ = fs::remove_dir(&self.0);
        }
    }
    let own = Own(PathBuf::from("/run/own-bpf"));
    fs::create_dir(&own.0).expect("a folder");
    xsknet_bpf::bpffs::mount(&own.0).expect("a bpffs");
    pin_at(&open_raw(&target.xsks), &own.0.join("mine"));
    pin_at(&freeze(&target.xsks), &own.0.join("mine-frozen"));
    held(own)
}

fn forbids_its_pin_to_all(target: &Target<'_>) -> Held {
    fs::set_permissions(&target.xsks, fs::Permissions::from_mode(0o000)).expect("its owner may");
    held(())
}

/// Another device has its name, and its alias.
fn gives_its_name_to_another(target: &Target<'_>) -> Held {
    let links = target.links();
    links.rename(target.index(), &device("mine")).expect("renamed");
    let decoy = VethPair::new(End::new(target.device.clone()), End::new(outer_of(&target.device)));
    let decoy = links.add_veth(&decoy).expect("a pair");
    for index in [decoy.outer, decoy.inner] {
        links.set_alias(index, &target.alias_of_the_port()).expect("set");
    }
    held(())
}

fn outer_of(inner: &DeviceName) -> DeviceName {
    device(&inner.as_str().replacen("xski", "xsko", 1))
}

fn gives_it_other_names(target: &Target<'_>) -> Held {
    let outer = outer_of(&target.device);
    for name in [outer.as_str(), "card0", "far0", "xski2-2"] {
        target.ip(&["link", "property", "add", "dev", target.device.as_str(), "altname", name]);
    }
    held(())
}

fn moves_it_to_a_namespace_that_ends(target: &Target<'_>) -> Held {
    let elsewhere = Netns::create().expect("a namespace");
    target.links().move_to(target.index(), &elsewhere).expect("moved");
    drop(elsewhere);
    held(())
}

fn moves_it_to_a_namespace_that_stays(target: &Target<'_>) -> Held {
    let elsewhere = Netns::create().expect("a namespace");
    target.links().move_to(target.index(), &elsewhere).expect("moved");
    held(elsewhere)
}

fn sets_another_alias(target: &Target<'_>) -> Held {
    target.links().set_alias(target.index(), "mine").expect("set");
    held(())
}

/// That of a neighbour, and on another device that of its own.
fn sets_the_alias_of_a_neighbour(target: &Target<'_>) -> Held {
    let links = target.links();
    links.set_alias(target.index(), &format!("xsknet:{}:neighbour", target.stage)).expect("set");
    let decoy = links.add_veth(&VethPair::new(End::new(device("own0")), End::new(device("own1")))).expect("a pair");
    links.set_alias(decoy.outer, &target.alias_of_the_port()).expect("set");
    held(())
}

fn fills_its_namespace(target: &Target<'_>) -> Held {
    let batch = "/run/many-devices";
    let lines: String = (0..1_000).map(|n| format!("link add name m{n} type veth peer name p{n}\n")).collect();
    fs::write(batch, lines).expect("a file");
    target.ip(&["-batch", batch]);
    fs::remove_file(batch).expect("the file");
    held(())
}

/// The kernel refuses a second program at the same hook; another hook it gives.
fn loads_its_device_with_programs_addresses_and_devices(target: &Target<'_>) -> Held {
    let program = PortProgram::load(None).expect("a program");
    let end = xsknet_bpf::Device { name: target.device.to_string(), index: target.index().get() };
    for mode in [Mode::Native, Mode::Skb] {
        let second = target.machine.enter(|| program.attach(&end, mode).map(drop));
        second.expect_err("the port's own program stands there");
    }
    let hook = target.machine.enter(|| VlanEdge::attach(end.index, 7)).expect("a hook");
    let name = target.device.as_str();
    target.machine.run("tc", &["qdisc", "add", "dev", name, "clsact"]).expect("tc");
    target.ip(&["address", "add", "192.0.2.1/24", "dev", name]);
    target.ip(&["route", "add", "203.0.113.0/24", "via", "192.0.2.2"]);
    target.ip(&["neigh", "add", "192.0.2.9", "lladdr", "02:00:00:00:00:09", "dev", name]);
    for n in 0..10 {
        target.ip(&["link", "add", "link", name, "name", &format!("stack{n}"), "type", "macvlan"]);
    }
    vec![Box::new(hook), Box::new(program)]
}

fn keeps_sockets_on_it(target: &Target<'_>) -> Held {
    let index = target.index();
    let mut held: Held = vec![Box::new(target.socket_on(&target.device))];
    for _ in 0..100 {
        let socket = PacketSocket::capture(target.machine.namespace(), Some(index)).expect("a packet socket");
        held.push(Box::new(socket));
    }
    held
}

fn spoils_all_settings(target: &Target<'_>) -> Held {
    let (links, index) = (target.links(), target.index());
    links.set_down(index).expect("down");
    links.set_mtu(index, 68).expect("set");
    links.set_mac(index, "02:00:00:00:00:99".parse().expect("a MAC")).expect("set");
    links.set_promiscuous(index, true).expect("set");
    held(())
}

fn deletes_it(target: &Target<'_>) -> Held {
    target.links().delete(target.index()).expect("deleted");
    held(freeze(&target.xsks))
}

/// Where a child finds the client's namespace, which outlives it.
const KEPT: &str = "/run/client-netns";
/// The client's neighbour of another user, whose port has another number.
const OTHER: u32 = 65_533;

/// How long undoing one port may take, in whatever namespace.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(2);

#[rstest]
#[case::freeze(freezes_its_map)]
#[case::freeze_with_socket(freezes_its_map_with_a_socket_in_it)]
#[case::freeze_and_forget(freezes_its_map_and_lets_go_of_it)]
#[case::keep_open(keeps_its_map_open)]
#[case::other_socket(puts_a_socket_of_another_device_into_it)]
#[case::pin_elsewhere(pins_its_map_elsewhere)]
#[case::chmod(forbids_its_pin_to_all)]
#[case::decoy(gives_its_name_to_another)]
#[case::altnames(gives_it_other_names)]
#[case::move_to_the_end(moves_it_to_a_namespace_that_ends)]
#[case::move_away(moves_it_to_a_namespace_that_stays)]
#[case::alias(sets_another_alias)]
#[case::neighbours_alias(sets_the_alias_of_a_neighbour)]
#[case::many_devices(fills_its_namespace)]
#[case::programs(loads_its_device_with_programs_addresses_and_devices)]
#[case::sockets(keeps_sockets_on_it)]
#[case::settings(spoils_all_settings)]
#[case::delete(deletes_it)]
fn a_client_keeps_its_port_from_being_undone_by_nothing_it_does(#[case] deed: Deed) {
    if let Some(role) = Role::mine() {
        let instance = role.open();
        let uplink = manage(&instance, Mode::Native);
        let namespace = Netns::open(Path::new(KEPT)).expect("the client's namespace");
        let client = client_with(NOBODY, &namespace, duplicate(&namespace));
        let _port = uplink.open_pinned(pinned_options(0), client).expect("a pinned port");
        kill_at("work");
    }
    side_by_side(2, |ending| [close_it, crash_and_sweep][ending](deed));
}

fn close_it(deed: Deed) {
    let (stage, clients, others) = (Stage::plain(), client_machine(), client_machine());
    let before = stage.snapshot();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let port = pinned(&uplink, 0, &clients);
    let neighbour = serve(crate::common::port(&uplink, 1));
    let (info, pin) = (port.info().clone(), port.pin().clone());
    let folder = pin.xsks.ancestors().nth(2).expect("the port's folder").to_path_buf();
    let target = Target { machine: &clients, device: pin.device.clone(), xsks: pin.xsks.clone(), stage: stage.name() };
    let held = deed(&target);

    let began = Instant::now();
    let closed = port.close();
    let took = began.elapsed();
    assert!(took < DEADLINE, "closing took {took:?}");
    // What cannot be undone is told, but this is undone.
    assert!(!folder.exists(), "{} is there after {closed:?}", folder.display());
    assert!(!has_device(&stage.lab.host.links(), &info.outer), "{} is there after {closed:?}", info.outer);
    // Another user gets the same number, and with it the same names.
    let client = client_with(OTHER, others.namespace(), duplicate(others.namespace()));
    let again = uplink.open_pinned(pinned_options(0), client).expect("a pinned port of another user");
    assert_eq!(again.pin().xsks, pin.xsks);
    let serving = pinned_responder(&again).start(Box::new(attach(&again, &others)));
    for address in [port_addresses(0)[0], port_addresses(1)[0]] {
        ping(&stage.lab, address, 20);
    }
    let (socket, served) = serving.finish();
    served.expect("a working socket");
    drop(socket);
    again.close().expect("closing undoes everything");
    close(finish(neighbour));
    uplink.release().expect("releasing undoes everything");
    instance.close().expect("closing undoes everything");
    // While the client still holds what it has.
    assert_eq!(pins(&stage).len(), 0, "{:?}", pins(&stage));
    drop(held);
    drop(clients);
    stage.assert_as_before(&before);
}

fn crash_and_sweep(deed: Deed) {
    let (stage, clients, others) = (Stage::plain(), client_machine(), client_machine());
    clients.namespace().bind_to(Path::new(KEPT)).expect("kept");
    let before = stage.snapshot();
    let ended = Role::new(stage.name()).play(&stage.lab.host);
    assert_eq!(ended, Ended::Killed("work".into()));
    let find = |ending: &str| pins(&stage).into_iter().find(|pin| pin.ends_with(ending)).expect("a pin");
    let xsks = PathBuf::from(find("port-1/maps/xsks"));
    let ends = clients.links().list().expect("a list");
    let end = ends.into_iter().find(|device| device.name.as_str() != "lo").expect("the client's end");
    let outer = outer_of(&end.name);
    assert!(has_device(&stage.lab.host.links(), &outer), "{outer}");
    let held = deed(&Target { machine: &clients, device: end.name, xsks, stage: stage.name() });

    let began = Instant::now();
    let instance = stage.open();
    let took = began.elapsed();
    assert!(took < DEADLINE, "sweeping took {took:?}");
    assert!(!pins(&stage).iter().any(|pin| pin.contains("port-1")), "{:?}", pins(&stage));
    assert!(!has_device(&stage.lab.host.links(), &outer), "{outer} is there");
    let uplink = manage(&instance, Mode::Native);
    let client = client_with(OTHER, others.namespace(), duplicate(others.namespace()));
    let again = uplink.open_pinned(pinned_options(0), client).expect("a pinned port of another user");
    again.close().expect("closing undoes everything");
    instance.close().expect("closing undoes everything");
    assert_eq!(pins(&stage).len(), 0, "{:?}", pins(&stage));
    drop(held);
    Netns::unbind(Path::new(KEPT)).expect("let go");
    drop(clients);
    stage.assert_as_before(&before);
}

/// A second name of one of its devices is a name that is taken, and nothing else.
#[test]
fn a_client_that_has_the_names_of_others_keeps_nobody_from_opening() {
    on_fresh_mounts(|| {
        let (stage, clients, others) = (Stage::plain(), client_machine(), client_machine());
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let port = pinned(&uplink, 0, &clients);
        for name in ["xski2-2", "xski2-3", "xsko2-2", "xsko2-3"] {
            clients
                .run("ip", &["link", "property", "add", "dev", port.pin().device.as_str(), "altname", name])
                .expect("another name");
        }
        let error = refused(&stage, || try_pinned(&uplink, 2, &clients));
        assert_tells(&error, &["xski2-2", "client's network namespace"]);
        let other = pinned(&uplink, 2, &others);
        other.close().expect("closing undoes everything");
        close(crate::common::port(&uplink, 1));
        port.close().expect("closing undoes everything");
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}
