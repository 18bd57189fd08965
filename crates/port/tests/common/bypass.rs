//! Has a NIC run another program than the kernel shows the daemon's link to be of, as a driver does that lost it: what
//! comes is passed to the host, and the daemon's program sees none of it.

use std::ffi::{CString, c_long};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const BPF_PROG_LOAD: c_long = 5;
const BPF_OBJ_GET: c_long = 7;
const BPF_LINK_UPDATE: c_long = 29;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
const BPF_XDP: u32 = 37;

/// The first 72 bytes of `union bpf_attr`.
#[repr(C, align(8))]
#[derive(Default)]
struct Attribute([u32; 18]);

impl Attribute {
    fn pointer(&mut self, word: usize, to: u64) {
        self.0[word..word + 2].copy_from_slice(&[to as u32, (to >> 32) as u32]);
    }

    fn call(&self, command: c_long) -> io::Result<RawFd> {
        // SAFETY: the kernel reads the attribute, which is as long as it is said to be, and what its pointers lead to,
        // which their callers keep.
        let answer = unsafe { libc::syscall(libc::SYS_bpf, command, self, size_of::<Self>()) };
        if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as RawFd) }
    }

    fn open(&self, command: c_long) -> io::Result<OwnedFd> {
        // SAFETY: of these commands the answer is a new descriptor, which nobody else has.
        self.call(command).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// From now on the link that is pinned there is of a program that passes all.
pub fn bypass(pin: &Path) -> io::Result<()> {
    // r0 = XDP_PASS; exit
    let instructions: [u64; 2] = [2 << 32 | 0xb7, 0x95];
    let mut load = Attribute::default();
    load.0[0] = BPF_PROG_TYPE_XDP;
    load.0[1] = 2;
    load.pointer(2, instructions.as_ptr() as u64);
    load.pointer(4, c"GPL".as_ptr() as u64);
    load.0[11] = BPF_F_XDP_HAS_FRAGS;
    load.0[17] = BPF_XDP;
    let program = load.open(BPF_PROG_LOAD)?;

    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut get = Attribute::default();
    get.pointer(0, path.as_ptr() as u64);
    let link = get.open(BPF_OBJ_GET)?;

    let mut update = Attribute::default();
    update.0[..2].copy_from_slice(&[link.as_raw_fd() as u32, program.as_raw_fd() as u32]);
    update.call(BPF_LINK_UPDATE).map(drop)
}
