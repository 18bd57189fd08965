//! The memory that the kernel shares, and the system call that runs a program.

use std::ffi::c_void;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use rustix::param::page_size;

use crate::layout::{RING_CHUNK, RING_SLOTS, RingControl};
use crate::memory::Memory;

/// A mapping for as long as the value lives.
#[derive(Debug)]
struct Mapping {
    start: NonNull<c_void>,
    bytes: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread; its words are atomic.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn of_fd(fd: BorrowedFd<'_>, bytes: usize, offset: usize, access: ProtFlags) -> io::Result<Self> {
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a null hint lets the kernel choose, so no mapping that exists is replaced.
        let start = unsafe { mmap(ptr::null_mut(), bytes, access, flags, fd, offset as u64) }?;
        Self::at(start, bytes)
    }

    fn anonymous(bytes: usize) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: as above.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), bytes, access, MapFlags::SHARED) }?;
        Self::at(start, bytes)
    }

    fn at(start: *mut c_void, bytes: usize) -> io::Result<Self> {
        Ok(Self { start: NonNull::new(start).ok_or(io::ErrorKind::AddrNotAvailable)?, bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this value made the mapping and is the only one to end it; what points into it borrows from `self`.
        let result = unsafe { munmap(self.start.as_ptr(), self.bytes) };
        debug_assert!(result.is_ok(), "munmap of a whole mapping: {result:?}");
    }
}

/// [`RingControl`] as both sides have it: of atomic words, so that whatever is written meanwhile is a value.
#[repr(C)]
struct Words {
    asleep: AtomicU32,
    zero: [AtomicU32; 15],
    rx: [[AtomicU32; 2]; RING_SLOTS as usize],
    tx: [[AtomicU32; 4]; RING_SLOTS as usize],
}

const _: () = assert!(size_of::<Words>() == size_of::<RingControl>());
const _: () = assert!(offset_of!(Words, rx) == offset_of!(RingControl, rx));
const _: () = assert!(offset_of!(Words, tx) == offset_of!(RingControl, tx));

/// The memory that a client and the programs share, mapped for as long as any clone lives.
#[derive(Clone, Debug)]
pub struct Control(Arc<Mapping>);

impl Control {
    /// Maps the array of a queue.
    ///
    /// # Errors
    /// What `mmap` answered: it refuses an array that is too small.
    pub fn map(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        Ok(Self(Arc::new(Mapping::of_fd(fd, size_of::<Words>(), 0, access)?)))
    }

    /// Memory that no kernel knows.
    ///
    /// # Errors
    /// What `mmap` answered.
    pub fn anonymous() -> io::Result<Self> {
        Ok(Self(Arc::new(Mapping::anonymous(size_of::<Words>())?)))
    }

    #[inline]
    fn words(&self) -> &Words {
        // SAFETY: as many bytes are mapped, from a page on, for as long as `self` lives; any bytes are atomic words.
        unsafe { self.0.start.cast().as_ref() }
    }
}

impl Memory for Control {
    type Word = AtomicU32;

    #[inline]
    fn asleep(&self) -> &AtomicU32 {
        &self.words().asleep
    }

    #[inline]
    fn rx(&self, slot: u32) -> [&AtomicU32; 2] {
        let [sequence, value] = &self.words().rx[(slot % RING_SLOTS) as usize];
        [sequence, value]
    }

    #[inline]
    fn tx(&self, slot: u32) -> [&AtomicU32; 3] {
        let [sequence, address, length, _] = &self.words().tx[(slot % RING_SLOTS) as usize];
        [sequence, address, length]
    }
}

/// The positions of a BPF ring buffer: ours on its first page, the kernel's on the second.
#[derive(Debug)]
pub(crate) struct RingBuffer {
    consumer: Mapping,
    producer: Mapping,
}

impl RingBuffer {
    pub(crate) fn map(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let page = page_size();
        Ok(Self {
            consumer: Mapping::of_fd(fd, page, 0, ProtFlags::READ | ProtFlags::WRITE)?,
            // The kernel refuses to have it written.
            producer: Mapping::of_fd(fd, page, page, ProtFlags::READ)?,
        })
    }

    /// The consumer's and the producer's. The latter must not be stored to: it is mapped read-only.
    pub(crate) fn positions(&self) -> (&AtomicUsize, &AtomicUsize) {
        // SAFETY: a page is mapped for as long as `self` lives, and begins with an `unsigned long`.
        let consumer = unsafe { self.consumer.start.cast().as_ref() };
        // SAFETY: as above.
        let producer = unsafe { self.producer.start.cast().as_ref() };
        (consumer, producer)
    }
}

const BPF_PROG_TEST_RUN: i32 = 10;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
/// Frames that the kernel has in hand at a time. It takes up to 256 (`TEST_XDP_MAX_BATCH`), but uses the pages of one
/// batch for the next, while they are still in a cache: 64 a batch sent a tenth more frames on 6.18.44.
const MAX_BATCH: u32 = 64;
/// Bytes of an Ethernet header: the kernel takes no shorter frame.
const MIN_LENGTH: u32 = 14;

/// `union bpf_attr`, as [`BPF_PROG_TEST_RUN`] reads it.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    zero: u32,
}

/// Runs a program once for each of the `waiting` frames in its ring: it takes them there, and what it is given counts
/// for nothing. That is `length` bytes long, so that frames of this length fit without being resized.
///
/// # Errors
/// What the kernel answered. Some frames may have been sent all the same.
#[doc(alias = "BPF_PROG_TEST_RUN")]
pub fn send(program: BorrowedFd<'_>, waiting: u32, length: u32) -> io::Result<()> {
    static NOTHING: [u8; RING_CHUNK as usize] = [0; RING_CHUNK as usize];
    if waiting == 0 {
        return Ok(());
    }
    let mut attributes = TestRun {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        data_size_in: length.clamp(MIN_LENGTH, RING_CHUNK),
        data_in: NOTHING.as_ptr().addr() as u64,
        repeat: waiting,
        flags: BPF_F_TEST_XDP_LIVE_FRAMES,
        batch_size: waiting.min(MAX_BATCH),
        ..Default::default()
    };
    // SAFETY: as many bytes as said, which live during the call; the kernel writes no others, and only reads those that
    // `data_in` points to, of which there are `RING_CHUNK`.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, ptr::from_mut(&mut attributes), size_of::<TestRun>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
