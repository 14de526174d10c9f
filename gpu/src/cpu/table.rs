//! # Table: the multiples 2^(c·w)·P of every finite base
//!
//! With them a digit of any window is a digit of the lowest one of another point, so that all windows of a multiplication share
//! one set of buckets.

use std::io;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

use ark_bn254::Fr;
use ark_ff::PrimeField;
use bytemuck::Zeroable;
use memmap2::{Advice, MmapMut};
use rayon::prelude::*;

use super::adder::{Adder, Pick};
use crate::bases::Finite;
use crate::curve::{Curve, raw_of};

/// Bases shifted by one task.
const BASES_PER_TASK: usize = 1 << 11;
/// Narrowest and widest windows.
const WINDOW_BITS: RangeInclusive<u32> = 4..=16;
/// Points that an index of 31 bits tells apart.
const MAX_POINTS: usize = 1 << 31;

/// Shifted bases, those of one base side by side.
pub(crate) struct Table<C: Curve> {
    window_bits: u32,
    /// Where the multiples of each base begin; 0 for an infinite one.
    places: Vec<u32>,
    points: MmapMut,
    curve: PhantomData<C>,
}

impl<C: Curve> Table<C> {
    /// Tabulates for multiplications with about `n_full` full-size scalars. `None` when that takes more than `max_bytes`, or when
    /// a multiple of a finite base is infinite, as of no point of the group.
    ///
    /// # Errors
    /// The operating system gives no memory.
    pub(super) fn new<A: Adder<C>>(
        bases: &[C::Raw],
        finite: &Finite,
        n_full: usize,
        max_bytes: u64,
        adder: impl Fn() -> A + Sync,
    ) -> io::Result<Option<Self>> {
        let members: Vec<u32> = (0u32..)
            .zip(bases)
            .map(|(index, _)| index)
            .filter(|index| finite.holds(*index as usize))
            .collect();
        let n_points = |c: u32| members.len().saturating_mul(n_windows(c));
        let fits = |c: &u32| {
            let bytes = (n_points(*c) as u64).saturating_mul(C::POINT_BYTES as u64);
            let bytes = bytes.saturating_add(size_of::<u32>() as u64 * bases.len() as u64);
            n_points(*c) < MAX_POINTS && bytes <= max_bytes
        };
        let cost = |c: &u32| n_full.saturating_mul(n_windows(*c)).saturating_add(1 << c);
        let Some(window_bits) = WINDOW_BITS.filter(fits).min_by_key(cost) else {
            return Ok(None);
        };
        let n_windows = n_windows(window_bits);
        let mut places = vec![0; bases.len()];
        for (k, index) in members.iter().enumerate() {
            places[*index as usize] = (k * n_windows) as u32;
        }
        // Looked up in any order: small pages would be a page walk each.
        let mut points = MmapMut::map_anon(members.len() * n_windows * C::POINT_BYTES)?;
        #[cfg(target_os = "linux")]
        let _ = points.advise(Advice::HugePage);
        let all_finite = bytemuck::cast_slice_mut(&mut points)
            .par_chunks_mut(BASES_PER_TASK * n_windows)
            .zip(members.par_chunks(BASES_PER_TASK))
            .all(|(points, members)| shift(bases, members, window_bits, points, adder()));
        Ok(all_finite.then_some(Self {
            window_bits,
            places,
            points,
            curve: PhantomData,
        }))
    }

    /// Bits of a window.
    pub(crate) fn window_bits(&self) -> u32 {
        self.window_bits
    }

    /// Where in [`Table::points`] base `index` is; its multiple for window w is w further.
    pub(crate) fn place(&self, index: u32) -> u32 {
        self.places[index as usize]
    }

    /// The raw words of all multiples.
    pub(crate) fn points(&self) -> &[C::Raw] {
        bytemuck::cast_slice(&self.points)
    }

    /// Memory of the table.
    pub(crate) fn bytes(&self) -> u64 {
        (size_of_val(&*self.places) + size_of_val(&*self.points)) as u64
    }
}

/// Windows of c bits of the signed digits of any scalar.
fn n_windows(c: u32) -> usize {
    Fr::MODULUS_BIT_SIZE.div_ceil(c) as usize
}

/// The multiples of `members`; whether all are finite.
fn shift<C: Curve, A: Adder<C>>(
    bases: &[C::Raw],
    members: &[u32],
    window_bits: u32,
    points: &mut [C::Raw],
    mut adder: A,
) -> bool {
    let n_windows = points.len() / members.len();
    let picks: Vec<Pick> = members
        .iter()
        .map(|index| Pick::new(*index, false))
        .collect();
    let mut multiples = vec![C::Raw::zeroed(); members.len()];
    adder.reserve(members.len());
    adder.lift(bases, &picks, &mut multiples);
    for window in 0..n_windows {
        if window > 0 && !adder.double(&mut multiples, window_bits) {
            return false;
        }
        for (k, multiple) in multiples.iter().enumerate() {
            points[k * n_windows + window] = raw_of::<C>(&adder.lower(multiple));
        }
    }
    true
}
