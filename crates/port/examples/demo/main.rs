//! The main job, shown: packets from another namespace, through a card's program, the DEVMAP, a port's pair and an AF_XDP
//! socket, answered, and sent all the way back out of the card.
//!
//! `npm start -- --help` tells the options.

mod flood;
mod hops;
mod options;
mod talk;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use xsknet_bpf::Sink;
use xsknet_port::{Equality, Instance, InstanceOptions, Places, Port, PortOptions, Uplink, UplinkOptions, sweep_dead};
use xsknet_testkit::{
    CARD, FAR, HOST4, HOST6, Lab, REMOTE4, REMOTE6, Responder, Snapshot, Wire, device, port_addresses,
};

use crate::options::Options;
use crate::talk::Talk;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const NAMES: [&str; 2] = ["left", "right"];

fn main() -> std::process::ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return std::process::ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}\n\n{}", options::USAGE);
            return std::process::ExitCode::from(2);
        }
    };
    match demo(&options) {
        Ok(0) => std::process::ExitCode::SUCCESS,
        Ok(wrong) => {
            println!("\n{wrong} of the above went wrong.");
            std::process::ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("\n{error}");
            let mut cause = error.source();
            while let Some(because) = cause {
                eprintln!("  because: {because}");
                cause = because.source();
            }
            std::process::ExitCode::FAILURE
        }
    }
}

/// Returns how much went wrong.
fn demo(options: &Options) -> Result<usize> {
    // Ctrl-C reaches us from the terminal and once more from npm: a flag does not count.
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stopped))?;
    }
    sweep_dead(&Places::default(), "demo-")?;

    let lab = Lab::new(Wire::default())?;
    let look = || Snapshot::take(lab.host.namespace(), &[Path::new("/run/xsknet"), Path::new("/sys/fs/bpf")]);
    let before = look();
    let wrong = with_instance(options, &lab, &stopped)?;

    heading("The machine");
    match before.wait_for(Duration::from_secs(3), look) {
        Ok(()) => {
            println!("  is as before: devices, addresses, offloads, filters, mounts, pins, programs, maps, links");
            Ok(wrong)
        }
        Err(difference) => {
            println!("  is NOT as before:\n{difference}");
            Ok(wrong + 1)
        }
    }
}

fn with_instance(options: &Options, lab: &Lab, stopped: &AtomicBool) -> Result<usize> {
    // It counts what arrives from the ports, their self-test frames included.
    let far = lab.remote.links().by_name(&device(FAR))?.index;
    let sink = lab.remote.enter(|| Sink::attach(far.get(), flood::SINK_PORT, flood::NUMBER_AT, flood::NUMBERS))?;
    let instance_options =
        InstanceOptions { name: format!("demo-{}", std::process::id()).parse()?, ..InstanceOptions::default() };
    let instance = lab.host.enter(|| Instance::open(instance_options))?;
    let uplink = instance.manage(&UplinkOptions { device: device(CARD), mode: options.mode })?;
    let mut ports = Vec::new();
    for (n, name) in (0..).zip(NAMES) {
        let options = PortOptions { name: Some(name.into()), ..PortOptions::new(port_addresses(n)) };
        ports.push(uplink.open_port(options)?);
    }
    introduce(lab, &uplink, &ports);

    let mut talk = Talk::default();

    heading("Port to port, and what a port may not send");
    let [left, right] = &mut ports[..] else { unreachable!("two ports") };
    // One port answers while the other asks.
    talk.between(left, right)?;
    talk.spoof(left)?;

    heading("Asked by real programs on the remote host");
    let macs: Vec<_> = ports.iter().map(|port| port.info().mac).collect();
    let serving: Vec<_> = ports.into_iter().map(|port| responder(&port).start(port)).collect();
    for n in 0..2 {
        talk.remote_asks(lab, NAMES[usize::from(n)], port_addresses(n));
    }
    talk.remote_asks_host(lab);

    if options.seconds > 0 && !stopped.load(Ordering::Relaxed) {
        heading("A flood of UDP, each datagram answered; at most 192 on their way at a time");
        talk.flooded(flood::run(lab, &uplink, &sink, macs[0], options.seconds, stopped)?);
    }
    if options.keep {
        keep(lab, stopped);
    }

    let mut ports = Vec::new();
    for server in serving {
        let (port, served) = server.finish();
        served?;
        ports.push(port);
    }
    heading("Every frame accounted for");
    let far_frames = macs.iter().map(|mac| sink.frames_from(mac.octets())).sum::<std::result::Result<u64, _>>()?;
    let mut wrong = talk.wrong() + account(&uplink, &mut ports, far_frames)?;
    for port in ports {
        let name = port.info().name.clone();
        let census = port.close()?;
        let home = census.home == census.total;
        println!("  {} {name}: {} of {} frames at home", mark(home), census.home, census.total);
        wrong += usize::from(!home);
    }
    instance.close()?;
    Ok(wrong)
}

fn responder(port: &Port) -> Responder {
    Responder::new(port.info().mac.octets(), port.info().addresses.iter().copied())
}

fn introduce(lab: &Lab, uplink: &Uplink, ports: &[Port]) {
    heading("The lab: two namespaces and a wire");
    println!("  remote  {FAR:<6} {REMOTE4}  {REMOTE6}  {}", lab.far_mac());
    println!("  host    {CARD:<6} {HOST4}  {HOST6}  {}", lab.card_mac());
    heading("The uplink and its ports");
    let info = uplink.info();
    println!("  {} runs the uplink program in {} mode", info.device, info.mode);
    let features =
        [info.features_before, info.features_after].map(|of| of.map_or("unknown".into(), |of| of.to_string()));
    println!("  its XDP features: {}; with the program: {}", features[0], features[1]);
    for port in ports {
        let info = port.info();
        println!(
            "  port {:<6} {}  {}\n{:14}guard {} on {}, port program {} on {}, socket bound in {:?} mode",
            info.name,
            info.mac,
            info.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join("  "),
            "",
            info.guard_mode,
            info.outer,
            info.port_mode,
            info.inner,
            info.bind_mode,
        );
    }
    println!("  tried on the way:");
    let first = ports.iter().take(1).flat_map(|port| &port.info().tried);
    info.tried.iter().chain(first).for_each(|tried| println!("    {tried}"));
}

/// Says how to try it by hand, and waits for the signal to end.
fn keep(lab: &Lab, stopped: &AtomicBool) {
    use std::os::fd::{AsFd as _, AsRawFd as _};

    heading("Kept running until Ctrl-C. In another terminal, as root:");
    let enter = |machine: &xsknet_testkit::Machine| {
        let fd = machine.namespace().as_fd().as_raw_fd();
        format!("nsenter --net=/proc/{}/fd/{fd}", std::process::id())
    };
    let (remote, host) = (enter(&lab.remote), enter(&lab.host));
    let [v4, v6] = port_addresses(0);
    println!("  {remote} ping {v4}");
    println!("  {remote} ping {v6}");
    println!("  {remote} tcpdump -nei {FAR}          # sees both directions");
    println!("  {host} tcpdump -nei {CARD}         # sees nothing of the ports: redirected frames pass it by");
    println!("  {host} ip -d -s link");
    while !stopped.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Prints the sums and returns how many do not hold.
fn account(uplink: &Uplink, ports: &mut [Port], far: u64) -> Result<usize> {
    let mut sums: Vec<(String, Equality)> = Vec::new();
    for port in ports.iter_mut() {
        let name = port.info().name.clone();
        settle(port)?;
        sums.extend(port.equalities()?.map(|sum| (name.clone(), sum)));
    }
    let statistics = uplink.statistics()?;
    let of_ports = uplink.port_statistics()?;
    sums.push((CARD.into(), statistics.equality()));
    sums.push((CARD.into(), statistics.wire_equality(of_ports.iter().map(|(_, port)| port), far)));
    for (whose, sum) in &sums {
        let [left, right] = [sum.left, sum.right].map(hops::thousands);
        println!("  {} {whose:<6} {:<22} {left:>12} = {right}", mark(sum.holds()), sum.what);
    }
    Ok(sums.iter().filter(|(_, sum)| !sum.holds()).count())
}

/// Waits until everything that the port sent has come back.
fn settle(port: &mut Port) -> Result<()> {
    let socket = port.socket();
    for _ in 0..1000 {
        socket.flush()?;
        socket.complete()?;
        if socket.census().tx == 0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(format!("{} frames were not completed within a second", socket.census().tx).into())
}

fn heading(text: &str) {
    println!("\n{text}");
}

fn mark(good: bool) -> &'static str {
    if good { "ok" } else { "NO" }
}
