//! A descriptor that takes long to close. A program of its own: a child that another test starts would for a moment hold a
//! copy, and the last holder is the one who waits.

mod common;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use common::{SOON, Server, some, wide};
use rustix::net::sockopt;
use xsknet_control::Limits;

#[test]
fn a_descriptor_whose_close_takes_long_delays_nobody() {
    let server = Server::echo(Limits { in_flight: some(1), ..wide() });
    let (mut other, _other) = server.connect();
    let (client, served) = server.connect();
    client.send(b"wait");
    served.message();
    // The last holder of a lingering socket waits for its data to be taken, which nobody does here.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut lingering = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (_never_read, _) = listener.accept().unwrap();
    sockopt::set_socket_linger(&lingering, Some(Duration::from_secs(2))).unwrap();
    lingering.set_nonblocking(true).unwrap();
    while lingering.write(&[0; 65_536]).is_ok() {}
    lingering.set_nonblocking(false).unwrap();

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
