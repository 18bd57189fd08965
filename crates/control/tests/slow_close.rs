//! A descriptor that takes long to close. A program of its own: a child that another test starts would for a moment
//! hold a copy, and the last holder is the one who waits.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    DEADLINE, REFUSAL, SOON, Server, connections, is_root, kernel_guards, send_raw, some, wide, wide_bounds,
};
use rustix::net::sockopt;
use xsknet_control::{Limits, Party, Trust};

/// Sockets whose close waits until their data is taken, which nobody does as long as the other ends are kept.
fn lingering(count: usize, seconds: u64) -> (Vec<TcpStream>, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let made = || {
        let mut lingering = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (never_read, _) = listener.accept().unwrap();
        sockopt::set_socket_linger(&lingering, Some(Duration::from_secs(seconds))).unwrap();
        lingering.set_nonblocking(true).unwrap();
        while lingering.write(&[0; 65_536]).is_ok() {}
        lingering.set_nonblocking(false).unwrap();
        (lingering, never_read)
    };
    (0..count).map(|_| made()).unzip()
}

fn threads_that_close() -> usize {
    let named =
        |task: &fs::DirEntry| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "closing\n");
    fs::read_dir("/proc/self/task").unwrap().flatten().filter(named).count()
}

#[test]
fn a_descriptor_whose_close_takes_long_delays_nobody() {
    let server = Server::echo(Limits { in_flight: some(1), ..wide() });
    let (mut other, _other) = server.connect();
    let (client, served) = server.connect();
    client.send(b"wait");
    served.message();
    let (mut held, _never_read) = lingering(1, 2);
    let lingering = held.pop().unwrap();

    client.send_with(b"close this", &[lingering.as_fd()]);
    drop(lingering);
    client.send(b"next");
    served.handle.done();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(300) {
        let took = other.round_trip();
        assert!(took < SOON, "{took:?}");
    }
    assert_eq!(served.message().2, 1);
    served.handle.done();
    assert!(
        served.events.recv_timeout(Duration::from_millis(50)).is_err(),
        "its close took no time: nothing was shown"
    );
    assert_eq!(served.message().0, Some(b"next".to_vec()), "its own next message comes after the close");
}

#[test]
fn descriptors_of_a_stranger_whose_close_blocks_are_never_held_and_root_connects_at_once() {
    if !is_root("only root can become another user") || !kernel_guards() {
        eprintln!("skipped where the kernel has no SO_PASSRIGHTS");
        return;
    }
    let server = Server::echoing(connections(16), Trust::default());
    let (blocking, _never_read) = lingering(1, 10);
    let many = vec![blocking[0].as_fd(); 253];
    let clients: Vec<_> = (0..20).map(|_| server.client_as(61_000, &[])).collect();
    let mut refused = 0;
    for round in 0..80 {
        let sent = crate::common::try_send_raw(&clients[round % 20], b"take these", &many);
        refused += usize::from(sent.is_err_and(|error| error.raw_os_error() == Some(libc::EPERM)));
        let begun = Instant::now();
        if round % 10 == 0 {
            let mut root = server.client();
            root.round_trip();
            assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        }
    }
    // Those that are gone already, having no place, count as well.
    assert!(refused >= 16, "{refused} of 80 were refused by the kernel");
    assert_eq!(threads_that_close(), 0);
}

#[test]
fn a_user_who_may_send_descriptors_blocks_its_own_places_alone_and_gets_them_back_once_they_are_closed() {
    if !is_root("only root can become another user") {
        return;
    }
    let [hostile, decent] = [60_000, 60_001];
    let known = Party { uids: [hostile, decent].into(), gids: [].into() };
    let server = Server::echoing(
        Limits { root: wide_bounds(), ..connections(3) },
        Trust { trusted: known.clone(), descriptors: known },
    );
    let (blocking, never_read) = lingering(6, 10);
    let (mut clients, mut let_in) = (Vec::new(), Vec::new());
    for pair in blocking.chunks(2) {
        let (client, served) = server.connect_as(hostile, &[]);
        let_in.push(served);
        // One that is read, and is dropped with its event; one that lies unread in the socket.
        for socket in pair {
            send_raw(&client, b"close this", &[socket.as_fd()]);
        }
        clients.push(client);
    }
    // Before they are closed over there: the last holder is the one who waits.
    drop(blocking);
    drop(clients);
    let until = |what: &str, holds: &mut dyn FnMut() -> bool| {
        let deadline = Instant::now() + DEADLINE;
        while !holds() {
            assert!(Instant::now() < deadline, "not {what}");
            thread::sleep(Duration::from_millis(1));
        }
    };
    for served in &let_in {
        served.message();
        served.ended();
    }
    let mut others = vec![server.client_as(decent, &[])];
    for _ in 0..20 {
        // Its connections are over, but what it sent is not closed.
        assert_eq!(server.client_as(hostile, &[]).message().as_deref(), Some(REFUSAL));
        until("one thread for this user, once those of others are done", &mut || threads_that_close() == 1);
        let begun = Instant::now();
        others.push(server.client());
        for other in &mut others {
            other.round_trip();
        }
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    }
    drop(others);
    // Their other ends are gone: nothing lingers.
    drop(never_read);
    until("let in again", &mut || server.client_as(hostile, &[]).message_within(SOON).is_none());
    until("without a thread", &mut || threads_that_close() == 0);
}
