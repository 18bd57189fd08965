//! The Internet checksum (RFC 1071).

/// A running sum; every part but the last has an even length.
#[derive(Debug, Clone, Copy, Default)]
pub struct Checksum(u64);

impl Checksum {
    /// Adds bytes, as big-endian words; an odd last byte is padded with zero.
    pub fn with(mut self, bytes: &[u8]) -> Self {
        let words = bytes.chunks_exact(2);
        if let [last] = words.remainder() {
            self.0 += u64::from(*last) << 8;
        }
        self.0 += words.map(|word| u64::from(u16::from_be_bytes([word[0], word[1]]))).sum::<u64>();
        self
    }

    /// Adds the pseudo-header of IPv6 (RFC 8200, 8.1).
    pub fn pseudo_ipv6(self, source: &[u8; 16], destination: &[u8; 16], next_header: u8, length: u32) -> Self {
        self.with(source).with(destination).with(&length.to_be_bytes()).with(&[0, next_header])
    }

    /// Adds the pseudo-header of IPv4 (RFC 768).
    pub fn pseudo_ipv4(self, source: &[u8; 4], destination: &[u8; 4], protocol: u8, length: u16) -> Self {
        self.with(source).with(destination).with(&[0, protocol]).with(&length.to_be_bytes())
    }

    /// The field's value.
    pub fn finish(self) -> u16 {
        let mut sum = self.0;
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(Checksum::default().with(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]).finish(), !0xddf2);
    }

    #[test]
    fn a_header_with_its_sum_in_place_sums_to_zero() {
        let mut header = *b"\x45\x00\x00\x54\x00\x00\x40\x00\x40\x01\x00\x00\xc0\x00\x02\x01\xc0\x00\x02\x0a";
        let sum = Checksum::default().with(&header).finish();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(Checksum::default().with(&header).finish(), 0);
    }
}
