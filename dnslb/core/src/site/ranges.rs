//! A function from addresses to small numbers, as the sorted starts of the ranges on which it is constant.
//!
//! Neighbouring ranges always differ in their value. It must hold the whole address space: every look-up finds something.

use farm_shared::prefix::Prefix;

/// Values by address, for one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges {
    /// Bits of an address.
    width: u8,
    /// Starts of 32 bits, or of 128: a table of IPv4 takes six octets a range.
    starts: Starts,
    values: Vec<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Starts {
    Narrow(Vec<u32>),
    Wide(Vec<u128>),
}

impl Ranges {
    /// The value of addresses that nothing is said about.
    pub const NOTHING: u16 = u16::MAX;

    /// The whole space with [`Ranges::NOTHING`], of addresses of 32 or 128 bits.
    pub fn whole(width: u8) -> Self {
        Self::collect(width, [(0, Self::NOTHING)])
    }

    /// The value of each address is that of the longest prefix that holds it, the last one given of two that are equal. Prefixes
    /// of the other family are left out.
    pub fn of_prefixes(width: u8, prefixes: impl IntoIterator<Item = (Prefix, u16)>) -> Self {
        let ours = prefixes.into_iter().filter(|(prefix, _)| prefix.width() == width);
        let mut all: Vec<(u128, u128, usize, u16)> =
            ours.enumerate().map(|(at, (prefix, value))| (prefix.bounds()[0], prefix.bounds()[1], at, value)).collect();
        // The wider comes first, so whatever is open when a prefix begins is around it.
        all.sort_by_key(|(start, end, at, _)| (*start, std::cmp::Reverse(*end), *at));
        let mut edges = vec![(0, Self::NOTHING)];
        let mut open: Vec<(u128, u16)> = Vec::new();
        let last = if width == 32 { u128::from(u32::MAX) } else { u128::MAX };
        let close = |open: &mut Vec<(u128, u16)>, edges: &mut Vec<(u128, u16)>, before: Option<u128>| {
            while let Some((end, _)) = open.last().copied().filter(|(end, _)| before.is_none_or(|start| *end < start)) {
                open.pop();
                if end < last {
                    edges.push((end + 1, open.last().map_or(Self::NOTHING, |(_, value)| *value)));
                }
            }
        };
        for (start, end, _, value) in all {
            close(&mut open, &mut edges, Some(start));
            edges.push((start, value));
            open.push((end, value));
        }
        close(&mut open, &mut edges, None);
        Self::collect(width, edges)
    }

    /// From starts in rising order, the first of them 0. Of equal starts the last one holds, and neighbours of equal value become
    /// one range.
    pub fn collect(width: u8, edges: impl IntoIterator<Item = (u128, u16)>) -> Self {
        let mut kept: Vec<(u128, u16)> = Vec::new();
        for (start, value) in edges {
            if kept.last().is_some_and(|last| last.0 == start) {
                kept.pop();
            }
            if kept.last().is_none_or(|last| last.1 != value) {
                kept.push((start, value));
            }
        }
        let values = kept.iter().map(|edge| edge.1).collect();
        let starts = kept.into_iter().map(|edge| edge.0);
        let starts =
            if width == 32 { Starts::Narrow(starts.map(|s| s as u32).collect()) } else { Starts::Wide(starts.collect()) };
        Self { width, starts, values }
    }

    /// Both functions at once, put together by `join`.
    pub fn zip(&self, other: &Self, mut join: impl FnMut(u16, u16) -> u16) -> Self {
        let (mut a, mut b) = (0, 0);
        let mut edges = Vec::new();
        loop {
            let start = self.start(a).max(other.start(b));
            edges.push((start, join(self.value(a), other.value(b))));
            let next = (a + 1 < self.len()).then(|| self.start(a + 1));
            let next_other = (b + 1 < other.len()).then(|| other.start(b + 1));
            let Some(at) = next.into_iter().chain(next_other).min() else { break };
            a += usize::from(next == Some(at));
            b += usize::from(next_other == Some(at));
        }
        Self::collect(self.width, edges)
    }

    /// The same with `base` where this one has nothing to say.
    pub fn or(&self, base: &Self) -> Self {
        self.zip(base, |value, below| if value == Self::NOTHING { below } else { value })
    }

    fn index(&self, addr: u128) -> usize {
        let above = match &self.starts {
            Starts::Narrow(starts) => starts.partition_point(|start| u128::from(*start) <= addr),
            Starts::Wide(starts) => starts.partition_point(|start| *start <= addr),
        };
        above.saturating_sub(1)
    }

    fn start(&self, index: usize) -> u128 {
        match &self.starts {
            Starts::Narrow(starts) => starts.get(index).map_or(0, |start| u128::from(*start)),
            Starts::Wide(starts) => starts.get(index).copied().unwrap_or(0),
        }
    }

    /// The last address of a range.
    fn end(&self, index: usize) -> u128 {
        if index + 1 < self.len() {
            self.start(index + 1) - 1
        } else if self.width == 32 {
            u128::from(u32::MAX)
        } else {
            u128::MAX
        }
    }

    fn value(&self, index: usize) -> u16 {
        self.values.get(index).copied().unwrap_or(Self::NOTHING)
    }

    /// The value of an address.
    #[inline]
    pub fn get(&self, addr: u128) -> u16 {
        self.value(self.index(addr))
    }

    /// Bits of the shortest prefix of `addr` whose addresses all have values that are `same`, looked for among `neighbours_max`
    /// ranges on either side of its own.
    pub(super) fn scope(&self, addr: u128, neighbours_max: usize, same: impl Fn(u16) -> bool) -> u8 {
        let at = self.index(addr);
        let (mut low, mut high) = (at, at);
        while low > 0 && at - low < neighbours_max && same(self.value(low - 1)) {
            low -= 1;
        }
        while high + 1 < self.len() && high - at < neighbours_max && same(self.value(high + 1)) {
            high += 1;
        }
        let (start, end) = (self.start(low), self.end(high));
        // The block of so many host bits grows until it leaves the run.
        let fits = |host_bits: u32| {
            let host = u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
            addr & !host >= start && addr | host <= end
        };
        let host_bits = (1..=u32::from(self.width)).take_while(|bits| fits(*bits)).last().unwrap_or(0);
        self.width - host_bits as u8
    }

    /// Number of ranges.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Never: the space is always covered.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}
