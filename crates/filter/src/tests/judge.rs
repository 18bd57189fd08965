//! libpcap is the judge: the same expression on the same frame has the same verdict.
//!
//! Its program is compiled without its optimizer where frames are cut: that leaves out loads whose results it does not
//! need, and a load behind the end of a frame decides.

use pcap::{BpfProgram, Capture, Linktype};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::texts::{expressions, relations};
use crate::Expression;
use crate::test_values::frames;

pub fn compiled(text: &str, optimize: bool) -> Result<BpfProgram, String> {
    let dead = Capture::dead(Linktype::ETHERNET).unwrap();
    dead.compile(text, optimize).map_err(|error| error.to_string())
}

/// The same random frames in every run.
fn sample_frames(count: usize) -> Vec<Vec<u8>> {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    (0..count).map(|_| frames().new_tree(&mut runner).unwrap().current()).collect()
}

/// Each test of the language, alone or with others.
const EXPRESSIONS: &[&str] = &[
    "",
    "  \t\n ",
    "ip",
    "ip6",
    "arp",
    "rarp",
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmp6",
    "igmp",
    "igrp",
    "pim",
    "vrrp",
    "carp",
    "ah",
    "esp",
    "broadcast",
    "multicast",
    "ether broadcast",
    "ether multicast",
    "ip multicast",
    "ip6 multicast",
    "host 192.0.2.1",
    "src host 192.0.2.1",
    "dst 192.0.2.1",
    "src or dst host 192.0.2.1",
    "dst or src 192.0.2.1",
    "src and dst host 192.0.2.1",
    "ip host 192.0.2.1",
    "arp host 192.0.2.1",
    "arp dst host 192.0.2.1",
    "rarp src 192.0.2.1",
    "host 192.0",
    "host 3221225985",
    "host 2001:db8::1",
    "src 2001:db8::1",
    "ip6 dst host fe80::1:2:3:4",
    "host ::ffff:192.0.2.1",
    "host (192.0.2.1 or 10.0.0.1)",
    "host not 192.0.2.1",
    "host not (192.0.2.1 or not 10.0.0.1)",
    "net 192.0.2.0/24",
    "net 192.0.2",
    "net 10",
    "net 0",
    "src net 10.0.0.0/8",
    "dst net 0.0.0.0/0",
    "net 192.0.2.0 mask 255.255.255.0",
    "net 10.0.0.1 mask 255.0.0.255",
    "net 2001:db8::/32",
    "dst net ::/0",
    "net ff00::/8 or 10.0.0.0/8",
    "net 2001:db8::1",
    "port 53",
    "port 0x35",
    "port 065",
    "port (53 or 80)",
    "port 80 or 443",
    "tcp port 80 and 1000",
    "udp dst port 53",
    "sctp src port 53",
    "src and dst port 53",
    "portrange 50-100",
    "portrange 100-50",
    "portrange 53",
    "tcp dst portrange 0-80",
    "portrange 1-60 or 70-90",
    "ether host 02:00:5e:10:00:01",
    "ether src 2:0:5e:10:0:1",
    "ether dst 02-00-5e-10-00-01",
    "ether host 0200.5e10.0001",
    "ether dst 02005e100001",
    "ether dst 02.00.5e.10.00.01",
    "ether src and dst host ff:ff:ff:ff:ff:ff",
    "link host ff:ff:ff:ff:ff:ff",
    "ether proto 0x0800",
    "ether proto \\arp",
    "ether proto 0x88cc",
    "ether proto 1501",
    "ether proto 0x8100",
    "ip proto 6",
    "ip proto \\tcp",
    "ip6 proto 17",
    "ip6 proto 44",
    "proto 58",
    "proto \\sctp",
    "proto (6 or 17)",
    "vlan",
    "vlan 5",
    "vlan (5)",
    "vlan 0",
    "vlan 4095",
    "vlan and ip",
    "vlan 5 and tcp port 80",
    "vlan 5 and vlan 7 and ip6",
    "vlan and vlan and vlan and ip",
    "not vlan",
    "not vlan and ip",
    "ip and not vlan",
    "ip or vlan and ip",
    "(vlan 5 and ip) or ip",
    "vlan 5 or vlan 7",
    "vlan 5 and ether dst 02:00:5e:10:00:01",
    "vlan 5 and ip[9] = 6",
    "less 60",
    "greater 60",
    "len <= 60",
    "length > 60 and len < 100",
    "host 192.0.2.1 and not host 10.0.0.1 or 192.0.2.200",
    "ip or tcp and udp",
    "tcp and port 80 or udp and port 53",
    "not tcp and not udp",
    "not (tcp or udp)",
    "!tcp && !udp || icmp",
    "not not ip",
    "!!(ip)",
    "not ip and tcp",
    "port 80 and (ip or ip6) or 53",
    "host 10.0.0.1 and (port 53) and 192.0.2.1",
    "src net 10.0.0.0/8 and (dst port 53 or 80 or (1000 and not 0))",
    "ip[0] = 0x45",
    "ip[0] & 0xf != 5",
    "ip[2:2] > 59",
    "ip[12:4] = 0xc0000201",
    "ip[-1] = 1",
    "ip6[6] = 17",
    "arp[6:2] = 1",
    "rarp[7] = 1",
    "ether[0] & 1 = 0",
    "ether[12:2] = 0x800 or ether[12:2] = 0x86dd",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "tcp[13] & 0x12 == 0x12",
    "tcp[0:2] = 53",
    "tcp[-1] = 1",
    "udp[4:2] >= 8",
    "sctp[0:2] < 100",
    "icmp[icmptype] = icmp-echo",
    "icmp[icmptype] != icmp-echo and icmp[icmpcode] = 0",
    "icmp6[icmp6type] = icmp6-neighborsolicit",
    "icmp6[0] = 128",
    "igmp[0] = 0",
    "ip[0] * 4 - 20 > 0",
    "(ip[0] & 0xf) * 4 > 20",
    "((ip[0])) > (0x40 + 5)",
    "(ip[0] & 0xf) > 5 and tcp",
    "(len > 50)",
    "5 < len",
    "(5) < len",
    "len / 10 * 10 = 60",
    "len % 7 + 1 = 3",
    "1 + len % 7 = 3",
    "len ^ 3 + 1 = 58",
    "1 + 2 ^ 3 - 1 = len",
    "- 1 > len",
    "- len % 7 < 3",
    "1 << 5 > len",
    "len >> 1 << 1 = len",
    "1 | 6 & 3 << 1 = 7",
    "ip[ip[0] & 0xf] = 0",
    "ether[len - 1] = 0",
    "ip[0] + tcp[0] > 100",
    "1 + tcp[0] > 100",
    "0 = tcp[0]",
    "len / ip[9] > 1",
    "len - 4 < 60",
    "10 - 5 = 5",
];

#[test]
fn each_test_of_the_language_decides_as_libpcap_does_on_whole_and_cut_frames() {
    let frames = sample_frames(400);
    for text in EXPRESSIONS {
        let expression: Expression = text.parse().unwrap_or_else(|error| panic!("`{text}`: {error}"));
        let judge = compiled(text, false).unwrap_or_else(|error| panic!("`{text}`: {error}"));
        for frame in &frames {
            for cut in 0..=frame.len() {
                let (ours, theirs) = (expression.matches(&frame[..cut]), judge.filter(&frame[..cut]));
                assert_eq!(ours, theirs, "`{text}` on the first {cut} bytes of {frame:02x?}");
            }
        }
        let optimized = compiled(text, true);
        for frame in &frames {
            let theirs = optimized.as_ref().is_ok_and(|program| program.filter(frame));
            assert_eq!(expression.matches(frame), theirs, "`{text}`, optimized, on {frame:02x?}");
        }
    }
}

/// What libpcap says of calculations that we accept: it has 16 registers, and it takes the index 0 of a divisor for a
/// zero.
const ITS_LIMITS: [&str; 4] =
    ["too many registers", "division by zero", "modulus by zero", "shift by more than 31 bits"];

fn compare(text: &str, frame: &[u8], cut: usize) -> Result<(), TestCaseError> {
    let cut = cut % (frame.len() + 1);
    match (text.parse::<Expression>(), compiled(text, false)) {
        (Ok(expression), Ok(judge)) => {
            prop_assert_eq!(expression.matches(frame), judge.filter(frame), "`{}` on the whole frame", text);
            let start = &frame[..cut];
            prop_assert_eq!(expression.matches(start), judge.filter(start), "`{}` on {} bytes", text, cut);
        }
        (Err(_), Err(_)) => {}
        (Ok(_), Err(refused)) => {
            prop_assert!(ITS_LIMITS.iter().any(|limit| refused.contains(limit)), "`{}`: {}", text, refused);
        }
        (Err(refused), Ok(_)) => prop_assert!(false, "`{}`: {}", text, refused),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30_000))]

    #[test]
    fn random_expressions_decide_as_libpcap_does(text in expressions(), frame in frames(), cut: usize) {
        compare(&text, &frame, cut)?;
    }

    #[test]
    fn random_calculations_decide_as_libpcap_does(text in relations(), frame in frames(), cut: usize) {
        compare(&text, &frame, cut)?;
    }
}

#[test]
fn a_length_on_the_wire_is_not_the_length_that_was_captured() {
    let longer: Expression = "greater 100".parse().unwrap();
    assert!(longer.matches_captured(&[0; 60], 100));
    assert!(!longer.matches_captured(&[0; 60], 99));
    assert!(!longer.matches(&[0; 60]));
    let one_byte: Expression = "ether[60] = 0 or len > 0".parse().unwrap();
    assert!(!one_byte.matches_captured(&[0; 60], 100), "the byte was not captured");
    assert!(one_byte.matches_captured(&[0; 61], 100));
}
