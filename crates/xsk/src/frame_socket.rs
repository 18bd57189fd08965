use std::time::Duration;

use crate::endpoint::{Readiness, SocketError};
use crate::frame::Frame;
use crate::ledger::ChunkCounts;
use crate::ring_socket::RingSocket;
use crate::rings::TransmitError;
use crate::socket::Socket;

/// What frames come from and go to, whatever rings they go through: for those who do not care. [`Socket`] has the
/// meaning of each call.
pub trait FrameSocket {
    /// See [`Socket::receive`].
    ///
    /// # Errors
    /// [`SocketError`].
    fn receive(&mut self, max: usize, into: &mut Vec<Frame>) -> Result<usize, SocketError>;
    /// See [`Socket::transmit`].
    ///
    /// # Errors
    /// [`SocketError`].
    fn transmit(&mut self, frames: &mut Vec<Frame>) -> Result<usize, SocketError>;
    /// See [`Socket::flush`].
    ///
    /// # Errors
    /// [`SocketError`].
    fn flush(&mut self) -> Result<u32, SocketError>;
    /// See [`Socket::complete`].
    ///
    /// # Errors
    /// [`SocketError`].
    fn complete(&mut self) -> Result<usize, SocketError>;
    /// See [`Socket::wait`].
    ///
    /// # Errors
    /// [`SocketError`].
    fn wait(&mut self, timeout: Duration) -> Result<Readiness, SocketError>;
    /// See [`Socket::allocate`].
    fn allocate(&mut self) -> Option<Frame>;
    /// See [`Socket::release`].
    fn release(&mut self, frame: Frame);
    /// See [`Socket::bytes`].
    fn bytes(&self, frame: &Frame) -> &[u8];
    /// See [`Socket::bytes_mut`].
    fn bytes_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8];
    /// See [`Socket::chunks`].
    fn chunks(&self) -> ChunkCounts;
}

macro_rules! frame_socket {
    ($($socket:ty: $checked:expr;)+) => {$(
        impl FrameSocket for $socket {
            fn receive(&mut self, max: usize, into: &mut Vec<Frame>) -> Result<usize, SocketError> {
                $checked(self.receive(max, into))
            }

            fn transmit(&mut self, frames: &mut Vec<Frame>) -> Result<usize, SocketError> {
                self.transmit(frames).map_err(|error| TransmitError::from(error).into())
            }

            fn flush(&mut self) -> Result<u32, SocketError> {
                Ok(self.flush()?)
            }

            fn complete(&mut self) -> Result<usize, SocketError> {
                $checked(self.complete())
            }

            fn wait(&mut self, timeout: Duration) -> Result<Readiness, SocketError> {
                Ok(self.wait(timeout)?)
            }

            fn allocate(&mut self) -> Option<Frame> {
                self.allocate()
            }

            fn release(&mut self, frame: Frame) {
                self.release(frame);
            }

            fn bytes(&self, frame: &Frame) -> &[u8] {
                self.bytes(frame)
            }

            fn bytes_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
                self.bytes_mut(frame)
            }

            fn chunks(&self) -> ChunkCounts {
                self.chunks()
            }
        }
    )+};
}
frame_socket! {
    Socket: |result: Result<usize, _>| result.map_err(SocketError::from);
    RingSocket: Ok::<usize, SocketError>;
}
