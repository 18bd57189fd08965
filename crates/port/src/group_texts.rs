//! Groups as users write them: `broadcast`, a multicast address or a multicast MAC.

use std::collections::BTreeSet;
use std::net::IpAddr;

use xsknet_bpf::Group;
use xsknet_link::MacAddr;

use crate::error::GroupError;

/// The most groups of a port.
pub const MAX_PORT_GROUPS: usize = 256;

const BROADCAST: &str = "broadcast";

/// The groups of these texts, each one once.
///
/// # Errors
/// [`GroupError::Text`] for the first text that is not a group, and [`GroupError::TooMany`].
pub fn parse_groups(texts: &[String]) -> Result<BTreeSet<Group>, GroupError> {
    let mut groups = BTreeSet::new();
    for (index, text) in texts.iter().enumerate() {
        let group = group_of(text).filter(|group| group.is_group());
        groups.insert(group.ok_or_else(|| GroupError::Text { text: text.clone(), index })?);
    }
    if groups.len() > MAX_PORT_GROUPS {
        return Err(GroupError::TooMany { limit: MAX_PORT_GROUPS });
    }
    Ok(groups)
}

fn group_of(text: &str) -> Option<Group> {
    if text == BROADCAST {
        return Some(Group::BROADCAST);
    }
    let address = || text.parse::<IpAddr>().map(Group::Ip);
    text.parse::<MacAddr>().map(|mac| Group::Mac(mac.octets())).or_else(|_| address()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Result<Vec<String>, GroupError> {
        let texts: Vec<String> = texts.iter().map(|&text| text.into()).collect();
        Ok(parse_groups(&texts)?.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn groups_are_words_macs_and_addresses_each_once() {
        let texts = ["224.0.0.251", "ff02:0::fb", "FF:ff:ff:ff:ff:ff", "broadcast", "01:80:c2:00:00:0e", "ff02::fb"];
        let expected = ["01:80:c2:00:00:0e", "broadcast", "224.0.0.251", "ff02::fb"];
        assert_eq!(parse(&texts).unwrap(), expected);
    }

    #[test]
    fn what_is_one_station_or_nothing_at_all_is_refused_with_its_place() {
        for text in ["192.0.2.1", "2001:db8::1", "255.255.255.255", "02:00:00:00:00:01", "224.0.0.0/4", "all", ""] {
            let error = parse(&["broadcast", text]).unwrap_err();
            assert!(matches!(&error, GroupError::Text { index: 1, text: its } if its == text), "{error}");
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn a_port_has_so_many_groups_and_no_more() {
        let many = |count: usize| (0..count).map(|n| format!("239.0.{}.{}", n / 256, n % 256)).collect::<Vec<_>>();
        assert_eq!(parse_groups(&many(MAX_PORT_GROUPS)).unwrap().len(), MAX_PORT_GROUPS);
        let error = parse_groups(&many(MAX_PORT_GROUPS + 1)).unwrap_err();
        assert!(matches!(error, GroupError::TooMany { limit: MAX_PORT_GROUPS }), "{error}");
    }
}
