//! Ports whose socket is handed over: the daemon keeps the port, another process its frames.

use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common::numbered::send_from;
use crate::common::*;
use rstest::rstest;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};
use xsknet_bpf::Mode;
use xsknet_port::{Equality, PortInfo, PortSpec};
use xsknet_testkit::{Responder, far_socket, on_fresh_mounts, port_addresses, send_all, wait_until};
use xsknet_xsk::{BusyPoll, Readiness, Socket};

/// IEEE 802's local experimental EtherType 1, which no guard lets out.
const ETHER_TYPE: u16 = 0x88b5;

/// Mappings of UMEMs and rings in this process.
fn mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc is mounted");
    maps.lines().filter(|line| ["/dev/zero", "anon_inode:", "socket:"].iter().any(|kind| line.contains(kind))).count()
}

fn responder(info: &PortInfo) -> Responder {
    Responder::new(info.mac.octets(), info.addresses.iter().copied())
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn a_socket_that_was_handed_over_answers_until_its_port_is_closed(#[case] mode: Mode) {
    on_fresh_mounts(|| {
        let stage = Stage::plain();
        let before = stage.snapshot();
        let instance = stage.open();
        let uplink = manage(&instance, mode);
        let unmapped = mappings();
        let own = port(&uplink, 0);
        assert!(mappings() > unmapped, "{}", mappings());
        let (brokered, donations) = own.hand_over().expect("an idle port");
        assert_eq!(mappings(), unmapped);
        assert_eq!(donations[0].in_fill.len(), donations[0].layout.fill_target() as usize);

        let socket = Box::new(Socket::adopt(only(donations)).expect("what was handed over"));
        let serving = responder(brokered.info()).start(socket);
        for address in port_addresses(0) {
            ping(&stage.lab, address, 1000);
        }
        let (mut socket, served) = serving.finish();
        assert!(served.expect("a working socket").answered >= 2000);
        wait_until("completion of all frames", 2 * SECOND, || {
            socket.flush().expect("a kick");
            socket.complete().expect("a sound ring");
            socket.chunks().tx == 0
        });
        let own = socket.counters();
        wait_until("rest", 2 * SECOND, || {
            let now = brokered.statistics().expect("statistics");
            // The self-test's frames, which were the donor's, included.
            now.equalities([&own]).iter().all(Equality::holds)
        });
        uplink.open_port(PortSpec::new(port_addresses(0))).expect_err("the addresses are still taken");

        brokered.close().expect("closing undoes everything");
        assert_eq!(socket.wait(SECOND).expect("an answer"), Readiness::DeviceGone);
        close(port(&uplink, 0));
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
        let chunks = socket.close();
        assert_eq!(chunks.free, chunks.total, "{chunks:?}");
    });
}

#[test]
fn a_port_in_use_is_not_handed_over() {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let mut own = port(&uplink, 0);
    let frame = own.socket().allocate().expect("a free frame");
    let error = own.hand_over().expect_err("a frame is held");
    assert_eq!((error.held, error.tx), (1, 0));
    assert_tells(&error, &[&error.port.info().name.clone(), "1 of its frames"]);
    let mut own = *error.port;
    own.socket().release(frame);
    let (brokered, _donation) = own.hand_over().expect("an idle port");
    drop(brokered);
    close(port(&uplink, 0));
}

/// A number that a socket was given.
fn option(socket: &Socket, option: i32) -> u32 {
    use std::os::fd::AsRawFd as _;
    let (mut value, mut length) = (0_u32, size_of::<u32>() as libc::socklen_t);
    let to = (&raw mut value).cast();
    // SAFETY: the option is four bytes long, and `value` has as many.
    let got = unsafe { libc::getsockopt(socket.as_fd().as_raw_fd(), libc::SOL_SOCKET, option, to, &raw mut length) };
    assert_eq!((got, length), (0, 4), "{}", std::io::Error::last_os_error());
    value
}

#[test]
fn busy_polling_is_set_before_the_hand_over_and_a_refusal_is_told() {
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, Mode::Native);
    let open = |n, microseconds, budget| {
        let busy_poll = Some(BusyPoll { microseconds, budget });
        let options = PortSpec { busy_poll, ..PortSpec::new(port_addresses(n)) };
        uplink.open_port(options).expect("a port").hand_over().expect("an idle port")
    };
    let attempt =
        |info: &PortInfo| info.attempts.iter().find(|attempt| attempt.step == "busy-poll").cloned().expect("told");

    let (granted, donations) = open(0, 50, 128);
    let socket = Socket::adopt(only(donations)).expect("what was handed over");
    // The kernel does not tell the budget.
    assert_eq!([libc::SO_PREFER_BUSY_POLL, libc::SO_BUSY_POLL].map(|name| option(&socket, name)), [1, 50]);
    let told = attempt(granted.info());
    assert_eq!((told.hook, told.errno), ("bind", None), "{told}");

    let (refused, _donation) = open(1, 50, 65_536);
    let told = attempt(refused.info());
    assert_eq!(told.errno, Some(Errno::INVAL.raw_os_error()), "{told}");
    assert!(told.why.contains("SO_BUSY_POLL_BUDGET") && told.why.contains("65536"), "{told}");

    let plain = port(&uplink, 2);
    assert!(plain.info().attempts.iter().all(|attempt| attempt.step != "busy-poll"));
}

#[rstest]
#[case::native(Mode::Native)]
#[case::skb(Mode::Skb)]
fn frames_gather_at_the_inner_end_where_that_is_asked_for(#[case] mode: Mode) {
    const GATHERING: Duration = Duration::from_secs(1);
    let stage = Stage::plain();
    let instance = stage.open();
    let uplink = manage(&instance, mode);
    let options = PortSpec { coalesce: Some(GATHERING), ..PortSpec::new(port_addresses(0)) };
    let mut port = uplink.open_port(options).expect("a port");
    let told = port.info().attempts.iter().find(|attempt| attempt.step == "coalesce").expect("told");
    assert_eq!((told.hook, told.errno), ("port", None), "{told}");
    assert!(told.why.contains("1000000 us"), "{told}");

    let mut far = far_socket(&stage.lab);
    let mut frame = [port.info().mac.octets(), stage.lab.far_mac().octets()].concat();
    frame.extend(ETHER_TYPE.to_be_bytes());
    frame.resize(60, 0);
    let mut received = || {
        let mut got = Vec::new();
        port.socket().receive(64, &mut got).expect("a sound ring");
        let count = got.len();
        got.drain(..).for_each(|frame| port.socket().release(frame));
        count
    };
    // Late by as long as it takes, counted from the self-test's; and what follows at once gathers anew.
    send_from(&mut far, &frame);
    wait_until("a frame", 3 * GATHERING, || received() > 0);
    let handled = Instant::now();
    for _ in 0..5 {
        send_from(&mut far, &frame);
    }
    let mut together = 0;
    wait_until("the frames behind it", 3 * GATHERING, || {
        together = received();
        together > 0
    });
    assert_eq!(together, 5);
    assert!(handled.elapsed() > GATHERING / 4, "{:?}", handled.elapsed());
    close(port);
}

/// What the host's own stack sees of this EtherType, on any device.
struct Sniffer(std::os::fd::OwnedFd);

impl Sniffer {
    fn new(stage: &Stage) -> Self {
        let protocol = Protocol::from_raw(u32::from(ETHER_TYPE.to_be()).try_into().expect("a number"));
        let open = || socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::NONBLOCK, Some(protocol));
        Self(stage.lab.host.enter(open).expect("a packet socket"))
    }

    fn seen(&self) -> usize {
        let mut frames = 0;
        loop {
            match recv(&self.0, &mut [0; 64][..], RecvFlags::empty()) {
                Ok(_) => frames += 1,
                // A device that went down is told here.
                Err(Errno::NETDOWN) => {}
                Err(Errno::AGAIN) => return frames,
                Err(errno) => panic!("a packet socket: {errno}"),
            }
        }
    }
}

fn forbidden(source: [u8; 6]) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &source, &ETHER_TYPE.to_be_bytes()].concat();
    frame.resize(60, 0);
    frame
}

/// Sends as fast as it can, until the device is gone.
fn flood(socket: &mut Socket, frame: &[u8], sending: &AtomicBool) {
    loop {
        let mut batch = Vec::new();
        while let Some(mut free) = if batch.len() < 64 { socket.allocate() } else { None } {
            free.set_len(frame.len()).expect("it fits a frame");
            socket.bytes_mut(&mut free).copy_from_slice(frame);
            batch.push(free);
        }
        let sent = send_all(socket, &mut batch);
        sending.store(true, Ordering::Relaxed);
        batch.drain(..).for_each(|frame| socket.release(frame));
        if sent.is_err() || socket.complete().is_err() {
            return;
        }
    }
}

#[rstest]
#[case::closed_native(Mode::Native)]
#[case::closed_skb(Mode::Skb)]
fn nothing_gets_past_the_guard_of_a_port_that_is_closed(#[case] mode: Mode) {
    let stage = Stage::plain();
    let instance = stage.open();
    let sniffer = Sniffer::new(&stage);
    send_from(&mut far_socket(&stage.lab), &forbidden(stage.lab.far_mac().octets()));
    wait_until("a frame that nothing keeps off", 2 * SECOND, || sniffer.seen() == 1);

    let uplink = manage(&instance, mode);
    for _ in 0..10 {
        let (brokered, donations) = port(&uplink, 0).hand_over().expect("an idle port");
        let mut socket = Socket::adopt(only(donations)).expect("what was handed over");
        let frame = forbidden(brokered.info().mac.octets());
        let sending = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| flood(&mut socket, &frame, &sending));
            wait_until("frames at the guard", 2 * SECOND, || sending.load(Ordering::Relaxed));
            brokered.close().expect("closing undoes everything");
        });
        assert_eq!(sniffer.seen(), 0);
    }
}
