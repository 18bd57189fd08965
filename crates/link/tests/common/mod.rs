//! Namespaces and pairs of a test's own: nothing has a name outside, so nothing stays behind.

use std::thread;
use std::time::{Duration, Instant};

use xsknet_link::{Device, DeviceName, End, Ethtool, IfIndex, Links, Netns, VethIndexes, VethPair};

pub fn name(name: &str) -> DeviceName {
    name.parse().unwrap()
}

/// Two namespaces, `outer` and `inner`, with one end of a veth pair in each; both ends down.
///
/// Hold it whole: a namespace that is dropped takes its end, and so both ends, away some milliseconds later.
pub struct Pair {
    pub outer: Side,
    pub inner: Side,
}

pub struct Side {
    pub netns: Netns,
    pub links: Links,
    pub ethtool: Ethtool,
    pub name: DeviceName,
    pub index: IfIndex,
}

impl Pair {
    pub fn new() -> Self {
        let (outer, inner) = (Netns::create().unwrap(), Netns::create().unwrap());
        let links = Links::in_namespace(&outer).unwrap();
        let pair = VethPair::new(End::new(name("outer")), End::new(name("inner")).inside(&inner));
        let VethIndexes { outer: outer_index, inner: inner_index } = links.add_veth(&pair).unwrap();
        Self { outer: Side::new(outer, "outer", outer_index), inner: Side::new(inner, "inner", inner_index) }
    }

    pub fn up(self) -> Self {
        self.outer.links.set_up(self.outer.index).unwrap();
        self.inner.links.set_up(self.inner.index).unwrap();
        for side in [&self.outer, &self.inner] {
            wait_until("carrier", || if side.device().lower_up { Ok(()) } else { Err(&side.name) });
        }
        self
    }
}

impl Side {
    fn new(netns: Netns, device: &str, index: IfIndex) -> Self {
        let links = Links::in_namespace(&netns).unwrap();
        let ethtool = Ethtool::in_namespace(&netns).unwrap();
        Self { netns, links, ethtool, name: name(device), index }
    }

    pub fn device(&self) -> Device {
        self.links.by_index(self.index).unwrap()
    }
}

/// Looks until it is there, and gives up after 5 s with what it saw last.
pub fn wait_until<T, E: std::fmt::Debug>(what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if Instant::now() > deadline => panic!("no {what} within 5 s: {seen:?}"),
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}
