//! Names of what the kernel granted, as JavaScript has them.

use xsknet_xsk::BindMode;

pub(crate) fn bind_mode(mode: BindMode) -> String {
    match mode {
        BindMode::Copy => "copy",
        BindMode::ZeroCopy => "zero-copy",
    }
    .into()
}
