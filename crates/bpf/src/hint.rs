//! What to do about an answer of the kernel, whatever was attempted.

use std::error::Error;
use std::io;

/// The answers that one remedy helps against.
const REMEDIES: [(i32, &str); 6] = [
    (libc::EROFS, "that file system is mounted read-only: `mount -o remount,rw` lets it be written to"),
    (libc::EMFILE, "this process has as many open files as it may: raise `LimitNOFILE=` of its unit, or `ulimit -n`"),
    (libc::ENFILE, "the machine has as many open files as it may: raise the sysctl `fs.file-max`"),
    (libc::ENOSPC, "nothing more fits: the file system is full, or a limit of the kernel is reached"),
    (libc::ENOMEM, "the kernel has no memory for it: free some, or ask for less"),
    (libc::ENOTDIR, "a part of that path is not a folder"),
];

/// The remedy against what the kernel answered, where the answer alone suffices; `None` where the attempt decides.
pub fn remedy(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let errno = errno(error)?;
    REMEDIES.iter().find(|(its, _)| *its == errno).map(|(_, remedy)| *remedy)
}

/// What the kernel answered, however deep it lies.
pub fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.find_map(|error| error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_decides_where_it_says_enough() {
        let remedy = |errno| remedy(&io::Error::from_raw_os_error(errno));
        assert!(remedy(libc::EROFS).unwrap().contains("read-only"));
        assert!(remedy(libc::EMFILE).unwrap().contains("LimitNOFILE="));
        assert_eq!(remedy(libc::EPERM), None);
        assert_eq!(super::remedy(&io::Error::other("no answer of the kernel's")), None);
    }
}
