/// An index of a ring: a place on a circle of 2^32, free to wrap. It has no order: of two positions neither is "before"
/// the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(u32);

impl Position {
    /// The position that a ring's word holds.
    #[must_use]
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// What a ring's word holds for this position.
    #[must_use]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// The position `entries` further on.
    #[must_use]
    pub const fn advanced(self, entries: u32) -> Self {
        Self(self.0.wrapping_add(entries))
    }

    /// The slot of this position in a ring of `size` slots, a power of two.
    #[must_use]
    pub const fn slot(self, size: u32) -> u32 {
        self.0 & size.wrapping_sub(1)
    }
}

/// Entries that the producer has published and the consumer has not yet given back; `None` when both indices cannot
/// belong to one ring of `size` slots.
///
/// ```
/// use xsknet_xsk::ring::{Position, published};
///
/// let at = Position::from_word;
/// assert_eq!(published(at(1), at(u32::MAX - 1), 8), Some(3)); // across the wrap
/// assert_eq!(published(at(0), at(1), 8), None); // a consumer ahead of its producer
/// ```
#[must_use]
pub const fn published(produced: Position, consumed: Position, size: u32) -> Option<u32> {
    let entries = produced.0.wrapping_sub(consumed.0);
    if entries <= size { Some(entries) } else { None }
}

#[cfg(test)]
mod tests {
    use super::{Position, published};

    const SIZE: u32 = 8;

    fn entries(produced: u32, consumed: u32) -> Option<u32> {
        published(Position::from_word(produced), Position::from_word(consumed), SIZE)
    }

    #[test]
    fn empty_and_full_wherever_the_circle_stands() {
        for start in [0, 1, 7, 8, u32::MAX - 8, u32::MAX - 1, u32::MAX] {
            assert_eq!(entries(start, start), Some(0));
            assert_eq!(entries(start.wrapping_add(SIZE), start), Some(SIZE));
        }
    }

    #[test]
    fn one_more_than_full_and_one_less_than_empty_are_no_ring() {
        for start in [0, 1, u32::MAX - SIZE, u32::MAX] {
            assert_eq!(entries(start.wrapping_add(SIZE + 1), start), None);
            assert_eq!(entries(start, start.wrapping_add(1)), None);
        }
    }

    #[test]
    fn slots_follow_one_another_across_the_wrap() {
        let last = Position::from_word(u32::MAX);
        assert_eq!((last.slot(SIZE), last.advanced(1).slot(SIZE)), (7, 0));
    }
}
