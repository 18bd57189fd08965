//! The way of a socket from one thread of a process to another.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::sync::Mutex;

use rustix::rand::{GetRandomFlags, getrandom};

use crate::channel::{ChannelEnd, locked};

/// What names a parcel: 128 random bits, so that only a thread that was given the key can take it.
pub type Key = [u32; 4];

/// A socket on its way. Dropping it closes the socket, then notifies the thread that gave it.
#[derive(Debug)]
pub struct Parcel<T> {
    /// Closed before the channel is: fields are dropped in this order.
    pub socket: T,
    /// The channel to the thread that gave it.
    pub channel: ChannelEnd,
}

/// Sockets that were given away and not yet taken.
#[derive(Debug)]
pub struct Registry<T>(Mutex<BTreeMap<Key, Parcel<T>>>);

impl<T> Registry<T> {
    /// With no socket in it.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Puts a socket where another thread can take it.
    ///
    /// # Errors
    /// Where the kernel has no random bytes; the socket is closed then.
    pub fn give(&self, parcel: Parcel<T>) -> io::Result<Key> {
        let mut bytes = [MaybeUninit::<u8>::uninit(); 16];
        let (bytes, _) = getrandom(&mut bytes, GetRandomFlags::empty())?;
        let mut key = Key::default();
        for (word, bytes) in key.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *word = u32::from_ne_bytes(*bytes);
        }
        locked(&self.0).insert(key, parcel);
        Ok(key)
    }

    /// Takes the socket of a key, which nobody can do a second time.
    pub fn take(&self, key: &Key) -> Option<Parcel<T>> {
        locked(&self.0).remove(key)
    }
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self::new()
    }
}
