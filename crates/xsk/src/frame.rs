use std::sync::atomic::{AtomicU32, Ordering};

/// One chunk of a UMEM that user space owns. Neither `Clone` nor `Copy`: holding it is the right to touch the chunk.
///
/// It is minted by this crate alone. A frame that is dropped instead of sent or released stays counted in
/// [`outstanding`](crate::Socket::outstanding), and its chunk is of no use until the socket is closed.
#[must_use = "send it or release it: a forgotten frame stays in `outstanding()`"]
#[derive(Debug)]
pub struct Frame {
    umem: UmemId,
    chunk: u32,
    offset: u16,
    len: u16,
    capacity: u16,
    continues: bool,
}

impl Frame {
    /// The caller has taken `chunk` out of the ledger, and `offset + capacity` ends with the chunk.
    pub(crate) fn mint(umem: UmemId, chunk: u32, offset: u16, len: u16, capacity: u16) -> Self {
        debug_assert!(len <= capacity);
        Self { umem, chunk, offset, len, capacity, continues: false }
    }

    /// Bytes of the frame, Ethernet header included. A frame just allocated has 0.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether the frame has no byte; such a frame cannot be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The most bytes the frame can have: what is left of its chunk.
    #[must_use]
    pub fn capacity(&self) -> usize {
        usize::from(self.capacity)
    }

    /// Makes the frame `len` bytes long. Bytes that are added are those that the chunk last held.
    ///
    /// # Errors
    /// [`FrameTooLong`] beyond the capacity; the frame keeps its length. No frame longer than its chunk exists, so none
    /// can be sent.
    pub fn set_len(&mut self, len: usize) -> Result<(), FrameTooLong> {
        let capacity = self.capacity();
        match u16::try_from(len) {
            Ok(len) if len <= self.capacity => {
                self.len = len;
                Ok(())
            }
            _ => Err(FrameTooLong { len, capacity }),
        }
    }

    /// Whether the packet goes on in the next frame: only on a socket with multi-buffer.
    #[doc(alias = "XDP_PKT_CONTD")]
    #[must_use]
    pub fn continues(&self) -> bool {
        self.continues
    }

    /// Says whether the packet goes on in the next frame.
    pub fn set_continues(&mut self, continues: bool) {
        self.continues = continues;
    }

    /// Which chunk of the UMEM, counted from 0.
    #[must_use]
    pub fn chunk(&self) -> u32 {
        self.chunk
    }

    /// Where in its chunk the frame begins, in bytes.
    #[must_use]
    pub fn offset(&self) -> usize {
        usize::from(self.offset)
    }

    pub(crate) fn umem(&self) -> UmemId {
        self.umem
    }
}

/// A frame was to be longer than its chunk can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {len} bytes does not fit its chunk, which holds {capacity}")]
pub struct FrameTooLong {
    /// Bytes asked for.
    pub len: usize,
    /// Bytes that fit.
    pub capacity: usize,
}

/// Names a UMEM within the process, so that a frame of another one is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UmemId(u32);

impl UmemId {
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// # Panics
    /// After 2^32 UMEMs in one process: a name used twice would let a frame of one touch another's memory.
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |id| id.checked_add(1));
        Self(id.expect("fewer than 2^32 UMEMs were made in this process"))
    }
}
