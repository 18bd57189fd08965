use std::sync::atomic::{AtomicU64, Ordering};

/// `XDP_PKT_CONTD` of `linux/if_xdp.h`: an option of a descriptor whose packet goes on in the next one.
pub(crate) const XDP_PKT_CONTD: u32 = 1;

/// What a slot of a shared ring holds. Slots are read and written as relaxed atomic words, because the other side may
/// write them at any time, whatever it promised; the letters (A) to (D) order honest sides.
pub trait Entry: Copy {
    /// 64-bit words a slot.
    const WORDS: usize;

    /// Reads a slot of `WORDS` words.
    fn load(slot: &[AtomicU64]) -> Self;

    /// Writes a slot of `WORDS` words.
    fn store(self, slot: &[AtomicU64]);
}

/// An entry of FILL and COMPLETION: an offset into the UMEM, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub u64);

impl Entry for Address {
    const WORDS: usize = 1;

    fn load(slot: &[AtomicU64]) -> Self {
        Self(slot[0].load(Ordering::Relaxed))
    }

    fn store(self, slot: &[AtomicU64]) {
        slot[0].store(self.0, Ordering::Relaxed);
    }
}

/// An entry of RX and TX.
#[doc(alias = "xdp_desc")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Where the frame begins: an offset into the UMEM, in bytes.
    pub address: u64,
    /// Bytes of the frame.
    pub len: u32,
    /// `XDP_PKT_CONTD` and its like.
    pub options: u32,
}

impl Entry for Descriptor {
    const WORDS: usize = 2;

    fn load(slot: &[AtomicU64]) -> Self {
        let [a, b, c, d, e, f, g, h] = slot[1].load(Ordering::Relaxed).to_ne_bytes();
        Self {
            address: slot[0].load(Ordering::Relaxed),
            len: u32::from_ne_bytes([a, b, c, d]),
            options: u32::from_ne_bytes([e, f, g, h]),
        }
    }

    fn store(self, slot: &[AtomicU64]) {
        let ([a, b, c, d], [e, f, g, h]) = (self.len.to_ne_bytes(), self.options.to_ne_bytes());
        slot[0].store(self.address, Ordering::Relaxed);
        slot[1].store(u64::from_ne_bytes([a, b, c, d, e, f, g, h]), Ordering::Relaxed);
    }
}
