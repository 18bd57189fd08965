use super::judge::compiled;
use crate::{Expression, ParseError, Reason};

#[track_caller]
fn refused(text: &str) -> ParseError {
    match text.parse::<Expression>() {
        Err(error) => error,
        Ok(_) => panic!("`{text}` was accepted"),
    }
}

#[test]
fn an_error_names_the_bytes_and_the_reason() {
    let cases = [
        ("host web and tcp", "web", "`web` would have to be looked up, and no name is: write the address"),
        ("tcp port http", "http", "`http` would have to be looked up, and no name is: write the number of the port"),
        (
            "udp portrange 10-x",
            "10-x",
            "`10-x` would have to be looked up, and no name is: write a range such as `1024-65535`",
        ),
        (
            "ip proto ospf",
            "ospf",
            "`ospf` would have to be looked up, and no name is: write the number of the protocol",
        ),
        ("tcp and mpls 3", "mpls", "`mpls` is not supported: only VLAN tags are stepped over"),
        ("byte 0 = 3", "byte", "`byte` is not supported: write `ether[N]` instead"),
        ("udp port 65536", "65536", "this number is too large: the highest here is 65535"),
        ("host 10.0.0.256", "10.0.0.256", "this is not an IPv4 address: it has up to four decimal numbers up to 255"),
        ("host 2001:db8:::1", "2001:db8:::1", "this is neither an IPv6 address nor a MAC address"),
        ("net 10.0.0.1/8", "10.0.0.1/8", "this network has bits set that its mask leaves out"),
        ("net 2001:db8::1/32", "2001:db8::1/32", "this network has bits set that its mask leaves out"),
        ("net 10.0.0.0/33", "33", "this number is too large: the highest here is 32"),
        ("src 10.0.0.0/8", "10.0.0.0/8", "a host cannot be a network"),
        ("tcp host 10.0.0.1", "10.0.0.1", "`host` goes with `ip`, `arp` and `rarp` only"),
        ("icmp port 3", "3", "`port` goes with `tcp`, `udp` and `sctp` only"),
        ("port 10.0.0.1", "10.0.0.1", "a port cannot be an IPv4 address"),
        ("host 02:00:00:00:00:01", "02:00:00:00:00:01", "what stands without `ether` cannot be a MAC address"),
        ("ip6 host 10.0.0.1", "10.0.0.1", "an `ip6` address cannot be an IPv4 address"),
        ("tcp or 80", "80", "nothing before it tells what this is: write `host`, `net`, `port` or `proto` before it"),
        ("vlan 4096", "4096", "this number is too large: the highest here is 4095"),
        ("ether proto 6", "6", "values up to 1500 are service access points of IEEE 802.2, whose frames are not read"),
        (
            "ip broadcast",
            "ip broadcast",
            "`ip broadcast` depends on the netmask of an interface: write `dst host` and the broadcast address",
        ),
        ("ip[0:3] = 1", "3", "1, 2 or 4 bytes can be read at once"),
        ("len / 0 = 1", "0", "this divides by zero"),
        ("len << 32 = 1", "32", "a number has 32 bits and is shifted by at most 31"),
        ("port 089", "089", "a number that begins with 0 is octal and has no digit 8 or 9"),
        ("port 4294967296", "4294967296", "this number is too large: the highest here is 4294967295"),
        ("tcp ; udp", ";", "this character means nothing here"),
        ("tcp é", "é", "this character means nothing here"),
        ("tcp udp", "udp", "`udp` stands here instead of `and` or `or`"),
        ("len + 5 and tcp", "and", "`and` stands here instead of a comparison, such as `=` or `>`"),
        ("host and tcp", "and", "`and` stands here instead of a value: an address, a network or a number"),
        (
            "port 80 or (443 or tcp)",
            "tcp",
            "`tcp` stands here instead of a value: in parentheses that begin with a value, all are values",
        ),
        (
            "ether",
            "",
            "the expression ends here instead of `host`, `src`, `dst`, `proto`, `broadcast`, `multicast` or `[`",
        ),
        ("(tcp", "", "the expression ends here instead of `)`"),
        ("tcp and", "", "the expression ends here instead of a test, such as `host 192.0.2.1` or `tcp`"),
    ];
    for (text, part, reason) in cases {
        let error = refused(text);
        let start = if part.is_empty() { text.len() } else { text.rfind(part).unwrap() };
        assert_eq!((error.range, error.reason.to_string().as_str()), (start..start + part.len(), reason), "`{text}`");
    }
    assert_eq!(
        refused("tcp and foo").to_string(),
        "nothing before it tells what this is: write `host`, `net`, `port` \
                                                    or `proto` before it (at byte 8)"
    );
}

#[test]
fn libpcap_refuses_these_too() {
    let texts = [
        "tcp or 80",
        "192.0.2.1",
        "src 10.0.0.0/8",
        "tcp host 10.0.0.1",
        "net 10.0.0.1/8",
        "vlan 4096",
        "ip[0:3] = 1",
        "len / 0 = 1",
        "len << 32 = 1",
        "port 65536",
        "tcp udp",
        "len + 5 and tcp",
        "port 80 or (443 or tcp)",
        "ether",
        "icmp port 3",
        "host 02:00:00:00:00:01",
        "ip6 host 10.0.0.1",
        "port 089",
        "(tcp",
        "tcp and",
        "host and tcp",
        "tcp proto 6",
        "src proto 6",
        "ip host 2001:db8::1",
        "ah[0] = 1",
        "tcp multicast",
        "ip host",
        "net 10/8",
        "portrange 1-65536",
        "tcp[0",
        "5 = ",
        "and tcp",
        "not",
        "()",
        "tcp)",
    ];
    for text in texts {
        refused(text);
        assert!(compiled(text, false).is_err(), "`{text}`");
    }
}

/// What libpcap accepts for Ethernet, and we refuse by name.
#[test]
fn what_is_not_supported_is_refused() {
    let texts = [
        "mpls",
        "mpls 5",
        "pppoed",
        "pppoes 3",
        "geneve",
        "llc",
        "stp",
        "ipx",
        "netbeui",
        "iso",
        "isis",
        "clnp",
        "atalk",
        "aarp",
        "decnet host 1.2",
        "lat",
        "byte 0 = 3",
        "protochain 6",
        "ip6 protochain 6",
        "ppp host 02:00:00:00:00:01",
        "ether proto 6",
        "ether proto 0x809b",
        "ip proto 300",
    ];
    for text in texts {
        let error = refused(text);
        assert!(!matches!(error.reason, Reason::Unexpected { .. }), "`{text}`: {error}");
        assert!(compiled(text, false).is_ok(), "`{text}`");
    }
}
