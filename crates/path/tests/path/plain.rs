//! Rings without a kernel and without descriptors, and the two that a test plays: the kernel, and the other language.

use std::cell::{RefCell, RefMut};
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use xsknet_path::{ChunkCounts, DataPath, Pool, Rings, Slate, Word, Words};
use xsknet_xsk::ring::Descriptor;
use xsknet_xsk::{
    CONTINUES, Closed, FlushError, Frame, Layout, LayoutBuilder, LentDescriptor, NOWHERE, Readiness, RingBroken,
    SocketCounters, TransmitError, Transmitted, Umem, WaitError,
};

use super::{HeapKernel, HeapSocket};

/// Close to the wrap of a ring's index, so that every test crosses it.
pub const START: u32 = u32::MAX - 5;
pub const FRAMES: u32 = 64;
pub const SLOTS: u32 = 16;
pub const HEAD: usize = 16;
pub const CHUNK: u32 = 2048;
/// Bytes of a chunk that a frame can have.
pub const CAPACITY: u32 = 1792;

/// What the kernel does when it is kicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// It sends so many frames at most.
    Sends(u32),
    Down,
    Gone,
}

/// The kernel of a socket, as the test has it.
pub struct Kernel {
    pub rings: HeapKernel,
    pub device: Device,
    /// Calls of `flush` that found frames in TX: system calls of a real socket.
    pub kicks: u32,
    /// Lengths of the packets that left.
    pub sent: Vec<u32>,
    /// What arrives during a sleep.
    pub arrives: Vec<u32>,
    /// Sleeps.
    pub sleeps: u32,
}

impl Kernel {
    /// Sends what is in TX. Half a packet fails the test.
    pub fn send(&mut self, max: u32) {
        let mut open = None;
        for Descriptor { len, options, .. } in self.rings.send(max) {
            let length = open.take().unwrap_or(0) + len;
            if options == 0 {
                self.sent.push(length);
            } else {
                open = Some(length);
            }
        }
        assert!(open.is_none() || max < SLOTS, "half a packet is in TX");
    }

    /// Receives packets of these lengths, and says how many had room.
    pub fn deliver(&mut self, lengths: &[u32]) -> usize {
        lengths.iter().take_while(|length| self.rings.deliver(**length)).count()
    }
}

/// Rings on the heap whose `flush` and `wait` ask the test's kernel.
pub struct PlainRings {
    socket: HeapSocket,
    kernel: Rc<RefCell<Kernel>>,
}

/// A UMEM in memory that no kernel knows.
pub struct PlainPool(pub Umem);

impl PlainRings {
    pub fn new(umem: &mut Umem, layout: Layout) -> (Self, Rc<RefCell<Kernel>>) {
        let (socket, rings) = HeapSocket::new(umem, layout, START);
        let kernel =
            Kernel { rings, device: Device::Sends(SLOTS), kicks: 0, sent: Vec::new(), arrives: Vec::new(), sleeps: 0 };
        let kernel = Rc::new(RefCell::new(kernel));
        (Self { socket, kernel: Rc::clone(&kernel) }, kernel)
    }

    pub fn counters(&self) -> SocketCounters {
        self.socket.counters()
    }
}

impl Pool for PlainPool {
    type Frame = Frame;

    fn free(&self) -> u32 {
        self.0.free()
    }

    fn lend(&mut self, table: &[LentDescriptor]) -> usize {
        self.0.lend(table)
    }

    fn take_all_back(&mut self) {
        self.0.take_all_back();
    }

    fn allocate(&mut self) -> Option<Frame> {
        self.0.allocate()
    }

    fn bytes_mut<'a>(&'a self, frame: &'a mut Frame, length: usize, continues: bool) -> &'a mut [u8] {
        frame.set_len(length).unwrap();
        frame.set_continues(continues);
        self.0.bytes_mut(frame)
    }

    fn release(&mut self, frame: Frame) {
        self.0.release(frame);
    }
}

impl Rings for PlainRings {
    type Pool = PlainPool;
    type Backing = &'static str;
    type Closed = Closed;

    fn layout(&self) -> &Layout {
        self.socket.layout()
    }

    fn multi_buffer(&self) -> bool {
        self.socket.multi_buffer()
    }

    fn set_mtu(&mut self, mtu: u32) {
        self.socket.set_mtu(mtu);
    }

    fn receive(&mut self, pool: &mut PlainPool, table: &[LentDescriptor]) -> Result<usize, RingBroken> {
        self.socket.receive_lent(&mut pool.0, table)
    }

    fn refill(&mut self, pool: &mut PlainPool) -> Result<usize, RingBroken> {
        self.socket.refill(&mut pool.0)
    }

    fn is_idle(&mut self) -> Result<bool, RingBroken> {
        self.socket.is_idle()
    }

    fn is_readable(&self) -> bool {
        self.socket.is_readable()
    }

    fn transmit(&mut self, pool: &mut PlainPool, table: &[LentDescriptor]) -> Result<Transmitted, RingBroken> {
        self.socket.transmit_lent(&mut pool.0, table)
    }

    fn transmit_frames(&mut self, pool: &mut PlainPool, frames: &mut Vec<Frame>) -> Result<usize, RingBroken> {
        self.socket.transmit(&mut pool.0, frames).map_err(|error| match error {
            TransmitError::Ring(broken) => broken,
            TransmitError::Frame(refused) => panic!("the path gave a frame that cannot be sent: {refused}"),
        })
    }

    fn recycle(&mut self, pool: &mut PlainPool, table: &[LentDescriptor]) -> usize {
        self.socket.recycle(&mut pool.0, table)
    }

    fn complete(&mut self, pool: &mut PlainPool) -> Result<usize, RingBroken> {
        self.socket.complete(&mut pool.0)
    }

    fn flush(&mut self, pool: &mut PlainPool) -> Result<u32, FlushError> {
        let waiting = self.socket.waiting(&mut pool.0)?;
        if waiting == 0 {
            return Ok(0);
        }
        let kernel = &mut *self.kernel.borrow_mut();
        kernel.kicks += 1;
        let cause = io::Error::other("played by the test");
        match kernel.device {
            Device::Sends(max) => {
                kernel.send(max);
                Ok(self.socket.waiting(&mut pool.0)?)
            }
            Device::Down => Err(FlushError::DeviceDown { waiting, cause }),
            Device::Gone => Err(FlushError::DeviceGone { waiting, cause }),
        }
    }

    fn wait(&mut self, pool: &mut PlainPool, _: Duration) -> Result<Readiness, WaitError> {
        self.socket.refill(&mut pool.0)?;
        let kernel = &mut *self.kernel.borrow_mut();
        kernel.sleeps += 1;
        let arrived = std::mem::take(&mut kernel.arrives);
        let delivered = kernel.deliver(&arrived);
        Ok(match kernel.device {
            Device::Sends(_) if delivered > 0 => Readiness::Frames,
            Device::Sends(_) => Readiness::TimedOut,
            Device::Down => Readiness::DeviceDown,
            Device::Gone => Readiness::DeviceGone,
        })
    }

    fn tx_slots(&self) -> u32 {
        self.socket.tx_slots()
    }

    fn in_tx(&self, pool: &PlainPool) -> u32 {
        self.socket.in_tx(&pool.0)
    }

    fn starved(&self) -> u64 {
        let counters = self.socket.counters();
        counters.fill_starved + counters.fill_found_empty
    }

    fn chunks(&self, pool: &PlainPool) -> ChunkCounts {
        self.socket.chunks(&pool.0).into()
    }

    fn close(self, pool: &PlainPool) -> Closed {
        self.socket.close(&pool.0)
    }

    fn reclaim(pool: &mut PlainPool, closed: Closed) {
        pool.0.reclaim(closed);
    }
}

/// A data path, its kernel, and what the other language does with the shared words.
pub struct Port {
    pub path: DataPath<PlainRings>,
    kernel: Rc<RefCell<Kernel>>,
}

impl Port {
    /// 64 chunks and 16 slots in each ring; reception has its share.
    pub fn new() -> Self {
        Self::of(|layout| layout)
    }

    pub fn with_multi_buffer() -> Self {
        Self::of(|layout| layout.multi_buffer(true))
    }

    pub fn of(change: impl FnOnce(LayoutBuilder) -> LayoutBuilder) -> Self {
        let layout = change(Layout::builder().frames(FRAMES).rings(SLOTS)).build().unwrap();
        let mut umem = Umem::anonymous(layout).unwrap();
        let (mut rings, kernel) = PlainRings::new(&mut umem, layout);
        rings.socket.refill(&mut umem).unwrap();
        Self { path: DataPath::new(rings, PlainPool(umem), "the file of a UMEM"), kernel }
    }

    /// Another port on the same pool.
    pub fn beside(&self) -> Self {
        let mut kernel = None;
        let layout = *self.path.rings().layout();
        let path = self.path.share(|pool| {
            let (mut rings, other) = PlainRings::new(&mut pool.0, layout);
            rings.socket.refill(&mut pool.0).unwrap();
            kernel = Some(other);
            Ok::<_, ()>(rings)
        });
        Self { path: path.unwrap(), kernel: kernel.unwrap() }
    }

    pub fn kernel(&self) -> RefMut<'_, Kernel> {
        self.kernel.borrow_mut()
    }

    pub fn counters(&self) -> SocketCounters {
        self.path.rings().counters()
    }

    /// Lengths of the packets that left.
    pub fn sent(&self) -> Vec<u32> {
        self.kernel.borrow().sent.clone()
    }

    /// System calls that a real socket would have made to send.
    pub fn kicks(&self) -> u32 {
        self.kernel.borrow().kicks
    }

    pub fn word(&self, word: Word) -> u32 {
        self.path.slate().get(word)
    }

    /// Free chunks, and those that are held, in FILL and in TX. All of them must be somewhere.
    pub fn counts(&self) -> [u32; 4] {
        let ChunkCounts { free, held, kept, fill, tx, elsewhere, total } = self.path.chunks();
        assert_eq!((free + held + kept + fill + tx + elsewhere, total), (FRAMES, FRAMES));
        [free, held + kept, fill, tx]
    }

    /// The places of the lease in use.
    pub fn lease(&self, frames: usize) -> Vec<(u32, u32)> {
        (0..frames).map(|place| self.place(place)).collect()
    }

    pub fn place(&self, place: usize) -> (u32, u32) {
        pair(self.path.slate().words(), HEAD + 2 * place)
    }

    /// Queues a descriptor.
    pub fn queue(&self, address: u32, length: u32) {
        let slate = self.path.slate();
        self.append(Word::Queued, HEAD + 2 * slate.places(), address, length);
    }

    /// Gives a descriptor back.
    pub fn give_back(&self, address: u32, length: u32) {
        let slate = self.path.slate();
        self.append(Word::Returned, HEAD + 2 * (slate.places() + SLOTS as usize), address, length);
    }

    /// What is queued or given back has left its place in the lease.
    pub fn leave(&self, place: usize) {
        set_pair(self.path.slate().words(), HEAD + 2 * place, NOWHERE, NOWHERE);
    }

    fn append(&self, word: Word, table: usize, address: u32, length: u32) {
        let slate: &Slate = self.path.slate();
        let count = slate.get(word);
        set_pair(slate.words(), table + 2 * count as usize, address, length);
        slate.set(word, count + 1);
    }

    /// Ends everything and says what is left of the pool: all of it, free.
    pub fn close(self) {
        self.kernel.borrow_mut().device = Device::Sends(SLOTS);
        let closing = self.path.close();
        assert!(!closing.is_shared());
        closing.reclaim();
    }
}

pub fn pair(words: &Words, at: usize) -> (u32, u32) {
    let load = |word: &AtomicU32| word.load(Ordering::Relaxed);
    (load(&words[at]), load(&words[at + 1]))
}

pub fn set_pair(words: &Words, at: usize, first: u32, second: u32) {
    words[at].store(first, Ordering::Relaxed);
    words[at + 1].store(second, Ordering::Relaxed);
}

/// The lengths of a table, without the mark.
pub fn lengths(words: &Words, frames: usize) -> Vec<u32> {
    (0..frames).map(|place| pair(words, 2 * place).1 & !CONTINUES).collect()
}

/// Every index that a ring can be made to show, and that cannot be.
pub fn impossible(honest: u32) -> [u32; 3] {
    [honest.wrapping_add(SLOTS + 1), honest.wrapping_sub(SLOTS + 1), honest ^ 0x8000_0000]
}
