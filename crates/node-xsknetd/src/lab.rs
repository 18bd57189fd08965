//! Labs with names, for `xsknetd lab`.

use serde_json::json;
use xsknet_testkit::{CARD, FAR, HOST4, HOST6, LabError, LabName, NamedLab, REMOTE4, REMOTE6, Raised, port_addresses};

use crate::error::Failure;
use crate::instance::blocking;

/// A machine of a lab and its end of the wire.
#[napi_derive::napi(object, object_from_js = false)]
pub struct LabMachine {
    /// The path of its network namespace.
    pub namespace: String,
    /// Its device.
    pub device: String,
    /// Its addresses, each with the length of its prefix.
    pub addresses: Vec<String>,
}

/// A lab that stands.
#[napi_derive::napi(object, object_from_js = false)]
pub struct Lab {
    pub name: String,
    /// Whether it was built just now, stood already, or was built in place of what remained of one.
    #[napi(ts_type = "'built' | 'rebuilt' | 'stood'")]
    pub raised: String,
    /// The machine with the card.
    pub host: LabMachine,
    /// The machine at the wire's far end.
    pub remote: LabMachine,
    /// Addresses that are kept for ports, an IPv4 and an IPv6 one each.
    pub ports: Vec<Vec<String>>,
}

/// Ports that the lab has addresses for.
const PORTS: u8 = 6;

/// Sees to it that a lab of this name stands.
#[napi_derive::napi]
pub async fn raise_lab(name: String) -> napi::Result<Lab> {
    blocking(move || {
        let lab = NamedLab::new(name.parse::<LabName>()?);
        let raised = match lab.raise()? {
            Raised::Built => "built",
            Raised::Rebuilt => "rebuilt",
            Raised::Stood => "stood",
        };
        let with_prefixes = |v4: String, v6: String| vec![format!("{v4}/24"), format!("{v6}/64")];
        Ok(Lab {
            name,
            raised: raised.into(),
            host: LabMachine {
                namespace: lab.host.display().to_string(),
                device: CARD.into(),
                addresses: with_prefixes(HOST4.to_string(), HOST6.to_string()),
            },
            remote: LabMachine {
                namespace: lab.remote.display().to_string(),
                device: FAR.into(),
                addresses: with_prefixes(REMOTE4.to_string(), REMOTE6.to_string()),
            },
            ports: (0..PORTS)
                .map(port_addresses)
                .map(|[v4, v6]| with_prefixes(v4.to_string(), v6.to_string()))
                .collect(),
        })
    })
    .await
}

/// Removes the lab of this name, and returns the paths of the namespaces that went.
#[napi_derive::napi]
pub async fn remove_lab(name: String) -> napi::Result<Vec<String>> {
    blocking(move || {
        let removed = NamedLab::new(name.parse::<LabName>()?).remove()?;
        Ok(removed.iter().map(|path| path.display().to_string()).collect())
    })
    .await
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Self {
        let (code, details) = match &error {
            LabError::NameInvalid { name } => ("CONFIGURATION_INVALID", json!({ "name": name })),
            LabError::Foreign { path, .. } => ("LAB_FOREIGN", json!({ "path": path })),
            LabError::Inhabited { lab, inhabitants } => {
                let pids: Vec<u32> = inhabitants.iter().map(|who| who.pid).collect();
                ("LAB_BUSY", json!({ "lab": lab, "pids": pids }))
            }
            LabError::Hidden { path } => ("MOUNTS_HIDDEN", json!({ "path": path })),
            LabError::Io { attempt, path, .. } => ("KERNEL_REFUSED", json!({ "attempt": attempt, "path": path })),
            LabError::Crowded { .. }
            | LabError::Late { .. }
            | LabError::Namespace(_)
            | LabError::Enter(_)
            | LabError::Link(_)
            | LabError::Offload(_) => ("KERNEL_REFUSED", json!({})),
        };
        Self::of(code, &error, error.hint(), details)
    }
}
