//! What the kernel knows of a program that is not ours.

use std::fmt;
use std::io;

use aya::programs::{ProgramError, loaded_programs};

/// A loaded program, looked up by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramDescription {
    /// The kernel's id.
    pub id: u32,
    /// Up to 15 bytes; may be empty.
    pub name: String,
    /// A hash of the instructions, as `bpftool` prints it.
    pub tag: String,
}

impl fmt::Display for ProgramDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "program {} {:?} (tag {})", self.id, self.name, self.tag)
    }
}

/// Name and tag of the program with this id; `None` if there is none.
///
/// Netlink says which program is on a device (`IFLA_XDP`).
///
/// # Errors
///
/// The kernel's refusal, EPERM without `CAP_SYS_ADMIN`.
pub fn describe_program(id: u32) -> io::Result<Option<ProgramDescription>> {
    for program in loaded_programs() {
        match program {
            Ok(program) if program.id() == id => {
                return Ok(Some(ProgramDescription {
                    id,
                    name: String::from_utf8_lossy(program.name()).into_owned(),
                    tag: format!("{:016x}", program.tag()),
                }));
            }
            Ok(_) => {}
            // Unloaded between its id and its fd.
            Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(ProgramError::SyscallError(error)) => return Err(error.io_error),
            Err(error) => return Err(io::Error::other(error)),
        }
    }
    Ok(None)
}
