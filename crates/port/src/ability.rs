//! What this needs of the kernel, found out by doing it rather than by the kernel's version.

use std::io;

use rustix::net::{AddressFamily, SocketType, socket};
use xsknet_link::Netns;

/// Something that the kernel must be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// `socket(AF_XDP)`, since kernel 4.18 with `CONFIG_XDP_SOCKETS`.
    AfXdp,
    /// The BPF file system, since kernel 4.4.
    Bpffs,
    /// New network namespaces, for the ports' inner ends.
    NetworkNamespaces,
}

impl Ability {
    /// All that an instance needs.
    pub const NEEDED: [Ability; 3] = [Ability::AfXdp, Ability::Bpffs, Ability::NetworkNamespaces];

    /// What cannot be done without it.
    pub fn purpose(self) -> &'static str {
        match self {
            Ability::AfXdp => "AF_XDP sockets (CONFIG_XDP_SOCKETS)",
            Ability::Bpffs => "the BPF file system (CONFIG_BPF_SYSCALL)",
            Ability::NetworkNamespaces => "network namespaces (CONFIG_NET_NS)",
        }
    }

    /// Tries it out; nothing of the trial stays.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn probe(self) -> io::Result<()> {
        match self {
            Ability::AfXdp => {
                socket(AddressFamily::XDP, SocketType::RAW, None)?;
                Ok(())
            }
            Ability::Bpffs => {
                let known = std::fs::read_to_string("/proc/filesystems")?;
                let found = known.lines().any(|line| line.split_whitespace().last() == Some("bpf"));
                if found { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
            }
            Ability::NetworkNamespaces => Netns::create().map(drop).map_err(io::Error::other),
        }
    }
}
