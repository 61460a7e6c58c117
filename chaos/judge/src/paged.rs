//! An array by a large number that is filled here and there: pages of slots, made when first written.

use std::collections::BTreeMap;

/// Slots in a page.
const PAGE: u64 = 1024;
/// Pages below this one are found by index, those above (numbers beyond a billion) in a tree.
const NEAR_PAGES: u64 = 1 << 20;

#[derive(Debug, Clone)]
pub(crate) struct Paged<T> {
    near: Vec<Option<Box<[T]>>>,
    far: BTreeMap<u64, Box<[T]>>,
    pages: u64,
}

impl<T: Copy + Default> Paged<T> {
    pub(crate) fn new() -> Self {
        Paged {
            near: Vec::new(),
            far: BTreeMap::new(),
            pages: 0,
        }
    }

    pub(crate) fn get(&self, index: u64) -> Option<&T> {
        let page = index / PAGE;
        let slots = if page < NEAR_PAGES {
            self.near.get(page as usize)?.as_deref()?
        } else {
            self.far.get(&page)?
        };
        slots.get((index % PAGE) as usize)
    }

    /// The slot, where its page exists.
    pub(crate) fn get_mut(&mut self, index: u64) -> Option<&mut T> {
        let page = index / PAGE;
        let slots = if page < NEAR_PAGES {
            self.near.get_mut(page as usize)?.as_deref_mut()?
        } else {
            self.far.get_mut(&page)?
        };
        slots.get_mut((index % PAGE) as usize)
    }

    /// The slot; none when a new page were one too many.
    pub(crate) fn slot(&mut self, index: u64, slots_max: u64) -> Option<&mut T> {
        let page = index / PAGE;
        if self.get(index).is_none() {
            if self.pages * PAGE >= slots_max {
                return None;
            }
            self.pages += 1;
            let slots = vec![T::default(); PAGE as usize].into_boxed_slice();
            if page < NEAR_PAGES {
                if self.near.len() <= page as usize {
                    self.near.resize_with(page as usize + 1, || None);
                }
                self.near[page as usize] = Some(slots);
            } else {
                self.far.insert(page, slots);
            }
        }
        self.get_mut(index)
    }

    /// The slots of all pages, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.range(0, u64::MAX)
    }

    /// The slots of all pages in `from..to`, ascending; costs no more than the pages that exist.
    pub(crate) fn range(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, &T)> {
        let first = (from / PAGE).min(self.near.len() as u64) as usize;
        let near = self.near[first..]
            .iter()
            .enumerate()
            .map(move |(at, page)| ((first + at) as u64, page.as_deref()));
        let far = self
            .far
            .range(from / PAGE..)
            .map(|(page, slots)| (*page, Some(&**slots)));
        near.chain(far)
            .take_while(move |(page, _)| page * PAGE < to)
            .filter_map(|(page, slots)| Some((page, slots?)))
            .flat_map(|(page, slots)| {
                slots
                    .iter()
                    .enumerate()
                    .map(move |(at, slot)| (page * PAGE + at as u64, slot))
            })
            .skip_while(move |(index, _)| *index < from)
            .take_while(move |(index, _)| *index < to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far() {
        let mut paged = Paged::<u32>::new();
        let far = NEAR_PAGES * PAGE + 5;
        for index in [0, 1023, 1024, 9000, far] {
            *paged.slot(index, u64::MAX).unwrap() = 1;
        }
        assert_eq!(paged.get(5000), None);
        assert_eq!(paged.get(9000), Some(&1));
        let found = |from, to| -> Vec<u64> {
            paged
                .range(from, to)
                .filter(|(_, slot)| **slot == 1)
                .map(|(index, _)| index)
                .collect()
        };
        assert_eq!(found(0, u64::MAX), [0, 1023, 1024, 9000, far]);
        assert_eq!(found(1, 1024), [1023]);
        assert_eq!(found(1024, far), [1024, 9000]);
        assert_eq!(found(far, far + 1), [far]);
        assert_eq!(found(far + 1, u64::MAX), [] as [u64; 0]);
        assert_eq!(found(20_000, 30_000), [] as [u64; 0]);
    }

    #[test]
    fn bounded() {
        let mut paged = Paged::<u32>::new();
        assert!(paged.slot(7, PAGE).is_some());
        assert!(paged.slot(8, PAGE).is_some());
        assert!(paged.slot(5_000, PAGE).is_none());
    }
}
