use crate::lent::MAX_PARTS_SENT;
use crate::ring::RingName;

/// What the kernel keeps in front of every received frame for XDP programs: `XDP_PACKET_HEADROOM` of `linux/bpf.h`, in
/// bytes.
pub const XDP_PACKET_HEADROOM: u32 = 256;

/// The least bytes of a chunk. Only this and [`MAX_FRAME_SIZE`] are sizes that every kernel takes.
pub const MIN_FRAME_SIZE: u32 = 2048;
/// The most bytes of a chunk.
pub const MAX_FRAME_SIZE: u32 = 4096;
/// The fewest chunks of a UMEM.
pub const MIN_FRAMES: u32 = 1;
/// The most chunks of a UMEM: 4 GiB at 4096 bytes each.
pub const MAX_FRAMES: u32 = 1 << 20;
/// The most slots of a ring.
pub const MAX_RING_SIZE: u32 = 1 << 16;

/// The shape of a UMEM and of a socket's four rings. Both sides of a hand-over must agree on it: the kernel
/// does not report it.
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
    multi_buffer: bool,
    huge_pages: bool,
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
            multi_buffer: false,
            huge_pages: false,
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

    /// The most chunks that reception may hold (in FILL, in the driver or unread in RX). Unless set: the FILL ring's
    /// slots, but at most half of the chunks, so that sending always finds some.
    pub fn fill_target(mut self, chunks: u32) -> Self {
        self.fill_target = Some(chunks);
        self
    }

    /// Whether a frame may take several chunks (`XDP_USE_SG`), up to [`MAX_PARTS_SENT`]: not unless set. Since Linux
    /// 6.6.
    #[doc(alias = "XDP_USE_SG")]
    pub fn multi_buffer(mut self, several: bool) -> Self {
        self.multi_buffer = several;
        self
    }

    /// Whether the UMEM lies in huge pages: not unless set. Its bytes are a multiple of their size then, which
    /// [`Layout::in_huge_pages`] sees to.
    pub fn huge_pages(mut self, huge: bool) -> Self {
        self.huge_pages = huge;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// The first setting that is not valid, with its numbers.
    pub fn build(self) -> Result<Layout, LayoutError> {
        if ![MIN_FRAME_SIZE, MAX_FRAME_SIZE].contains(&self.frame_size) {
            return Err(LayoutError::FrameSize { frame_size: self.frame_size });
        }
        if !(MIN_FRAMES..=MAX_FRAMES).contains(&self.frames) {
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
            if !slots.is_power_of_two() || slots > MAX_RING_SIZE {
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

    /// The longest frame, in bytes, Ethernet header and VLAN tags included. What is sent starts where the kernel lets
    /// received frames start, so that both have one capacity and room in front.
    #[must_use]
    pub fn frame_capacity(&self) -> u32 {
        self.0.frame_size - self.frame_offset()
    }

    /// Whether a frame may take several chunks.
    #[must_use]
    pub fn multi_buffer(&self) -> bool {
        self.0.multi_buffer
    }

    /// The same, with frames in several chunks or without.
    #[must_use]
    pub fn with_multi_buffer(self, several: bool) -> Self {
        Self(LayoutBuilder { multi_buffer: several, ..self.0 })
    }

    /// The same UMEM with the rings of another layout, and the share of reception that goes with them: for a socket
    /// that shares the UMEM.
    #[must_use]
    pub fn with_rings_of(self, rings: &Self) -> Self {
        let LayoutBuilder { rx, tx, fill, completion, fill_target, .. } = rings.0;
        let fill_target = fill_target.map(|target| target.min(self.0.frames));
        Self(LayoutBuilder { rx, tx, fill, completion, fill_target, ..self.0 })
    }

    /// The same UMEM with BPF rings of so many slots in place of the socket's: each chunk takes one frame.
    #[must_use]
    pub(crate) fn with_bpf_rings(self, rx: u32, tx: u32) -> Self {
        Self(LayoutBuilder { multi_buffer: false, ..self.0.rx(rx).fill(rx).tx(tx).completion(tx) })
    }

    /// The longest frame that can be sent, in bytes, over as many chunks as it may take; what is received is no longer.
    #[must_use]
    pub fn longest_frame(&self) -> u32 {
        let chunks = if self.0.multi_buffer { (MAX_PARTS_SENT as u32).min(self.0.frames) } else { 1 };
        self.frame_capacity() * chunks
    }

    /// Whether the UMEM lies in huge pages.
    #[must_use]
    pub fn huge_pages(&self) -> bool {
        self.0.huge_pages
    }

    /// The same in huge pages of this many bytes: with as many more chunks as fill the last page.
    ///
    /// # Errors
    /// [`LayoutError::Frames`] if those are too many.
    pub fn in_huge_pages(self, page_bytes: u64) -> Result<Self, LayoutError> {
        let bytes = self.umem_bytes().next_multiple_of(page_bytes.max(1));
        let frames = bytes / u64::from(self.0.frame_size);
        LayoutBuilder { frames: u32::try_from(frames).unwrap_or(u32::MAX), huge_pages: true, ..self.0 }.build()
    }

    /// The same in ordinary pages.
    #[cfg(feature = "create")]
    pub(crate) fn in_ordinary_pages(self) -> Self {
        Self(LayoutBuilder { huge_pages: false, ..self.0 })
    }

    /// Bytes of the UMEM.
    #[must_use]
    pub fn umem_bytes(&self) -> u64 {
        u64::from(self.0.frames) * u64::from(self.0.frame_size)
    }
}

/// A [`Layout`] that is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A chunk has another size than those that every kernel takes.
    #[error("a chunk of {frame_size} bytes was asked for; it can have {MIN_FRAME_SIZE} or {MAX_FRAME_SIZE}")]
    FrameSize {
        /// Bytes asked for.
        frame_size: u32,
    },
    /// No chunks, or too many.
    #[error("a UMEM of {frames} chunks was asked for; it can have {MIN_FRAMES} to {MAX_FRAMES}")]
    Frames {
        /// Chunks asked for.
        frames: u32,
    },
    /// The headroom leaves nothing for a frame.
    #[error(
        "a headroom of {headroom} bytes leaves no room for a frame in a chunk of {frame_size} bytes, of \
         which the kernel keeps {XDP_PACKET_HEADROOM}"
    )]
    Headroom {
        /// Bytes asked for.
        headroom: u32,
        /// Bytes of a chunk.
        frame_size: u32,
    },
    /// A ring's size is not a power of two, or too large.
    #[error("{slots} slots were asked for the {ring} ring; it can have a power of two up to {MAX_RING_SIZE}")]
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
    fn huge_pages_are_filled_with_chunks() {
        let layout = Layout::builder().frames(1000).build().unwrap().in_huge_pages(2 << 20).unwrap();
        assert_eq!((layout.frames(), layout.umem_bytes(), layout.huge_pages()), (1024, 2 << 20, true));
        assert_eq!(layout.in_huge_pages(2 << 20).unwrap(), layout);
        let most = Layout::builder().frames(1 << 20).frame_size(4096).build().unwrap();
        assert_eq!(most.in_huge_pages(1 << 30).unwrap().frames(), 1 << 20);
        let error = most.in_huge_pages(1 << 40).unwrap_err();
        assert!(matches!(error, LayoutError::Frames { frames } if frames > 1 << 20), "{error:?}");
    }

    #[test]
    fn several_chunks_hold_longer_frames() {
        let layout = Layout::builder().multi_buffer(true).build().unwrap();
        assert_eq!((layout.frame_capacity(), layout.longest_frame()), (1792, 18 * 1792));
        assert_eq!(Layout::builder().build().unwrap().longest_frame(), 1792);
        assert_eq!(Layout::builder().frames(2).multi_buffer(true).build().unwrap().longest_frame(), 2 * 1792);
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
