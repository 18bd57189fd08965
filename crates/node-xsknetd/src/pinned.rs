//! The client's half of a pinned port: it runs in the client's process, with the client's rights.

use std::os::fd::{AsFd as _, IntoRawFd as _};
use std::path::Path;

use napi_derive::napi;
use xsknet_bpf::PinnedSocketMap;
use xsknet_port::{fits_frames, for_mtu};
use xsknet_xsk::{Created, QueueId, Request, create, prefer_busy_poll};

use crate::describe::{PinnedSocketRequest, SocketDescription, Tried, bind_request, huge_pages, layout_of};
use crate::error::Failure;
use crate::instance::blocking;

/// A socket that gets a pinned port's frames. Whoever has this owns both descriptors.
#[napi(object, object_from_js = false)]
pub struct MadeSocket {
    /// Number of the XSK's descriptor.
    pub xsk: i32,
    /// Number of the descriptor of the UMEM's file.
    pub umem: i32,
    /// What the descriptors cannot tell.
    pub socket: SocketDescription,
    /// What was tried on the way.
    pub tried: Vec<Tried>,
}

/// Makes UMEM and socket for a pinned port whose device is in this process' network namespace, and puts the socket into the
/// port's map. It takes CAP_NET_RAW, the rights on the pin, and room for the UMEM below RLIMIT_MEMLOCK (or CAP_IPC_LOCK).
#[napi]
pub async fn make_pinned_socket(options: PinnedSocketRequest) -> napi::Result<MadeSocket> {
    blocking(move || make(options)).await
}

fn make(options: PinnedSocketRequest) -> Result<MadeSocket, Failure> {
    let PinnedSocketRequest { xsks, device, queue, mtu, frames, frame_size, headroom, ring_size, busy_poll, .. } =
        options;
    let layout = for_mtu(layout_of(frames, frame_size, headroom, ring_size)?, mtu, options.multi_buffer);
    fits_frames(mtu, &layout)?;
    let huge_pages = huge_pages(options.huge_pages.as_deref())?;
    let bind = bind_request(options.zero_copy.as_deref())?;
    // First what costs nothing.
    let mut map = PinnedSocketMap::open(Path::new(&xsks), queue)?;
    // Its FILL ring is full before the map knows it, else the first frames are lost.
    let request = Request { device: &device, queue: QueueId(queue), layout, huge_pages, bind, prime: true };
    let Created { socket, tried, .. } = create(&request)?;
    let mut tried: Vec<_> = tried.into_iter().map(xsknet_port::Tried::bind).collect();
    tried.extend(busy_poll.map(|wanted| xsknet_port::Tried::bind(prefer_busy_poll(&socket, wanted.into()))));
    map.insert(queue, socket.as_fd())?;
    // Nothing was received, sent or allocated, so that there is nothing to refuse.
    let donation = socket.donate().map_err(|error| {
        Failure::new("SOCKET_REFUSED", error.to_string(), serde_json::json!({ "held": error.held, "tx": error.tx }))
    })?;
    let socket = SocketDescription::from(&donation);
    let tried = tried.iter().map(Into::into).collect();
    Ok(MadeSocket { xsk: donation.xsk.into_raw_fd(), umem: donation.umem.into_raw_fd(), socket, tried })
}
