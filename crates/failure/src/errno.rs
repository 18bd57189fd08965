//! The names of errnos, as `errno(3)` lists them.

macro_rules! names {
    ($($name:ident)*) => {
        /// `EBUSY` for 16; `errno N` for a number that has no name.
        #[must_use]
        pub fn errno_name(errno: i32) -> String {
            match errno {
                $(libc::$name => stringify!($name).into(),)*
                other => format!("errno {other}"),
            }
        }
    };
}

names! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST EXDEV
    ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK
    ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ENODATA ETIME ENOLINK EPROTO EBADMSG EOVERFLOW EILSEQ EUSERS ENOTSOCK
    EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT
    EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN
    ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EDQUOT EREMOTEIO EUNATCH
    ECANCELED
}

#[cfg(test)]
mod tests {
    use super::errno_name;

    #[test]
    fn an_errno_has_the_name_of_the_manual() {
        assert_eq!([1, 16, 95, 125].map(errno_name), ["EPERM", "EBUSY", "EOPNOTSUPP", "ECANCELED"]);
        assert_eq!([0, -16, 4000].map(errno_name), ["errno 0", "errno -16", "errno 4000"]);
    }
}
