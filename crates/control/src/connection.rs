//! One admitted client: what it sends, bounded, and what is sent to it, bounded too.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot};
use tokio::task::consume_budget;
use tokio::time::sleep_until;

use crate::arrived::Arrived;
use crate::credentials::Credentials;
use crate::limits::{Limits, Quota};
use crate::message::{Arrival, MAX_MESSAGE};
use crate::peer::Peer;
use crate::place::Place;
use crate::seqpacket::{InvalidMessage, Received, Seqpacket};
use crate::sys;

/// How long a closed connection waits for its peer to read what is queued.
const GRACE: Duration = Duration::from_secs(1);

/// What a client did.
#[derive(Debug)]
pub enum Event {
    /// It sent a message, which counts as in flight until [`Handle::done`].
    Message {
        /// The message; `None` if it was longer than [`Connection::longest`].
        bytes: Option<Vec<u8>>,
        /// Its real length.
        length: usize,
        /// The descriptors that came with it.
        descriptors: Arrived,
    },
    /// The connection is over, and nothing follows.
    Ended(Ended),
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The peer closed it, or died.
    #[error("the client has gone")]
    Gone,
    /// [`Handle::close`] was called.
    #[error("closed")]
    Closed,
    /// The peer was cut off, because it did not read what was sent to it.
    #[error("the client does not read: {messages} messages of {bytes} bytes in all were waiting for it")]
    NotReading {
        /// How many were queued.
        messages: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// The peer was cut off, because it sent nothing after it had connected.
    #[error("the client sent nothing within {within:?}")]
    Silent {
        /// The time that was allowed.
        within: Duration,
    },
    /// The socket failed.
    #[error("cannot {what} the client: {cause}")]
    Failed {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

impl Ended {
    /// The name by which a program distinguishes the reasons: `"gone"`, `"closed"`, `"not-reading"`, `"silent"` or
    /// `"failed"`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Closed => "closed",
            Self::NotReading { .. } => "not-reading",
            Self::Silent { .. } => "silent",
            Self::Failed { .. } => "failed",
        }
    }
}

/// A client's connection. [`next`](Self::next) does all its work, sending included; dropping it closes the socket.
#[derive(Debug)]
pub struct Connection {
    /// `None` only while it is dropped.
    held: Option<Held>,
    credentials: Credentials,
    sends_descriptors: bool,
    shared: Arc<Shared>,
    buffer: Box<[u8]>,
    /// Resolves once the descriptors of the last message are closed or taken; until then no other is read.
    closing: Option<oneshot::Receiver<()>>,
    /// When the message that waits may be read, once that was asked for and paid: no other connection of the same user
    /// overtakes it.
    turn: Option<Instant>,
    /// Until the first message has come, or was seen to wait.
    silence: Option<Silence>,
}

/// A socket, and the place that stays taken until it is closed.
#[derive(Debug)]
struct Held {
    socket: AsyncFd<Seqpacket>,
    place: Arc<Place>,
    /// Descriptors may lie unread in it, so that closing it can take its time.
    may_block: bool,
}

#[derive(Debug)]
struct Silence {
    within: Duration,
    until: Instant,
    /// The message to the peer in that case.
    words: Vec<u8>,
}

/// A second handle on a connection, for answers. It keeps nothing open.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    /// The process of a client that may send descriptors, until the end.
    peer: Option<Arc<Peer>>,
    queue: VecDeque<Outgoing>,
    messages: Quota,
    bytes: Quota,
    in_flight: Quota,
}

#[derive(Debug)]
struct Outgoing {
    message: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Open,
    /// Closed by us, perhaps because it was silent for that long. What is queued may still leave, for a while that
    /// begins when that is tried.
    Closing {
        until: Option<Instant>,
        silent: Option<Duration>,
    },
    /// It does not read: this many messages and bytes were queued.
    CutOff(usize, usize),
    Over,
}

/// What there is to wait for once all that could be sent has been.
struct Waiting {
    /// For room in the socket.
    writable: bool,
    /// For a message.
    message: bool,
    /// No longer than this, to send the rest.
    until: Option<Instant>,
}

impl Connection {
    pub(crate) fn new(
        socket: Seqpacket,
        credentials: Credentials,
        place: Place,
        may_block: bool,
        sends_descriptors: bool,
        limits: &Limits,
        silence: &[u8],
    ) -> io::Result<Self> {
        let state = State {
            stage: Stage::Open,
            // Without it, its network namespace cannot be told, which is an error where it is asked for.
            peer: if sends_descriptors { Peer::of(&socket).ok().map(Arc::new) } else { None },
            queue: VecDeque::new(),
            messages: Quota::new(limits.queued_messages),
            bytes: Quota::new(limits.queued_bytes),
            in_flight: Quota::new(limits.in_flight),
        };
        let longest = usize::try_from(limits.of(place.payer().standing).longest.get()).unwrap_or(MAX_MESSAGE);
        let silence =
            Silence { within: limits.silence, until: Instant::now() + limits.silence, words: silence.to_vec() };
        let socket = sys::watch(socket, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            held: Some(Held { socket, place: Arc::new(place), may_block }),
            credentials,
            sends_descriptors,
            shared: Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() }),
            buffer: vec![0; longest.min(MAX_MESSAGE)].into_boxed_slice(),
            closing: None,
            turn: None,
            silence: Some(silence),
        })
    }

    /// Who the client was when it connected.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Whether its messages may bring descriptors.
    pub fn sends_descriptors(&self) -> bool {
        self.sends_descriptors
    }

    /// The longest message that it may send, in bytes.
    pub fn longest(&self) -> usize {
        self.buffer.len()
    }

    /// A handle for answers.
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.shared))
    }

    /// What the client does next. It also sends what is queued: nothing moves unless this is awaited. The future may
    /// be dropped at any time and loses nothing.
    ///
    /// A client that disconnects is noticed at once, also while its messages are in flight. Those that could not be
    /// read until then are dropped with it, since nothing waits for their answers.
    pub async fn next(&mut self) -> Event {
        let event = self.drive().await;
        if matches!(event, Event::Ended(_)) {
            self.shared.lock().end();
        }
        event
    }

    async fn drive(&mut self) -> Event {
        let Self { held, shared, buffer, closing, turn, silence, .. } = self;
        let Held { socket, place, .. } = held.as_ref().expect("held until it is dropped");
        loop {
            // A peer that always has something ready must not keep this thread.
            consume_budget().await;

            let now = Instant::now();
            let waiting = match shared.lock().send_all(socket.get_ref(), now) {
                Ok(waiting) => waiting,
                Err(ended) => return Event::Ended(ended),
            };
            let wants_message = waiting.message && closing.is_none();
            let unread = || socket.get_ref().unread();
            let at_once = wants_message && turn.is_none() && place.may_read(now);
            if wants_message && turn.is_none() && !at_once {
                *turn = unread().map(|length| place.book(length.min(buffer.len()), now));
            }
            let reads = at_once || wants_message && turn.is_some_and(|turn| turn <= now);
            if reads {
                match socket.get_ref().receive(buffer) {
                    Ok(received) => {
                        // Of one that is longer, no more than fits the buffer was copied.
                        if turn.take().is_none() {
                            place.charge(received.arrival.length().min(buffer.len()), now);
                        }
                        *silence = None;
                        return shared.lock().deliver(received, buffer, place, closing);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(cause) => return Event::Ended(Ended::Failed { what: "receive from", cause }),
                }
            }
            if silence.as_ref().is_some_and(|silence| silence.until <= now)
                && let Some(Silence { within, words, .. }) = silence.take()
                // What waits unread, because its turn has not come, does not count as silence.
                && unread().is_none_or(|length| length == 0)
            {
                shared.lock().fall_silent(within, words);
                continue;
            }

            // READABLE also where nothing would be read: a hang-up comes with it.
            let interest = if waiting.writable { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            let alarms = [
                waiting.until,
                turn.filter(|_| wants_message && !reads),
                silence.as_ref().filter(|_| waiting.until.is_none()).map(|silence| silence.until),
            ];
            let alarm = alarms.into_iter().flatten().min();
            tokio::select! {
                ready = socket.ready(interest) => match ready {
                    Ok(mut ready) => {
                        let hung_up = ready.ready().is_read_closed();
                        // Cleared before the next attempt: what comes after that wakes us again.
                        ready.clear_ready();
                        if hung_up && !reads {
                            return Event::Ended(if waiting.until.is_some() { Ended::Closed } else { Ended::Gone });
                        }
                    }
                    Err(cause) => return Event::Ended(Ended::Failed { what: "wait for", cause }),
                },
                () = shared.changed.notified() => {}
                () = sleep_until(alarm.unwrap_or(now).into()), if alarm.is_some() => {}
                () = all_closed(closing), if closing.is_some() => {}
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.lock().end();
        if let Some(held) = self.held.take()
            && held.may_block
        {
            let (closers, payer) = (held.place.closers().clone(), held.place.payer());
            closers.close(payer, held);
        }
    }
}

/// Waits until the last message's descriptors have left the connection.
async fn all_closed(closing: &mut Option<oneshot::Receiver<()>>) {
    if let Some(receiver) = closing {
        // An error means that the thread that closed them has ended, and they with it.
        let _ = receiver.await;
        *closing = None;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Sends until the socket takes no more, or the connection is over.
    fn send_all(&mut self, socket: &Seqpacket, now: Instant) -> Result<Waiting, Ended> {
        let until = match &mut self.stage {
            Stage::Open => None,
            // From the first attempt on: until then, nothing waited for the peer.
            Stage::Closing { until, .. } => Some(*until.get_or_insert(now + GRACE)),
            Stage::CutOff(messages, bytes) => return Err(Ended::NotReading { messages: *messages, bytes: *bytes }),
            Stage::Over => return Err(Ended::Gone),
        };
        while let Some(Outgoing { message, descriptors }) = self.queue.front() {
            let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
            match socket.send(message, &descriptors) {
                Ok(()) => {
                    self.messages.give_back(1);
                    self.bytes.give_back(message.len());
                    self.queue.pop_front();
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock if until.is_none_or(|until| now < until) => break,
                    _ if until.is_some() => return Err(self.closed()),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => return Err(Ended::Gone),
                    _ => return Err(Ended::Failed { what: "send to", cause: error }),
                },
            }
        }
        let writable = !self.queue.is_empty();
        match until {
            Some(_) if !writable => Err(self.closed()),
            until => Ok(Waiting { writable, message: until.is_none() && self.in_flight.has(1), until }),
        }
    }

    /// Why it is over, once that which was queued has left or is given up.
    fn closed(&self) -> Ended {
        match self.stage {
            Stage::Closing { silent: Some(within), .. } => Ended::Silent { within },
            _ => Ended::Closed,
        }
    }

    /// The peer has sent nothing: sends it the message for that, and closes.
    fn fall_silent(&mut self, within: Duration, words: Vec<u8>) {
        if matches!(self.stage, Stage::Open) {
            self.stage = Stage::Closing { until: None, silent: Some(within) };
            if !words.is_empty() && self.messages.has(1) && self.bytes.has(words.len()) {
                self.messages.take(1);
                self.bytes.take(words.len());
                self.queue.push_back(Outgoing { message: words, descriptors: Vec::new() });
            }
        }
    }

    /// Counts what was received as in flight.
    fn deliver(
        &mut self,
        received: Received,
        buffer: &[u8],
        place: &Arc<Place>,
        closing: &mut Option<oneshot::Receiver<()>>,
    ) -> Event {
        let Received { arrival, descriptors } = received;
        let (whole, length, lost) = match arrival {
            Arrival::End => (false, 0, 0),
            Arrival::Oversized { length } => (false, length, 0),
            Arrival::Message { length } | Arrival::TooManyDescriptors { length } => (true, length, 0),
            // At least one more came than could be counted.
            Arrival::DescriptorsLost { length } => (true, length, 1),
        };
        let (descriptors, left) = Arrived::new(descriptors, lost, place);
        if arrival == Arrival::End {
            return Event::Ended(Ended::Gone);
        }
        *closing = left;
        self.in_flight.take(1);
        Event::Message { bytes: whole.then(|| buffer[..length].to_vec()), length, descriptors }
    }

    fn end(&mut self) {
        self.stage = Stage::Over;
        self.queue.clear();
        self.peer = None;
    }
}

impl Handle {
    /// Queues a message; its descriptors are closed here once it is sent, or not needed any more. False: the connection
    /// is over, closed, or now cut off because its peer has not read too much of it.
    ///
    /// # Errors
    /// [`InvalidMessage`]; the connection is as before.
    pub fn send(&self, message: Vec<u8>, descriptors: Vec<OwnedFd>) -> Result<bool, InvalidMessage> {
        InvalidMessage::check(message.len(), descriptors.len())?;
        let mut state = self.0.lock();
        if !matches!(state.stage, Stage::Open) {
            return Ok(false);
        }
        let fits = state.messages.has(1) && state.bytes.has(message.len());
        if fits {
            state.messages.take(1);
            state.bytes.take(message.len());
            state.queue.push_back(Outgoing { message, descriptors });
        } else {
            state.stage = Stage::CutOff(state.queue.len(), state.queue.iter().map(|queued| queued.message.len()).sum());
            state.queue.clear();
        }
        self.0.changed.notify_one();
        Ok(fits)
    }

    /// The network namespace that the client's process is in at this moment, if it is one that may send descriptors.
    ///
    /// # Errors
    /// `Unsupported` for other clients, and before Linux 6.5; `NotConnected` once the connection is over; ESRCH if the
    /// process has ended; those of `ioctl(2)` on its pidfd, or of opening its `/proc/<pid>/ns/net`.
    pub fn namespace(&self) -> io::Result<OwnedFd> {
        let peer = {
            let state = self.0.lock();
            if matches!(state.stage, Stage::Over) {
                return Err(io::ErrorKind::NotConnected.into());
            }
            state.peer.clone()
        };
        peer.ok_or(io::ErrorKind::Unsupported)?.namespace()
    }

    /// One delivered message has been dealt with: another may be read.
    pub fn done(&self) {
        self.0.lock().in_flight.give_back(1);
        self.0.changed.notify_one();
    }

    /// Ends the connection once what is queued has left, within a second. Nothing more is read.
    pub fn close(&self) {
        let mut state = self.0.lock();
        if matches!(state.stage, Stage::Open) {
            state.stage = Stage::Closing { until: None, silent: None };
            self.0.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_a_name_of_its_own() {
        let ends = [
            Ended::Gone,
            Ended::Closed,
            Ended::NotReading { messages: 1, bytes: 2 },
            Ended::Silent { within: GRACE },
            Ended::Failed { what: "receive from", cause: io::ErrorKind::Other.into() },
        ];
        assert_eq!(ends.each_ref().map(Ended::name), ["gone", "closed", "not-reading", "silent", "failed"]);
    }
}
