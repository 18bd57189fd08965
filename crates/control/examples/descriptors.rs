//! A client that sends descriptors which nobody asked for, for the tests of the daemon.
//!
//! `descriptors <socket> <linger|mixed|null> <descriptors a message> <messages> <greeted|strange> <held|dropped>
//! <message>` sends so many messages over as many connections. It says `ready` once it begins, and `sent <messages>
//! <descriptors>` at the end; then it stays, with the connections that are `held`, until its standard input ends. The
//! close of a descriptor that lingers blocks until then.

use std::io::{Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use xsknet_control::Seqpacket;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// `SCM_MAX_FD`.
const MOST: usize = 253;
const HELLO: &[u8] = br#"{"version":2,"id":1,"operation":"hello","client":"hostile"}"#;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, kind, each, messages, greeting, keeping, message] = arguments.as_slice() else {
        return Err(
            "descriptors <socket> <linger|mixed|null> <each> <messages> <greeted|strange> <held|dropped> <message>"
                .into(),
        );
    };
    let (each, messages): (usize, usize) = (each.parse()?, messages.parse()?);
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;

    let source = Source::new(kind)?;
    println!("ready");
    let (mut sent, mut passed, mut held, mut unread) = (0, 0, Vec::new(), Vec::new());
    for _ in 0..messages {
        let mut descriptors: Vec<OwnedFd> = Vec::new();
        for _ in 0..each.min(MOST) {
            let Ok((descriptor, peer)) = source.descriptor(descriptors.is_empty()) else { break };
            descriptors.push(descriptor);
            unread.extend(peer);
        }
        let Some(client) = connected(Path::new(socket)) else { continue };
        if greeting == "greeted" {
            let _ = client.send(HELLO, &[]);
            wait(&client);
        }
        if send(&client, message.as_bytes(), &descriptors) {
            sent += 1;
            passed += descriptors.len();
        }
        drop_elsewhere(descriptors);
        if keeping == "held" {
            held.push(client);
        }
    }
    println!("sent {sent} {passed}");
    loop {
        std::thread::park();
    }
}

/// Where descriptors come from.
enum Source {
    Null,
    /// Those that connect to it, and are never read.
    Linger(TcpListener),
    /// The first of each message is such a one.
    Mixed(TcpListener),
}

impl Source {
    fn new(kind: &str) -> Result<Self> {
        match kind {
            "null" => Ok(Self::Null),
            "linger" => Ok(Self::Linger(TcpListener::bind("127.0.0.1:0")?)),
            "mixed" => Ok(Self::Mixed(TcpListener::bind("127.0.0.1:0")?)),
            other => Err(format!("no descriptors of the kind `{other}`").into()),
        }
    }

    /// One, and what has to be kept beside it.
    fn descriptor(&self, first: bool) -> Result<(OwnedFd, Option<TcpStream>)> {
        let listener = match self {
            Self::Linger(listener) => listener,
            Self::Mixed(listener) if first => listener,
            _ => return Ok((std::fs::File::open("/dev/null")?.into(), None)),
        };
        let mut stream = TcpStream::connect(listener.local_addr()?)?;
        let (peer, _) = listener.accept()?;
        sockopt::set_socket_linger(&stream, Some(Duration::from_secs(600)))?;
        // Little memory, so that many are made quickly.
        sockopt::set_socket_send_buffer_size(&stream, 4096)?;
        sockopt::set_socket_recv_buffer_size(&peer, 4096)?;
        stream.set_nonblocking(true)?;
        while stream.write(&[0; 65_536]).is_ok() {}
        Ok((stream.into(), Some(peer)))
    }
}

/// The daemon's queue of new connections may be full.
fn connected(socket: &Path) -> Option<Seqpacket> {
    for _ in 0..200 {
        match Seqpacket::connect(socket) {
            Ok(client) => return Some(client),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    None
}

/// For an answer, a second at most.
fn wait(client: &Seqpacket) {
    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
    let _ = poll(&mut [PollFd::new(client, PollFlags::IN)], Some(&second));
}

/// More than our own side of the protocol ever sends; false where the kernel or the daemon did not take it.
fn send(client: &Seqpacket, message: &[u8], descriptors: &[OwnedFd]) -> bool {
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&borrowed)), "the space is made for as many");
    }
    sendmsg(client, &[std::io::IoSlice::new(message)], &mut ancillary, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
        .is_ok()
}

/// Where we are the last holder, which we are when the kernel took none, it is we who wait.
fn drop_elsewhere(descriptors: Vec<OwnedFd>) {
    // The first may be one whose close takes long.
    std::thread::spawn(move || descriptors.into_iter().rev().for_each(drop));
}
