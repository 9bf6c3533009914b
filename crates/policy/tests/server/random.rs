//! Numbers that look random and are the same for the same seed, on every machine.

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64: <https://prng.di.unimi.it/splitmix64.c>.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Less than `end`, which isn't zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(crate) fn percent(&mut self, chance: u32) -> bool {
        self.below(100) < chance as usize
    }

    pub(crate) fn pick<'p, T>(&mut self, from: &'p [T]) -> &'p T {
        &from[self.below(from.len())]
    }

    /// Each with that chance, in their order.
    pub(crate) fn some<T: Clone>(&mut self, from: &[T], chance: u32) -> Vec<T> {
        from.iter().filter(|_| self.percent(chance)).cloned().collect()
    }

    /// The same, but never none of them.
    pub(crate) fn at_least_one<T: Clone>(&mut self, from: &[T], chance: u32) -> Vec<T> {
        let some = self.some(from, chance);
        if some.is_empty() { vec![self.pick(from).clone()] } else { some }
    }
}
