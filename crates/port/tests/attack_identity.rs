//! A client requests the identity of another station: by a MAC, by an address, by a name that is hashed to one. It gets
//! none that is in use, and no refusal names the ports of other users.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::common::attack::*;
use crate::common::*;
use rstest::rstest;
use xsknet_bpf::Mode;
use xsknet_link::MacAddr;
use xsknet_port::{Instance, InstanceOptions, OpenPortError, Places, Port, PortSpec, Uplink};
use xsknet_testkit::{CARD, FAR, Lab, REMOTE4, REMOTE6, device, on_fresh_mounts, port_addresses};

/// Two users.
const ALICE: u32 = 1_001;
const BOB: u32 = 1_002;
/// The names of Alice's ports, which are nobody else's business.
const SECRET: &str = "alices-own";

fn of(owner: u32, n: u8) -> PortSpec {
    PortSpec { owner, ..PortSpec::new(port_addresses(n)) }
}

fn named(owner: u32, n: u8, name: &str) -> PortSpec {
    PortSpec { name: Some(name.into()), ..of(owner, n) }
}

fn open(uplink: &Uplink, options: PortSpec) -> Port {
    uplink.open_port(options).expect("a port")
}

/// The one place where an instance is given a folder of its own for what outlives it.
fn with_state(name: &str, folder: &Path) -> InstanceOptions {
    InstanceOptions { places: Places { state: Some(folder.into()), ..places() }, ..options(name) }
}

/// How the far end became known.
#[derive(Debug, Clone, Copy)]
enum Known {
    /// The host has talked to it.
    ToTheHost,
    /// It has talked to a port.
    ToAPort,
}

fn meet(stage: &Stage, known: Known) {
    match known {
        Known::ToTheHost => {
            stage.lab.host.run("ping", &["-c", "1", "-W", "1", &REMOTE4.to_string()]).expect("an answer");
        }
        Known::ToAPort => ping(&stage.lab, port_addresses(5)[0], 1),
    }
}

#[rstest]
#[case::of_a_port(Mode::Native, Known::ToAPort)]
#[case::of_the_host(Mode::Native, Known::ToTheHost)]
#[case::skb(Mode::Skb, Known::ToAPort)]
fn a_port_with_the_mac_of_a_neighbour_on_the_wire_is_refused(#[case] mode: Mode, #[case] known: Known) {
    on_fresh_mounts(|| {
        let (stage, clients) = (Stage::plain(), client_machine());
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, mode);
        let beside = serve(open(&uplink, of(ALICE, 5)));
        meet(&stage, known);
        let far = stage.lab.far_mac();
        let invalid = |error: &OpenPortError| {
            assert!(matches!(error, OpenPortError::MacTaken { mac, .. } if *mac == far), "{error:?}");
            assert_tells(error, &[&far.to_string()]);
            assert!(error.hint().is_some());
        };
        invalid(&refused(&stage, || uplink.open_port(PortSpec { mac: Some(far), ..of(BOB, 0) })));
        let options = PortSpec { mac: Some(far), owner: NOBODY, ..pinned_options(0) };
        if mode == Mode::Native {
            invalid(&refused(&stage, || uplink.open_pinned(options, client(&clients))));
        }
        // A MAC that nobody has is nobody's affair.
        let free = MacAddr::random_local();
        let port = open(&uplink, PortSpec { mac: Some(free), ..of(BOB, 0) });
        assert_eq!(port.info().mac, free);
        close(port);
        close(finish(beside));
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

/// Addresses of the far end; no kernel here has ever asked for the last two.
const QUIET4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
const QUIET6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77);

#[rstest]
#[case::ipv4(REMOTE4.into(), Mode::Native)]
#[case::ipv6(REMOTE6.into(), Mode::Native)]
#[case::never_heard_of_ipv4(QUIET4.into(), Mode::Native)]
#[case::never_heard_of_ipv6(QUIET6.into(), Mode::Native)]
#[case::ipv4_skb(QUIET4.into(), Mode::Skb)]
#[case::ipv6_skb(QUIET6.into(), Mode::Skb)]
fn a_port_with_the_address_of_a_neighbour_on_the_wire_is_refused(#[case] address: IpAddr, #[case] mode: Mode) {
    on_fresh_mounts(|| {
        let (stage, clients) = (Stage::plain(), client_machine());
        give_quiet_addresses(&stage.lab);
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, mode);
        let far = stage.lab.far_mac().to_string();
        let invalid = |error: &OpenPortError| {
            assert!(matches!(error, OpenPortError::AddressTaken { address: its, .. } if *its == address), "{error:?}");
            assert_tells(error, &[&address.to_string(), &far]);
            assert!(error.hint().is_some());
        };
        // Alone, and behind one that is free.
        for addresses in [vec![address], vec![port_addresses(0)[0], address]] {
            let options = || PortSpec { addresses: addresses.clone(), ..of(BOB, 0) };
            invalid(&refused(&stage, || uplink.open_port(options())));
            if mode == Mode::Native {
                let options = PortSpec { addresses: addresses.clone(), owner: NOBODY, ..pinned_options(0) };
                invalid(&refused(&stage, || uplink.open_pinned(options, client(&clients))));
            }
        }
        close(open(&uplink, of(BOB, 0)));
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

fn give_quiet_addresses(lab: &Lab) {
    let links = lab.remote.links();
    let far = links.by_name(&device(FAR)).expect("the wire's far end").index;
    links.add_address(far, QUIET4.into(), 24).expect("an address");
    links.add_address(far, QUIET6.into(), 64).expect("an address");
}

/// The link-local address of a neighbour needs no grant, so that it is looked at like any other.
#[test]
fn the_link_local_address_of_a_neighbour_on_the_wire_is_refused() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let its = stage.lab.far_mac().link_local_ipv6().into();
        let error = refused(&stage, || uplink.open_port(PortSpec { addresses: vec![its], ..of(BOB, 0) }));
        assert!(matches!(error, OpenPortError::AddressTaken { address, .. } if address == its), "{error:?}");
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

#[test]
fn a_name_is_a_users_own() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let (alices, bobs) = (open(&uplink, named(ALICE, 0, "web")), open(&uplink, named(BOB, 1, "web")));
        assert_ne!(alices.info().mac, bobs.info().mac);
        let mac = alices.info().mac;
        // One user has a name once.
        let error = uplink.open_port(named(ALICE, 2, "web")).expect_err("the name is taken");
        assert!(matches!(error, OpenPortError::NameTaken { .. }), "{error:?}");
        close(alices);
        // Who comes after her gets nothing that is sent to her; she does.
        close(bobs);
        let bobs = open(&uplink, named(BOB, 0, "web"));
        assert_ne!(bobs.info().mac, mac);
        close(bobs);
        let again = open(&uplink, named(ALICE, 0, "web"));
        assert_eq!(again.info().mac, mac);
        close(again);
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

/// A MAC cannot be derived without the secret, even by a client that knows everything else.
#[test]
fn the_mac_of_a_name_differs_from_machine_to_machine_and_stays_over_a_restart() {
    on_fresh_mounts(|| {
        let mac_on = |stage: &Stage, state: &Path| {
            let options = with_state("same-name", state);
            let instance = stage.lab.host.enter(|| Instance::open(options)).expect("an instance");
            let port = open(&manage(&instance, Mode::Native), named(ALICE, 0, "web"));
            let mac = port.info().mac;
            close(port);
            instance.close().expect("closing undoes everything");
            mac
        };
        let (here, there) = (Stage::plain(), Stage::plain());
        let before = [&here, &there].map(Stage::snapshot);
        let [own, other] = ["/run/state-here", "/run/state-there"].map(Path::new);
        let first = mac_on(&here, own);
        assert_eq!(mac_on(&here, own), first, "after a restart");
        // Another secret alone, another NIC alone, and both.
        let all = [first, mac_on(&here, other), mac_on(&there, own), mac_on(&there, other)];
        for (at, mac) in all.iter().enumerate() {
            assert!(!all[..at].contains(mac), "{all:?}");
            assert!(mac.is_locally_administered() && !mac.is_multicast());
        }
        let secret = std::fs::metadata(own.join("secret")).expect("the secret");
        assert_eq!(secret.permissions().mode() & 0o077, 0, "root's alone");
        here.assert_as_before(&before[0]);
        there.assert_as_before(&before[1]);
    });
}

/// FNV-1a of a text that a client knows, as MACs of named ports were made once.
fn hash_without_a_key(text: &str) -> MacAddr {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let [.., a, b, c, d, e, f] = (hash ^ (hash >> 32)).to_be_bytes();
    MacAddr::new([(a | 2) & !1, b, c, d, e, f])
}

/// A client that looks for a name that ends in the gateway's MAC finds one at once; it must not get that MAC.
#[test]
fn no_name_can_be_found_that_gives_a_wanted_mac() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let wanted = stage.lab.far_mac().octets();
        let guess = |name: &str| hash_without_a_key(&format!("{}/{CARD}/{name}", stage.name()));
        let mut names = (0_u32..).map(|n| format!("n{n}"));
        let name = names.find(|name| guess(name).octets()[4..] == wanted[4..]).expect("one of 65,536");
        let port = open(&uplink, named(BOB, 0, &name));
        assert_ne!(port.info().mac, guess(&name), "{name} gives what was wanted");
        close(port);
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

#[test]
fn a_mac_that_was_asked_for_brings_no_link_local_address_along() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let mac = MacAddr::random_local();
        let asked = open(&uplink, PortSpec { mac: Some(mac), ..of(BOB, 0) });
        assert_eq!(asked.info().addresses, port_addresses(0));
        close(asked);
        // One that was drawn does.
        for options in [of(BOB, 0), named(BOB, 0, "web")] {
            let drawn = open(&uplink, options);
            let link_local: IpAddr = drawn.info().mac.link_local_ipv6().into();
            assert_eq!(drawn.info().addresses[2..], [link_local]);
            close(drawn);
        }
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}

#[test]
fn a_refusal_names_no_port_of_another_user() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let mac = MacAddr::random_local();
        let alices = open(&uplink, PortSpec { mac: Some(mac), ..named(ALICE, 0, SECRET) });
        let asks = |owner| {
            [
                uplink.open_port(of(owner, 0)).expect_err("the address is taken"),
                uplink.open_port(PortSpec { mac: Some(mac), ..of(owner, 1) }).expect_err("the MAC is taken"),
            ]
        };
        for error in asks(BOB) {
            let told = [chain(&error).join(" "), format!("{error:?}"), error.hint().unwrap_or_default()].join(" ");
            assert!(!told.contains(SECRET) && !told.contains(&ALICE.to_string()), "{told}");
            assert_tells(&error, &["another user's port"]);
        }
        for owner in [ALICE, 0] {
            for error in asks(owner) {
                assert_tells(&error, &[SECRET]);
            }
        }
        close(alices);
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
    });
}
