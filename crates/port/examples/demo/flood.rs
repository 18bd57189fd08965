//! Many datagrams from the far end, each answered by a port, and a table of the hops once a second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use xsknet_bpf::{Direction, InjectOptions, Injector, Obtained, Sink};
use xsknet_link::MacAddr;
use xsknet_port::Uplink;
use xsknet_testkit::{CARD, ECHO_PORT, Ethernet, FAR, Lab, REMOTE4, Running, device, numbered, port_addresses};

use crate::Result;
use crate::hops::Hops;

/// Where the answers end, at the far end of the wire.
pub const SINK_PORT: u16 = 9000;
/// Behind Ethernet, IPv4 and UDP.
pub const NUMBER_AT: u32 = 42;
/// As many as the sink can tell apart.
pub const NUMBERS: u32 = 4_000_000;

const BURST: u32 = 64;
/// Less than a veth holds (256), so that nothing has to be lost for want of room.
const ON_THEIR_WAY: u64 = 192;
/// An answer that is not there by then is lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// What became of the flood.
#[derive(Debug, Clone)]
pub struct Flooded {
    pub sent: u64,
    pub answered: u64,
    pub elapsed: Duration,
    /// Pings of the other port meanwhile: answers, of questions.
    pub pings: Vec<(&'static str, (u64, u64))>,
}

pub fn run(
    lab: &Lab,
    uplink: &Uplink,
    sink: &Sink,
    to: MacAddr,
    seconds: u64,
    stopped: &AtomicBool,
) -> Result<Flooded> {
    // Generic XDP lets by what was sent through a redirect (skb_is_redirected()), so in skb mode the frames appear at the
    // card, received, instead of leaving the far end.
    let (machine, end, direction) = match uplink.info().mode {
        Obtained::Skb => (&lab.host, CARD, Direction::Ingress),
        Obtained::Native | Obtained::Hw => (&lab.remote, FAR, Direction::Egress),
    };
    let target = machine.links().by_name(&device(end))?.index.get();
    let source = (REMOTE4, SINK_PORT).into();
    let frame =
        Ethernet::new(to, lab.far_mac()).udp(source, (port_addresses(0)[0], ECHO_PORT).into(), &numbered(0, 40));
    let frame = without_checksum(frame);
    let options = InjectOptions { target, number_offset: Some(NUMBER_AT) };
    let done = AtomicBool::new(false);
    let mut pings: Vec<Running> = port_addresses(1)
        .iter()
        .map(|to| lab.remote.spawn("ping", &["-i", "0.1", "-W", "1", &to.to_string()]))
        .collect();
    let flooded = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let flooded = machine.enter(|| {
                let injector = Injector::load(options, direction)?;
                pump(&injector, &frame, sink, Duration::from_secs(seconds), stopped)
            });
            done.store(true, Ordering::Relaxed);
            flooded
        });
        let mut hops = Hops::begin(uplink)?;
        let mut next = Instant::now() + Duration::from_secs(1);
        while !done.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
            if Instant::now() >= next {
                next += Duration::from_secs(1);
                let times: Vec<String> = pings.iter_mut().filter_map(round_trip).collect();
                hops.print(uplink, &times.join(", "))?;
            }
        }
        flood.join().expect("the flood does not panic")
    });
    let pings =
        pings.into_iter().zip(["ping", "ping6"]).map(|(ping, name)| (name, answers(&ping.interrupt()))).collect();
    Ok(Flooded { pings, ..flooded? })
}

/// The last time that a ping has told since it was last asked.
fn round_trip(ping: &mut Running) -> Option<String> {
    let line = ping.fresh_lines().into_iter().rev().find(|line| line.contains("time="))?;
    let [_, time] = line.split("time=").collect::<Vec<_>>()[..] else { return None };
    let microseconds = time.trim_end_matches(" ms").parse::<f64>().ok()? * 1e3;
    let version = if line.contains("::") { "ping6" } else { "ping" };
    Some(format!("{version} {microseconds:.0} us"))
}

/// What a ping says when it is interrupted: answers, of questions.
fn answers(lines: &[String]) -> (u64, u64) {
    let summary = lines.iter().find(|line| line.contains("packets transmitted")).map_or("", String::as_str);
    let mut numbers = summary.split(", ").filter_map(|part| part.split(' ').next()?.parse().ok());
    let (asked, answered) = (numbers.next().unwrap_or(1), numbers.next().unwrap_or(0));
    (answered, asked)
}

/// Returns when every datagram was answered, or patience has ended.
fn pump(injector: &Injector, frame: &[u8], sink: &Sink, time: Duration, stopped: &AtomicBool) -> Result<Flooded> {
    let began = Instant::now();
    let (mut sent, mut answered) = (0, 0);
    let mut progress = Instant::now();
    loop {
        let over =
            began.elapsed() >= time || stopped.load(Ordering::Relaxed) || sent + u64::from(BURST) > NUMBERS.into();
        if over && answered == sent {
            break;
        }
        if !over && sent - answered + u64::from(BURST) <= ON_THEIR_WAY {
            injector.send(frame, BURST)?;
            sent += u64::from(BURST);
        }
        let now = sink.seen()?.distinct;
        if now > answered {
            (answered, progress) = (now, Instant::now());
        } else if progress.elapsed() > PATIENCE {
            break;
        }
    }
    Ok(Flooded { sent, answered, elapsed: began.elapsed(), pings: Vec::new() })
}

/// The generator writes a number into every datagram, so no sum would be right; zero means none (RFC 768).
fn without_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    frame[40..42].fill(0);
    frame
}
