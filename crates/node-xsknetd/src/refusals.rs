//! Samples of refused frames, as the protocol has them.

use std::fmt::Write as _;
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};
use xsknet_port::Refusal;

/// In JSON.
pub fn refusals(refusals: &[Refusal]) -> String {
    Value::from_iter(refusals.iter().map(told)).to_string()
}

fn told(Refusal { time, reason, length, bytes }: &Refusal) -> Value {
    let digits = bytes.iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    });
    let microseconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    json!({ "time": microseconds as f64 / 1000.0, "reason": reason.name(), "length": length, "bytes": digits })
}
