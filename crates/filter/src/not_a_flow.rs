//! Why an expression is not a set of flows.

use std::ops::Range;

use crate::FlowError;

/// Which part of an expression is not a flow, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why} (at byte {})", .range.start)]
pub struct NotAFlow {
    /// The bytes of the text that the reason is about.
    pub range: Range<usize>,
    /// Why.
    pub why: WhyNot,
}

/// Why a part of an expression is not a flow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WhyNot {
    /// A test of something that no field of a flow has.
    #[error("{what} is not a field of a flow")]
    NoField {
        /// What is tested.
        what: &'static str,
    },
    /// `not` before a test whose opposite no field can express.
    #[error("a flow can say `not vlan`, and `not` of nothing else")]
    Negated,
    /// A mask whose set bits are not all in front.
    #[error("a flow has prefixes, and this mask is not the mask of one")]
    Mask,
    /// `vlan` without a number.
    #[error("a flow has one VLAN: write its number behind `vlan`")]
    AnyVlan,
    /// `vlan 0` is a priority tag.
    #[error("VLAN 0 is a priority tag, which no flow selects: write `not vlan` for untagged frames")]
    PriorityTag,
    /// A second `vlan`, which reads an inner tag.
    #[error("a flow has the outer VLAN only, and a second `vlan` in the text reads the inner tag")]
    InnerVlan,
    /// A test behind `vlan`, in a branch that does not ask for a tag.
    #[error("`vlan` stands before this test, which therefore reads behind a tag: put `not vlan` last")]
    BehindTag,
    /// A test of the packet before `vlan`, in a branch that asks for a tag.
    #[error("this test reads an untagged packet, because `vlan` does not stand before it: put `vlan` first")]
    BeforeTag,
    /// An IPv4 address of ARP packets.
    #[error("addresses in ARP packets are not fields of a flow")]
    ArpAddress,
    /// An EtherType that no flow has.
    #[error(transparent)]
    Field(#[from] FlowError),
    /// No packet matches.
    #[error("no packet matches this")]
    Nothing,
    /// More flows than an expression may have.
    #[error("this makes more than {most} flows, or takes more than {most_steps} steps to find them")]
    TooMany {
        /// The most flows of an expression.
        most: usize,
        /// The most pairs of flows that are intersected.
        most_steps: usize,
    },
}
