use crate::ledger::Owner;
use crate::ring::RingName;

/// An entry that a ring returned and that did not become a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorRefused {
    /// The address lies behind the end of the UMEM.
    #[error("the {ring} ring returned address {address:#x}, outside the UMEM of {umem_bytes} bytes")]
    OutsideUmem {
        /// The ring.
        ring: RingName,
        /// The address, in bytes from the start of the UMEM.
        address: u64,
        /// Bytes of the UMEM.
        umem_bytes: u64,
    },
    /// The frame would reach into the next chunk.
    #[error("the {ring} ring returned a frame of {len} bytes at {address:#x}, where its chunk has {room} left")]
    TooLong {
        /// The ring.
        ring: RingName,
        /// The address, in bytes from the start of the UMEM.
        address: u64,
        /// Bytes of the frame.
        len: u32,
        /// Bytes from the address to the end of the chunk.
        room: u32,
    },
    /// The kernel was not lent this chunk through the ring's counterpart: FILL for RX, TX for COMPLETION.
    #[error("the {ring} ring returned chunk {chunk}, which it had not been lent: its owner is {owner:?}")]
    NotLent {
        /// The ring.
        ring: RingName,
        /// The chunk.
        chunk: u32,
        /// Who owns it.
        owner: Owner,
    },
    /// A descriptor with options that the socket did not ask for, such as `XDP_PKT_CONTD` without multi-buffer.
    #[error("the {ring} ring returned chunk {chunk} with options {options:#x}, which the socket did not ask for")]
    Options {
        /// The ring.
        ring: RingName,
        /// The chunk.
        chunk: u32,
        /// The descriptor's options.
        options: u32,
    },
    /// A frame of BPF rings that has no byte: the program found no such chunk.
    #[error("the {ring} ring returned chunk {chunk} without a frame")]
    Empty {
        /// The ring.
        ring: RingName,
        /// The chunk.
        chunk: u32,
    },
    /// A packet in more chunks than any device can have filled.
    #[error("the {ring} ring returned a packet in more than {most} chunks")]
    TooManyParts {
        /// The ring.
        ring: RingName,
        /// The most chunks.
        most: usize,
    },
}

/// Entries refused, by reason: one counter for each variant of [`DescriptorRefused`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// [`DescriptorRefused::OutsideUmem`].
    pub outside_umem: u64,
    /// [`DescriptorRefused::TooLong`].
    pub too_long: u64,
    /// [`DescriptorRefused::NotLent`].
    pub not_lent: u64,
    /// [`DescriptorRefused::Options`].
    pub options: u64,
    /// [`DescriptorRefused::Empty`].
    pub empty: u64,
    /// [`DescriptorRefused::TooManyParts`].
    pub too_many_parts: u64,
}

impl Refusals {
    /// All reasons together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.outside_umem + self.too_long + self.not_lent + self.options + self.empty + self.too_many_parts
    }

    pub(crate) fn count(&mut self, refused: &DescriptorRefused) {
        match refused {
            DescriptorRefused::OutsideUmem { .. } => self.outside_umem += 1,
            DescriptorRefused::TooLong { .. } => self.too_long += 1,
            DescriptorRefused::NotLent { .. } => self.not_lent += 1,
            DescriptorRefused::Options { .. } => self.options += 1,
            DescriptorRefused::Empty { .. } => self.empty += 1,
            DescriptorRefused::TooManyParts { .. } => self.too_many_parts += 1,
        }
    }
}
