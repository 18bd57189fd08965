//! What lies in bpffs below the folders of instances.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::StepError;

/// Removes a folder of pins. Only bpffs is below it, so following it down leads nowhere else.
///
/// Programs are taken off their devices first: the kernel ends a link some time after its last pin is gone (a work queue),
/// and a card has to be free when this returns. Sockets are taken out of their maps, or a client that still holds its own
/// would keep the map alive.
pub(crate) fn remove(folder: &Path) -> Result<(), StepError> {
    for pin in below(folder) {
        let (attempt, done) = if is_link(&pin) {
            ("detach a program by its pin", xsknet_bpf::remove_link_pin(&pin))
        } else if pin.ends_with("maps/xsks") {
            ("take a port's socket out of its map", xsknet_bpf::empty_socket_map(&pin))
        } else {
            continue;
        };
        done.map_err(|cause| StepError::Io { attempt, cause })?;
    }
    match std::fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(StepError::Io { attempt: "remove pins", cause }),
        _ => Ok(()),
    }
}

/// The instance that keeps a program on a device, by the pins of all of them.
pub(crate) fn owner(all: &Path, program: u32) -> Option<String> {
    let instances = std::fs::read_dir(all).into_iter().flatten().flatten();
    let holds = |folder: &Path| {
        let mut links = below(folder).into_iter().filter(|pin| is_link(pin));
        links.any(|link| matches!(xsknet_bpf::pinned_program(&link), Ok(Some(its)) if its == program))
    };
    let found = instances.map(|entry| entry.path()).find(|folder| holds(folder))?;
    Some(found.file_name()?.to_string_lossy().into_owned())
}

fn is_link(pin: &Path) -> bool {
    pin.as_os_str().as_encoded_bytes().ends_with(b"-link")
}

/// All pins in a folder and in those below it.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut pins = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pins.extend(below(&path));
        } else {
            pins.push(path);
        }
    }
    pins
}
