//! What the errors of the crates below are in JavaScript.

use std::error::Error;

use napi::Status;
use serde_json::{Value, json};
use xsknet_path::PathError;
use xsknet_xsk::{AdoptError, FlushError, LayoutError, WaitError};

/// An error on its way to JavaScript.
pub(crate) struct Failure(xsknet_failure::Failure);

impl Failure {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self(xsknet_failure::Failure::new(code, message))
    }

    /// Adds what to do about it.
    pub(crate) fn hint(self, hint: &str) -> Self {
        Self(self.0.hint(hint))
    }

    /// Adds the names and numbers of the message.
    pub(crate) fn details(self, details: Value) -> Self {
        Self(self.0.details(details))
    }

    /// Adds this error and those beneath it.
    pub(crate) fn because_of(self, error: &(dyn Error + 'static)) -> Self {
        Self(self.0.because_of(error))
    }

    /// Names the system call that was refused, as Node does.
    pub(crate) fn by(self, syscall: &str) -> Self {
        Self(self.0.by(syscall))
    }

    pub(crate) fn to_json(&self) -> String {
        self.0.to_json()
    }
}

impl From<Failure> for napi::Error {
    fn from(failure: Failure) -> Self {
        Self::new(Status::GenericFailure, failure.to_json())
    }
}

impl From<LayoutError> for Failure {
    fn from(error: LayoutError) -> Self {
        Self::new("SOCKET_REFUSED", format!("the description of the port's socket is not valid: {error}"))
    }
}

impl From<AdoptError> for Failure {
    fn from(error: AdoptError) -> Self {
        Self(xsknet_failure::Failure::of("SOCKET_REFUSED", &error))
    }
}

impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        let message = error.to_string();
        match error {
            PathError::Ring(broken)
            | PathError::Flush(FlushError::Ring(broken))
            | PathError::Wait(WaitError::Ring(broken)) => Self::new("RING_BROKEN", message)
                .hint("Another process that has the port's descriptors wrote into its rings: open another port.")
                .details(json!({ "ring": broken.ring.to_string(), "size": broken.size })),
            PathError::Flush(FlushError::DeviceGone { waiting, cause }) => Self::new("PORT_LOST", message)
                .hint("The port's device was deleted; open another port.")
                .details(json!({ "waiting": waiting }))
                .because_of(&cause)
                .by("sendto"),
            PathError::Flush(FlushError::DeviceDown { waiting, cause }) => Self::new("KERNEL_REFUSED", message)
                .details(json!({ "waiting": waiting }))
                .because_of(&cause)
                .by("sendto"),
            PathError::Flush(FlushError::Refused { waiting, call, cause }) => {
                Self::new("KERNEL_REFUSED", message).details(json!({ "waiting": waiting })).because_of(&cause).by(call)
            }
            PathError::Wait(WaitError::Poll { cause }) => {
                Self::new("KERNEL_REFUSED", message).because_of(&cause).by("poll")
            }
            PathError::DeviceGone => {
                Self::new("PORT_LOST", message).hint("The port's device was deleted; open another port.")
            }
            PathError::NoTable(_) => Self::new("PORT_CLOSED", message),
            PathError::TooLong(too_long) => Self::new("FRAME_TOO_LONG", message)
                .details(json!({ "length": too_long.len, "capacity": too_long.capacity })),
        }
    }
}
