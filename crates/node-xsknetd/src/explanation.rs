//! What the programs decide about a packet, in the shape of `explanation` in
//! `packages/xsknet/src/connection/protocol.ts`; but with all ports by their keys, because only the daemon knows which
//! of them its client may know.

use serde_json::{Value, json};
use xsknet_bpf::{Destination, FrameVlan, LimitedKind, PortId, Step, Tagging};
use xsknet_port::Explained;

/// In JSON, because each kind of step has fields of its own.
pub fn explanation(explained: &Explained) -> String {
    let told = &explained.explanation;
    let port = |port: Option<PortId>| port.map(|port| explained.key(port).map_or(0, |key| key.number()));
    let target = told.to.map(|Destination { port: to, queue_pair, rings }| {
        json!({ "port": port(Some(to)), "queue": queue_pair, "rings": if rings { "bpf" } else { "xsk" } })
    });
    let steps: Vec<Value> = told.steps.iter().map(|step| describe(step, port)).collect();
    json!({
        "uplink": explained.uplink.to_string(),
        "counter": told.counter.name(),
        "rule": told.rule.name(),
        "target": target,
        "steps": steps,
    })
    .to_string()
}

fn describe(step: &Step, port: impl Fn(Option<PortId>) -> Option<u32>) -> Value {
    match step {
        Step::Tags { vlan, ethertype, tagging } => {
            let tags = match tagging {
                Tagging::AtMostOne | Tagging::Two => "read",
                Tagging::Cut => "cut",
                Tagging::TooMany => "too-many",
            };
            json!({ "step": "tags", "vlan": frame_vlan(*vlan), "etherType": ethertype, "tags": tags })
        }
        Step::Sender { as_host, vlan } => {
            json!({ "step": "sender", "mac": if *as_host { "other" } else { "own" }, "vlan": vlan.id() })
        }
        Step::Mac { mac, vlan, port: whose } => {
            let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
            json!({ "step": "mac", "mac": mac, "vlan": frame_vlan(*vlan), "port": port(*whose) })
        }
        Step::Target { address, port: whose } => {
            json!({ "step": "target", "address": address.to_string(), "port": port(*whose) })
        }
        Step::Destination { address, port: whose } => {
            json!({ "step": "destination", "address": address.to_string(), "port": port(*whose) })
        }
        Step::Source { address, own } => json!({ "step": "source", "address": address.to_string(), "own": own }),
        Step::Flow { port: whose, flow } => {
            let flow = flow.as_ref().map(ToString::to_string);
            json!({ "step": "flow", "port": port(*whose), "flow": flow })
        }
        Step::Quoted => json!({ "step": "quoted" }),
        Step::Fragment { port: whose } => json!({ "step": "fragment", "port": port(*whose) }),
        Step::Length { length, most } => json!({ "step": "length", "length": length, "most": most }),
        Step::Rate { kind, limited, known, within } => {
            let kind = match kind {
                LimitedKind::Broadcast => "broadcast",
                LimitedKind::Multicast => "multicast",
                LimitedKind::Unicast => "unicast",
                LimitedKind::Frames => "frames",
                LimitedKind::Bits => "bits",
            };
            json!({ "step": "rate", "kind": kind, "limited": limited, "known": known, "within": within })
        }
    }
}

fn frame_vlan(vlan: FrameVlan) -> Value {
    match vlan {
        FrameVlan::Untagged => Value::Null,
        FrameVlan::Tagged(id) => id.into(),
        FrameVlan::Foreign => "802.1ad".into(),
    }
}
