//! Every way in which an instance does not open, or a NIC does not become an uplink, is told by its own variant, with
//! its nouns, and has changed nothing. Ports: port_errors.rs.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::common::*;
use rstest::rstest;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::system::uname;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use xsknet_bpf::{AttachError, LoadError, Mode, Obtained, PortProgram};
use xsknet_link::AttachedXdpMode;
use xsknet_port::{
    Ability, Change, Instance, InstanceOptions, JournalError, ManageError, Observer, OpenError, Places, Step,
    UplinkOptions,
};
use xsknet_testkit::{CARD, device, on_fresh_mounts, port_addresses};

fn on(device_name: &str, mode: Mode) -> UplinkOptions {
    UplinkOptions { device: device(device_name), mode }
}

#[test]
fn an_instance_that_runs_already() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let running = stage.open();
        let error = refused(&stage, || stage.lab.host.enter(|| Instance::open(stage.options())));
        assert!(matches!(&error, OpenError::AlreadyRunning { instance } if instance == stage.name()));
        assert_tells(&error, &[stage.name()]);
        assert!(error.hint().expect("a hint").contains("another instance name"));
        manage(&running, Mode::Native).release().expect("the first one works on");
    });
}

#[rstest]
#[case(
    Ability::AfXdp,
    "AF_XDP",
    |ability| if ability == Ability::AfXdp { Err(Errno::AFNOSUPPORT.into()) } else { Ok(()) }
)]
#[case(
    Ability::Bpffs,
    "BPF file system",
    |ability| if ability == Ability::Bpffs { Err(Errno::NODEV.into()) } else { Ok(()) }
)]
#[case(Ability::NetworkNamespaces, "network namespaces", |ability| {
    if ability == Ability::NetworkNamespaces { Err(Errno::INVAL.into()) } else { Ok(()) }
})]
#[case(
    Ability::BoundRings,
    "rings can be mapped",
    |ability| if ability == Ability::BoundRings { Err(Errno::BUSY.into()) } else { Ok(()) }
)]
fn a_kernel_without(#[case] missing: Ability, #[case] noun: &str, #[case] probe: fn(Ability) -> io::Result<()>) {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let options = InstanceOptions { probe, ..stage.options() };
        let error = refused(&stage, || stage.lab.host.enter(|| Instance::open(options)));
        assert!(matches!(error, OpenError::AbilityMissing { ability, .. } if ability == missing), "{error:?}");
        assert_tells(&error, &[noun]);
        assert_tells(&error, &[uname().release().to_str().expect("a release")]);
        assert_eq!(errno(&error), probe(missing).err().and_then(|cause| Errno::from_io_error(&cause)));
        assert!(error.hint().expect("a hint").contains("Linux 6.6"));
    });
}

/// Each is done, on the kernel that runs, and leaves nothing.
#[test]
fn a_kernel_with_all_that_is_needed() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        for ability in Ability::NEEDED {
            ability.probe().unwrap_or_else(|cause| panic!("{ability:?}: {cause:?}"));
        }
        // The socket cannot have been made without a right to it.
        let denied = std::thread::spawn(|| {
            let few = CapabilitySets {
                effective: CapabilitySet::SYS_ADMIN,
                permitted: CapabilitySet::SYS_ADMIN,
                inheritable: CapabilitySet::empty(),
            };
            set_capabilities(None, few).expect("fewer capabilities");
            Ability::BoundRings.probe()
        });
        let cause = denied.join().expect("a thread").expect_err("no socket without CAP_NET_RAW");
        assert_eq!(errno(&cause), Some(Errno::PERM), "{cause:?}");
        stage.assert_as_before(&before);
    });
}

#[test]
fn a_process_without_a_right() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let options = InstanceOptions { probe: |_| Err(Errno::PERM.into()), ..stage.options() };
        let error = refused(&stage, || stage.lab.host.enter(|| Instance::open(options)));
        assert!(matches!(error, OpenError::AbilityMissing { .. }), "{error:?}");
        assert_eq!(errno(&error), Some(Errno::PERM));
        assert!(error.hint().expect("a hint").contains("CAP_NET_RAW"));
    });
}

#[test]
fn mounts_that_process_1_does_not_see() {
    let strict = |stage: &Stage| {
        let places = Places { may_be_hidden: false, ..places() };
        stage.lab.host.enter(|| Instance::open(InstanceOptions { places, ..stage.options() }))
    };
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let error = refused(&stage, || strict(&stage));
        let namespace = format!("/run/xsknet/{}/netns", stage.name());
        assert!(matches!(&error, OpenError::MountsHidden { path } if path == Path::new(&namespace)), "{error:?}");
        assert_tells(&error, &[&namespace, "process 1"]);
        let hint = error.hint().expect("a hint");
        assert!(hint.contains("PrivateMounts=") && hint.contains("nsenter"), "{hint}");
    });
    // Those of the machine, as far as this test is not in a sandbox itself.
    let first = |process: &str| {
        let mounts = fs::read_to_string(format!("/proc/{process}/mountinfo")).expect("/proc is mounted");
        mounts.lines().next().map(str::to_owned)
    };
    if first("1") == first("self") {
        strict(&Stage::plain()).expect("an instance").close().expect("closing undoes everything");
    }
}

#[test]
fn a_damaged_journal() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let journal = format!("/run/xsknet/{}.journal", stage.name());
        fs::create_dir("/run/xsknet").expect("a folder");
        fs::write(&journal, "no journal at all\n").expect("a file");
        let error = refused(&stage, || stage.lab.host.enter(|| Instance::open(stage.options())));
        assert!(matches!(error, OpenError::Journal(JournalError::Damaged { line: 1, .. })), "{error:?}");
        assert_tells(&error, &["line 1", &journal, "no checksum"]);
        assert!(error.hint().expect("a hint").contains(&journal));
    });
}

#[test]
fn a_place_where_no_bpffs_can_be_mounted() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let places = Places { bpffs: "/run/nowhere".into(), ..places() };
        let error =
            refused(&stage, || stage.lab.host.enter(|| Instance::open(InstanceOptions { places, ..stage.options() })));
        assert!(matches!(&error, OpenError::Io { path, .. } if path == Path::new("/run/nowhere")), "{error:?}");
        assert_tells(&error, &["mount the BPF file system", "/run/nowhere"]);
        assert_eq!(errno(&error), Some(Errno::NOENT));
    });
}

#[test]
fn a_bpffs_that_is_mounted_read_only() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let mounted = Path::new("/run/read-only");
        fs::create_dir(mounted).expect("a folder");
        stage.lab.host.run("mount", &["-t", "bpf", "-o", "ro", "bpf", "/run/read-only"]).expect("mounted");
        let places = Places { bpffs: mounted.into(), ..places() };
        let error =
            refused(&stage, || stage.lab.host.enter(|| Instance::open(InstanceOptions { places, ..stage.options() })));
        assert_eq!(errno(&error), Some(Errno::ROFS), "{error:?}");
        assert!(error.hint().expect("a hint").contains("read-only"), "{:?}", error.hint());
        unmount(mounted, UnmountFlags::empty()).expect("unmounted");
        fs::remove_dir(mounted).expect("removed");
    });
}

/// The limit is the process's: tests run one at a time.
#[test]
fn a_process_with_all_the_files_that_it_may_have() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let open = fs::read_dir("/proc/self/fd").expect("a list").count() as u64;
        let limit = getrlimit(Resource::Nofile);
        let mut hints = std::collections::BTreeSet::new();
        for spare in 0..24 {
            let few = Rlimit { current: Some(open + spare), ..limit };
            setrlimit(Resource::Nofile, few).expect("set");
            let tried = stage.lab.host.enter(|| {
                let instance = Instance::open(stage.options())?;
                let managed = instance.manage(&on(CARD, Mode::Native)).map(drop);
                setrlimit(Resource::Nofile, limit).expect("set back");
                drop(instance);
                Ok::<_, OpenError>(managed)
            });
            setrlimit(Resource::Nofile, limit).expect("set back");
            let (cause, hint) = match &tried {
                Err(error) => (errno(error), error.hint()),
                Ok(Err(error)) => (errno(error), error.hint()),
                Ok(Ok(())) => continue,
            };
            if cause == Some(Errno::MFILE) {
                hints.insert(hint.unwrap_or_else(|| panic!("no hint: {tried:?}")));
            }
        }
        assert!(!hints.is_empty() && hints.iter().all(|hint| hint.contains("LimitNOFILE=")), "{hints:?}");
        stage.open().close().expect("it works again");
    });
}

#[test]
fn a_change_that_cannot_be_undone_is_undone_by_the_next_start() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        let instance = stage.open();
        let in_the_way = format!("/run/xsknet/{}/something-else", stage.name());
        fs::write(&in_the_way, []).expect("a file in the instance's folder");
        let error = instance.close().expect_err("a folder that is not empty");
        assert_eq!(error.left, 1);
        assert_tells(&error, &["1 of the changes", "Namespace"]);
        assert_eq!(errno(&error), Some(Errno::NOTEMPTY));
        let error = stage.lab.host.enter(|| Instance::open(stage.options())).expect_err("it is still there");
        assert!(matches!(&error, OpenError::Sweep(_)), "{error:?}");
        assert_eq!(errno(&error), Some(Errno::NOTEMPTY));
        fs::remove_file(in_the_way).expect("a file");
        stage.open().close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

#[test]
fn a_card_that_is_no_card() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let instance = stage.open();
        let error = refused(&stage, || instance.manage(&on("nosuch0", Mode::Native)));
        assert!(matches!(&error, ManageError::DeviceMissing { device } if device.as_str() == "nosuch0"), "{error:?}");
        assert_tells(&error, &["nosuch0"]);
        assert!(error.hint().is_some());
        let error = refused(&stage, || instance.manage(&on("lo", Mode::Skb)));
        assert!(matches!(&error, ManageError::NotEthernet { device } if device.as_str() == "lo"), "{error:?}");
        assert_tells(&error, &["lo", "Ethernet"]);
    });
}

#[rstest]
#[case::bridge("bridge", true)]
#[case::private("private", true)]
#[case::vepa("vepa", true)]
#[case::passthru("passthru", false)]
fn a_macvlan_that_is_deaf_for_all_but_its_own_mac(#[case] mode: &str, #[case] is_deaf: bool) {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let words = ["link", "add", "mv0", "link", CARD, "type", "macvlan", "mode", mode];
        stage.lab.host.run("ip", &words).expect("a macvlan");
        stage.lab.host.run("ip", &["link", "set", "mv0", "up"]).expect("up");
        let instance = stage.open();
        if is_deaf {
            let error = refused(&stage, || instance.manage(&on("mv0", Mode::Skb)));
            assert!(matches!(&error, ManageError::Deaf { device, .. } if device.as_str() == "mv0"), "{error:?}");
            assert_tells(&error, &["mv0", "macvlan", "its own MAC"]);
            assert!(error.hint().expect("a hint").contains("passthru"));
        } else {
            let uplink = instance.manage(&on("mv0", Mode::Skb)).expect("an uplink");
            let serving = serve(port(&uplink, 0));
            ping(&stage.lab, port_addresses(0)[0], 20);
            close(finish(serving));
            uplink.release().expect("releasing undoes everything");
        }
        instance.close().expect("closing undoes everything");
    });
}

#[test]
fn a_card_that_an_instance_manages_already() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let port = port(&uplink, 0);
        let guarded = port.info().outer.to_string();
        let serving = serve(port);
        let name = format!("{}-other", stage.name());
        let other = stage.lab.host.enter(|| Instance::open(options(&name))).expect("another instance");
        for (asked, card) in [(&instance, CARD), (&other, CARD), (&other, &guarded)] {
            let error = refused(&stage, || asked.manage(&on(card, Mode::Skb)));
            let ManageError::AlreadyManaged { device, instance } = &error else { panic!("{error:?}") };
            assert_eq!((device.as_str(), instance.as_str()), (card, stage.name()));
            assert_tells(&error, &[card, stage.name()]);
            assert!(error.hint().expect("a hint").contains(stage.name()));
        }
        other.close().expect("closing undoes everything");
        ping(&stage.lab, port_addresses(0)[0], 20);
        close(finish(serving));
    });
}

#[rstest]
#[case::native(Mode::Native, AttachedXdpMode::Native)]
#[case::skb(Mode::Skb, AttachedXdpMode::Skb)]
fn a_card_with_a_foreign_program(#[case] mode: Mode, #[case] there: AttachedXdpMode) {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let card = stage.lab.host.links().by_name(&device(CARD)).expect("the NIC").index;
        let foreign = PortProgram::load(None).expect("a foreign program");
        let target = xsknet_bpf::Device { name: CARD.into(), index: card.get() };
        let attached = stage.lab.host.enter(|| foreign.attach(&target, mode)).expect("attached");
        let instance = stage.open();
        for asked in [Mode::Native, Mode::Skb, Mode::Unspecified] {
            let error = refused(&stage, || instance.manage(&on(CARD, asked)));
            let ManageError::ForeignProgram { device, id, name, tag, mode } = &error else { panic!("{error:?}") };
            assert_eq!((device.as_str(), *id, *mode), (CARD, attached.program_id(), there));
            assert_eq!((name.as_str(), tag.len()), ("port", 16));
            assert_tells(&error, &[CARD, &id.to_string(), "port", tag, &there.to_string()]);
            assert!(error.hint().expect("a hint").contains("another NIC"));
        }
        attached.detach().expect("still attached");
        manage(&instance, mode).release().expect("the NIC is free");
    });
}

#[rstest]
#[case::hardware_mode_of_a_pair(CARD, Mode::Hw, Obtained::Hw)]
#[case::native_mode_of_a_bridge("br0", Mode::Native, Obtained::Native)]
fn a_mode_that_the_kernel_refuses(#[case] card: &str, #[case] asked: Mode, #[case] refused_mode: Obtained) {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        stage.lab.host.run("ip", &["link", "add", "br0", "type", "bridge"]).expect("a bridge");
        let instance = stage.open();
        let error = refused(&stage, || instance.manage(&on(card, asked)));
        let ManageError::Attach { device, cause } = &error else { panic!("{error:?}") };
        let AttachError::ModeRefused { mode, attempts, .. } = cause else { panic!("{cause:?}") };
        assert_eq!((device.as_str(), *mode, attempts.len()), (card, refused_mode, 1));
        assert_tells(&error, &[card]);
        assert_tells(cause, &[card, &refused_mode.to_string()]);
        assert!(
            attempts[0].errno.is_some() && attempts[0].errno == errno(&error).map(Errno::raw_os_error),
            "{attempts:?}"
        );
        assert!(error.hint().expect("a hint").contains("skb mode"));
    });
}

#[test]
fn an_unspecified_mode_takes_what_there_is_and_says_so() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        stage.lab.host.run("ip", &["link", "add", "br0", "type", "bridge"]).expect("a bridge");
        let instance = stage.open();
        let uplink = instance.manage(&on("br0", Mode::Unspecified)).expect("an uplink");
        assert_eq!(uplink.info().mode, Obtained::Skb);
        let told: Vec<_> =
            uplink.info().attempts.iter().map(|attempt| (attempt.step.as_str(), attempt.errno)).collect();
        assert_eq!(told, [("native", Some(Errno::OPNOTSUPP.raw_os_error())), ("skb", None)]);
    });
}

/// A map of another shape is put where the uplink's will be pinned, after the start has looked.
#[test]
fn a_pin_of_another_shape() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let pins = format!("/sys/fs/bpf/xsknet/{}/v1", stage.name());
        let observer: Observer = Arc::new(move |step: &Step| {
            if matches!(step, Step::Announced(Change::Pins { .. })) {
                let theirs = Path::new(&pins).join(CARD);
                drop(PortProgram::load(Some(&theirs)).expect("a foreign program"));
                fs::rename(theirs.join("maps/xsks"), theirs.join("maps/ports")).expect("a pin of another name");
            }
        });
        let options = InstanceOptions { observer: Some(observer), ..stage.options() };
        let instance = stage.lab.host.enter(|| Instance::open(options)).expect("an instance");
        let error = refused(&stage, || instance.manage(&on(CARD, Mode::Native)));
        let ManageError::Load { device, cause } = &error else { panic!("{error:?}") };
        let LoadError::PinShape { path, wanted, found } = cause else { panic!("{cause:?}") };
        assert_eq!(device.as_str(), CARD);
        assert_ne!(wanted, found);
        assert_tells(&error, &[CARD]);
        assert_tells(cause, &[path.to_str().expect("a path"), &wanted.to_string(), &found.to_string()]);
        assert!(error.hint().expect("a hint").contains("another version"));
    });
}
