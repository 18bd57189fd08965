//! A client that keeps no rule of the protocol or of AF_XDP, for the tests of the daemon.
//!
//! `hostile <socket> <deed> [<uplink> <address>]` says what happens a line at a time: `ready` once the deed is done or
//! going on, `answer …` for messages that come, `ended` when the daemon cuts it off. It stays until its standard input
//! ends.

use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::net::sockopt::xdp_mmap_offsets;
use rustix::net::xdp::{
    XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XdpRingOffset,
};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use xsknet_control::{Arrival, MAX_MESSAGE, Seqpacket};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const RING: usize = 2048;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, deed, port @ ..] = arguments.as_slice() else {
        return Err("hostile <socket> <deed> [<uplink> <address>]".into());
    };
    let socket = Path::new(socket);
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    match deed.as_str() {
        "silence" => stay(&Seqpacket::connect(socket)?),
        "crowd" => crowd(socket),
        "nonsense" => {
            let client = Seqpacket::connect(socket)?;
            let mut bytes = vec![0; 65_536];
            Random(7).fill(&mut bytes);
            client.send(&bytes, &[])?;
            stay(&client)
        }
        "oversized" => {
            let client = Seqpacket::connect(socket)?;
            // Past our own side's check.
            send(&client, &vec![b' '; MAX_MESSAGE + 1], SendFlags::empty())?;
            stay(&client)
        }
        "half" => {
            let client = Seqpacket::connect(socket)?;
            client.send(br#"{"version":2,"id":1,"operation":"hel"#, &[])?;
            stay(&client)
        }
        "descriptors" => descriptors(&hello(socket)?),
        "long" => long(socket),
        "blocking" => blocking(socket),
        "flood" => flood(&hello(socket)?, true),
        "deaf" => flood(&hello(socket)?, false),
        "silent" => {
            let (client, _descriptors) = open_port(socket, port)?;
            stay(&client)
        }
        "truncate" => {
            let (client, descriptors) = open_port(socket, port)?;
            rustix::fs::ftruncate(&descriptors[1], 0)?;
            // The kernel has the pages pinned; a process that maps the file has none any more.
            let _ = send(&descriptors[0], &[], SendFlags::DONTWAIT);
            stay(&client)
        }
        "garbage" => {
            let (client, descriptors) = open_port(socket, port)?;
            garbage(&descriptors[0])?;
            stay(&client)
        }
        other => Err(format!("no deed `{other}`").into()),
    }
}

/// Says what comes until the end.
fn stay(client: &Seqpacket) -> Result<()> {
    println!("ready");
    let mut buffer = vec![0; 65_536];
    loop {
        wait(client, PollFlags::IN);
        match client.receive(&mut buffer) {
            Ok(received) => match received.arrival {
                Arrival::Message { length, .. } => println!("answer {}", String::from_utf8_lossy(&buffer[..length])),
                Arrival::End => break,
                other => println!("answer {other:?}"),
            },
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    println!("ended");
    loop {
        std::thread::park();
    }
}

fn wait(client: &Seqpacket, events: PollFlags) {
    let _ = poll(&mut [PollFd::new(client, events)], None);
}

fn hello(socket: &Path) -> Result<Seqpacket> {
    let client = Seqpacket::connect(socket)?;
    request(&client, r#"{"version":2,"id":1,"operation":"hello","client":"hostile"}"#)?;
    Ok(client)
}

/// Sends a request and waits for its answer and what comes with it.
fn request(client: &Seqpacket, message: &str) -> Result<Vec<OwnedFd>> {
    client.send(message.as_bytes(), &[])?;
    let mut buffer = vec![0; 65_536];
    wait(client, PollFlags::IN);
    let received = client.receive(&mut buffer)?;
    let Arrival::Message { length, .. } = received.arrival else { return Err("no answer".into()) };
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    if text.contains(r#""error""#) { Err(text.into()) } else { Ok(received.descriptors) }
}

fn open_port(socket: &Path, port: &[String]) -> Result<(Seqpacket, Vec<OwnedFd>)> {
    let [uplink, address] = port else { return Err("which uplink, which address?".into()) };
    let client = hello(socket)?;
    let port = format!(r#"{{"uplink":"{uplink}","addresses":["{address}"],"ringSize":{RING}}}"#);
    let message = format!(r#"{{"version":2,"id":2,"operation":"openPort","port":{port}}}"#);
    let descriptors = request(&client, &message)?;
    if descriptors.len() == 2 { Ok((client, descriptors)) } else { Err("a port comes with two descriptors".into()) }
}

/// As many connections as it gets.
fn crowd(socket: &Path) -> Result<()> {
    let mut held = Vec::new();
    for _ in 0..1000 {
        match Seqpacket::connect(socket) {
            Ok(client) => held.push(client),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    println!("ready");
    loop {
        std::thread::park();
    }
}

/// 200 descriptors with one message: more than one side of the protocol ever sends.
fn descriptors(client: &Seqpacket) -> Result<()> {
    let null = std::fs::File::open("/dev/null")?;
    send_with(client, br#"{"version":2,"id":2,"operation":"status"}"#, &[null.as_fd(); 200])?;
    stay(client)
}

/// As many descriptors as the kernel takes.
fn send_with(client: &Seqpacket, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> rustix::io::Result<usize> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, sendmsg};
    let mut space = vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(descriptors)));
    sendmsg(client, &[std::io::IoSlice::new(message)], &mut ancillary, SendFlags::NOSIGNAL)
}

/// 16 connections, or as many as it gets, with the costliest requests that the schema takes, and again when it is cut
/// off.
fn long(socket: &Path) -> Result<()> {
    let ranges: Vec<String> = (0..6000).map(|chunk| format!("[{chunk},1]")).collect();
    let shared = format!(r#"{{"port":9,"inFill":[{}]}}"#, ranges.join(","));
    let port = format!(r#"{{"uplink":"x","addresses":["192.0.2.9"],"umemOf":{shared}}}"#);
    let message = format!(r#"{{"version":2,"id":2,"operation":"openPort","port":{port}}}"#);
    let fresh = || hello(socket).or_else(|_| Seqpacket::connect(socket)).ok();
    let mut clients: Vec<_> = (0..16).map(|_| fresh()).collect();
    println!("ready");
    let mut buffer = vec![0; 65_536];
    loop {
        for client in &mut clients {
            let Some(connected) = client else {
                *client = fresh();
                continue;
            };
            let is_over = |error: std::io::Error| error.kind() != std::io::ErrorKind::WouldBlock;
            let sent = connected.send(message.as_bytes(), &[]);
            let heard = connected.receive(&mut buffer);
            if sent.is_err_and(is_over) || heard.is_ok_and(|heard| matches!(heard.arrival, Arrival::End)) {
                *client = None;
            }
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// 80 messages with 253 sockets each whose close waits, over connections that are made anew, again and again.
fn blocking(socket: &Path) -> Result<()> {
    use std::io::Write as _;
    let listener = std::net::TcpListener::bind("127.0.0.1:0");
    let mut kept = Vec::new();
    let mut made = || -> Result<OwnedFd> {
        // Once it has as many open as it may, others have to do.
        let Ok(listener) =
            listener.as_ref().map_err(drop).and_then(|made| if kept.len() < 300 { Ok(made) } else { Err(()) })
        else {
            return Ok(std::fs::File::open("/dev/null")?.into());
        };
        let mut lingering = std::net::TcpStream::connect(listener.local_addr()?)?;
        kept.push(listener.accept()?);
        rustix::net::sockopt::set_socket_linger(&lingering, Some(Duration::from_secs(30)))?;
        lingering.set_nonblocking(true)?;
        while lingering.write(&[0; 65_536]).is_ok() {}
        Ok(lingering.into())
    };
    println!("ready");
    let mut told = false;
    loop {
        let mut clients = Vec::new();
        for _ in 0..80 {
            let Ok(client) =
                hello(socket).or_else(|_| Ok::<_, Box<dyn std::error::Error>>(Seqpacket::connect(socket)?))
            else {
                continue;
            };
            let lingering = made()?;
            let sent =
                send_with(&client, br#"{"version":2,"id":2,"operation":"status"}"#, &vec![lingering.as_fd(); 253]);
            if !told && let Err(error) = sent {
                told = true;
                println!("answer {error}");
            }
            clients.push(client);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asks without end, and listens to the answers or not.
fn flood(client: &Seqpacket, listen: bool) -> Result<()> {
    println!("ready");
    let mut buffer = vec![0; 65_536];
    for id in 2_u32.. {
        let message = format!(r#"{{"version":2,"id":{id},"operation":"uplinks"}}"#);
        loop {
            match client.send(message.as_bytes(), &[]) {
                Ok(()) => break,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => wait(client, PollFlags::OUT),
                Err(_) => return stay(client),
            }
        }
        while listen && client.receive(&mut buffer).is_ok_and(|received| !matches!(received.arrival, Arrival::End)) {}
    }
    Ok(())
}

/// Writes noise over every index and every entry of the four rings, and has the kernel look at it, for as long as it
/// lives.
fn garbage(xsk: &OwnedFd) -> Result<()> {
    let offsets = xdp_mmap_offsets(xsk)?;
    let rings = [
        ring(xsk, XDP_PGOFF_RX_RING, &offsets.rx, 16)?,
        ring(xsk, XDP_PGOFF_TX_RING, &offsets.tx, 16)?,
        ring(xsk, XDP_UMEM_PGOFF_FILL_RING, &offsets.fr, 8)?,
        ring(xsk, XDP_UMEM_PGOFF_COMPLETION_RING, &offsets.cr, 8)?,
    ];
    let xsk = xsk.try_clone()?;
    std::thread::spawn(move || {
        let mut random = Random(1);
        loop {
            for words in rings {
                for word in words {
                    // Half of it looks like something: small numbers, addresses within the UMEM.
                    let noise = random.next();
                    word.store(if noise & 1 == 0 { noise } else { noise >> 40 }, Ordering::Relaxed);
                }
                let _ = send(&xsk, &[], SendFlags::DONTWAIT);
                let _ = recv(&xsk, &mut [0_u8; 0], RecvFlags::DONTWAIT);
            }
        }
    });
    Ok(())
}

fn ring(xsk: &OwnedFd, page_offset: u64, offsets: &XdpRingOffset, entry: usize) -> Result<&'static [AtomicU64]> {
    let bytes = usize::try_from(offsets.desc)? + RING * entry;
    // SAFETY: a fresh mapping, at an address that the kernel chooses.
    let start = unsafe {
        mmap(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, xsk, page_offset)?
    };
    // SAFETY: the mapping is never undone, and is aligned to a page; it is accessed by atomics only.
    Ok(unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), bytes / 8) })
}

/// Noise that is the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| (self.next() >> 24) as u8);
    }
}
