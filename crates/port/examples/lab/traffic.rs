//! Numbered datagrams from the wire's far end.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Deserialize;
use serde_json::{Value, json};
use xsknet_testkit::{FAR, FarSource, Lab, NumberedFrames, PacketSocket, REMOTE4, device};

use crate::bench::{Bench, NUMBERS, Result, Run, attach};

/// One kick of the far end's socket in copy mode moves 32.
const BURST: u64 = 32;
/// A burst of live frames costs some 25 ms beside its frames.
const LIVE_BURST: u64 = 1 << 17;
/// An answer that is not there this long after the last one came is lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// A port, as the remote host would find it by asking.
#[derive(Deserialize)]
pub struct Target {
    pub mac: String,
    pub address: Ipv4Addr,
    pub port: u16,
}

/// How much is sent: until the one or the other is reached, or the numbers end.
#[derive(Deserialize, Clone, Copy)]
pub struct Amount {
    frames: Option<u64>,
    seconds: Option<f64>,
}

pub struct Loop {
    pub amount: Amount,
    pub outstanding: u64,
    pub flows: u16,
}

pub struct Flood {
    pub amount: Amount,
    pub rate: Option<f64>,
    pub live: bool,
    pub flows: u16,
    pub from: Ipv4Addr,
    pub ports: u16,
}

impl Amount {
    /// The numbers of flows do not end.
    fn frames(self, flows: u16) -> u64 {
        match flows {
            0 => self.frames.unwrap_or(NUMBERS.into()).min(NUMBERS.into()),
            _ => self.frames.unwrap_or(u64::MAX),
        }
    }

    fn is_over(self, began: Instant) -> bool {
        self.seconds.is_some_and(|seconds| began.elapsed().as_secs_f64() >= seconds)
    }
}

/// Flows that take turns, a burst each.
struct Flows<S>(Vec<(S, u64)>);

impl<S> Flows<S> {
    fn new(sources: impl IntoIterator<Item = S>) -> Self {
        Self(sources.into_iter().map(|source| (source, 0)).collect())
    }

    /// `send` tells, for a source and the number that it goes on with, what number it goes on with after that. Returns
    /// how many frames that were.
    fn next(&mut self, send: impl FnOnce(&mut S, u64) -> Result<u64>) -> Result<u64> {
        self.0.rotate_left(1);
        let (source, next) = self.0.last_mut().expect("there is one flow at least");
        let before = std::mem::replace(next, send(source, *next)?);
        Ok(*next - before)
    }
}

/// Ends when all is answered, or when patience does.
pub fn closed_loop(bench: &Bench, run: &Run, to: &Target, wanted: Loop) -> Result<Value> {
    let Loop { amount, outstanding, flows } = wanted;
    let port = bench.fresh_ports(flows);
    let mut sources = Flows::new(numbered_frames(&bench.lab, (REMOTE4, port), flows, to)?);
    let total = amount.frames(flows);
    let sink = attach(&bench.lab, port, total.min(NUMBERS.into()) as u32, flows)?;
    share_one_cpu()?;

    let began = Instant::now();
    let (mut sent, mut seen) = (0, sink.seen()?);
    let (mut progress, mut longest_wait) = (began, Duration::ZERO);
    loop {
        let over = sent == total || amount.is_over(began) || run.stopped.load(Ordering::Relaxed);
        if over && seen.frames >= sent {
            break;
        }
        let room = outstanding.saturating_sub(sent.saturating_sub(seen.frames));
        let wanted = room.min(BURST).min(total - sent);
        if !over && wanted > 0 {
            sent += sources.next(|frames, next| Ok(frames.send(&mut *bench.far(), next, wanted as usize)?))?;
            run.sent.store(sent, Ordering::Relaxed);
        } else {
            // The programs that answer have two cores like the others.
            std::thread::sleep(Duration::from_micros(50));
        }
        let now = sink.seen()?;
        if now.frames > seen.frames {
            longest_wait = longest_wait.max(progress.elapsed());
            (seen, progress) = (now, Instant::now());
            run.answered.store(seen.distinct, Ordering::Relaxed);
        } else if sent > seen.frames && progress.elapsed() > PATIENCE {
            break;
        }
    }
    Ok(json!({
        "sent": sent,
        "answered": seen.distinct,
        "lost": sent.saturating_sub(seen.distinct),
        "repeated": seen.repeated,
        "late": seen.late,
        "corrupt": seen.corrupt,
        "seconds": began.elapsed().as_secs_f64(),
        "longestWait": longest_wait.as_secs_f64(),
    }))
}

/// `lostAtTheFarEnd` never left the far end: its queue was full.
pub fn flood(bench: &Bench, run: &Run, to: &Target, flood: Flood) -> Result<Value> {
    let Flood { amount, rate, live, flows, from, ports } = flood;
    let frames = numbered_frames(&bench.lab, (from, bench.fresh_ports(flows)), flows, to)?;
    if ports > 0 && (!live || to.port.checked_add(ports - 1).is_none()) {
        return Err("only live frames are scattered, to ports up to 65535".into());
    }
    let burst = if live { LIVE_BURST } else { BURST };
    let mut sources = Flows::new(frames.into_iter().map(|frames| {
        let source = live.then(|| match ports {
            0 => FarSource::live(&bench.lab, &frames),
            _ => FarSource::scattered(&bench.lab, &frames, to.port, ports),
        });
        (frames, source)
    }));
    let mut push = |count: u64| {
        sources.next(|(frames, source), next| match source {
            None => Ok(frames.send(&mut *bench.far(), next, count as usize)?),
            Some(source) => {
                source.send(count as u32);
                Ok(source.sent())
            }
        })
    };
    let far = device(FAR);
    let lost_before = bench.lab.remote.links().by_name(&far)?.stats.tx_dropped;
    let total = amount.frames(flows);

    let began = Instant::now();
    let sent = bench.lab.remote.enter(|| -> Result<u64> {
        share_one_cpu()?;
        let mut sent = 0;
        while sent < total && !amount.is_over(began) && !run.stopped.load(Ordering::Relaxed) {
            let due = rate.map_or(total, |rate| (began.elapsed().as_secs_f64() * rate) as u64);
            let count = due.min(total).saturating_sub(sent).min(burst);
            if count == 0 {
                std::thread::sleep(Duration::from_micros(50));
                continue;
            }
            sent += push(count)?;
            run.sent.store(sent, Ordering::Relaxed);
        }
        Ok(sent)
    })?;
    let lost = bench.lab.remote.links().by_name(&far)?.stats.tx_dropped - lost_before;
    Ok(json!({ "sent": sent, "lostAtTheFarEnd": lost, "seconds": began.elapsed().as_secs_f64() }))
}

/// Sends frames as they are, past the remote host's stack.
pub fn frames(bench: &Bench, frames: &[String]) -> Result<()> {
    let far = bench.lab.remote.links().by_name(&device(FAR))?.index.get();
    let socket = PacketSocket::sender(bench.lab.remote.namespace())?;
    for frame in frames {
        socket.send(far, &bytes_of(frame)?)?;
    }
    Ok(())
}

fn bytes_of(digits: &str) -> Result<Vec<u8>> {
    let pairs = (0..digits.len()).step_by(2).map(|at| digits.get(at..at + 2).ok_or("a half byte"));
    pairs.map(|pair| Ok(u8::from_str_radix(pair?, 16)?)).collect()
}

/// The datagrams of each flow, one at least: from as many ports, from `port` on.
fn numbered_frames(lab: &Lab, from: (Ipv4Addr, u16), flows: u16, to: &Target) -> Result<Vec<NumberedFrames>> {
    let (address, port) = from;
    let to = (to.mac.parse()?, SocketAddr::from((to.address, to.port)));
    let from = |port| (lab.far_mac(), SocketAddr::from((address, port)));
    Ok((port..port + flows.max(1)).map(|port| NumberedFrames::new(from(port), to)).collect())
}

/// A veth's ring of 256 frames is emptied by the CPU that fills it. Senders that share one lose nothing to it.
fn share_one_cpu() -> Result<()> {
    let mut first = CpuSet::new();
    first.set(0);
    Ok(sched_setaffinity(None, &first)?)
}
