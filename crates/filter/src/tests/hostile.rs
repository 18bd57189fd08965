//! Text from a stranger: no panic, no overflow of the stack, no long wait.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::{Expression, ParseError, Reason};

/// Far more than it takes, so that a busy machine does not fail the test, and far less than anything exponential.
const DEADLINE: Duration = Duration::from_secs(20);

fn outcome(text: &str) -> Option<ParseError> {
    let begun = Instant::now();
    let error = match text.parse::<Expression>() {
        Ok(expression) => {
            let _ = expression.matches(&[0; 60]);
            let _ = expression.flows();
            None
        }
        Err(error) => {
            assert!(text.get(error.range.clone()).is_some(), "{error:?} is a part of the text");
            assert!(!error.to_string().is_empty());
            Some(error)
        }
    };
    assert!(begun.elapsed() < DEADLINE, "{} bytes took {:?}", text.len(), begun.elapsed());
    error
}

fn repeated(unit: &str) -> String {
    unit.repeat(Expression::MAX_LENGTH / unit.len())
}

#[test]
fn nesting_is_bounded() {
    let deep = [
        "(",
        "!",
        "not ",
        "host (",
        "host not ",
        "ip[",
        "-",
        "(-",
        "len ^ ",
        "port 1 or (",
        "vlan (",
        "ip[len ^ ",
        "1 = (",
    ];
    for unit in deep {
        let error = outcome(&repeated(unit)).unwrap();
        assert!(matches!(error.reason, Reason::TooDeep { .. } | Reason::Unexpected { .. }), "`{unit}`: {error}");
    }
    let nested = |depth: usize| format!("{}tcp{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(outcome(&nested(64)), None);
    assert!(matches!(outcome(&nested(65)).unwrap().reason, Reason::TooDeep { most: 64, .. }));
}

#[test]
fn chains_are_bounded_by_the_length_of_the_text_only() {
    assert_eq!(outcome(&format!("{}tcp", repeated("ip or ").strip_suffix("ip or ").unwrap())), None);
    assert_eq!(outcome(&format!("port 1{}", " or 2".repeat(10_000))), None);
    assert_eq!(outcome(&format!("tcp{}", " and port 1".repeat(5_000))), None);
    assert_eq!(outcome(&format!("tcp{}", " or vlan 1".repeat(5_000))), None);
}

#[test]
fn changes_between_and_and_or_are_bounded() {
    let alternating = |count: usize| format!("ip{}", " and ip or ip".repeat(count));
    assert_eq!(outcome(&alternating(255)), None);
    let error = outcome(&alternating(256)).unwrap();
    assert_eq!(error.reason.to_string(), "`and` and `or` alternate more than 512 times");
}

#[test]
fn calculations_are_bounded() {
    let sum = |operators: usize| format!("len{} > 5", " + 1".repeat(operators));
    assert_eq!(outcome(&sum(128)), None);
    assert!(matches!(outcome(&sum(129)).unwrap().reason, Reason::TooDeep { most: 128, .. }));
    assert_eq!(outcome(&vec![sum(100); 50].join(" and ")), None, "each comparison is counted for itself");
}

#[test]
fn a_text_has_a_longest_length() {
    let longest = format!("tcp{}", " ".repeat(Expression::MAX_LENGTH - 3));
    assert_eq!(outcome(&longest), None);
    let reason = outcome(&format!("{longest} ")).unwrap().reason;
    assert_eq!(reason, Reason::TooLong { length: 65_537, most: 65_536 });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        outcome(&text);
    }

    #[test]
    fn any_words_are_read_or_refused(words in vec(select(WORDS), 0..24), spaces: bool) {
        outcome(&words.join(if spaces { " " } else { "" }));
    }
}

const WORDS: &[&str] = &[
    "and",
    "or",
    "not",
    "!",
    "&&",
    "||",
    "(",
    ")",
    "(",
    ")",
    "[",
    "]",
    ":",
    "src",
    "dst",
    "host",
    "net",
    "mask",
    "port",
    "portrange",
    "proto",
    "less",
    "greater",
    "len",
    "broadcast",
    "multicast",
    "vlan",
    "ether",
    "ip",
    "ip6",
    "arp",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "0",
    "1",
    "4",
    "80",
    "0x",
    "09",
    "65536",
    "4294967295",
    "99999999999",
    "10.0.0.1",
    "10.0",
    "300.1",
    "1.2.3.4.5",
    "::",
    "::1",
    "2001:db8::/32",
    "02:00:00:00:00:01",
    "020000000001",
    "a:b:c",
    "80-90",
    "/8",
    "/",
    "+",
    "-",
    "*",
    "%",
    "&",
    "|",
    "^",
    "<<",
    ">>",
    "=",
    "!=",
    ">",
    "<=",
    "\\tcp",
    "\\",
    "é",
    "name",
    "tcp-syn",
    "tcpflags",
    "mpls",
    "$1",
];
