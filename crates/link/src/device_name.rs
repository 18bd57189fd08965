//! How a device is called: by name, or by index.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a network device: 1 to 15 bytes that the kernel accepts as one.
///
/// Refused beyond the kernel's own rules (`dev_valid_name`) are names that are not UTF-8, and `all` and `default`:
/// under `/proc/sys/net` they mean every device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct DeviceName(String);

impl DeviceName {
    /// Longest name in bytes, `IFNAMSIZ` without its NUL.
    #[doc(alias = "IFNAMSIZ")]
    pub const MAX_LEN: usize = 15;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeviceName {
    type Err = InvalidDeviceName;

    fn from_str(name: &str) -> Result<Self, InvalidDeviceName> {
        let reserved = matches!(name, "." | ".." | "all" | "default");
        let forbidden = |c: char| matches!(c, '/' | ':' | '\0') || c.is_whitespace();
        if name.is_empty() || name.len() > Self::MAX_LEN || reserved || name.contains(forbidden) {
            return Err(InvalidDeviceName { name: name.to_owned() });
        }
        Ok(Self(name.to_owned()))
    }
}

impl TryFrom<String> for DeviceName {
    type Error = InvalidDeviceName;

    fn try_from(name: String) -> Result<Self, InvalidDeviceName> {
        name.parse()
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.0
    }
}

impl AsRef<str> for DeviceName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that cannot be the name of a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a device name: 1 to 15 bytes, no '/', ':' or white space, not '.', '..', 'all', 'default'")]
pub struct InvalidDeviceName {
    /// The text.
    pub name: String,
}

/// The index of a device, unique within its namespace for as long as the device exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IfIndex(NonZeroU32);

impl IfIndex {
    /// `None` for 0, which names no device.
    pub const fn new(index: u32) -> Option<Self> {
        match NonZeroU32::new(index) {
            Some(index) => Some(Self(index)),
            None => None,
        }
    }

    /// The number, as the kernel takes it.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl From<IfIndex> for u32 {
    fn from(index: IfIndex) -> Self {
        index.get()
    }
}

impl fmt::Display for IfIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_kernel_takes() {
        for name in ["p0", "eth0.42", "a-b_c@d", "fifteen_letters", "é"] {
            assert_eq!(name.parse::<DeviceName>().map(String::from).as_deref(), Ok(name));
        }
    }

    #[test]
    fn names_that_are_none() {
        for name in ["", "sixteen_letters_", "a/b", "a b", "a\tb", "a:1", "a\0", ".", "..", "all", "default"] {
            assert_eq!(name.parse::<DeviceName>(), Err(InvalidDeviceName { name: name.to_owned() }));
        }
    }

    #[test]
    fn a_hostile_name_in_a_journal_is_refused() {
        assert!(serde_json::from_str::<DeviceName>(r#""../all""#).is_err());
        assert!(serde_json::from_str::<IfIndex>("0").is_err());
    }
}
