use crate::ring::RingName;

/// What the kernel keeps in front of every received frame for XDP programs: `XDP_PACKET_HEADROOM` of `linux/bpf.h`, in bytes.
pub const XDP_PACKET_HEADROOM: u32 = 256;

/// The most chunks of a UMEM: 4 GiB at 4096 bytes each.
const MAX_FRAMES: u32 = 1 << 20;
/// The most slots of a ring.
const MAX_RING: u32 = 1 << 16;

/// The shape of a UMEM and of a socket's four rings. Both sides of a hand-over must agree on it: the kernel does not tell.
///
/// A value of this type is valid; [`Layout::builder`] makes one.
///
/// ```
/// use xsknet_xsk::Layout;
///
/// let layout = Layout::builder().frame_size(4096).headroom(64).build()?;
/// assert_eq!(layout.frame_capacity(), 4096 - 256 - 64);
/// # Ok::<(), xsknet_xsk::LayoutError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout(LayoutBuilder);

/// Settings for a [`Layout`], not yet checked.
#[must_use = "`build` checks the settings"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutBuilder {
    frame_size: u32,
    frames: u32,
    headroom: u32,
    rx: u32,
    tx: u32,
    fill: u32,
    completion: u32,
    fill_target: Option<u32>,
}

impl Default for LayoutBuilder {
    fn default() -> Self {
        Self {
            frame_size: 2048,
            frames: 4096,
            headroom: 0,
            rx: 2048,
            tx: 2048,
            fill: 2048,
            completion: 2048,
            fill_target: None,
        }
    }
}

impl LayoutBuilder {
    /// Bytes of a chunk: 2048 (default) or 4096, the sizes that every kernel takes.
    pub fn frame_size(mut self, bytes: u32) -> Self {
        self.frame_size = bytes;
        self
    }

    /// Chunks of the UMEM: 4096 unless set, at most 1,048,576.
    pub fn frames(mut self, frames: u32) -> Self {
        self.frames = frames;
        self
    }

    /// Bytes left free in front of each frame, beside the kernel's own 256: 0 unless set.
    pub fn headroom(mut self, bytes: u32) -> Self {
        self.headroom = bytes;
        self
    }

    /// Slots of the RX ring: a power of two, 2048 unless set.
    pub fn rx(mut self, slots: u32) -> Self {
        self.rx = slots;
        self
    }

    /// Slots of the TX ring: a power of two, 2048 unless set.
    pub fn tx(mut self, slots: u32) -> Self {
        self.tx = slots;
        self
    }

    /// Slots of the FILL ring: a power of two, 2048 unless set.
    pub fn fill(mut self, slots: u32) -> Self {
        self.fill = slots;
        self
    }

    /// Slots of the COMPLETION ring: a power of two, 2048 unless set.
    pub fn completion(mut self, slots: u32) -> Self {
        self.completion = slots;
        self
    }

    /// All four rings alike.
    pub fn rings(self, slots: u32) -> Self {
        self.rx(slots).tx(slots).fill(slots).completion(slots)
    }

    /// The most chunks that reception may hold (in FILL, in the driver or unread in RX). Unless set: the FILL ring's slots, but at most
    /// half of the chunks, so that sending always finds some.
    pub fn fill_target(mut self, chunks: u32) -> Self {
        self.fill_target = Some(chunks);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// The first setting that cannot be, with its numbers.
    pub fn build(self) -> Result<Layout, LayoutError> {
        if self.frame_size != 2048 && self.frame_size != 4096 {
            return Err(LayoutError::FrameSize { frame_size: self.frame_size });
        }
        if self.frames == 0 || self.frames > MAX_FRAMES {
            return Err(LayoutError::Frames { frames: self.frames });
        }
        if self.headroom >= self.frame_size - XDP_PACKET_HEADROOM {
            return Err(LayoutError::Headroom { headroom: self.headroom, frame_size: self.frame_size });
        }
        let rings = [
            (RingName::Rx, self.rx),
            (RingName::Tx, self.tx),
            (RingName::Fill, self.fill),
            (RingName::Completion, self.completion),
        ];
        for (ring, slots) in rings {
            if !slots.is_power_of_two() || slots > MAX_RING {
                return Err(LayoutError::RingSize { ring, slots });
            }
        }
        match self.fill_target {
            Some(target) if target == 0 || target > self.frames => {
                Err(LayoutError::FillTarget { target, frames: self.frames })
            }
            _ => Ok(Layout(self)),
        }
    }
}

impl Layout {
    /// Settings to start from.
    pub fn builder() -> LayoutBuilder {
        LayoutBuilder::default()
    }

    /// Bytes of a chunk.
    #[must_use]
    pub fn frame_size(&self) -> u32 {
        self.0.frame_size
    }

    /// Chunks of the UMEM.
    #[must_use]
    pub fn frames(&self) -> u32 {
        self.0.frames
    }

    /// Bytes left free in front of each frame, beside [`XDP_PACKET_HEADROOM`].
    #[must_use]
    pub fn headroom(&self) -> u32 {
        self.0.headroom
    }

    /// Slots of a ring.
    #[must_use]
    pub fn ring(&self, ring: RingName) -> u32 {
        match ring {
            RingName::Rx => self.0.rx,
            RingName::Tx => self.0.tx,
            RingName::Fill => self.0.fill,
            RingName::Completion => self.0.completion,
        }
    }

    /// The most chunks that reception may hold.
    #[must_use]
    pub fn fill_target(&self) -> u32 {
        self.0.fill_target.unwrap_or(self.0.fill.min(self.0.frames.div_ceil(2)))
    }

    /// Where a frame begins in its chunk, in bytes.
    #[must_use]
    pub fn frame_offset(&self) -> u32 {
        XDP_PACKET_HEADROOM + self.0.headroom
    }

    /// The longest frame, in bytes, Ethernet header and VLAN tags included. What is sent starts where the kernel lets received frames
    /// start, so that both have one capacity and room in front.
    #[must_use]
    pub fn frame_capacity(&self) -> u32 {
        self.0.frame_size - self.frame_offset()
    }

    /// Bytes of the UMEM.
    #[must_use]
    pub fn umem_bytes(&self) -> u64 {
        u64::from(self.0.frames) * u64::from(self.0.frame_size)
    }
}

/// A [`Layout`] that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A chunk has another size than those that every kernel takes.
    #[error("a chunk of {frame_size} bytes was asked for; it can have 2048 or 4096")]
    FrameSize {
        /// Bytes asked for.
        frame_size: u32,
    },
    /// No chunks, or too many.
    #[error("a UMEM of {frames} chunks was asked for; it can have 1 to {MAX_FRAMES}")]
    Frames {
        /// Chunks asked for.
        frames: u32,
    },
    /// The headroom leaves nothing for a frame.
    #[error(
        "a headroom of {headroom} bytes leaves no room for a frame in a chunk of {frame_size} bytes, of which the kernel keeps {XDP_PACKET_HEADROOM}"
    )]
    Headroom {
        /// Bytes asked for.
        headroom: u32,
        /// Bytes of a chunk.
        frame_size: u32,
    },
    /// A ring's size is not a power of two, or too large.
    #[error("{slots} slots were asked for the {ring} ring; it can have a power of two up to {MAX_RING}")]
    RingSize {
        /// The ring.
        ring: RingName,
        /// Slots asked for.
        slots: u32,
    },
    /// Reception may hold no chunk, or more than there are.
    #[error("a fill target of {target} chunks was asked for; it can be 1 to {frames}, the chunks of the UMEM")]
    FillTarget {
        /// Chunks asked for.
        target: u32,
        /// Chunks of the UMEM.
        frames: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::{Layout, LayoutError};
    use crate::ring::RingName;

    #[test]
    fn defaults_hold_half_of_the_chunks_for_reception() {
        let layout = Layout::builder().build().unwrap();
        assert_eq!((layout.frames(), layout.frame_size(), layout.ring(RingName::Rx)), (4096, 2048, 2048));
        assert_eq!((layout.fill_target(), layout.frame_capacity(), layout.umem_bytes()), (2048, 1792, 8 << 20));
    }

    #[test]
    fn few_chunks_lower_the_fill_target() {
        assert_eq!(Layout::builder().frames(64).build().unwrap().fill_target(), 32);
        assert_eq!(Layout::builder().frames(1).build().unwrap().fill_target(), 1);
    }

    #[test]
    fn impossible_settings_are_named_with_their_numbers() {
        let errors = [
            (Layout::builder().frame_size(1024), LayoutError::FrameSize { frame_size: 1024 }),
            (Layout::builder().frame_size(8192), LayoutError::FrameSize { frame_size: 8192 }),
            (Layout::builder().frames(0), LayoutError::Frames { frames: 0 }),
            (Layout::builder().frames(u32::MAX), LayoutError::Frames { frames: u32::MAX }),
            (Layout::builder().headroom(1792), LayoutError::Headroom { headroom: 1792, frame_size: 2048 }),
            (Layout::builder().headroom(u32::MAX), LayoutError::Headroom { headroom: u32::MAX, frame_size: 2048 }),
            (Layout::builder().tx(48), LayoutError::RingSize { ring: RingName::Tx, slots: 48 }),
            (Layout::builder().fill(0), LayoutError::RingSize { ring: RingName::Fill, slots: 0 }),
            (Layout::builder().rings(1 << 17), LayoutError::RingSize { ring: RingName::Rx, slots: 1 << 17 }),
            (Layout::builder().fill_target(0), LayoutError::FillTarget { target: 0, frames: 4096 }),
            (Layout::builder().fill_target(4097), LayoutError::FillTarget { target: 4097, frames: 4096 }),
        ];
        for (settings, error) in errors {
            assert_eq!(settings.build(), Err(error));
        }
        assert_eq!(Layout::builder().headroom(1791).build().unwrap().frame_capacity(), 1);
    }
}
