//! Descriptors that came from a peer.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::place::Place;

/// Descriptors that came beside a message, of any kind that the peer chose. Dropping them closes them on a separate
/// thread, since that may block; until then, or until they are taken, no other message of the connection is read. The
/// connection's place stays taken as long as one of them is here, even when the connection is over.
#[derive(Debug, Default)]
pub struct Arrived {
    held: Vec<OwnedFd>,
    lost: usize,
    from: Option<From>,
}

#[derive(Debug)]
struct From {
    place: Arc<Place>,
    /// Dropping it lets the connection read on.
    gate: oneshot::Sender<()>,
}

impl Arrived {
    /// `lost` more came than could be taken in. Resolves once none is left here; `None` where none is.
    pub(crate) fn new(held: Vec<OwnedFd>, lost: usize, place: &Arc<Place>) -> (Self, Option<oneshot::Receiver<()>>) {
        if held.is_empty() {
            return (Self { held, lost, from: None }, None);
        }
        let (gate, left) = oneshot::channel();
        (Self { held, lost, from: Some(From { place: Arc::clone(place), gate }) }, Some(left))
    }

    /// How many came, those included that this process could not take in.
    pub fn len(&self) -> usize {
        self.held.len() + self.lost
    }

    /// Whether none came.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The only one there is, to look at before it is taken; `None` if more or fewer came.
    pub fn only(&self) -> Option<BorrowedFd<'_>> {
        match (self.held.as_slice(), self.lost) {
            ([one], 0) => Some(one.as_fd()),
            _ => None,
        }
    }

    /// Takes them: the new owner closes them.
    pub fn take(mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.held)
    }
}

/// Some that nobody waits for, made here: closing them takes no time.
impl std::convert::From<Vec<OwnedFd>> for Arrived {
    fn from(held: Vec<OwnedFd>) -> Self {
        Self { held, lost: 0, from: None }
    }
}

impl Drop for Arrived {
    fn drop(&mut self) {
        let held = std::mem::take(&mut self.held);
        if let Some(From { place, gate }) = self.from.take()
            && !held.is_empty()
        {
            let (closers, payer) = (place.closers().clone(), place.payer());
            // In this order: the gate opens, and the place is given back, once they are closed.
            closers.close(payer, (held, gate, place));
        }
    }
}
