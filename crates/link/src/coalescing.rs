//! How long a device lets frames gather before the kernel takes them up.

use std::time::Duration;

use crate::generic::attribute;
use crate::netlink::u32_of;
use crate::{IfIndex, LinkError, Links};

impl Links {
    /// Lets frames gather: once a NAPI instance of the device has handled some, it looks again after this time, however
    /// many arrive until then, and returns to interrupts when there were none. So the first frame after an idle period
    /// is not delayed.
    ///
    /// This is `gro_flush_timeout` with `napi_defer_hard_irqs` 1, set for each instance of the device and gone with it:
    /// that of a veth lives while the device is up and has a native XDP program or GRO. Says how many there were. Since
    /// Linux 6.13.
    ///
    /// # Errors
    /// [`LinkError::DeviceMissing`]; [`LinkError::Refused`], with EOPNOTSUPP from an older kernel.
    #[doc(alias = "gro_flush_timeout")]
    #[doc(alias = "napi_defer_hard_irqs")]
    pub fn coalesce(&self, index: IfIndex, time: Duration) -> Result<usize, LinkError> {
        let nanoseconds = u32::try_from(time.as_nanos()).unwrap_or(u32::MAX);
        let refused = |refusal| self.refused("let frames gather", index, refusal);
        let Some(family) = self.netdev_family().map_err(refused)? else {
            return Err(refused(rustix::io::Errno::OPNOTSUPP.into()));
        };
        let listed = self.generic.dump(family.request(NETDEV_CMD_NAPI_GET, &[(NETDEV_A_NAPI_IFINDEX, index.get())]));
        let listed = listed.map_err(refused)?;
        let ids: Vec<_> = listed.iter().filter_map(|answer| u32_of(attribute(answer, NETDEV_A_NAPI_ID)?)).collect();
        for id in &ids {
            let settings = [
                (NETDEV_A_NAPI_ID, *id),
                (NETDEV_A_NAPI_DEFER_HARD_IRQS, 1),
                (NETDEV_A_NAPI_GRO_FLUSH_TIMEOUT, nanoseconds),
            ];
            self.generic.request(family.request(NETDEV_CMD_NAPI_SET, &settings), 0).map_err(refused)?;
        }
        Ok(ids.len())
    }
}

// `enum` of the kernel's include/uapi/linux/netdev.h.
const NETDEV_CMD_NAPI_GET: u8 = 11;
const NETDEV_CMD_NAPI_SET: u8 = 14;
const NETDEV_A_NAPI_IFINDEX: u16 = 1;
const NETDEV_A_NAPI_ID: u16 = 2;
const NETDEV_A_NAPI_DEFER_HARD_IRQS: u16 = 5;
const NETDEV_A_NAPI_GRO_FLUSH_TIMEOUT: u16 = 6;
