//! Attaching a tc program to a device by a link (tcx).

use aya::Ebpf;
use aya::programs::links::FdLink;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType};
use rustix::net::{AddressFamily, SocketType, netdevice, socket};

use crate::load_error::LoadError;

/// How setting up a tc program fails.
#[derive(Debug, thiserror::Error)]
pub enum TcxError {
    /// It was not loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// No such device in this network namespace.
    #[error("there is no device with ifindex {ifindex} for the {program} program")]
    DeviceMissing {
        /// As given.
        ifindex: u32,
        /// Its name.
        program: &'static str,
    },
    /// The kernel refused.
    #[error("could not attach the {program} program to {device}")]
    Attach {
        /// The device's name.
        device: String,
        /// Its name.
        program: &'static str,
        /// What aya says.
        #[source]
        cause: Box<ProgramError>,
    },
}

/// Attaches a program of the object to a device of the calling thread's network namespace.
pub(super) fn attach(
    bpf: &mut Ebpf,
    program: &'static str,
    ifindex: u32,
    direction: TcAttachType,
) -> Result<FdLink, TcxError> {
    let device = socket(AddressFamily::INET, SocketType::DGRAM, None)
        .and_then(|any| netdevice::index_to_name(&any, ifindex))
        .map_err(|_| TcxError::DeviceMissing { ifindex, program })?;
    let classifier: &mut SchedClassifier = bpf
        .program_mut(program)
        .and_then(|program| program.try_into().ok())
        .expect("every program named here is in its object");
    let options = TcAttachOptions::TcxOrder(LinkOrder::default());
    let link = classifier
        .attach_with_options(&device, direction, options)
        .and_then(|id| classifier.take_link(id))
        .map_err(|cause| TcxError::Attach { device, program, cause: Box::new(cause) })?;
    Ok(link.try_into().expect("a tcx attachment is a link"))
}
