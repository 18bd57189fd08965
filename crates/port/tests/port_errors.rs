//! Every way in which a port does not open is told by its own variant, with its nouns, and has changed nothing: neither
//! the machine nor the port beside it.
//!
//! A descriptor outside the UMEM, which only a broken kernel or another user of the rings could produce, is provoked in
//! crates/xsk/tests/kernel.rs.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::common::*;
use rustix::io::Errno;
use xsknet_bpf::Mode;
use xsknet_link::{Links, MacAddr, Netns};
use xsknet_port::{Instance, InstanceOptions, Observer, OpenPortError, OpenPortError as Is, PortSpec, Step};
use xsknet_testkit::{CARD, FAR, HOST4, HOST6, Lab, Wire, device, on_fresh_mounts, port_addresses};
use xsknet_xsk::{BindRequest, CreateError, FrameTooLong, QueueId, Request};

/// What is asked for, whether the answer is the right one, and what its text has to name.
struct Row {
    options: PortSpec,
    is: fn(&OpenPortError) -> bool,
    nouns: Vec<String>,
}

fn row<const N: usize>(options: PortSpec, is: fn(&OpenPortError) -> bool, nouns: [&str; N]) -> Row {
    Row { options, is, nouns: nouns.map(str::to_owned).into() }
}

/// A port that could be, were it not for what a row changes of it.
fn good() -> PortSpec {
    PortSpec { mtu: Some(1500), ..PortSpec::new(port_addresses(1)) }
}

/// A MAC whose link-local address the first port has, although its own is another.
const CLAIMED: MacAddr = MacAddr::new([0x02, 0, 0, 0, 0, 0x99]);

/// The port that is there: all that may be taken.
struct First {
    mac: MacAddr,
    v4: IpAddr,
    v6: IpAddr,
    claimed: IpAddr,
    link_local: IpAddr,
}

fn addresses(first: &First) -> Vec<Row> {
    const INVALID: fn(&Is) -> bool = |error| matches!(error, Is::AddressInvalid { .. });
    const TAKEN: fn(&Is) -> bool = |error| matches!(error, Is::AddressTaken { .. });
    let at = |addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        PortSpec { addresses, ..good() }
    };
    let taken = |address: &str, holder: &str| row(at(&["192.0.2.30", address]), TAKEN, [address, CARD, holder]);
    let (v4, v6, link_local) = (first.v4.to_string(), first.v6.to_string(), first.link_local.to_string());
    vec![
        row(at(&[]), |error| matches!(error, Is::NoAddress), ["at least one address"]),
        row(at(&["0.0.0.0"]), INVALID, ["0.0.0.0", "unspecified"]),
        row(at(&["::"]), INVALID, ["::", "unspecified"]),
        row(at(&["127.0.0.1"]), INVALID, ["127.0.0.1", "loopback"]),
        row(at(&["::1"]), INVALID, ["::1", "loopback"]),
        row(at(&["224.0.0.1"]), INVALID, ["224.0.0.1", "multicast"]),
        row(at(&["ff02::1"]), INVALID, ["ff02::1", "multicast"]),
        row(at(&["255.255.255.255"]), INVALID, ["255.255.255.255", "broadcast"]),
        row(at(&["::ffff:192.0.2.9"]), INVALID, ["::ffff:192.0.2.9", "IPv4"]),
        row(at(&["192.0.2.30", "192.0.2.30"]), INVALID, ["192.0.2.30", "twice"]),
        row(at(&["192.0.2.0"]), INVALID, ["192.0.2.0", "the network address of the NIC's network, a /24"]),
        row(at(&["192.0.2.255"]), INVALID, ["192.0.2.255", "the broadcast address of the NIC's network, a /24"]),
        row(at(&["192.0.2.30", "2001:db8::"]), INVALID, ["2001:db8::", "all routers", "a /64"]),
        taken(&v4, "port `first`"),
        taken(&v6, "port `first`"),
        taken(&link_local, "port `first`"),
        taken(&first.claimed.to_string(), "port `first`"),
        taken(&HOST4.to_string(), "the host"),
        taken(&HOST6.to_string(), "the host"),
    ]
}

fn macs(first: &First, lab: &Lab) -> Vec<Row> {
    const INVALID: fn(&Is) -> bool = |error| matches!(error, Is::MacInvalid { .. });
    const TAKEN: fn(&Is) -> bool = |error| matches!(error, Is::MacTaken { .. });
    let with = |mac| PortSpec { mac: Some(mac), ..good() };
    let (card, group) = (lab.card_mac(), MacAddr::new([1, 0, 0x5e, 0, 0, 1]));
    vec![
        row(with(first.mac), TAKEN, [&first.mac.to_string(), CARD, "port `first`"]),
        row(with(card), TAKEN, [&card.to_string(), CARD, "the NIC itself"]),
        row(with(MacAddr::new([0; 6])), INVALID, ["00:00:00:00:00:00", "all zeros"]),
        row(with(MacAddr::BROADCAST), INVALID, ["ff:ff:ff:ff:ff:ff", "multicast"]),
        row(with(group), INVALID, ["01:00:5e:00:00:01", "multicast"]),
    ]
}

fn the_rest() -> Vec<Row> {
    const NAME: fn(&Is) -> bool = |error| matches!(error, Is::NameInvalid { .. });
    const VLAN: fn(&Is) -> bool = |error| matches!(error, Is::VlanInvalid { .. });
    let named = |name: &str| PortSpec { name: Some(name.into()), ..good() };
    let in_vlan = |vlan| PortSpec { vlan: Some(vlan), ..good() };
    let with_mtu = |mtu| PortSpec { mtu, ..good() };
    let long = "x".repeat(65);
    vec![
        row(named("first"), |error| matches!(error, Is::NameTaken { .. }), ["first", CARD]),
        row(named(""), NAME, ["1 to 64"]),
        row(named("a:b"), NAME, ["a:b"]),
        row(named(&long), NAME, [&long]),
        row(in_vlan(0), VLAN, ["0 is not a VLAN ID"]),
        row(in_vlan(4095), VLAN, ["4095", "1 to 4094"]),
        row(
            PortSpec { multi_buffer: Some(false), ..with_mtu(None) },
            |error| matches!(error, Is::MtuTooLarge { mtu: 3000, needed: 3018, capacity: 1792, most: 1774, .. }),
            ["3000", "3018", "2048", "1792"],
        ),
        row(
            with_mtu(Some(3001)),
            |error| matches!(error, Is::MtuAboveUplink { mtu: 3001, uplink_mtu: 3000, .. }),
            ["3001", "3000", CARD],
        ),
        row(
            PortSpec { bind: BindRequest::ZeroCopy, ..good() },
            |error| matches!(error, Is::Socket(CreateError::Refused { .. })) && errno(error) == Some(Errno::OPNOTSUPP),
            ["socket"],
        ),
    ]
}

#[test]
fn a_port_that_cannot_be() {
    on_fresh_mounts(|| {
        let stage = Stage::new(Wire { mtu: 3000, ..Wire::default() });
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let [v4, v6] = port_addresses(0);
        let first = PortSpec::new([v4, v6, CLAIMED.link_local_ipv6().into()]);
        let first = PortSpec { name: Some("first".into()), mtu: Some(1500), ..first };
        let first = uplink.open_port(first).expect("a port");
        let [v4, v6, claimed, link_local] = first.info().addresses[..] else { panic!("{:?}", first.info()) };
        let taken = First { mac: first.info().mac, v4, v6, claimed, link_local };
        let serving = serve(first);
        let rows = [addresses(&taken), macs(&taken, &stage.lab), the_rest()];
        for Row { options, is, nouns } in rows.into_iter().flatten() {
            let error = refused(&stage, || uplink.open_port(options));
            assert!(is(&error), "{error:?} is of another kind");
            assert_tells(&error, &nouns.iter().map(String::as_str).collect::<Vec<_>>());
        }
        for address in port_addresses(0) {
            ping(&stage.lab, address, 20);
        }
        close(finish(serving));
    });
}

#[test]
fn what_looks_taken_but_is_not() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let first = port(&uplink, 0);
        let same = PortSpec { mac: Some(first.info().mac), ..PortSpec::new(port_addresses(0)) };
        let tagged = uplink.open_port(PortSpec { vlan: Some(7), ..same.clone() }).expect("the same in a VLAN");
        let hosts = refused(&stage, || uplink.open_port(PortSpec { vlan: Some(8), ..PortSpec::new([HOST4.into()]) }));
        assert_tells(&hosts, &[&HOST4.to_string(), "the host"]);
        let error = refused(&stage, || uplink.open_port(PortSpec { vlan: Some(7), ..same }));
        assert!(matches!(error, OpenPortError::AddressTaken { .. }), "{error:?}");
        let with_its_link_local = [port_addresses(1)[1], CLAIMED.link_local_ipv6().into()];
        let asked = PortSpec { mac: Some(CLAIMED), ..PortSpec::new(with_its_link_local) };
        let listed = uplink.open_port(asked).expect("its own link-local address, listed or not");
        assert_eq!(listed.info().addresses, with_its_link_local);
        close(listed);
        // A VLAN has a network of its own.
        let edges = ["192.0.2.0", "192.0.2.255", "2001:db8::"].map(|address| address.parse().expect("an address"));
        let elsewhere = PortSpec { vlan: Some(9), ..PortSpec::new(edges) };
        close(uplink.open_port(elsewhere).expect("a port in a VLAN"));
        close(tagged);
        close(first);
    });
}

#[test]
fn a_card_that_is_down_or_has_no_carrier() {
    on_fresh_mounts(|| {
        for mode in [Mode::Native, Mode::Skb] {
            let stage = Stage::plain();
            let instance = stage.open();
            let uplink = manage(&instance, mode);
            let (here, there) = (stage.lab.host.links(), stage.lab.remote.links());
            let far = there.by_name(&device(FAR)).expect("the far end").index;
            for (links, index, told) in [(&here, uplink.info().index, "is down"), (&there, far, "has no carrier")] {
                links.set_down(index).expect("down");
                let error = refused(&stage, || uplink.open_port(PortSpec::new(port_addresses(0))));
                assert!(matches!(&error, OpenPortError::LinkDown { .. }), "{error:?}");
                assert_tells(&error, &[CARD, told]);
                assert!(error.hint().is_some());
                links.set_up(index).expect("up");
            }
            close(port(&uplink, 0));
            instance.close().expect("closing undoes everything");
        }
    });
}

/// The port's own device is set down in the middle.
#[test]
fn a_port_that_hears_nothing_fails_the_self_test() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let (host, once) = (Links::in_namespace(stage.lab.host.namespace()).expect("a socket"), AtomicBool::new(true));
        let observer: Observer = Arc::new(move |step: &Step| {
            if matches!(step, Step::Passed("the outer ends are up")) && once.swap(false, Ordering::SeqCst) {
                let outer = host.by_name(&device("xsko2-1")).expect("the outer end").index;
                host.set_down(outer).expect("down");
            }
        });
        let options = InstanceOptions { observer: Some(observer), ..stage.options() };
        let instance = stage.lab.host.enter(|| Instance::open(options)).expect("an instance");
        let uplink = manage(&instance, Mode::Native);
        let error = refused(&stage, || uplink.open_port(PortSpec::new(port_addresses(0))));
        assert!(matches!(&error, OpenPortError::SelfTest { waited_ms: 1000, .. }), "{error:?}");
        assert_tells(&error, &["1000 ms", "port"]);
        assert!(error.hint().is_some());
        close(port(&uplink, 0));
        instance.close().expect("closing undoes everything");
    });
}

#[test]
fn a_port_of_an_uplink_that_was_released() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        instance.close().expect("closing undoes everything");
        let error = refused(&stage, || uplink.open_port(PortSpec::new(port_addresses(0))));
        assert!(matches!(&error, OpenPortError::UplinkClosed { uplink } if uplink.as_str() == CARD), "{error:?}");
        assert_tells(&error, &[CARD]);
    });
}

#[test]
fn a_queue_that_is_taken_and_a_frame_that_is_too_long() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let mut port = port(&uplink, 0);
        let ports =
            Netns::open(Path::new(&format!("/run/xsknet/{}/netns", stage.name()))).expect("the ports' namespace");
        let inner = port.info().inner.to_string();
        let layout = *port.socket().layout();
        let request = Request {
            device: &inner,
            queue: QueueId(0),
            layout,
            huge_pages: Default::default(),
            bind: BindRequest::Copy,
            prime: false,
        };
        let error = refused(&stage, || ports.run(|| xsknet_xsk::create(&request)).expect("a thread inside"));
        assert!(
            matches!(&error, CreateError::QueueTaken { device, queue: QueueId(0) } if *device == inner),
            "{error:?}"
        );
        assert_tells(&error, &[&inner, "queue 0"]);

        let mut frame = port.socket().allocate().expect("a frame");
        let capacity = frame.capacity();
        let error = frame.set_len(capacity + 1).expect_err("one byte too many");
        assert_eq!(error, FrameTooLong { len: capacity + 1, capacity });
        assert_tells(&error, &[&capacity.to_string(), &(capacity + 1).to_string()]);
        port.socket().release(frame);
        let serving = serve(port);
        ping(&stage.lab, port_addresses(0)[0], 20);
        close(finish(serving));
    });
}

#[test]
fn a_port_that_fails_takes_nothing_of_the_one_that_is_opened_next() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            // A veth has no zero-copy, which shows late: the pair is there by then.
            let failing = scope.spawn(|| {
                let asked = PortSpec { bind: BindRequest::ZeroCopy, ..PortSpec::new(port_addresses(1)) };
                let mut failures = 0;
                while !over.load(Ordering::Relaxed) {
                    let error = uplink.open_port(asked.clone()).expect_err("zero-copy");
                    assert!(matches!(error, Is::Socket(CreateError::Refused { .. })), "{error:?}");
                    failures += 1;
                }
                failures
            });
            let opened: Vec<_> =
                (0..20).map(|_| uplink.open_port(PortSpec::new(port_addresses(0))).map(close)).collect();
            over.store(true, Ordering::Relaxed);
            assert!(failing.join().expect("it fails as it should") > 0);
            for port in opened {
                port.expect("a port");
            }
        });
        instance.close().expect("closing undoes everything");
    });
}
