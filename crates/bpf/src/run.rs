//! `BPF_PROG_TEST_RUN`: a program on one test packet, or on live frames of our own making.

use aya::maps::MapError;
use aya::programs::{ProgramError, SchedClassifier, TestRun, TestRunAttrs, TestRunOptions, Xdp};

use crate::contract::Counter;
use crate::counters::Counters;

/// What a program says about a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[doc(alias = "xdp_action")]
pub enum Verdict {
    /// `XDP_ABORTED`: the program failed. Ours never do.
    Aborted,
    /// `XDP_DROP`
    Drop,
    /// `XDP_PASS`: to the host's stack.
    Pass,
    /// `XDP_TX`: back out of the device it came from.
    Tx,
    /// `XDP_REDIRECT`. That the target can take it is not proven by this.
    Redirect,
}

/// What a program did with a test packet. Nothing was transmitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestResult {
    /// Its answer.
    pub verdict: Verdict,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
    /// The program's counters that moved. Other frames that pass meanwhile move them too.
    pub moved: Counters,
}

impl Counter {
    /// What a program says about a frame that moves this counter.
    pub(crate) const fn verdict(self) -> Verdict {
        match self {
            Self::Passed | Self::PassedFragment => Verdict::Pass,
            Self::ToPort | Self::ToUplink | Self::ToSocket => Verdict::Redirect,
            // A frame that was copied into a ring is dropped like the others.
            _ => Verdict::Drop,
        }
    }
}

/// How running a program on frames of our own fails.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The kernel did not run it.
    #[error("the kernel did not run the {program} program on a frame of {length} bytes from ifindex {ifindex}")]
    Refused {
        /// Which.
        program: &'static str,
        /// Bytes. The kernel takes 14 and more, up to a page less headroom.
        length: usize,
        /// Where it was to come from; EINVAL if this network namespace has no such device.
        ifindex: u32,
        /// What aya says; the errno is in its source.
        #[source]
        cause: Box<ProgramError>,
    },
    /// A map could not be read.
    #[error("could not read the counters of the {program} program")]
    Counters {
        /// Which.
        program: &'static str,
        /// What aya says.
        #[source]
        cause: MapError,
    },
}

/// Live frames at a time; the kernel's own default.
const BATCH: u32 = 64;

/// Room for a frame that a program made longer.
const SPARE: usize = 256;

/// One run on a copy of `frame`, as if it came in on queue 0 of `ifindex`.
pub(crate) fn test(
    xdp: &Xdp,
    program: &'static str,
    frame: &[u8],
    ifindex: u32,
) -> Result<(Verdict, Vec<u8>), RunError> {
    let mut out = vec![0; frame.len() + SPARE];
    let context = context(frame.len(), ifindex);
    let result = xdp
        .test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..Default::default()
        })
        .map_err(|cause| refused(program, frame, ifindex, cause))?;
    out.truncate(result.data_size_out as usize);
    let verdict = match result.return_value {
        1 => Verdict::Drop,
        2 => Verdict::Pass,
        3 => Verdict::Tx,
        4 => Verdict::Redirect,
        _ => Verdict::Aborted,
    };
    Ok((verdict, out))
}

/// One run on a copy of `frame`, as an skb. The program has to leave it to the others (`TC_ACT_UNSPEC`).
#[cfg(test)]
pub(crate) fn test_classifier(
    classifier: &SchedClassifier,
    program: &'static str,
    frame: &[u8],
) -> Result<Vec<u8>, RunError> {
    let mut out = vec![0; frame.len() + SPARE];
    let result = classifier
        .test_run(TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..Default::default() })
        .map_err(|cause| refused(program, frame, 0, cause))?;
    assert_eq!(result.return_value, u32::MAX, "it leaves the packet to the others");
    out.truncate(result.data_size_out as usize);
    Ok(out)
}

/// `count` live frames, as if they came in on queue 0 of `ifindex`: what the program redirects is transmitted.
pub(crate) fn live(xdp: &Xdp, program: &'static str, frame: &[u8], ifindex: u32, count: u32) -> Result<(), RunError> {
    if count == 0 {
        return Ok(()); // the kernel would take 0 for 1
    }
    let context = context(frame.len(), ifindex);
    xdp.test_run(TestRunOptions {
        data_in: Some(frame),
        ctx_in: Some(&context),
        repeat: count,
        attrs: TestRunAttrs::new().xdp_live_frames(count.min(BATCH)),
        ..Default::default()
    })
    .map_err(|cause| refused(program, frame, ifindex, cause))?;
    Ok(())
}

/// `count` copies of `frame`, each as an skb. Returns by how much `refused` grew meanwhile.
pub(crate) fn clones(
    classifier: &SchedClassifier,
    program: &'static str,
    frame: &[u8],
    count: u32,
    refused: impl Fn() -> Result<u64, MapError>,
) -> Result<u64, RunError> {
    if count == 0 {
        return Ok(0); // the kernel would take 0 for 1
    }
    let unread = |cause| RunError::Counters { program, cause };
    let before = refused().map_err(unread)?;
    classifier
        .test_run(TestRunOptions { data_in: Some(frame), repeat: count, ..Default::default() })
        .map_err(|cause| self::refused(program, frame, 0, cause))?;
    Ok(refused().map_err(unread)? - before)
}

/// A `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
fn context(length: usize, ifindex: u32) -> [u8; 24] {
    let mut context = [0; 24];
    context[4..8].copy_from_slice(&(length as u32).to_ne_bytes());
    context[12..16].copy_from_slice(&ifindex.to_ne_bytes());
    context
}

fn refused(program: &'static str, frame: &[u8], ifindex: u32, cause: ProgramError) -> RunError {
    RunError::Refused { program, length: frame.len(), ifindex, cause: Box::new(cause) }
}
