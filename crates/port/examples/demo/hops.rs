//! The table of the hops: what came, how fast, where it went, and what was lost where and why.

use std::time::Instant;

use xsknet_bpf::Counters;
use xsknet_port::{PortStatistics, Uplink, UplinkStatistics};

use crate::Result;

/// The last reading, to tell rates from.
pub struct Hops {
    at: Instant,
    began: Instant,
    uplink: UplinkStatistics,
    ports: Vec<(String, PortStatistics)>,
}

impl Hops {
    pub fn begin(uplink: &Uplink) -> Result<Self> {
        let now = Instant::now();
        Ok(Self { at: now, began: now, uplink: uplink.statistics()?, ports: uplink.port_statistics()? })
    }

    /// `round_trips` stands beside the moment that the table is of.
    pub fn print(&mut self, uplink: &Uplink, round_trips: &str) -> Result<()> {
        let now = Self { began: self.began, ..Self::begin(uplink)? };
        let seconds = (now.at - self.at).as_secs_f64();
        let rate = |new: u64, old: u64| thousands((new.wrapping_sub(old) as f64 / seconds) as u64);
        println!(
            "\n  after {:.0} s, round trips meanwhile: {round_trips}\n    {:<20}{:>12}{:>12}   {:<42}lost",
            (now.at - now.began).as_secs_f64(),
            "hop",
            "frames",
            "a second",
            "onward"
        );
        let row = |hop: &str, seen: u64, old: u64, onward: String, lost: String| {
            println!("    {hop:<20}{:>12}{:>12}   {onward:<42}{lost}", thousands(seen), rate(seen, old));
        };

        let device = &uplink.info().device;
        let program = &now.uplink.program;
        let onward = format!("{} to ports, {} to the host", thousands(program.to_port()), thousands(program.passed()));
        row(&format!("wire -> {device}"), program.seen(), self.uplink.program.seen(), onward, losses(program, &[]));
        let mut out = (0, 0);
        for ((name, port), (_, old)) in now.ports.iter().zip(&self.ports) {
            let lost = losses(
                &port.program,
                &[
                    ("pair full", port.outer_transmit_drops),
                    ("FILL empty or frame too long", port.socket.rx_dropped),
                    ("RX ring full", port.socket.rx_ring_full),
                ],
            );
            let onward = format!("{} to its socket", thousands(port.program.to_socket()));
            row(&format!("{device} -> {name}"), port.program.seen(), old.program.seen(), onward, lost);

            let guard = &port.guard;
            let lost = losses(
                guard,
                &[("pair full", port.inner_transmit_drops), ("redirect refused", port.outer_refused_redirects)],
            );
            let onward =
                format!("{} to the card, {} to ports", thousands(guard.to_uplink()), thousands(guard.to_port()));
            row(&format!("{name} -> guard"), guard.seen(), old.guard.seen(), onward, lost);
            out = (out.0 + guard.to_uplink(), out.1 + old.guard.to_uplink());
        }
        let lost = losses(
            &Counters::default(),
            &[("card refused", now.uplink.transmit_drops), ("redirect refused", now.uplink.refused_redirects)],
        );
        row(&format!("{device} -> wire"), out.0, out.1, String::new(), lost);
        *self = now;
        Ok(())
    }
}

fn losses(program: &Counters, others: &[(&str, u64)]) -> String {
    let others =
        others.iter().filter(|(_, frames)| *frames > 0).map(|(why, frames)| format!("{why} {}", thousands(*frames)));
    let all: Vec<String> = dropped(program).chain(others).collect();
    if all.is_empty() { "-".into() } else { all.join(", ") }
}

/// The reasons that are not zero.
pub fn reasons(program: &Counters) -> String {
    dropped(program).collect::<Vec<_>>().join(", ")
}

fn dropped(program: &Counters) -> impl Iterator<Item = String> {
    let drops: Vec<_> = program.drops().filter(|(_, frames)| *frames > 0).collect();
    drops.into_iter().map(|(reason, frames)| format!("{} {}", reason.name(), thousands(frames)))
}

/// 1234567 as 1,234,567.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    groups.map(|group| std::str::from_utf8(group).expect("digits")).collect::<Vec<_>>().join(",")
}
