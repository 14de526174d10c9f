//! # Scalars: classes by size, and digits without carries
//!
//! A term of a class is a base and |s| + Σ_{w < W−1} 2^(c·w + c−1), one or four words, its top bit the sign: window w < W − 1
//! then has the signed digit (bits c·w .. c·w + c) − 2^(c−1), and the top window, unsigned, the rest.

use ark_bn254::Fr;
use ark_ff::BigInt;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::bases::Finite;
use crate::cpu::adder::{Adder, SCALARS};
use crate::cpu::wiped::Wiped;
use crate::curve::Curve;
use crate::device::DeviceError;
use crate::field::{ScalarClass, SignedScalar};

/// Bits of the classes' scalars.
const CLASS_BITS: [u32; 7] = [1, 8, 16, 32, 62, 128, 253];
/// Widest scalar of one word: the shifted scalar has a bit more, and the sign another.
const WORD_BITS: u32 = 62;
/// Widest window of a class with more than one.
const MAX_WINDOW_BITS: u32 = 16;
/// Additions that a bucket costs in the weighing.
const BUCKET_COST: usize = 2;
/// The top bit of a term's words: whether its scalar is negative.
const SIGN: u64 = 1 << 63;
/// Scalars read by one task.
const SCALARS_PER_TASK: usize = 1 << 12;

/// The terms of one class.
pub(super) struct Class {
    bits: u32,
    window_bits: u32,
    n_windows: u32,
    /// Bases of the terms.
    bases: Wiped<u32>,
    /// Word k of every term; one word or four.
    words: Vec<Wiped<u64>>,
}

/// One window of a class.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    shift: u32,
    bits: u32,
    /// Subtracted from the window's bits: half the radix, 0 in the top window.
    half: u64,
    mask: u64,
    /// Largest |digit|.
    pub(super) n_buckets: usize,
}

impl Class {
    fn new(bits: u32) -> Self {
        Self {
            bits,
            window_bits: 0,
            n_windows: 0,
            bases: Wiped::default(),
            words: (0..if bits <= WORD_BITS { 1 } else { 4 })
                .map(|_| Wiped::default())
                .collect(),
        }
    }

    /// Number of terms.
    pub(super) fn len(&self) -> usize {
        self.bases.len()
    }

    pub(super) fn window_bits(&self) -> u32 {
        self.window_bits
    }

    fn push(&mut self, base: u32, scalar: &SignedScalar) {
        if self.bases.is_empty() {
            // At once what a task can need: a vector that grows leaves a copy behind.
            self.reserve(SCALARS_PER_TASK);
        }
        self.bases.push(base);
        for (words, limb) in self.words.iter_mut().zip(scalar.magnitude.0) {
            words.push(limb);
        }
        let top = self.words.last_mut().and_then(|words| words.last_mut());
        if let Some(top) = top.filter(|_| scalar.negative) {
            *top |= SIGN;
        }
    }

    fn reserve(&mut self, n: usize) {
        self.bases.reserve_exact(n);
        for words in &mut self.words {
            words.reserve_exact(n);
        }
    }

    /// The best width of windows and the additions it takes.
    pub(super) fn best(&self) -> (u32, usize) {
        best(self.bits, self.len())
    }

    /// The additions into buckets that windows of c bits share.
    pub(super) fn shared_cost(&self, c: u32) -> usize {
        windows(self.bits, c).len() * self.len()
    }

    /// Shifts the scalars for windows of c bits.
    pub(super) fn plan(&mut self, c: u32) {
        self.window_bits = c;
        self.n_windows = windows(self.bits, c).len() as u32;
        let mut offset = [0u64; 4];
        for w in 0..self.n_windows - 1 {
            let bit = w * c + c - 1;
            offset[(bit / 64) as usize] |= 1 << (bit % 64);
        }
        match self.words.as_mut_slice() {
            [words] => words.par_iter_mut().for_each(|word| *word += offset[0]),
            [a, b, c, d] => {
                let words = a.par_iter_mut().zip(&mut **b).zip(&mut **c).zip(&mut **d);
                words.for_each(|(((a, b), c), d)| {
                    let mut carry = false;
                    for (word, offset) in [a, b, c, d].into_iter().zip(offset) {
                        let (sum, first) = word.overflowing_add(offset);
                        let (sum, second) = sum.overflowing_add(u64::from(carry));
                        (*word, carry) = (sum, first || second);
                    }
                });
            }
            _ => {}
        }
    }

    pub(super) fn windows(&self) -> Vec<Window> {
        windows(self.bits, self.window_bits)
    }

    /// Puts other bases in the place of the terms'.
    pub(super) fn rebase(&mut self, place: impl Fn(u32) -> u32 + Sync) {
        self.bases
            .par_iter_mut()
            .with_min_len(SCALARS_PER_TASK)
            .for_each(|base| *base = place(*base));
    }

    /// Bases of the terms.
    pub(super) fn bases(&self) -> &[u32] {
        &self.bases
    }

    /// The digit of every term: twice its absolute value, plus one if it is negative.
    pub(super) fn digits(&self, window: Window) -> Wiped<u32> {
        let (word, shift) = ((window.shift / 64) as usize, window.shift % 64);
        let mut digits = Wiped::with_capacity(self.len());
        let top = self.words.len() - 1;
        let (low, signs) = (&self.words[word], &self.words[top]);
        if shift + window.bits <= 64 || word == top {
            let terms = low.iter().zip(signs.iter());
            digits.extend(terms.map(|(low, sign)| {
                // The sign is above the mask unless the window reaches to it, which the top one may.
                let low = if word == top { low & !SIGN } else { *low };
                window.digit(low >> shift, sign & SIGN != 0)
            }));
        } else {
            let high = &self.words[word + 1];
            let terms = low.iter().zip(high.iter()).zip(signs.iter());
            digits.extend(terms.map(|((low, high), sign)| {
                let high = if word + 1 == top { high & !SIGN } else { *high };
                window.digit(low >> shift | high << (64 - shift), sign & SIGN != 0)
            }));
        }
        digits
    }
}

impl Window {
    #[inline]
    fn digit(&self, bits: u64, negative: bool) -> u32 {
        let digit = (bits & self.mask) as i32 - self.half as i32;
        2 * digit.unsigned_abs() + u32::from(negative != (digit < 0))
    }
}

/// The windows of c bits for scalars of `bits` bits. All but the top one are signed and may carry one upwards.
fn windows(bits: u32, c: u32) -> Vec<Window> {
    let n = (bits + 1).div_ceil(c);
    (0..n)
        .map(|w| {
            let shift = w * c;
            if w + 1 < n {
                Window {
                    shift,
                    bits: c,
                    half: 1 << (c - 1),
                    mask: (1 << c) - 1,
                    n_buckets: 1 << (c - 1),
                }
            } else {
                let carry = usize::from(w > 0);
                Window {
                    shift,
                    bits: c + 1,
                    half: 0,
                    mask: (1 << (c + 1)) - 1,
                    n_buckets: (1usize << (bits - shift)) - 1 + carry,
                }
            }
        })
        .collect()
}

/// The best width of windows for `n` scalars of `bits` bits, and the additions it takes.
fn best(bits: u32, n: usize) -> (u32, usize) {
    let cost = |c: u32| {
        let windows = windows(bits, c);
        let buckets: usize = windows.iter().map(|window| window.n_buckets).sum();
        (c, windows.len() * n + BUCKET_COST * buckets)
    };
    let one_window = (bits <= MAX_WINDOW_BITS).then_some(bits + 1);
    (2..=MAX_WINDOW_BITS)
        .chain(one_window)
        .map(cost)
        .min_by_key(|(_, cost)| *cost)
        .unwrap_or_else(|| cost(MAX_WINDOW_BITS))
}

/// Additions that a multiplication of `n` scalars of full size takes without a table.
pub(crate) fn additions(n: usize) -> usize {
    best(CLASS_BITS[6], n).1
}

/// Additions of weighing the buckets that windows of c bits share.
pub(super) fn weighing(c: u32) -> usize {
    BUCKET_COST << (c - 1)
}

/// Sorts the terms with scalars and points that count into classes, whose windows are yet to be planned.
pub(super) fn classes<C: Curve, A: Adder<C>>(
    scalars: &[Fr],
    promise: ScalarClass,
    finite: &Finite,
    adder: &(impl Fn() -> A + Sync),
) -> Result<Vec<Class>, DeviceError> {
    let parts: Vec<Vec<Class>> = scalars
        .par_chunks(SCALARS_PER_TASK)
        .enumerate()
        .map(|(part, scalars)| {
            let mut classes: Vec<Class> = CLASS_BITS.map(Class::new).into();
            let adder = adder();
            for (group, scalars) in scalars.chunks(SCALARS).enumerate() {
                let integers = Zeroizing::new(adder.integers(scalars));
                for (k, integer) in integers[..scalars.len()].iter().enumerate() {
                    let index = part * SCALARS_PER_TASK + group * SCALARS + k;
                    let scalar = SignedScalar::of_integer(BigInt(*integer));
                    if !promise.holds(&scalar) {
                        return Err(DeviceError::OutOfClass {
                            index,
                            class: promise,
                        });
                    }
                    if scalar.bits > 0 && finite.holds(index) {
                        let class = CLASS_BITS.partition_point(|bits| *bits < scalar.bits);
                        classes[class].push(index as u32, &scalar);
                    }
                }
            }
            Ok(classes)
        })
        .collect::<Result<_, _>>()?;
    let mut classes: Vec<Class> = CLASS_BITS.map(Class::new).into();
    for (k, class) in classes.iter_mut().enumerate() {
        let n = parts.iter().map(|part| part[k].len()).sum();
        class.reserve(n);
        for part in &parts {
            class.bases.extend_from_slice(&part[k].bases);
            for (words, more) in class.words.iter_mut().zip(&part[k].words) {
                words.extend_from_slice(more);
            }
        }
    }
    classes.retain(|class| class.len() > 0);
    Ok(classes)
}
