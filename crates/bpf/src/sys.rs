//! The `bpf()` calls that aya does not offer, or offers with a surprise: its `attach` answers EINVAL by attaching
//! through netlink instead, which hides the refusal and yields something that cannot be pinned.

use std::ffi::{CStr, CString};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya::Pod;
use aya_obj::generated::{
    bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_link_info, bpf_map_info, bpf_map_type, bpf_prog_type,
};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::contract::{
    Claim, FlowKey4, FlowKey6, FlowList, FlowState, GroupKey, GroupMembers, GroupState, Guard, Identity, LinkKey,
    MacKey, PortCounters, RateState, RingState, Source4, Source6, TapEntry, TapState, Target4, Target6, Trace,
};
use crate::counters::Counters;
use crate::mode::TcSide;

// SAFETY: repr(C), all bytes initialised (no padding: the contract's tests compare sizes), any bit pattern valid.
unsafe impl aya::Pod for MacKey {}
// SAFETY: as above.
unsafe impl aya::Pod for TapState {}
// SAFETY: as above.
unsafe impl aya::Pod for TapEntry {}
// SAFETY: as above.
unsafe impl aya::Pod for PortCounters {}
// SAFETY: as above.
unsafe impl aya::Pod for Source4 {}
// SAFETY: as above.
unsafe impl aya::Pod for Source6 {}
// SAFETY: as above.
unsafe impl aya::Pod for Target4 {}
// SAFETY: as above.
unsafe impl aya::Pod for Target6 {}
// SAFETY: as above.
unsafe impl aya::Pod for Claim {}
// SAFETY: as above.
unsafe impl aya::Pod for Guard {}
// SAFETY: as above.
unsafe impl aya::Pod for RateState {}
// SAFETY: as above.
unsafe impl aya::Pod for GroupKey {}
// SAFETY: as above.
unsafe impl aya::Pod for GroupMembers {}
// SAFETY: as above.
unsafe impl aya::Pod for GroupState {}
// SAFETY: as above.
unsafe impl aya::Pod for RingState {}
// SAFETY: as above.
unsafe impl aya::Pod for Identity {}
// SAFETY: as above.
unsafe impl aya::Pod for FlowState {}
// SAFETY: as above.
unsafe impl aya::Pod for FlowKey4 {}
// SAFETY: as above.
unsafe impl aya::Pod for FlowKey6 {}
// SAFETY: as above.
unsafe impl aya::Pod for LinkKey {}
// SAFETY: as above.
unsafe impl aya::Pod for FlowList {}
// SAFETY: as above.
unsafe impl aya::Pod for Trace {}
// SAFETY: transparent over an array of u64.
unsafe impl aya::Pod for Counters {}

/// `BPF_LINK_CREATE` for XDP. The flags are `XDP_FLAGS_*_MODE`.
pub(crate) fn attach_xdp(program: BorrowedFd<'_>, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    attr.link_create.__bindgen_anon_2.target_ifindex = ifindex;
    attr.link_create.attach_type = bpf_attach_type::BPF_XDP as u32;
    attr.link_create.flags = flags;
    let fd = bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr)?;
    // SAFETY: the call has just made this fd, and no other code knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `BPF_LINK_CREATE` for tc ingress or egress (tcx). EINVAL before Linux 6.6.
pub(crate) fn attach_tcx(program: BorrowedFd<'_>, ifindex: u32, side: TcSide) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    attr.link_create.__bindgen_anon_2.target_ifindex = ifindex;
    attr.link_create.attach_type = match side {
        TcSide::Ingress => bpf_attach_type::BPF_TCX_INGRESS as u32,
        TcSide::Egress => bpf_attach_type::BPF_TCX_EGRESS as u32,
    };
    let fd = bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr)?;
    // SAFETY: the call has just made this fd, and no other code knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `BPF_PROG_LOAD` of a program that may answer in the place of a function of the kernel, by the number of its type
/// (`BPF_MODIFY_RETURN`).
pub(crate) fn load_modify_return(instructions: &[bpf_insn], function: u32) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    // SAFETY: the union's part of this command; every bit pattern is valid in it.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = bpf_prog_type::BPF_PROG_TYPE_TRACING as u32;
    load.insns = instructions.as_ptr() as u64;
    load.insn_cnt = instructions.len() as u32;
    load.license = c"GPL".as_ptr() as u64;
    load.expected_attach_type = bpf_attach_type::BPF_MODIFY_RETURN as u32;
    load.attach_btf_id = function;
    let fd = bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr)?;
    // SAFETY: the call has just made this fd, and no other code knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `BPF_RAW_TRACEPOINT_OPEN` of a program that names its function itself: the program runs as long as the link exists.
pub(crate) fn attach_tracing(program: &OwnedFd) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    attr.raw_tracepoint.prog_fd = program.as_raw_fd().cast_unsigned();
    let fd = bpf(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)?;
    // SAFETY: the call has just made this fd, and no other code knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `BPF_LINK_DETACH`: the program is off the device when this returns, even if others hold the link. Closing the last
/// fd of a pinned link leaves that to a work queue.
pub(crate) fn detach(link: &OwnedFd) -> io::Result<()> {
    let mut attr = zeroed();
    attr.link_detach.link_fd = link.as_raw_fd().cast_unsigned();
    bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr).map(drop)
}

/// `BPF_OBJ_PIN`. EEXIST where the path is taken.
pub(crate) fn pin(object: impl AsFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = zeroed();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    attr.__bindgen_anon_4.bpf_fd = object.as_fd().as_raw_fd().cast_unsigned();
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(drop)
}

/// `BPF_OBJ_GET`. ENOENT where nothing is.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = zeroed();
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    let fd = bpf(bpf_cmd::BPF_OBJ_GET, &mut attr)?;
    // SAFETY: the call has just made this fd, and no other code knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `BPF_*_GET_NEXT_ID`: the lowest id above `id`.
pub(crate) fn next_id(command: bpf_cmd, id: u32) -> io::Result<Option<u32>> {
    let mut attr = zeroed();
    attr.__bindgen_anon_6.__bindgen_anon_1.start_id = id;
    match bpf(command, &mut attr) {
        // SAFETY: the kernel has written this field, and every u32 is valid.
        Ok(_) => Ok(Some(unsafe { attr.__bindgen_anon_6.next_id })),
        Err(cause) if cause.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// The clock of the programs, in nanoseconds: bpf_ktime_get_ns().
pub(crate) fn programs_time() -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Monotonic);
    tv_sec as u64 * 1_000_000_000 + tv_nsec as u64
}

/// `BPF_MAP_CREATE`.
pub(crate) fn create_map(
    kind: bpf_map_type,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    name: &CStr,
) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    // SAFETY: the union's part of this command; every bit pattern is valid in it.
    let create = unsafe { &mut attr.__bindgen_anon_1 };
    create.map_type = kind as u32;
    create.key_size = key_size;
    create.value_size = value_size;
    create.max_entries = max_entries;
    create.map_flags = flags;
    // The last byte stays zero.
    let room = create.map_name.len() - 1;
    for (to, from) in create.map_name[..room].iter_mut().zip(name.to_bytes()) {
        *to = from.cast_signed();
    }
    let fd = bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr)?;
    // SAFETY: the call has just made this fd, and no other code knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `BPF_MAP_UPDATE_ELEM` of an array of maps. Waits until no program uses the map that was there.
pub(crate) fn set_inner_map(outer: BorrowedFd<'_>, index: u32, inner: BorrowedFd<'_>) -> io::Result<()> {
    let value = inner.as_raw_fd();
    let mut attr = element(outer, &index);
    attr.__bindgen_anon_2.__bindgen_anon_1.value = (&raw const value) as u64;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// `BPF_MAP_LOOKUP_ELEM` of an array of maps: the kernel's id of the map that is there.
pub(crate) fn inner_map_id(outer: BorrowedFd<'_>, index: u32) -> io::Result<Option<u32>> {
    let mut id = 0u32;
    let mut attr = element(outer, &index);
    attr.__bindgen_anon_2.__bindgen_anon_1.value = (&raw mut id) as u64;
    match bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) {
        Ok(_) => Ok(Some(id)),
        Err(cause) if cause.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// `BPF_MAP_DELETE_ELEM`; what is not there is gone. Of an array of maps, it waits as above.
pub(crate) fn remove_element(map: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    remove(map, &index)
}

/// `BPF_MAP_UPDATE_ELEM`, for a map of this key and value that aya has not made.
pub(crate) fn insert<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K, value: &V, flags: u64) -> io::Result<()> {
    let mut attr = element(map, key);
    attr.__bindgen_anon_2.__bindgen_anon_1.value = std::ptr::from_ref(value) as u64;
    attr.__bindgen_anon_2.flags = flags;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// `BPF_MAP_UPDATE_BATCH`: all of them, or an error with some of them.
pub(crate) fn insert_all<K: Pod, V: Pod>(map: BorrowedFd<'_>, keys: &[K], values: &[V]) -> io::Result<()> {
    assert_eq!(keys.len(), values.len(), "a value for each key");
    if keys.is_empty() {
        return Ok(()); // the kernel would say EINVAL
    }
    let mut attr = zeroed();
    attr.batch.map_fd = map.as_raw_fd().cast_unsigned();
    attr.batch.keys = keys.as_ptr() as u64;
    attr.batch.values = values.as_ptr() as u64;
    attr.batch.count = keys.len() as u32;
    bpf(bpf_cmd::BPF_MAP_UPDATE_BATCH, &mut attr).map(drop)
}

/// `BPF_MAP_DELETE_ELEM` of such a map; what is not there is gone.
pub(crate) fn remove<K: Pod>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    match bpf(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut element(map, key)) {
        Err(cause) if cause.raw_os_error() != Some(libc::ENOENT) => Err(cause),
        _ => Ok(()),
    }
}

fn element<K>(map: BorrowedFd<'_>, key: &K) -> bpf_attr {
    let mut attr = zeroed();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd().cast_unsigned();
    attr.__bindgen_anon_2.key = std::ptr::from_ref(key) as u64;
    attr
}

/// The kernel's id of a map.
pub(crate) fn map_id(map: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: integers and pointers that the kernel alone reads; zero is valid for all.
    let mut info: bpf_map_info = unsafe { mem::zeroed() };
    let mut attr = zeroed();
    attr.info.bpf_fd = map.as_raw_fd().cast_unsigned();
    attr.info.info_len = size_of::<bpf_map_info>() as u32;
    attr.info.info = (&raw mut info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info.id)
}

/// The kernel's ids of a link and of the program in it.
pub(crate) fn link_ids(link: &OwnedFd) -> io::Result<(u32, u32)> {
    let info = link_info(link)?;
    Ok((info.id, info.prog_id))
}

/// The device of an XDP or tcx link, which have it in the same place, in the namespace where it is; 0 once it was
/// detached or the device was deleted.
pub(crate) fn link_device(link: &OwnedFd) -> io::Result<u32> {
    let info = link_info(link)?;
    // SAFETY: every part of the union was zero or filled by the kernel, and every value of an integer is one.
    Ok(unsafe { info.__bindgen_anon_1.xdp.ifindex })
}

fn link_info(link: &OwnedFd) -> io::Result<bpf_link_info> {
    // SAFETY: integers and pointers that the kernel alone reads; zero is valid for all.
    let mut info: bpf_link_info = unsafe { mem::zeroed() };
    let mut attr = zeroed();
    attr.info.bpf_fd = link.as_raw_fd().cast_unsigned();
    attr.info.info_len = size_of::<bpf_link_info>() as u32;
    attr.info.info = (&raw mut info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

fn zeroed() -> bpf_attr {
    // SAFETY: a union of structs of integers; the kernel asks for unused bytes to be zero.
    unsafe { mem::zeroed() }
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: every caller fills the fields of its command, and what they point to outlives the call.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command as u32, &raw mut *attr, size_of::<bpf_attr>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
}
