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

/// More chunks than the FILL ring that they are for has slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{chunks} chunks were given for a FILL ring of {slots} slots")]
pub struct TooManyChunks {
    /// Chunks of all ranges.
    pub chunks: u64,
    /// Slots of the ring.
    pub slots: u32,
}

/// The chunks of ranges for a FILL ring of this many slots, which bound them, so that a wrong number costs no memory.
/// Whether the UMEM has these chunks is for the ring's maker to check.
///
/// # Errors
/// [`TooManyChunks`].
pub fn chunks_for_fill(ranges: &[(u32, u32)], slots: u32) -> Result<Vec<u32>, TooManyChunks> {
    let chunks: u64 = ranges.iter().map(|&(_, count)| u64::from(count)).sum();
    if chunks > u64::from(slots) {
        return Err(TooManyChunks { chunks, slots });
    }
    Ok(ranges.iter().flat_map(|&(first, count)| (0..count).map(move |n| first.saturating_add(n))).collect())
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

    use super::{RangeRefused, TooManyChunks, chunks_for_fill, chunks_of, ranges_of};

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

    #[test]
    fn a_fill_ring_gets_no_more_chunks_than_it_has_slots() {
        assert_eq!(chunks_for_fill(&[(3072, 3), (7, 1)], 4), Ok(vec![3072, 3073, 3074, 7]));
        assert_eq!(chunks_for_fill(&[(0, 4), (9, 1)], 4), Err(TooManyChunks { chunks: 5, slots: 4 }));
        let most = u32::MAX;
        let all = 2 * u64::from(most);
        assert_eq!(chunks_for_fill(&[(0, most), (0, most)], 4), Err(TooManyChunks { chunks: all, slots: 4 }));
        // Not a chunk of any UMEM, however often it is named.
        assert_eq!(chunks_for_fill(&[(most - 1, 4)], 4), Ok(vec![most - 1, most, most, most]));
    }

    proptest! {
        #[test]
        fn chunks_come_back_as_they_were(chunks in proptest::collection::vec(0_u32..64, 0..64)) {
            prop_assert_eq!(chunks_of(&ranges_of(&chunks), 64).unwrap(), chunks);
        }
    }
}
