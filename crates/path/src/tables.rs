//! Tables of descriptors that the other language has made for batches of its own.

use crate::words::Words;

/// Tables by their number. A number is not used twice, so that one which was kept too long names nothing.
#[derive(Debug, Default)]
pub(crate) struct Tables(Vec<Option<Words>>);

/// A table that does not exist, or whose maker was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("batch {0} is none of this UMEM, or the queue that made it has been closed")]
pub struct NoTable(pub usize);

impl Tables {
    /// Makes a table of so many descriptors, all zero, and says its number.
    pub(crate) fn make(&mut self, capacity: u32) -> (usize, Words) {
        let words = Words::zeroed(2 * capacity as usize);
        let number = self.0.len();
        self.0.push(Some(words.clone()));
        (number, words)
    }

    #[inline]
    pub(crate) fn get(&self, number: usize) -> Result<&Words, NoTable> {
        match self.0.get(number) {
            Some(Some(table)) => Ok(table),
            _ => Err(NoTable(number)),
        }
    }

    pub(crate) fn forget(&mut self, number: usize) {
        if let Some(table) = self.0.get_mut(number) {
            *table = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NoTable, Tables};

    #[test]
    fn a_number_names_one_table_and_none_after_it_is_forgotten() {
        let mut tables = Tables::default();
        assert_eq!(tables.get(0).unwrap_err(), NoTable(0));
        let ((first, words), (second, _)) = (tables.make(3), tables.make(0));
        assert_eq!((first, words.len(), second), (0, 6, 1));
        assert_eq!(tables.get(0).unwrap().as_ptr(), words.as_ptr());
        tables.forget(0);
        tables.forget(7);
        assert_eq!(tables.get(0).unwrap_err(), NoTable(0));
        assert_eq!(tables.make(1).0, 2);
        assert_eq!(tables.get(usize::MAX).unwrap_err(), NoTable(usize::MAX));
    }

    #[test]
    fn a_table_has_no_descriptor_beyond_its_words() {
        let (_, words) = Tables::default().make(4);
        let count = |from, count| words.descriptors(from, count).len();
        assert_eq!([count(0, 4), count(0, 9), count(2, usize::MAX), count(8, 1), count(9, 1)], [4, 4, 3, 0, 0]);
        assert_eq!(count(usize::MAX, usize::MAX), 0);
    }
}
