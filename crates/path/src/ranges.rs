//! Chunks on their way between processes: ranges of a first chunk and a number.

/// A range that cannot be, among those that are to name chunks of a UMEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} chunks from {first} on are said to be in FILL, of {frames} chunks in all")]
pub struct RangeRefused {
    /// The first chunk of the range.
    pub first: u32,
    /// Its chunks.
    pub count: u32,
    /// Chunks of the UMEM.
    pub frames: u32,
}

/// The chunks of ranges. `frames` bounds them, so that a wrong number costs no memory.
///
/// # Errors
/// [`RangeRefused`] where a range lies outside, or all together are more chunks than there are.
pub fn chunks_of(ranges: &[(u32, u32)], frames: u32) -> Result<Vec<u32>, RangeRefused> {
    let mut chunks = Vec::new();
    for &(first, count) in ranges {
        let end = first.checked_add(count).filter(|end| *end <= frames);
        let end = end.filter(|_| chunks.len() + count as usize <= frames as usize);
        chunks.extend(first..end.ok_or(RangeRefused { first, count, frames })?);
    }
    Ok(chunks)
}

/// The ranges of chunks, as few as their order allows.
#[must_use]
pub fn ranges_of(chunks: &[u32]) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &chunk in chunks {
        match ranges.last_mut() {
            Some((first, count)) if first.checked_add(*count) == Some(chunk) => *count += 1,
            _ => ranges.push((chunk, 1)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{RangeRefused, chunks_of, ranges_of};

    #[test]
    fn neighbours_share_a_range() {
        assert_eq!(ranges_of(&[0, 1, 2, 5, 6, 9]), [(0, 3), (5, 2), (9, 1)]);
        assert_eq!(ranges_of(&[]), []);
        assert_eq!(ranges_of(&[u32::MAX - 1, u32::MAX, 0]), [(u32::MAX - 1, 2), (0, 1)]);
    }

    #[test]
    fn a_range_outside_is_refused_whatever_its_numbers() {
        for (first, count) in [(0, 9), (8, 1), (9, 0), (1, u32::MAX), (u32::MAX, 1), (u32::MAX, u32::MAX)] {
            assert_eq!(chunks_of(&[(first, count)], 8), Err(RangeRefused { first, count, frames: 8 }));
        }
        assert_eq!(chunks_of(&[(8, 0), (0, 8)], 8).unwrap().len(), 8);
    }

    #[test]
    fn ranges_do_not_name_more_chunks_than_there_are() {
        assert_eq!(chunks_of(&[(0, 5), (0, 4)], 8), Err(RangeRefused { first: 0, count: 4, frames: 8 }));
        assert_eq!(
            chunks_of(&[(0, 2), (0, 2)], 8),
            Ok(vec![0, 1, 0, 1]),
            "a chunk named twice is adoption's to refuse"
        );
    }

    proptest! {
        #[test]
        fn chunks_come_back_as_they_were(chunks in proptest::collection::vec(0_u32..64, 0..64)) {
            prop_assert_eq!(chunks_of(&ranges_of(&chunks), 64).unwrap(), chunks);
        }
    }
}
