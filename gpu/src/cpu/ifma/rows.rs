//! # Rows: between memory and lanes
//!
//! In memory an element is four 64-bit words. Sixteen of them, at any sixteen places, become ten registers and back: an 8 × 4
//! transposition of words, then the words cut into limbs. `SHIFT` 0 takes the integer as it is; `SHIFT` 4 takes sixteen times
//! the integer, which turns Montgomery form with R = 2²⁵⁶ (arkworks, key files) into that with R = 2²⁶⁰: below 16·p.

use core::arch::x86_64::{
    __m256i, __m512i, _mm256_loadu_si256, _mm256_storeu_si256, _mm512_and_si512,
    _mm512_castsi256_si512, _mm512_castsi512_si256, _mm512_extracti64x4_epi64, _mm512_inserti64x4,
    _mm512_or_si512, _mm512_permutex2var_epi64, _mm512_set_epi64, _mm512_set1_epi64,
    _mm512_slli_epi64, _mm512_srli_epi64, _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};

use super::field::{LANES, Lanes, Modulus};
use crate::curve::Row;

impl<M: Modulus> Lanes<M> {
    /// The elements at sixteen places.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn gather<const SHIFT: u32>(rows: [&Row; LANES]) -> Self {
        let zero = core::arch::x86_64::_mm512_setzero_si512();
        let mut limbs = [[zero; 2]; 5];
        for h in 0..2 {
            let mut pairs = [zero; 4];
            for k in 0..4 {
                let low = _mm512_castsi256_si512(load(rows[8 * h + k]));
                pairs[k] = _mm512_inserti64x4::<1>(low, load(rows[8 * h + 4 + k]));
            }
            let half = limbs_of_words::<SHIFT>(words_of_rows(pairs));
            for j in 0..5 {
                limbs[j][h] = half[j];
            }
        }
        Self::from_limbs(limbs)
    }

    /// Rows (k, k + 4), k < 4, of half h.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn row_pairs(&self, h: usize) -> [__m512i; 4] {
        let l = &self.limbs;
        rows_of_words(words_of_limbs([
            l[0][h], l[1][h], l[2][h], l[3][h], l[4][h],
        ]))
    }

    /// Stores the lanes, each below 2²⁵⁶, in row `which` of sixteen lists of rows.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn store_in<const N: usize>(&self, lists: &mut [[Row; N]; LANES], which: usize) {
        for h in 0..2 {
            let pairs = self.row_pairs(h);
            for k in 0..4 {
                store(
                    &mut lists[8 * h + k][which],
                    _mm512_castsi512_si256(pairs[k]),
                );
                store(
                    &mut lists[8 * h + 4 + k][which],
                    _mm512_extracti64x4_epi64::<1>(pairs[k]),
                );
            }
        }
    }

    /// Stores the lanes, each below 2²⁵⁶, at sixteen places.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn scatter(&self, rows: &mut [&mut Row; LANES]) {
        for h in 0..2 {
            let pairs = self.row_pairs(h);
            for k in 0..4 {
                store(rows[8 * h + k], _mm512_castsi512_si256(pairs[k]));
                store(
                    rows[8 * h + 4 + k],
                    _mm512_extracti64x4_epi64::<1>(pairs[k]),
                );
            }
        }
    }

    /// Stores the lanes, each below 2²⁵⁶, side by side.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn store(&self, rows: &mut [Row; LANES]) {
        self.store_in::<1>(bytemuck::cast_mut(rows), 0);
    }

    /// Sixteen elements side by side.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn load<const SHIFT: u32>(rows: &[Row; LANES]) -> Self {
        Self::gather::<SHIFT>(rows.each_ref())
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(row: &Row) -> __m256i {
    // SAFETY: `row` is 32 readable bytes; the load asks for no alignment.
    unsafe { _mm256_loadu_si256(row.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store(row: &mut Row, value: __m256i) {
    // SAFETY: `row` is 32 writable bytes; the store asks for no alignment.
    unsafe { _mm256_storeu_si256(row.as_mut_ptr().cast(), value) }
}

/// From rows (k, k + 4), k < 4, to words: word w of row i in lane i.
#[target_feature(enable = "avx512f")]
#[inline]
fn words_of_rows(pairs: [__m512i; 4]) -> [__m512i; 4] {
    let [low01, high01] = unpack(pairs[0], pairs[1]);
    let [low23, high23] = unpack(pairs[2], pairs[3]);
    let [first, second] = lane_halves();
    [
        _mm512_permutex2var_epi64(low01, first, low23),
        _mm512_permutex2var_epi64(high01, first, high23),
        _mm512_permutex2var_epi64(low01, second, low23),
        _mm512_permutex2var_epi64(high01, second, high23),
    ]
}

/// The inverse of [`words_of_rows`].
#[target_feature(enable = "avx512f")]
#[inline]
fn rows_of_words(words: [__m512i; 4]) -> [__m512i; 4] {
    // Words (0, 1) and (2, 3) of rows 0, 2, 4, 6 and of rows 1, 3, 5, 7.
    let [even01, odd01] = unpack(words[0], words[1]);
    let [even23, odd23] = unpack(words[2], words[3]);
    let [first, second] = lane_halves();
    [
        _mm512_permutex2var_epi64(even01, first, even23),
        _mm512_permutex2var_epi64(odd01, first, odd23),
        _mm512_permutex2var_epi64(even01, second, even23),
        _mm512_permutex2var_epi64(odd01, second, odd23),
    ]
}

#[target_feature(enable = "avx512f")]
#[inline]
fn unpack(a: __m512i, b: __m512i) -> [__m512i; 2] {
    [_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b)]
}

/// The choices that interleave the first and the second 128 bits of each half of two registers.
#[target_feature(enable = "avx512f")]
#[inline]
fn lane_halves() -> [__m512i; 2] {
    [
        _mm512_set_epi64(13, 12, 5, 4, 9, 8, 1, 0),
        _mm512_set_epi64(15, 14, 7, 6, 11, 10, 3, 2),
    ]
}

/// Cuts four words, times 2^SHIFT, into five limbs.
#[target_feature(enable = "avx512f")]
#[inline]
fn limbs_of_words<const SHIFT: u32>(w: [__m512i; 4]) -> [__m512i; 5] {
    let mask = _mm512_set1_epi64((1i64 << 52) - 1);
    let cut = |limb: __m512i| _mm512_and_si512(limb, mask);
    if SHIFT == 4 {
        [
            cut(_mm512_slli_epi64::<4>(w[0])),
            cut(_mm512_or_si512(
                _mm512_srli_epi64::<48>(w[0]),
                _mm512_slli_epi64::<16>(w[1]),
            )),
            cut(_mm512_or_si512(
                _mm512_srli_epi64::<36>(w[1]),
                _mm512_slli_epi64::<28>(w[2]),
            )),
            cut(_mm512_or_si512(
                _mm512_srli_epi64::<24>(w[2]),
                _mm512_slli_epi64::<40>(w[3]),
            )),
            _mm512_srli_epi64::<12>(w[3]),
        ]
    } else {
        [
            cut(w[0]),
            cut(_mm512_or_si512(
                _mm512_srli_epi64::<52>(w[0]),
                _mm512_slli_epi64::<12>(w[1]),
            )),
            cut(_mm512_or_si512(
                _mm512_srli_epi64::<40>(w[1]),
                _mm512_slli_epi64::<24>(w[2]),
            )),
            cut(_mm512_or_si512(
                _mm512_srli_epi64::<28>(w[2]),
                _mm512_slli_epi64::<36>(w[3]),
            )),
            _mm512_srli_epi64::<16>(w[3]),
        ]
    }
}

/// Puts five limbs of a value below 2²⁵⁶ together to four words.
#[target_feature(enable = "avx512f")]
#[inline]
fn words_of_limbs(l: [__m512i; 5]) -> [__m512i; 4] {
    [
        _mm512_or_si512(l[0], _mm512_slli_epi64::<52>(l[1])),
        _mm512_or_si512(_mm512_srli_epi64::<12>(l[1]), _mm512_slli_epi64::<40>(l[2])),
        _mm512_or_si512(_mm512_srli_epi64::<24>(l[2]), _mm512_slli_epi64::<28>(l[3])),
        _mm512_or_si512(_mm512_srli_epi64::<36>(l[3]), _mm512_slli_epi64::<16>(l[4])),
    ]
}
