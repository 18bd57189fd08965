//! What others have undone about a NIC or a port, and whether it is done again.

use xsknet_link::DeviceName;

use crate::error::StepError;
use crate::ids::PortKey;

/// One thing that was undone, and the outcome of doing it again.
#[derive(Debug)]
pub(crate) struct Repair {
    pub(crate) part: Part,
    pub(crate) outcome: Result<(), StepError>,
}

/// What can be repaired.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// A program on its device.
    Program {
        /// The port whose pair it is; `None` for the NIC's own.
        key: Option<PortKey>,
        /// `"uplink"`, `"copy"`, `"guard"` or `"port"`.
        program: &'static str,
        device: DeviceName,
        /// What had become of it: `another program detached it`.
        why: String,
    },
    /// An offload of the NIC that has to be off.
    Offload { name: String },
    /// A VLAN that the NIC has to let in.
    Vlan { id: u16 },
}

/// What had become of a program that is off its device.
pub(crate) const TAKEN_OFF: &str = "another program detached it";
