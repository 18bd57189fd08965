//! Several sockets of one thread on one UMEM.

use std::rc::Rc;

use napi::bindgen_prelude::Env;
use napi_derive::napi;
use xsknet_xsk::{EndpointDonation, ReservedChunks, ranges_of};

use crate::adopted::AdoptedSocket;
use crate::description::SocketDescription;
use crate::descriptors::Descriptors;
use crate::failure::Failure;
use crate::state::State;

/// Free chunks of a socket's UMEM that are kept for the reception of another socket, which the daemon is asked to make.
#[napi]
pub struct Reservation {
    first: Rc<State>,
    chunks: Option<ReservedChunks>,
}

#[napi]
impl AdoptedSocket {
    /// Sets up to `count` free chunks aside. They are to be adopted or released.
    #[napi]
    pub fn reserve(&self, count: u32) -> napi::Result<Reservation> {
        let chunks = self.state.with(|path| Ok(path.with_pool(|umem| umem.reserve_chunks(count))))?;
        Ok(Reservation { first: Rc::clone(&self.state), chunks: Some(chunks) })
    }
}

#[napi]
impl Reservation {
    /// The chunks, as ranges of first chunk and number.
    #[napi(getter, ts_return_type = "[number, number][]")]
    pub fn ranges(&self) -> Vec<Vec<u32>> {
        let chunks = self.chunks.as_ref().map_or(&[][..], ReservedChunks::chunks);
        ranges_of(chunks).into_iter().map(|(first, count)| vec![first, count]).collect()
    }

    /// Frees the chunks: no socket will have them.
    #[napi]
    pub fn release(&mut self) {
        if let Some(chunks) = self.chunks.take() {
            // Where the first socket has been closed, all its chunks are free anyway.
            let _ = self.first.with(|path| {
                path.with_pool(|umem| umem.release_chunks(chunks));
                Ok(())
            });
        }
    }

    /// Takes over the socket that has the chunks in FILL: exactly one descriptor, the XSK. It is closed, and the chunks
    /// are free, if it fails.
    #[napi]
    pub fn adopt(
        &mut self,
        env: Env,
        descriptors: &mut Descriptors,
        description: SocketDescription,
    ) -> napi::Result<AdoptedSocket> {
        let files: Result<[_; 1], _> = descriptors.take_all().try_into();
        let (Ok([xsk]), Some(in_fill)) = (files, self.chunks.take()) else {
            self.release();
            let what = "a socket that shares a UMEM comes as one descriptor, and once";
            return Err(Failure::new("SOCKET_REFUSED", what).into());
        };
        let path = self.first.with(|path| {
            let shape = description.layout().and_then(|layout| Ok((layout, description.bind()?)));
            match shape {
                Ok((layout, bind)) => {
                    let donation = EndpointDonation { xsk, layout, in_fill, bind, counters: description.counters() };
                    Ok(path.join(donation)?)
                }
                Err(refused) => {
                    path.with_pool(|umem| umem.release_chunks(in_fill));
                    Err(refused)
                }
            }
        })?;
        Ok(AdoptedSocket { state: State::open(&env, path)? })
    }
}
