//! Whatever a peer puts into a packet, and whatever room there is for it: one socket pair, many packets. One test,
//! because it counts this process's descriptors and narrows its limit.

use std::fs;
use std::io;
use std::os::fd::AsFd;

use crate::common::{Client, send_raw};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use xsknet_control::{Arrival, MAX_DESCRIPTORS, MAX_MESSAGE, Seqpacket};

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn pair() -> (Client, Seqpacket) {
    let (left, right) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    (Client::new(Seqpacket::from_connected(left).unwrap()), Seqpacket::from_connected(right).unwrap())
}

#[test]
fn every_packet_is_what_it_is_and_no_descriptor_is_lost() {
    let before = open_descriptors();
    let (peer, socket) = pair();
    let lengths = prop_oneof![1..100_usize, MAX_MESSAGE - 2..MAX_MESSAGE + 3, 1..150_000_usize];
    let counts = prop_oneof![Just(0_usize), 1..50_usize, 0..=253_usize];
    let rooms = prop_oneof![Just(MAX_MESSAGE), 0..200_usize];
    let packets = proptest::collection::vec((lengths, counts, rooms, any::<u8>()), 1..20);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(100) });
    let sent = vec![0; 150_000];
    let mut buffer = vec![0; MAX_MESSAGE];
    let (pipe, _writer) = io::pipe().unwrap();
    let open = open_descriptors();
    let ran = runner.run(&packets, |packets| {
        for (length, count, room, fill) in packets {
            let mut message = sent[..length].to_vec();
            message.fill(fill);
            send_raw(&peer, &message, &vec![pipe.as_fd(); count]);
            let mut buffer = vec![!fill; room];
            let received = socket.receive(&mut buffer).unwrap();
            prop_assert_eq!(received.descriptors.len(), count);
            let wanted = match () {
                () if length > room || length > MAX_MESSAGE => Arrival::Oversized { length },
                () if count > MAX_DESCRIPTORS => Arrival::TooManyDescriptors { length },
                () => Arrival::Message { length },
            };
            prop_assert_eq!(received.arrival, wanted);
            prop_assert!(buffer[..length.min(room)].iter().all(|&byte| byte == fill));
            prop_assert_eq!(open_descriptors(), open + count);
            drop(received);
            prop_assert_eq!(open_descriptors(), open);
        }
        Ok(())
    });
    ran.unwrap();

    // A process that may open no more gets what fits, and is told so.
    let usual = getrlimit(Resource::Nofile);
    let taken = |number: &u64| fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok();
    let fourth_free = (0..).filter(|number| !taken(number)).nth(3).unwrap();
    send_raw(&peer, b"ten", &[pipe.as_fd(); 10]);
    setrlimit(Resource::Nofile, Rlimit { current: Some(fourth_free), maximum: usual.maximum }).unwrap();
    let received = socket.receive(&mut buffer).unwrap();
    setrlimit(Resource::Nofile, usual).unwrap();
    assert_eq!(received.arrival, Arrival::DescriptorsLost { length: 3 });
    assert_eq!(received.descriptors.len(), 3);
    drop(received);

    for length in [0, MAX_MESSAGE + 1] {
        let error = peer.socket.send(&sent[..length], &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    let error = peer.socket.send(b"41", &[pipe.as_fd(); 41]).unwrap_err();
    assert_eq!(error.to_string(), "a message has 1 to 65536 bytes and at most 40 descriptors; this one has 2 and 41");
    assert_eq!(socket.receive(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock, "nothing of it was sent");

    // What a peer left unread resets the connection, and what it had sent still arrives.
    peer.send(b"why");
    socket.send(b"never read", &[]).unwrap();
    drop(peer);
    assert_eq!(socket.receive(&mut buffer).unwrap().arrival, Arrival::Message { length: 3 });
    assert_eq!(socket.receive(&mut buffer).unwrap().arrival, Arrival::End);
    assert_eq!(socket.receive(&mut buffer).unwrap().arrival, Arrival::End);
    drop((socket, pipe, _writer));
    assert_eq!(open_descriptors(), before);
}
