//! Test runs side by side on one machine. `npm test` starts several, and [`VARIABLE`] tells all programs of each which
//! it is: `<run>/<lane>`. Devices, files and names are a lane's own, but BPF objects have one list for the whole
//! machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

const VARIABLE: &str = "XSKNET_TEST_LANE";

/// How long an object of another lane may be without a descriptor in any process, as while a test has killed a daemon
/// and starts the next.
pub(crate) const DETACHED: Duration = Duration::from_secs(30);

/// One of several test runs at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lane {
    run: String,
    name: String,
}

impl Lane {
    /// The one that this process is of.
    pub(crate) fn own() -> Option<Self> {
        Self::parse(&std::env::var(VARIABLE).ok()?)
    }

    pub(crate) fn parse(value: &str) -> Option<Self> {
        let (run, name) = value.split_once('/')?;
        Some(Self { run: run.into(), name: name.into() })
    }

    /// A process may end while it is read.
    fn of(process: &Path) -> Option<Self> {
        let environment = fs::read(process.join("environ")).ok()?;
        let mut variables = environment.split(|byte| *byte == 0);
        let value = variables.find_map(|variable| variable.strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"="))?;
        Self::parse(str::from_utf8(value).ok()?)
    }

    /// The BPF objects that programs of the run's other lanes have descriptors of, and the maps that these keep alive.
    ///
    /// # Panics
    /// Where the kernel does not tell.
    pub(crate) fn objects_of_others(&self) -> BTreeSet<(&'static str, u32)> {
        let mut objects = BTreeSet::new();
        for process in fs::read_dir("/proc").expect("/proc is mounted").flatten() {
            let process = process.path();
            if Self::of(&process).is_some_and(|lane| lane.run == self.run && lane.name != self.name) {
                add_objects(&process, &mut objects);
            }
        }
        let ids = |wanted| objects.iter().filter(|(kind, _)| *kind == wanted).map(|(_, id)| *id).collect();
        let maps = xsknet_bpf::maps_reached_from(&ids("program"), ids("map"));
        objects.extend(maps.into_iter().map(|map| ("map", map)));
        objects
    }
}

fn add_objects(process: &Path, objects: &mut BTreeSet<(&'static str, u32)>) {
    for descriptor in fs::read_dir(process.join("fdinfo")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(descriptor.path()).unwrap_or_default();
        objects.extend(text.lines().filter_map(|line| {
            let (key, id) = line.split_once(':')?;
            let kind = match key {
                "prog_id" => "program",
                "map_id" => "map",
                "link_id" => "link",
                _ => return None,
            };
            Some((kind, id.trim().parse().ok()?))
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Command, Stdio};

    use xsknet_bpf::PortProgram;

    use super::*;

    const LOADED: &str = "loaded";

    /// A process of a lane that has a program and its maps until its standard input ends.
    fn in_lane(lane: &str) -> (Child, BTreeSet<(&'static str, u32)>) {
        let exe = std::env::current_exe().expect("a test has a program");
        let mut child = Command::new(exe)
            .args(["--exact", "lane::tests::what_other_lanes_of_the_run_use_is_told", "--nocapture"])
            .env(VARIABLE, lane)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let stdout = BufReader::new(child.stdout.as_mut().expect("piped"));
        assert!(stdout.lines().map_while(Result::ok).any(|line| line.ends_with(LOADED)), "the child ended");
        let mut objects = BTreeSet::new();
        add_objects(Path::new(&format!("/proc/{}", child.id())), &mut objects);
        (child, objects)
    }

    #[test]
    fn what_other_lanes_of_the_run_use_is_told() {
        if std::env::var(VARIABLE).is_ok_and(|lane| lane.starts_with("told/")) {
            let _program = PortProgram::load(None).expect("a program");
            println!("{LOADED}");
            std::io::stdin().lines().for_each(drop);
            return;
        }
        let own = Lane::parse("told/own").expect("a lane");
        let (mut other, theirs) = in_lane("told/other");
        let (mut same, ours) = in_lane("told/own");
        for objects in [&theirs, &ours] {
            let kinds: BTreeSet<_> = objects.iter().map(|(kind, _)| *kind).collect();
            assert_eq!(kinds, BTreeSet::from(["map", "program"]), "{objects:?}");
        }
        let told = own.objects_of_others();
        assert!(theirs.is_subset(&told), "{theirs:?}, told were {told:?}");
        assert!(ours.is_disjoint(&told), "{ours:?}, told were {told:?}");
        assert_eq!(Lane::parse("another-run/own").expect("a lane").objects_of_others(), BTreeSet::new());
        for child in [&mut other, &mut same] {
            drop(child.stdin.take());
            assert!(child.wait().expect("a child").success());
        }
    }
}
