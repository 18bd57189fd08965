//! The client's half of a pinned port: it runs in the client's process, with the client's rights.

use std::mem;
use std::os::fd::{AsFd as _, IntoRawFd as _};
use std::path::Path;

use napi_derive::napi;
use xsknet_bpf::PinnedSocketMap;
use xsknet_port::{PortSpec, fits_frames, for_mtu};
use xsknet_xsk::{Created, QueueId, Request, create, prefer_busy_poll};

use crate::describe::{Attempt, PinnedSocketRequest, SocketDescription};
use crate::error::Failure;
use crate::instance::blocking;

/// A socket that gets a pinned port's frames. The receiver owns both descriptors.
#[napi(object, object_from_js = false)]
pub struct MadeSocket {
    /// Number of the XSK's descriptor.
    pub xsk: i32,
    /// Number of the descriptor of the UMEM's file.
    pub umem: i32,
    /// What the descriptors cannot tell.
    pub socket: SocketDescription,
    /// What was attempted on the way.
    pub attempts: Vec<Attempt>,
}

/// Makes UMEM and socket for a pinned port whose device is in this process' network namespace, and puts the socket into
/// the port's map. It takes CAP_NET_RAW, the rights on the pin, and room for the UMEM below RLIMIT_MEMLOCK (or
/// CAP_IPC_LOCK).
#[napi]
pub async fn make_pinned_socket(options: PinnedSocketRequest) -> napi::Result<MadeSocket> {
    blocking(move || make(options)).await
}

fn make(mut options: PinnedSocketRequest) -> Result<MadeSocket, Failure> {
    let (xsks, device) = (mem::take(&mut options.xsks), mem::take(&mut options.device));
    let (queue, mtu) = (options.queue, options.mtu);
    let PortSpec { layout, multi_buffer, huge_pages, bind, busy_poll, .. } = options.spec()?;
    let layout = for_mtu(layout, mtu, multi_buffer);
    fits_frames(mtu, &layout)?;
    // First what costs nothing.
    let mut map = PinnedSocketMap::open(Path::new(&xsks), queue)?;
    // Its FILL ring is full before the map knows it, else the first frames are lost.
    let request = Request { device: &device, queue: QueueId(queue), layout, huge_pages, bind, prime: true };
    let Created { socket, attempts, .. } = create(&request)?;
    let polled = busy_poll.map(|wanted| prefer_busy_poll(&socket, wanted));
    let attempts: Vec<_> = attempts.into_iter().chain(polled).map(xsknet_port::Attempt::bind).collect();
    map.insert(queue, socket.as_fd())?;
    // Nothing was received, sent or allocated, so that there is nothing to refuse.
    let donation = socket.donate().map_err(|error| {
        Failure::new("SOCKET_REFUSED", error.to_string(), serde_json::json!({ "held": error.held, "tx": error.tx }))
    })?;
    let socket = SocketDescription::from(&donation);
    let attempts = attempts.iter().map(Into::into).collect();
    Ok(MadeSocket { xsk: donation.xsk.into_raw_fd(), umem: donation.umem.into_raw_fd(), socket, attempts })
}
