//! What becomes of a NIC's offloads while it is an uplink.

use xsknet_link::{Device, DeviceName, Feature, FeatureChange, FeatureSet, Offload};

use crate::attempt::Attempt;
use crate::context::Context;
use crate::error::StepError;
use crate::journal::{Change, Scope};

/// Switches an offload of a NIC off, each of its features journaled with what was wanted before. What the NIC keeps on
/// regardless is told.
pub(crate) fn switch_off(
    context: &Context,
    scope: Scope,
    nic: &Device,
    offload: Offload,
) -> Result<Vec<Attempt>, StepError> {
    let ethtool = &context.host.ethtool;
    let features = ethtool.features(&nic.name)?;
    let mut kept = Vec::new();
    for name in features.names(offload) {
        let Some(feature) = features.feature(name).filter(|feature| feature.active) else { continue };
        if !feature.changeable {
            let why = "the NIC keeps it on: frames of VLANs look untagged to its program".into();
            kept.push(Attempt { hook: "uplink", step: format!("{name} off"), errno: None, why });
            continue;
        }
        let (device, index) = (nic.name.clone(), nic.index);
        let change = Change::Offload { device, index, feature: name.into(), was: feature.wanted };
        context.change(scope, change, || -> Result<(), StepError> {
            ethtool.set_features(&nic.name, &[(name, false)])?;
            Ok(())
        })?;
    }
    Ok(kept)
}

/// Switches an offload of a NIC off that was switched on since; its state before is in the journal, or was off. What
/// the NIC keeps on regardless was reported when it became an uplink.
pub(crate) fn hold_off(context: &Context, nic: &DeviceName, offload: Offload) -> Vec<(String, Result<(), StepError>)> {
    let ethtool = &context.host.ethtool;
    // Gone, or renamed at this moment: there is an event for either.
    let Ok(features) = ethtool.features(nic) else { return Vec::new() };
    let on = features.names(offload).into_iter().filter_map(|name| features.feature(name));
    let on = on.filter(|feature| feature.active && feature.changeable);
    on.map(|Feature { name, .. }| {
        let off = ethtool.set_features(nic, &[(name.as_str(), false)]);
        (name.clone(), off.map(drop).map_err(StepError::from))
    })
    .collect()
}

/// Attaches a NIC's program. That switches offloads for good: the kernel takes LRO and GRO in hardware back for a
/// program in skb mode, and a driver what it has no use for. So all of them are in the journal meanwhile, and
/// afterwards those that were switched, to be set back once the program is off. Wishes that the kernel dropped are
/// told.
pub(crate) fn recorded<T>(
    context: &Context,
    scope: Scope,
    nic: &Device,
    attach: impl FnOnce() -> Result<T, StepError>,
) -> Result<(T, Vec<Attempt>), StepError> {
    let features = || context.host.ethtool.features(&nic.name);
    let change = |were| Change::Offloads { device: nic.name.clone(), index: nic.index, were };
    let before = features()?;
    let all = before.iter().filter(|feature| feature.changeable);
    let all = change(all.map(|feature| FeatureChange { name: feature.name.clone(), was: feature.wanted }).collect());
    let attached = context.change(scope, all.clone(), attach)?;
    let (switched, attempts) = switched(&before, &features()?);
    if !switched.is_empty() {
        context.change(scope, change(switched), || Ok::<_, StepError>(()))?;
    }
    context.forget(&all)?;
    Ok((attached, attempts))
}

/// What has changed, as it was before; and what of it is a wish that was taken back.
fn switched(before: &FeatureSet, after: &FeatureSet) -> (Vec<FeatureChange>, Vec<Attempt>) {
    let (mut changes, mut attempts) = (Vec::new(), Vec::new());
    for old in before.iter().filter(|feature| feature.changeable) {
        let Some(new) = after.feature(&old.name) else { continue };
        if (new.active, new.wanted) != (old.active, old.wanted) {
            changes.push(FeatureChange { name: old.name.clone(), was: old.wanted });
        }
        if new.wanted != old.wanted {
            let now = if new.wanted { "on" } else { "off" };
            let why = "switched by attaching the program; set back when the uplink is released".into();
            attempts.push(Attempt { hook: "uplink", step: format!("{} {now}", old.name), errno: None, why });
        }
    }
    (changes, attempts)
}
