//! Making a socket on memory that somebody else made: a BPF array.

use std::os::fd::BorrowedFd;

use crate::bind::{find_device, raise_tx_budget};
use crate::counters::SocketCounters;
use crate::create_error::CreateError;
use crate::direct::open_on;
use crate::donation::Donation;
use crate::request::{Attempt, Request};

/// A socket on memory that somebody else made, and how it was made.
#[derive(Debug)]
pub struct CreatedOn {
    /// The socket, bound and not adopted. Its FILL ring is empty.
    pub donation: Donation,
    /// Every step that was attempts, in its order.
    pub attempts: Vec<Attempt>,
}

/// As [`create`](crate::create()), on memory of as many bytes as the layout has, which is mapped for this call alone.
/// What the request says of huge pages and of filling FILL is not asked.
///
/// # Errors
/// [`CreateError`]; nothing is left of the attempt.
pub fn create_on(request: &Request<'_>, memory: BorrowedFd<'_>) -> Result<CreatedOn, CreateError> {
    let index = find_device(request.device)?;
    let layout = request.layout.in_ordinary_pages();
    let umem = memory.try_clone_to_owned();
    let umem = umem.map_err(|cause| CreateError::Keep { what: "duplicate the descriptor of the UMEM", cause })?;
    let mut attempts = Vec::new();
    let (xsk, bind) = open_on(&Request { layout, ..*request }, memory, index, &mut attempts)?;
    raise_tx_budget(&xsk, &layout, &mut attempts);
    let (in_fill, counters) = (Vec::new(), SocketCounters::default());
    Ok(CreatedOn { donation: Donation { xsk, umem, layout, in_fill, bind, counters }, attempts })
}
