//! Sets of completion indexes, as a Job's status writes them: `1,3-5,7`.

use std::collections::BTreeSet;
use std::fmt;

/// Ordered intervals with gaps between them, ends included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<(u32, u32)>);

impl Indexes {
    /// What is not a number is left out, and what is not below `completions`.
    pub fn parse(text: &str, completions: u32) -> Self {
        let mut intervals: Vec<(u32, u32)> = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) else { continue };
            if first >= completions {
                break;
            }
            push(&mut intervals, (first, last.min(completions - 1)));
        }
        Self(intervals)
    }

    pub fn of(indexes: impl IntoIterator<Item = u32>) -> Self {
        let sorted: BTreeSet<u32> = indexes.into_iter().collect();
        let mut intervals = Vec::new();
        sorted.into_iter().for_each(|index| push(&mut intervals, (index, index)));
        Self(intervals)
    }

    pub fn union(&self, other: &Self) -> Self {
        let mut all: Vec<(u32, u32)> = self.0.iter().chain(&other.0).copied().collect();
        all.sort();
        let mut intervals = Vec::with_capacity(all.len());
        all.into_iter().for_each(|interval| push(&mut intervals, interval));
        Self(intervals)
    }

    pub fn contains(&self, index: u32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|(first, last)| (last - first) as usize + 1).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many are in both.
    pub fn overlap(&self, other: &Self) -> usize {
        let of = |(first, last): &(u32, u32)| {
            let overlap = |(from, to): &(u32, u32)| (u32::min(*last, *to) + 1).saturating_sub(u32::max(*first, *from)) as usize;
            other.0.iter().map(overlap).sum::<usize>()
        };
        self.0.iter().map(of).sum()
    }

    /// The lowest that are not in the set, below `end`.
    pub fn missing(&self, end: u32, number: usize) -> Vec<u32> {
        let mut missing = Vec::new();
        let mut next = 0;
        for (first, last) in self.0.iter().copied().chain([(end, end)]) {
            let room = number - missing.len();
            missing.extend((next..first.min(end)).take(room));
            next = last.saturating_add(1);
        }
        missing
    }
}

/// Adds an interval that begins where the last one does, or later.
fn push(intervals: &mut Vec<(u32, u32)>, (first, last): (u32, u32)) {
    match intervals.last_mut() {
        Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
        _ => intervals.push((first, last)),
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (first, last)) in self.0.iter().enumerate() {
            let comma = if position > 0 { "," } else { "" };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn indexes_are_read_and_written_as_upstream_does() {
        let check = |text: &str, completions: u32, expect: &str, len: usize| {
            let indexes = Indexes::parse(text, completions);
            assert_eq!((indexes.to_string().as_str(), indexes.len()), (expect, len), "{text}");
        };
        check("", 5, "", 0);
        check("0", 5, "0", 1);
        check("0,1", 5, "0,1", 2);
        check("0-2,4", 5, "0-2,4", 4);
        check("0,2,4-9", 6, "0,2,4,5", 4);
        check("1,2,3", 9, "1-3", 3);
        check("x,3", 9, "3", 1);
        check("7", 5, "", 0);
    }

    proptest! {
        #[test]
        fn a_set_of_indexes_is_a_set(a in prop::collection::btree_set(0u32..60, 0..40), b in prop::collection::btree_set(0u32..60, 0..40), number in 0usize..70) {
            let (left, right) = (Indexes::of(a.iter().copied()), Indexes::of(b.iter().copied()));
            prop_assert_eq!(Indexes::parse(&left.to_string(), 60), left.clone());
            prop_assert_eq!(left.union(&right), Indexes::of(a.union(&b).copied()));
            prop_assert_eq!(left.overlap(&right), a.intersection(&b).count());
            prop_assert!((0..60).all(|index| left.contains(index) == a.contains(&index)));
            let missing: Vec<u32> = (0..60).filter(|index| !a.contains(index)).take(number).collect();
            prop_assert_eq!(left.missing(60, number), missing);
        }
    }
}
