//! The same walk for the same seed.

/// SplitMix64, by Steele, Lea and Flood: enough to choose steps by.
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn choose<T: Copy>(&mut self, among: &[T]) -> Option<T> {
        if among.is_empty() {
            return None;
        }
        Some(among[self.below(among.len())])
    }

    /// So many of the numbers from 0, in any order.
    pub(crate) fn some_of(&mut self, bound: usize, count: usize) -> Vec<i32> {
        let mut left: Vec<i32> = (0..i32::try_from(bound).unwrap()).collect();
        let taken = (0..count.min(bound)).map(|_| left.swap_remove(self.below(left.len())));
        taken.collect()
    }
}
