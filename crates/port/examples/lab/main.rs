//! The lab for programs in other languages: builds it, says where it is, and takes orders, all in lines of JSON on
//! standard input and output. It lives as long as its standard input, so that a test that is killed takes its lab
//! along, and then removes what the test's daemons left behind.
//!
//! ```text
//! lab --prefix lab- [--mtu 1500] [--no-far-gro]
//! {"pid":7,"instances":"lab-7-","folder":"/tmp/xsknet-lab-…","host":"/proc/7/fd/3","remote":"/proc/7/fd/4",…}
//! > {"id":1,"do":"udpEcho","to":"192.0.2.10","lengths":[1,1472]}
//! < {"id":1,"done":{"identical":2,"seconds":0.0004}}
//! ```
//!
//! Orders are carried out side by side, each answered when it is done. Names of instances begin with `prefix`, the
//! lab's process id and a dash; what an earlier lab of this prefix could not sweep, since it was killed itself, is
//! swept first.

mod bench;
mod orders;
mod traffic;

use std::collections::BTreeSet;
use std::io::{BufRead as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::PermissionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize as _;
use serde_json::{Value, json};
use xsknet_port::{PRIVATE_PREFIX, Places, any_here, sweep_dead, sweep_dead_here};
use xsknet_testkit::{Lab, Machine, Wire};

use crate::bench::{Bench, Result, Run};
use crate::orders::{Order, carry_out};

/// How long a daemon that was killed with its test may take to be dead.
const DYING: Duration = Duration::from_secs(3);

fn main() -> Result<()> {
    let Options { prefix, wire } = Options::parse(std::env::args().skip(1))?;
    sweep_earlier(&prefix)?;

    let bench = Bench::new(Lab::new(wire)?, instances_of(&prefix, std::process::id()))?;
    let Bench { lab, instances, .. } = &bench;
    let folder = tempfile::Builder::new().prefix("xsknet-lab-").tempdir()?;
    // Programs without privileges are staged in it, whatever the umask.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    say(&json!({
        "pid": std::process::id(),
        "instances": instances,
        "folder": folder.path(),
        "host": namespace_of(&lab.host),
        "remote": namespace_of(&lab.remote),
        "cardMac": lab.card_mac().to_string(),
        "farMac": lab.far_mac().to_string(),
    }));

    let bench = Arc::new(bench);
    for line in std::io::stdin().lock().lines() {
        let order: Value = serde_json::from_str(&line?).unwrap_or_default();
        // Known from here on: the next line may ask for its progress.
        let run = bench.begin(order["id"].as_u64().unwrap_or_default());
        let bench = Arc::clone(&bench);
        std::thread::spawn(move || say(&answer(&bench, &run, order)));
    }
    sweep_own(&bench)
}

/// The testkit panics where a lab cannot go on; here that is an answer like any other.
fn answer(bench: &Bench, run: &Run, order: Value) -> Value {
    let id = order["id"].clone();
    let attempt = || match Order::deserialize(&order) {
        Ok(what) => carry_out(bench, run, what),
        Err(error) => Err(format!("`{order}` is not an order: {error}").into()),
    };
    match catch_unwind(AssertUnwindSafe(attempt)) {
        Ok(Ok(done)) => json!({ "id": id, "done": done }),
        Ok(Err(error)) => json!({ "id": id, "error": error.to_string() }),
        Err(panic) => {
            let message = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            json!({ "id": id, "error": message.unwrap_or("the order panicked") })
        }
    }
}

/// One line at a time; nobody may be listening any more.
fn say(what: &Value) {
    let _ = writeln!(std::io::stdout().lock(), "{what}");
}

fn namespace_of(machine: &Machine) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), machine.namespace().as_fd().as_raw_fd())
}

/// Leaves alone what belongs to labs that stand: a test of theirs may have killed its daemon to see what comes of it.
fn sweep_earlier(prefix: &str) -> Result<()> {
    let places = Places::default();
    let labs: BTreeSet<u32> = names_in(&places.run).filter_map(|name| lab_of(&name, prefix)).collect();
    for lab in labs.into_iter().filter(|lab| !Path::new(&format!("/proc/{lab}")).exists()) {
        sweep_dead(&places, &instances_of(prefix, lab))?;
    }
    Ok(())
}

/// Undoes what this lab's daemons left, once they are dead.
fn sweep_own(Bench { lab, instances, .. }: &Bench) -> Result<()> {
    let places = Places::default();
    let end = Instant::now() + DYING;
    loop {
        // Their journals name the lab's own interface.
        lab.host.enter(|| sweep_dead(&places, instances))?;
        // Those that were opened without a name.
        for (_, swept) in lab.host.enter(|| sweep_dead_here(&places, PRIVATE_PREFIX)) {
            swept?;
        }
        let left = names_in(&places.run).any(|name| name.starts_with(instances.as_str()))
            || lab.host.enter(|| any_here(&places, PRIVATE_PREFIX))?;
        if !left || Instant::now() > end {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How the names of a lab's instances begin. The dash ends the number: lab 12 is not lab 123.
fn instances_of(prefix: &str, lab: u32) -> String {
    format!("{prefix}{lab}-")
}

fn lab_of(name: &str, prefix: &str) -> Option<u32> {
    name.strip_prefix(prefix)?.split_once('-')?.0.parse().ok()
}

fn names_in(run: &Path) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(run).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

struct Options {
    prefix: String,
    wire: Wire,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut prefix = None;
        let mut wire = Wire::default();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--prefix" => prefix = Some(value()?),
                "--mtu" => wire.mtu = value()?.parse()?,
                "--no-far-gro" => wire.far_gro = false,
                other => return Err(format!("`{other}` is not an option of the lab").into()),
            }
        }
        let prefix =
            prefix.filter(|prefix| !prefix.is_empty()).ok_or("--prefix is needed: it tells what may be swept")?;
        Ok(Self { prefix, wire })
    }
}
