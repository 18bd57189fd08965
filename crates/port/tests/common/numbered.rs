//! Numbered frames between a port and the wire's far end, where a sink takes them, and the sums over all of them.

use std::net::{IpAddr, SocketAddr};

use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
use xsknet_bpf::Mode;
use xsknet_bpf::testbed::Sink;
use xsknet_link::MacAddr;
use xsknet_port::{Equality, Instance, Port, PortSpec, Uplink};
use xsknet_testkit::{
    FAR, Lab, NUMBER_OFFSET, NumberedFrames, REMOTE4, Wire, device, port_addresses, send_all, wait_until,
};
use xsknet_xsk::{Layout, Socket};

use super::{SECOND, Stage, assert_accounted, manage};

/// RFC 863.
const DISCARD: u16 = 9;
/// Numbers from here on are corrupt for the sink.
pub const NUMBERS: u32 = 4_000_000;

/// An uplink with one port, and at the wire's far end a sink that has seen all that ports of this uplink ever sent.
pub struct Scene {
    pub port: Port,
    pub sink: Sink,
    pub uplink: Uplink,
    pub instance: Instance,
    pub stage: Stage,
}

impl Scene {
    pub fn new(mode: Mode) -> Self {
        Self::with(mode, PortSpec::new([]).layout)
    }

    pub fn with(mode: Mode, layout: Layout) -> Self {
        Self::on(Wire::default(), mode, layout)
    }

    pub fn on(wire: Wire, mode: Mode, layout: Layout) -> Self {
        let stage = Stage::new(wire);
        let instance = stage.open();
        let uplink = manage(&instance, mode);
        let far = stage.lab.remote.links().by_name(&device(FAR)).expect("the wire's far end").index.get();
        let sink = stage.lab.remote.enter(|| Sink::attach(far, DISCARD, NUMBER_OFFSET, NUMBERS)).expect("a sink");
        let options = PortSpec { layout, ..PortSpec::new(port_addresses(0)) };
        let port = uplink.open_port(options).expect("a port");
        Self { port, sink, uplink, instance, stage }
    }

    pub fn lab(&self) -> &Lab {
        &self.stage.lab
    }

    /// From the remote host to the port.
    pub fn inward(&self) -> NumberedFrames {
        NumberedFrames::new(self.remote(), end(&self.port))
    }

    /// From the port to the remote host.
    pub fn outward(&self) -> NumberedFrames {
        NumberedFrames::new(end(&self.port), self.remote())
    }

    fn remote(&self) -> (MacAddr, SocketAddr) {
        (self.lab().far_mac(), at(REMOTE4))
    }

    /// What the uplink program saw of the test's frames: the remote kernel's own (its IPv6 talks by itself) are passed
    /// on.
    pub fn seen_by_the_uplink(&self) -> u64 {
        let program = self.uplink.statistics().expect("statistics").program;
        program.seen() - program.passed()
    }

    /// Frames that the wire's far end would not send.
    pub fn lost_at_the_far_end(&self) -> u64 {
        self.lab().remote.links().by_name(&device(FAR)).expect("the wire's far end").stats.tx_dropped
    }

    #[track_caller]
    pub fn assert_accounted(&mut self) {
        assert_all_accounted(&self.uplink, &mut [&mut self.port], &self.sink);
    }

    /// Closes the port and checks that every chunk is free.
    #[track_caller]
    pub fn close(self) {
        super::close(self.port);
    }
}

/// Sends one frame as it is.
#[track_caller]
pub fn send(port: &mut Port, bytes: &[u8]) {
    send_from(port.socket(), bytes);
}

/// The same, from any socket.
#[track_caller]
pub fn send_from(socket: &mut Socket, bytes: &[u8]) {
    let mut frame = socket.allocate().expect("a free frame");
    frame.set_len(bytes.len()).expect("it fits a frame");
    socket.bytes_mut(&mut frame).copy_from_slice(bytes);
    let mut frames = vec![frame];
    send_all(socket, &mut frames).expect("a working socket");
}

/// Who a port is.
pub fn end(port: &Port) -> (MacAddr, SocketAddr) {
    (port.info().mac, at(port.info().addresses[0]))
}

fn at(address: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(address.into(), DISCARD)
}

/// The sums of the ports, the uplink's, and the one over all of them. `ports` are all that the uplink has.
#[track_caller]
pub fn assert_all_accounted(uplink: &Uplink, ports: &mut [&mut Port], sink: &Sink) {
    for port in ports.iter_mut() {
        assert_accounted(port);
    }
    let mut last = String::new();
    wait_until("rest on the wire", 2 * SECOND, || {
        let far = ports.iter().map(|port| sink.frames_from(port.info().mac.octets()).expect("a count")).sum();
        let all: Vec<_> = ports.iter().map(|port| port.statistics().expect("statistics")).collect();
        let statistics = uplink.statistics().expect("statistics");
        let sums = [statistics.equality(), statistics.wire_equality(&all, far)];
        let holds = sums.iter().all(Equality::holds);
        let now = format!("{sums:?}\n{statistics:?}\n{all:?}");
        if !holds && now != last {
            eprintln!("{now}");
            last = now;
        }
        holds
    });
}

/// Keeps the calling thread where it is: veth's ring of 256 frames is emptied by the CPU that fills it, so a sender
/// that stays on one loses nothing to it.
pub fn stay_on_one_cpu() {
    let mut here = CpuSet::new();
    here.set(sched_getcpu());
    sched_setaffinity(None, &here).expect("a thread may choose its CPU");
}
