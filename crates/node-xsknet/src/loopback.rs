//! A socket without a kernel, to measure by.

use napi::bindgen_prelude::{Env, Uint8Array};
use napi_derive::napi;
use xsknet_xsk::Layout;

use crate::adopted::AdoptedSocket;
use crate::failure::Failure;

/// A thread that fills a socket's rings.
#[napi]
pub struct Loopback {
    thread: Option<xsknet_xsk::Loopback>,
    socket: Option<xsknet_xsk::Socket>,
}

#[napi]
impl Loopback {
    /// Starts the thread: every frame that it delivers is `packet`. Chunks have 2048 bytes, each ring `slots` slots;
    /// the UMEM has twice as many chunks.
    #[napi(constructor)]
    pub fn new(packet: Uint8Array, slots: u32) -> napi::Result<Self> {
        let layout = Layout::builder().frames(2 * slots).rings(slots).build().map_err(Failure::from)?;
        let started = xsknet_xsk::Loopback::start(layout, &packet);
        let (socket, thread) = started.map_err(|error| Failure::new("INTERNAL", error.to_string()))?;
        Ok(Self { thread: Some(thread), socket: Some(socket) })
    }

    /// Its socket, once.
    #[napi]
    pub fn socket(&mut self, env: Env) -> napi::Result<AdoptedSocket> {
        let taken = || Failure::new("INTERNAL", "the socket has been taken");
        AdoptedSocket::of(&env, self.socket.take().ok_or_else(taken)?)
    }

    /// Frames put into RX so far.
    #[napi]
    pub fn delivered(&self) -> f64 {
        self.thread.as_ref().map_or(0, xsknet_xsk::Loopback::delivered) as f64
    }

    /// Ends the thread.
    #[napi]
    pub fn stop(&mut self) {
        self.thread.take();
    }
}
