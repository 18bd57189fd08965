//! The data path of a socket, with the rings of the kernel or BPF rings.

use std::os::fd::OwnedFd;

use xsknet_xsk::{AdoptError, Endpoint, EndpointDonation, RingSocket, Socket, Umem};

use crate::data_path::DataPath;
use crate::endpoint::QueueEndpoint;

/// The data path of a socket.
pub type SocketPath = DataPath<QueueEndpoint>;

/// A socket of either kind with its UMEM: what a path is made of, and what goes to another thread.
#[derive(Debug)]
pub struct QueueSocket {
    endpoint: QueueEndpoint,
    umem: Umem,
    file: OwnedFd,
}

impl From<Socket> for QueueSocket {
    fn from(socket: Socket) -> Self {
        let (endpoint, umem, file) = socket.into_parts();
        Self { endpoint: QueueEndpoint::Socket(endpoint), umem, file }
    }
}

impl From<RingSocket> for QueueSocket {
    fn from(socket: RingSocket) -> Self {
        let (endpoint, umem, file) = socket.into_parts();
        Self { endpoint: QueueEndpoint::Rings(Box::new(endpoint)), umem, file }
    }
}

impl DataPath<QueueEndpoint> {
    /// The path of a socket that shares its UMEM with no other.
    #[must_use]
    pub fn of_socket(socket: impl Into<QueueSocket>) -> Self {
        let QueueSocket { endpoint, umem, file } = socket.into();
        Self::new(endpoint, umem, file)
    }

    /// The socket, for another thread. See [`DataPath::dismantle`].
    ///
    /// # Errors
    /// The path, as it was, where others share its UMEM.
    #[expect(clippy::result_large_err, reason = "once in a path's life")]
    pub fn into_socket(self) -> Result<QueueSocket, Self> {
        let (endpoint, umem, file) = self.dismantle()?;
        Ok(QueueSocket { endpoint, umem, file })
    }

    /// The path of a bound socket that shares the UMEM of this one.
    ///
    /// # Errors
    /// [`AdoptError`]; the chunks of the donation are free then.
    pub fn join(&self, donation: EndpointDonation) -> Result<Self, AdoptError> {
        self.share(|umem| match Endpoint::join(donation, umem) {
            Ok(endpoint) => Ok(QueueEndpoint::Socket(endpoint)),
            Err((refused, chunks)) => {
                umem.release_chunks(chunks);
                Err(refused)
            }
        })
    }
}
