//! Descriptors on their way through JavaScript, which can count and close them and nothing else.

use std::mem;
use std::os::fd::OwnedFd;

use napi_derive::napi;

/// Descriptors that a message takes along. Whoever sends them empties this.
#[napi]
pub struct Descriptors(Vec<OwnedFd>);

impl Descriptors {
    /// Hands these to JavaScript.
    pub fn new(descriptors: Vec<OwnedFd>) -> Self {
        Self(descriptors)
    }

    /// Takes them out again.
    pub fn take(&mut self) -> Vec<OwnedFd> {
        mem::take(&mut self.0)
    }
}

#[napi]
impl Descriptors {
    /// How many there are: 0 once they are sent or closed.
    #[napi(getter)]
    pub fn length(&self) -> u32 {
        self.0.len().try_into().unwrap_or(u32::MAX)
    }

    /// Closes them.
    #[napi]
    pub fn close(&mut self) {
        self.0.clear();
    }
}
