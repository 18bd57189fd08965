//! A test that runs its own program once more, as a process that may be killed.
//!
//! The child is the same test function in a child process: it finds its role at once, and plays it.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::{Signal, getpid, kill_process};
use xsknet_bpf::Mode;
use xsknet_port::{Instance, InstanceOptions, Observer, Port, PortSpec, Step, Uplink, parse_groups};
use xsknet_testkit::{Machine, Running, port_addresses};

use super::{manage, options};

const ROLE: &str = "XSKNET_LAB_CHILD";

/// What a parent asks of its child.
#[derive(Debug, Clone)]
pub struct Role {
    /// Name of the instance to open.
    pub instance: String,
    /// The step before which the child kills itself, counted from 0.
    pub killed_at: usize,
}

/// How a child ended that was to kill itself.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// At the step that it wrote last.
    Killed(String),
    /// It came to its end before the step.
    Survived,
}

impl Role {
    /// A role that is not killed.
    pub fn new(instance: &str) -> Self {
        Self { instance: instance.into(), killed_at: usize::MAX }
    }

    pub fn killed_at(self, killed_at: usize) -> Self {
        Self { killed_at, ..self }
    }

    /// The role of this process; `None` in the parent.
    pub fn mine() -> Option<Self> {
        let text = std::env::var(ROLE).ok()?;
        let (instance, killed_at) = text.split_once(' ').expect("a name and a number");
        Some(Self { instance: instance.into(), killed_at: killed_at.parse().expect("a number") })
    }

    /// Ends the process, as `kill -9` does, at the step; those do not count during which `counts` is false.
    fn observer(&self, counts: Arc<AtomicBool>) -> Observer {
        let (killed_at, steps) = (self.killed_at, AtomicUsize::new(0));
        Arc::new(move |step: &Step| {
            if counts.load(Ordering::SeqCst) && steps.fetch_add(1, Ordering::SeqCst) == killed_at {
                kill_at(&format!("{step:?}"));
            }
        })
    }

    /// The instance that the role is about.
    pub fn open(&self) -> Instance {
        self.open_counted(Arc::new(true.into()))
    }

    /// The same, where not all steps count.
    pub fn open_counted(&self, counts: Arc<AtomicBool>) -> Instance {
        let options = InstanceOptions { observer: Some(self.observer(counts)), ..options(&self.instance) };
        Instance::open(options).expect("an instance")
    }

    /// Plays the part of a process that is killed at work, with two ports open.
    pub fn work_until_killed(&self) -> ! {
        let instance = self.open();
        let uplink = manage(&instance, Mode::Native);
        let _ports = two_ports(&uplink);
        kill_at(AT_WORK);
    }

    /// Has a child killed at work.
    #[track_caller]
    pub fn crash(&self, machine: &Machine) {
        assert_eq!(self.play(machine), Ended::Killed(AT_WORK.into()));
    }

    /// Plays it on `machine`, in a child process that runs the calling test alone, to its end.
    #[track_caller]
    pub fn play(&self, machine: &Machine) -> Ended {
        let finished = machine.run("env", &self.command());
        match finished.status.signal() {
            Some(9) => {
                let told = finished.stderr.lines().find_map(|line| line.strip_prefix(KILLED));
                Ended::Killed(told.expect("a child tells what kills it").into())
            }
            _ => {
                let output = finished.expect("the child");
                assert!(output.contains("1 passed"), "the child did not find its role:\n{output}");
                Ended::Survived
            }
        }
    }

    /// Starts it.
    pub fn start(&self, machine: &Machine) -> Running {
        machine.spawn("env", &self.command())
    }

    fn command(&self) -> Vec<String> {
        // The harness names a test's thread after it.
        let test = std::thread::current().name().expect("the thread of a test").to_owned();
        let exe = std::env::current_exe().expect("a test has a program");
        let role = format!("{ROLE}={} {}", self.instance, self.killed_at);
        let exe = exe.to_str().expect("a path of the build").to_owned();
        [&role, &exe, "--exact", &test, "--nocapture", "--test-threads=1"].map(str::to_owned).into()
    }
}

/// A port in a VLAN, and one without and with two queues, of both IP versions, whose MACs are the same in every run.
pub fn two_ports(uplink: &Uplink) -> [Port; 2] {
    let options = |name: &str, n| PortSpec { name: Some(name.into()), ..PortSpec::new(port_addresses(n)) };
    let [six, others] = [vec!["ff02::fb"], vec!["broadcast", "224.0.0.251", "01:80:c2:00:00:0e"]].map(|groups| {
        let texts: Vec<_> = groups.into_iter().map(str::to_owned).collect();
        parse_groups(&texts).expect("groups")
    });
    let tagged = PortSpec { vlan: Some(42), groups: six, ..options("tagged", 0) };
    [tagged, PortSpec { queues: 2, groups: others, ..options("plain", 1) }]
        .map(|options| uplink.open_port(options).expect("a port"))
}

const KILLED: &str = "killed at ";
const AT_WORK: &str = "work";

/// `kill -9` on this very process, which tells its parent where.
pub fn kill_at(step: &str) -> ! {
    eprintln!("{KILLED}{step}");
    let _ = kill_process(getpid(), Signal::KILL);
    unreachable!("SIGKILL is delivered before the call returns");
}
