//! What this needs of the kernel, found out by doing it rather than by the kernel's version.

use std::io;

use rustix::net::{AddressFamily, SocketType, socket};
use rustix::system::uname;
use xsknet_link::Netns;
use xsknet_xsk::{BindRequest, CreateError, HugePages, Layout, QueueId, Request};

/// Frames and slots of the socket that is tried.
const FEW: u32 = 64;

/// Something that the kernel must be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// `socket(AF_XDP)`, since kernel 4.18 with `CONFIG_XDP_SOCKETS`.
    AfXdp,
    /// The BPF file system, since kernel 4.4.
    Bpffs,
    /// New network namespaces, for the ports' inner ends.
    NetworkNamespaces,
    /// A bound socket whose rings can be mapped, since kernel 6.4: its owner maps them anew, wherever it was made.
    BoundRings,
}

impl Ability {
    /// All that an instance needs. The last is tried on what the others are.
    pub const NEEDED: [Ability; 4] = [Ability::AfXdp, Ability::Bpffs, Ability::NetworkNamespaces, Ability::BoundRings];

    /// What cannot be done without it.
    pub fn purpose(self) -> &'static str {
        match self {
            Ability::AfXdp => "AF_XDP sockets (CONFIG_XDP_SOCKETS)",
            Ability::Bpffs => "BPF file system (CONFIG_BPF_SYSCALL)",
            Ability::NetworkNamespaces => "network namespaces (CONFIG_NET_NS)",
            Ability::BoundRings => "AF_XDP sockets whose rings can be mapped once they are bound (Linux 6.4)",
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
            Ability::BoundRings => {
                Netns::create().map_err(io::Error::other)?.run(bind_and_map)?.map_err(io::Error::other)
            }
        }
    }
}

/// The release of the kernel that runs.
pub(crate) fn kernel_release() -> String {
    uname().release().to_string_lossy().into_owned()
}

/// What is done for each queue of a port, on the smallest scale. A fresh namespace has a loopback device, and one that
/// is down can be bound to.
fn bind_and_map() -> Result<(), CreateError> {
    let layout = Layout::builder().frames(FEW).rings(FEW).build().expect("a small layout");
    xsknet_xsk::create(&Request {
        device: "lo",
        queue: QueueId(0),
        layout,
        huge_pages: HugePages::Never,
        bind: BindRequest::Copy,
        prime: false,
    })
    .map(drop)
}
