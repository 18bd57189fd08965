//! Sources of numbered frames.

use std::os::fd::AsFd;

use aya::Ebpf;
use aya::maps::{Array, MapData, MapError};

use crate::attachment::{self, AttachError, Attachment, Device};
use crate::load_error::LoadError;
use crate::mode::Mode;
use crate::object::{self, Object, object};
use crate::run::{self, RunError};

static GENERATE: Object = object!("generate");

/// Where a frame appears at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Received by it, as an skb: through tc ingress and generic XDP, never through native XDP.
    Ingress,
    /// Sent by it, through its transmit queue.
    Egress,
}

/// What a generator is loaded with.
#[derive(Debug, Clone, Copy, Default)]
pub struct GeneratorOptions {
    /// Ifindex of the target, in the network namespace of the thread that sends.
    pub target: u32,
    /// Where in the frame the running number is written, as a big-endian u64, and behind it up to 32 bytes of a pattern
    /// that follows from it, as far as the frame goes. `None`, or a frame too short for the number: frames leave as
    /// given.
    pub number_offset: Option<u32>,
    /// Of a [`LiveGenerator`]: to which ports the frames go.
    pub scatter: Option<Scatter>,
}

/// Ports that frames go to by chance. The number in each frame then is the time of its sending, in nanoseconds of
/// `CLOCK_MONOTONIC`.
#[derive(Debug, Clone, Copy)]
pub struct Scatter {
    /// Where in the frame the destination port is written.
    pub port_offset: u32,
    /// The first port.
    pub first: u16,
    /// How many there are, one at least.
    pub count: u16,
}

impl GeneratorOptions {
    fn globals(&self) -> [(&'static str, u32); 5] {
        let Scatter { port_offset, first, count } =
            self.scatter.unwrap_or(Scatter { port_offset: 0, first: 0, count: 0 });
        [
            ("target_ifindex", self.target),
            ("number_offset", self.number_offset.unwrap_or(u32::MAX)),
            ("port_offset", port_offset),
            ("first_port", first.into()),
            ("ports", count.into()),
        ]
    }
}

struct Source {
    bpf: Ebpf,
    next: Array<MapData, u64>,
    refused: Array<MapData, u64>,
}

impl Source {
    fn load(globals: &[(&str, u32)]) -> Result<Self, LoadError> {
        let mut bpf = GENERATE.load(globals, &[], None)?;
        Ok(Self { next: object::take_map(&mut bpf, "next")?, refused: object::take_map(&mut bpf, "refused")?, bpf })
    }
}

/// Sends copies of a frame as skbs, one by one (`bpf_clone_redirect`).
pub struct SkbGenerator(Source);

impl SkbGenerator {
    /// Loads the source. Nothing is attached anywhere.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load(options: GeneratorOptions, direction: Direction) -> Result<Self, LoadError> {
        const BPF_F_INGRESS: u32 = 1;
        let flags = match direction {
            Direction::Ingress => BPF_F_INGRESS,
            Direction::Egress => 0,
        };
        let mut globals = options.globals().to_vec();
        globals.push(("clone_flags", flags));
        Source::load(&globals).map(Self)
    }

    /// Makes `count` frames and returns how many of them the kernel did not take (ENETDOWN, a full queue).
    ///
    /// # Errors
    ///
    /// See [`RunError`].
    pub fn send(&self, frame: &[u8], count: u32) -> Result<u64, RunError> {
        const PROGRAM: &str = "clone";
        let classifier = object::classifier(&self.0.bpf, PROGRAM);
        run::clones(classifier, PROGRAM, frame, count, || self.0.refused.get(&0, 0))
    }

    /// The number that the next numbered frame carries: how many were made so far.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn next_number(&self) -> Result<u64, MapError> {
        self.0.next.get(&0, 0)
    }
}

const PROGRAM: &str = "generate";

/// Sends copies of a frame as XDP frames, in batches, through the target's `ndo_xdp_xmit`. What the driver drops there
/// shows in the device's statistics only.
pub struct LiveGenerator {
    source: Source,
    /// See [`LiveGenerator::hold_on_to`].
    held: Option<Attachment>,
}

impl LiveGenerator {
    /// Loads the source. Nothing is attached anywhere.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load(options: GeneratorOptions) -> Result<Self, LoadError> {
        Ok(Self { source: Source::load(&options.globals())?, held: None })
    }

    /// Attaches the source to a device that gets no frames, in skb mode, for as long as the generator lives. A program
    /// that is attached nowhere is put into the kernel's XDP dispatcher for each call and taken out again, which waits
    /// for all CPUs: some 20 ms, during which no other XDP program can be attached or run so either.
    ///
    /// # Errors
    ///
    /// See [`AttachError`].
    pub fn hold_on_to(&mut self, device: &Device) -> Result<(), AttachError> {
        let program = object::xdp(&self.source.bpf, PROGRAM);
        let fd = program.fd().map_err(|cause| AttachError::NotLoaded { hook: PROGRAM, cause })?;
        self.held = Some(attachment::attach(fd.as_fd(), device, Mode::Skb, PROGRAM)?);
        Ok(())
    }

    /// Makes `count` frames. They are made as if they came in on `ingress`, any device of the namespace.
    ///
    /// # Errors
    ///
    /// See [`RunError`].
    pub fn send(&self, frame: &[u8], ingress: u32, count: u32) -> Result<(), RunError> {
        run::live(object::xdp(&self.source.bpf, PROGRAM), PROGRAM, frame, ingress, count)
    }

    /// The number that the next numbered frame carries: how many were made so far.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn next_number(&self) -> Result<u64, MapError> {
        self.source.next.get(&0, 0)
    }
}
