//! What libxdp wants for loading BPF programs, refused or left empty, so that it is not linked: libelf and zlib, with
//! which libbpf reads object files and the kernel's configuration, and libxdp's own programs, which are GPL-2.0.
//!
//! Nothing is loaded here: libxdp only makes sockets for us, with loading inhibited, and our programs come from
//! `xsknet-bpf`, which has a loader of its own. With these in place the linker's `--as-needed` drops libelf.so and
//! libz.so, so that a host needs neither, and takes no program out of libxdp's archive. If libbpf did open an object,
//! `elf_version` would report that no version is known, and it would end with `LIBBPF_ERRNO__LIBELF`: whatever
//! reads objects asks that first, or begins with `elf_begin` or `elf_memory`, which give it nothing.
//!
//! The declarations follow `libelf.h`, `gelf.h` (elfutils 0.188), `zlib.h` and `libxdp.c`; every handle of theirs is a
//! pointer that is never looked at.

use std::arch::global_asm;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr;

type Pointer = *mut c_void;

/// Without this a cdylib exports the name, and whatever else the process has of that name takes its place: Node has a
/// zlib.
macro_rules! hide {
    ($name:ident) => {
        global_asm!(concat!(".hidden ", stringify!($name)));
    };
}

/// One line per function: its name, its arguments, its result, and the value that means refusal.
macro_rules! refuse {
    ($($name:ident($($argument:ty),*) -> $answer:ty = $no:expr;)*) => {$(
        // SAFETY: libelf and zlib, whose names these are, are not linked beside it; and it does nothing.
        #[unsafe(no_mangle)]
        extern "C" fn $name($(_: $argument),*) -> $answer {
            $no
        }
        hide!($name);
    )*};
}

/// The begin and the end of an object that is not there.
macro_rules! leave_out {
    ($($edge:ident)*) => {$(
        // SAFETY: libxdp's archive, whose names these are, is searched for them only where they are missing.
        #[unsafe(no_mangle)]
        static $edge: u8 = 0;
        hide!($edge);
    )*};
}

refuse! {
    elf_version(c_uint) -> c_uint = 0; // EV_NONE
    elf_errmsg(c_int) -> *const c_char = c"this program reads no object files".as_ptr();
    elf_begin(c_int, c_uint, Pointer) -> Pointer = ptr::null_mut();
    elf_memory(*mut c_char, usize) -> Pointer = ptr::null_mut();
    elf_end(Pointer) -> c_int = 0; // no reference is left
    elf_kind(Pointer) -> c_uint = 0; // ELF_K_NONE
    elf_getdata(Pointer, Pointer) -> Pointer = ptr::null_mut();
    elf_rawdata(Pointer, Pointer) -> Pointer = ptr::null_mut();
    elf_getscn(Pointer, usize) -> Pointer = ptr::null_mut();
    elf_nextscn(Pointer, Pointer) -> Pointer = ptr::null_mut();
    elf_ndxscn(Pointer) -> usize = 0; // SHN_UNDEF
    elf_strptr(Pointer, usize, usize) -> *mut c_char = ptr::null_mut();
    elf_getphdrnum(Pointer, *mut usize) -> c_int = -1;
    elf_getshdrnum(Pointer, *mut usize) -> c_int = -1;
    elf_getshdrstrndx(Pointer, *mut usize) -> c_int = -1;
    elf64_getehdr(Pointer) -> Pointer = ptr::null_mut();
    elf64_getshdr(Pointer) -> Pointer = ptr::null_mut();
    gelf_getclass(Pointer) -> c_int = 0; // ELFCLASSNONE
    gelf_getehdr(Pointer, Pointer) -> Pointer = ptr::null_mut();
    gelf_getphdr(Pointer, c_int, Pointer) -> Pointer = ptr::null_mut();
    gelf_getshdr(Pointer, Pointer) -> Pointer = ptr::null_mut();
    gelf_getsym(Pointer, c_int, Pointer) -> Pointer = ptr::null_mut();
    gelf_getversym(Pointer, c_int, Pointer) -> Pointer = ptr::null_mut();
    gelf_getverdef(Pointer, c_int, Pointer) -> Pointer = ptr::null_mut();
    gelf_getverdaux(Pointer, c_int, Pointer) -> Pointer = ptr::null_mut();
    gelf_getnote(Pointer, usize, Pointer, *mut usize, *mut usize) -> usize = 0; // no further note
    gzopen64(*const c_char, *const c_char) -> Pointer = ptr::null_mut();
    gzgets(Pointer, *mut c_char, c_int) -> *mut c_char = ptr::null_mut();
    gzclose(Pointer) -> c_int = -2; // Z_STREAM_ERROR
}

leave_out! {
    _binary_xdp_dispatcher_o_start _binary_xdp_dispatcher_o_end
    _binary_xsk_def_xdp_prog_o_start _binary_xsk_def_xdp_prog_o_end
    _binary_xsk_def_xdp_prog_5_3_o_start _binary_xsk_def_xdp_prog_5_3_o_end
}
