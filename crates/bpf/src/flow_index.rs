//! Which port has which flow, and which of them a new one would be in conflict with.

use std::collections::{BTreeSet, HashMap};

use xsknet_filter::{Flow, PortRange};

use crate::contract::PortId;

/// All flows of an uplink. Flows of the same precedence can overlap only where they differ in ranges of ports alone, so
/// those that are equal beyond that are kept together.
#[derive(Debug, Clone, Default)]
pub(crate) struct FlowIndex {
    alike: HashMap<Flow, Vec<(PortId, Flow)>>,
    of_ports: HashMap<PortId, BTreeSet<Flow>>,
    count: usize,
}

impl FlowIndex {
    /// Enters the flow, or returns the one that it is in conflict with, and whose that is.
    pub(crate) fn insert(&mut self, port: PortId, flow: Flow) -> Result<(), (PortId, Flow)> {
        let alike = self.alike.entry(without_ranges(flow)).or_default();
        if let Some(&other) = alike.iter().find(|(_, other)| other.conflicts_with(&flow)) {
            return Err(other);
        }
        alike.push((port, flow));
        self.of_ports.entry(port).or_default().insert(flow);
        self.count += 1;
        Ok(())
    }

    /// Whether the port had it.
    pub(crate) fn remove(&mut self, port: PortId, flow: &Flow) -> bool {
        let Some(flows) = self.of_ports.get_mut(&port) else { return false };
        if !flows.remove(flow) {
            return false;
        }
        if flows.is_empty() {
            self.of_ports.remove(&port);
        }
        let core = without_ranges(*flow);
        if let Some(alike) = self.alike.get_mut(&core) {
            alike.retain(|(_, other)| other != flow);
            if alike.is_empty() {
                self.alike.remove(&core);
            }
        }
        self.count -= 1;
        true
    }

    pub(crate) fn has(&self, port: PortId, flow: &Flow) -> bool {
        self.of_ports.get(&port).is_some_and(|flows| flows.contains(flow))
    }

    pub(crate) fn of_port(&self, port: PortId) -> impl Iterator<Item = &Flow> {
        self.of_ports.get(&port).into_iter().flatten()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PortId, &Flow)> {
        self.of_ports.iter().flat_map(|(port, flows)| flows.iter().map(|flow| (*port, flow)))
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }
}

/// With one and the same range in the place of each one.
fn without_ranges(flow: Flow) -> Flow {
    let any_range = |ports: PortRange| if ports.is_one() { Some(ports) } else { PortRange::new(0, u16::MAX).ok() };
    Flow {
        source_ports: flow.source_ports.and_then(any_range),
        destination_ports: flow.destination_ports.and_then(any_range),
        ..flow
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::flows::flow;

    proptest! {
        #[test]
        fn conflicts_are_those_of_all_pairs(flows in prop::collection::vec(flow(), 0..40)) {
            let port = PortId::new(1).unwrap();
            let mut index = FlowIndex::default();
            let mut entered: Vec<Flow> = Vec::new();
            for flow in flows {
                let conflict = entered.iter().any(|other| other.conflicts_with(&flow));
                prop_assert_eq!(index.insert(port, flow).is_err(), conflict);
                if !conflict {
                    entered.push(flow);
                }
            }
            prop_assert_eq!(index.len(), entered.len());
            for flow in &entered {
                prop_assert!(index.remove(port, flow));
                prop_assert!(!index.remove(port, flow));
            }
            prop_assert_eq!((index.len(), index.alike.len(), index.of_ports.len()), (0, 0, 0));
        }
    }
}
