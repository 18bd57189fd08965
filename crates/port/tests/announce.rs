//! A port tells its neighbours that its addresses are its own: who knew another MAC for them reaches the port at once.

use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::*;
use rstest::rstest;
use xsknet_bpf::testbed::VlanEdge;
use xsknet_bpf::{Mode, PinnedSocketMap};
use xsknet_link::{Heard, Links, MacAddr, Netns, PacketSocket};
use xsknet_port::{
    Client, Instance, InstanceOptions, Observer, OpenPortError, PinnedPort, Port, PortSpec, Step, Uplink,
};
use xsknet_testkit::{FAR, Lab, Machine, Responder, device, on_fresh_mounts, port_addresses, wait_until};
use xsknet_xsk::{Layout, QueueId, Request, Socket};

/// The most milliseconds that the first ping may take.
const AT_ONCE: f64 = 100.0;

fn far_index(lab: &Lab) -> xsknet_link::IfIndex {
    lab.remote.links().by_name(&device(FAR)).expect("the wire's far end").index
}

/// One ping, whose answer has to come at once.
#[track_caller]
fn reached(lab: &Lab, to: IpAddr) {
    let output = lab.remote.run("ping", &["-n", "-c", "1", "-W", "1", &to.to_string()]).expect("an answer to the ping");
    let time = output.split("time=").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    assert!(time.is_some_and(|time| time <= AT_ONCE), "{output}");
}

/// The MAC that the far end has for an address.
fn known(lab: &Lab, address: IpAddr) -> Option<String> {
    let output = lab.remote.run("ip", &["neigh", "show", &address.to_string(), "dev", FAR]).expect("the neighbours");
    Some(output.split("lladdr ").nth(1)?.split(' ').next()?.to_owned())
}

/// Opens, pings, closes: with one name, then with another, then twice without.
fn restarts(lab: &Lab, mut serve: impl FnMut(Option<&str>, &mut dyn FnMut(MacAddr))) {
    let mut macs = Vec::new();
    for name in [Some("first"), Some("second"), None, None] {
        serve(name, &mut |mac| {
            for address in port_addresses(0) {
                // Of the first one nobody has heard: its answer comes after a question.
                if macs.is_empty() {
                    ping(lab, address, 1);
                }
                reached(lab, address);
                assert_eq!(known(lab, address), Some(mac.to_string()));
            }
            macs.push(mac);
        });
    }
    let [first, second, third, fourth] = macs[..] else { panic!("{macs:?}") };
    assert!(first != second && second != third, "{macs:?}");
    assert_eq!(third, fourth, "a port without a name keeps its MAC");
}

#[rstest]
#[case::native(Mode::Native, None)]
#[case::skb(Mode::Skb, None)]
#[case::native_in_a_vlan(Mode::Native, Some(42))]
#[case::skb_in_a_vlan(Mode::Skb, Some(42))]
fn a_port_with_another_mac_is_reached_at_once(#[case] mode: Mode, #[case] vlan: Option<u16>) {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let instance = stage.open();
        let uplink = manage(&instance, mode);
        let far = far_index(&stage.lab).get();
        let _edge = vlan.map(|vlan| stage.lab.remote.enter(|| VlanEdge::attach(far, vlan)).expect("an edge"));
        restarts(&stage.lab, |name, pinged| {
            let options = PortSpec {
                name: name.map(str::to_owned),
                vlan: vlan.map(u32::from),
                ..PortSpec::new(port_addresses(0))
            };
            let port = uplink.open_port(options).expect("a port");
            let told = &port.info().attempts;
            assert!(told.iter().all(|attempt| !attempt.step.contains("neighbours")), "{told:?}");
            let mac = port.info().mac;
            let serving = serve(port);
            pinged(mac);
            close(finish(serving));
        });
        instance.close().expect("closing undoes everything");
    });
}

#[test]
fn a_pinned_port_with_another_mac_is_reached_at_once() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let clients = Machine::new("client").expect("a machine");
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        restarts(&stage.lab, |name, pinged| {
            let port = pinned(&uplink, name, &clients);
            let mac = port.info().mac;
            let responder = Responder::new(mac.octets(), port.info().addresses.iter().copied());
            let serving = responder.start(Box::new(attach(&port, &clients)));
            pinged(mac);
            drop(serving.finish());
            port.close().expect("closing undoes everything");
        });
        instance.close().expect("closing undoes everything");
    });
}

fn pinned(uplink: &Uplink, name: Option<&str>, machine: &Machine) -> PinnedPort {
    let namespace = || {
        let own = machine.namespace().as_fd().try_clone_to_owned().expect("a descriptor");
        Netns::from_fd(own).expect("a namespace")
    };
    let client = Client { uid: 65_534, gid: 65_534, namespace: namespace(), own: Some(namespace()) };
    let options = PortSpec { name: name.map(str::to_owned), ..PortSpec::new(port_addresses(0)) };
    uplink.open_pinned(options, client).expect("a pinned port")
}

/// The client's own socket, put into the map.
fn attach(port: &PinnedPort, machine: &Machine) -> Socket {
    let pin = port.pin();
    let request = Request {
        device: pin.device.as_str(),
        queue: QueueId(pin.queue),
        layout: Layout::builder().frames(1024).rings(512).build().expect("a layout"),
        huge_pages: Default::default(),
        bind: Default::default(),
        prime: true,
    };
    let socket = machine.enter(|| xsknet_xsk::create(&request)).expect("a socket").socket;
    let mut map = PinnedSocketMap::open(&pin.xsks, pin.queue).expect("the port's map");
    map.insert(pin.queue, socket.as_fd()).expect("the socket fits");
    socket
}

/// What came to the far end so far from this MAC.
fn heard_from(far: &PacketSocket, mac: MacAddr) -> Vec<Heard> {
    let all = std::iter::from_fn(|| far.heard().expect("a working socket"));
    all.filter(|heard| heard.frame[6..12] == mac.octets()).collect()
}

#[test]
fn each_address_is_announced_once_and_after_the_probe_of_the_self_test() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let far = PacketSocket::open(stage.lab.remote.namespace(), far_index(&stage.lab)).expect("a packet socket");
        let port = port(&uplink, 0);
        let (mac, addresses) = (port.info().mac, port.info().addresses.clone());
        let mut heard = Vec::new();
        wait_until("all announcements", SECOND, || {
            heard.extend(heard_from(&far, mac));
            heard.len() > addresses.len()
        });
        let told: Vec<String> = heard.iter().map(|Heard { frame, .. }| told(frame)).collect();
        let [IpAddr::V4(v4), IpAddr::V6(v6), IpAddr::V6(link_local)] = addresses[..] else { panic!("{addresses:?}") };
        assert_eq!(
            told,
            [
                format!("who has {v4}? tell 0.0.0.0"),
                format!("who has {v4}? tell {v4}"),
                format!("{v6} is at {mac}, override"),
                format!("{link_local} is at {mac}, override"),
            ]
        );
        close(port);
        assert_eq!(heard_from(&far, mac), []);
        instance.close().expect("closing undoes everything");
    });
}

/// ARP and neighbour advertisements, in words.
fn told(frame: &[u8]) -> String {
    let v4 = |at: usize| std::net::Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]);
    let v6 = |at: usize| std::net::Ipv6Addr::from(<[u8; 16]>::try_from(&frame[at..at + 16]).expect("16 bytes"));
    match frame[12..14] {
        [0x08, 0x06] if frame[20..22] == [0, 1] => format!("who has {}? tell {}", v4(38), v4(28)),
        [0x86, 0xdd] if frame[54] == 136 && v6(22) == v6(62) && v6(38).to_string() == "ff02::1" => {
            let mac = MacAddr::new(frame[80..86].try_into().expect("six bytes"));
            format!("{} is at {mac}{}", v6(62), if frame[58] == 0x20 { ", override" } else { "" })
        }
        _ => format!("{frame:02x?}"),
    }
}

/// The port's own device is set down in the middle.
#[test]
fn a_port_that_fails_its_self_test_is_not_announced() {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let (host, once) = (Links::in_namespace(stage.lab.host.namespace()).expect("a socket"), AtomicBool::new(true));
        let announced = Arc::new(AtomicBool::new(false));
        let hears = Arc::clone(&announced);
        let observer: Observer = Arc::new(move |step: &Step| match step {
            Step::Passed("the outer ends are up") if once.swap(false, Ordering::SeqCst) => {
                let outer = host.by_name(&device("xsko2-1")).expect("the outer end").index;
                host.set_down(outer).expect("down");
            }
            Step::Passed("the port is announced") => hears.store(true, Ordering::SeqCst),
            _ => {}
        });
        let options = InstanceOptions { observer: Some(observer), ..stage.options() };
        let instance = stage.lab.host.enter(|| Instance::open(options)).expect("an instance");
        let uplink = manage(&instance, Mode::Native);
        let error = uplink.open_port(PortSpec::new(port_addresses(0))).expect_err("a refusal");
        assert!(matches!(&error, OpenPortError::SelfTest { .. }), "{error:?}");
        assert!(!announced.load(Ordering::SeqCst));
        let port: Port = port(&uplink, 0);
        assert!(announced.load(Ordering::SeqCst), "the next one works, and is");
        close(port);
        instance.close().expect("closing undoes everything");
    });
}
