//! What the lab can be told to do.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use xsknet_testkit::REMOTE4;

use crate::bench::{Bench, NUMBERS, Result, Run};
use crate::traffic::{self, Amount, Flood, Loop, Target};

/// One line of input, beside its id.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Order {
    /// From the remote kernel's UDP; how many answers equal their question.
    UdpEcho { to: IpAddr, lengths: Vec<usize> },
    /// Numbered datagrams that the port must send back, with a limit on those that are not answered yet.
    ClosedLoop {
        to: Target,
        #[serde(flatten)]
        amount: Amount,
        #[serde(default = "outstanding")]
        outstanding: u64,
        /// To this many ports in turn, each a flow that must come back in order, without end; 0: one, whose numbers
        /// end.
        #[serde(default)]
        flows: u16,
    },
    /// Numbered datagrams that nobody waits for.
    Flood {
        to: Target,
        #[serde(flatten)]
        amount: Amount,
        /// Frames a second; as fast as it goes unless set.
        rate: Option<f64>,
        /// As XDP frames, which need a native program on the NIC, rather than as skbs.
        #[serde(default)]
        live: bool,
        /// To this many ports in turn, each with numbers of its own, without end; 0: to one, whose numbers end.
        #[serde(default)]
        flows: u16,
        /// What they say to come from; the remote host unless set.
        from: Option<Ipv4Addr>,
        /// By chance to this many ports from that of `to` on, each frame with the time of its sending in place of a
        /// number: in nanoseconds of `CLOCK_MONOTONIC`. Live frames only.
        #[serde(default)]
        ports: u16,
    },
    /// Frames in hexadecimal digits, each as it is, out of the wire's far end.
    Frames { frames: Vec<String> },
    /// What has become of a closed loop or a flood so far.
    Progress { of: u64 },
    /// Ends a closed loop or a flood; its own answer follows.
    Stop { of: u64 },
    /// What numbered datagrams came to this port of the remote host since this was first asked.
    SinkNatively { port: u16, flows: u16 },
    Sink {
        port: u16,
        numbers: Option<u32>,
        /// Follows this many flows, to the ports from `port` on, instead of telling numbers apart.
        #[serde(default)]
        flows: u16,
    },
    /// All frames that came from a MAC since the lab was built.
    FramesFrom { mac: String },
    /// Remembers what the machine looks like.
    Snapshot,
    /// Waits until the machine looks like that again; says what differs.
    Compare { seconds: f64 },
}

/// Fewer than a veth holds (256), so that nothing has to be lost for want of room.
fn outstanding() -> u64 {
    192
}

pub fn carry_out(bench: &Bench, run: &Run, order: Order) -> Result<Value> {
    Ok(match order {
        Order::UdpEcho { to, lengths } => udp_echo(bench, to, &lengths),
        Order::ClosedLoop { to, amount, outstanding, flows } => {
            traffic::closed_loop(bench, run, &to, Loop { amount, outstanding, flows })?
        }
        Order::Flood { to, amount, rate, live, flows, from, ports } => {
            let from = from.unwrap_or(REMOTE4);
            traffic::flood(bench, run, &to, Flood { amount, rate, live, flows, from, ports })?
        }
        Order::Frames { frames } => {
            traffic::frames(bench, &frames)?;
            Value::Null
        }
        Order::Progress { of } => {
            let run = bench.run(of)?;
            json!({ "sent": run.sent.load(Ordering::Relaxed), "answered": run.answered.load(Ordering::Relaxed) })
        }
        Order::Stop { of } => {
            bench.run(of)?.stopped.store(true, Ordering::Relaxed);
            Value::Null
        }
        Order::Sink { port, numbers, flows } => {
            let seen = bench.sink(port, numbers.unwrap_or(NUMBERS), flows)?.seen()?;
            json!({
                "frames": seen.frames,
                "distinct": seen.distinct,
                "repeated": seen.repeated,
                "late": seen.late,
                "corrupt": seen.corrupt,
            })
        }
        Order::SinkNatively { port, flows } => {
            bench.sink_natively(port, flows)?;
            Value::Null
        }
        Order::FramesFrom { mac } => bench.frames_from(mac.parse()?)?.into(),
        Order::Snapshot => {
            bench.remember(bench.look());
            Value::Null
        }
        Order::Compare { seconds } => {
            let same = bench.before()?.wait_for(Duration::from_secs_f64(seconds), || bench.look());
            json!(same.err().iter().flat_map(|difference| difference.lines()).collect::<Vec<_>>())
        }
    })
}

fn udp_echo(bench: &Bench, to: IpAddr, lengths: &[usize]) -> Value {
    let began = Instant::now();
    let identical = lengths.iter().filter(|length| {
        let payload: Vec<u8> = (0..**length).map(|n| (n * 31 + **length) as u8).collect();
        bench.lab.remote.udp_echo(to, &payload).is_ok_and(|answer| answer == payload)
    });
    json!({ "identical": identical.count(), "seconds": began.elapsed().as_secs_f64() })
}
