//! A data path with eight ports on devices of a private namespace:
//!
//! | port | outer ends | VLAN | MAC | addresses | MTU |
//! | --- | --- | --- | --- | --- | --- |
//! | `ALICE` | a0 | none | `MAC_A` | 192.0.2.10, 2001:db8::10, fe80::10 | 1500 |
//! | `BOB` | b0 | none | `MAC_B` | 192.0.2.11, 2001:db8::11 | 1400 |
//! | `CAROL` | c0 | 42 | `MAC_C` | 192.0.2.10 and 2001:db8::10, in its VLAN | 1500 |
//! | `GONE` | d0, deleted | none | `MAC_D` | 192.0.2.13, 2001:db8::13 | 1500 |
//! | `ERIN` | e0 to e2 | none | `MAC_E` | 192.0.2.14, 2001:db8::14 | 1500 |
//! | `FRANK` | f0 to f7 | 42 | `MAC_E` | 192.0.2.14 and 2001:db8::14, in its VLAN | 1500 |
//! | `GRACE` | g0 | 43 | `MAC_G` | those of `ALICE`, in its VLAN | 1500 |
//! | `HEIDI` | h0 | 44 | `MAC_H` | those of `ALICE`, in its VLAN | 1500 |
//!
//! Each queue pair can also send from BPF rings, as the guard of all rings judges it: with the same outcome.
//!
//! `GRACE` may route, and `HEIDI` may send inner tags. No port is limited in what it sends. The uplink is up0 (MTU
//! 1500); x0 is an outer end without a guard entry.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use super::frames::{MAC_A, MAC_B, MAC_C, MAC_D, MAC_E, MAC_G, MAC_H};
use super::ring_client::RingClient;
use crate::contract::{Counter, RING_MIN_OFFSET, RING_ROOM};
use crate::{
    Counters, Datapath, DatapathOptions, Destination, Device, Explanation, LastCounters, PortEntry, PortId, Rates,
    Rights, RingProgram, RingsEntry, TableError, TestResult, Vlan,
};

/// The least that the kernel, or a ring, takes for a frame.
const MIN_FRAME: usize = 14;

pub const ALICE: PortId = PortId::new(1).unwrap();
pub const BOB: PortId = PortId::new(2).unwrap();
pub const CAROL: PortId = PortId::new(3).unwrap();
pub const GONE: PortId = PortId::new(4).unwrap();
pub const ERIN: PortId = PortId::new(5).unwrap();
pub const FRANK: PortId = PortId::new(6).unwrap();
pub const GRACE: PortId = PortId::new(7).unwrap();
pub const HEIDI: PortId = PortId::new(8).unwrap();
/// Members of the ports that have more than one.
pub const ERINS: u32 = 3;
pub const FRANKS: u32 = 8;
pub const UPLINK_MTU: u32 = 1500;
pub const QUEUE_SEED: u32 = 0x5eed_0001;

/// Runs `test` on a thread of its own, in a new network namespace with these veth pairs (`a0` has the peer `a0p`).
pub fn in_namespace<T: Send>(pairs: &[&str], test: impl FnOnce() -> T + Send) -> T {
    on_thread(|| {
        enter_new_namespace();
        for pair in pairs {
            ip(&["link", "add", pair, "type", "veth", "peer", "name", &format!("{pair}p")]);
        }
        test()
    })
}

pub fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("ip is installed (Debian: iproute2)");
    assert!(status.success(), "ip {}: {status}", arguments.join(" "));
}

pub fn device(name: &str) -> Device {
    let any = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None).unwrap();
    let index = rustix::net::netdevice::name_to_index(&any, name).unwrap();
    Device { name: name.to_owned(), index }
}

pub fn on_thread<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(test).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[expect(unsafe_code, reason = "rustix marks unshare as unsafe for the sake of CLONE_FILES")]
pub fn enter_new_namespace() {
    // SAFETY: a network namespace takes nothing from the thread's fds or memory.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("kernel tests need root");
}

/// How a frame left a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// To a port of one queue pair.
    Port(PortId),
    /// To a queue pair of a port that has several.
    QueuePair(PortId, u32),
    Uplink,
    /// Passed, or dropped for that reason.
    By(Counter),
}

pub struct Lab {
    namespace: File,
    datapath: Datapath,
    /// Port, queue pair, outer end; all but those of [`GONE`].
    queue_pairs: Vec<(PortId, u32, u32)>,
    /// In the order of `queue_pairs`.
    rings: Vec<RingProbe>,
    stranger: u32,
    uplink: u32,
}

static LAB: Mutex<Option<Lab>> = Mutex::new(None);

/// Runs `test` with the lab, alone, in its namespace. It is built once: loading takes longer than all frames of a test.
pub fn with_lab<T: Send>(test: impl FnOnce(&mut Lab) -> T + Send) -> T {
    on_thread(|| {
        // A test that fails leaves the lab as it was: `exit()` alone changes a slot, and puts it back before it
        // asserts.
        let mut lab = LAB.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let lab = lab.get_or_insert_with(Lab::build);
        move_into_link_name_space(lab.namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        test(lab)
    })
}

impl Lab {
    fn build() -> Self {
        enter_new_namespace();
        let namespace = File::open("/proc/thread-self/ns/net").unwrap();
        // The programs of rings find the maps of the data path by their pins, which go with this thread.
        let pins = PrivateBpffs::mount();
        let untagged = Vlan::UNTAGGED;
        let [tagged, of_grace, of_heidi] = [42, 43, 44].map(|id| Vlan::tagged(id).unwrap());
        let alices = ["192.0.2.10", "2001:db8::10", "fe80::10"].as_slice();
        let ports = [
            (ALICE, 'a', 1, MAC_A, untagged, 1500, alices),
            (BOB, 'b', 1, MAC_B, untagged, 1400, &["192.0.2.11", "2001:db8::11"]),
            (CAROL, 'c', 1, MAC_C, tagged, 1500, &["192.0.2.10", "2001:db8::10"]),
            (GONE, 'd', 1, MAC_D, untagged, 1500, &["192.0.2.13", "2001:db8::13"]),
            (ERIN, 'e', ERINS, MAC_E, untagged, 1500, &["192.0.2.14", "2001:db8::14"]),
            (FRANK, 'f', FRANKS, MAC_E, tagged, 1500, &["192.0.2.14", "2001:db8::14"]),
            (GRACE, 'g', 1, MAC_G, of_grace, 1500, alices),
            (HEIDI, 'h', 1, MAC_H, of_heidi, 1500, alices),
        ];
        let end = |name: &str| {
            ip(&["link", "add", name, "type", "veth", "peer", "name", &format!("{name}p")]);
            device(name).index
        };
        let [stranger, uplink] = ["x0", "up0"].map(end);
        let shared = pins.path().join("datapath");
        let options = DatapathOptions { uplink_mtu: UPLINK_MTU, queue_seed: QUEUE_SEED, pins: Some(&shared) };
        let mut datapath = Datapath::load(options).unwrap();
        datapath.set_uplink(uplink).unwrap();
        let (mut queue_pairs, mut rings) = (Vec::new(), Vec::new());
        for (id, letter, count, mac, vlan, mtu, addresses) in ports {
            let outers: Vec<u32> = (0..count).map(|queue_pair| end(&format!("{letter}{queue_pair}"))).collect();
            let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
            let rights = Rights { inner_tags: id == HEIDI, routing: id == GRACE };
            let rates = Rates::UNLIMITED;
            datapath
                .add_port(&PortEntry {
                    id,
                    outers: &outers,
                    mac,
                    uplink_mac: false,
                    tap: false,
                    vlan,
                    mtu,
                    sources: &addresses,
                    targets: &addresses,
                    rights,
                    rates,
                    rings: None,
                })
                .unwrap();
            for (queue_pair, &outer) in (0..).zip(&outers) {
                if id != GONE {
                    queue_pairs.push((id, queue_pair, outer));
                    let pins = pins.path().join(format!("ring-{outer}"));
                    rings.push(RingProbe::new(&mut datapath, outer, &pins));
                }
            }
        }
        ip(&["link", "del", "d0"]);
        // They find the maps by the pins, too.
        datapath.explain_uplink(&[0; MIN_FRAME], uplink).unwrap();
        Self { namespace, datapath, queue_pairs, rings, stranger, uplink }
    }

    /// How a frame that comes in on the uplink leaves.
    pub fn uplink(&mut self, frame: &[u8]) -> Exit {
        let ingress = self.uplink;
        let exit = self.exit(frame, |datapath, frame| datapath.test_uplink(frame, ingress).unwrap());
        self.expect_explained(exit, || self.datapath.explain_uplink(frame, ingress).unwrap());
        exit
    }

    /// How a frame that the port sends by its first queue pair leaves.
    pub fn guard(&mut self, sender: PortId, frame: &[u8]) -> Exit {
        self.guard_of_queue_pair(sender, 0, frame)
    }

    /// How a frame that the port sends by this queue pair leaves.
    pub fn guard_of_queue_pair(&mut self, sender: PortId, queue_pair: u32, frame: &[u8]) -> Exit {
        let of = self.queue_pairs.iter().position(|(id, its, _)| (*id, *its) == (sender, queue_pair));
        let at = of.unwrap_or_else(|| panic!("port {sender} has no queue pair {queue_pair}"));
        let ingress = self.queue_pairs[at].2;
        let exit = self.exit(frame, |datapath, frame| datapath.test_guard(frame, ingress).unwrap());
        self.expect_explained(exit, || self.datapath.explain_guard(frame, ingress).unwrap());
        if (MIN_FRAME..=RING_ROOM as usize).contains(&frame.len()) {
            let mut rings = std::mem::take(&mut self.rings);
            let by_ring = self.exit_by(frame, |datapath, frame| rings[at].send(datapath, frame));
            self.rings = rings;
            assert_eq!(by_ring, exit, "from a BPF ring");
        }
        exit
    }

    /// The queue pair that the Rust side computes for packets without ports.
    pub fn predicted_queue_pair(&self, ends: [std::net::Ipv4Addr; 2], protocol: u8, queue_pairs: u32) -> u32 {
        self.datapath.queue_pair_of(ends, protocol, queue_pairs)
    }

    /// How a frame from an outer end that no port has leaves.
    pub fn guard_of_nobody(&mut self, frame: &[u8]) -> Exit {
        let before = self.datapath.unattributed_counters().unwrap();
        let ingress = self.stranger;
        let exit = self.exit(frame, |datapath, frame| datapath.test_guard(frame, ingress).unwrap());
        assert_eq!((self.datapath.unattributed_counters().unwrap() - before)[Counter::NoGuard], 1);
        self.expect_explained(exit, || self.datapath.explain_guard(frame, ingress).unwrap());
        exit
    }

    /// What is explained is what happens, and explaining it counts nothing.
    fn expect_explained(&self, exit: Exit, explain: impl FnOnce() -> Explanation) {
        let counted = || {
            let datapath = &self.datapath;
            (datapath.uplink_counters().unwrap(), datapath.all_guard_counters().unwrap())
        };
        let before = counted();
        let explanation = explain();
        assert_eq!(counted(), before, "a frame that was explained was counted");
        assert_eq!(exit_of(&explanation, |port| [ERIN, FRANK].contains(&port)), exit, "{explanation:?}");
    }

    /// Runs the frame, and again without the slot that it may have taken, to learn which one that was.
    fn exit(&mut self, frame: &[u8], run: impl Fn(&Datapath, &[u8]) -> TestResult) -> Exit {
        self.exit_by(frame, run)
    }

    fn exit_by(&mut self, frame: &[u8], mut run: impl FnMut(&Datapath, &[u8]) -> TestResult) -> Exit {
        match left_by(&run(&self.datapath, frame), frame) {
            Counter::ToPort => {
                for (id, queue_pair, outer) in self.queue_pairs.clone() {
                    let key = id.key_of(queue_pair);
                    self.datapath.tables().ports.remove(key).unwrap();
                    let again = run(&self.datapath, frame);
                    self.datapath.tables().ports.insert(key, outer, None, 0).unwrap();
                    let again = left_by(&again, frame);
                    if again == Counter::NoPort {
                        let several = [ERIN, FRANK].contains(&id);
                        return if several { Exit::QueuePair(id, queue_pair) } else { Exit::Port(id) };
                    }
                    assert_eq!(again, Counter::ToPort);
                }
                panic!("to a port that is none of ours, not even port {GONE}")
            }
            Counter::ToUplink => {
                self.datapath.clear_uplink().unwrap();
                let again = run(&self.datapath, frame);
                self.datapath.set_uplink(self.uplink).unwrap();
                assert_eq!(left_by(&again, frame), Counter::NoUplink);
                Exit::Uplink
            }
            counter => Exit::By(counter),
        }
    }
}

/// How a frame leaves, as it was explained. `has_several` of queue pairs, which a port of one does not name.
pub fn exit_of(explanation: &Explanation, has_several: impl Fn(PortId) -> bool) -> Exit {
    match (explanation.counter, explanation.to) {
        (Counter::ToPort, Some(Destination { port, queue_pair, .. })) if has_several(port) => {
            Exit::QueuePair(port, queue_pair)
        }
        (Counter::ToPort, Some(Destination { port, queue_pair: 0, .. })) => Exit::Port(port),
        (Counter::ToUplink, None) => Exit::Uplink,
        (Counter::ToPort | Counter::ToUplink, _) => panic!("{explanation:?}"),
        (counter, _) => Exit::By(counter),
    }
}

/// A bpffs in a mount namespace of the calling thread, with which it goes.
pub struct PrivateBpffs(tempfile::TempDir);

impl PrivateBpffs {
    #[expect(unsafe_code, reason = "rustix marks unshare as unsafe for the sake of CLONE_FILES")]
    pub fn mount() -> Self {
        // SAFETY: a mount namespace and a working folder of its own take nothing from the thread's fds or memory.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }.expect("kernel tests need root");
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        let folder = tempfile::tempdir().unwrap();
        crate::bpffs::mount(folder.path()).unwrap();
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for PrivateBpffs {
    fn drop(&mut self) {
        crate::bpffs::unmount(self.0.path()).unwrap();
    }
}

/// A client's rings of one queue pair, with one frame in them at a time.
struct RingProbe {
    program: RingProgram,
    client: RingClient,
}

impl RingProbe {
    /// What may send by this outer end may send from the ring.
    fn new(datapath: &mut Datapath, outer: u32, pins: &Path) -> Self {
        let range = datapath.claim_rings(1).unwrap();
        let program = datapath.load_ring_program(range, 0, u32::MAX, pins).unwrap();
        let client = RingClient::new(4);
        datapath.install_rings(range, std::slice::from_ref(&client.maps)).unwrap();
        let rings = RingsEntry { range, rx_slots: 4, tx_slots: 4, offset: RING_MIN_OFFSET };
        datapath.tables().enter_rings(&rings, outer).unwrap();
        Self { program, client }
    }

    fn send(&mut self, datapath: &Datapath, frame: &[u8]) -> TestResult {
        let before = datapath.all_guard_counters().unwrap();
        self.client.put(RING_MIN_OFFSET, frame);
        let (verdict, frame) = self.program.test(&vec![0; frame.len()], 0).unwrap();
        self.client.expect_taken();
        TestResult { verdict, frame, moved: datapath.all_guard_counters().unwrap() - before }
    }
}

/// The one counter that moved beside `seen`; the verdict must be its own, and the frame untouched.
pub fn left_by(result: &TestResult, frame: &[u8]) -> Counter {
    let TestResult { verdict, frame: after, moved } = result;
    let mut others = moved.iter().filter(|&(counter, frames)| counter != Counter::Seen && frames != 0);
    let (counter, frames) = others.next().unwrap_or_else(|| panic!("no counter moved but {moved:?}"));
    assert_eq!((moved.seen(), frames, others.next()), (1, 1, None), "{moved:?}");
    assert_eq!(*verdict, counter.verdict(), "{counter}");
    assert_eq!(after, frame, "a program altered the frame");
    counter
}

#[test]
fn counters_of_a_port_are_its_own_and_end_with_it() {
    in_namespace(&["a0", "b0"], || {
        let mut datapath = Datapath::load(DatapathOptions { uplink_mtu: 1500, queue_seed: 0, pins: None }).unwrap();
        let addresses = ["192.0.2.10".parse().unwrap()];
        let outers = ["a0", "b0"].map(|name| device(name).index);
        let port = PortEntry {
            id: ALICE,
            outers: &outers[..1],
            mac: MAC_A,
            uplink_mac: false,
            tap: false,
            vlan: Vlan::UNTAGGED,
            mtu: 1500,
            sources: &addresses,
            targets: &addresses,
            rights: Rights::default(),
            rates: Rates::default(),
            rings: None,
        };
        let other = PortEntry { id: BOB, outers: &outers[1..], mac: MAC_B, sources: &[], targets: &[], ..port };
        datapath.add_port(&port).unwrap();
        datapath.add_port(&other).unwrap();

        let frame = super::frames::ethernet(MAC_B, MAC_A, 0x88b5, &[0; 46]);
        datapath.test_guard(&frame, port.outers[0]).unwrap();
        let counters = datapath.guard_counters(ALICE).unwrap();
        assert_eq!((counters.seen(), counters[Counter::Ethertype]), (1, 1));
        assert_eq!(datapath.guard_counters(BOB).unwrap(), Counters::default());

        assert_eq!(datapath.remove_port(&port).unwrap().guard, counters, "the last reading comes with the removal");
        assert!(datapath.guard_counters(ALICE).is_err());
        assert_eq!(datapath.remove_port(&port).unwrap(), LastCounters::default(), "a second removal finds nothing");
        let after = datapath.test_guard(&frame, port.outers[0]).unwrap();
        assert_eq!(left_by(&after, &frame), Counter::NoGuard);
        datapath.add_port(&port).expect("all that the port had is free again");
        assert_eq!(datapath.guard_counters(ALICE).unwrap(), Counters::default());
    });
}

#[test]
fn port_program_counts_frames_without_a_socket() {
    in_namespace(&["a0"], || {
        let program = crate::PortProgram::load(None).unwrap();
        let port = program.inner_end(device("a0").index).unwrap();
        let frame = super::frames::ethernet(MAC_A, MAC_B, 0x0800, &[0; 46]);
        let result = port.test(&frame).unwrap();
        assert_eq!(left_by(&result, &frame), Counter::NoSocket);
        port.clear_socket().expect("an empty slot can be cleared");
        let no_socket = File::open("/dev/null").unwrap();
        assert!(port.set_socket(no_socket.as_fd()).is_err());
        assert!(port.counters().unwrap().balanced());
        assert!(matches!(program.inner_end(1), Err(TableError::Full { .. })), "it was loaded for one");
    });
}

#[test]
fn inner_ends_at_one_program_count_apart_and_come_back_as_new() {
    in_namespace(&["a0", "b0", "c0"], || {
        let options = DatapathOptions { uplink_mtu: 1500, queue_seed: 0, pins: None };
        let datapath = Datapath::load(options).unwrap();
        let [a, b, c] = ["a0", "b0", "c0"].map(|name| device(name).index);
        let frame = super::frames::ethernet(MAC_A, MAC_B, 0x0800, &[0; 46]);
        let first = datapath.inner_end(a).unwrap();
        let mut second = datapath.inner_end(b).unwrap();
        let seen = |end: &crate::InnerEnd| end.counters().unwrap().seen();
        for _ in 0..3 {
            assert_eq!(left_by(&second.test(&frame).unwrap(), &frame), Counter::NoSocket);
        }
        assert_eq!((seen(&first), seen(&second)), (0, 3));

        // In the place of the first, and what that had counted is not there.
        drop(first);
        let third = datapath.inner_end(c).unwrap();
        third.test(&frame).unwrap();
        assert_eq!((seen(&third), seen(&second)), (1, 3));

        // As after a move to another namespace, where other ifindices were free.
        second.renumber(a).unwrap();
        second.test(&frame).unwrap();
        assert_eq!((seen(&third), seen(&second)), (1, 4));
        drop(second);
        assert_eq!(left_by(&third.test(&frame).unwrap(), &frame), Counter::NoSocket);
    });
}
