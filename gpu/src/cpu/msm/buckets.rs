//! # Buckets: the sum of the points of each digit

use std::ops::Range;

use bytemuck::Zeroable;
use rayon::prelude::*;

use super::scalars::{Class, Window};
use crate::cpu::adder::{Adder, Pick, infinite, is_infinite};
use crate::cpu::wiped::Wiped;
use crate::curve::Curve;
use crate::device::NO_GROUP;

/// Terms whose sums are made at once: enough that an inversion a round is cheap, few enough for a second-level cache.
const TERMS_PER_BATCH: usize = 1 << 14;
/// Least terms of a piece of its own.
const MIN_PIECE: usize = 1 << 12;

/// The terms of a window, those of one bucket side by side.
pub(crate) struct Sorted {
    pub(crate) picks: Wiped<Pick>,
    /// Where the terms of each bucket end; bucket k has the digit k + 1.
    pub(crate) ends: Wiped<u32>,
}

/// Counting sort of a window's terms by |digit|; terms of digit 0 are left out.
pub(super) fn sort(class: &Class, window: Window) -> Sorted {
    let digits = class.digits(window);
    let mut ends = Wiped::filled(0u32, window.n_buckets + 1);
    for digit in digits.iter() {
        ends[(digit / 2) as usize] += 1;
    }
    ends[0] = 0;
    let mut total = 0;
    for end in ends.iter_mut() {
        total += std::mem::replace(end, total);
    }
    // `ends[d]` is where digit d begins, and moves to where it ends.
    let mut picks = Wiped::filled(Pick::default(), total as usize);
    for (base, digit) in class.bases().iter().zip(digits.iter()) {
        if digit / 2 != 0 {
            let end = &mut ends[(digit / 2) as usize];
            picks[*end as usize] = Pick::new(*base, digit % 2 == 1);
            *end += 1;
        }
    }
    ends.remove(0);
    Sorted { picks, ends }
}

/// Sort of the terms of all classes and windows by |digit|, up to `n_buckets`, for bases whose multiple for window w is the w-th
/// after the term's base: first into parts of neighbouring buckets, window by window, then part by part, so that what is written
/// stays in the caches.
pub(super) fn sort_shared(classes: &[Class], n_buckets: usize) -> Sorted {
    let windows: Vec<(&Class, u32, Window)> = classes
        .iter()
        .flat_map(|class| {
            let windows = (0..).zip(class.windows());
            windows.map(move |(w, window)| (class, w, window))
        })
        .collect();
    let part_len = n_buckets.div_ceil(PARTS);
    let parted: Vec<Parted> = windows
        .par_iter()
        .with_max_len(1)
        .map(|(class, w, window)| Parted::new(class, *w, *window, part_len))
        .collect();
    let mut ends = Wiped::filled(0u32, n_buckets);
    let len = |part: usize| parted.iter().map(|terms| terms.of(part).len()).sum();
    let lens: Vec<usize> = (0..PARTS).map(len).collect();
    let mut picks = Wiped::filled(Pick::default(), lens.iter().sum());
    let mut rest = picks.as_mut_slice();
    let mut begun = 0;
    let mut parts = Vec::new();
    for (part, (ends, len)) in ends.chunks_mut(part_len).zip(lens).enumerate() {
        let (picks, others) = rest.split_at_mut(len);
        parts.push((part, ends, begun as u32, picks));
        rest = others;
        begun += len;
    }
    parts
        .into_par_iter()
        .for_each(|(part, ends, begun, picks)| {
            let terms = || parted.iter().flat_map(|terms| terms.of(part));
            for (bucket, _) in terms() {
                ends[*bucket as usize] += 1;
            }
            let mut total = 0;
            for end in ends.iter_mut() {
                total += std::mem::replace(end, total);
            }
            for (bucket, pick) in terms() {
                let end = &mut ends[*bucket as usize];
                picks[*end as usize] = *pick;
                *end += 1;
            }
            for end in ends.iter_mut() {
                *end += begun;
            }
        });
    Sorted { picks, ends }
}

/// Parts of the buckets that all windows share.
const PARTS: usize = 64;

/// The terms of a window by part of the buckets: the bucket in its part, and the base.
struct Parted {
    terms: Wiped<(u32, Pick)>,
    /// Where the terms of each part end.
    ends: Wiped<u32>,
}

impl Parted {
    fn new(class: &Class, w: u32, window: Window, part_len: usize) -> Self {
        let digits = class.digits(window);
        let mut ends = Wiped::filled(0u32, PARTS);
        let (shift, mask) = (part_len.trailing_zeros(), part_len as u32 - 1);
        debug_assert!(part_len.is_power_of_two());
        for digit in digits.iter().filter(|digit| **digit > 1) {
            ends[((digit / 2 - 1) >> shift) as usize] += 1;
        }
        let mut total = 0;
        for end in ends.iter_mut() {
            total += std::mem::replace(end, total);
        }
        let mut terms = Wiped::filled((0, Pick::default()), total as usize);
        for (base, digit) in class.bases().iter().zip(digits.iter()) {
            if *digit > 1 {
                let bucket = digit / 2 - 1;
                let end = &mut ends[(bucket >> shift) as usize];
                terms[*end as usize] = (bucket & mask, Pick::new(base + w, digit % 2 == 1));
                *end += 1;
            }
        }
        Self { terms, ends }
    }

    /// The terms of a part.
    fn of(&self, part: usize) -> &[(u32, Pick)] {
        let start = if part == 0 { 0 } else { self.ends[part - 1] };
        &self.terms[start as usize..self.ends[part] as usize]
    }
}

/// Counting sort of the finite bases by group, those of no group left out; `groups` are below `n_groups` or [`NO_GROUP`].
pub(crate) fn sort_groups(
    groups: &[u32],
    n_groups: usize,
    finite: impl Fn(usize) -> bool,
) -> Sorted {
    let mut ends = Wiped::filled(0u32, n_groups);
    let members = || {
        let groups = groups.iter().enumerate();
        groups.filter(|(base, group)| **group != NO_GROUP && finite(*base))
    };
    for (_, group) in members() {
        ends[*group as usize] += 1;
    }
    let mut total = 0;
    for end in ends.iter_mut() {
        total += std::mem::replace(end, total);
    }
    let mut picks = Wiped::filled(Pick::default(), total as usize);
    for (base, group) in members() {
        let end = &mut ends[*group as usize];
        picks[*end as usize] = Pick::new(base as u32, false);
        *end += 1;
    }
    Sorted { picks, ends }
}

/// The sum of each bucket's points, in arena form.
pub(crate) fn sums<C: Curve, A: Adder<C>>(
    bases: &[C::Raw],
    sorted: &Sorted,
    n_windows: usize,
    adder: &(impl Fn() -> A + Sync),
) -> Wiped<C::Raw> {
    let n_terms = sorted.picks.len();
    // Enough pieces for every thread, however few windows there are.
    let wanted = (4 * rayon::current_num_threads()).div_ceil(n_windows);
    let n_pieces = wanted.min(n_terms / MIN_PIECE).max(1);
    let piece_len = n_terms.div_ceil(n_pieces).max(1);
    let pieces: Vec<Piece<C>> = (0..n_pieces)
        .into_par_iter()
        .with_max_len(1)
        .map(|k| {
            let start = (k * piece_len).min(n_terms);
            let end = (start + piece_len).min(n_terms);
            Batches::new(bases, sorted, adder()).piece(start, end)
        })
        .collect();
    let mut sums = Wiped::filled(infinite::<C>(), sorted.ends.len());
    let mut adder = adder();
    for piece in pieces {
        let place = &mut sums[piece.first..piece.first + piece.sums.len()];
        for (place, sum) in place.iter_mut().zip(piece.sums.iter()) {
            *place = if is_infinite::<C>(place) {
                *sum
            } else if is_infinite::<C>(sum) {
                *place
            } else {
                // A bucket that two pieces share.
                let mut both = [C::Raw::zeroed()];
                adder.add_arena(
                    &[*place, *sum],
                    &[[Pick::new(0, false), Pick::new(1, false)]],
                    &mut both,
                );
                both[0]
            };
        }
    }
    sums
}

/// The sums of consecutive buckets over a part of the terms.
struct Piece<C: Curve> {
    first: usize,
    sums: Wiped<C::Raw>,
}

/// The points of one bucket: `len` indices into the arena from `start` of the list.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    bucket: usize,
    start: usize,
    len: usize,
}

/// Sums of a piece, batch by batch. Every buffer has its capacity from the start, since a vector that grows leaves a copy behind.
struct Batches<'a, C: Curve, A> {
    bases: &'a [C::Raw],
    sorted: &'a Sorted,
    adder: A,
    /// Points of the batch: the sum so far of its first bucket, sums of pairs, points without a pair, sums of sums.
    arena: Wiped<C::Raw>,
    filled: usize,
    list: Wiped<u32>,
    runs: Wiped<Run>,
    key_pairs: Wiped<[Pick; 2]>,
    singles: Wiped<Pick>,
    pairs: Wiped<[Pick; 2]>,
}

impl<'a, C: Curve, A: Adder<C>> Batches<'a, C, A> {
    fn new(bases: &'a [C::Raw], sorted: &'a Sorted, mut adder: A) -> Self {
        let n = TERMS_PER_BATCH.min(sorted.picks.len()) + 1;
        adder.reserve(n / 2 + 1);
        Self {
            bases,
            sorted,
            adder,
            arena: Wiped::filled(C::Raw::zeroed(), 2 * n),
            filled: 0,
            list: Wiped::with_capacity(n),
            runs: Wiped::with_capacity(n),
            key_pairs: Wiped::with_capacity(n / 2 + 1),
            singles: Wiped::with_capacity(n),
            pairs: Wiped::with_capacity(n / 2 + 1),
        }
    }

    fn piece(mut self, start: usize, end: usize) -> Piece<C> {
        let ends = &self.sorted.ends;
        let first = ends.partition_point(|bucket_end| *bucket_end as usize <= start);
        let last = ends.partition_point(|bucket_end| (*bucket_end as usize) < end);
        let n_buckets = if start == end { 0 } else { last + 1 - first };
        let mut sums = Wiped::filled(infinite::<C>(), n_buckets);
        let (mut bucket, mut at) = (first, start);
        while at < end {
            let batch_end = end.min(at + TERMS_PER_BATCH);
            let next = self.collect(bucket, at..batch_end, &sums[bucket - first]);
            while !self.pair_up().is_empty() {
                let (points, free) = self.arena.split_at_mut(self.filled);
                let sums = &mut free[..self.pairs.len()];
                self.adder.add_arena(points, &self.pairs, sums);
                self.filled += self.pairs.len();
            }
            for run in self.runs.iter() {
                sums[run.bucket - first] = self.arena[self.list[run.start] as usize];
            }
            (bucket, at) = (next, batch_end);
        }
        Piece { first, sums }
    }

    /// Brings a range of terms into the arena, those of one bucket already added in pairs. The first term is in `bucket`, whose sum so
    /// far is `begun`. Returns the bucket of the term after the range.
    fn collect(&mut self, mut bucket: usize, range: Range<usize>, begun: &C::Raw) -> usize {
        const SINGLE: u32 = 1 << 31;
        self.filled = 0;
        self.list.clear();
        self.runs.clear();
        self.key_pairs.clear();
        self.singles.clear();
        let continued = !is_infinite::<C>(begun);
        if continued {
            self.arena[0] = *begun;
            self.list.push(0);
        }
        let first_pair = usize::from(continued);
        let mut at = range.start;
        while at < range.end {
            let start = if self.runs.is_empty() {
                0
            } else {
                self.list.len()
            };
            let end = (self.sorted.ends[bucket] as usize).min(range.end);
            let pairs = self.sorted.picks[at..end].chunks_exact(2);
            if let Some(single) = pairs.remainder().first() {
                self.list.push(SINGLE | self.singles.len() as u32);
                self.singles.push(*single);
            }
            for pair in pairs {
                self.list.push((first_pair + self.key_pairs.len()) as u32);
                self.key_pairs.push([pair[0], pair[1]]);
            }
            self.runs.push(Run {
                bucket,
                start,
                len: self.list.len() - start,
            });
            at = end;
            while self
                .sorted
                .ends
                .get(bucket)
                .is_some_and(|end| *end as usize <= at)
            {
                bucket += 1;
            }
        }
        let first_single = first_pair + self.key_pairs.len();
        for index in self.list.iter_mut().filter(|index| **index & SINGLE != 0) {
            *index = (*index & !SINGLE) + first_single as u32;
        }
        self.filled = first_single + self.singles.len();
        let (pairs, singles) =
            self.arena[first_pair..self.filled].split_at_mut(self.key_pairs.len());
        self.adder.add_bases(self.bases, &self.key_pairs, pairs);
        self.adder.lift(self.bases, &self.singles, singles);
        bucket
    }

    /// Pairs neighbours of every run, whose sums will follow the arena's end, and puts the sums into the list. No pair: every run is
    /// one point.
    fn pair_up(&mut self) -> &[[Pick; 2]] {
        self.pairs.clear();
        let mut sum = self.filled as u32;
        let mut to = 0;
        for run in self.runs.iter_mut() {
            let (from, len) = (run.start, run.len);
            run.start = to;
            for k in 0..len / 2 {
                let pair = [self.list[from + 2 * k], self.list[from + 2 * k + 1]];
                self.pairs.push(pair.map(|index| Pick::new(index, false)));
                self.list[to] = sum;
                sum += 1;
                to += 1;
            }
            if len % 2 == 1 {
                self.list[to] = self.list[from + len - 1];
                to += 1;
            }
            run.len = to - run.start;
        }
        &self.pairs
    }
}
