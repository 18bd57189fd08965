//! Whatever clients leave behind, nothing stays open. One test, because it counts this process's descriptors.

mod common;

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use common::{DEADLINE, REFUSAL, Server, connections, kernel_guards, send_raw, some};
use xsknet_control::{Limits, MAX_MESSAGE};

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn no_descriptor_is_left_of_clients_that_left_in_whatever_state() {
    let server = Server::start(Limits { in_flight: some(1), ..connections(3) });
    let before = open_descriptors();
    let (reader, writer) = io::pipe().unwrap();
    for round in 0..60_usize {
        let (client, served) = server.connect();
        send_raw(&client, b"taken", &vec![writer.as_fd(); round]);
        assert_eq!(served.message().2, round);
        // Never read, since one message is in flight.
        send_raw(&client, b"unread", &vec![writer.as_fd(); 253 - round]);
        assert!(served.handle.send(vec![0; MAX_MESSAGE], vec![OwnedFd::from(writer.try_clone().unwrap())]).unwrap());
        let mut client = Some(client);
        match round % 4 {
            0 => client = None,
            1 => while served.handle.send(vec![0; MAX_MESSAGE], Vec::new()).unwrap() {},
            2 => {
                served.handle.close();
                client = None;
            }
            _ => {
                let others = [server.connect(), server.connect()];
                let mut refused = server.client();
                let sent = refused.socket.send(b"hello", &[writer.as_fd()]);
                assert!(sent.is_err() || !kernel_guards(), "it has no place, so that nothing may be sent to it");
                assert_eq!(refused.message().as_deref(), Some(REFUSAL));
                drop(others);
                client = None;
            }
        }
        served.ended();
        drop(client);
        // Places are free again once everything is closed, which happens aside.
        until(
            "all closed",
            || if open_descriptors() == before + 2 { Ok(()) } else { Err(open_descriptors() - before) },
        );
    }
    drop((reader, writer));
    assert_eq!(open_descriptors(), before);
}

fn until<E: std::fmt::Debug>(what: &str, look: impl Fn() -> Result<(), E>) {
    let deadline = Instant::now() + DEADLINE;
    while let Err(seen) = look() {
        assert!(Instant::now() < deadline, "not {what} within {DEADLINE:?}: {seen:?}");
        thread::sleep(Duration::from_millis(1));
    }
}
