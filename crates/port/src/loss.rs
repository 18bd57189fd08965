//! What is gone although nobody closed it here.

use std::collections::{HashMap, HashSet};

use xsknet_link::DeviceName;

use crate::ids::PortKey;

/// Something that others took away. What is left of it goes by closing it all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// A NIC was deleted, or moved to another network namespace. All its ports are cut off; they are not reported one
    /// by one.
    Uplink {
        /// The NIC.
        device: DeviceName,
    },
    /// A port's pair was deleted, or the client of a pinned port did something else to its end.
    Port {
        /// The NIC it belongs to.
        uplink: DeviceName,
        /// The port.
        key: PortKey,
        /// What became of the inner end of a pinned port, in words: `its MTU was changed from 1500 to 1400`. `None` for
        /// other ports.
        change: Option<String>,
    },
}

/// Holds losses of ports back until their owners know of the ports.
#[derive(Debug, Default)]
pub(crate) struct LossGate {
    known: HashSet<PortKey>,
    early: HashMap<PortKey, Loss>,
}

impl LossGate {
    /// A loss: returned where it can be reported now, kept where its port is not known yet.
    pub(crate) fn lost(&mut self, loss: Loss) -> Option<Loss> {
        match &loss {
            Loss::Port { key, .. } if !self.known.contains(key) => {
                self.early.insert(*key, loss);
                None
            }
            _ => Some(loss),
        }
    }

    /// From now on the owner knows of this port. Returns the loss that came before.
    pub(crate) fn announced(&mut self, key: PortKey) -> Option<Loss> {
        self.known.insert(key);
        self.early.remove(&key)
    }

    /// A port was closed: its loss is not reported any more.
    pub(crate) fn closed(&mut self, key: PortKey) {
        self.known.remove(&key);
        self.early.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u32) -> (PortKey, Loss) {
        let key = PortKey::new(number);
        (key, Loss::Port { uplink: "eth0".parse().unwrap(), key, change: None })
    }

    #[test]
    fn a_loss_waits_until_its_port_is_announced_and_is_told_once() {
        let (mut gate, (key, loss)) = (LossGate::default(), port(1));
        assert_eq!(gate.lost(loss.clone()), None);
        assert_eq!(gate.announced(PortKey::new(2)), None, "another port");
        assert_eq!(gate.announced(key), Some(loss.clone()));
        assert_eq!(gate.announced(key), None);
        assert_eq!(gate.lost(loss.clone()), Some(loss), "of a known port at once");
    }

    #[test]
    fn the_loss_of_a_nic_waits_for_nothing() {
        let loss = Loss::Uplink { device: "eth0".parse().unwrap() };
        assert_eq!(LossGate::default().lost(loss.clone()), Some(loss));
    }

    #[test]
    fn a_port_that_was_closed_is_not_lost_any_more() {
        let (mut gate, (key, loss)) = (LossGate::default(), port(1));
        assert_eq!(gate.lost(loss.clone()), None);
        gate.closed(key);
        assert_eq!(gate.announced(key), None);
        gate.closed(key);
        assert_eq!(gate.lost(loss), None, "nobody knows of it");
    }
}
