//! `left_behind FILE` ends with 1 where a BPF object still exists that a test left, and names both. The file is what
//! `XSKNET_BESIDE_TESTS` named for tests that ran at the same time. Once all have ended, nothing of it may exist.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use xsknet_testkit::left_objects;

/// BPF objects vanish within two seconds of their last user.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let file = std::env::args_os().nth(1).expect("a file");
    let lines = left_objects(Path::new(&file)).expect("the file can be read");
    let end = Instant::now() + PATIENCE;
    loop {
        let there: BTreeSet<String> = xsknet_bpf::object_ids()
            .expect("root may list BPF objects")
            .into_iter()
            .map(|(kind, id)| format!("{kind} {id} "))
            .collect();
        let left: Vec<&String> =
            lines.iter().filter(|line| there.iter().any(|object| line.starts_with(object))).collect();
        if left.is_empty() {
            println!("{} BPF objects were left for a while; none is there any more", lines.len());
            return ExitCode::SUCCESS;
        }
        if Instant::now() >= end {
            for line in left {
                println!("still there: BPF {line}");
            }
            return ExitCode::FAILURE;
        }
        thread::sleep(Duration::from_millis(50));
    }
}
