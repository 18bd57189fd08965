//! What the host itself receives: its TCP and UDP sockets, and what its kernel answers. A flow must not take it
//! unasked.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use xsknet_filter::{Flow, PortRange, Prefix};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// The kernel's lists, with the protocol of each.
const LISTS: [(&str, u8); 4] = [("tcp", TCP), ("tcp6", TCP), ("udp", UDP), ("udp6", UDP)];

/// States of a TCP socket that receives nothing for a program any more: TIME_WAIT and CLOSE.
const TCP_OVER: [u8; 2] = [6, 7];

/// A socket of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostSocket {
    pub(crate) protocol: u8,
    pub(crate) local: SocketAddr,
    /// `None` for one that receives from anywhere.
    remote: Option<SocketAddr>,
    pub(crate) inode: u64,
}

/// The TCP and UDP sockets of the network namespace that this thread is in.
///
/// # Errors
/// The kernel's.
pub(crate) fn read() -> io::Result<Vec<HostSocket>> {
    let mut sockets = Vec::new();
    for (list, protocol) in LISTS {
        match fs::read_to_string(format!("/proc/thread-self/net/{list}")) {
            Ok(text) => sockets.extend(parse(&text, protocol)?),
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound && list.ends_with('6') => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sockets)
}

/// Reads one of the kernel's lists: a heading, and a line for each socket.
fn parse(text: &str, protocol: u8) -> io::Result<Vec<HostSocket>> {
    let mut sockets = Vec::new();
    for line in text.lines().skip(1) {
        let strange = || io::Error::new(io::ErrorKind::InvalidData, format!("not a line of a socket: {line}"));
        // sl, local, remote, state, queues, timer, retransmits, uid, timeout, inode
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, state, _, _, _, _, _, inode, ..] = words[..] else { return Err(strange()) };
        let state = u8::from_str_radix(state, 16).map_err(|_| strange())?;
        if protocol == TCP && TCP_OVER.contains(&state) {
            continue;
        }
        let local = endpoint(local).ok_or_else(strange)?;
        let remote = endpoint(remote).ok_or_else(strange)?;
        let remote = (remote.port() != 0).then_some(remote);
        sockets.push(HostSocket { protocol, local, remote, inode: inode.parse().map_err(|_| strange())? });
    }
    Ok(sockets)
}

/// `0100007F:0035`: words of an address in the machine's byte order, and a port.
fn endpoint(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(address.get(8 * at..8 * at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let address = match address.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let mut bytes = [0; 16];
            for (at, to) in bytes.chunks_exact_mut(4).enumerate() {
                to.copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

impl HostSocket {
    /// Whether this flow would take packets that the socket is to receive. A socket without an address of its own is
    /// taken to receive for any: the host may have addresses that no list shows.
    pub(crate) fn starves_by(&self, flow: &Flow) -> bool {
        // Nothing comes to it from a NIC.
        !self.local.ip().is_loopback() && flow.overlaps(&self.flow())
    }

    /// What it receives.
    fn flow(&self) -> Flow {
        let one = |ip: IpAddr| (!ip.is_unspecified()).then(|| Prefix::host(ip));
        // One of IPv6 without an address may receive IPv4 packets, too.
        let ethertype = (self.local.ip() == IpAddr::from(Ipv4Addr::UNSPECIFIED)).then_some(IPV4);
        Flow {
            ethertype,
            destination: one(self.local.ip()),
            source: self.remote.and_then(|remote| one(remote.ip())),
            protocol: Some(self.protocol),
            source_ports: self.remote.map(|remote| PortRange::one(remote.port())),
            destination_ports: (self.local.port() != 0).then(|| PortRange::one(self.local.port())),
            ..Flow::default()
        }
    }

    /// The process that has it, in words. It may be gone by now, or be hidden.
    pub(crate) fn process(&self) -> Option<String> {
        let link = format!("socket:[{}]", self.inode);
        let processes = fs::read_dir("/proc").ok()?.flatten();
        processes.filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)).find_map(
            |entry| {
                let mut descriptors = fs::read_dir(entry.path().join("fd")).ok()?.flatten();
                descriptors
                    .find(|fd| fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == link.as_str()))?;
                let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                Some(format!("`{}`, process {}", name.trim_end(), entry.file_name().display()))
            },
        )
    }
}

/// Whether a flow would take packets that the host's kernel answers by itself: IP packets other than TCP and UDP, such
/// as pings, to an address of the host or to a group that it may be in.
pub(crate) fn takes_from_kernel(flow: &Flow, own: &[IpAddr]) -> bool {
    let is_ip = flow.ethertype.is_none_or(|ethertype| [IPV4, IPV6].contains(&ethertype));
    let reaches_host = |prefix: Prefix| {
        let groups = [
            Prefix::new([224, 0, 0, 0].into(), 4),
            Prefix::new([0xff00, 0, 0, 0, 0, 0, 0, 0].into(), 8),
            Ok(Prefix::host(Ipv4Addr::BROADCAST.into())),
        ];
        own.iter().any(|address| prefix.contains(*address))
            || groups.into_iter().flatten().any(|group| group.intersection(&prefix).is_some())
    };
    is_ip && !matches!(flow.protocol, Some(TCP | UDP)) && flow.destination.is_none_or(reaches_host)
}

/// The name of a protocol with sockets.
pub(crate) fn name_of(protocol: u8) -> &'static str {
    if protocol == TCP { "TCP" } else { "UDP" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    fn flow(text: &str) -> Flow {
        let [flow] = text.parse::<xsknet_filter::Expression>().unwrap().flows().unwrap()[..] else { panic!("{text}") };
        flow
    }

    fn line(local: &str, remote: &str, state: &str) -> String {
        format!(
            "{HEADING}   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000  1000        0 77 1 0 0\n"
        )
    }

    fn socket(local: &str, remote: &str, state: &str, protocol: u8) -> HostSocket {
        let mut sockets = parse(&line(local, remote, state), protocol).unwrap();
        assert_eq!(sockets.len(), 1);
        sockets.remove(0)
    }

    #[test]
    fn a_line_of_the_kernel_is_a_socket() {
        let dns = socket("010200C0:0035", "00000000:0000", "07", UDP);
        assert_eq!(dns.local, "192.0.2.1:53".parse().unwrap());
        assert_eq!((dns.remote, dns.inode), (None, 77));
        let six = socket("B80D0120000000000000000001000000:0016", &format!("{}:0000", "0".repeat(32)), "0A", TCP);
        assert_eq!(six.local, "[2001:db8::1]:22".parse().unwrap());
        let mapped = socket("0000000000000000FFFF0000010200C0:0016", &format!("{}:0000", "0".repeat(32)), "0A", TCP);
        assert_eq!(mapped.local, "192.0.2.1:22".parse().unwrap());
        let connected = socket("010200C0:D431", "020200C0:01BB", "01", TCP);
        assert_eq!(connected.remote, Some("192.0.2.2:443".parse().unwrap()));
        assert_eq!(parse(&line("010200C0:D431", "020200C0:01BB", "06"), TCP).unwrap(), [], "TIME_WAIT");
        assert!(parse(&format!("{HEADING}nonsense\n"), TCP).is_err());
        assert!(parse(&line("zz0200C0:0035", "00000000:0000", "07"), UDP).is_err());
    }

    #[test]
    fn a_flow_starves_the_sockets_whose_packets_it_takes() {
        let own = socket("010200C0:0035", "00000000:0000", "07", UDP);
        let any = socket("00000000:0035", "00000000:0000", "07", UDP);
        let loopback = socket("3500007F:0035", "00000000:0000", "07", UDP);
        let connection = socket("010200C0:D431", "020200C0:01BB", "01", TCP);
        for (text, expected) in [
            ("udp dst port 53", [true, true, false, false]),
            ("udp dst port 53 and dst host 192.0.2.1", [true, true, false, false]),
            ("udp dst port 53 and dst host 192.0.2.9", [false, true, false, false]),
            ("udp dst port 53 and dst host 2001:db8::1", [false, false, false, false]),
            ("udp dst port 54", [false, false, false, false]),
            ("dst host 192.0.2.1", [true, true, false, true]),
            ("tcp", [false, false, false, true]),
            ("tcp and src host 192.0.2.3", [false, false, false, false]),
            ("tcp dst portrange 50000-60000", [false, false, false, true]),
        ] {
            let flow = flow(text);
            assert_eq!([&own, &any, &loopback, &connection].map(|socket| socket.starves_by(&flow)), expected, "{text}");
        }
        let both = socket(&format!("{}:0035", "0".repeat(32)), &format!("{}:0000", "0".repeat(32)), "07", UDP);
        assert!(both.starves_by(&flow("udp dst port 53 and dst host 192.0.2.1")), "it may receive IPv4, too");
    }

    #[test]
    fn what_the_kernel_answers_is_neither_tcp_nor_udp_and_comes_to_the_host() {
        let own = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        for (text, expected) in [
            ("icmp", true),
            ("icmp6 and dst host 2001:db8::1", true),
            ("dst host 192.0.2.1", true),
            ("dst net 192.0.2.0/24", true),
            ("dst host 192.0.2.9", false),
            ("dst host 224.0.0.251", true),
            ("dst host 224.0.0.251 and udp", false),
            ("udp", false),
            ("tcp and dst host 192.0.2.1", false),
            ("ether proto 0x88cc", false),
            ("", true),
        ] {
            assert_eq!(takes_from_kernel(&flow(text), &own), expected, "{text:?}");
        }
    }
}
