use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

use crate::frame::{Frame, UmemId};
use crate::layout::Layout;
use crate::ledger::{ChunkCounts, EndpointId, Ledger, Owner, Tag};
use crate::lent::{CONTINUES, LentDescriptor, NOWHERE, load, store};
use crate::mapping::Mapping;
use crate::refusal::DescriptorRefused;
use crate::ring::{Address, Descriptor, RingName, XDP_PKT_CONTD};

/// Memory in chunks that user space and the kernel exchange, and the ledger of their owners.
#[derive(Debug)]
pub struct Umem {
    id: UmemId,
    layout: Layout,
    memory: Arc<Mapping>,
    ledger: Ledger,
    /// An address shifted right by this is its chunk.
    chunk_shift: u32,
}

impl Umem {
    /// Maps the file of a UMEM; all its chunks are free. A process that has the file can truncate it, and then touching
    /// a frame ends the process with SIGBUS: map none whose other holders you do not trust.
    ///
    /// # Errors
    /// What `mmap` answered.
    pub fn map(fd: BorrowedFd<'_>, layout: Layout) -> io::Result<Self> {
        Mapping::of_fd(fd, bytes(&layout)?, 0).map(|memory| Self::in_memory(memory, layout))
    }

    /// A UMEM in memory that no kernel knows, for what works on frames and wants none of the network.
    ///
    /// # Errors
    /// What `mmap` answered.
    pub fn anonymous(layout: Layout) -> io::Result<Self> {
        Mapping::anonymous(bytes(&layout)?).map(|memory| Self::in_memory(memory, layout))
    }

    fn in_memory(memory: Mapping, layout: Layout) -> Self {
        let chunk_shift = layout.frame_size().trailing_zeros(); // a power of two
        Self { id: UmemId::next(), layout, memory: Arc::new(memory), ledger: Ledger::new(layout.frames()), chunk_shift }
    }

    /// Takes a free chunk: an empty frame with the layout's capacity. `None` when no chunk is free.
    pub fn allocate(&mut self) -> Option<Frame> {
        let chunk = self.ledger.lend(Tag::HELD)?;
        let (offset, capacity) = (short(self.layout.frame_offset()), short(self.layout.frame_capacity()));
        Some(Frame::mint(self.id, chunk, offset, 0, capacity))
    }

    /// Takes a frame back.
    ///
    /// # Panics
    /// If the frame is of another UMEM.
    pub fn release(&mut self, frame: Frame) {
        self.own(&frame);
        let released = self.ledger.pass(frame.chunk(), Tag::HELD, Tag::FREE);
        debug_assert_eq!(released, Ok(()), "a frame is the only right to its chunk");
    }

    /// The bytes of a frame.
    ///
    /// # Panics
    /// If the frame is of another UMEM.
    #[must_use]
    pub fn bytes(&self, frame: &Frame) -> &[u8] {
        let start = self.start_of(frame);
        // SAFETY: `start_of` found the bytes inside the mapping. The frame is the only right to its chunk: no other
        // frame, and no ring, has it while this one is borrowed, and writing through it takes `&mut Frame`.
        unsafe { slice::from_raw_parts(start.as_ptr(), frame.len()) }
    }

    /// The bytes of a frame, to be written. It takes the UMEM shared, so that several frames can be written at once.
    ///
    /// # Panics
    /// If the frame is of another UMEM.
    #[must_use]
    pub fn bytes_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        let start = self.start_of(frame);
        // SAFETY: as in `bytes`; the exclusive borrow of the frame excludes every other view of its chunk.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), frame.len()) }
    }

    /// Where a frame begins, in bytes from the start of the UMEM.
    #[must_use]
    pub fn address(&self, frame: &Frame) -> u64 {
        self.chunk_address(frame.chunk()) + frame.offset() as u64
    }

    /// The memory itself, which stays mapped as long as there is a reference to it, with or without this UMEM.
    #[must_use]
    pub fn memory(&self) -> UmemMemory {
        UmemMemory(Arc::clone(&self.memory))
    }

    /// The shape of the memory.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Chunks that the user has, as frames or by address.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.chunks().outstanding()
    }

    /// Free chunks.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.ledger.count(Tag::FREE)
    }

    /// How many chunks each owner has, those of all sockets together.
    #[must_use]
    pub fn chunks(&self) -> ChunkCounts {
        self.ledger.chunks(None)
    }

    /// A number that no other UMEM of this process has.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.id.number()
    }

    /// Lends free chunks by address, as many as `table` has room for: empty frames, each with the layout's capacity.
    /// Says how many.
    pub fn lend(&mut self, table: &[LentDescriptor]) -> usize {
        let (shift, offset) = (self.chunk_shift, self.layout.frame_offset());
        let mut places = table.iter();
        let lent = self.ledger.lend_many(saturated(table.len()), Tag::LENT, |chunk| {
            if let Some(place) = places.next() {
                store(place, chunk << shift | offset, 0);
            }
        });
        lent as usize
    }

    /// Takes back chunks that were lent by address, wherever in the chunk it points. Says how many, and how many
    /// addresses had not been lent; [`NOWHERE`] counts as neither.
    pub fn take_back(&mut self, table: &[LentDescriptor]) -> (usize, usize) {
        let (mut taken, mut refused) = (0, 0);
        for place in table {
            let (address, _) = load(place);
            if self.ledger.hand(address >> self.chunk_shift, Tag::LENT, Tag::FREE).is_ok() {
                taken += 1;
            } else {
                refused += usize::from(address != NOWHERE);
            }
        }
        self.ledger.counted(saturated(taken), Tag::LENT, Tag::FREE);
        (taken, refused)
    }

    /// Takes back all that is lent by address, once its borrowers can no longer reach the memory.
    pub fn take_all_back(&mut self) {
        self.ledger.reclaim(Tag::LENT);
    }

    /// Takes up to `count` free chunks for the reception of a socket that is yet to be made: their numbers are sent
    /// to its maker.
    pub fn reserve_chunks(&mut self, count: u32) -> ReservedChunks {
        let mut chunks = Vec::new();
        self.ledger.lend_many(count, Tag::HELD, |chunk| chunks.push(chunk));
        chunks.sort_unstable();
        ReservedChunks { umem: self.id, chunks }
    }

    /// Frees reserved chunks that no socket took.
    ///
    /// # Panics
    /// If they are of another UMEM.
    pub fn release_chunks(&mut self, reserved: ReservedChunks) {
        assert_eq!(reserved.umem, self.id, "chunks of another UMEM");
        for chunk in reserved.chunks {
            let freed = self.ledger.pass(chunk, Tag::HELD, Tag::FREE);
            debug_assert_eq!(freed, Ok(()), "it was reserved");
        }
    }

    /// Whether the frame is one of this UMEM.
    #[must_use]
    pub fn minted(&self, frame: &Frame) -> bool {
        frame.umem() == self.id
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(crate) fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    pub(crate) fn chunk_address(&self, chunk: u32) -> u64 {
        u64::from(chunk) * u64::from(self.layout.frame_size())
    }

    /// Turns a frame of this UMEM into a TX descriptor.
    pub(crate) fn lend_to_tx(&mut self, frame: Frame, of: EndpointId) -> Descriptor {
        self.own(&frame);
        let lent = self.ledger.pass(frame.chunk(), Tag::HELD, Tag::tx(of));
        debug_assert_eq!(lent, Ok(()), "a frame is the only right to its chunk");
        let options = if frame.continues() { XDP_PKT_CONTD } else { 0 };
        Descriptor { address: self.address(&frame), len: u32::from(short(frame.len())), options }
    }

    /// A frame out of what [`Umem::arrived`] handed to [`Tag::HELD`].
    pub(crate) fn mint(id: UmemId, arrived: Arrived) -> Frame {
        let Arrived { chunk, offset, len, room, continues, .. } = arrived;
        let mut frame = Frame::mint(id, chunk, short(offset), short(len), short(room));
        frame.set_continues(continues);
        frame
    }

    /// Passes the chunk of an RX descriptor on, if that is one. The counts are the caller's.
    #[inline]
    pub(crate) fn arrived(&mut self, descriptor: Descriptor, from: Tag, to: Tag) -> Result<Arrived, DescriptorRefused> {
        let ring = RingName::Rx;
        let Descriptor { address, len, options } = descriptor;
        let (chunk, offset) = self.place_of(ring, address)?;
        let room = self.layout.frame_size() - offset;
        if len > room {
            return Err(DescriptorRefused::TooLong { ring, address, len, room });
        }
        match self.ledger.hand(chunk, from, to) {
            Ok(()) => Ok(Arrived { chunk, offset, len, room, continues: options != 0 }),
            // `place_of` found the chunk, so it has an owner.
            Err(owner) => Err(DescriptorRefused::NotLent { ring, chunk, owner: owner.unwrap_or(Owner::Free) }),
        }
    }

    /// Writes the place of a frame that has been lent by address.
    #[inline]
    pub(crate) fn note(shift: u32, place: &LentDescriptor, arrived: Arrived) {
        let more = if arrived.continues { CONTINUES } else { 0 };
        store(place, arrived.chunk << shift | arrived.offset, arrived.len | more);
    }

    /// Passes a chunk that was lent by address to TX, if it was and the frame can be sent. The counts are the caller's.
    #[inline]
    pub(crate) fn departs(&mut self, address: u32, len: u32, to: Tag) -> bool {
        let offset = address & (self.layout.frame_size() - 1);
        len != 0
            && len <= self.layout.frame_size() - offset
            && self.ledger.hand(address >> self.chunk_shift, Tag::LENT, to).is_ok()
    }

    /// Frees a chunk that was lent by address and says how many that were, 1 or none. The counts are the caller's.
    pub(crate) fn give_up(&mut self, address: u32) -> u32 {
        self.free_from(address, Tag::LENT)
    }

    /// [`Umem::give_up`] of a chunk that `from` owns.
    pub(crate) fn free_from(&mut self, address: u32, from: Tag) -> u32 {
        u32::from(self.ledger.hand(address >> self.chunk_shift, from, Tag::FREE).is_ok())
    }

    /// Why an RX descriptor with unknown options is refused.
    pub(crate) fn refusal_of_options(&self, descriptor: Descriptor) -> DescriptorRefused {
        let (ring, Descriptor { options, .. }) = (RingName::Rx, descriptor);
        match self.place_of(ring, descriptor.address) {
            Ok((chunk, _)) => DescriptorRefused::Options { ring, chunk, options },
            Err(outside) => outside,
        }
    }

    /// Takes back the chunk of a COMPLETION address, if it is one. The counts are the caller's.
    #[inline]
    pub(crate) fn completed(&mut self, address: Address, from: Tag) -> Result<(), DescriptorRefused> {
        let ring = RingName::Completion;
        let (chunk, _) = self.place_of(ring, address.0)?;
        self.ledger.hand(chunk, from, Tag::FREE).map_err(|owner| DescriptorRefused::NotLent {
            ring,
            chunk,
            owner: owner.unwrap_or(Owner::Free),
        })
    }

    #[inline]
    pub(crate) fn chunk_shift(&self) -> u32 {
        self.chunk_shift
    }

    pub(crate) fn id(&self) -> UmemId {
        self.id
    }

    /// The chunk of an address, and the address's place in it.
    #[inline]
    fn place_of(&self, ring: RingName, address: u64) -> Result<(u32, u32), DescriptorRefused> {
        match u32::try_from(address) {
            Ok(address) if address >> self.chunk_shift < self.layout.frames() => {
                Ok((address >> self.chunk_shift, address & (self.layout.frame_size() - 1)))
            }
            _ => Err(DescriptorRefused::OutsideUmem { ring, address, umem_bytes: self.layout.umem_bytes() }),
        }
    }

    fn own(&self, frame: &Frame) {
        assert!(self.minted(frame), "a frame of another UMEM: it belongs to the socket that it came from");
    }

    fn start_of(&self, frame: &Frame) -> NonNull<u8> {
        self.own(frame);
        let start = self.memory.pointer_to::<u8>(self.address(frame), frame.capacity());
        start.expect("a frame's chunk lies in the UMEM that minted it")
    }
}

/// What an RX descriptor says about a chunk.
#[derive(Clone, Copy, Default)]
pub(crate) struct Arrived {
    pub(crate) chunk: u32,
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) room: u32,
    pub(crate) continues: bool,
}

/// Free chunks that are kept for the reception of a socket that is yet to be made.
#[must_use = "give them to the socket, or release them"]
#[derive(Debug)]
pub struct ReservedChunks {
    umem: UmemId,
    chunks: Vec<u32>,
}

impl ReservedChunks {
    /// Their numbers, in rising order.
    #[must_use]
    pub fn chunks(&self) -> &[u32] {
        &self.chunks
    }

    pub(crate) fn umem(&self) -> UmemId {
        self.umem
    }
}

/// The mapped memory of a UMEM, for access by address: by a language that has views of its own. What is at an
/// address belongs to the owner of that chunk; a write by others corrupts that frame and nothing else.
#[derive(Clone, Debug)]
pub struct UmemMemory(Arc<Mapping>);

impl UmemMemory {
    /// Where it begins. Valid for as long as any clone of this value lives.
    #[must_use]
    pub fn start(&self) -> NonNull<u8> {
        self.0.start()
    }

    /// Its bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.bytes()
    }

    /// Whether it has no byte: never, a UMEM has at least one chunk.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn bytes(layout: &Layout) -> io::Result<usize> {
    usize::try_from(layout.umem_bytes()).map_err(|_| io::ErrorKind::OutOfMemory.into())
}

fn saturated(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A number of bytes within one chunk; the largest chunk has 4096.
fn short<N: TryInto<u16>>(bytes: N) -> u16 {
    bytes.try_into().unwrap_or_else(|_| unreachable!("a chunk has at most 4096 bytes"))
}
