//! The Rust side of `bpf/include/xsknet/queue.h`: which queue pair of a port gets a packet without ports.

use std::net::Ipv4Addr;

const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

fn stir(value: u64) -> u64 {
    let product = value.wrapping_mul(MIX);
    product ^ product >> 32
}

/// The queue pair, counted from 0, of a port with so many that gets IPv4 packets between two addresses, in either
/// direction, of a protocol other than TCP, UDP and SCTP.
pub(crate) fn queue_pair_of(seed: u32, ends: [Ipv4Addr; 2], protocol: u8, queue_pairs: u32) -> u32 {
    let end = |address: Ipv4Addr| stir(stir(u64::from(u32::from_ne_bytes(address.octets()) ^ seed)));
    let sum = end(ends[0]).wrapping_add(end(ends[1])).wrapping_add(u64::from(protocol));
    (((stir(sum) >> 32) * u64::from(queue_pairs)) >> 32) as u32
}
