//! A client names the namespace that its port's device is to be in. It may name one that is its own: another would get
//! a device, with an address and the traffic of another user, that was not requested there.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::common::attack::*;
use crate::common::*;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use xsknet_bpf::Mode;
use xsknet_link::{Device, LinkStats, Links, Netns, NetnsError};
use xsknet_port::{OpenPortError, PinnedPort, Uplink};
use xsknet_testkit::{Machine, on_fresh_mounts};

/// Another user than the client's.
const SOMEBODY: u32 = 65_533;

/// A process of a user that has made itself a user namespace, and a network namespace inside. It ends with what holds
/// it.
struct Inhabitant(Child);

impl Inhabitant {
    fn of(uid: u32) -> Self {
        Self::with(uid, &[])
    }

    /// In a user namespace inside the user's own.
    fn nested(uid: u32) -> Self {
        Self::with(uid, &["unshare", "--user", "--net", "--map-root-user"])
    }

    fn with(uid: u32, inside: &[&str]) -> Self {
        let id = uid.to_string();
        let own = ["--reuid", &id, "--regid", &id, "--clear-groups", "unshare", "--user", "--net", "--map-root-user"];
        // It reads until the test lets go of its input, however that ends.
        let waits = ["sh", "-c", "echo ready && exec cat"];
        let mut command = Command::new("setpriv");
        command.args(own).args(inside).args(waits).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("util-linux is installed");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n", "the kernel makes no user namespaces for users");
        Self(child)
    }

    fn path(&self, kind: &str) -> PathBuf {
        format!("/proc/{}/ns/{kind}", self.0.id()).into()
    }

    fn namespace(&self) -> Netns {
        Netns::open(&self.path("net")).expect("its namespace")
    }
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn inside(namespace: &Netns) -> Vec<Device> {
    let mut all = Links::in_namespace(namespace).expect("a socket").list().expect("a list");
    for device in &mut all {
        device.stats = LinkStats::default();
    }
    all
}

fn try_in(uplink: &Uplink, uid: u32, own: &Netns, namespace: &Netns) -> Result<PinnedPort, OpenPortError> {
    uplink.open_pinned(pinned_options(0), client_with(uid, own, duplicate(namespace)))
}

#[test]
fn a_namespace_that_is_not_the_clients_is_refused_and_gets_no_device() {
    on_fresh_mounts(|| {
        let (stage, clients, others) = (Stage::plain(), client_machine(), client_machine());
        let before = stage.snapshot();
        let (somebody, nested) = (Inhabitant::of(SOMEBODY), Inhabitant::nested(SOMEBODY));
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let here = Netns::current().expect("a namespace");
        let ports = stage.inside();
        let cases = [
            ("the host's", duplicate(stage.lab.host.namespace())),
            ("the far end's", duplicate(stage.lab.remote.namespace())),
            ("the machine's first", here),
            ("the ports' own", ports),
            ("another client's, of the first user namespace", duplicate(others.namespace())),
            ("another user's", somebody.namespace()),
            ("another user's, nested", nested.namespace()),
        ];
        let mut accepted = Vec::new();
        for (what, namespace) in &cases {
            // The machine's own devices come and go.
            let devices_before = inside(namespace).len();
            match try_in(&uplink, NOBODY, clients.namespace(), namespace) {
                Ok(port) => {
                    accepted.push(*what);
                    port.close().expect("closing undoes everything");
                }
                Err(error) => {
                    assert!(matches!(error, OpenPortError::NamespaceInvalid { .. }), "{what}: {error:?}");
                    assert_tells(&error, &["namespace"]);
                    assert!(error.hint().is_some_and(|hint| hint.contains("/proc/self/ns/net")), "{what}: {error:?}");
                    assert_eq!(inside(namespace).len(), devices_before, "{what}");
                }
            }
        }
        // What was refused takes nothing from who asks for what it may have.
        let port = try_in(&uplink, NOBODY, clients.namespace(), clients.namespace()).expect("its own");
        port.close().expect("closing undoes everything");
        instance.close().expect("closing undoes everything");
        stage.assert_as_before(&before);
        assert!(accepted.is_empty(), "accepted: {accepted:?}");
    });
}

#[test]
fn a_namespace_of_the_clients_own_is_accepted() {
    on_fresh_mounts(|| {
        let (stage, clients) = (Stage::plain(), client_machine());
        let before = stage.snapshot();
        let (own, nested) = (Inhabitant::of(NOBODY), Inhabitant::nested(NOBODY));
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let host = stage.lab.host.namespace();
        let cases = [
            ("its own, of the first user namespace", NOBODY, clients.namespace(), duplicate(clients.namespace())),
            ("the host's, where it is", NOBODY, host, duplicate(host)),
            ("of its own user namespace", NOBODY, host, own.namespace()),
            ("of a user namespace inside its own", NOBODY, host, nested.namespace()),
            ("any user's, for root", 0, host, duplicate(clients.namespace())),
            ("another user's, for root", 0, host, own.namespace()),
        ];
        for (what, uid, own, namespace) in &cases {
            let devices_before = inside(namespace);
            let port = try_in(&uplink, *uid, own, namespace).unwrap_or_else(|error| panic!("{what}: {error:?}"));
            let name = port.pin().device.clone();
            assert!(has_device(&Links::in_namespace(namespace).expect("a socket"), &name), "{what}");
            port.close().expect("closing undoes everything");
            assert!(inside(namespace).iter().eq(&devices_before), "{what}");
        }
        instance.close().expect("closing undoes everything");
        drop((own, nested));
        stage.assert_as_before(&before);
    });
}

/// What is sent in the place of a namespace.
#[test]
fn what_is_no_network_namespace_is_refused_before_anything_is_made() {
    let machine = Machine::new("client").expect("a machine");
    let own = Inhabitant::of(NOBODY);
    let file = |path: &str| OwnedFd::from(File::open(path).expect("a file"));
    let (one, other) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("a pair of sockets");
    let mut cases = vec![
        ("a device file", file("/dev/null")),
        ("a folder", file("/")),
        ("a file of /proc", file("/proc/self/status")),
        ("a file of /sys", file("/sys/kernel/mm/transparent_hugepage/enabled")),
        ("a socket", one),
        ("a program", file("/proc/self/exe")),
    ];
    for kind in ["user", "mnt", "pid", "uts", "ipc", "cgroup"] {
        cases.push(("another kind of namespace of its own", File::open(own.path(kind)).expect("a namespace").into()));
        cases.push(("another kind of namespace of ours", file(&format!("/proc/self/ns/{kind}"))));
    }
    for (what, descriptor) in cases {
        let error = Netns::from_fd(descriptor).expect_err(what);
        assert!(matches!(&error, NetnsError::NotANamespace { found } if !found.is_empty()), "{what}: {error:?}");
    }
    drop(other);
    Netns::from_fd(machine.namespace().as_fd().try_clone_to_owned().expect("a descriptor")).expect("a namespace");
}
