//! A frame each way before a port is handed out: redirects that the kernel refuses fail without an error, so the only
//! proof that a path works is a frame that went along it.
//!
//! A port with the uplink's MAC has none of its own on the wire. So its inner ends' MAC, which nobody knows, is steered
//! to it for as long as the frame to it takes. Without addresses it has nothing that it may send yet, either: the frame
//! from it is one that the guard drops and counts for this port. What follows, the redirect to the NIC, is not tested
//! then.

use std::net::Ipv4Addr;
use std::sync::RwLock;
use std::time::{Duration, Instant};

use xsknet_bpf::{Counter, Datapath, Obtained, TableError};
use xsknet_link::MacAddr;
use xsknet_xsk::{FrameSocket, SharedSocket, SocketError};

use crate::arp_nd::{self, mac_at};
use crate::attempt::Attempt;
use crate::datapath::{read, write};
use crate::error::{OpenPortError, StepError};
use crate::info::PortInfo;
use crate::kernel_port::KernelPort;
use crate::rings::PortRings;
use crate::uplink_state::UplinkState;

/// How long a frame may take that crosses two devices of one machine.
const DEADLINE: Duration = Duration::from_secs(1);

/// IEEE 802's local experimental EtherType 1: nobody else's, and a guard lets it out of no port.
const ETHER_TYPE: [u8; 2] = [0x88, 0xb5];

/// RFC 3692's first number for experiments: no host has a use for such a packet.
const IP_PROTOCOL: u8 = 253;
/// RFC 5737's TEST-NET-3: no host has such an address.
const TEST_NET: [u8; 3] = [203, 0, 113];

/// A port that is open, and not handed out yet.
pub(crate) struct Trial<'a> {
    pub(crate) uplink: &'a UplinkState,
    pub(crate) datapath: &'a RwLock<Datapath>,
    pub(crate) port: &'a KernelPort,
    pub(crate) info: &'a PortInfo,
}

/// Sends a frame through the uplink's program to one of the port's queues, and one from there to the wire, or to the
/// guard of a port without addresses.
pub(crate) fn both_ways(trial: &Trial<'_>, queue: usize, socket: &mut impl FrameSocket) -> Result<(), OpenPortError> {
    with_own_mac(trial, || to_the_port(trial, queue, socket))?;
    trial.uplink.nic.context.passed("a self-test frame reached the port");
    from_the_port(trial, socket)?;
    trial.uplink.nic.context.passed("a self-test frame left the port");
    Ok(())
}

/// What was not tested of a port.
pub(crate) fn untested(info: &PortInfo) -> Option<Attempt> {
    let why = "done as far as the guard: without an address the port has no frame that may leave for a test".into();
    info.addresses.is_empty().then(|| Attempt { hook: "port", step: "self-test".into(), errno: None, why })
}

/// Has what comes to the MAC of the port's inner ends go to the port meanwhile.
fn with_own_mac(trial: &Trial<'_>, test: impl FnOnce() -> Result<(), OpenPortError>) -> Result<(), OpenPortError> {
    let Trial { uplink, datapath, port, .. } = *trial;
    if !port.plan.spec.has_uplink_mac() {
        return test();
    }
    let step = |cause: TableError| uplink.nic.step(cause);
    write(datapath).begin_trial(&port.entry()).map_err(step)?;
    let tested = test();
    let ended = write(datapath).end_trial(&port.entry()).map_err(step);
    tested.and(ended)
}

fn to_the_port(trial: &Trial<'_>, queue: usize, socket: &mut impl FrameSocket) -> Result<(), OpenPortError> {
    let Trial { uplink, datapath, port, info } = *trial;
    let step = |cause: StepError| uplink.nic.step(cause);
    let mut frame = header_to(port, uplink.nic.state().mac);
    match queue {
        // What is not IP is for the first queue.
        0 => frame.extend(ETHER_TYPE),
        _ => frame.extend(packet_for(&read(datapath), queue as u32, info.queue_pairs.len() as u32)),
    }
    frame.extend(b"xsknet self-test ");
    frame.extend(MacAddr::random_local().octets());
    frame.resize(60, 0);
    inject(trial, &frame).map_err(step)?;

    let mut got = Vec::new();
    let arrived = until(|| {
        socket.receive(64, &mut got)?;
        let mut found = false;
        // Frames of others that were quicker than the port's owner are lost to it, and counted as received. Where they
        // are so many that ours is lost among them, one that no other port can have sent came the same way: by the NIC.
        let own = port.plan.mac.octets();
        let of_a_port = |bytes: &[u8]| mac_at(bytes, 6).is_some_and(|mac| uplink.is_of_a_port(mac));
        for seen in got.drain(..) {
            let bytes = socket.bytes(&seen);
            found |= bytes == frame || (bytes.starts_with(&own) && !of_a_port(bytes));
            socket.release(seen);
        }
        if !found {
            socket.wait(Duration::from_millis(10))?;
        }
        Ok(found)
    });
    if arrived.map_err(|cause| step(StepError::from(cause)))? {
        return Ok(());
    }
    let uplink_program = read(datapath).uplink_counters().map_err(|cause| step(cause.into()))?;
    let port_program = port.queues[queue].program.counters().map_err(|cause| step(cause.into()))?;
    let rings = port.rings.as_deref().map(PortRings::counters).transpose().map_err(step)?;
    let rings = rings.map(|rings| format!("; {rings:?}")).unwrap_or_default();
    let seen = format!("uplink program {uplink_program:?}; port program {port_program:?}{rings}");
    Err(OpenPortError::SelfTest { direction: "to the port", waited_ms: DEADLINE.as_millis() as u64, seen })
}

/// Has a frame come in at the NIC.
fn inject(trial: &Trial<'_>, frame: &[u8]) -> Result<(), StepError> {
    let Trial { uplink, datapath, port, .. } = *trial;
    let index = uplink.nic.info.index.get();
    // Live frames enter the driver's own path; generic XDP sits behind it, where only a frame received by the stack
    // comes.
    uplink.nic.context.host.run(|| -> Result<(), StepError> {
        match uplink.nic.info.mode {
            Obtained::Native | Obtained::Hw => {
                read(datapath).inject_at_uplink(frame, index, 1)?;
                if port.rings.is_some() {
                    uplink.nic.count_injected_into_ring();
                }
            }
            Obtained::Skb => {
                uplink.injector()?.send(frame, 1)?;
            }
        }
        Ok(())
    })?
}

/// For a socket whose memory is its client's: a frame to the port that shows in the socket's RX ring. Only its
/// length can be seen there.
pub(crate) fn by_counters(trial: &Trial<'_>, socket: &mut SharedSocket) -> Result<(), OpenPortError> {
    if socket.in_fill.is_empty() {
        return Ok(());
    }
    with_own_mac(trial, || counted(trial, socket))
}

fn counted(trial: &Trial<'_>, socket: &mut SharedSocket) -> Result<(), OpenPortError> {
    let Trial { uplink, port, .. } = *trial;
    let step = |cause: StepError| uplink.nic.step(cause);
    let mut frame = header_to(port, uplink.nic.state().mac);
    frame.extend(ETHER_TYPE);
    frame.extend(b"xsknet self-test ");
    // Not the 60 of the shortest frames: others of that length may arrive in between.
    frame.resize(61, 0);
    inject(trial, &frame).map_err(step)?;
    let length = u32::try_from(frame.len()).expect("a few bytes");
    let end = Instant::now() + DEADLINE;
    loop {
        let came = socket.turn_back().map_err(|cause| step(StepError::from(SocketError::from(cause))))?;
        if came.contains(&length) {
            uplink.nic.context.passed("a self-test frame reached the port");
            return Ok(());
        }
        if Instant::now() >= end {
            break;
        }
        std::thread::yield_now();
    }
    let seen = format!("port program {:?}", port.queues[0].program.counters());
    Err(OpenPortError::SelfTest { direction: "to the port", waited_ms: DEADLINE.as_millis() as u64, seen })
}

/// A probe for the port's own address: what a host sends before it takes an address, and nobody stores anything of it.
///
/// A port that may send no such frames, by its rates or for want of an address, shows as much by its guard dropping it.
///
/// It is judged by what moves for this port alone: the NIC loses what others send to it, too, as often as they like.
fn from_the_port(trial: &Trial<'_>, socket: &mut impl FrameSocket) -> Result<(), OpenPortError> {
    let Trial { uplink, datapath, port, info } = *trial;
    let step = |cause: StepError| uplink.nic.step(cause);
    let refused_yet = || port.refused(&uplink.nic.context).map_err(step);
    let before = refused_yet()?;
    let left = is_judged(trial, socket).map_err(step)?;
    let refused = refused_yet()? - before;
    if left && refused == 0 {
        return Ok(());
    }
    let guard = read(datapath).guard_counters(info.id).map_err(|cause| step(cause.into()))?;
    let seen = format!("guard {guard:?}; {refused} refused by the NIC");
    Err(OpenPortError::SelfTest { direction: "from the port", waited_ms: DEADLINE.as_millis() as u64, seen })
}

/// Sends one probe; whether the guard let it out, or held it back for the reason that the port has, within the
/// deadline.
fn is_judged(trial: &Trial<'_>, socket: &mut impl FrameSocket) -> Result<bool, StepError> {
    let flows_alone = trial.port.plan.flows_alone();
    let probe = if flows_alone { foreign(trial.port) } else { probe_for(trial.info) };
    let left = || -> Result<u64, StepError> {
        let guard = read(trial.datapath).guard_counters(trial.info.id)?;
        Ok(if flows_alone { guard[Counter::SourceMac] } else { guard.to_uplink() + guard.beyond_rates() })
    };
    let left_before = left()?;
    let mut frame = socket.allocate().expect("a fresh UMEM has frames beside those for reception");
    frame.set_len(probe.len()).expect("a probe fits every frame");
    socket.bytes_mut(&mut frame).copy_from_slice(&probe);
    let mut frames = vec![frame];
    let completed = until(|| {
        socket.transmit(&mut frames)?;
        socket.flush()?;
        socket.complete()?;
        Ok(frames.is_empty() && socket.chunks().tx == 0)
    });
    for frame in frames {
        socket.release(frame);
    }
    let completed = completed?;
    // The guard runs in softirq, perhaps on another CPU and a moment later.
    let end = Instant::now() + DEADLINE;
    while completed && left()? == left_before && Instant::now() < end {
        std::thread::yield_now();
    }
    Ok(left()? > left_before)
}

fn until(mut holds: impl FnMut() -> Result<bool, SocketError>) -> Result<bool, SocketError> {
    let end = Instant::now() + DEADLINE;
    loop {
        if holds()? {
            return Ok(true);
        }
        if Instant::now() >= end {
            return Ok(false);
        }
    }
}

/// The header of an IPv4 packet that the uplink's program gives to this queue. Between two hosts, the flow is that of
/// their addresses; so many pairs of them are tried that one is found, whatever the program's seed.
fn packet_for(datapath: &Datapath, queue: u32, queues: u32) -> Vec<u8> {
    const LENGTH: u8 = 20 + 23; // with the text and the number behind it
    let host = |number| Ipv4Addr::new(TEST_NET[0], TEST_NET[1], TEST_NET[2], number);
    let mut pairs = (0..=u8::MAX).flat_map(|from| (0..=u8::MAX).map(move |to| [host(from), host(to)]));
    let [from, to] = pairs
        .find(|ends| datapath.queue_pair_of(*ends, IP_PROTOCOL, queues) == queue)
        .expect("65,536 flows reach each of 8 queues");
    let mut packet = vec![0x08, 0x00, 0x45, 0, 0, LENGTH, 0, 0, 0, 0, 1, IP_PROTOCOL, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.octets());
    let words = packet[2..].chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let folded = |sum: u32| (sum & 0xffff) + (sum >> 16);
    let sum = folded(folded(words.sum()));
    packet[12..14].copy_from_slice(&(!sum as u16).to_be_bytes());
    packet
}

/// To the port's inner ends.
fn header_to(port: &KernelPort, source: MacAddr) -> Vec<u8> {
    arp_nd::header(port.plan.mac, source, port.plan.vlan.id())
}

/// From a MAC that a port without addresses may not send from; to it, so that nobody would take it.
fn foreign(port: &KernelPort) -> Vec<u8> {
    let mut frame = header_to(port, port.plan.mac);
    frame.extend(ETHER_TYPE);
    frame.resize(60, 0);
    frame
}

/// For the first address, the IPv4 one where there is one.
fn probe_for(info: &PortInfo) -> Vec<u8> {
    let v4 = info.addresses.iter().find(|address| address.is_ipv4());
    let target = v4.or(info.addresses.first()).expect("a port has at least one address");
    arp_nd::probe(*target, info.mac, info.mac, info.vlan)
}
