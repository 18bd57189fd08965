//! The source of a self-test's frames.

use aya::Ebpf;
use aya::maps::{Array, MapData};

use crate::load_error::LoadError;
use crate::object;
use crate::run::{self, RunError};

const PROGRAM: &str = "inject";

/// Makes a device receive copies of a frame as skbs, one by one (`bpf_clone_redirect`): through tc ingress and generic
/// XDP, never through native XDP.
pub struct Injector {
    bpf: Ebpf,
    refused: Array<MapData, u64>,
}

impl Injector {
    /// Loads the source. Nothing is attached anywhere. `target` is the device's ifindex, in the network namespace of
    /// the thread that sends.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load(target: u32) -> Result<Self, LoadError> {
        let mut bpf = object::INJECT.load(&[("target_ifindex", target)], &[], None)?;
        Ok(Self { refused: object::take_map(&mut bpf, "refused")?, bpf })
    }

    /// Makes `count` frames and returns how many of them the kernel did not take (ENETDOWN).
    ///
    /// # Errors
    ///
    /// See [`RunError`].
    pub fn send(&self, frame: &[u8], count: u32) -> Result<u64, RunError> {
        let classifier = object::classifier(&self.bpf, PROGRAM);
        run::clones(classifier, PROGRAM, frame, count, || self.refused.get(&0, 0))
    }
}
