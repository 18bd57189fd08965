//! A pinned client sends frames that are its own when the guard looks at them, with metadata that has a device change
//! them later: a checksum written over an address, segments, a VLAN tag beside the frame. What leaves the NIC must be
//! the port's all the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::attack::*;
use crate::common::*;
use rstest::rstest;
use xsknet_bpf::Mode;
use xsknet_bpf::testbed::VlanEdge;
use xsknet_link::{Ethtool, IfIndex, MacAddr};
use xsknet_port::PortSpec;
use xsknet_testkit::{
    Arp, Captured, Checksum, Ethernet, FAR, MetadataSender, Offloaded, PacketSocket, REMOTE4, REMOTE6, Wire, device,
    on_fresh_mounts, port_addresses, wait_until,
};

const WITHOUT_XMIT: Wire = Wire { mtu: 1500, far_gro: false };
const WITH_XMIT: Wire = Wire { mtu: 1500, far_gro: true };
/// How often the offloads go on and off.
const ROUNDS: usize = 12;
/// Payload of what tells that all before it has left.
const LAST: &[u8; 16] = b"last of a round ";

/// Whose frames may leave.
struct Own {
    mac: MacAddr,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    addresses: Vec<IpAddr>,
    vlan: Option<u16>,
    card: MacAddr,
    far: MacAddr,
}

impl Own {
    fn to(&self, destination: MacAddr) -> Ethernet {
        Ethernet { destination, source: self.mac, vlan: self.vlan }
    }

    fn good(&self, payload: &[u8]) -> Vec<u8> {
        self.to(self.far).udp(at(self.v4, 9), at(REMOTE4, 9), payload)
    }

    /// Why a frame at the wire's far end is not this port's, nor the host's own.
    fn objection(&self, frame: &Captured) -> Option<String> {
        let bytes = &frame.bytes;
        let source = bytes.get(6..12)?;
        if source == self.card.octets() {
            return is_marked(bytes).then(|| "the host sent it on".into());
        }
        if source != self.mac.octets() {
            return Some(format!("its source MAC is {source:02x?}"));
        }
        let (mut at, mut tags) = (12, Vec::new());
        while let Some([kind_high, kind_low, high, low]) = bytes.get(at..at + 4)
            && [[0x81, 0], [0x88, 0xa8]].contains(&[*kind_high, *kind_low])
        {
            tags.push(u16::from_be_bytes([*high, *low]) & 0xfff);
            at += 4;
        }
        if tags.first().copied() != self.vlan || tags.len() > usize::from(self.vlan.is_some()) {
            return Some(format!("its tags are {tags:?}"));
        }
        if frame.metadata.segments.is_none() && bytes.len() > at + 2 + 1500 {
            return Some(format!("it is {} bytes long", bytes.len()));
        }
        let body = &bytes[at + 2..];
        let v4 = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&body[at..at + 4]).expect("four bytes"));
        let v6 = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&body[at..at + 16]).expect("sixteen bytes"));
        match [bytes[at], bytes[at + 1]] {
            [0x08, 0x06] if body[8..14] != self.mac.octets() => Some(format!("ARP names {:02x?}", &body[8..14])),
            [0x08, 0x06] if v4(14) != self.v4 && !v4(14).is_unspecified() => Some(format!("ARP names {}", v4(14))),
            [0x08, 0x00] if v4(12) != self.v4 => Some(format!("its source is {}", v4(12))),
            [0x08, 0x00] if body[9] == 17 && body[22..24] == [0, 68] => Some("a DHCP server's".into()),
            [0x86, 0xdd] if !self.addresses.contains(&v6(8).into()) => Some(format!("its source is {}", v6(8))),
            [0x86, 0xdd] if body[6] == 58 && body[40] == 136 && !self.addresses.contains(&v6(48).into()) => {
                Some(format!("it advertises {}", v6(48)))
            }
            [0x86, 0xdd] if body[6] == 58 && body[40] == 134 => Some("a router's advertisement".into()),
            [0x08, 0x06] | [0x08, 0x00] | [0x86, 0xdd] => None,
            other => Some(format!("its type is {other:02x?}")),
        }
    }

    /// Frames that a guard lets out, each with a field that a checksum is written to and what is wanted there.
    fn bent_by_a_checksum(&self) -> Vec<(&'static str, Vec<u8>, u16, u16)> {
        let nobody = (MacAddr::new([0; 6]), REMOTE4);
        let shift = if self.vlan.is_some() { 4 } else { 0 };
        let request = self.to(MacAddr::BROADCAST).arp(Arp::Request, (self.mac, self.v4), nobody);
        let reply = self.to(self.far).arp(Arp::Reply, (self.mac, self.v4), (self.far, REMOTE4));
        let udp4 = self.good(MARK);
        let dhcp = self.to(self.far).udp(at(self.v4, 67), at(REMOTE4, 9), MARK);
        let udp6 = self.to(self.far).udp(at(self.v6, 9), at(REMOTE6, 9), MARK);
        let advertisement = self.to(self.far).advertisement(self.v6, REMOTE6, self.v6);
        let [.., high, low] = self.far.octets();
        let far_end = u16::from_be_bytes([high, low]);
        [
            ("ARP request, sender's address", &request, 30, 0x0202),
            ("ARP request, sender's MAC", &request, 26, far_end),
            ("ARP reply, sender's address", &reply, 30, 0x0202),
            ("ARP reply, sender's MAC", &reply, 26, far_end),
            ("source MAC", &udp4, 10, far_end),
            ("type, a tag", &udp4, 12, 0x8100),
            ("IPv4 source", &udp4, 28, 0x0202),
            ("UDP destination of DHCP clients", &dhcp, 36, 68),
            ("IPv6 source", &udp6, 36, 2),
            ("type of ICMPv6", &advertisement, 54, 134 << 8),
            ("advertised address", &advertisement, 76, 2),
        ]
        .map(|(what, frame, field, wanted)| (what, frame.clone(), field + if field > 12 { shift } else { 0 }, wanted))
        .into()
    }
}

fn at(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

/// Appends a word to a frame, so that the sum over all from `start` on is `wanted`.
fn summing_to(mut frame: Vec<u8>, start: u16, wanted: u16) -> Vec<u8> {
    let sum = !Checksum::default().with(&frame[usize::from(start)..]).finish();
    let word = u32::from(!wanted) + u32::from(!sum);
    let folded = (word & 0xffff) + (word >> 16);
    frame.extend((folded as u16).to_be_bytes());
    frame
}

#[test]
fn a_sum_can_be_chosen() {
    for (start, wanted) in [(0, 0x0202), (14, 0x8100), (22, 68)] {
        let frame = summing_to((0..60).collect(), start, wanted);
        assert_eq!(Checksum::default().with(&frame[usize::from(start)..]).finish(), wanted);
    }
}

struct Scene<'a> {
    own: &'a Own,
    end: IfIndex,
    socket: PacketSocket,
    wire: PacketSocket,
    ethtool: Ethtool,
    device: xsknet_link::DeviceName,
    /// What the kernel took.
    taken: std::collections::BTreeSet<&'static str>,
    objections: std::collections::BTreeMap<String, u32>,
}

/// All that has a device change a frame later.
const OFFLOADS: [&str; 8] = [
    "tx-checksum-ip-generic",
    "tx-scatter-gather",
    "tx-tcp-segmentation",
    "tx-tcp6-segmentation",
    "tx-udp-segmentation",
    "tx-generic-segmentation",
    "tx-vlan-hw-insert",
    "tx-vlan-stag-hw-insert",
];

impl Scene<'_> {
    fn switch(&self, on: bool) {
        let wishes = OFFLOADS.map(|name| (name, on));
        // What a device does not have, or the kernel keeps off, is left out.
        for wish in wishes {
            let _ = self.ethtool.set_features(&self.device, &[wish]);
        }
    }

    fn send(&mut self, what: &'static str, metadata: Offloaded, frame: &[u8]) {
        if self.socket.send_with(self.end.get(), metadata, frame).is_ok() {
            self.taken.insert(what);
        }
    }

    fn send_checksums(&mut self) {
        for (what, frame, field, wanted) in self.own.bent_by_a_checksum() {
            for start in (0..=field).step_by(2).chain((field + 2..frame.len() as u16).step_by(8)) {
                let frame = summing_to(frame.clone(), start, wanted);
                self.send(what, Offloaded { checksum: Some((start, field)), segments: None }, &frame);
            }
        }
    }

    fn send_segments(&mut self) {
        let shift = if self.own.vlan.is_some() { 4 } else { 0 };
        for (what, kind, protocol, header, field) in
            [("TCP segments", 1_u8, 6_u8, 20, 16), ("UDP fragments", 3, 17, 8, 6), ("UDP segments", 5, 17, 8, 6)]
        {
            for length in [1_000_usize, 4_000, 30_000] {
                let mut frame = self.own.good(&vec![0; length]);
                let ip = 14 + shift as usize;
                frame[ip + 9] = protocol;
                if protocol == 6 {
                    frame[ip + 20 + 12] = 5 << 4;
                }
                frame.splice(ip + 20 + header.., MARK.iter().copied().cycle().take(length));
                let checksum = Some((34 + shift, 34 + shift + field));
                let segments = Some((kind, 34 + shift + header as u16, 200));
                self.send(what, Offloaded { checksum, segments }, &frame);
                // And a sum over the source.
                let segments = Some((kind, 34 + shift + header as u16, 200));
                self.send(what, Offloaded { checksum: Some((22 + shift, 28 + shift)), segments }, &frame);
            }
        }
    }

    /// Waits until all has left that was sent before, and judges it.
    fn judge(&mut self) {
        let mut last = false;
        let socket = &self.socket;
        let (wire, own, objections) = (&self.wire, self.own, &mut self.objections);
        wait_until("the last frame of a round", 5 * SECOND, || {
            let _ = socket.send(self.end.get(), &own.good(LAST));
            for frame in wire.drain().expect("the wire's far end stays up") {
                last |= frame.bytes.windows(LAST.len()).any(|window| window == LAST);
                if let Some(objection) = own.objection(&frame) {
                    *objections.entry(objection).or_default() += 1;
                }
            }
            last
        });
    }
}

#[rstest]
#[case::native(WITH_XMIT, Mode::Native)]
#[case::skb_guard(WITHOUT_XMIT, Mode::Native)]
#[case::skb(WITH_XMIT, Mode::Skb)]
fn metadata_changes_no_frame_after_the_guard(
    #[case] wire: Wire,
    #[case] mode: Mode,
    #[values(None, Some(42))] vlan: Option<u16>,
) {
    on_fresh_mounts(|| {
        let (stage, clients) = (Stage::new(wire), client_machine());
        let before = stage.snapshot();
        let instance = stage.open();
        let (_watch, uplink) = (instance.watch(|_| ()).expect("a watch"), manage(&instance, mode));
        let options = PortSpec { vlan: vlan.map(u32::from), ..pinned_options(0) };
        let Some(port) = open_where_native(&uplink, options, client(&clients)) else {
            instance.close().expect("closing undoes everything");
            return stage.assert_as_before(&before);
        };
        let [IpAddr::V4(v4), IpAddr::V6(v6)] = port_addresses(0) else { unreachable!("one of each version") };
        let own = Own {
            mac: port.info().mac,
            v4,
            v6,
            addresses: port.info().addresses.clone(),
            vlan,
            card: stage.lab.card_mac(),
            far: stage.lab.far_mac(),
        };
        let (links, end) = end_of(&clients, &port);
        // Not every kernel has devices of VLANs; the hook below does the same.
        let name = port.pin().device.as_str();
        clients.run("ip", &["link", "add", "link", name, "name", "v7", "type", "vlan", "id", "7"]);
        let tagging = links.by_name(&device("v7")).map_or(end, |device| device.index);
        links.set_up(tagging).expect("up");
        let far = stage.lab.remote.links().by_name(&device(FAR)).expect("the wire's far end").index;
        let mut scene = Scene {
            own: &own,
            end,
            socket: PacketSocket::offloading_sender(clients.namespace()).expect("a packet socket"),
            wire: PacketSocket::capture(stage.lab.remote.namespace(), Some(far)).expect("a packet socket"),
            ethtool: Ethtool::in_namespace(clients.namespace()).expect("ethtool"),
            device: port.pin().device.clone(),
            taken: Default::default(),
            objections: Default::default(),
        };
        for _ in 0..ROUNDS {
            scene.switch(true);
            scene.send_checksums();
            scene.send_segments();
            // The tag of a device above, and one that a hook pushes.
            let _ = scene.socket.send(tagging.get(), &own.good(MARK));
            let edge = clients.enter(|| VlanEdge::attach(end.get(), 7)).expect("a hook");
            let _ = scene.socket.send(end.get(), &own.good(MARK));
            drop(edge);
            scene.switch(false);
            scene.judge();
        }
        // Both at once, so that frames meet every moment of a change.
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (ethtool, name) =
                (Ethtool::in_namespace(clients.namespace()).expect("ethtool"), port.pin().device.clone());
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    for on in [true, false] {
                        for offload in OFFLOADS {
                            let _ = ethtool.set_features(&name, &[(offload, on)]);
                        }
                    }
                }
            });
            for _ in 0..ROUNDS {
                scene.send_checksums();
                let _ = scene.socket.send(tagging.get(), &own.good(MARK));
            }
            stop.store(true, Ordering::Relaxed);
        });
        scene.judge();
        assert!(scene.taken.len() > 8, "the kernel takes {:?} alone", scene.taken);
        let objections = std::mem::take(&mut scene.objections);
        port.close().expect("closing undoes everything");
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
        assert!(objections.is_empty(), "{objections:#?}");
    });
}

/// The same by the client's own AF_XDP socket, whose UMEM has room for metadata.
#[rstest]
#[case::native(WITH_XMIT, Mode::Native)]
#[case::skb_guard(WITHOUT_XMIT, Mode::Native)]
#[case::skb(WITH_XMIT, Mode::Skb)]
fn metadata_of_a_umem_changes_no_frame_after_the_guard(#[case] wire: Wire, #[case] mode: Mode) {
    on_fresh_mounts(|| {
        let (stage, clients) = (Stage::new(wire), client_machine());
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, mode);
        let Some(port) = pinned_where_native(&uplink, 0, &clients) else {
            instance.close().expect("closing undoes everything");
            return stage.assert_as_before(&before);
        };
        let [IpAddr::V4(v4), IpAddr::V6(v6)] = port_addresses(0) else { unreachable!("one of each version") };
        let own = Own {
            mac: port.info().mac,
            v4,
            v6,
            addresses: port.info().addresses.clone(),
            vlan: None,
            card: stage.lab.card_mac(),
            far: stage.lab.far_mac(),
        };
        let (_, end) = end_of(&clients, &port);
        let far = stage.lab.remote.links().by_name(&device(FAR)).expect("the wire's far end").index;
        let mut socket = MetadataSender::new(clients.namespace(), end).expect("a socket with TX metadata");
        let mut scene = Scene {
            own: &own,
            end,
            socket: PacketSocket::offloading_sender(clients.namespace()).expect("a packet socket"),
            wire: PacketSocket::capture(stage.lab.remote.namespace(), Some(far)).expect("a packet socket"),
            ethtool: Ethtool::in_namespace(clients.namespace()).expect("ethtool"),
            device: port.pin().device.clone(),
            taken: Default::default(),
            objections: Default::default(),
        };
        for _ in 0..4 {
            scene.switch(true);
            for (what, frame, field, wanted) in own.bent_by_a_checksum() {
                for start in (0..=field).step_by(2) {
                    let frame = summing_to(frame.clone(), start, wanted);
                    if socket.send((start, field), &frame).is_ok_and(|sent| sent) {
                        scene.taken.insert(what);
                    }
                }
            }
            scene.switch(false);
            scene.judge();
        }
        assert!(scene.taken.len() > 8, "the kernel takes {:?} alone", scene.taken);
        let objections = std::mem::take(&mut scene.objections);
        drop(socket);
        port.close().expect("closing undoes everything");
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
        assert!(objections.is_empty(), "{objections:#?}");
    });
}
