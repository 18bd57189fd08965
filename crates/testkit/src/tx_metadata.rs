//! An AF_XDP socket in copy mode whose frames ask the device for a checksum (`XDP_TXMD_FLAGS_CHECKSUM`, since Linux
//! 6.8). It only sends, each frame from a chunk of its own, so that it needs no completions.

use std::io;
use std::mem::{MaybeUninit, size_of, size_of_val};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use xsknet_link::{IfIndex, Netns};

const FRAMES: u32 = 2_048;
const CHUNK: u32 = 2_048;
/// Where a frame stands in its chunk: behind its metadata.
const FRAME_AT: u32 = 256;
/// `sizeof(struct xsk_tx_metadata)`.
const METADATA: u32 = 24;

/// linux/if_xdp.h
const XDP_TX_RING: libc::c_int = 3;
const XDP_UMEM_REG: libc::c_int = 4;
const XDP_UMEM_FILL_RING: libc::c_int = 5;
const XDP_UMEM_COMPLETION_RING: libc::c_int = 6;
const XDP_MMAP_OFFSETS: libc::c_int = 1;
const XDP_COPY: u16 = 1 << 1;
const XDP_UMEM_TX_METADATA_LEN: u32 = 1 << 2;
const XDP_TXMD_FLAGS_CHECKSUM: u64 = 1 << 1;
const XDP_TX_METADATA: u32 = 1 << 1;
const XDP_PGOFF_TX_RING: u64 = 0x8000_0000;

/// `struct xdp_umem_reg`
#[repr(C)]
struct UmemReg {
    addr: u64,
    len: u64,
    chunk_size: u32,
    headroom: u32,
    flags: u32,
    tx_metadata_len: u32,
}

/// `struct xdp_ring_offset`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RingOffsets {
    producer: u64,
    consumer: u64,
    desc: u64,
    flags: u64,
}

/// `struct xdp_mmap_offsets`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct MmapOffsets {
    rx: RingOffsets,
    tx: RingOffsets,
    fill: RingOffsets,
    completion: RingOffsets,
}

/// `struct xdp_desc`
#[repr(C)]
struct Descriptor {
    addr: u64,
    len: u32,
    options: u32,
}

/// See the module.
#[derive(Debug)]
pub struct MetadataSender {
    fd: OwnedFd,
    umem: Mapping,
    ring: Mapping,
    producer: usize,
    descriptors: usize,
    next: u32,
}

#[derive(Debug)]
struct Mapping {
    at: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is its owner's alone, and bound to no thread.
unsafe impl Send for Mapping {}

impl Mapping {
    fn of(at: *mut libc::c_void, length: usize) -> Self {
        Self { at: NonNull::new(at.cast()).expect("a mapping is nowhere at null"), length }
    }

    /// A place inside for `size` bytes.
    fn place(&self, offset: usize, size: usize) -> *mut u8 {
        assert!(offset + size <= self.length, "{offset} and {size} bytes in {}", self.length);
        // SAFETY: it is inside the mapping.
        unsafe { self.at.as_ptr().add(offset) }
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        let to = self.place(offset, bytes.len());
        // SAFETY: the place is that long, and no reference to it exists.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nobody has a pointer into it any more.
        let _ = unsafe { munmap(self.at.as_ptr().cast(), self.length) };
    }
}

impl MetadataSender {
    /// A socket on queue 0 of a device of the namespace.
    ///
    /// # Errors
    /// The kernel's; EINVAL where it knows no TX metadata.
    pub fn new(namespace: &Netns, device: IfIndex) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers.
        let made = namespace.run(|| done(unsafe { libc::socket(libc::AF_XDP, kind, 0) }))??;
        // SAFETY: the call has just made this descriptor, and nobody else knows of it.
        let fd = unsafe { OwnedFd::from_raw_fd(made) };
        let length = (FRAMES * CHUNK) as usize;
        // SAFETY: a new mapping at a place of the kernel's choice.
        let umem =
            unsafe { mmap_anonymous(null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) }?;
        let umem = Mapping::of(umem, length);
        let registration = UmemReg {
            addr: umem.at.as_ptr() as u64,
            len: length as u64,
            chunk_size: CHUNK,
            headroom: 0,
            flags: XDP_UMEM_TX_METADATA_LEN,
            tx_metadata_len: METADATA,
        };
        set(&fd, XDP_UMEM_REG, &registration)?;
        for ring in [XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_TX_RING] {
            set(&fd, ring, &FRAMES)?;
        }
        let offsets = offsets(&fd)?.tx;
        let length = usize::try_from(offsets.desc).expect("an offset") + FRAMES as usize * size_of::<Descriptor>();
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::POPULATE);
        // SAFETY: a new mapping at a place of the kernel's choice.
        let ring = unsafe { mmap(null_mut(), length, access, flags, fd.as_fd(), XDP_PGOFF_TX_RING) }?;
        let ring = Mapping::of(ring, length);
        let mut address = [0_u8; 16];
        address[..2].copy_from_slice(&(libc::AF_XDP as u16).to_ne_bytes());
        address[2..4].copy_from_slice(&XDP_COPY.to_ne_bytes());
        address[4..8].copy_from_slice(&device.get().to_ne_bytes());
        let length = size_of_val(&address) as libc::socklen_t;
        // SAFETY: a whole sockaddr_xdp, which outlives the call.
        done(unsafe { libc::bind(fd.as_raw_fd(), address.as_ptr().cast(), length) })?;
        let at = |offset: u64| usize::try_from(offset).expect("an offset");
        Ok(Self { fd, umem, ring, producer: at(offsets.producer), descriptors: at(offsets.desc), next: 0 })
    }

    /// Sends a frame whose checksum over all from `start` on the device is to write to `field`. False: its chunks are
    /// used up.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send(&mut self, (start, field): (u16, u16), frame: &[u8]) -> io::Result<bool> {
        if self.next == FRAMES {
            return Ok(false);
        }
        assert!(frame.len() <= (CHUNK - FRAME_AT) as usize, "a frame of {} bytes", frame.len());
        let at = self.next * CHUNK + FRAME_AT;
        let request = [start.to_ne_bytes(), field.wrapping_sub(start).to_ne_bytes()].concat();
        let metadata = [&XDP_TXMD_FLAGS_CHECKSUM.to_ne_bytes()[..], &request, &[0; 12]].concat();
        self.umem.write((at - METADATA) as usize, &metadata);
        self.umem.write(at as usize, frame);
        let slot = self.descriptors + self.next as usize * size_of::<Descriptor>();
        let descriptor =
            [&u64::from(at).to_ne_bytes()[..], &(frame.len() as u32).to_ne_bytes(), &XDP_TX_METADATA.to_ne_bytes()];
        self.ring.write(slot, &descriptor.concat());
        self.next += 1;
        let producer = self.ring.place(self.producer, size_of::<u32>()).cast::<AtomicU32>();
        // SAFETY: the ring's producer index lies there, aligned, as long as the mapping.
        unsafe { &*producer }.store(self.next, Ordering::Release);
        // SAFETY: no pointers to anything.
        let kicked =
            unsafe { libc::sendto(self.fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
        if kicked < 0 { Err(io::Error::last_os_error()) } else { Ok(true) }
    }
}

fn set<T>(fd: &OwnedFd, option: libc::c_int, value: &T) -> io::Result<()> {
    let (from, length) = (std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
    // SAFETY: the option is read from `value`, as long as it is.
    done(unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, from, length) }).map(drop)
}

fn offsets(fd: &OwnedFd) -> io::Result<MmapOffsets> {
    let mut offsets = MaybeUninit::<MmapOffsets>::zeroed();
    let mut length = size_of::<MmapOffsets>() as libc::socklen_t;
    let to = offsets.as_mut_ptr().cast();
    // SAFETY: the kernel writes no more than `length` bytes.
    done(unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, XDP_MMAP_OFFSETS, to, &raw mut length) })?;
    // SAFETY: any bytes are valid, and all were zeroed before the kernel wrote.
    Ok(unsafe { offsets.assume_init() })
}

fn done(answer: i32) -> io::Result<i32> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}
