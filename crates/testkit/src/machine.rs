//! A network namespace that stands for a machine, and real programs run inside it.

use std::ffi::OsStr;
use std::io::{self, BufRead as _, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use xsknet_link::{Links, Netns};

use crate::device::device;
use crate::lab_error::LabError;
use crate::responder::ECHO_PORT;

/// No program of a test runs longer: a killed test cannot end it, so `timeout(1)` does.
const LIFETIME: &str = "300";

/// One namespace of a lab. It is held by file descriptor alone, so it is gone with the process, however that ends.
#[derive(Debug)]
pub struct Machine {
    name: &'static str,
    namespace: Netns,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All that it wrote to its standard output.
    pub stdout: String,
    /// All that it wrote to its standard error.
    pub stderr: String,
}

impl Finished {
    /// The output of a program that succeeded.
    ///
    /// # Panics
    /// Shows what the program wrote where it did not.
    #[track_caller]
    pub fn expect(self, what: &str) -> String {
        assert!(self.status.success(), "{what}: {}\n{}{}", self.status, self.stdout, self.stderr);
        self.stdout
    }
}

impl Machine {
    /// A machine without any device but its loopback, which is up.
    ///
    /// # Errors
    /// The kernel's, where a namespace is refused.
    pub fn new(name: &'static str) -> Result<Self, LabError> {
        let namespace = Netns::create()?;
        furnish(&namespace, None)?;
        Ok(Self { name, namespace })
    }

    /// What the pictures call it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Netns {
        &self.namespace
    }

    /// Its devices.
    ///
    /// # Panics
    /// Where netlink is not to be had.
    pub fn links(&self) -> Links {
        Links::in_namespace(&self.namespace).expect("a netlink socket in a namespace of the lab")
    }

    /// Runs a closure on a thread inside the machine.
    ///
    /// # Panics
    /// Where the namespace cannot be entered.
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.namespace.run(work).expect("a thread inside a namespace of the lab")
    }

    /// Runs a program to its end.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn run<S: AsRef<OsStr> + Sync>(&self, program: &str, arguments: &[S]) -> Finished {
        let output = self.enter(|| Self::command(program, arguments).output());
        let output = output.unwrap_or_else(|error| panic!("cannot run {program} on {}: {error}", self.name));
        Finished {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts a program; it is killed when what this returns is dropped.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn spawn<S: AsRef<OsStr> + Sync>(&self, program: &str, arguments: &[S]) -> Running {
        let child =
            self.enter(|| Self::command(program, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn());
        let child = child.unwrap_or_else(|error| panic!("cannot start {program} on {}: {error}", self.name));
        Running::new(program, child)
    }

    /// Sends `payload` to a machine's echo port over UDP, from a socket of this machine's kernel, and returns what came
    /// back within a second.
    ///
    /// # Errors
    /// The socket's; `WouldBlock` where nothing came, `InvalidData` where another host answered.
    pub fn udp_echo(&self, to: IpAddr, payload: &[u8]) -> io::Result<Vec<u8>> {
        self.enter(|| {
            let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let socket = UdpSocket::bind((any, 0))?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            socket.send_to(payload, (to, ECHO_PORT))?;
            let mut answer = vec![0; 65_536];
            let (length, from) = socket.recv_from(&mut answer)?;
            if from != SocketAddr::new(to, ECHO_PORT) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            answer.truncate(length);
            Ok(answer)
        })
    }

    /// A child process starts in the network namespace of the thread that forks.
    fn command<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=1", LIFETIME, program]).args(arguments).stdin(Stdio::null()).env("LC_ALL", "C");
        command
    }
}

/// Makes a machine of a new namespace: its loopback is up, with `mark` for its alias.
pub(crate) fn furnish(namespace: &Netns, mark: Option<&str>) -> Result<(), LabError> {
    // Addresses are used at once, and a lab's addresses are unique by construction.
    let no_probes = || {
        ["all", "default"].iter().try_for_each(|which| {
            let path = PathBuf::from(format!("/proc/sys/net/ipv6/conf/{which}/accept_dad"));
            std::fs::write(&path, "0").map_err(|cause| LabError::Io { attempt: "write to", path, cause })
        })
    };
    namespace.run(no_probes).map_err(LabError::Enter)??;
    let links = Links::in_namespace(namespace)?;
    let lo = links.by_name(&device("lo"))?;
    links.set_up(lo.index)?;
    Ok(mark.map_or(Ok(()), |mark| links.set_alias(lo.index, mark))?)
}

/// A program that runs inside a machine, and the lines that it has written so far.
#[derive(Debug)]
pub struct Running {
    program: String,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    fn new(program: &str, mut child: Child) -> Self {
        let (sender, lines) = mpsc::channel();
        let stdout: Box<dyn Read + Send> = Box::new(child.stdout.take().expect("piped"));
        let stderr: Box<dyn Read + Send> = Box::new(child.stderr.take().expect("piped"));
        for pipe in [stdout, stderr] {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self { program: program.into(), child, lines, seen: Vec::new() }
    }

    /// Waits until the program has written a line that holds all of `parts`, and returns it.
    ///
    /// # Panics
    /// Shows what it wrote instead, once it ended or `deadline` has passed.
    #[track_caller]
    pub fn wait_for(&mut self, parts: &[&str], deadline: Duration) -> String {
        let end = Instant::now() + deadline;
        let mut next = 0;
        loop {
            while let Some(line) = self.seen.get(next) {
                if parts.iter().all(|part| line.contains(part)) {
                    return line.clone();
                }
                next += 1;
            }
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(why) => {
                    let why = match why {
                        RecvTimeoutError::Timeout => format!("for {deadline:?}"),
                        RecvTimeoutError::Disconnected => "and has ended".into(),
                    };
                    panic!("{} wrote no line with {parts:?} {why}:\n{}", self.program, self.seen.join("\n"));
                }
            }
        }
    }

    /// Ends the program as Ctrl-C would, and returns all lines that it wrote.
    ///
    /// # Panics
    /// Where it cannot be signalled.
    pub fn interrupt(self) -> Vec<String> {
        self.end(Signal::INT).1
    }

    /// Ends the program as a service manager would, and returns how it ended and all lines that it wrote.
    ///
    /// # Panics
    /// Where it cannot be waited for.
    pub fn terminate(self) -> (ExitStatus, Vec<String>) {
        self.end(Signal::TERM)
    }

    fn end(mut self, signal: Signal) -> (ExitStatus, Vec<String>) {
        // `timeout` passes the signal on and ends with its child.
        let _ = kill_process(Pid::from_child(&self.child), signal);
        let status = self.child.wait().expect("a child of ours");
        let rest = self.lines.iter();
        let mut all = std::mem::take(&mut self.seen);
        all.extend(rest);
        (status, all)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SIGKILL would reach `timeout` alone and leave its child.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}
