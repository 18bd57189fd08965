//! Descriptors on their way through JavaScript, which can count and close them and hand them on, and nothing else.

use std::mem;
use std::os::fd::OwnedFd;

use napi_derive::napi;
use xsknet_control::Arrived;

/// Descriptors that came with a message, or that one takes along. Taking them empties this.
#[napi]
#[derive(Default)]
pub struct Descriptors(Held);

enum Held {
    /// Made here.
    Own(Vec<OwnedFd>),
    /// Of a client, which may have made them so that closing them blocks.
    Arrived(Arrived),
}

impl Default for Held {
    fn default() -> Self {
        Self::Own(Vec::new())
    }
}

impl Descriptors {
    /// Hands these to JavaScript.
    pub fn new(descriptors: Vec<OwnedFd>) -> Self {
        Self(Held::Own(descriptors))
    }

    /// Takes them out again.
    pub fn take(&mut self) -> Vec<OwnedFd> {
        match mem::take(&mut self.0) {
            Held::Own(descriptors) => descriptors,
            Held::Arrived(arrived) => arrived.take(),
        }
    }

    /// Takes a client's out, for a look before anything is done with them.
    pub fn take_arrived(&mut self) -> Arrived {
        match mem::take(&mut self.0) {
            Held::Arrived(arrived) => arrived,
            Held::Own(descriptors) => descriptors.into(),
        }
    }
}

impl From<Arrived> for Descriptors {
    fn from(arrived: Arrived) -> Self {
        Self(Held::Arrived(arrived))
    }
}

#[napi]
impl Descriptors {
    /// How many there are, those included that came and could not be taken in: 0 once they are handed on or closed.
    #[napi(getter)]
    pub fn length(&self) -> u32 {
        let length = match &self.0 {
            Held::Own(descriptors) => descriptors.len(),
            Held::Arrived(arrived) => arrived.len(),
        };
        length.try_into().unwrap_or(u32::MAX)
    }

    /// Closes them, without waiting for that where it takes its time.
    #[napi]
    pub fn close(&mut self) {
        self.0 = Held::default();
    }
}
