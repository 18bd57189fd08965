//! The client's side of BPF rings, played by `bpf()` calls.

use aya::maps::{Array, Map, MapData};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::RingMaps;
use crate::contract::{RING_CHUNK, RING_SLOTS, RingControl};

pub const CHUNKS: u32 = 8;
const WORDS: usize = size_of::<RingControl>() / 4;
pub const RX: usize = 16;
pub const TX: usize = RX + 2 * RING_SLOTS as usize;

pub type Words = [u32; WORDS];

/// A client that knows nothing but its maps.
pub struct RingClient {
    pub maps: RingMaps,
    control: Array<MapData, Words>,
    memory: Array<MapData, [u8; RING_CHUNK as usize]>,
    slots: usize,
    pub posted: u32,
    sent: u32,
}

impl RingClient {
    pub fn new(slots: usize) -> Self {
        let maps = RingMaps::new(CHUNKS).unwrap();
        let open = |fd: &std::os::fd::OwnedFd| Map::Array(MapData::from_fd(fd.try_clone().unwrap()).unwrap());
        let (control, memory) = (open(&maps.control).try_into().unwrap(), open(&maps.memory).try_into().unwrap());
        Self { maps, control, memory, slots, posted: 0, sent: 0 }
    }

    pub fn change(&mut self, change: impl FnOnce(&mut Words)) {
        let mut words = self.control.get(&0, 0).unwrap();
        change(&mut words);
        self.control.set(0, words, 0).unwrap();
    }

    pub fn word(&self, at: usize) -> u32 {
        self.control.get(&0, 0).unwrap()[at]
    }

    /// Gives a chunk for reception.
    pub fn post(&mut self, chunk: u32) {
        let (at, sequence) = (RX + 2 * (self.posted as usize % self.slots), 2 * self.posted + 1);
        self.change(|words| [words[at], words[at + 1]] = [sequence, chunk]);
        self.posted += 1;
    }

    /// What has become of the slot of a position: its sequence and its value.
    pub fn rx(&self, position: u32) -> (u32, u32) {
        let at = RX + 2 * (position as usize % self.slots);
        (self.word(at), self.word(at + 1))
    }

    pub fn bytes(&self, chunk: u32, offset: u32, length: usize) -> Vec<u8> {
        self.memory.get(&chunk, 0).unwrap()[offset as usize..][..length].to_vec()
    }

    /// Has a frame wait to be sent, in chunk 1.
    pub fn put(&mut self, offset: u32, frame: &[u8]) {
        let mut bytes = [0xaa; RING_CHUNK as usize];
        bytes[offset as usize..][..frame.len()].copy_from_slice(frame);
        self.memory.set(1, bytes, 0).unwrap();
        self.put_entry(RING_CHUNK + offset, frame.len() as u32);
    }

    pub fn put_entry(&mut self, address: u32, length: u32) {
        let (at, sequence) = (TX + 4 * (self.sent as usize % self.slots), 2 * self.sent + 1);
        self.change(|words| words[at..at + 3].copy_from_slice(&[sequence, address, length]));
        self.sent += 1;
    }

    /// The last entry has been given back.
    pub fn expect_taken(&self) {
        let position = self.sent - 1;
        assert_eq!(self.word(TX + 4 * (position as usize % self.slots)), 2 * position + 2);
    }

    pub fn expect_waiting(&self) {
        let position = self.sent - 1;
        assert_eq!(self.word(TX + 4 * (position as usize % self.slots)), 2 * position + 1);
    }

    pub fn rings(&self) -> bool {
        let mut fds = [PollFd::new(&self.maps.wake, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }
}
