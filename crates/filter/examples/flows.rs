//! The fields of the flows of expressions, for tests in other languages: an expression on each line of standard input,
//! and for each a line on standard output. Flows are separated by `; `, and what is not a flow is told behind `! `.
//!
//! ```text
//! dst net 10.0.0.0/8 and udp dst portrange 1-9
//! destination=10.0.0.0/8 protocol=17 destinationPort=1-9
//! ```

use std::fmt::Display;
use std::io::{self, BufRead as _, BufWriter, Write as _};

use xsknet_filter::{Expression, Flow};

fn main() -> io::Result<()> {
    let mut output = BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        match flows_of(&line?) {
            Ok(flows) => writeln!(output, "{}", flows.iter().map(fields).collect::<Vec<_>>().join("; "))?,
            Err(why) => writeln!(output, "! {why}")?,
        }
    }
    output.flush()
}

fn flows_of(text: &str) -> Result<Vec<Flow>, String> {
    let expression: Expression = text.parse().map_err(|error: xsknet_filter::ParseError| error.to_string())?;
    expression.flows().map_err(|error| error.to_string())
}

fn fields(flow: &Flow) -> String {
    let Flow { destination_mac, vlan, ethertype, source, destination, .. } = *flow;
    let Flow { protocol, source_ports, destination_ports, icmp_type, .. } = *flow;
    let mac = destination_mac.map(|mac| mac.map(|octet| format!("{octet:02x}")).join(":"));
    let ports = |range: xsknet_filter::PortRange| format!("{}-{}", range.first(), range.last());
    let all = [
        field("destination", destination),
        field("source", source),
        field("protocol", protocol),
        field("destinationPort", destination_ports.map(ports)),
        field("sourcePort", source_ports.map(ports)),
        field("icmpType", icmp_type),
        field("vlan", vlan.map(|vlan| if vlan == 0 { "untagged".into() } else { vlan.to_string() })),
        field("etherType", ethertype),
        field("destinationMac", mac),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn field(name: &str, value: Option<impl Display>) -> Option<String> {
    value.map(|value| format!("{name}={value}"))
}
