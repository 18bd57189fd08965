//! What the daemon says of a socket beside its descriptors.

use std::os::fd::OwnedFd;

use napi_derive::napi;
use serde_json::json;
use xsknet_path::QueueSocket;
use xsknet_xsk::{
    BindMode, Donation, Layout, RangeRefused, RingDonation, RingSocket, RingsDonation, Socket, chunks_of,
};

use crate::failure::Failure;

/// What a socket's descriptors cannot tell.
#[napi(object, object_to_js = false)]
pub struct SocketDescription {
    /// Bytes of a chunk of the UMEM.
    pub frame_size: u32,
    /// Chunks of the UMEM.
    pub frames: u32,
    /// Bytes left free in front of each frame, beside the kernel's own 256.
    pub headroom: u32,
    /// Slots of RX.
    pub rx: u32,
    /// Slots of TX.
    pub tx: u32,
    /// Slots of FILL.
    pub fill: u32,
    /// Slots of COMPLETION.
    pub completion: u32,
    /// The most chunks that reception may hold.
    pub fill_target: u32,
    /// The chunks lent to reception: ranges of first chunk and number.
    #[napi(ts_type = "[number, number][]")]
    pub in_fill: Vec<(u32, u32)>,
    /// Whether a frame may take several chunks.
    pub multi_buffer: bool,
    /// Whether the UMEM lies in huge pages.
    pub huge_pages: bool,
    /// Of a queue that has BPF rings.
    #[napi(ts_type = "RingsDescription | undefined")]
    pub rings: Option<RingsDescription>,
    /// The mode that the kernel granted.
    #[napi(ts_type = "'copy' | 'zero-copy'")]
    pub bind_mode: String,
    /// What was counted before the hand-over.
    pub counted: Counted,
}

/// What the descriptors of a queue's BPF rings cannot tell.
#[napi(object, object_to_js = false)]
pub struct RingsDescription {
    /// Slots of reception.
    pub rx_slots: u32,
    /// Slots of sending.
    pub tx_slots: u32,
    /// Of the next slot that the program gives back.
    pub rx_position: u32,
    /// Of the next slot for a frame to be sent.
    pub tx_position: u32,
    /// The chunks in reception, oldest first: ranges of first chunk and number.
    #[napi(ts_type = "[number, number][]")]
    pub posted: Vec<(u32, u32)>,
}

/// Frames that went through a socket's rings.
#[napi(object)]
pub struct Counted {
    /// Out of RX.
    pub received: u32,
    /// Into TX.
    pub sent: u32,
    /// Out of COMPLETION.
    pub completed: u32,
}

impl SocketDescription {
    pub(crate) fn layout(&self) -> Result<Layout, Failure> {
        let layout = Layout::builder()
            .frame_size(self.frame_size)
            .frames(self.frames)
            .headroom(self.headroom)
            .rx(self.rx)
            .tx(self.tx)
            .fill(self.fill)
            .completion(self.completion)
            .fill_target(self.fill_target)
            .multi_buffer(self.multi_buffer)
            .huge_pages(self.huge_pages);
        Ok(layout.build()?)
    }

    /// How many descriptors come with it.
    pub(crate) fn descriptors(&self) -> usize {
        if self.rings.is_some() { 5 } else { 2 }
    }

    /// Takes over the socket of the next descriptors.
    pub(crate) fn adopt(&self, files: &mut impl Iterator<Item = OwnedFd>) -> Result<QueueSocket, Failure> {
        let layout = self.layout()?;
        let (in_fill, bind) = (chunks_of(&self.in_fill, layout.frames())?, self.bind()?);
        let [xsk, umem] = next(files)?;
        let socket = Donation { xsk, umem, layout, in_fill, bind, counters: self.counters() };
        let Some(RingsDescription { rx_slots, tx_slots, rx_position, tx_position, ref posted }) = self.rings else {
            return Ok(Socket::adopt(socket)?.into());
        };
        let posted = chunks_of(posted, layout.frames())?;
        let [control, wake, program] = next(files)?;
        let rings = RingsDonation { control, wake, program, rx_slots, tx_slots, rx_position, tx_position, posted };
        Ok(RingSocket::adopt(RingDonation { socket, rings })?.into())
    }

    pub(crate) fn counters(&self) -> xsknet_xsk::SocketCounters {
        let Counted { received, sent, completed } = self.counted;
        xsknet_xsk::SocketCounters {
            received: received.into(),
            sent: sent.into(),
            completed: completed.into(),
            ..Default::default()
        }
    }

    pub(crate) fn bind(&self) -> Result<BindMode, Failure> {
        let unknown = || {
            let message = format!("a socket is bound in mode copy or zero-copy, not in {:?}", self.bind_mode);
            Failure::new("SOCKET_REFUSED", message)
        };
        BindMode::named(&self.bind_mode).ok_or_else(unknown)
    }
}

fn next<const N: usize>(files: &mut impl Iterator<Item = OwnedFd>) -> Result<[OwnedFd; N], Failure> {
    let taken: Vec<_> = files.take(N).collect();
    taken.try_into().map_err(|few: Vec<_>| {
        Failure::new("SOCKET_REFUSED", format!("{} descriptors are left of a socket's, not {N}", few.len()))
    })
}

impl From<RangeRefused> for Failure {
    fn from(refused: RangeRefused) -> Self {
        let RangeRefused { first, count, frames } = refused;
        Self::new("SOCKET_REFUSED", refused.to_string())
            .details(json!({ "first": first, "count": count, "frames": frames }))
    }
}
