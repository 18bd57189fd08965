use std::os::fd::OwnedFd;

use napi_derive::napi;

/// File descriptors that came with a message. They are closed with this object, unless somebody has taken them over.
#[napi]
pub struct Descriptors(Vec<OwnedFd>);

impl Descriptors {
    pub(crate) fn new(descriptors: Vec<OwnedFd>) -> Self {
        Self(descriptors)
    }

    /// Takes all of them, if they are as many as wanted.
    pub(crate) fn take<const N: usize>(&mut self) -> Result<[OwnedFd; N], usize> {
        let count = self.0.len();
        if count == N { std::mem::take(&mut self.0).try_into().map_err(|_| count) } else { Err(count) }
    }
}

#[napi]
impl Descriptors {
    /// How many there still are.
    #[napi(getter)]
    pub fn length(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// Closes them.
    #[napi]
    pub fn close(&mut self) {
        self.0.clear();
    }
}
