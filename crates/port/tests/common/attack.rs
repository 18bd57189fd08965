//! What attacks start from: clients with a network namespace of their own, frames that a port may not send, and the
//! places where they would do harm.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering};

use xsknet_bpf::PinnedSocketMap;
use xsknet_link::{Device, DeviceName, IfIndex, LinkStats, Links, MacAddr, Netns};
use xsknet_port::{Client, OpenPortError, PinnedPort, PortSpec, Uplink};
use xsknet_testkit::{
    Arp, Ethernet, FAR, HOST4, HOST6, Lab, Machine, PacketSocket, REMOTE4, REMOTE6, Responder, device, port_addresses,
};
use xsknet_xsk::{Layout, QueueId, Request, Socket};

use super::Stage;

/// Uid and gid of `nobody` and `nogroup`.
pub const NOBODY: u32 = 65_534;
/// All frames of attacks hold it.
pub const MARK: &[u8; 16] = b"attack on xsknet";
/// Where the host listens.
const VICTIM: u16 = 4_789;
/// A network behind the far end, to which a host that forwards would pass frames on.
const BEYOND: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);

pub fn client_machine() -> Machine {
    Machine::new("client").expect("a machine")
}

/// A second descriptor of a namespace.
pub fn duplicate(namespace: &Netns) -> Netns {
    let own = namespace.as_fd().try_clone_to_owned().expect("a descriptor");
    Netns::from_fd(own).expect("a namespace")
}

/// The one place where a client is made: of this user, whose own namespace is `own`, with its end in `namespace`.
pub fn client_with(uid: u32, own: &Netns, namespace: Netns) -> Client {
    Client { uid, gid: uid, namespace, own: Some(duplicate(own)) }
}

/// A client whose end is in its own namespace.
pub fn client(machine: &Machine) -> Client {
    client_with(NOBODY, machine.namespace(), duplicate(machine.namespace()))
}

pub fn pinned_options(n: u8) -> PortSpec {
    PortSpec { name: Some(format!("pinned-{n}")), ..PortSpec::new(port_addresses(n)) }
}

pub fn try_pinned(uplink: &Uplink, n: u8, machine: &Machine) -> Result<PinnedPort, OpenPortError> {
    uplink.open_pinned(pinned_options(n), client(machine))
}

#[track_caller]
pub fn pinned(uplink: &Uplink, n: u8, machine: &Machine) -> PinnedPort {
    try_pinned(uplink, n, machine).expect("a pinned port")
}

/// A pinned port; `None` where the uplink has none, because the guard would run in skb mode.
#[track_caller]
pub fn pinned_where_native(uplink: &Uplink, n: u8, machine: &Machine) -> Option<PinnedPort> {
    open_where_native(uplink, pinned_options(n), client(machine))
}

/// The same, of any options and for any client.
#[track_caller]
pub fn open_where_native(uplink: &Uplink, spec: PortSpec, client: Client) -> Option<PinnedPort> {
    match uplink.open_pinned(spec, client) {
        Ok(port) => Some(port),
        Err(error) if format!("{error:?}").starts_with("GuardInvalid") => None,
        Err(error) => panic!("{error:?}"),
    }
}

/// What a client does: its own socket, put into the map.
pub fn attach(port: &PinnedPort, machine: &Machine) -> Socket {
    let socket = unattached(port, machine);
    let pin = port.pin();
    let mut map = PinnedSocketMap::open(&pin.xsks, pin.queue).expect("the port's map");
    map.insert(pin.queue, socket.as_fd()).expect("the socket fits");
    socket
}

/// Its own socket alone.
pub fn unattached(port: &PinnedPort, machine: &Machine) -> Socket {
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
    machine.enter(|| xsknet_xsk::create(&request)).expect("a socket").socket
}

pub fn pinned_responder(port: &PinnedPort) -> Responder {
    Responder::new(port.info().mac.octets(), port.info().addresses.iter().copied())
}

/// The client's end, as it is called when it is made.
pub fn end_of(machine: &Machine, port: &PinnedPort) -> (Links, IfIndex) {
    let links = machine.links();
    let index = links.by_name(&port.pin().device).expect("the client's end").index;
    (links, index)
}

/// The devices of a client's machine, without their counters.
pub fn devices(machine: &Machine) -> Vec<Device> {
    let mut all = machine.links().list().expect("a list");
    for device in &mut all {
        device.stats = LinkStats::default();
    }
    all
}

/// Writes settings below `/proc/sys/net` of a machine.
pub fn set_sysctls(machine: &Machine, settings: &[(&str, &str)]) {
    machine.enter(|| {
        for (setting, value) in settings {
            std::fs::write(format!("/proc/sys/net/{setting}"), value).expect("a setting of the lab");
        }
    });
}

/// Makes the host pass on what it takes for a neighbour's, without a look at where it comes from.
pub fn make_router(lab: &Lab) {
    let settings = [
        ("ipv4/ip_forward", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv6/conf/all/forwarding", "1"),
    ];
    set_sysctls(&lab.host, &settings);
    let via = REMOTE4.to_string();
    lab.host.run("ip", &["route", "add", "198.51.100.0/24", "via", &via]).expect("a route");
    // The neighbour is known, so that what is passed on leaves at once.
    lab.host.run("ping", &["-c", "1", "-W", "1", &via]).expect("an answer");
}

/// Frames to the host, to all, and beyond the host, forged from the far end.
pub fn forged(lab: &Lab, own: MacAddr) -> Vec<Vec<u8>> {
    let (card, far) = (lab.card_mac(), lab.far_mac());
    let at = |address: IpAddr, port| SocketAddr::new(address, port);
    let victim = |address| at(address, VICTIM);
    let gateway = at(REMOTE4.into(), 4_000);
    let of = |source| {
        let (to_host, to_all) = (Ethernet::new(card, source), Ethernet::new(MacAddr::BROADCAST, source));
        [
            to_host.udp(gateway, victim(HOST4.into()), MARK),
            to_all.udp(gateway, victim(Ipv4Addr::BROADCAST.into()), MARK),
            to_host.udp(gateway, victim(BEYOND.into()), MARK),
            to_host.udp(at(REMOTE6.into(), 4_000), victim(HOST6.into()), MARK),
            to_host.echo(REMOTE4.into(), HOST4.into(), 1, 1, MARK),
            to_all.arp(Arp::Request, (far, REMOTE4), (MacAddr::new([0; 6]), HOST4)),
            // As the host itself, to the far end.
            Ethernet::new(far, source).udp(victim(HOST4.into()), gateway, MARK),
        ]
    };
    // With a MAC of its own first, which is the device's.
    [own, far].into_iter().flat_map(of).collect()
}

/// Sends forged frames out of every device of a namespace that is not its loopback, regardless of its maker and its
/// state.
pub struct Attacker {
    links: Links,
    socket: PacketSocket,
    ears: PacketSocket,
    card: MacAddr,
    own: MacAddr,
    frames: Vec<Vec<u8>>,
    tried: AtomicU64,
}

impl Attacker {
    pub fn new(lab: &Lab, namespace: &Netns) -> Self {
        let own = MacAddr::random_local();
        Self {
            links: Links::in_namespace(namespace).expect("a netlink socket"),
            socket: PacketSocket::sender(namespace).expect("a packet socket"),
            ears: PacketSocket::capture(namespace, None).expect("a packet socket"),
            card: lab.card_mac(),
            own,
            frames: forged(lab, own),
            tried: AtomicU64::new(0),
        }
    }

    /// Whether there is a device to attack with.
    pub fn is_armed(&self) -> bool {
        !self.devices().is_empty()
    }

    fn devices(&self) -> Vec<Device> {
        let mut all = self.links.list().unwrap_or_default();
        all.retain(|device| device.name.as_str() != "lo");
        all
    }

    /// Sets the devices up and sends everything once out of each.
    pub fn burst(&self) {
        for device in self.devices() {
            if !device.up {
                let _ = self.links.set_up(device.index);
            }
            let own = device.mac.unwrap_or(self.own).octets();
            for frame in &self.frames {
                let mut frame = frame.clone();
                if frame[6..12] == self.own.octets() {
                    frame[6..12].copy_from_slice(&own);
                }
                // Refused while the device cannot send; the next step is another chance.
                let _ = self.socket.send(device.index.get(), &frame);
                self.tried.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The same, for as long as the caller likes.
    pub fn flood(&self, goes_on: impl Fn() -> bool) {
        while goes_on() {
            self.burst();
        }
    }

    pub fn tried(&self) -> u64 {
        self.tried.load(Ordering::Relaxed)
    }

    /// Frames that the host's own stack sent to the attacker.
    pub fn heard(&self) -> u64 {
        let card = self.card.octets();
        let mut heard = 0;
        loop {
            match self.ears.receive() {
                Ok(Some(frame)) => heard += u64::from(frame.bytes.get(6..12) == Some(&card)),
                Ok(None) => return heard,
                // A device went down.
                Err(_) => {}
            }
        }
    }
}

/// Where forged frames would do harm: the host's sockets, and the wire's far end.
pub struct Victims {
    host: UdpSocket,
    wire: PacketSocket,
}

/// What has come of an attack since the last look.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Harm {
    /// Datagrams in the host's sockets.
    pub datagrams: u64,
    /// Frames at the wire's far end, forged or in answer to forged ones.
    pub frames: u64,
    /// Frames that the host sent to the attacker.
    pub answers: u64,
}

impl std::ops::AddAssign for Harm {
    fn add_assign(&mut self, more: Self) {
        self.datagrams += more.datagrams;
        self.frames += more.frames;
        self.answers += more.answers;
    }
}

impl Victims {
    pub fn new(lab: &Lab) -> Self {
        // Takes IPv4 as well.
        let host = lab.host.enter(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, VICTIM))).expect("a socket of the host");
        host.set_nonblocking(true).expect("a socket of the host");
        let far = lab.remote.links().by_name(&device(FAR)).expect("the wire's far end").index;
        let wire = PacketSocket::capture(lab.remote.namespace(), Some(far)).expect("a packet socket");
        Self { host, wire }
    }

    /// What has come since the last look.
    pub fn harm(&self) -> Harm {
        let mut harm = Harm::default();
        let mut datagram = [0; 2048];
        while let Ok(length) = self.host.recv(&mut datagram) {
            harm.datagrams += u64::from(is_marked(&datagram[..length]));
        }
        for frame in self.wire.drain().expect("the wire's far end stays up") {
            harm.frames += u64::from(is_marked(&frame.bytes));
        }
        harm
    }
}

pub fn is_marked(bytes: &[u8]) -> bool {
    bytes.windows(MARK.len()).any(|window| window == MARK)
}

/// The names in bpffs below a stage's folder, for a look before and after.
pub fn pins(stage: &Stage) -> BTreeSet<String> {
    fn add(folder: &std::path::Path, all: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            all.insert(entry.path().display().to_string());
            add(&entry.path(), all);
        }
    }
    let mut all = BTreeSet::new();
    add(format!("/sys/fs/bpf/xsknet/{}", stage.name()).as_ref(), &mut all);
    all
}

/// A device of this name, of whatever kind, is there.
pub fn has_device(links: &Links, name: &DeviceName) -> bool {
    links.by_name(name).is_ok()
}
