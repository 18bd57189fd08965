//! Network namespaces, held by descriptor.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{AtFlags, StatxFlags, fstat, makedev, statfs, statx};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};

use crate::sys;

/// A network namespace. It lives as long as something holds it: this descriptor, a bind mount, a thread, a socket.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
}

/// Identifies a namespace: equal exactly for descriptors of one namespace. An inode number is given out again once its
/// namespace is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NetnsId {
    /// Device number of nsfs.
    pub dev: u64,
    /// Inode number there.
    pub ino: u64,
}

impl Netns {
    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// [`NetnsError::Open`] where `/proc` is not mounted.
    pub fn current() -> Result<Self, NetnsError> {
        // Not /proc/self: that is the main thread, which may be elsewhere.
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// A new namespace without a name; the calling thread stays where it is.
    ///
    /// # Errors
    /// [`NetnsError::Create`]: needs CAP_SYS_ADMIN.
    pub fn create() -> Result<Self, NetnsError> {
        let create = || {
            sys::unshare_network().map_err(|cause| NetnsError::Create { cause })?;
            Self::current()
        };
        on_own_thread(create).unwrap_or_else(|cause| Err(NetnsError::Create { cause }))
    }

    /// The namespace at `path`: a bind mount such as `/run/netns/x`, or `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// [`NetnsError::Open`], or [`NetnsError::NotANamespace`] if something else is there.
    pub fn open(path: &Path) -> Result<Self, NetnsError> {
        let file = File::open(path).map_err(|cause| NetnsError::Open { path: path.to_owned(), cause })?;
        Self::from_fd(file.into())
    }

    /// Takes a descriptor that is said to be a network namespace. It is closed if it is not: where that could block,
    /// ask [`check`](Self::check) first.
    ///
    /// # Errors
    /// [`NetnsError::NotANamespace`] unless it lies on nsfs and its type is CLONE_NEWNET.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, NetnsError> {
        Self::check(fd.as_fd()).map(|()| Self { fd })
    }

    /// Whether a descriptor, of a stranger's perhaps, is a network namespace. The file system that it lies on is asked
    /// nothing that it could answer when it likes: it may be one of the stranger's own (FUSE).
    ///
    /// # Errors
    /// [`NetnsError::NotANamespace`]; where `/proc` is not mounted, for every descriptor.
    pub fn check(fd: BorrowedFd<'_>) -> Result<(), NetnsError> {
        let not = |found| Err(NetnsError::NotANamespace { found });
        let nsfs = match File::open("/proc/thread-self/ns/net").and_then(|own| Ok(fstat(own)?.st_dev)) {
            Ok(nsfs) => nsfs,
            Err(cause) => return not(format!("something that cannot be identified without /proc ({cause})")),
        };
        match statx(fd, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::empty()) {
            Ok(its) if makedev(its.stx_dev_major, its.stx_dev_minor) == nsfs => match sys::namespace_type(fd) {
                Ok(libc::CLONE_NEWNET) => Ok(()),
                Ok(other) => not(format!("a namespace of type {other:#x}")),
                Err(cause) => not(format!("something on nsfs without a type ({cause})")),
            },
            Ok(its) => not(format!("a file of device {}:{}", its.stx_dev_major, its.stx_dev_minor)),
            Err(cause) => not(format!("a descriptor without a file ({cause})")),
        }
    }

    /// What distinguishes this namespace from others.
    ///
    /// # Errors
    /// Those of `fstat(2)`.
    pub fn identity(&self) -> io::Result<NetnsId> {
        let stat = fstat(&self.fd)?;
        Ok(NetnsId { dev: stat.st_dev, ino: stat.st_ino })
    }

    /// What distinguishes this namespace from all others of this boot, those that are gone included.
    ///
    /// # Errors
    /// If it may not be entered, or of `getsockopt(2)` (Linux 5.14).
    pub fn cookie(&self) -> io::Result<u64> {
        self.run(|| {
            let any = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
            sys::netns_cookie(any.as_fd())
        })?
    }

    /// A namespace by its [cookie](Self::cookie), wherever this process can see it: a process is in it, or it is
    /// mounted. `id` is the identity that it had. `None`: it is gone, or out of reach.
    pub fn find(id: NetnsId, cookie: u64) -> Option<Self> {
        let name = nsfs_name(id.ino);
        let candidates = visible().filter(|(its, _)| *its == name).filter_map(|(_, path)| Self::open(&path).ok());
        { candidates }.find(|netns| netns.cookie().is_ok_and(|its| its == cookie))
    }

    /// The namespaces that this process can see, each once: a process is in it, or it is mounted.
    pub fn all() -> impl Iterator<Item = Self> {
        let mut seen = HashSet::new();
        visible().filter(move |(name, _)| seen.insert(name.clone())).filter_map(|(_, path)| Self::open(&path).ok())
    }

    /// The user who made the user namespace that this one belongs to, who has every capability in it; root for all that
    /// belong to the machine's own.
    ///
    /// # Errors
    /// The kernel's, EPERM where that user namespace is out of this process's sight.
    pub fn owner(&self) -> io::Result<u32> {
        let user = sys::owning_user_namespace(self.fd.as_fd())?;
        sys::owner_of_user_namespace(user.as_fd())
    }

    /// Runs `work` on a thread of its own inside the namespace and returns what it returns; a panic goes through.
    ///
    /// Only the network namespace is another one there: mounts, and so bpffs and `/sys`, are the caller's. Sockets and
    /// handles made inside keep belonging to the namespace wherever they go.
    ///
    /// # Errors
    /// If the thread cannot be made or may not enter (CAP_SYS_ADMIN); `work` has not run then.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> io::Result<R> {
        on_own_thread(|| {
            move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(work())
        })?
    }

    /// Keeps the namespace alive under `path`: makes the file, which must not exist, and mounts the namespace on it.
    ///
    /// # Errors
    /// [`NetnsError::Bind`]; no file is left behind then. EEXIST: `path` is taken.
    pub fn bind_to(&self, path: &Path) -> Result<(), NetnsError> {
        let failed = |cause| NetnsError::Bind { path: path.to_owned(), cause };
        OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
        let source = format!("/proc/thread-self/fd/{}", self.fd.as_raw_fd());
        mount_bind(source, path).map_err(|errno| {
            // The mount's failure is what there is to tell; the file is ours and empty.
            let _ = fs::remove_file(path);
            failed(errno.into())
        })
    }

    /// Undoes [`bind_to`](Self::bind_to), also when it was cut off half way; nothing at `path` is success. The
    /// namespace goes once nobody else holds it.
    ///
    /// # Errors
    /// [`NetnsError::Unbind`]; what is neither a namespace's mount nor an empty file is left alone (EINVAL).
    pub fn unbind(path: &Path) -> Result<(), NetnsError> {
        let failed = |cause| NetnsError::Unbind { path: path.to_owned(), cause };
        loop {
            let file = match fs::symlink_metadata(path) {
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
                metadata => metadata.map_err(failed)?,
            };
            if !file.is_file() {
                return Err(failed(Errno::INVAL.into()));
            }
            if statfs(path).map_err(|errno| failed(errno.into()))?.f_type == libc::NSFS_MAGIC {
                // Lazily: a process that has the path open would make it busy.
                unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).map_err(|errno| failed(errno.into()))?;
            } else if file.len() == 0 {
                return fs::remove_file(path).map_err(failed);
            } else {
                return Err(failed(Errno::INVAL.into()));
            }
        }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Netns> for OwnedFd {
    fn from(netns: Netns) -> Self {
        netns.fd
    }
}

/// As links to it and mounts of it call a namespace of this inode.
fn nsfs_name(ino: u64) -> String {
    format!("{NSFS_PREFIX}{ino}]")
}

const NSFS_PREFIX: &str = "net:[";

/// Names and paths of network namespaces, some of them the same.
fn visible() -> impl Iterator<Item = (String, PathBuf)> {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    // The root of such a mount is the namespace; its point is the next field.
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let name = fields.next().filter(|name| name.starts_with(NSFS_PREFIX))?;
        Some((name.to_owned(), PathBuf::from(fields.next().unwrap_or_default())))
    });
    let mounted: Vec<_> = mounted.collect();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path().join("ns/net"));
    let entered = processes.filter_map(|path| Some((fs::read_link(&path).ok()?.to_str()?.to_owned(), path)));
    mounted.into_iter().chain(entered)
}

/// Namespaces belong to threads: whatever changes one happens on a thread that ends with it.
fn on_own_thread<R: Send>(work: impl FnOnce() -> R + Send) -> io::Result<R> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, work)?;
        Ok(thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic)))
    })
}

/// How an operation on a namespace failed.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The kernel made no new namespace.
    #[error("cannot create a network namespace")]
    Create {
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Nothing to open.
    #[error("cannot open the network namespace {}", path.display())]
    Open {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A descriptor of something else.
    #[error("not a network namespace: {found}")]
    NotANamespace {
        /// What it is instead.
        found: String,
    },
    /// It could not be kept under a path.
    #[error("cannot keep a network namespace at {}", path.display())]
    Bind {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Its path could not be removed.
    #[error("cannot remove the network namespace at {}", path.display())]
    Unbind {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

impl NetnsError {
    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotANamespace { .. } => None,
            Self::Create { cause }
            | Self::Open { cause, .. }
            | Self::Bind { cause, .. }
            | Self::Unbind { cause, .. } => match Errno::from_io_error(cause)? {
                Errno::PERM | Errno::ACCESS => Some("needs CAP_SYS_ADMIN"),
                Errno::EXIST => Some("another namespace may be kept there: choose another path, or remove it"),
                Errno::INVAL => Some("something other than a kept namespace is there: look before you remove it"),
                Errno::NOSPC => Some("raise user.max_net_namespaces, or end what holds namespaces"),
                _ => None,
            },
        }
    }
}
