//! BPF rings on the running kernel, as root, in a network namespace of its own: arrays, a ring buffer, a socket on the
//! memory of an array, and a program that rings. The test plays the programs that move frames.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use xsknet_ring::layout::RingControl;
use xsknet_ring::{Control, Program};
use xsknet_xsk::{
    AdoptError, BindRequest, ChunkCounts, FlushError, HugePages, Layout, QueueId, Readiness, Request, RingDonation,
    RingSocket, RingsDonation, RingsInUse, create_on,
};

const FRAMES: u32 = 64;
const SLOTS: u32 = 32;
const START: u32 = u32::MAX - 5;
const MOMENT: Duration = Duration::from_millis(5);

fn bpf(command: i32, mut attributes: [u64; 8]) -> OwnedFd {
    // SAFETY: as many bytes as said; what they point to is read during the call.
    let made = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(&attributes)) };
    let made = i32::try_from(made).unwrap();
    assert!(made >= 0, "{}", io::Error::last_os_error());
    // SAFETY: a descriptor that was just made.
    unsafe { OwnedFd::from_raw_fd(made) }
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// `BPF_MAP_TYPE_ARRAY` with `BPF_F_MMAPABLE`.
fn array(value: usize, entries: u32) -> OwnedFd {
    bpf(0, [pair(2, 4), pair(u32::try_from(value).unwrap(), entries), 1 << 10, 0, 0, 0, 0, 0])
}

/// A program that rings, and drops what it is given.
fn ringing(wake: &OwnedFd) -> OwnedFd {
    let wake = wake.as_raw_fd().cast_unsigned();
    let code: [u64; 10] = [
        pair(0x1118, wake), // r1 = the ring buffer
        0,
        0xfff8_0a7a,               // *(u64 *)(r10 - 8) = 0
        0xa2bf,                    // r2 = r10
        pair(0x0207, -8_i32 as _), // r2 -= 8
        pair(0x03b7, 8),           // r3 = 8
        pair(0x04b7, 2),           // r4 = BPF_RB_FORCE_WAKEUP
        pair(0x85, 130),           // bpf_ringbuf_output
        pair(0xb7, 1),             // return XDP_DROP
        0x95,
    ];
    let license = c"GPL";
    bpf(5, [pair(6, 10), code.as_ptr().addr() as u64, license.as_ptr().addr() as u64, 0, 0, 0, 0, 0])
}

struct Lab {
    program: Program,
    rings: OwnedFd,
}

impl Lab {
    /// Rings without the kernel's own programs: the bell is rung by the client's.
    fn new() -> (Self, RingDonation) {
        // SAFETY: CLONE_NEWNET touches neither memory nor descriptors.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("a new network namespace takes root");
        ip("link add left type veth peer name right");
        ip("link set left addrgenmode none up");
        ip("link set right addrgenmode none up");
        let layout = Layout::builder().frames(FRAMES).rings(2).fill_target(SLOTS).build().unwrap();
        let (memory, control) = (array(2048, FRAMES), array(size_of::<RingControl>(), 1));
        let wake = bpf(0, [27, pair(0, 4096), 0, 0, 0, 0, 0, 0]); // BPF_MAP_TYPE_RINGBUF
        let request = Request {
            device: "left",
            queue: QueueId(0),
            layout,
            huge_pages: HugePages::Never,
            bind: BindRequest::Copy,
            prime: false,
        };
        let socket = create_on(&request, memory.as_fd()).unwrap().donation;
        let program = ringing(&wake);
        let shared = Control::map(control.as_fd()).unwrap();
        let lab = Self { program: Program::new(shared, SLOTS, SLOTS, START), rings: program.try_clone().unwrap() };
        let (rx_position, tx_position) = (START, START);
        let (rx_slots, tx_slots, posted) = (SLOTS, SLOTS, Vec::new());
        let rings = RingsDonation { control, wake, program, rx_slots, tx_slots, rx_position, tx_position, posted };
        (lab, RingDonation { socket, rings })
    }

    fn ring(&self) {
        xsknet_ring::send(self.rings.as_fd(), 1, 60).unwrap();
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

fn is_readable(socket: &impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&now)).unwrap() == 1
}

#[test]
fn an_event_loop_is_woken_by_the_bell_and_by_what_is_there_before() {
    let (mut lab, donation) = Lab::new();
    let (mut rings, mut umem, _file) = RingSocket::adopt(donation).unwrap().into_parts();
    assert_eq!(rings.prime(&mut umem), SLOTS as usize);
    assert!(!is_readable(&rings));
    rings.prepare_to_sleep(&mut umem, false);
    assert!(!is_readable(&rings) && rings.is_idle());
    lab.program.deliver(60).unwrap();
    assert!(lab.program.wake());
    lab.ring();
    assert!(is_readable(&rings));
    let woken = rings.woken();
    assert!(woken.readable && !woken.writable && !is_readable(&rings));

    rings.prepare_to_sleep(&mut umem, true);
    assert!(is_readable(&rings), "a frame is there, and slots are free");
    let woken = rings.woken();
    assert!(woken.readable && woken.writable && !is_readable(&rings));
    let mut frames = Vec::new();
    assert_eq!((rings.receive(&mut umem, 8, &mut frames), frames[0].len()), (1, 60));
    assert_eq!(umem.address(&frames[0]) % 2048, 256);

    // What rang for frames that were received meanwhile wakes nobody.
    rings.prepare_to_sleep(&mut umem, false);
    lab.ring();
    rings.prepare_to_sleep(&mut umem, false);
    assert!(!is_readable(&rings));
}

#[test]
fn a_sleep_ends_with_a_frame_or_the_time_or_the_device() {
    let (mut lab, donation) = Lab::new();
    let mut socket = RingSocket::adopt(donation).unwrap();
    socket.prime();
    assert_eq!(socket.wait(MOMENT).unwrap(), Readiness::TimedOut);
    lab.program.deliver(60).unwrap();
    assert_eq!(socket.wait(Duration::from_secs(600)).unwrap(), Readiness::Frames);
    let mut frames = Vec::new();
    assert_eq!(socket.receive(8, &mut frames), 1);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !lab.program.wake() {
                thread::yield_now();
            }
            lab.program.deliver(61).unwrap();
            lab.ring();
        });
        let begun = Instant::now();
        assert_eq!(socket.wait(Duration::from_secs(600)).unwrap(), Readiness::Frames);
        assert!(begun.elapsed() < Duration::from_secs(60));
    });
    assert_eq!(socket.receive(8, &mut frames), 1);
    assert_eq!(frames.iter().map(xsknet_xsk::Frame::len).collect::<Vec<_>>(), [60, 61]);
    ip("link set left down");
    assert!(matches!(socket.wait(MOMENT).unwrap(), Readiness::TimedOut | Readiness::DeviceDown));
    ip("link del left");
    thread::sleep(MOMENT);
    assert_eq!(socket.wait(Duration::from_secs(600)).unwrap(), Readiness::DeviceGone);
}

#[test]
fn frames_that_the_program_does_not_take_wait_and_a_device_that_is_gone_is_told() {
    let (mut lab, donation) = Lab::new();
    let mut socket = RingSocket::adopt(donation).unwrap();
    let mut frames = vec![socket.allocate().unwrap()];
    frames[0].set_len(60).unwrap();
    let at = socket.address(&frames[0]);
    assert_eq!(socket.transmit(&mut frames).unwrap(), 1);
    assert_eq!((socket.flush().unwrap(), socket.counters().kicks), (1, 1), "the daemon has closed the queue");
    let (position, taken, length) = lab.program.take_tx().unwrap();
    assert_eq!((u64::from(taken), length), (at, 60));
    lab.program.give_tx(position);
    assert_eq!((socket.flush().unwrap(), socket.counters().kicks, socket.counters().completed), (0, 1, 1));
    let mut frames = vec![socket.allocate().unwrap()];
    frames[0].set_len(60).unwrap();
    socket.transmit(&mut frames).unwrap();
    ip("link del left");
    thread::sleep(MOMENT);
    assert!(matches!(socket.flush(), Err(FlushError::DeviceGone { waiting: 1, .. })));
}

#[test]
fn an_adopter_finds_what_the_donor_posted() {
    let (mut lab, donation) = Lab::new();
    let mut socket = RingSocket::adopt(donation).unwrap();
    socket.prime();
    lab.program.deliver(60).unwrap();
    let mut frames = Vec::new();
    assert_eq!(socket.receive(8, &mut frames), 1);
    let RingsInUse { held, tx, socket: back } = socket.donate().unwrap_err();
    assert_eq!((held, tx), (1, 0));
    socket = *back;
    frames.drain(..).for_each(|frame| socket.release(frame));
    let chunk = lab.program.deliver(61).unwrap();
    let donation = socket.donate().unwrap();
    let rings = &donation.rings;
    assert_eq!((rings.rx_position, rings.tx_position), (START.wrapping_add(1), START));
    assert_eq!((rings.posted.len(), rings.posted[0]), (SLOTS as usize, chunk));
    assert_eq!((donation.socket.counters.received, donation.socket.in_fill.len()), (1, 0));
    let mut socket = RingSocket::adopt(donation).unwrap();
    assert_eq!(socket.chunks(), ChunkCounts { free: SLOTS, held: 0, fill: SLOTS, tx: 0, total: FRAMES });
    assert_eq!((socket.receive(8, &mut frames), frames[0].len(), socket.counters().received), (1, 61, 2));
    frames.drain(..).for_each(|frame| socket.release(frame));
    assert_eq!(socket.close(), ChunkCounts { free: FRAMES, held: 0, fill: 0, tx: 0, total: FRAMES });
}

#[test]
fn a_donation_that_cannot_be_is_not_adopted() {
    let changed = |change: fn(&mut RingDonation)| {
        let (_lab, mut donation) = Lab::new();
        change(&mut donation);
        RingSocket::adopt(donation).unwrap_err()
    };
    let twice = changed(|donation| donation.rings.posted = vec![3, 3]);
    assert!(matches!(twice, AdoptError::FillChunk { chunk: 3, frames: FRAMES }), "{twice}");
    let outside = changed(|donation| donation.rings.posted = vec![FRAMES]);
    assert!(matches!(outside, AdoptError::FillChunk { chunk: FRAMES, .. }), "{outside}");
    let slots = changed(|donation| donation.rings.rx_slots = 3);
    assert!(matches!(slots, AdoptError::RingShape(_)), "{slots}");
    let small = changed(|donation| donation.rings.control = array(4096, 1));
    assert!(matches!(small, AdoptError::Rings { .. }), "{small}");
    let no_bell = changed(|donation| donation.rings.wake = array(2048, 1));
    assert!(matches!(no_bell, AdoptError::Rings { .. }), "{no_bell}");
    let memory = changed(|donation| donation.socket.umem = array(2048, FRAMES / 2));
    assert!(matches!(memory, AdoptError::MapUmem { .. }), "{memory}");
}
