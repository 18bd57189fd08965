//! The data path of an AF_XDP socket.

use xsknet_xsk::{AdoptError, Endpoint, EndpointDonation, Socket};

use crate::data_path::DataPath;

/// The data path of an AF_XDP socket.
pub type SocketPath = DataPath<Endpoint>;

impl DataPath<Endpoint> {
    /// The path of a socket that shares its UMEM with no other.
    #[must_use]
    pub fn of_socket(socket: Socket) -> Self {
        let (endpoint, umem, file) = socket.into_parts();
        Self::new(endpoint, umem, file)
    }

    /// The socket, for another thread. See [`DataPath::dismantle`].
    ///
    /// # Errors
    /// The path, as it was, where others share its UMEM.
    #[expect(clippy::result_large_err, reason = "once in a path's life")]
    pub fn into_socket(self) -> Result<Socket, Self> {
        let (endpoint, umem, file) = self.dismantle()?;
        Ok(Socket::of_parts(endpoint, umem, file))
    }

    /// The path of a bound socket that shares the UMEM of this one.
    ///
    /// # Errors
    /// [`AdoptError`]; the chunks of the donation are free then.
    pub fn join(&self, donation: EndpointDonation) -> Result<Self, AdoptError> {
        self.share(|umem| {
            Endpoint::join(donation, umem).map_err(|(refused, chunks)| {
                umem.release_chunks(chunks);
                refused
            })
        })
    }
}
