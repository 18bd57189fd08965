//! Files that one process at a time may hold; the kernel lets go of them however the process ends.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// A held lock. Dropping it removes the file, so that nothing stays behind, then lets go.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock, or `None` where another process holds it.
    pub(crate) fn attempt(path: &Path) -> io::Result<Option<Self>> {
        Self::take(path, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes the lock as soon as nobody else holds it.
    pub(crate) fn wait(path: &Path) -> io::Result<Self> {
        Ok(Self::take(path, FlockOperation::LockExclusive)?.expect("a blocking lock is never refused"))
    }

    fn take(path: &Path, operation: FlockOperation) -> io::Result<Option<Self>> {
        loop {
            let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
            let file = match opened {
                // The last one to leave removes the folder, perhaps a moment ago.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                    make_folder_of(path)?;
                    continue;
                }
                opened => opened?,
            };
            match flock(&file, operation) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            // The last holder removes the file: a lock on a file without a name keeps nobody out.
            let named =
                std::fs::metadata(path).is_ok_and(|meta| file.metadata().is_ok_and(|own| own.ino() == meta.ino()));
            if named {
                return Ok(Some(Self { path: path.into(), _file: file }));
            }
        }
    }
}

fn make_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::NotFound)?;
    match DirBuilder::new().mode(0o755).create(folder) {
        // Whatever the umask is: clients of any user find the control socket in there.
        Ok(()) => match std::fs::set_permissions(folder, Permissions::from_mode(0o755)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
            set => set,
        },
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        refused => refused,
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_no_file_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let held = Lock::attempt(&path).unwrap().expect("free");
        assert!(Lock::attempt(&path).unwrap().is_none());
        drop(held);
        assert!(!path.exists());
        assert!(Lock::attempt(&path).unwrap().is_some());
    }

    #[test]
    fn its_folder_may_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/a.lock");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        drop(Lock::wait(&path).unwrap());
                        let _ = std::fs::remove_dir(path.parent().unwrap());
                    }
                });
            }
        });
        assert!(!path.parent().unwrap().exists());
        assert!(Lock::attempt(&folder.path().join("no/such/a.lock")).is_err());
    }

    #[test]
    fn waiters_get_it_one_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let inside = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let held = Lock::wait(&path).unwrap();
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(held);
                    }
                });
            }
        });
        assert!(!path.exists());
    }
}
