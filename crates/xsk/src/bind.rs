//! What every way to make a bound socket has in common: device look-up, ring sizes, and binding while the queue is
//! busy.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{
    set_xdp_rx_ring_size, set_xdp_tx_ring_size, set_xdp_umem_completion_ring_size, set_xdp_umem_fill_ring_size,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

use crate::create_error::{CreateError, is};
use crate::donation::BindMode;
use crate::layout::Layout;
use crate::request::{Attempt, BindRequest, Request};
use crate::ring::RingName;
use crate::sys;

/// How long a bind that returns EBUSY is repeated: the kernel releases a queue some milliseconds after its last socket
/// was closed, also after the end of a process.
pub(crate) const BUSY_PATIENCE: Duration = Duration::from_secs(1);
/// The interval between these attempts.
pub(crate) const BUSY_STEP: Duration = Duration::from_millis(10);

/// Asks first, because libxdp's answer does not tell a missing device from a missing queue.
pub(crate) fn find_device(device: &str) -> Result<u32, CreateError> {
    let refused = |cause: Errno| CreateError::Lookup { device: device.into(), cause: cause.into() };
    let any = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).map_err(refused)?;
    match netdevice::name_to_index(&any, device) {
        Ok(index) => Ok(index),
        // A name that is too long for any device is refused before the kernel is asked.
        Err(Errno::NODEV | Errno::INVAL | Errno::NAMETOOLONG) => {
            Err(CreateError::NoSuchDevice { device: device.into() })
        }
        Err(errno) => Err(refused(errno)),
    }
}

/// The XSK, bound, and the file of its UMEM.
pub(crate) type Opened = (OwnedFd, OwnedFd, BindMode);

/// Binds in the modes that were asked for, one after the other, by `bind_once`.
pub(crate) fn bind_modes<T>(
    request: &Request<'_>,
    attempts: &mut Vec<Attempt>,
    mut bind_once: impl FnMut(BindMode) -> io::Result<T>,
) -> Result<(T, BindMode), CreateError> {
    let modes: &[BindMode] = match request.bind {
        BindRequest::Copy => &[BindMode::Copy],
        BindRequest::ZeroCopy => &[BindMode::ZeroCopy],
        BindRequest::Automatic => &[BindMode::ZeroCopy, BindMode::Copy],
    };
    let refused = |mode, cause: io::Error| {
        let (device, queue) = (request.device.to_owned(), request.queue);
        match cause.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::BUSY) => CreateError::QueueTaken { device, queue },
            Some(Errno::NODEV) => CreateError::NoSuchDevice { device },
            _ => {
                let multi_buffer = request.layout.multi_buffer();
                CreateError::Refused { call: "bind", mode, multi_buffer, device, queue, cause }
            }
        }
    };
    let (&last, before) = modes.split_last().expect("at least one mode is asked for");
    for &mode in before {
        match bind_patiently(request, attempts, mode, &mut bind_once) {
            Ok(bound) => return Ok((bound, mode)),
            // Another mode does not change these two.
            Err(cause)
                if matches!(cause.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::BUSY | Errno::NODEV)) =>
            {
                return Err(refused(mode, cause));
            }
            Err(_) => {}
        }
    }
    let bound = bind_patiently(request, attempts, last, &mut bind_once);
    bound.map(|bound| (bound, last)).map_err(|cause| refused(last, cause))
}

fn bind_patiently<T>(
    request: &Request<'_>,
    attempts: &mut Vec<Attempt>,
    mode: BindMode,
    bind_once: &mut impl FnMut(BindMode) -> io::Result<T>,
) -> io::Result<T> {
    let begun = Instant::now();
    let mut repeated = 0;
    let result = loop {
        match bind_once(mode) {
            Err(cause) if is(&cause, Errno::BUSY) && begun.elapsed() < BUSY_PATIENCE => {
                repeated += 1;
                thread::sleep(BUSY_STEP);
            }
            result => break result,
        }
    };
    attempts.push(attempt(request, mode, repeated, result.as_ref().err()));
    result
}

fn attempt(request: &Request<'_>, mode: BindMode, repeated: u32, refusal: Option<&io::Error>) -> Attempt {
    let step = match mode {
        BindMode::Copy => "copy",
        BindMode::ZeroCopy => "zero-copy",
    };
    let (device, queue) = (request.device, request.queue);
    let why = match refusal {
        None if repeated == 0 => "granted".to_owned(),
        None => format!("granted after the queue had answered busy {repeated} times"),
        Some(cause) if is(cause, Errno::BUSY) => format!("queue {queue} of {device} has a socket"),
        Some(cause) if is(cause, Errno::OPNOTSUPP) && mode == BindMode::ZeroCopy => {
            match request.layout.multi_buffer() {
                false => format!("the driver of {device} has no zero-copy"),
                true => format!("the driver of {device} has no zero-copy, or none of frames in several chunks"),
            }
        }
        Some(cause) if is(cause, Errno::INVAL) && request.layout.multi_buffer() => {
            format!(
                "{device} has no queue {queue}, or this kernel (before 6.6) no frames in several chunks (XDP_USE_SG)"
            )
        }
        Some(cause) if is(cause, Errno::INVAL) => format!("{device} has no queue {queue}, or not with these sizes"),
        Some(cause) => cause.to_string(),
    };
    Attempt { step, errno: refusal.and_then(io::Error::raw_os_error), why }
}

/// Gives a fresh socket its four rings.
pub(crate) fn set_ring_sizes(xsk: BorrowedFd<'_>, layout: &Layout) -> io::Result<()> {
    set_xdp_umem_fill_ring_size(xsk, layout.ring(RingName::Fill))?;
    set_xdp_umem_completion_ring_size(xsk, layout.ring(RingName::Completion))?;
    set_xdp_rx_ring_size(xsk, layout.ring(RingName::Rx))?;
    set_xdp_tx_ring_size(xsk, layout.ring(RingName::Tx))?;
    Ok(())
}

/// One `sendto` in copy mode moves 32 frames; with the budget at the ring's size it moves them all.
pub(crate) fn raise_tx_budget(xsk: &OwnedFd, layout: &Layout, attempts: &mut Vec<Attempt>) {
    let frames = layout.ring(RingName::Tx);
    let (errno, why) = match sys::set_max_tx_skb_budget(xsk.as_fd(), frames) {
        Ok(()) => (None, format!("one kick sends up to {frames} frames")),
        Err(cause) if is(&cause, Errno::NOPROTOOPT) => {
            (cause.raw_os_error(), "this kernel sends 32 frames a kick and has no option for more".to_owned())
        }
        // The kernel accepts 32 up to the number of the ring's slots, and returns EACCES otherwise.
        Err(cause) => (cause.raw_os_error(), format!("one kick sends up to 32 frames, not {frames}: {cause}")),
    };
    attempts.push(Attempt { step: "XDP_MAX_TX_SKB_BUDGET", errno, why });
}
