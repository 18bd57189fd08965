//! The words that a data path shares with the other language, so that a packet costs no call: it reads where the frames
//! of its lease are, and writes down which to send and which to take back. Whatever it writes is input.

use std::sync::atomic::Ordering;

use xsknet_xsk::{CONTINUES, LentDescriptor, NOWHERE};

use crate::words::Words;

/// Words before the tables.
const HEAD: usize = 16;

macro_rules! words {
    ($($(#[$doc:meta])* $word:ident = $at:literal, $name:literal;)*) => {
        /// A word in front of the tables.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Word {
            $($(#[$doc])* $word = $at,)*
        }

        /// The same, as the other language names them.
        const WORDS: &[(&str, u32)] = &[$(($name, $at)),*];
    };
}

words! {
    /// Descriptors in the outbox. The other language counts up, we set it back to 0.
    Queued = 0, "QUEUED";
    /// TX slots that were free when we last looked.
    Slots = 1, "SLOTS";
    /// Frames in TX that the kernel had not taken after the last kick.
    Waiting = 2, "WAITING";
    /// Times that reception had no chunk; wraps.
    Starved = 3, "STARVED";
    /// Descriptors in the returns. The other language counts up, we set it back to 0.
    Returned = 4, "RETURNED";
    /// What a call returns beside its result.
    Second = 5, "SECOND";
    /// Chunks of frames that the other language keeps beyond their lease. It alone writes the word.
    Kept = 6, "KEPT";
    /// The first argument of a call: a word costs a fraction of an argument.
    Argument = 8, "ARGUMENT";
    /// The second argument.
    Length = 9, "LENGTH";
    /// The third.
    End = 10, "END";
    /// The result.
    Result = 11, "RESULT";
}

/// All that both languages must agree on, by name: the place of each word, the number of words in front of the tables
/// (`HEAD`), the address of a descriptor that is none (`NOWHERE`), and the bit of a length whose packet goes on in the
/// next descriptor (`CONTINUES`).
pub fn layout() -> impl Iterator<Item = (&'static str, u32)> {
    let marks = [("HEAD", HEAD as u32), ("NOWHERE", NOWHERE), ("CONTINUES", CONTINUES)];
    WORDS.iter().copied().chain(marks)
}

/// Three tables behind the words: the lease, in places that the other language names frames by; the outbox, what is to
/// be sent, in its order; and the returns, what is to be taken back.
#[derive(Debug)]
pub struct Slate {
    words: Words,
    places: usize,
    slots: usize,
}

impl Slate {
    /// For leases of up to `places` frames and a TX ring of so many slots.
    pub(crate) fn new(places: usize, slots: usize) -> Self {
        Self { words: Words::zeroed(HEAD + 2 * (places + slots + places)), places, slots }
    }

    /// The most frames of a lease.
    #[must_use]
    pub fn places(&self) -> usize {
        self.places
    }

    /// The words, to be lent to the other language.
    #[must_use]
    pub fn words(&self) -> &Words {
        &self.words
    }

    /// Reads a word.
    #[inline]
    #[must_use]
    pub fn get(&self, word: Word) -> u32 {
        self.words[word as usize].load(Ordering::Relaxed)
    }

    /// Writes a word.
    #[inline]
    pub fn set(&self, word: Word, value: u32) {
        self.words[word as usize].store(value, Ordering::Relaxed);
    }

    /// Writes a number into a word, or the largest that a word can have.
    #[inline]
    pub fn set_count(&self, word: Word, count: usize) {
        self.set(word, u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// What a call was given.
    #[inline]
    #[must_use]
    pub fn arguments(&self) -> [usize; 3] {
        [Word::Argument, Word::Length, Word::End].map(|word| self.get(word) as usize)
    }

    /// The places of the lease.
    #[inline]
    pub(crate) fn lease(&self) -> &[LentDescriptor] {
        self.words.descriptors(HEAD, self.places)
    }

    /// What was queued; the other language counts from none again.
    #[inline]
    pub(crate) fn take_queued(&self) -> &[LentDescriptor] {
        let queued = self.take(Word::Queued).min(self.slots);
        self.words.descriptors(HEAD + 2 * self.places, queued)
    }

    /// What was given back; the other language counts from none again.
    #[inline]
    pub(crate) fn take_returned(&self) -> &[LentDescriptor] {
        let returned = self.take(Word::Returned).min(self.places);
        self.words.descriptors(HEAD + 2 * (self.places + self.slots), returned)
    }

    #[inline]
    fn take(&self, word: Word) -> usize {
        let count = self.get(word);
        if count != 0 {
            self.set(word, 0);
        }
        count as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{HEAD, Slate, WORDS, Word, layout};

    #[test]
    fn each_word_has_a_place_of_its_own_in_front_of_the_tables() {
        let places: HashSet<_> = WORDS.iter().map(|(_, at)| *at as usize).collect();
        let names: HashSet<_> = layout().map(|(name, _)| name).collect();
        assert_eq!((places.len(), names.len()), (WORDS.len(), WORDS.len() + 3));
        assert!(places.iter().all(|at| *at < HEAD), "{places:?}");
        assert_eq!(WORDS.last(), Some(&("RESULT", Word::Result as u32)));
    }

    #[test]
    fn the_tables_lie_side_by_side_and_counts_cannot_leave_them() {
        let slate = Slate::new(4, 2);
        assert_eq!(slate.words().len(), HEAD + 2 * (4 + 2 + 4));
        let start = slate.words().as_ptr().addr();
        let words_before = |at: usize| (at - start) / 4;
        assert_eq!((slate.lease().len(), words_before(slate.lease().as_ptr().addr())), (4, HEAD));
        for (count, queued, returned) in [(0, 0, 0), (1, 1, 1), (3, 2, 3), (5, 2, 4), (u32::MAX, 2, 4)] {
            slate.set(Word::Queued, count);
            slate.set(Word::Returned, count);
            let outbox = slate.take_queued();
            assert_eq!((outbox.len(), words_before(outbox.as_ptr().addr())), (queued, HEAD + 8), "{count}");
            let returns = slate.take_returned();
            assert_eq!((returns.len(), words_before(returns.as_ptr().addr())), (returned, HEAD + 12), "{count}");
            assert_eq!((slate.get(Word::Queued), slate.get(Word::Returned)), (0, 0));
        }
    }

    #[test]
    fn a_result_beyond_a_word_is_the_largest_word() {
        let slate = Slate::new(1, 1);
        slate.set_count(Word::Result, 7);
        assert_eq!(slate.get(Word::Result), 7);
        slate.set_count(Word::Result, usize::MAX);
        assert_eq!(slate.get(Word::Result), u32::MAX);
    }
}
