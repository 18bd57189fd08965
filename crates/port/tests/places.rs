//! Who reaches what an instance keeps in `/run` and in bpffs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use crate::common::*;
use rustix::fs::Mode as FileMode;
use xsknet_bpf::Mode;
use xsknet_testkit::on_fresh_mounts;

/// Any user without rights: nobody.
const NOBODY: [&str; 4] = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"];

fn mode(path: &str) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{path}: {error}")).permissions().mode() & 0o777
}

#[test]
fn any_user_reaches_the_control_socket_and_root_alone_the_rest() {
    on_fresh_mounts(|| {
        // The mask of this thread and those that it starts: mounts of a thread's own come with that.
        rustix::process::umask(FileMode::from_raw_mode(0o077));
        let stage = Stage::plain();
        let instance = stage.open();
        let uplink = manage(&instance, Mode::Native);
        let open = port(&uplink, 0);
        let of = |end: &str| format!("/run/xsknet/{}{end}", stage.name());
        let (socket, journal, lock) = (of(".sock"), of(".journal"), of(".lock"));
        let _listener = UnixListener::bind(&socket).expect("a socket");
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("a daemon lets all users connect");

        assert_eq!(mode("/run/xsknet"), 0o755);
        for file in [&journal, &lock, "/run/xsknet/.bpffs.mounted"] {
            assert_eq!(mode(file), 0o600, "{file}");
        }
        for folder in [&of(""), "/sys/fs/bpf/xsknet"] {
            assert_eq!(mode(folder), 0o700, "{folder}");
        }
        let nobody = |test: &str, path: &str| {
            let arguments = [&NOBODY[..], &["test", test, path]].concat();
            stage.lab.host.run("setpriv", &arguments).status.code()
        };
        let pin = format!("/sys/fs/bpf/xsknet/{}/v1", stage.name());
        assert_eq!(nobody("-w", &socket), Some(0));
        for hidden in [&of("/netns"), &journal, &lock, &pin] {
            assert_eq!(nobody("-r", hidden), Some(1), "{hidden}");
        }
        close(open);
        instance.close().expect("closing undoes everything");
    });
}
