//! Pins, on a bpffs of the test's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aya::maps::{HashMap, MapData};

use super::frames::{A, FAR, MAC_A, udp4};
use super::lab::{ALICE, device, in_namespace};
use crate::contract::{Claim, MacKey};
use crate::{
    AttachError, Datapath, DatapathOptions, LoadError, Mode, PinLinkError, PortEntry, PortProgram, Rates, Rights,
    TableError, Verdict, Vlan, bpffs,
};

/// A bpffs in a temporary folder.
struct Bpffs(tempfile::TempDir);

impl Bpffs {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        assert!(!bpffs::is_mounted(folder.path()).unwrap());
        bpffs::mount(folder.path()).unwrap();
        assert!(bpffs::is_mounted(folder.path()).unwrap());
        Self(folder)
    }

    fn pins(&self) -> PathBuf {
        self.0.path().join("pins")
    }
}

impl Drop for Bpffs {
    /// A test that forks `ip` at this moment has copies of our open folders until its child's exec: EBUSY passes.
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while let Err(cause) = bpffs::unmount(self.0.path()) {
            let busy = cause.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline;
            assert!(busy, "{} stays mounted: {cause}", self.0.path().display());
            std::thread::yield_now();
        }
    }
}

fn load(pins: &Path) -> Result<Datapath, LoadError> {
    Datapath::load(DatapathOptions { uplink_mtu: 1500, queue_seed: 0, pins: Some(pins) })
}

fn alice(outers: &[u32]) -> PortEntry<'_> {
    PortEntry {
        id: ALICE,
        outers,
        mac: MAC_A,
        uplink_mac: false,
        tap: false,
        vlan: Vlan::UNTAGGED,
        mtu: 1500,
        sources: &[],
        targets: &[],
        rights: Rights::default(),
        rates: Rates::default(),
        rings: None,
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_folder_that_does_not_exist_holds_no_bpffs() {
    assert!(!bpffs::is_mounted(Path::new("/nonexistent/bpf")).unwrap());
}

#[test]
fn maps_and_programs_are_pinned_for_root_alone() {
    let bpffs = Bpffs::mount();
    let _datapath = load(&bpffs.pins()).unwrap();
    assert_eq!(
        names(&bpffs.pins().join("maps")),
        [
            "copy_counters",
            "flow_lists",
            "flow_states",
            "flows4",
            "flows6",
            "flows_link",
            "fragmented",
            "group_states",
            "groups",
            "guard_counters",
            "guards",
            "inner_ends",
            "macs",
            "port_counters",
            "ports",
            "rates",
            "refusal_rings",
            "ring_controls",
            "ring_guards",
            "ring_memories",
            "ring_states",
            "ring_turns",
            "ring_wakes",
            "sources4",
            "sources6",
            "stations",
            "tap_states",
            "taps",
            "targets4",
            "targets6",
            "uplink_counters",
            "uplink_macs",
            "uplink_mtus",
            "uplinks",
            "xsks"
        ]
    );
    assert_eq!(names(&bpffs.pins().join("programs")), ["guard", "port", "uplink"]);
    for folder in [bpffs.pins(), bpffs.pins().join("maps"), bpffs.pins().join("programs")] {
        assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

#[test]
fn a_second_load_finds_what_the_first_entered() {
    in_namespace(&["a0"], || {
        let bpffs = Bpffs::mount();
        let outers = [device("a0").index];
        let port = alice(&outers);
        load(&bpffs.pins()).unwrap().add_port(&port).unwrap();

        let before = aya::programs::ProgramInfo::from_pin(bpffs.pins().join("programs/guard")).unwrap().id();
        let mut second = load(&bpffs.pins()).unwrap();
        let after = aya::programs::ProgramInfo::from_pin(bpffs.pins().join("programs/guard")).unwrap().id();
        assert_ne!(before, after, "the pin is the second load's");
        assert_eq!(names(&bpffs.pins().join("programs")), ["guard", "port", "uplink"]);
        assert_eq!(second.test_uplink(&udp4(FAR, A, (9, 53)), port.outers[0]).unwrap().verdict, Verdict::Redirect);
        assert!(matches!(second.add_port(&port), Err(TableError::Taken { .. })));
        second.remove_port(&port).unwrap();
        second.add_port(&port).unwrap();
    });
}

#[test]
fn a_map_of_another_shape_is_refused_and_left_alone() {
    let bpffs = Bpffs::mount();
    let path = bpffs.pins().join("maps/guards");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let foreign = aya_obj::Map::new_from_params(2, 4, 8, 7, 0);
    MapData::create(foreign, "guards", None).unwrap().pin(&path).unwrap();

    let error = load(&bpffs.pins()).unwrap_err();
    let LoadError::PinShape { path: named, wanted, found } = &error else { panic!("{error:?}") };
    assert_eq!((named, wanted.kind, wanted.max_entries, found.kind, found.max_entries), (&path, 1, 4096, 2, 7));
    assert!(error.hint().unwrap().contains("maps/guards"));
    assert_eq!(names(path.parent().unwrap()), ["guards"], "no pin of the failed load is left");
    assert!(!bpffs.pins().join("programs").exists());
}

#[test]
fn a_program_in_the_place_of_a_map_is_refused() {
    let bpffs = Bpffs::mount();
    drop(PortProgram::load(Some(&bpffs.pins())).unwrap());
    fs::remove_file(bpffs.pins().join("maps/xsks")).unwrap();
    fs::rename(bpffs.pins().join("programs/port"), bpffs.pins().join("maps/xsks")).unwrap();
    let error = PortProgram::load(Some(&bpffs.pins())).unwrap_err();
    assert!(matches!(error, LoadError::PinShape { .. } | LoadError::PinUnreadable { .. }), "{error:?}");
}

#[test]
fn pins_off_a_bpffs_are_refused_and_leave_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let error = load(&folder.path().join("pins")).unwrap_err();
    assert!(matches!(error, LoadError::NotBpffs { .. }), "{error:?}");
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[test]
fn a_pinned_attachment_stays_and_is_taken_off_by_detach() {
    in_namespace(&["a0"], || {
        let bpffs = Bpffs::mount();
        let link = bpffs.0.path().join("link");
        let datapath = Datapath::load(DatapathOptions { uplink_mtu: 1500, queue_seed: 0, pins: None }).unwrap();
        let mut attachment = datapath.attach_uplink(&device("a0"), Mode::Native).unwrap();
        attachment.pin(&link).unwrap();
        assert_eq!(attachment.pinned_at(), Some(link.as_path()));
        assert!(matches!(attachment.pin(&bpffs.0.path().join("again")), Err(PinLinkError::Pinned { .. })));
        drop(attachment);
        let busy = datapath.attach_uplink(&device("a0"), Mode::Native).unwrap_err();
        assert!(matches!(busy, AttachError::ForeignProgram { .. }), "still attached");

        let mut guard = datapath.attach_guard(&device("a0p"), Mode::Native).unwrap();
        assert!(matches!(guard.pin(&link), Err(PinLinkError::Taken { .. })), "nothing is overwritten");
        let other = bpffs.0.path().join("other");
        guard.pin(&other).unwrap();
        guard.detach().unwrap();
        assert!(!other.exists());
        let _free = datapath.attach_guard(&device("a0p"), Mode::Native).expect("off when detach() returns");
    });
}

#[test]
fn a_port_whose_address_is_taken_is_not_entered_at_all() {
    in_namespace(&["a0", "b0"], || {
        let bpffs = Bpffs::mount();
        let mut datapath = load(&bpffs.pins()).unwrap();
        let addresses = ["192.0.2.10".parse().unwrap(), "2001:db8::10".parse().unwrap()];
        let outers = [device("a0").index];
        let first = PortEntry { sources: &addresses, targets: &addresses, ..alice(&outers) };
        datapath.add_port(&first).unwrap();

        let mine = ["192.0.2.11".parse().unwrap(), "2001:db8::10".parse().unwrap()];
        let others = [device("b0").index];
        let second = PortEntry {
            id: crate::PortId::new(2).unwrap(),
            outers: &others,
            mac: [2, 0, 0, 0, 0, 2],
            sources: &mine,
            targets: &mine,
            ..first
        };
        let error = datapath.add_port(&second).unwrap_err();
        assert_eq!(error.to_string(), "the address 2001:db8::10 (no VLAN) belongs to another port of this uplink");
        assert!(datapath.guard_counters(second.id).is_err());
        assert_eq!(macs(&bpffs.pins()), [(MAC_A, 1)]);

        let same_mac = PortEntry { mac: MAC_A, sources: &mine[..1], targets: &mine[..1], ..second };
        assert!(matches!(datapath.add_port(&same_mac), Err(TableError::Taken { .. })));
        let same_outer = PortEntry { outers: first.outers, sources: &mine[..1], targets: &mine[..1], ..second };
        assert!(matches!(datapath.add_port(&same_outer), Err(TableError::Taken { .. })));
        let same_id = PortEntry { id: first.id, sources: &mine[..1], targets: &mine[..1], ..second };
        assert!(matches!(datapath.add_port(&same_id), Err(TableError::Taken { .. })));
        assert_eq!(macs(&bpffs.pins()), [(MAC_A, 1)], "the first port is whole");
        let result = datapath.test_guard(&udp4(A, FAR, (9, 53)), first.outers[0]).unwrap();
        assert_eq!(result.moved[crate::Counter::NoUplink], 1);

        let elsewhere = PortEntry {
            vlan: Vlan::tagged(7).unwrap(),
            mac: MAC_A,
            sources: &addresses,
            targets: &addresses,
            ..second
        };
        datapath.add_port(&elsewhere).expect("another VLAN is another network");
    });
}

#[test]
fn a_port_is_entered_with_all_its_queue_pairs_or_not_at_all() {
    in_namespace(&["a0", "b0", "c0"], || {
        let bpffs = Bpffs::mount();
        let mut datapath = load(&bpffs.pins()).unwrap();
        let outers = ["a0", "b0", "c0"].map(|name| device(name).index);
        for queue_pairs in [0, 9] {
            let too_few_or_many = vec![outers[0]; queue_pairs];
            let error = datapath.add_port(&alice(&too_few_or_many)).unwrap_err();
            assert!(matches!(error, TableError::QueuePairs { queue_pairs: named } if named == queue_pairs), "{error}");
            assert!(error.hint().unwrap().contains("1 to 8"));
        }
        let missing = [outers[0], outers[1], 4711];
        assert!(matches!(datapath.add_port(&alice(&missing)), Err(TableError::DeviceMissing { ifindex: 4711 })));
        let twice = [outers[0], outers[1], outers[0]];
        assert!(matches!(datapath.add_port(&alice(&twice)), Err(TableError::Taken { .. })));
        assert!(macs(&bpffs.pins()).is_empty());

        datapath.add_port(&alice(&outers)).expect("nothing of the others is left");
        for outer in outers {
            let result = datapath.test_guard(&udp4(A, FAR, (9, 53)), outer).unwrap();
            assert_eq!(result.moved[crate::Counter::SourceIp], 1, "a guard on each, and no address");
        }
        datapath.remove_port(&alice(&outers)).unwrap();
        for outer in outers {
            let result = datapath.test_guard(&udp4(A, FAR, (9, 53)), outer).unwrap();
            assert_eq!(result.moved[crate::Counter::NoGuard], 1, "no guard is left");
        }
        datapath.add_port(&alice(&outers[..1])).expect("all is free again");
    });
}

/// The entries of the pinned `macs`.
fn macs(pins: &Path) -> Vec<([u8; 6], u32)> {
    let map = aya::maps::Map::from_map_data(MapData::from_pin(pins.join("maps/macs")).unwrap()).unwrap();
    let map: HashMap<MapData, MacKey, Claim> = map.try_into().unwrap();
    map.iter().map(|entry| entry.map(|(key, claim)| (key.mac, claim.port)).unwrap()).collect()
}

#[test]
fn nobody_can_have_a_group_address_or_a_missing_device() {
    in_namespace(&["a0"], || {
        let mut datapath = Datapath::load(DatapathOptions { uplink_mtu: 1500, queue_seed: 0, pins: None }).unwrap();
        let outers = [device("a0").index];
        let port = alice(&outers);
        for mac in [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0; 6]] {
            assert!(matches!(datapath.add_port(&PortEntry { mac, ..port }), Err(TableError::NotUnicast { .. })));
        }
        for address in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::", "ff02::1"] {
            let port = PortEntry { sources: &[], targets: &[address.parse().unwrap()], ..port };
            assert!(matches!(datapath.add_port(&port), Err(TableError::NotUnicast { .. })), "{address}");
        }
        assert!(matches!(datapath.add_port(&alice(&[4711])), Err(TableError::DeviceMissing { ifindex: 4711 })));
        assert!(matches!(datapath.set_uplink(4711), Err(TableError::DeviceMissing { ifindex: 4711 })));
        datapath.add_port(&port).expect("nothing of the failed ports is left");
    });
}

#[test]
fn a_hash_of_the_right_sizes_and_other_flags_is_another_map() {
    let bpffs = Bpffs::mount();
    fs::create_dir_all(bpffs.pins().join("maps")).unwrap();
    let foreign = aya_obj::Map::new_from_params(5, 4, 144, 1025, 0);
    MapData::create(foreign, "guard_counters", None).unwrap().pin(bpffs.pins().join("maps/guard_counters")).unwrap();
    let error = load(&bpffs.pins()).unwrap_err();
    let LoadError::PinShape { wanted, found, .. } = &error else { panic!("{error:?}") };
    assert_eq!((wanted.flags, found.flags), (1, 0));
}
