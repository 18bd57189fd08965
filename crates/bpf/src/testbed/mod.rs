//! Programs for test beds, apart from the data path: sources and sinks of numbered frames, and the edge of a VLAN. A
//! daemon loads none of them.

mod generator;
mod sink;
mod tcx;
mod vlan_edge;

pub use generator::{Direction, GeneratorOptions, LiveGenerator, Scatter, SkbGenerator};
pub use sink::{Sink, SinkError, SinkReport};
pub use tcx::TcxError;
pub use vlan_edge::VlanEdge;

opaque_debug!(LiveGenerator, SkbGenerator, Sink, VlanEdge);
