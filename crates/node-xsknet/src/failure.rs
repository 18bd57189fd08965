//! Errors on their way to JavaScript, where `native.ts` makes an `XsknetError` of the JSON in their message.

use std::error::Error;

use napi::Status;
use serde_json::{Map, Value, json};
use xsknet_path::PathError;
use xsknet_xsk::{AdoptError, FlushError, LayoutError, WaitError};

use crate::uv::errno_name;

/// What `XsknetError` is made of.
pub(crate) struct Failure {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<&'static str>,
    pub(crate) details: Value,
    pub(crate) cause: Option<Value>,
}

impl Failure {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, details: Value::Null, cause: None }
    }

    /// Adds the chain of what is underneath `error`, and its errno.
    pub(crate) fn because_of(mut self, error: &(dyn Error + 'static)) -> Self {
        let chain: Vec<_> = std::iter::successors(Some(error), |error| (*error).source()).collect();
        let message: Vec<_> = chain.iter().map(ToString::to_string).collect();
        let mut cause = Map::from_iter([("message".to_owned(), message.join(": ").into())]);
        let errno = chain.iter().find_map(|error| error.downcast_ref::<std::io::Error>()?.raw_os_error());
        if let Some(errno) = errno {
            cause.insert("errno".to_owned(), (-errno).into());
            cause.extend(errno_name(errno).map(|name| ("code".to_owned(), name.into())));
        }
        self.cause = Some(cause.into());
        self
    }

    /// Names the system call that was refused, as Node does.
    pub(crate) fn by(mut self, syscall: &str) -> Self {
        if let Some(cause) = self.cause.as_mut().and_then(Value::as_object_mut) {
            cause.insert("syscall".to_owned(), syscall.into());
        }
        self
    }

    pub(crate) fn to_json(&self) -> String {
        let Self { code, message, hint, details, cause } = self;
        let mut json = Map::from_iter([("code".to_owned(), json!(code)), ("message".to_owned(), json!(message))]);
        json.extend(hint.map(|hint| ("hint".to_owned(), json!(hint))));
        if !details.is_null() {
            json.insert("details".to_owned(), details.clone());
        }
        json.extend(cause.clone().map(|cause| ("cause".to_owned(), cause)));
        Value::from(json).to_string()
    }
}

impl From<Failure> for napi::Error {
    fn from(failure: Failure) -> Self {
        Self::new(Status::GenericFailure, failure.to_json())
    }
}

impl From<LayoutError> for Failure {
    fn from(error: LayoutError) -> Self {
        Self::new("ERR_XSKNET_SOCKET_REFUSED", format!("the description of the port's socket cannot be: {error}"))
    }
}

impl From<AdoptError> for Failure {
    fn from(error: AdoptError) -> Self {
        let failure = Self::new("ERR_XSKNET_SOCKET_REFUSED", error.to_string());
        match error.source() {
            Some(source) => failure.because_of(source),
            None => failure,
        }
    }
}

impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        let message = error.to_string();
        match error {
            PathError::Ring(broken)
            | PathError::Flush(FlushError::Ring(broken))
            | PathError::Wait(WaitError::Ring(broken)) => Self {
                hint: Some("Whoever shares the port's descriptors wrote into its rings; open another port."),
                details: json!({ "ring": broken.ring.to_string(), "size": broken.size }),
                ..Self::new("ERR_XSKNET_RING_BROKEN", message)
            },
            PathError::Flush(FlushError::DeviceGone { waiting, cause }) => Self {
                hint: Some("The port's device was deleted; open another port."),
                details: json!({ "waiting": waiting }),
                ..Self::new("ERR_XSKNET_PORT_LOST", message).because_of(&cause).by("sendto")
            },
            PathError::Flush(FlushError::DeviceDown { waiting, cause } | FlushError::Refused { waiting, cause }) => {
                Self {
                    details: json!({ "waiting": waiting }),
                    ..Self::new("ERR_XSKNET_KERNEL_REFUSED", message).because_of(&cause).by("sendto")
                }
            }
            PathError::Wait(WaitError::Poll { cause }) => {
                Self::new("ERR_XSKNET_KERNEL_REFUSED", message).because_of(&cause).by("poll")
            }
            PathError::DeviceGone => Self {
                hint: Some("The port's device was deleted; open another port."),
                ..Self::new("ERR_XSKNET_PORT_LOST", message)
            },
            PathError::NoTable(_) => Self::new("ERR_XSKNET_PORT_CLOSED", message),
            PathError::TooLong(too_long) => Self {
                details: json!({ "length": too_long.len, "capacity": too_long.capacity }),
                ..Self::new("ERR_XSKNET_FRAME_TOO_LONG", message)
            },
        }
    }
}
