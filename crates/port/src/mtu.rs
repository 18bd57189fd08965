//! What an MTU asks of an uplink and of the frames of a UMEM.

use xsknet_link::DeviceName;
use xsknet_xsk::Layout;

use crate::error::OpenPortError;

/// Ethernet header and one VLAN tag: what a port's frames may be longer than its MTU.
pub(crate) const HEADERS: u32 = 14 + 4;

/// The least MTU, in bytes: of IPv4 (RFC 791), and of every Ethernet device.
pub const MIN_MTU: u32 = 68;

/// The MTU of an uplink, which no port of it may exceed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MtuLimit {
    /// The uplink.
    pub uplink: DeviceName,
    /// Its MTU, in bytes.
    pub mtu: u32,
}

/// The shape with frames in several chunks where that is wanted; where nothing is said of it, where one chunk does not
/// hold a frame of this MTU, in bytes.
pub fn for_mtu(layout: Layout, mtu: u32, multi_buffer: Option<bool>) -> Layout {
    let needed = mtu.saturating_add(HEADERS) > layout.frame_capacity();
    layout.with_multi_buffer(multi_buffer.unwrap_or(needed))
}

/// Whether frames of a UMEM of this shape hold what a port of this MTU (in bytes) gets from the wire: one that does not
/// fit is dropped by the kernel.
///
/// # Errors
/// [`OpenPortError::MtuTooLarge`].
pub fn fits_frames(mtu: u32, layout: &Layout) -> Result<(), OpenPortError> {
    let (needed, capacity) = (mtu.saturating_add(HEADERS), layout.longest_frame());
    if needed > capacity {
        let (frame_size, most) = (layout.frame_size(), capacity - HEADERS.min(capacity));
        return Err(OpenPortError::MtuTooLarge { mtu, needed, frame_size, capacity, most });
    }
    Ok(())
}

/// Whether a port can have this MTU, on this uplink and with such frames, where they are known.
pub(crate) fn check_mtu(mtu: u32, uplink: Option<&MtuLimit>, layout: Option<&Layout>) -> Result<(), OpenPortError> {
    if mtu < MIN_MTU {
        return Err(OpenPortError::MtuTooSmall { mtu, least: MIN_MTU });
    }
    if let Some(MtuLimit { uplink, mtu: uplink_mtu }) = uplink
        && mtu > *uplink_mtu
    {
        return Err(OpenPortError::MtuAboveUplink { mtu, uplink_mtu: *uplink_mtu, uplink: uplink.clone() });
    }
    layout.map_or(Ok(()), |layout| fits_frames(mtu, layout))
}
