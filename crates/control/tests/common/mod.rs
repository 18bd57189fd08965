//! A daemon's side that does what a test tells it, on a runtime with one thread; clients are plain blocking code.
#![allow(dead_code, reason = "`leaks`, a program of its own, uses little of it")]

use std::fs::{self, Permissions};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use xsknet_control::{
    Arrival, Bounds, ConnectError, Connection, Credentials, Event, Handle, Limits, Listener, MAX_MESSAGE, Party, Rates,
    Reach, Received, Seqpacket, Shared, Trust, Words,
};

/// Until then everything must have happened that a test waits for.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// How soon others must be served, whatever one client does.
pub const SOON: Duration = Duration::from_millis(100);
pub const REFUSAL: &[u8] = b"no place";
pub const SILENCE: &[u8] = b"nothing came";

pub fn some(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// So wide that a test meets the limit that it narrows, and no other.
pub fn wide() -> Limits {
    each(wide_bounds())
}

pub fn wide_bounds() -> Bounds {
    Bounds { connections: some(100), longest: some(65_536), rates: wide_rates() }
}

pub fn wide_rates() -> Rates {
    Rates {
        messages: some(1_000_000),
        messages_at_once: some(1_000_000),
        bytes: some(1 << 30),
        bytes_at_once: some(1 << 30),
    }
}

/// All users have the same limits, no matter which one runs the test.
pub fn each(bounds: Bounds) -> Limits {
    let shared = Shared { connections: some(1000), rates: wide_rates() };
    Limits {
        root: bounds,
        holders: bounds,
        members: bounds,
        all_members: shared,
        strangers: bounds,
        all_strangers: shared,
        in_flight: some(1_000),
        queued_messages: some(1_000),
        queued_bytes: some(64 << 20),
        silence: Duration::from_secs(60),
    }
}

/// The most connections of one user.
pub fn connections(number: u32) -> Limits {
    each(Bounds { connections: some(number), ..wide_bounds() })
}

/// The most messages per second of one user, and at once.
pub fn messages(rate: u32, at_once: u32) -> Limits {
    let rates = Rates { messages: some(rate), messages_at_once: some(at_once), ..wide_rates() };
    each(Bounds { rates, ..wide_bounds() })
}

/// The user of this test may send descriptors, no matter who that is.
pub fn this_user() -> Trust {
    let own = Party { uids: [geteuid().as_raw()].into(), ..Party::default() };
    Trust { trusted: own.clone(), descriptors: own }
}

/// Connects as another user, which takes root.
pub fn socket_of(path: &Path, uid: u32, groups: &[u32]) -> Result<Seqpacket, ConnectError> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
    let groups: Vec<_> = groups.iter().copied().map(Gid::from_raw).collect();
    let connect = || {
        set_thread_groups(&groups).unwrap();
        set_thread_res_gid(gid, gid, gid).unwrap();
        set_thread_res_uid(uid, uid, uid).unwrap();
        Seqpacket::connect(path)
    };
    thread::scope(|scope| scope.spawn(connect).join()).unwrap()
}

/// Tells why a test is skipped, where it is.
pub fn is_root(why: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("skipped: {why}");
    }
    root
}

/// Whether the kernel keeps descriptors away from those who take none: `SO_PASSRIGHTS`, since Linux 6.16.
pub fn kernel_guards() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(16))
}

pub struct Server {
    pub path: PathBuf,
    pub folder: TempDir,
    accepting: Option<JoinHandle<()>>,
    accepted: mpsc::Receiver<Served>,
    runtime: Runtime,
}

/// The daemon's end of one connection.
pub struct Served {
    pub credentials: Credentials,
    pub handle: Handle,
    pub events: mpsc::Receiver<Event>,
}

impl Server {
    /// Tells the test of everything and answers nothing.
    pub fn start(limits: Limits) -> Self {
        Self::trusting(limits, this_user())
    }

    pub fn trusting(limits: Limits, trust: Trust) -> Self {
        Self::serve(limits, trust, |_, _| {})
    }

    /// Answers what begins with "ping" with itself, and is done with it then.
    pub fn echo(limits: Limits) -> Self {
        Self::echoing(limits, this_user())
    }

    pub fn echoing(limits: Limits, trust: Trust) -> Self {
        Self::serve(limits, trust, |handle, event| {
            if let Event::Message { bytes: Some(bytes), .. } = event
                && bytes.starts_with(b"ping")
            {
                let _ = handle.send(bytes.clone(), Vec::new());
                handle.done();
            }
        })
    }

    fn serve(limits: Limits, trust: Trust, react: impl Fn(&Handle, &Event) + Copy + Send + 'static) -> Self {
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let path = folder.path().join("control.sock");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_io().enable_time().build().unwrap();
        let (tell, accepted) = mpsc::channel();
        let words = Words { refusal: REFUSAL.to_vec(), silence: SILENCE.to_vec() };
        let listener =
            runtime.block_on(async { Listener::bind(&path, Reach::AllUsers, limits, trust, words) }).unwrap();
        let accepting = runtime.spawn(async move {
            loop {
                let connection = listener.accept().await;
                let (told, events) = mpsc::channel();
                let credentials = connection.credentials().clone();
                let served = Served { credentials, handle: connection.handle(), events };
                tokio::spawn(drive(connection, told, react));
                if tell.send(served).is_err() {
                    return;
                }
            }
        });
        Self { path, folder, accepting: Some(accepting), accepted, runtime }
    }

    /// A new client and the other end of its connection.
    pub fn connect(&self) -> (Client, Served) {
        let client = self.client();
        (client, self.accepted.recv_timeout(DEADLINE).expect("a connection"))
    }

    /// A new client of another user, which takes root, and the other end of its connection.
    pub fn connect_as(&self, uid: u32, groups: &[u32]) -> (Client, Served) {
        (self.client_as(uid, groups), self.let_in())
    }

    /// The same, whether it is let in or not.
    pub fn client_as(&self, uid: u32, groups: &[u32]) -> Client {
        Client::new(socket_of(&self.path, uid, groups).unwrap())
    }

    /// A new client, whether it is let in or not.
    pub fn client(&self) -> Client {
        Client::new(Seqpacket::connect(&self.path).unwrap())
    }

    pub fn let_in(&self) -> Served {
        self.accepted.recv_timeout(DEADLINE).expect("a connection")
    }

    pub fn let_in_within(&self, time: Duration) -> Option<Served> {
        self.accepted.recv_timeout(time).ok()
    }

    /// Stops listening.
    pub fn close(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            let _ = self.runtime.block_on(accepting);
        }
    }
}

async fn drive(mut connection: Connection, tell: mpsc::Sender<Event>, react: impl Fn(&Handle, &Event) + Copy) {
    let handle = connection.handle();
    loop {
        let event = connection.next().await;
        react(&handle, &event);
        let over = matches!(event, Event::Ended(_));
        // A test that looks no more has dropped the receiver.
        let _ = tell.send(event);
        if over {
            return;
        }
    }
}

impl Served {
    pub fn next(&self) -> Event {
        self.events.recv_timeout(DEADLINE).expect("an event")
    }

    /// The next event, which must be the end: its reason.
    pub fn ended(&self) -> String {
        loop {
            if let Event::Ended(reason) = self.next() {
                assert!(self.events.recv_timeout(DEADLINE).is_err(), "nothing follows the end");
                return reason.to_string();
            }
        }
    }

    /// The next event, which must be a message: its bytes, length and descriptors.
    pub fn message(&self) -> (Option<Vec<u8>>, usize, usize) {
        match self.next() {
            Event::Message { bytes, length, descriptors } => (bytes, length, descriptors.len()),
            ended @ Event::Ended(_) => panic!("{ended:?}"),
        }
    }
}

/// A client that waits.
pub struct Client {
    pub socket: Seqpacket,
    buffer: Vec<u8>,
}

impl Client {
    pub fn new(socket: Seqpacket) -> Self {
        Self { socket, buffer: vec![0; MAX_MESSAGE] }
    }

    pub fn send(&self, message: &[u8]) {
        self.send_with(message, &[]);
    }

    pub fn send_with(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) {
        loop {
            match self.socket.send(message, descriptors) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(&self.socket, PollFlags::OUT, DEADLINE);
                }
                sent => return sent.unwrap(),
            }
        }
    }

    pub fn receive(&mut self) -> (Arrival, Vec<OwnedFd>) {
        loop {
            match self.socket.receive(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(&self.socket, PollFlags::IN, DEADLINE);
                }
                received => {
                    let Received { arrival, descriptors } = received.unwrap();
                    return (arrival, descriptors);
                }
            }
        }
    }

    /// The next message; `None` at the end.
    pub fn message(&mut self) -> Option<Vec<u8>> {
        match self.receive().0 {
            Arrival::Message { length } => Some(self.buffer[..length].to_vec()),
            Arrival::End => None,
            other => panic!("{other:?}"),
        }
    }

    /// A message that comes soon; `None` also at the end.
    pub fn message_within(&mut self, time: Duration) -> Option<Vec<u8>> {
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        let came = poll(&mut polled, Some(&Timespec::try_from(time).unwrap())).unwrap() > 0;
        if came { self.message() } else { None }
    }

    /// How long an answer takes.
    pub fn round_trip(&mut self) -> Duration {
        let begun = Instant::now();
        self.send(b"ping");
        assert_eq!(self.message().as_deref(), Some(b"ping".as_slice()));
        begun.elapsed()
    }

    /// Is answered soon for half a second, and so often that the few answers say something that a machine with other
    /// work holds up: a server that is held up by another client holds up one after the other.
    #[track_caller]
    pub fn assert_served(&mut self) {
        let (mut late, mut answers) = (Vec::new(), 0);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(500) || answers < 40 {
            let took = self.round_trip();
            answers += 1;
            late.extend((took >= SOON).then_some(took));
            thread::sleep(Duration::from_millis(5));
        }
        assert!(late.len() * 10 <= answers, "{late:?} of {answers} answers");
    }
}

/// Sends what [`Seqpacket::send`] would refuse.
pub fn send_raw(client: &Client, message: &[u8], descriptors: &[BorrowedFd<'_>]) {
    assert_eq!(try_send_raw(client, message, descriptors).unwrap(), message.len());
}

/// The same, where the kernel may refuse it.
pub fn try_send_raw(client: &Client, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(descriptors)));
    Ok(sendmsg(&client.socket, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)?)
}

/// Waits for one of `events`, or a hang-up; panics at the deadline.
pub fn wait(fd: &impl AsFd, events: PollFlags, deadline: Duration) -> PollFlags {
    let mut polled = [PollFd::new(fd, events)];
    let timeout = Timespec::try_from(deadline).unwrap();
    assert_eq!(poll(&mut polled, Some(&timeout)).unwrap(), 1, "no {events:?} within {deadline:?}");
    polled[0].revents()
}

/// Waits until every copy of a pipe's writing end is closed.
pub fn all_writers_closed(reader: &impl AsFd) {
    assert!(wait(reader, PollFlags::IN, DEADLINE).contains(PollFlags::HUP));
}
