//! Namespaces: made, entered, kept, told apart.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process;

use xsknet_link::{Links, Netns, NetnsError};

/// A path under the temporary folder that is free again after the test, whatever is mounted there.
struct Spot(PathBuf);

impl Spot {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("xsknet-link-{}-{name}", process::id())))
    }
}

impl Drop for Spot {
    fn drop(&mut self) {
        let _ = Netns::unbind(&self.0);
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn creating_a_namespace_leaves_the_caller_where_it_was() {
    let before = Netns::current().unwrap().identity().unwrap();
    let made = Netns::create().unwrap();
    assert_ne!(made.identity().unwrap(), before);
    assert_eq!(Netns::current().unwrap().identity().unwrap(), before);
}

#[test]
fn work_runs_inside_with_the_callers_mounts_and_the_caller_stays_outside() {
    let made = Netns::create().unwrap();
    let before = Netns::current().unwrap().identity().unwrap();
    let mounts = || fs::read_link("/proc/thread-self/ns/mnt").unwrap();
    let (inside, mounts_inside, devices) = made
        .run(|| (Netns::current().unwrap().identity().unwrap(), mounts(), Links::here().unwrap().list().unwrap()))
        .unwrap();
    assert_eq!(inside, made.identity().unwrap());
    assert_eq!(mounts_inside, mounts());
    // lo, and where the kernel makes them the tunnels of each namespace; no NIC.
    assert!(devices.iter().any(|device| device.name.as_str() == "lo"));
    assert!(devices.iter().all(|device| !device.up && device.kind.as_deref() != Some("veth")), "{devices:?}");
    assert_eq!(Netns::current().unwrap().identity().unwrap(), before);
}

#[test]
#[should_panic(expected = "inside")]
fn a_panic_inside_goes_through() {
    let _ = Netns::create().unwrap().run(|| panic!("inside"));
}

#[test]
fn only_a_network_namespace_is_taken_for_one() {
    let open = |path: &str| OwnedFd::from(File::open(path).unwrap());
    let same = Netns::from_fd(open("/proc/thread-self/ns/net")).unwrap();
    assert_eq!(same.identity().unwrap(), Netns::current().unwrap().identity().unwrap());

    let (pipe, _writer) = io::pipe().unwrap();
    for (fd, what) in [
        (open("/proc/self/exe"), "a file of device"),
        (open("/"), "a file of device"),
        (OwnedFd::from(pipe), "a file of device"),
        (open("/proc/thread-self/ns/mnt"), "a namespace of type 0x20000"),
        (open("/proc/thread-self/ns/uts"), "a namespace of type 0x4000000"),
    ] {
        match Netns::from_fd(fd) {
            Err(NetnsError::NotANamespace { found }) => assert!(found.contains(what), "{found}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_kept_namespace_outlives_its_descriptor() {
    let spot = Spot::new("kept");
    let made = Netns::create().unwrap();
    let identity = made.identity().unwrap();
    made.bind_to(&spot.0).unwrap();
    drop(made);

    let again = Netns::open(&spot.0).unwrap();
    assert_eq!(again.identity().unwrap(), identity);
    again.run(|| ()).unwrap();

    Netns::unbind(&spot.0).unwrap();
    assert!(!spot.0.exists());
    Netns::unbind(&spot.0).unwrap();
}

#[test]
fn a_taken_path_is_left_alone() {
    let spot = Spot::new("taken");
    fs::write(&spot.0, "something else").unwrap();
    let made = Netns::create().unwrap();
    match made.bind_to(&spot.0) {
        Err(error @ NetnsError::Bind { .. }) => assert!(error.hint().is_some_and(|hint| hint.contains("path"))),
        other => panic!("{other:?}"),
    }
    assert!(matches!(Netns::unbind(&spot.0), Err(NetnsError::Unbind { .. })));
    assert!(matches!(Netns::open(&spot.0), Err(NetnsError::NotANamespace { .. })));
    assert_eq!(fs::read_to_string(&spot.0).unwrap(), "something else");
}

#[test]
fn a_path_whose_mount_was_cut_off_or_doubled_is_removed() {
    let spot = Spot::new("half");
    fs::write(&spot.0, "").unwrap();
    Netns::unbind(&spot.0).unwrap();
    assert!(!spot.0.exists());

    let made = Netns::create().unwrap();
    made.bind_to(&spot.0).unwrap();
    rustix::mount::mount_bind(&spot.0, &spot.0).unwrap();
    Netns::unbind(&spot.0).unwrap();
    assert!(!spot.0.exists());
}
