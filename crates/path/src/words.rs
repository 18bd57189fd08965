//! Memory that both languages read and write.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use xsknet_xsk::LentDescriptor;

/// Words lent to the other language, which can write any of them at any time. Clones share them, and they stay where
/// they are for as long as any clone lives.
#[derive(Clone, Debug)]
pub struct Words(Arc<[AtomicU32]>);

impl Words {
    pub(crate) fn zeroed(count: usize) -> Self {
        Self((0..count).map(|_| AtomicU32::new(0)).collect())
    }

    /// A table of descriptors, from a word on; shorter or empty where there are no words.
    #[inline]
    pub(crate) fn descriptors(&self, from: usize, count: usize) -> &[LentDescriptor] {
        let (descriptors, _) = self.0.get(from..).unwrap_or_default().as_chunks();
        descriptors.get(..count).unwrap_or(descriptors)
    }
}

impl Deref for Words {
    type Target = [AtomicU32];

    #[inline]
    fn deref(&self) -> &[AtomicU32] {
        &self.0
    }
}
