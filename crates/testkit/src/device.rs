use xsknet_link::DeviceName;

/// The name of a device, from text that is known to be valid.
///
/// # Panics
/// If it is not valid.
pub fn device(name: &str) -> DeviceName {
    name.parse().expect("a device name")
}
