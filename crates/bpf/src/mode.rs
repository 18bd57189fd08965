//! XDP modes: what is asked for, what the kernel gave, and each attempt.

use std::fmt;
use std::str::FromStr;

/// Where on a device a program shall run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// In the driver, before an skb is made.
    Native,
    /// Generic XDP: in the stack, on an skb. Every device has it; it is slower.
    Skb,
    /// On the NIC itself. The programs are not compiled for any NIC, so this reports the kernel's refusal.
    Hw,
    /// Native, and where that is refused skb. Which one it was, and why, is reported.
    #[default]
    Unspecified,
}

impl Mode {
    /// The modes to ask for, in order. Never the kernel's own choice: that hides what was chosen.
    pub(crate) const fn steps(self) -> &'static [Obtained] {
        match self {
            Self::Native => &[Obtained::Native],
            Self::Skb => &[Obtained::Skb],
            Self::Hw => &[Obtained::Hw],
            Self::Unspecified => &[Obtained::Native, Obtained::Skb],
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Native => "native",
            Self::Skb => "skb",
            Self::Hw => "hw",
            Self::Unspecified => "unspecified",
        })
    }
}

/// No mode has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not an XDP mode: native, skb, hw or unspecified")]
pub struct UnknownMode {
    /// As given.
    pub name: String,
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, UnknownMode> {
        match name {
            "native" => Ok(Self::Native),
            "skb" => Ok(Self::Skb),
            "hw" => Ok(Self::Hw),
            "unspecified" => Ok(Self::Unspecified),
            _ => Err(UnknownMode { name: name.to_owned() }),
        }
    }
}

/// A mode that the kernel was asked for, or gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Obtained {
    /// In the driver.
    Native,
    /// In the stack, on an skb.
    Skb,
    /// On the NIC.
    Hw,
}

impl From<Obtained> for Mode {
    fn from(obtained: Obtained) -> Self {
        match obtained {
            Obtained::Native => Self::Native,
            Obtained::Skb => Self::Skb,
            Obtained::Hw => Self::Hw,
        }
    }
}

impl fmt::Display for Obtained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Mode::from(*self).fmt(f)
    }
}

/// One step towards an attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What was asked for.
    pub mode: Obtained,
    /// The kernel's refusal; `None` for the step that worked.
    pub errno: Option<i32>,
    /// In words.
    pub why: String,
}

/// On which way of a device a tc program sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcSide {
    /// Behind the uplink program: what the host receives.
    Ingress,
    /// What the host sends.
    Egress,
}

impl fmt::Display for TcSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for mode in [Mode::Native, Mode::Skb, Mode::Hw, Mode::Unspecified] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert_eq!("drv".parse::<Mode>(), Err(UnknownMode { name: "drv".into() }));
    }
}
