//! The daemon's side against clients that behave, err and attack.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    DEADLINE, REFUSAL, SILENCE, SOON, Server, all_writers_closed, connections, is_root, kernel_guards, messages,
    send_raw, some, this_user, wait, wide, wide_bounds, wide_rates,
};
use rustix::event::PollFlags;
use rustix::net::{SendFlags, send};
use rustix::process::{Gid, geteuid, getgroups};
use tokio::runtime::Builder;
use xsknet_control::{
    Arrival, Bounds, ConnectError, Event, Limits, ListenError, Listener, MAX_MESSAGE, Party, Rates, Reach, Seqpacket,
    Shared, Trust, Words,
};

#[test]
fn a_client_is_known_by_its_process_user_and_groups() {
    let server = Server::start(wide());
    let (_client, served) = server.connect();
    let who = served.credentials;
    assert_eq!(who.pid, process::id());
    assert_eq!(who.uid, geteuid().as_raw());
    let groups: Vec<_> = getgroups().unwrap().into_iter().map(Gid::as_raw).collect();
    assert_eq!(who.groups, groups);
}

#[test]
fn a_client_is_known_by_what_it_was_when_it_connected_with_more_groups_than_were_expected() {
    if !is_root("only root can become another user") {
        return;
    }
    let server = Server::start(wide());
    let groups: Vec<_> = (5000..5100).collect();
    let (_client, served) = server.connect_as(65_533, &groups);
    let who = served.credentials;
    assert_eq!((who.uid, who.gid, who.groups), (65_533, 65_533, groups));
}

#[test]
fn messages_and_descriptors_go_both_ways() {
    let server = Server::start(wide());
    let (mut client, served) = server.connect();
    let (reader, writer) = io::pipe().unwrap();
    client.send_with(b"take these", &[writer.as_fd(); 40]);
    assert_eq!(served.message(), (Some(b"take these".to_vec()), 10, 40));
    drop(writer);
    all_writers_closed(&reader);

    let (reader, writer) = io::pipe().unwrap();
    assert!(served.handle.send(b"yours".to_vec(), vec![OwnedFd::from(writer)]).unwrap());
    let (arrival, mut descriptors) = client.receive();
    assert_eq!(arrival, Arrival::Message { length: 5 });
    let mut writer = File::from(descriptors.pop().unwrap());
    assert!(descriptors.is_empty());
    writer.write_all(b"x").unwrap();
    drop(writer);
    // Its only writer was the one sent: the daemon's copy is closed.
    let mut read = String::new();
    io::Read::read_to_string(&mut &reader, &mut read).unwrap();
    assert_eq!(read, "x");
}

#[test]
fn no_more_is_read_until_the_descriptors_of_a_message_are_taken_or_dropped() {
    let server = Server::start(wide());
    let (client, served) = server.connect();
    let (reader, writer) = io::pipe().unwrap();
    for round in 0..2 {
        client.send_with(b"take this", &[writer.as_fd()]);
        client.send(b"and on");
        let Event::Message { descriptors, .. } = served.next() else { panic!("a message was sent") };
        assert!(descriptors.only().is_some());
        assert!(served.events.recv_timeout(SOON).is_err(), "nothing may follow yet");
        if round == 0 {
            let mut taken = File::from(descriptors.take().pop().unwrap());
            taken.write_all(b"x").unwrap();
        } else {
            drop(descriptors);
        }
        assert_eq!(served.message().0, Some(b"and on".to_vec()));
    }
    // Both were: one by who took it, one unasked.
    drop(writer);
    let mut read = String::new();
    io::Read::read_to_string(&mut &reader, &mut read).unwrap();
    assert_eq!(read, "x");
}

#[test]
fn too_many_descriptors_are_counted_and_closed_and_the_connection_goes_on() {
    let server = Server::start(wide());
    let (client, served) = server.connect();
    for count in [41, 200, 250, 253] {
        let (reader, writer) = io::pipe().unwrap();
        send_raw(&client, b"many", &vec![writer.as_fd(); count]);
        assert_eq!(served.message(), (Some(b"many".to_vec()), 4, count));
        drop(writer);
        all_writers_closed(&reader);
    }
    client.send(b"and on");
    assert_eq!(served.message(), (Some(b"and on".to_vec()), 6, 0));
}

#[test]
fn the_longest_message_arrives_and_a_longer_one_is_told_by_its_length() {
    let server = Server::start(wide());
    let (client, served) = server.connect();
    let longest: Vec<u8> = (0..MAX_MESSAGE).map(|index| index as u8).collect();
    client.send(&longest);
    assert_eq!(served.message(), (Some(longest.clone()), MAX_MESSAGE, 0));

    let (reader, writer) = io::pipe().unwrap();
    let mut longer = longest;
    longer.push(0);
    send_raw(&client, &longer, &[writer.as_fd()]);
    assert_eq!(served.message(), (None, MAX_MESSAGE + 1, 1));
    drop(writer);
    all_writers_closed(&reader);
    client.send(b"and on");
    assert_eq!(served.message().0, Some(b"and on".to_vec()));
}

#[test]
fn an_empty_message_is_the_end() {
    let server = Server::start(wide());
    let (mut client, served) = server.connect();
    client.send(b"before");
    assert_eq!(send(&client.socket, &[], SendFlags::NOSIGNAL).unwrap(), 0);
    assert_eq!(served.message().0, Some(b"before".to_vec()));
    assert_eq!(served.ended(), "the client has gone");
    assert_eq!(client.message(), None);
}

#[test]
fn what_was_sent_before_a_hang_up_is_delivered() {
    let server = Server::start(wide());
    let (client, served) = server.connect();
    for number in 0..5_u8 {
        client.send(&[number]);
    }
    drop(client);
    for number in 0..5 {
        assert_eq!(served.message().0, Some(vec![number]));
    }
    assert_eq!(served.ended(), "the client has gone");
}

#[test]
fn a_client_that_does_not_read_is_cut_off_when_its_queue_is_full() {
    for (limits, most) in
        [(Limits { queued_messages: some(8), ..wide() }, 8), (Limits { queued_bytes: some(300_000), ..wide() }, 4)]
    {
        let server = Server::start(limits);
        let (mut client, served) = server.connect();
        let mut sent = 0;
        while served.handle.send(vec![7; MAX_MESSAGE], Vec::new()).unwrap() {
            sent += 1;
            assert!(sent < 1000, "never cut off");
        }
        assert!(!served.handle.send(vec![7], Vec::new()).unwrap(), "once is for ever");
        let told = format!(
            "the client does not read: {most} messages of {} bytes in all were waiting for it",
            most * MAX_MESSAGE
        );
        assert_eq!(served.ended(), told);
        // What the socket had taken can still be read, and then the end.
        let mut read = 0;
        while client.message().is_some() {
            read += 1;
        }
        assert!(read <= sent - most, "{read} of {sent}");
    }
}

#[test]
fn a_slow_reader_gets_everything_in_order() {
    let server = Server::start(wide());
    let (mut client, served) = server.connect();
    for number in 0..500_u32 {
        let mut message = vec![0; 10_000];
        message[..4].copy_from_slice(&number.to_ne_bytes());
        assert!(served.handle.send(message, Vec::new()).unwrap());
    }
    for number in 0..500_u32 {
        assert_eq!(client.message().unwrap()[..4], number.to_ne_bytes());
    }
}

#[test]
fn no_more_is_read_than_may_be_in_flight_until_one_is_done() {
    let server = Server::start(Limits { in_flight: some(3), ..wide() });
    let (client, served) = server.connect();
    for number in 0..5_u8 {
        client.send(&[number]);
    }
    for number in 0..3 {
        assert_eq!(served.message().0, Some(vec![number]));
    }
    assert!(served.events.recv_timeout(Duration::from_millis(50)).is_err(), "a fourth was delivered");
    served.handle.done();
    assert_eq!(served.message().0, Some(vec![3]));
    assert!(served.events.recv_timeout(Duration::from_millis(50)).is_err(), "a fifth was delivered");
    for _ in 0..10 {
        served.handle.done();
    }
    assert_eq!(served.message().0, Some(vec![4]));
}

#[test]
fn messages_beyond_the_burst_come_at_the_rate() {
    let server = Server::start(messages(100, 11));
    let (client, served) = server.connect();
    let begun = Instant::now();
    for _ in 0..30 {
        client.send(b"x");
    }
    for _ in 0..30 {
        served.message();
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(200), "20 more than the burst in {took:?}, at 100 a second");
}

#[test]
fn connections_of_a_user_take_turns_where_its_rate_is_spent() {
    let server = Server::echoing(Limits { in_flight: some(64), ..messages(200, 4) }, this_user());
    let (mut other, _other) = server.connect();
    let flooders = [(); 3].map(|()| server.connect());
    for (flooder, _) in &flooders {
        for _ in 0..60 {
            flooder.send(b"ping of one that does not wait for answers");
        }
    }
    let most = (0..10).map(|_| {
        other.round_trip();
        flooders.iter().map(|(_, served)| served.events.try_iter().count()).max().unwrap()
    });
    let most: Vec<_> = most.skip(1).collect();
    // One each; a second one may be counted with the answer.
    assert!(most.iter().filter(|&&most| most > 2).count() <= 1, "{most:?} of one flooder for one of the other");
}

#[test]
fn one_that_floods_delays_nobody() {
    let server = Server::echoing(Limits { in_flight: some(16), ..messages(1000, 100) }, this_user());
    let (mut other, _other) = server.connect();
    let (flooder, _flooded) = server.connect();
    let stop = Arc::new(AtomicBool::new(false));
    let flooded = Arc::new(AtomicU32::new(0));
    let (stopped, sent) = (Arc::clone(&stop), Arc::clone(&flooded));
    let flood = thread::spawn(move || {
        let mut ping = [0; 1000];
        ping[..4].copy_from_slice(b"ping");
        while !stopped.load(Ordering::Relaxed) {
            match flooder.socket.send(&ping, &[]) {
                Ok(()) => _ = sent.fetch_add(1, Ordering::Relaxed),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Takes answers too, else it would be cut off.
                    if let Ok(received) = flooder.socket.receive(&mut [0; 2000]) {
                        assert_ne!(received.arrival, Arrival::End);
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
    });
    other.assert_served();
    stop.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    assert!(flooded.load(Ordering::Relaxed) > 200, "it was not a flood");
}

#[test]
fn clients_that_come_and_go_delay_nobody() {
    let server = Server::echo(connections(3));
    let (mut other, _other) = server.connect();
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, path) = (Arc::clone(&stop), server.path.clone());
    let flood = thread::spawn(move || {
        let mut held = Vec::new();
        let mut count = 0;
        while !stopped.load(Ordering::Relaxed) {
            // EAGAIN: the kernel's queue is full, which is as far as a flood gets.
            if let Ok(socket) = Seqpacket::connect(&path) {
                count += 1;
                held.push(socket);
                held.truncate(2);
            }
        }
        count
    });
    other.assert_served();
    stop.store(true, Ordering::Relaxed);
    let count = flood.join().unwrap();
    assert!(count > 500, "{count} connections are not a flood");
}

#[test]
fn a_killed_client_is_noticed_at_once_while_nothing_of_it_may_be_read() {
    let rate = messages(1, 2); // the connection is one
    for limits in [Limits { in_flight: some(1), ..wide() }, rate] {
        let server = Server::start(limits);
        let (client, served) = server.connect();
        let (parked, writer) = io::pipe().unwrap();
        client.send(b"answered by nobody");
        client.send_with(b"left unread", &[writer.as_fd()]);
        drop(writer);
        served.message();

        let mut child =
            Command::new("sleep").arg("100").stdin(OwnedFd::from(client.socket)).stdout(Stdio::null()).spawn().unwrap();
        assert!(served.events.recv_timeout(Duration::from_millis(50)).is_err(), "still held by the child");
        let begun = Instant::now();
        child.kill().unwrap();
        assert_eq!(served.ended(), "the client has gone");
        let took = begun.elapsed();
        assert!(took < SOON, "{took:?}");
        child.wait().unwrap();
        all_writers_closed(&parked);
        assert!(!served.handle.send(b"anybody?".to_vec(), Vec::new()).unwrap());
    }
}

#[test]
fn closing_lets_what_is_queued_leave() {
    let server = Server::start(wide());
    let (mut client, served) = server.connect();
    for number in 0..100_u8 {
        assert!(served.handle.send(vec![number; 20_000], Vec::new()).unwrap());
    }
    served.handle.close();
    assert!(!served.handle.send(b"too late".to_vec(), Vec::new()).unwrap());
    client.send(b"not read any more");
    for number in 0..100 {
        assert_eq!(client.message(), Some(vec![number; 20_000]));
    }
    assert_eq!(client.message(), None);
    assert_eq!(served.ended(), "closed");
}

#[test]
fn closing_waits_a_second_for_one_that_does_not_read() {
    let server = Server::start(wide());
    let (client, served) = server.connect();
    for _ in 0..100 {
        assert!(served.handle.send(vec![0; 20_000], Vec::new()).unwrap());
    }
    let begun = Instant::now();
    served.handle.close();
    assert_eq!(served.ended(), "closed");
    let took = begun.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_millis(1500)).contains(&took), "{took:?}");
    // Asked for nothing, poll tells of a hang-up alone.
    assert!(wait(&client.socket, PollFlags::empty(), DEADLINE).contains(PollFlags::HUP));
}

#[test]
fn one_too_many_is_told_so_and_a_place_is_free_again_after_a_hang_up() {
    let server = Server::start(connections(2));
    let (first, served) = server.connect();
    let (_second, _served) = server.connect();
    let mut third = server.client();
    // Bytes that the daemon never reads make the kernel reset the connection; the reason must arrive all the same.
    let _ = third.socket.send(b"hello", &[]);
    assert_eq!(third.message().as_deref(), Some(REFUSAL));
    assert_eq!(third.message(), None);

    assert!(server.let_in_within(Duration::ZERO).is_none());

    drop(first);
    assert_eq!(served.ended(), "the client has gone");
    // The place is free once the socket is closed, which happens aside.
    let deadline = Instant::now() + DEADLINE;
    let mut again = Vec::new();
    while server.let_in_within(Duration::from_millis(10)).is_none() {
        assert!(Instant::now() < deadline, "no place became free");
        again.push(server.client());
    }
}

#[test]
fn a_dead_daemons_socket_is_replaced_and_a_living_ones_is_not() {
    let mut server = Server::start(wide());
    let path = server.path.clone();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o666);
    match listen(&path) {
        Err(error @ ListenError::Running { .. }) => {
            assert_eq!(error.to_string(), format!("another program listens at {}", path.display()));
        }
        other => panic!("{other:?}"),
    }
    let (_client, _served) = server.connect();

    server.close();
    assert!(!path.exists(), "the socket goes with its listener");
    drop(UnixListener::bind(&path).unwrap());
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket(), "a stale one");
    let listener = listen(&path).unwrap();
    assert_eq!(listener.path(), path);
    Seqpacket::connect(&path).unwrap();
}

#[test]
fn what_is_no_socket_is_left_alone_and_so_is_anothers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    fs::write(&path, "notes").unwrap();
    assert!(matches!(listen(&path), Err(ListenError::NotASocket { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "notes");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/nowhere", &path).unwrap();
    assert!(matches!(listen(&path), Err(ListenError::NotASocket { .. })));
    fs::remove_file(&path).unwrap();

    let ours = listen(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let _anothers = UnixListener::bind(&path).unwrap();
    drop(ours);
    assert!(path.exists());
}

#[test]
fn paths_that_no_socket_can_have_are_refused_by_their_length() {
    let folder = tempfile::tempdir().unwrap();
    let fits = folder.path().join("x".repeat(106 - folder.path().as_os_str().len()));
    assert_eq!(fits.as_os_str().len(), 107);
    let listener = listen(&fits).unwrap();
    Seqpacket::connect(&fits).unwrap();
    drop(listener);

    let long = fits.with_extension("y");
    let told = format!("a UNIX socket's path has at most 107 bytes, this one has 109: {}", long.display());
    assert_eq!(listen(&long).unwrap_err().to_string(), told);
    let error = Seqpacket::connect(&long).unwrap_err();
    assert_eq!((error.to_string(), error.errno()), (told, Some(libc::ENAMETOOLONG)));
}

#[test]
fn a_client_is_told_why_it_cannot_connect() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let errno = |path: &Path| match Seqpacket::connect(path) {
        Err(error @ ConnectError::Refused { .. }) => (error.errno().unwrap(), error.hint().is_some()),
        other => panic!("{other:?}"),
    };
    assert_eq!(errno(&path), (libc::ENOENT, true));
    drop(UnixListener::bind(&path).unwrap());
    assert_eq!(errno(&path), (libc::ECONNREFUSED, true));
    fs::remove_file(&path).unwrap();
    let _stream = UnixListener::bind(&path).unwrap();
    assert_eq!(errno(&path), (libc::EPROTOTYPE, true));
    assert_eq!(errno(Path::new("")), (libc::EINVAL, false));
}

#[test]
fn a_socket_for_its_owner_is_closed_to_all_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.sock");
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let _listener =
        runtime.block_on(async { Listener::bind(&path, Reach::Owner, wide(), this_user(), Words::default()) }).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
}

fn listen(path: &Path) -> Result<Listener, ListenError> {
    // The runtime goes before the listener does: that must not matter.
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { Listener::bind(path, Reach::AllUsers, wide(), this_user(), Words::default()) })
}

#[test]
fn strangers_who_take_all_their_places_keep_out_neither_holders_of_grants_nor_root() {
    if !is_root("only root can become another user") {
        return;
    }
    let holder = 60_000;
    let known = Party { uids: [holder].into(), gids: [60_001].into() };
    let four = Bounds { connections: some(4), ..wide_bounds() };
    let few = Shared { connections: some(16), rates: wide_rates() };
    let limits = Limits { strangers: four, all_strangers: few, members: four, all_members: few, ..wide() };
    let server = Server::trusting(limits, Trust { trusted: known, descriptors: Party::default() });
    for groups in [&[][..], &[60_001]] {
        let mut held = Vec::new();
        for uid in 61_000..61_020 {
            for _ in 0..5 {
                held.push(server.client_as(uid, groups));
            }
        }
        let mut let_in = Vec::new();
        while let Some(served) = server.let_in_within(Duration::from_millis(50)) {
            let_in.push(served);
        }
        assert_eq!(let_in.len(), 16);
        assert!((61_000..61_020).all(|uid| let_in.iter().filter(|served| served.credentials.uid == uid).count() <= 4));
        for uid in [holder, 0] {
            for _ in 0..5 {
                let begun = Instant::now();
                let (client, served) = server.connect_as(uid, &[]);
                assert_eq!(served.credentials.uid, uid);
                client.send(b"hello");
                assert_eq!(served.message().0, Some(b"hello".to_vec()));
                let took = begun.elapsed();
                assert!(took < SOON, "{took:?}");
            }
        }
        drop(held);
        for served in let_in {
            served.ended();
        }
    }
}

#[test]
fn one_user_with_long_messages_over_all_its_connections_gets_its_budget_and_no_more_and_delays_nobody() {
    if !is_root("only root can become another user") {
        return;
    }
    let (rate, at_once) = (100_000, 200_000);
    let rates = Rates { bytes: some(rate), bytes_at_once: some(at_once), ..wide_rates() };
    let strangers = Bounds { connections: some(16), rates, ..wide_bounds() };
    let server = Server::echoing(Limits { strangers, ..wide() }, Trust::default());
    let (mut other, _other) = server.connect_as(61_001, &[]);
    let begun = Instant::now();
    let (clients, served): (Vec<_>, Vec<_>) = (0..16).map(|_| server.connect_as(61_000, &[])).unzip();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for client in &clients {
                    let _ = client.socket.send(&[b'['; 63_000], &[]);
                }
            }
        });
        other.assert_served();
        stop.store(true, Ordering::Relaxed);
        flood.join().unwrap();
    });
    let read: usize = served.iter().map(|served| served.events.try_iter().count() * 63_000).sum();
    let most = at_once as f64 + begun.elapsed().as_secs_f64() * f64::from(rate) + 63_000.0;
    assert!(read as f64 <= most, "{read} bytes, the most are {most}");
    assert!(read >= at_once as usize, "only {read} bytes were read: it was not a flood");
}

#[test]
fn a_strangers_long_message_is_told_by_its_length_and_not_taken_in() {
    let strangers = Bounds { longest: some(4096), ..wide_bounds() };
    let server = Server::trusting(Limits { strangers, root: strangers, ..wide() }, Trust::default());
    let (client, served) = server.connect();
    client.send(&[b'x'; 4096]);
    assert_eq!(served.message(), (Some(vec![b'x'; 4096]), 4096, 0));
    client.send(&[b'x'; 4097]);
    assert_eq!(served.message(), (None, 4097, 0));
}

#[test]
fn who_says_nothing_is_told_so_and_cut_off_and_who_spoke_is_not() {
    let server = Server::start(Limits { silence: Duration::from_millis(200), ..wide() });
    let (mut silent, silents) = server.connect();
    let (spoke, spokes) = server.connect();
    spoke.send(b"hello");
    spokes.message();
    let begun = Instant::now();
    assert_eq!(silent.message().as_deref(), Some(SILENCE));
    assert_eq!(silent.message(), None);
    assert!(begun.elapsed() > Duration::from_millis(100), "too early");
    assert_eq!(silents.ended(), "the client sent nothing within 200ms");
    spoke.send(b"and on");
    assert_eq!(spokes.message().0, Some(b"and on".to_vec()));
}

#[test]
fn a_message_that_waits_unread_is_no_silence() {
    // The connection and one message, and the next a second later.
    let server = Server::start(Limits { silence: Duration::from_millis(200), ..messages(1, 3) });
    let (first, of_first) = server.connect();
    let (second, of_second) = server.connect();
    first.send(b"takes what was left");
    of_first.message();
    let begun = Instant::now();
    second.send(b"late, and not by its own fault");
    assert_eq!(of_second.message().0, Some(b"late, and not by its own fault".to_vec()));
    assert!(begun.elapsed() > Duration::from_millis(400), "it was read at once: nothing was shown");
}

#[test]
fn descriptors_of_those_who_may_not_send_any_are_kept_away_by_the_kernel() {
    if !is_root("only root can become another user") || !kernel_guards() {
        eprintln!("skipped where the kernel has no SO_PASSRIGHTS");
        return;
    }
    let descriptors = Party { uids: [60_000].into(), gids: [60_001].into() };
    let server = Server::trusting(wide(), Trust { trusted: Party::default(), descriptors });
    let (_reader, writer) = io::pipe().unwrap();
    for (uid, groups, may) in [
        (61_000, &[][..], false),
        (60_001, &[60_000], true),
        (60_000, &[], true),
        (61_000, &[60_001], true),
        (0, &[], true),
    ] {
        let client = server.client_as(uid, groups);
        if !may {
            // Before it is let in, and afterwards.
            assert_eq!(client.socket.send(b"take", &[writer.as_fd()]).unwrap_err().raw_os_error(), Some(libc::EPERM));
        }
        let served = server.let_in();
        let sent = client.socket.send(b"take", &[writer.as_fd()]);
        assert_eq!(
            sent.map_err(|error| error.raw_os_error()),
            if may { Ok(()) } else { Err(Some(libc::EPERM)) },
            "{uid}"
        );
        client.send(b"and on");
        if may {
            assert_eq!(served.message(), (Some(b"take".to_vec()), 4, 1));
        }
        assert_eq!(served.message(), (Some(b"and on".to_vec()), 6, 0));
    }
}

#[test]
fn the_namespace_of_a_clients_process_is_told_while_it_is_connected() {
    let server = Server::start(wide());
    let (client, served) = server.connect();
    let namespace = File::from(served.handle.namespace().unwrap());
    assert_eq!(namespace.metadata().unwrap().ino(), fs::metadata("/proc/self/ns/net").unwrap().ino());
    drop(client);
    served.ended();
    assert_eq!(served.handle.namespace().unwrap_err().kind(), io::ErrorKind::NotConnected);

    let server = Server::trusting(wide(), Trust::default());
    if is_root("only root can become another user") {
        let (_stranger, served) = server.connect_as(61_000, &[]);
        assert_eq!(served.handle.namespace().unwrap_err().kind(), io::ErrorKind::Unsupported);
    }
}

#[test]
fn a_file_that_takes_the_sockets_path_meanwhile_keeps_its_mode() {
    let folder = tempfile::tempdir().unwrap();
    let (path, victim) = (folder.path().join("control.sock"), folder.path().join("victim"));
    fs::write(&victim, "secret").unwrap();
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let swapped = folder.path().join("swapped");
                if fs::hard_link(&victim, &swapped).is_ok() && path.exists() {
                    let _ = fs::rename(&swapped, &path);
                }
                let _ = fs::remove_file(&path);
                let _ = fs::remove_file(&swapped);
            }
        });
        for _ in 0..500 {
            let _ = listen(&path);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::metadata(&victim).unwrap().permissions().mode() & 0o777, 0o600);
}
