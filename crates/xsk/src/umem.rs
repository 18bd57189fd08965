use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

use crate::frame::{Frame, UmemId};
use crate::layout::Layout;
use crate::ledger::{Census, Ledger, Owner};
use crate::mapping::Mapping;
use crate::refusal::DescriptorRefused;
use crate::ring::{Address, Descriptor, RingName};

/// Memory in chunks that user space and the kernel pass to and fro, and the ledger of who owns each.
#[derive(Debug)]
pub struct Umem {
    id: UmemId,
    layout: Layout,
    memory: Arc<Mapping>,
    ledger: Ledger,
}

impl Umem {
    /// Maps the file of a UMEM; all its chunks are free. Whoever has the file can truncate it, and then touching a frame ends the process
    /// with SIGBUS: map none whose other holders you do not trust.
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
        Self { id: UmemId::next(), layout, memory: Arc::new(memory), ledger: Ledger::new(layout.frames()) }
    }

    /// Takes a free chunk: an empty frame with the layout's capacity. `None` when no chunk is free.
    pub fn allocate(&mut self) -> Option<Frame> {
        let chunk = self.ledger.lend(Owner::Held)?;
        let (offset, capacity) = (short(self.layout.frame_offset()), short(self.layout.frame_capacity()));
        Some(Frame::mint(self.id, chunk, offset, 0, capacity))
    }

    /// Takes a frame back.
    ///
    /// # Panics
    /// If the frame is of another UMEM.
    pub fn release(&mut self, frame: Frame) {
        self.own(&frame);
        let released = self.ledger.pass(frame.chunk(), Owner::Held, Owner::Home);
        debug_assert_eq!(released, Ok(()), "a frame is the only right to its chunk");
    }

    /// The bytes of a frame.
    ///
    /// # Panics
    /// If the frame is of another UMEM.
    #[must_use]
    pub fn bytes(&self, frame: &Frame) -> &[u8] {
        let start = self.start_of(frame);
        // SAFETY: `start_of` found the bytes inside the mapping. The frame is the only right to its chunk: no other frame, and no ring,
        // has it while this one is borrowed, and writing through it takes `&mut Frame`.
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

    /// The memory itself, which stays mapped for as long as anybody has it, this UMEM or not.
    #[must_use]
    pub fn memory(&self) -> UmemMemory {
        UmemMemory(Arc::clone(&self.memory))
    }

    /// The shape of the memory.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Chunks that the user holds as frames.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.ledger.count(Owner::Held)
    }

    /// How many chunks each owner has.
    #[must_use]
    pub fn census(&self) -> Census {
        self.ledger.census()
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

    /// Takes a free chunk for FILL.
    pub(crate) fn lend_to_fill(&mut self) -> Option<Address> {
        self.ledger.lend(Owner::Fill).map(|chunk| Address(self.chunk_address(chunk)))
    }

    /// Turns a frame of this UMEM into a TX descriptor.
    pub(crate) fn lend_to_tx(&mut self, frame: Frame) -> Descriptor {
        self.own(&frame);
        let descriptor = Descriptor { address: self.address(&frame), len: u32::from(short(frame.len())), options: 0 };
        let lent = self.ledger.pass(frame.chunk(), Owner::Held, Owner::Tx);
        debug_assert_eq!(lent, Ok(()), "a frame is the only right to its chunk");
        descriptor
    }

    /// Turns an RX descriptor into a frame, if it is one.
    pub(crate) fn received(&mut self, descriptor: Descriptor) -> Result<Frame, DescriptorRefused> {
        let ring = RingName::Rx;
        let Descriptor { address, len, options } = descriptor;
        let (chunk, offset) = self.place_of(ring, address)?;
        let room = self.layout.frame_size() - u32::from(offset);
        if len > room {
            return Err(DescriptorRefused::TooLong { ring, address, len, room });
        }
        if options != 0 {
            return Err(DescriptorRefused::Options { ring, chunk, options });
        }
        self.take_back(ring, chunk, Owner::Fill, Owner::Held)?;
        Ok(Frame::mint(self.id, chunk, offset, short(len), short(room)))
    }

    /// Takes back the chunk of a COMPLETION address, if it is one.
    pub(crate) fn completed(&mut self, address: Address) -> Result<(), DescriptorRefused> {
        let ring = RingName::Completion;
        let (chunk, _) = self.place_of(ring, address.0)?;
        self.take_back(ring, chunk, Owner::Tx, Owner::Home)
    }

    fn take_back(&mut self, ring: RingName, chunk: u32, from: Owner, to: Owner) -> Result<(), DescriptorRefused> {
        self.ledger.pass(chunk, from, to).map_err(|owner| {
            // `place_of` found the chunk, so it has an owner.
            DescriptorRefused::NotLent { ring, chunk, owner: owner.unwrap_or(Owner::Home) }
        })
    }

    /// The chunk of an address, and the address's place in it.
    pub(crate) fn place_of(&self, ring: RingName, address: u64) -> Result<(u32, u16), DescriptorRefused> {
        let frame_size = u64::from(self.layout.frame_size());
        let outside = DescriptorRefused::OutsideUmem { ring, address, umem_bytes: self.layout.umem_bytes() };
        let chunk = u32::try_from(address / frame_size).map_err(|_| outside)?;
        if chunk >= self.layout.frames() {
            return Err(outside);
        }
        Ok((chunk, short(address % frame_size)))
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

/// The mapped memory of a UMEM, for those who reach it by address: a language that has views of its own. What is at an address belongs
/// to whoever owns that chunk; a write by anybody else spoils a frame, and nothing beside it.
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

/// A number of bytes within one chunk, of which the largest has 4096.
fn short<N: TryInto<u16>>(bytes: N) -> u16 {
    bytes.try_into().unwrap_or_else(|_| unreachable!("a chunk has at most 4096 bytes"))
}
