//! What a start finds: journals of all sorts, things of others, neighbours. It undoes what is its own, and only that.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::common::child::{Ended, Role, kill_at};
use crate::common::*;
use rstest::rstest;
use xsknet_bpf::{Mode, PortProgram, bpffs};
use xsknet_link::{End, Ethtool, MacAddr, Netns, VethPair};
use xsknet_port::{Instance, JournalError, OpenError, PortSpec, UplinkOptions, any_here, sweep_dead, sweep_dead_here};
use xsknet_testkit::{CARD, Lab, Machine, Snapshot, Wire, device, on_fresh_mounts, port_addresses, wait_until};

const BPFFS: &str = "/sys/fs/bpf";
const STRIPPED: &str = "rx-vlan-hw-parse";

fn journal(stage: &Stage) -> PathBuf {
    format!("/run/xsknet/{}.journal", stage.name()).into()
}

/// A line as the journal writes it: whole, and with the right sum.
fn line(json: &str) -> String {
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
}

/// What only a journal knows: offloads and filters of the NIC.
#[derive(Debug, PartialEq, Eq)]
struct Settings {
    offloads: Vec<(String, bool)>,
    filters: Vec<MacAddr>,
}

impl Settings {
    fn of(lab: &Lab) -> Self {
        let (links, card) = (lab.host.links(), device(CARD));
        let index = links.by_name(&card).expect("the NIC").index;
        let features = Ethtool::in_namespace(lab.host.namespace()).expect("ethtool").features(&card).expect("features");
        let offloads = features.iter().filter(|feature| feature.changeable);
        Self {
            offloads: offloads.map(|feature| (feature.name.clone(), feature.wanted)).collect(),
            filters: links.filters(index).expect("filters"),
        }
    }

    fn is_on(&self, offload: &str) -> bool {
        self.offloads.iter().any(|(name, on)| name == offload && *on)
    }

    /// Brings them back by hand.
    fn restore(&self, lab: &Lab) {
        let (links, card) = (lab.host.links(), device(CARD));
        let index = links.by_name(&card).expect("the NIC").index;
        for mac in Self::of(lab).filters.iter().filter(|mac| !self.filters.contains(mac)) {
            assert!(links.remove_filter(index, *mac).expect("the NIC"));
        }
        let wishes: Vec<_> = self.offloads.iter().map(|(name, on)| (name.as_str(), *on)).collect();
        let ethtool = Ethtool::in_namespace(lab.host.namespace()).expect("ethtool");
        ethtool.set_features(&card, &wishes).expect("features");
    }
}

#[test]
fn a_torn_journal_is_followed_as_far_as_it_goes() {
    if let Some(role) = Role::mine() {
        role.work_until_killed();
    }
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        Role::new(stage.name()).crash(&stage.lab.host);
        let torn = line(r#"{"record":"made","id":99,"scope":{"scope":"instance"},"change":{"change":"namespace"}}"#);
        let whole = fs::read(journal(&stage)).expect("a journal");
        fs::write(journal(&stage), [&whole, &torn.as_bytes()[..torn.len() / 2]].concat()).expect("a torn line");
        // As of a process that was killed while it wrote the journal anew.
        fs::write(journal(&stage).with_extension("journal.new"), &whole[..20]).expect("an unfinished copy");
        stage.open().close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

#[test]
fn without_its_journal_everything_that_bears_our_name_is_found() {
    if let Some(role) = Role::mine() {
        role.work_until_killed();
    }
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let (before, settings) = (stage.snapshot(), Settings::of(&stage.lab));
        Role::new(stage.name()).crash(&stage.lab.host);
        fs::remove_file(journal(&stage)).expect("a journal");
        // The kernel takes its time with a link whose last pin is gone; here it takes for ever.
        let (link, held) = (format!("{BPFFS}/xsknet/{}/v1/{CARD}/uplink-link", stage.name()), format!("{BPFFS}/held"));
        stage.lab.host.run("bpftool", &["link", "pin", "pinned", &link, &held]).expect("a second pin");
        let instance = stage.open();
        manage(&instance, Mode::Native).release().expect("releasing undoes everything");
        fs::remove_file(held).expect("the second pin");
        instance.close().expect("closing undoes everything");
        assert!(!Settings::of(&stage.lab).is_on(STRIPPED), "an offload has no name of ours");
        settings.restore(&stage.lab);
        stage.assert_as_before(&before);
    });
}

#[test]
fn a_journal_of_another_boot_is_not_followed() {
    if let Some(role) = Role::mine() {
        role.work_until_killed();
    }
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let (before, settings) = (stage.snapshot(), Settings::of(&stage.lab));
        Role::new(stage.name()).crash(&stage.lab.host);
        let text = fs::read_to_string(journal(&stage)).expect("a journal");
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot id");
        let (header, rest) = text.split_once('\n').expect("a header");
        let header = line(&header[9..].replace(boot.trim_end(), "00000000-0000-0000-0000-000000000000"));
        fs::write(journal(&stage), header + rest).expect("a journal");
        stage.open().close().expect("closing undoes everything");
        assert!(!Settings::of(&stage.lab).is_on(STRIPPED), "the NIC of this boot was not touched");
        settings.restore(&stage.lab);
        stage.assert_as_before(&before);
    });
}

/// The other namespace has a NIC of the same name and number, set as ours was, and a device of the name of a port's.
#[test]
fn a_journal_of_another_namespace_touches_no_device_of_the_same_name() {
    if let Some(role) = Role::mine() {
        role.work_until_killed();
    }
    on_fresh_mounts(|| {
        let ours = Stage::plain();
        let other = Lab::new(Wire::default()).expect("a lab");
        let settings = Settings::of(&ours.lab);
        Role::new(ours.name()).crash(&ours.lab.host);
        let set = Settings::of(&ours.lab);
        let links = other.host.links();
        let card = links.by_name(&device(CARD)).expect("a NIC").index;
        assert_eq!(card, ours.lab.host.links().by_name(&device(CARD)).expect("the NIC").index);
        for mac in set.filters.iter().filter(|mac| !settings.filters.contains(mac)) {
            links.add_filter(card, *mac).expect("a filter");
        }
        let ethtool = Ethtool::in_namespace(other.host.namespace()).expect("ethtool");
        ethtool.set_features(&device(CARD), &[(STRIPPED, false)]).expect("features");
        foreign_pair(&other.host, &format!("xsko{card}-1"));
        let look = || Snapshot::take(other.host.namespace(), &[]);
        let before = look();

        let instance = other.host.enter(|| Instance::open(ours.options())).expect("an instance");
        // What the pins and the ports' namespace reach is gone from the old one all the same.
        let links = ours.lab.host.links();
        assert_eq!(links.by_name(&device(CARD)).expect("the NIC").xdp, []);
        assert_eq!(links.list().expect("a list").len(), 2, "lo and the NIC");
        instance.close().expect("closing undoes everything");
        before.wait_for(PATIENCE, look).unwrap_or_else(|difference| panic!("the other namespace:\n{difference}"));
    });
}

/// As `ip netns` mounts it, or a process keeps it: then it is put right from anywhere.
#[test]
fn a_card_in_another_namespace_that_can_be_found_is_given_back_as_it_was() {
    if let Some(role) = Role::mine() {
        role.work_until_killed();
    }
    on_fresh_mounts(|| {
        let ours = Stage::plain();
        let other = Lab::new(Wire::default()).expect("a lab");
        let settings = Settings::of(&ours.lab);
        Role::new(ours.name()).crash(&ours.lab.host);
        assert!(Settings::of(&ours.lab) != settings, "a manager leaves a trace");
        let mounted = Path::new("/run/xsknet-test-namespace");
        ours.lab.host.namespace().bind_to(mounted).expect("mounted");
        let look = || Snapshot::take(other.host.namespace(), &[]);
        let before = look();
        let instance = other.host.enter(|| Instance::open(ours.options())).expect("an instance");
        assert_eq!(Settings::of(&ours.lab), settings);
        instance.close().expect("closing undoes everything");
        before.wait_for(PATIENCE, look).unwrap_or_else(|difference| panic!("the other namespace:\n{difference}"));
        Netns::unbind(mounted).expect("unmounted");
    });
}

#[rstest]
#[case::that_does_not_sum_up("00000000 {}\n", "its checksum is wrong")]
#[case::that_names_a_pin_elsewhere(
    &line(concat!(
        r#"{"record":"made","id":99,"scope":{"scope":"instance"},"#,
        r#""change":{"change":"pins","folder":"../../foreign"}}"#,
    )),
    "leaves the folder of pins",
)]
#[case::that_undoes_what_was_not_made(&line(r#"{"record":"undone","id":99}"#), "change 99 is undone but was not made")]
fn a_journal_with_a_line(#[case] bad: &str, #[case] why: &str) {
    if let Some(role) = Role::mine() {
        role.work_until_killed();
    }
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        bpffs::mount(Path::new(BPFFS)).expect("a bpffs");
        drop(PortProgram::load(Some(&Path::new(BPFFS).join("foreign"))).expect("a foreign program"));
        let before = stage.snapshot();
        Role::new(stage.name()).crash(&stage.lab.host);
        let crashed = stage.snapshot();
        let good = fs::read_to_string(journal(&stage)).expect("a journal");
        fs::write(journal(&stage), good.clone() + bad).expect("a journal");

        let error =
            stage.lab.host.enter(|| Instance::open(stage.options())).expect_err("a journal that cannot be followed");
        let OpenError::Journal(JournalError::Damaged { path, line, why: told }) = &error else { panic!("{error:?}") };
        assert_eq!((path, *line), (&journal(&stage), good.lines().count() + 1));
        assert!(told.contains(why), "{told}");
        assert!(error.to_string().contains(path.to_str().expect("a path")), "{error}");
        assert!(error.hint().expect("a hint").contains("nothing was touched"));
        // The lock of the killed child was swept, nothing else.
        fs::write(format!("/run/xsknet/{}.lock", stage.name()), []).expect("a lock");
        crashed.wait_for(PATIENCE, || stage.snapshot()).unwrap_or_else(|difference| panic!("touched:\n{difference}"));

        fs::write(journal(&stage), good).expect("a journal");
        stage.open().close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

/// A foreign pair.
fn foreign_pair(machine: &Machine, name: &str) {
    let pair = VethPair::new(End::new(device(name)), End::new(device("foreign")));
    machine.links().add_veth(&pair).expect("a pair");
}

#[test]
fn a_foreign_device_of_a_ports_name_is_left_alone() {
    if let Some(role) = Role::mine() {
        role.work_until_killed();
    }
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let links = stage.lab.host.links();
        let card = links.by_name(&device(CARD)).expect("the NIC").index;
        let name = format!("xsko{card}-1");
        // Instead of the port's own, which was deleted after the process was killed.
        Role::new(stage.name()).crash(&stage.lab.host);
        links.delete(links.by_name(&device(&name)).expect("the port's").index).expect("deleted");
        foreign_pair(&stage.lab.host, &name);
        links
            .set_alias(links.by_name(&device("foreign")).expect("a device").index, "xsknet:somebody:else")
            .expect("set");
        stage.open().close().expect("closing undoes everything");
        assert!(links.by_name(&device(&name)).is_ok() && links.by_name(&device("foreign")).is_ok());

        // Before a port wants the name.
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let managed = stage.snapshot();
        let error = uplink.open_port(PortSpec::new(port_addresses(0))).expect_err("the name is taken");
        assert!(chain(&error).iter().any(|told| told.contains(&name)), "{error:?}");
        managed.wait_for(PATIENCE, || stage.snapshot()).unwrap_or_else(|difference| panic!("{difference}"));
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

#[test]
fn the_control_socket_of_a_killed_daemon_goes_with_the_next_start_and_a_file_of_its_name_stays() {
    let socket = |name: &str| PathBuf::from(format!("/run/xsknet/{name}.sock"));
    if let Some(role) = Role::mine() {
        let _instance = role.open();
        let _listener = UnixListener::bind(socket(&role.instance)).expect("a socket");
        kill_at("listening");
    }
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        assert_eq!(Role::new(stage.name()).play(&stage.lab.host), Ended::Killed("listening".into()));
        assert!(socket(stage.name()).exists());
        let instance = stage.open();
        assert!(!socket(stage.name()).exists());
        // Its own daemon's, which did not get to it.
        drop(UnixListener::bind(socket(stage.name())).expect("a socket"));
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);

        fs::create_dir("/run/xsknet").expect("a folder");
        drop(UnixListener::bind(socket("lab-all-that-is-left")).expect("a socket"));
        assert_eq!(sweep_dead(&places(), "lab-all").expect("all can be swept"), 1);
        stage.assert_as_before(&before);

        fs::create_dir("/run/xsknet").expect("a folder");
        fs::write(socket(stage.name()), "foreign").expect("a file");
        stage.open().close().expect("closing undoes everything");
        assert_eq!(fs::read(socket(stage.name())).expect("it is still there"), b"foreign");
    });
}

#[test]
fn a_bpffs_that_was_there_before_stays_with_all_its_pins() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        bpffs::mount(Path::new(BPFFS)).expect("a bpffs");
        drop(PortProgram::load(Some(&Path::new(BPFFS).join("foreign"))).expect("a foreign program"));
        let before = stage.snapshot();
        let instance = stage.open();
        drop(port(&manage(&instance, Mode::Native), 0));
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
        assert!(bpffs::is_mounted(Path::new(BPFFS)).expect("an answer"));
    });
}

#[test]
fn a_bpffs_of_ours_stays_as_long_as_others_have_pins_there() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        let foreign = Path::new(BPFFS).join("foreign");
        let instance = stage.open();
        drop(PortProgram::load(Some(&foreign)).expect("a foreign program"));
        instance.close().expect("closing undoes everything");
        assert!(foreign.join("maps/xsks").exists());
        assert!(!Path::new(BPFFS).join("xsknet").exists());
        fs::remove_dir_all(&foreign).expect("pins");
        stage.open().close().expect("closing undoes everything");
        assert!(!bpffs::is_mounted(Path::new(BPFFS)).expect("an answer"));
        stage.assert_as_before(&before);
    });
}

/// A second NIC of the lab's host, with a machine of its own at the far end.
fn second_card(host: &Machine) -> Machine {
    let far = Machine::new("second remote").expect("a machine");
    let end = |name| End::new(device(name));
    let pair =
        host.links().add_veth(&VethPair::new(end("card1"), end("far1").inside(far.namespace()))).expect("a wire");
    host.links().set_up(pair.outer).expect("up");
    far.links().set_up(pair.inner).expect("up");
    far.links().add_address(pair.inner, Ipv4Addr::new(198, 51, 100, 2).into(), 24).expect("an address");
    // The kernel gives the NIC a link-local address a moment later; its group would look like a change.
    let mac = host.links().by_index(pair.outer).expect("the NIC").mac.expect("an Ethernet device");
    let group = MacAddr::solicited_node(mac.link_local_ipv6());
    wait_until("the group of the NIC's own address", 5 * SECOND, || {
        host.links().filters(pair.outer).expect("filters").contains(&group)
    });
    far
}

#[test]
fn a_neighbour_on_the_same_host_carries_on_while_an_instance_is_killed_and_swept() {
    if let Some(role) = Role::mine() {
        role.work_until_killed();
    }
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let far = second_card(&stage.lab.host);
        let before = stage.snapshot();
        let name = format!("{}-neighbour", stage.name());
        let neighbour = stage.lab.host.enter(|| Instance::open(options(&name))).expect("a neighbour");
        let options = UplinkOptions { device: device("card1"), mode: Mode::Skb };
        let uplink = neighbour.manage(&options).expect("an uplink");
        let address = IpAddr::from([198, 51, 100, 10]);
        let serving = serve(uplink.open_port(PortSpec::new([address])).expect("a port"));
        let with_neighbour = stage.snapshot();

        let mut ping = far.spawn("ping", &["-n", "-i", "0.005", "-W", "1", &address.to_string()]);
        ping.wait_for(&["icmp_seq=1 "], 5 * SECOND);
        Role::new(stage.name()).crash(&stage.lab.host);
        stage.open().close().expect("closing undoes everything");
        with_neighbour.wait_for(PATIENCE, || stage.snapshot()).unwrap_or_else(|difference| panic!("{difference}"));
        let lines = ping.interrupt();
        assert!(lines.iter().any(|line| line.contains(" 0% packet loss")), "{lines:#?}");
        assert!(lines.len() > 50, "{lines:#?}");
        assert!(bpffs::is_mounted(Path::new(BPFFS)).expect("an answer"));

        close(finish(serving));
        neighbour.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

#[test]
fn runs_that_were_killed_are_swept_by_their_prefix_and_living_ones_are_not() {
    if let Some(role) = Role::mine() {
        // Its lab ends with it.
        Lab::new(Wire::default()).expect("a lab").host.enter(|| role.work_until_killed());
    }
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let serving = serve(port(&uplink, 0));
        let living = stage.snapshot();
        let role = Role::new(&format!("{}-dead", stage.name()));
        let elsewhere = Role::new(&format!("other-{}", std::process::id()));
        role.crash(&stage.lab.host);
        elsewhere.crash(&stage.lab.host);
        assert_eq!(sweep_dead(&places(), "lab-").expect("all can be swept"), 1);
        assert!(Path::new(&format!("/run/xsknet/{}.journal", elsewhere.instance)).exists());
        assert_eq!(sweep_dead(&places(), "other-").expect("all can be swept"), 1);
        living.wait_for(PATIENCE, || stage.snapshot()).unwrap_or_else(|difference| panic!("{difference}"));
        ping(&stage.lab, port_addresses(0)[0], 50);
        close(finish(serving));
        instance.close().expect("closing undoes everything");
    });
}

#[test]
fn of_dead_runs_only_those_are_swept_whose_cards_are_here_or_that_a_reboot_ended() {
    if let Some(role) = Role::mine() {
        if role.instance.contains("elsewhere") {
            Lab::new(Wire::default()).expect("a lab").host.enter(|| role.work_until_killed());
        }
        role.work_until_killed();
    }
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        let instance = stage.lab.host.enter(|| Instance::open_private(&places())).expect("an instance");
        let living = instance.name().to_string();
        let prefix = "embedded-";
        assert!(living.starts_with(&format!("{prefix}{}-", std::process::id())), "{living}");
        let another = stage.lab.host.enter(|| Instance::open_private(&places())).expect("another one");
        assert_ne!(another.name().to_string(), living);
        another.close().expect("closing undoes everything");

        let elsewhere = format!("{prefix}elsewhere");
        Role::new(&elsewhere).crash(&stage.lab.host);
        let with_elsewhere = stage.snapshot();
        Role::new(&format!("{prefix}dead")).crash(&stage.lab.host);
        let rebooted = format!("{prefix}rebooted");
        let header = r#"{"record":"header","version":1,"instance":"x","boot":"another","namespace":[0,0],"cookie":1}"#;
        fs::write(format!("/run/xsknet/{rebooted}.journal"), line(header)).expect("a journal");

        let sweep = || {
            let swept = stage.lab.host.enter(|| sweep_dead_here(&places(), prefix));
            let told = |(name, swept): (xsknet_port::InstanceName, Result<_, _>)| {
                swept.expect("it can be swept");
                name.to_string()
            };
            swept.into_iter().map(told).collect::<Vec<_>>()
        };
        assert_eq!(sweep(), [format!("{prefix}dead"), rebooted]);
        let any = || stage.lab.host.enter(|| any_here(&places(), prefix)).expect("journals");
        assert!(any());
        with_elsewhere.wait_for(PATIENCE, || stage.snapshot()).unwrap_or_else(|difference| panic!("{difference}"));
        assert_eq!(sweep(), [""; 0]);

        // A damaged one is told, and keeps nobody from the others.
        fs::write(format!("/run/xsknet/{prefix}a.journal"), "nonsense\n").expect("a journal");
        Role::new(&format!("{prefix}dead")).crash(&stage.lab.host);
        let swept = stage.lab.host.enter(|| sweep_dead_here(&places(), prefix));
        let became: Vec<_> = swept.iter().map(|(name, swept)| (name.to_string(), swept.is_ok())).collect();
        assert_eq!(became, [(format!("{prefix}a"), false), (format!("{prefix}dead"), true)]);
        fs::remove_file(format!("/run/xsknet/{prefix}a.journal")).expect("the damaged one");

        instance.close().expect("closing undoes everything");
        assert!(!any());
        assert_eq!(sweep_dead(&places(), &elsewhere).expect("all can be swept"), 1);
        stage.assert_as_before(&before);
    });
}
