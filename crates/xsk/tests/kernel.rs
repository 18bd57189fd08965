//! Sockets on the running kernel, as root, each test in an unnamed network namespace of its own with one veth pair:
//! `left` and `right`.

use std::error::Error;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, io, ptr, thread};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::net::sockopt::xdp_mmap_offsets;
use rustix::net::xdp::{XDP_PGOFF_RX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XdpRingOffset};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags, set_capabilities, unshare_unsafe};
use xsknet_xsk::{
    AdoptError, BindMode, BindRequest, ChunkCounts, CreateError, Created, DescriptorRefused, FlushError, FrameRefused,
    HugePages, Layout, QueueId, Readiness, Request, RingName, SharedRequest, SharedSocket, Socket, TransmitError,
    create, create_shared,
};

const EOPNOTSUPP: i32 = 95;

/// Moves the test's thread into a fresh network namespace, which goes with the thread, and makes the pair there.
fn veth_pair() {
    // SAFETY: CLONE_NEWNET touches neither memory nor descriptors.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("a new network namespace takes root");
    ip("link add left type veth peer name right");
    // Without these the pair talks by itself (MLD, DAD, RS).
    ip("link set left addrgenmode none up");
    ip("link set right addrgenmode none up");
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

fn layout() -> Layout {
    Layout::builder().frames(512).rings(256).build().unwrap()
}

fn on_left(bind: BindRequest) -> Request<'static> {
    Request { device: "left", queue: QueueId(0), layout: layout(), huge_pages: HugePages::Never, bind, prime: false }
}

fn copy_socket() -> Socket {
    create(&on_left(BindRequest::Copy)).unwrap().socket
}

fn errno_of(error: &dyn Error) -> Option<i32> {
    error.source()?.downcast_ref::<io::Error>()?.raw_os_error()
}

fn all_free(socket: &Socket) {
    let total = socket.layout().frames();
    assert_eq!(socket.chunks(), ChunkCounts { free: total, held: 0, fill: 0, tx: 0, total });
}

fn complete_all(socket: &mut Socket) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while socket.chunks().tx > 0 {
        socket.flush().unwrap();
        socket.complete().unwrap();
        assert!(Instant::now() < deadline, "not completed: {:?} {:?}", socket.chunks(), socket.rings());
        thread::yield_now();
    }
}

/// An Ethernet frame that nobody wants.
fn fill_in(socket: &Socket, frame: &mut xsknet_xsk::Frame, number: u32) {
    frame.set_len(64).unwrap();
    let bytes = socket.bytes_mut(frame);
    bytes.fill(0);
    bytes[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    bytes[14..18].copy_from_slice(&number.to_be_bytes());
}

fn transmit_numbered(socket: &mut Socket, count: u32) {
    let mut frames = Vec::new();
    for number in 0..count {
        let mut frame = socket.allocate().unwrap();
        fill_in(socket, &mut frame, number);
        frames.push(frame);
    }
    while !frames.is_empty() {
        socket.transmit(&mut frames).unwrap();
        socket.flush().unwrap();
    }
}

#[test]
fn copy_mode_is_granted_on_veth_and_the_fill_ring_primed() {
    veth_pair();
    let request = Request { prime: true, ..on_left(BindRequest::Copy) };
    let Created { socket, obtained, attempts } = create(&request).unwrap();
    assert_eq!((obtained, socket.bind_mode()), (BindMode::Copy, BindMode::Copy));
    let steps: Vec<_> = attempts.iter().map(|attempt| (attempt.step, attempt.errno)).collect();
    assert_eq!(steps[0], ("copy", None));
    assert_eq!(steps[1].0, "XDP_MAX_TX_SKB_BUDGET");
    assert_eq!(socket.rings().fill.entries, Some(256));
    assert_eq!(socket.chunks(), ChunkCounts { free: 256, held: 0, fill: 256, tx: 0, total: 512 });
    assert_eq!(socket.close(), ChunkCounts { free: 512, held: 0, fill: 0, tx: 0, total: 512 });
}

#[test]
fn zero_copy_demanded_of_veth_is_refused_with_the_errno() {
    veth_pair();
    let error = create(&on_left(BindRequest::ZeroCopy)).unwrap_err();
    assert_eq!(error.to_string(), "bind refused zero-copy mode on queue 0 of left");
    assert!(matches!(
        &error,
        CreateError::Refused { call: "bind", mode: BindMode::ZeroCopy, device, queue: QueueId(0), .. }
            if device == "left"
    ));
    assert_eq!(errno_of(&error), Some(EOPNOTSUPP));
    assert!(error.hint().is_some());
    copy_socket().close();
}

#[test]
fn automatic_falls_back_to_copy_and_says_why() {
    veth_pair();
    let Created { socket, obtained, attempts } = create(&on_left(BindRequest::Automatic)).unwrap();
    assert_eq!(obtained, BindMode::Copy);
    assert_eq!((attempts[0].step, attempts[0].errno), ("zero-copy", Some(EOPNOTSUPP)));
    assert_eq!(attempts[0].why, "the driver of left has no zero-copy");
    assert_eq!((attempts[1].step, attempts[1].errno), ("copy", None));
    all_free(&socket);
}

/// Leaves the test's thread these capabilities and no others.
fn keep_only(these: CapabilitySet) {
    let sets = CapabilitySets { effective: these, permitted: these, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).expect("fewer capabilities may always be had");
}

#[test]
fn with_net_raw_alone_sockets_are_made_refused_and_handed_over_as_by_root() {
    veth_pair();
    // Up at both ends already, and nobody's to change from here on.
    keep_only(CapabilitySet::NET_RAW);
    let Created { mut socket, obtained, attempts } =
        create(&Request { prime: true, ..on_left(BindRequest::Automatic) }).unwrap();
    assert_eq!(obtained, BindMode::Copy);
    assert_eq!((attempts[0].step, attempts[0].errno), ("zero-copy", Some(EOPNOTSUPP)));
    assert_eq!((attempts[1].step, attempts[1].errno), ("copy", None));
    assert_eq!(socket.chunks(), ChunkCounts { free: 256, held: 0, fill: 256, tx: 0, total: 512 });
    transmit_numbered(&mut socket, 200);
    complete_all(&mut socket);
    assert_eq!(socket.counters().completed, 200);

    let error = create(&on_left(BindRequest::Automatic)).unwrap_err();
    assert!(matches!(&error, CreateError::QueueTaken { device, .. } if device == "left"), "{error:?}");
    let missing = create(&Request { device: "nothing", ..on_left(BindRequest::Copy) }).unwrap_err();
    assert!(matches!(missing, CreateError::NoSuchDevice { .. }), "{missing:?}");
    let queue = create(&Request { queue: QueueId(7), ..on_left(BindRequest::Copy) }).unwrap_err();
    assert!(matches!(queue, CreateError::Refused { .. }) && queue.hint().is_some(), "{queue:?}");
    let zero_copy = create(&Request { device: "right", ..on_left(BindRequest::ZeroCopy) }).unwrap_err();
    assert_eq!(errno_of(&zero_copy), Some(EOPNOTSUPP));

    let donation = socket.donate().unwrap();
    assert_eq!(rustix::fs::fstat(&donation.umem).unwrap().st_size, 512 * 2048);
    let mut socket = Socket::adopt(donation).unwrap();
    transmit_numbered(&mut socket, 200);
    complete_all(&mut socket);
    assert_eq!(socket.close(), ChunkCounts { free: 512, held: 0, fill: 0, tx: 0, total: 512 });
}

#[test]
fn what_a_user_may_not_have_is_refused_with_what_to_do() {
    veth_pair();
    keep_only(CapabilitySet::NET_RAW);
    let limit = rustix::process::getrlimit(Resource::Memlock);
    let narrow = Rlimit { current: Some(4 << 20), ..limit };
    rustix::process::setrlimit(Resource::Memlock, narrow).unwrap();
    let frames = (4 << 20) / 2048 + 1;
    let layout = Layout::builder().frames(frames).build().unwrap();
    let error = create(&Request { layout, ..on_left(BindRequest::Copy) }).unwrap_err();
    assert_eq!(error.to_string(), format!("registering a UMEM of {} bytes failed", u64::from(frames) * 2048));
    const ENOBUFS: i32 = 105;
    assert_eq!(errno_of(&error), Some(ENOBUFS));
    assert!(error.hint().is_some_and(|hint| hint.contains("RLIMIT_MEMLOCK")), "{:?}", error.hint());

    rustix::process::setrlimit(Resource::Memlock, limit).unwrap();

    keep_only(CapabilitySet::empty());
    let error = create(&on_left(BindRequest::Copy)).unwrap_err();
    const EPERM: i32 = 1;
    assert_eq!(errno_of(&error), Some(EPERM));
    assert!(error.hint().is_some_and(|hint| hint.contains("CAP_NET_RAW")), "{:?}", error.hint());
}

#[test]
fn the_second_socket_on_a_queue_finds_it_taken() {
    veth_pair();
    let first = copy_socket();
    let error = create(&on_left(BindRequest::Automatic)).unwrap_err();
    assert!(matches!(&error, CreateError::QueueTaken { device, queue: QueueId(0) } if device == "left"), "{error:?}");
    first.close();
}

#[test]
fn a_queue_just_released_is_bound_again() {
    veth_pair();
    for _ in 0..10 {
        copy_socket().close();
    }
}

#[test]
fn a_device_and_a_queue_that_are_missing_are_named() {
    veth_pair();
    for device in ["nowhere", "", "a-name-that-no-device-can-have"] {
        let error = create(&Request { device, ..on_left(BindRequest::Copy) }).unwrap_err();
        assert!(
            matches!(&error, CreateError::NoSuchDevice { device: named } if named == device),
            "{device}: {error:?}"
        );
    }
    let error = create(&Request { queue: QueueId(7), ..on_left(BindRequest::Copy) }).unwrap_err();
    assert!(matches!(&error, CreateError::Refused { queue: QueueId(7), .. }), "{error:?}");
}

#[test]
fn the_device_is_looked_up_in_the_callers_namespace() {
    veth_pair();
    let elsewhere = thread::spawn(|| {
        // SAFETY: as in `veth_pair`.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        create(&on_left(BindRequest::Copy)).unwrap_err()
    });
    assert!(matches!(elsewhere.join().unwrap(), CreateError::NoSuchDevice { .. }));
}

#[test]
fn two_hundred_frames_are_sent_and_completed() {
    veth_pair();
    let mut socket = copy_socket();
    transmit_numbered(&mut socket, 200);
    complete_all(&mut socket);
    let counters = socket.counters();
    assert_eq!((counters.sent, counters.completed), (200, 200));
    assert_eq!(counters.refused_completions.total(), 0);
    assert_eq!(socket.statistics().unwrap().tx_invalid_descs, 0);
    let received: u64 = std::fs::read_to_string("/proc/thread-self/net/dev")
        .unwrap()
        .lines()
        .find_map(|line| line.trim().strip_prefix("right:")?.split_whitespace().nth(1)?.parse().ok())
        .unwrap();
    assert_eq!(received, 200, "frames at the other end of the pair");
    all_free(&socket);
}

#[test]
fn one_kick_sends_a_ring_where_the_budget_was_raised() {
    veth_pair();
    let Created { mut socket, attempts, .. } = create(&on_left(BindRequest::Copy)).unwrap();
    transmit_numbered(&mut socket, 200);
    complete_all(&mut socket);
    let budget = attempts.iter().find(|attempt| attempt.step == "XDP_MAX_TX_SKB_BUDGET").unwrap();
    let kicks = if budget.errno.is_none() { 1 } else { 7 };
    assert_eq!(socket.counters().kicks, kicks, "{budget:?}");
    assert_eq!(socket.counters().kick_retries, kicks - 1);
}

#[test]
fn frames_that_cannot_be_sent_stay_where_they_are() {
    veth_pair();
    let mut socket = copy_socket();
    let mut sendable = socket.allocate().unwrap();
    sendable.set_len(60).unwrap();
    let mut frames = vec![sendable, socket.allocate().unwrap()];
    assert_eq!(socket.transmit(&mut frames), Ok(1));
    assert_eq!(socket.transmit(&mut frames), Err(TransmitError::Frame(FrameRefused::Empty)));
    assert_eq!((frames.len(), socket.outstanding()), (1, 1));
    socket.release(frames.remove(0));
    complete_all(&mut socket);
    all_free(&socket);
}

#[test]
fn a_socket_is_adopted_after_its_donation_with_its_fill_ring() {
    veth_pair();
    let mut socket = copy_socket();
    assert_eq!(socket.prime(), Ok(256));
    transmit_numbered(&mut socket, 100);
    complete_all(&mut socket);
    let donation = socket.donate().unwrap();
    assert_eq!(donation.in_fill.len(), 256);
    // Another thread in another namespace: nothing of the socket is tied to where it was made.
    let adopter = thread::spawn(|| {
        // SAFETY: as in `veth_pair`.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        let mut socket = Socket::adopt(donation).unwrap();
        assert_eq!(socket.chunks(), ChunkCounts { free: 256, held: 0, fill: 256, tx: 0, total: 512 });
        transmit_numbered(&mut socket, 200);
        complete_all(&mut socket);
        assert_eq!(socket.counters().completed, 300, "it counts on");
        socket.close()
    });
    assert_eq!(adopter.join().unwrap(), ChunkCounts { free: 512, held: 0, fill: 0, tx: 0, total: 512 });
}

#[test]
fn a_socket_works_on_another_thread_in_another_namespace() {
    veth_pair();
    let mut socket = copy_socket();
    let elsewhere = thread::spawn(move || {
        // SAFETY: as in `veth_pair`.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        transmit_numbered(&mut socket, 200);
        complete_all(&mut socket);
        (socket.statistics().unwrap().tx_invalid_descs, socket.counters().completed)
    });
    assert_eq!(elsewhere.join().unwrap(), (0, 200));
}

#[test]
fn a_socket_in_use_is_not_donated() {
    veth_pair();
    let mut socket = copy_socket();
    let frame = socket.allocate().unwrap();
    let error = socket.donate().unwrap_err();
    assert_eq!((error.held, error.tx), (1, 0));
    let mut socket = *error.socket;
    socket.release(frame);
    assert!(socket.donate().is_ok());
}

#[test]
fn close_counts_the_frames_that_the_caller_kept() {
    veth_pair();
    let mut socket = copy_socket();
    socket.prime().unwrap();
    let kept = socket.allocate().unwrap();
    assert_eq!(socket.close(), ChunkCounts { free: 511, held: 1, fill: 0, tx: 0, total: 512 });
    drop(kept);
}

#[test]
#[should_panic(expected = "a frame of another UMEM")]
fn a_frame_of_another_socket_shows_no_bytes() {
    veth_pair();
    let (mut left, right) =
        (copy_socket(), create(&Request { device: "right", ..on_left(BindRequest::Copy) }).unwrap());
    let frame = left.allocate().unwrap();
    let _ = right.socket.bytes(&frame);
}

#[test]
fn a_frame_of_another_socket_is_not_sent() {
    veth_pair();
    let mut left = copy_socket();
    let mut right = create(&Request { device: "right", ..on_left(BindRequest::Copy) }).unwrap().socket;
    let mut frame = left.allocate().unwrap();
    frame.set_len(60).unwrap();
    let mut frames = vec![frame];
    assert_eq!(right.transmit(&mut frames), Err(TransmitError::Frame(FrameRefused::Foreign)));
    left.release(frames.remove(0));
    all_free(&left);
    all_free(&right);
}

/// What another holder of a ring's mapping writes there: one more entry, published.
fn write_behind_the_back(socket: &Socket, page_offset: u64, ring: &XdpRingOffset, entry: &[u64]) {
    let length = usize::try_from(ring.desc).unwrap() + 256 * size_of_val(entry);
    // SAFETY: a fresh mapping that is gone at the end.
    let start = unsafe {
        mmap(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, socket, page_offset)
    }
    .unwrap();
    // SAFETY: the offset is the kernel's, of a word in the mapping.
    let producer = unsafe { start.byte_add(usize::try_from(ring.producer).unwrap()) }.cast::<u32>();
    // SAFETY: an aligned word of the mapping.
    let at = unsafe { producer.read_volatile() };
    let slot = (at as usize % 256) * size_of_val(entry);
    for (n, word) in entry.iter().enumerate() {
        // SAFETY: the slot and its words lie in the mapping.
        let place = unsafe { start.byte_add(usize::try_from(ring.desc).unwrap() + slot + n * 8) }.cast::<u64>();
        // SAFETY: an aligned word of the mapping.
        unsafe { place.write_volatile(*word) };
    }
    // SAFETY: an aligned word of the mapping.
    unsafe { producer.write_volatile(at.wrapping_add(1)) };
    // SAFETY: nothing points into the mapping any more.
    unsafe { munmap(start, length) }.unwrap();
}

#[test]
fn a_descriptor_outside_the_umem_is_refused_and_counted() {
    veth_pair();
    let mut socket = copy_socket();
    socket.prime().unwrap();
    let before = socket.chunks();
    let offsets = xdp_mmap_offsets(&socket).unwrap();
    let umem_bytes = socket.layout().umem_bytes();

    let outside = umem_bytes + 256;
    write_behind_the_back(&socket, XDP_PGOFF_RX_RING, &offsets.rx, &[outside, 60]);
    let mut frames = Vec::new();
    assert_eq!(socket.receive(64, &mut frames), Ok(0));
    let refused = DescriptorRefused::OutsideUmem { ring: RingName::Rx, address: outside, umem_bytes };
    assert_eq!(socket.take_refusal(), Some(refused));
    assert_eq!(socket.counters().refused_rx.outside_umem, 1);

    write_behind_the_back(&socket, XDP_UMEM_PGOFF_COMPLETION_RING, &offsets.cr, &[u64::MAX]);
    assert_eq!(socket.complete(), Ok(0));
    let refused = DescriptorRefused::OutsideUmem { ring: RingName::Completion, address: u64::MAX, umem_bytes };
    assert_eq!(socket.take_refusal(), Some(refused));
    assert_eq!(socket.counters().refused_completions.outside_umem, 1);

    assert_eq!((frames.len(), socket.chunks()), (0, before));
}

#[test]
fn descriptors_that_are_no_sockets_are_not_adopted() {
    veth_pair();
    let mut donation = copy_socket().donate().unwrap();
    donation.xsk = File::open("/dev/null").unwrap().into();
    let error = Socket::adopt(donation).unwrap_err();
    assert!(matches!(error, AdoptError::NotXsk { cause: Some(_) }), "{error:?}");

    let mut donation = copy_socket().donate().unwrap();
    donation.xsk = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).unwrap();
    let error = Socket::adopt(donation).unwrap_err();
    assert!(matches!(error, AdoptError::NotXsk { cause: None }), "{error:?}");
}

#[test]
fn a_umem_that_is_too_small_is_not_adopted() {
    veth_pair();
    let mut donation = copy_socket().donate().unwrap();
    rustix::fs::ftruncate(&donation.umem, 4096).unwrap();
    donation.umem = donation.umem.as_fd().try_clone_to_owned().unwrap();
    let error = Socket::adopt(donation).unwrap_err();
    assert!(matches!(error, AdoptError::UmemTooSmall { bytes: 4096, needed: 0x10_0000 }), "{error:?}");
}

#[test]
fn a_donation_that_contradicts_the_kernel_is_not_adopted() {
    veth_pair();
    let donation = |change: fn(&mut xsknet_xsk::Donation)| {
        let mut socket = copy_socket();
        socket.prime().unwrap();
        let mut donation = socket.donate().unwrap();
        change(&mut donation);
        Socket::adopt(donation).unwrap_err()
    };
    let with_rings = |slots| Layout::builder().frames(512).rings(slots).build().unwrap();

    let error = donation(|donation| donation.bind = BindMode::ZeroCopy);
    assert!(matches!(error, AdoptError::BindModeDisagrees { told: BindMode::ZeroCopy, bound: BindMode::Copy }));
    let error = donation(|donation| donation.in_fill.push(512));
    assert!(matches!(error, AdoptError::FillChunk { chunk: 512, frames: 512 }), "{error:?}");
    let error = donation(|donation| donation.in_fill.push(donation.in_fill[0]));
    assert!(matches!(error, AdoptError::FillChunk { .. }), "{error:?}");
    let error = donation(|donation| donation.in_fill.truncate(255));
    assert!(matches!(error, AdoptError::FillDisagrees { told: 255, .. }), "{error:?}");
    for slots in [128, 512] {
        let mut donation = copy_socket().donate().unwrap();
        donation.layout = with_rings(slots);
        let error = Socket::adopt(donation).unwrap_err();
        assert!(matches!(error, AdoptError::MapRing { .. }), "{slots}: {error:?}");
    }
}

#[test]
fn a_socket_with_frames_on_their_way_is_not_adopted() {
    veth_pair();
    let mut socket = copy_socket();
    transmit_numbered(&mut socket, 3);
    let xsk: OwnedFd = socket.as_fd().try_clone_to_owned().unwrap();
    let umem = socket.umem_fd().try_clone_to_owned().unwrap();
    let donation = xsknet_xsk::Donation {
        xsk,
        umem,
        layout: layout(),
        in_fill: Vec::new(),
        bind: BindMode::Copy,
        counters: Default::default(),
    };
    let error = Socket::adopt(donation).unwrap_err();
    assert!(matches!(error, AdoptError::NotIdle { ring: RingName::Completion, entries: 3 }), "{error:?}");
    complete_all(&mut socket);
}

#[test]
fn a_device_that_is_down_or_deleted_is_told_apart() {
    veth_pair();
    let mut socket = copy_socket();
    let soon = Duration::from_millis(1);
    let mut frame = socket.allocate().unwrap();
    frame.set_len(60).unwrap();
    assert_eq!(socket.wait(soon).unwrap(), Readiness::TimedOut);
    ip("link set left down");
    assert_eq!(socket.wait(soon).unwrap(), Readiness::DeviceDown);
    socket.transmit(&mut vec![frame]).unwrap();
    assert!(matches!(socket.flush(), Err(FlushError::DeviceDown { waiting: 1, .. })));
    ip("link set left up");
    complete_all(&mut socket);

    ip("link del left");
    assert_eq!(socket.wait(Duration::from_secs(600)).unwrap(), Readiness::DeviceGone);
    let mut frame = socket.allocate().unwrap();
    frame.set_len(60).unwrap();
    socket.transmit(&mut vec![frame]).unwrap();
    assert!(matches!(socket.flush(), Err(FlushError::DeviceGone { waiting: 1, .. })));
    assert_eq!(socket.close().outstanding(), 0);
}

/// How many huge pages are reserved and free, and how large one is, in bytes.
fn huge_pages() -> (u64, u64) {
    let told = fs::read_to_string("/proc/meminfo").unwrap();
    let value = |name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(name)).expect("a kernel with huge pages");
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    (value("HugePages_Free:"), value("Hugepagesize:") * 1024)
}

/// Surplus pages: made when they are asked for, given back when they are freed. Nothing is reserved by it, so that a
/// killed test leaves no page behind, only a limit that the next run ignores.
struct Surplus {
    before: String,
}

const SURPLUS: &str = "/proc/sys/vm/nr_overcommit_hugepages";

impl Surplus {
    fn of(pages: u64) -> Self {
        let before = fs::read_to_string(SURPLUS).unwrap();
        fs::write(SURPLUS, pages.to_string()).unwrap();
        Self { before }
    }
}

impl Drop for Surplus {
    fn drop(&mut self) {
        fs::write(SURPLUS, &self.before).unwrap();
    }
}

/// One test for both ways, because the number of pages is the machine's.
#[test]
fn huge_pages_are_had_where_there_are_any_and_their_lack_is_told_with_the_errno() {
    const ENOMEM: i32 = 12;
    for unprivileged in [false, true] {
        let run = move || {
            veth_pair();
            if unprivileged {
                // What locks memory takes the right or the limit.
                keep_only(CapabilitySet::NET_RAW | CapabilitySet::IPC_LOCK);
            }
            let (free, page) = huge_pages();
            let asked = layout().frames() - 1;
            let layout = Layout::builder().frames(asked).rings(256).build().unwrap();
            let with = |huge_pages| create(&Request { layout, huge_pages, ..on_left(BindRequest::Copy) });
            (free, page, asked, with(HugePages::Require), with(HugePages::Prefer))
        };
        let (free, _, _, required, preferred) = thread::spawn(run).join().unwrap();
        if free == 0 {
            let error = required.unwrap_err();
            assert!(matches!(error, CreateError::Umem { .. }) && errno_of(&error) == Some(ENOMEM), "{error:?}");
            assert!(error.hint().unwrap().contains("nr_hugepages"), "{error:?}");
            let Created { socket, attempts, .. } = preferred.unwrap();
            assert_eq!((attempts[0].step, attempts[0].errno), ("huge-pages", Some(ENOMEM)), "{attempts:?}");
            assert_eq!((socket.layout().frames(), socket.layout().huge_pages()), (511, false));
        }
        let surplus = Surplus::of(2);
        let (_, page, asked, required, preferred) = thread::spawn(run).join().unwrap();
        for made in [required, preferred] {
            // The second finds the queue taken, and reports that before anything about pages.
            let Created { mut socket, attempts, .. } = match made {
                Err(CreateError::QueueTaken { .. }) => continue,
                made => made.unwrap(),
            };
            assert_eq!((attempts[0].step, attempts[0].errno), ("huge-pages", None), "{attempts:?}");
            let layout = *socket.layout();
            assert!(layout.huge_pages() && layout.umem_bytes() == page && layout.frames() > asked, "{layout:?}");
            transmit_numbered(&mut socket, 200);
            complete_all(&mut socket);
            // Its file is mapped anew, whole.
            let donation = socket.donate().unwrap();
            assert_eq!(rustix::fs::fstat(&donation.umem).unwrap().st_size as u64, page);
            let mut socket = Socket::adopt(donation).unwrap();
            let all: Vec<_> = std::iter::from_fn(|| socket.allocate()).collect();
            assert_eq!(all.len() as u64 * 2048, page);
            for mut frame in all {
                fill_in(&socket, &mut frame, 7);
                socket.release(frame);
            }
            all_free(&socket);
        }
        drop(surplus);
    }
}

#[test]
fn frames_in_several_chunks_are_granted_in_copy_mode() {
    veth_pair();
    for unprivileged in [false, true] {
        let run = move || {
            if unprivileged {
                keep_only(CapabilitySet::NET_RAW);
            }
            let layout = Layout::builder().frames(512).rings(256).multi_buffer(true).build().unwrap();
            let request = Request { layout, ..on_left(BindRequest::Automatic) };
            let Created { socket, obtained, attempts } = create(&request).unwrap();
            assert_eq!((obtained, socket.layout().multi_buffer()), (BindMode::Copy, true));
            assert!(attempts[0].why.contains("several chunks"), "{attempts:?}");
            socket.close();
        };
        thread::spawn(run).join().unwrap();
    }
}

#[test]
fn a_second_socket_shares_the_umem_of_the_first_and_outlives_it() {
    veth_pair();
    ip("link add other type veth peer name another");
    ip("link set other addrgenmode none up");
    ip("link set another addrgenmode none up");
    let mut first = copy_socket();
    first.prime().unwrap();
    let duplicate = first.as_fd().try_clone_to_owned().unwrap();
    let in_fill: Vec<u32> = (300..364).collect();
    let request = SharedRequest {
        device: "other",
        queue: QueueId(0),
        first: duplicate.as_fd(),
        bind: BindMode::Copy,
        layout: Layout::builder().frames(512).rings(128).build().unwrap(),
        in_fill: &in_fill,
    };
    let mut second = create_shared(&request).unwrap();
    assert_eq!((second.attempts[0].step, second.attempts[0].errno), ("shared-umem", None));
    assert_eq!((second.turn_back().unwrap(), second.turned_back()), (Vec::new(), 0));

    // The first's own queue has its rings.
    let error = create_shared(&SharedRequest { device: "left", ..request }).unwrap_err();
    assert!(matches!(error, CreateError::Refused { call: "bind", .. }), "{error:?}");
    let error = create_shared(&request).unwrap_err();
    assert!(matches!(error, CreateError::QueueTaken { .. }), "{error:?}");
    for (chunks, slots) in [(vec![512], 128), (vec![3, 3], 128), ((0..65).collect(), 64)] {
        let layout = Layout::builder().frames(512).rings(slots).build().unwrap();
        let error = create_shared(&SharedRequest { in_fill: &chunks, layout, ..request }).unwrap_err();
        let told = matches!(error, CreateError::Adopt(AdoptError::FillChunk { .. }) | CreateError::FillTooSmall { .. });
        assert!(told, "{chunks:?}: {error:?}");
    }

    // The second is adopted with what it was given, and sends when the first, its device and its memory's mapping are
    // gone.
    let umem = first.umem_fd().try_clone_to_owned().unwrap();
    first.close();
    ip("link del left");
    let SharedSocket { xsk, layout, in_fill, bind, .. } = second;
    let donation = xsknet_xsk::Donation { xsk, umem, layout, in_fill, bind, counters: Default::default() };
    let mut second = Socket::adopt(donation).unwrap();
    assert_eq!(second.chunks(), ChunkCounts { free: 448, held: 0, fill: 64, tx: 0, total: 512 });
    transmit_numbered(&mut second, 100);
    complete_all(&mut second);
    assert_eq!(second.statistics().unwrap().tx_invalid_descs, 0);
    assert_eq!(second.close().free, 512);

    let error = create_shared(&request).unwrap_err();
    assert!(matches!(error, CreateError::UmemGone { .. }) && error.hint().is_some(), "{error:?}");
}
