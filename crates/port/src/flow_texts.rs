//! Flows as users write them: in tcpdump's language.

use xsknet_filter::{Expression, Flow};

use crate::error::FlowClaimError;

/// The most flows of a port. Whoever may claim any must not fill the tables of the uplink, which all ports share.
pub const MAX_PORT_FLOWS: usize = 4096;

/// The flows of these texts, each one once, in the order of the texts.
///
/// # Errors
/// [`FlowClaimError::Text`] for the first text that is not a set of flows, and [`FlowClaimError::TooMany`].
pub fn parse_flows(texts: &[String]) -> Result<Vec<Flow>, FlowClaimError> {
    let mut flows: Vec<Flow> = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        flows.extend(flows_of(text, index)?);
        if flows.len() > 2 * MAX_PORT_FLOWS {
            break;
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    flows.retain(|flow| seen.insert(*flow));
    if flows.len() > MAX_PORT_FLOWS {
        return Err(FlowClaimError::TooMany { limit: MAX_PORT_FLOWS });
    }
    Ok(flows)
}

/// Those of the texts of which not every flow is contained in a flow that was granted.
///
/// # Errors
/// As [`parse_flows`].
pub fn flows_outside(texts: &[String], granted: &[String]) -> Result<Vec<String>, FlowClaimError> {
    let granted = parse_flows(granted)?;
    let mut outside = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let is_inside = |flow: &Flow| granted.iter().any(|granted| granted.contains(flow));
        if !flows_of(text, index)?.iter().all(is_inside) {
            outside.push(text.clone());
        }
    }
    Ok(outside)
}

fn flows_of(text: &str, index: usize) -> Result<Vec<Flow>, FlowClaimError> {
    let invalid = |position, why: String| FlowClaimError::Text { text: text.into(), index, position, why };
    let expression: Expression =
        text.parse().map_err(|error: xsknet_filter::ParseError| invalid(error.range.start, error.to_string()))?;
    expression.flows().map_err(|error| invalid(error.range.start, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn texts_become_flows_each_of_them_once() {
        let flows = parse_flows(&texts(&["udp port 53", "udp dst port 53", "tcp dst port 53"])).unwrap();
        let printed: Vec<_> = flows.iter().map(ToString::to_string).collect();
        assert_eq!(printed, ["udp src port 53", "udp dst port 53", "tcp dst port 53"]);
    }

    #[test]
    fn an_error_names_the_text_and_the_position() {
        let error = parse_flows(&texts(&["udp", "udp dst port domain"])).unwrap_err();
        let FlowClaimError::Text { text, index, position, .. } = &error else { panic!("{error}") };
        assert_eq!((text.as_str(), *index, *position), ("udp dst port domain", 1, 13));
        assert!(error.to_string().contains("\"udp dst port domain\"") && error.to_string().contains("at byte 13"));
        let error = parse_flows(&texts(&["udp and not port 53"])).unwrap_err();
        assert!(matches!(error, FlowClaimError::Text { position: 12, .. }), "{error}");
    }

    #[test]
    fn a_port_has_a_bounded_number_of_flows() {
        let ports = |from: usize| -> String {
            let numbers: Vec<_> = (from..from + 4000).map(|port| port.to_string()).collect();
            format!("udp dst port {}", numbers.join(" or "))
        };
        assert_eq!(parse_flows(&[ports(1)]).unwrap().len(), 4000);
        let error = parse_flows(&[ports(1), ports(5000)]).unwrap_err();
        assert!(matches!(error, FlowClaimError::TooMany { limit: MAX_PORT_FLOWS }), "{error}");
    }

    #[test]
    fn what_no_granted_flow_contains_is_outside() {
        let granted = texts(&["udp dst port 53", "tcp and dst net 192.0.2.0/24"]);
        let asked = texts(&[
            "udp dst port 53 and dst host 192.0.2.1",
            "udp port 53",
            "tcp dst port 80 and dst host 192.0.2.1",
            "dst host 192.0.2.1",
        ]);
        assert_eq!(flows_outside(&asked, &granted).unwrap(), texts(&["udp port 53", "dst host 192.0.2.1"]));
        assert_eq!(flows_outside(&asked, &[]).unwrap(), asked);
        assert!(flows_outside(&texts(&["udp dst"]), &granted).is_err());
    }
}
