//! What both bindings throw: the fields of an `XsknetError`, and the JSON in which they travel as an exception's
//! message.
//!
//! Each binding wraps [`Failure`] in a type of its own, because only a local type can be made from errors of other
//! crates by `?`.
#![forbid(unsafe_code)]

mod errno;

use std::error::Error;
use std::fmt;
use std::io;

use serde_json::{Map, Value};

pub use errno::errno_name;

/// An error on its way to JavaScript. Its codes are those of `packages/xsknet/src/errors.ts`.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    code: &'static str,
    message: String,
    hint: Option<String>,
    details: Value,
    cause: Option<Map<String, Value>>,
}

impl Failure {
    /// A failure with nothing underneath. `code` is without its `ERR_XSKNET_`.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, details: Value::Null, cause: None }
    }

    /// A failure with the message of an error. What lies under that error is the cause.
    #[must_use]
    pub fn of(code: &'static str, error: &dyn Error) -> Self {
        let failure = Self::new(code, error.to_string());
        match error.source() {
            Some(source) => failure.because_of(source),
            None => failure,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Adds an object with the names and numbers of the message.
    #[must_use]
    pub fn details(self, details: Value) -> Self {
        Self { details, ..self }
    }

    /// Makes this error and those beneath it the cause: their messages, and the first errno among them, negative as
    /// Node has it.
    #[must_use]
    pub fn because_of(self, error: &(dyn Error + 'static)) -> Self {
        let chain: Vec<&(dyn Error + 'static)> =
            std::iter::successors(Some(error), |error| (*error).source()).collect();
        let message: Vec<String> = chain.iter().map(ToString::to_string).collect();
        let mut cause = Map::from_iter([("message".to_owned(), message.join(": ").into())]);
        if let Some(errno) = chain.iter().find_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error()) {
            cause.insert("errno".to_owned(), (-errno).into());
            cause.insert("code".to_owned(), errno_name(errno).into());
        }
        Self { cause: Some(cause), ..self }
    }

    /// Names the system call that was refused, where the cause has an errno.
    #[must_use]
    pub fn by(mut self, syscall: &str) -> Self {
        if let Some(cause) = self.cause.as_mut().filter(|cause| cause.contains_key("errno")) {
            cause.insert("syscall".to_owned(), syscall.into());
        }
        self
    }

    /// The fields as an object, in JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self { code, message, hint, details, cause } = self;
        let mut fields = Map::from_iter([
            ("code".to_owned(), format!("ERR_XSKNET_{code}").into()),
            ("message".to_owned(), message.as_str().into()),
        ]);
        fields.extend(hint.as_deref().map(|hint| ("hint".to_owned(), hint.into())));
        if !details.is_null() {
            fields.insert("details".to_owned(), details.clone());
        }
        fields.extend(cause.clone().map(|cause| ("cause".to_owned(), cause.into())));
        Value::Object(fields).to_string()
    }
}

/// The messages of the failure and of its cause, for where it cannot be thrown.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.cause.as_ref().and_then(|cause| cause["message"].as_str()) {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug)]
    struct Refused(io::Error);

    impl fmt::Display for Refused {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the bind was refused")
        }
    }

    impl Error for Refused {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    fn refused() -> Refused {
        Refused(io::Error::from_raw_os_error(libc::EBUSY))
    }

    #[track_caller]
    fn json_of(failure: &Failure) -> Value {
        serde_json::from_str(&failure.to_json()).unwrap()
    }

    #[test]
    fn a_failure_without_more_has_a_code_and_a_message() {
        let failure = Failure::new("PORT_CLOSED", "the port \"a\" is closed");
        assert_eq!(
            json_of(&failure),
            json!({ "code": "ERR_XSKNET_PORT_CLOSED", "message": "the port \"a\" is closed" })
        );
        assert_eq!(failure.clone().by("bind"), failure, "nothing was refused");
    }

    #[test]
    fn the_cause_begins_beneath_the_error_that_tells_the_failure() {
        let os = refused().0.to_string();
        let failure = Failure::of("SOCKET_REFUSED", &refused()).by("bind").hint("close it").details(json!({ "a": 1 }));
        let cause = json!({ "message": os, "errno": -16, "code": "EBUSY", "syscall": "bind" });
        let (code, message) = ("ERR_XSKNET_SOCKET_REFUSED", "the bind was refused");
        assert_eq!(
            json_of(&failure),
            json!({ "code": code, "message": message, "hint": "close it", "details": { "a": 1 }, "cause": cause })
        );
        assert_eq!(failure.to_string(), format!("{message}: {os}"));
    }

    #[test]
    fn the_cause_has_the_messages_of_all_errors_and_the_errno_of_the_first_that_has_one() {
        let failure = Failure::new("KERNEL_REFUSED", "no").because_of(&refused());
        let message = format!("the bind was refused: {}", refused().0);
        assert_eq!(json_of(&failure)["cause"], json!({ "message": message, "errno": -16, "code": "EBUSY" }));
    }

    #[test]
    fn a_cause_without_an_errno_names_no_system_call() {
        let failure = Failure::new("INTERNAL", "no").because_of(&io::Error::other("torn")).by("read");
        assert_eq!(json_of(&failure)["cause"], json!({ "message": "torn" }));
    }
}
