//! # Plans: the passes of a transform and their tables

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ark_bn254::{Fr, FrConfig};
use ark_ff::{Field, MontConfig, PrimeField};

use crate::cuda::driver::{Address, Arg, Driver, DriverError, Kernel, Unit};
use crate::cuda::memory::{Buffer, FR_BYTES, element};

/// Logarithm of the largest radix.
const LOG_LARGEST_RADIX: u32 = 8;
/// Logarithm of the elements of a block: `Place::ELEMENTS` of `ntt.cu`.
const LOG_BLOCK: u32 = 10;
/// Threads of a block that makes a table.
const TABLE_BLOCK: u32 = 256;
/// The part of a device's memory that tables of plans that are not in use may have.
const MEMORY_SHARE: u64 = 8;

/// A transform of n = 2^log_n elements: y_k = scale · output_base^k · Σ_j root^(j·k) · input_base^j · x_j.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Formula {
    pub(super) log_n: u32,
    /// A root of unity of order n.
    pub(super) root: Fr,
    pub(super) input_base: Fr,
    pub(super) output_base: Fr,
    pub(super) scale: Fr,
}

/// How a formula is computed, with its tables on the device.
#[derive(Debug)]
pub(super) struct Plan {
    log_n: u32,
    /// None for n = 1.
    pub(super) passes: Vec<Pass>,
    /// Three quarters of the roots of unity whose order is the largest radix, as constant factors.
    roots: Buffer,
    log_roots: u32,
}

/// A pass with radix R after passes whose radices have the product P, as `ntt_pass` says.
#[derive(Debug)]
pub(super) struct Pass {
    log_before: u32,
    log_rows: u32,
    /// R·P factors of the input.
    before: Option<Buffer>,
    /// R factors of the output.
    after: Option<Buffer>,
}

impl Plan {
    fn new(driver: &Arc<dyn Driver>, formula: &Formula) -> Result<Self, DriverError> {
        let log_radices = log_radices(formula.log_n);
        let log_roots = log_radices.iter().copied().max().unwrap_or(0);
        let mut log_before = 0;
        let mut passes = Vec::with_capacity(log_radices.len());
        for log_rows in log_radices {
            passes.push(Pass::new(driver, formula, log_before, log_rows)?);
            log_before += log_rows;
        }
        let root = two_power(formula.root, formula.log_n - log_roots);
        let n_roots = ((1 << log_roots) * 3usize).div_ceil(4);
        let factors: Vec<u64> = std::iter::successors(Some(Fr::ONE), |power| Some(*power * root))
            .take(n_roots)
            .flat_map(constant_factor)
            .collect();
        Ok(Self {
            log_n: formula.log_n,
            passes,
            roots: Buffer::of(driver, bytemuck::cast_slice(&factors))?,
            log_roots,
        })
    }

    fn bytes(&self) -> u64 {
        let tables = self
            .passes
            .iter()
            .flat_map(|pass| [&pass.before, &pass.after]);
        let factors: usize = tables.flatten().map(Buffer::bytes).sum();
        (factors + self.roots.bytes()) as u64
    }
}

impl Pass {
    fn new(
        driver: &Arc<dyn Driver>,
        formula: &Formula,
        log_before: u32,
        log_rows: u32,
    ) -> Result<Self, DriverError> {
        let log_after = formula.log_n - log_before - log_rows;
        let last = log_after == 0;
        let one_unless_last = |factor| if last { factor } else { Fr::ONE };
        let before = Factors {
            log_columns: log_before,
            log_rows,
            root: two_power(formula.root, log_after),
            row: two_power(formula.input_base, log_after),
            // Output k·P + l has the factor output_base^l, whatever k.
            column: one_unless_last(formula.output_base),
            scale: one_unless_last(formula.scale),
        };
        let after = Factors {
            log_columns: 0,
            log_rows,
            root: Fr::ONE,
            row: one_unless_last(two_power(formula.output_base, log_before)),
            column: Fr::ONE,
            scale: Fr::ONE,
        };
        Ok(Self {
            log_before,
            log_rows,
            before: before.table(driver)?,
            after: after.table(driver)?,
        })
    }

    /// Queues the pass of `plan` from the vector `input` to the vector `output`.
    pub(super) fn launch(
        &self,
        driver: &Arc<dyn Driver>,
        plan: &Plan,
        output: &Buffer,
        input: &Buffer,
    ) -> Result<(), DriverError> {
        let table = |table: &Option<Buffer>| table.as_ref().map_or(NULL, Buffer::arg);
        let (before, after) = (table(&self.before), table(&self.after));
        let log_rows = self.log_rows;
        if log_rows == 1 {
            let args = [output.arg(), input.arg(), before, after];
            return driver.launch(kernel("ntt_pair"), 1, 1, 0, &args);
        }
        let log_all_columns = plan.log_n - log_rows;
        let log_columns = log_all_columns.min(LOG_BLOCK - log_rows);
        let args = [
            output.arg(),
            input.arg(),
            before,
            after,
            plan.roots.arg(),
            Arg::U32(plan.log_n),
            Arg::U32(self.log_before),
            Arg::U32(log_rows),
            Arg::U32(log_columns),
            Arg::U32(plan.log_roots - log_rows),
        ];
        driver.launch(
            kernel("ntt_pass"),
            1 << (log_all_columns - log_columns),
            1 << (log_rows + log_columns - 2),
            (FR_BYTES as u32) << LOG_BLOCK,
            &args,
        )
    }
}

const NULL: Arg = Arg::At(0);

const fn kernel(name: &'static str) -> Kernel {
    Kernel {
        unit: Unit::Ntt,
        name,
    }
}

/// Logarithms of radices, as few and as equal as can be.
fn log_radices(log_n: u32) -> Vec<u32> {
    let n_passes = log_n.div_ceil(LOG_LARGEST_RADIX);
    (0..n_passes)
        .map(|pass| (log_n + n_passes - 1 - pass) / n_passes)
        .collect()
}

/// The factor scale · root^(i·l) · row^i · column^l for row i and column l of 2^log_rows × 2^log_columns.
#[derive(Debug)]
struct Factors {
    log_columns: u32,
    log_rows: u32,
    root: Fr,
    row: Fr,
    column: Fr,
    scale: Fr,
}

impl Factors {
    /// The factors, row by row; none where all are 1.
    fn table(&self, driver: &Arc<dyn Driver>) -> Result<Option<Buffer>, DriverError> {
        let has_columns = self.log_columns > 0;
        let bases = [
            (self.root, has_columns, self.log_columns + self.log_rows),
            (self.row, true, self.log_rows),
            (self.column, has_columns, self.log_columns),
        ];
        let varies = bases.map(|(base, matters, _)| matters && base != Fr::ONE);
        if varies == [false; 3] && self.scale == Fr::ONE {
            return Ok(None);
        }
        // Powers of each base with exponents 1, 2, 4, …
        let longest = self.log_columns + self.log_rows;
        let mut squares = Vec::new();
        for (base, _, log_exponents) in bases {
            debug_assert!(log_exponents <= longest, "exponents of the list");
            let powers = std::iter::successors(Some(base), |power| Some(power.square()));
            squares.extend(powers.take(longest as usize));
        }
        let squares = Buffer::of_scalars(driver, &squares)?;
        let list = |i: usize| -> Address {
            let at = squares.at(i * longest as usize * FR_BYTES);
            if varies[i] { at } else { 0 }
        };
        let table = Buffer::new(driver, FR_BYTES << longest)?;
        let n = 1u32 << longest;
        let args = [
            table.arg(),
            Arg::At(list(0)),
            Arg::At(list(1)),
            Arg::At(list(2)),
            element(self.scale),
            Arg::U32(self.log_columns),
            Arg::U32(n),
        ];
        let grid = n.div_ceil(TABLE_BLOCK);
        driver.launch(kernel("ntt_factors"), grid, TABLE_BLOCK, 0, &args)?;
        Ok(Some(table))
    }
}

/// x^(2^log).
fn two_power(x: Fr, log: u32) -> Fr {
    (0..log).fold(x, |power, _| power.square())
}

/// A constant factor as `Root` of `ntt.cu` has it: w, not in Montgomery form, and ⌊2²⁵⁶·w/p⌋.
///
/// With v the Montgomery form of w, the reduction of v adds the multiple m·p, m < 2²⁵⁶, that makes it divisible by 2²⁵⁶: (v + m·p)/2²⁵⁶ = w, so
/// m = (2²⁵⁶·w − v)/p is the quotient.
fn constant_factor(w: Fr) -> [u64; 8] {
    let p = Fr::MODULUS.0;
    let mut rest = w.0.0;
    let mut quotient = [0u64; 4];
    for digit in &mut quotient {
        *digit = rest[0].wrapping_mul(FrConfig::INV);
        let mut carry = 0u128;
        for j in 0..4 {
            let sum = u128::from(rest[j]) + u128::from(*digit) * u128::from(p[j]) + carry;
            if j > 0 {
                rest[j - 1] = sum as u64;
            }
            carry = sum >> 64;
        }
        rest[3] = carry as u64;
    }
    let mut words = [0; 8];
    words[..4].copy_from_slice(&rest);
    words[4..].copy_from_slice(&quotient);
    words
}

/// Plans that were made, the one used last at the end; those that were not used for longest go when all take too much memory.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    made: Mutex<Vec<(Formula, Arc<Plan>)>>,
}

impl Plans {
    /// The plan of a formula.
    ///
    /// # Errors
    /// [`DriverError::OutOfMemory`] where there is no memory for its tables even without the other plans; or the device failed.
    pub(super) fn plan(
        &self,
        driver: &Arc<dyn Driver>,
        formula: &Formula,
    ) -> Result<Arc<Plan>, DriverError> {
        let known = {
            let mut made = self.made();
            let index = made.iter().position(|(other, _)| other == formula);
            index.map(|index| made.remove(index).1)
        };
        let plan = match known {
            Some(plan) => plan,
            None => Arc::new(self.without_others(|| Plan::new(driver, formula))?),
        };
        let mut made = self.made();
        made.push((*formula, Arc::clone(&plan)));
        let budget = driver.facts().memory_bytes / MEMORY_SHARE;
        let mut bytes: u64 = made.iter().map(|(_, plan)| plan.bytes()).sum();
        while bytes > budget && !made.is_empty() {
            bytes -= made.remove(0).1.bytes();
        }
        Ok(plan)
    }

    /// Takes memory by `take`; where there is not enough, a second time without the plans that nobody uses.
    pub(super) fn without_others<T>(
        &self,
        take: impl Fn() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        match take() {
            Err(DriverError::OutOfMemory { .. }) => {
                self.made().clear();
                take()
            }
            result => result,
        }
    }

    fn made(&self) -> MutexGuard<'_, Vec<(Formula, Arc<Plan>)>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn radices_are_few_and_equal() {
        for log_n in 0..=28 {
            let radices = log_radices(log_n);
            assert_eq!(radices.iter().sum::<u32>(), log_n);
            assert!(radices.iter().all(|log| (1..=8).contains(log)), "2^{log_n}");
            let (least, most) = (radices.iter().min(), radices.iter().max());
            assert!(
                most.zip(least)
                    .is_none_or(|(most, least)| most - least <= 1)
            );
        }
        assert_eq!(log_radices(17), [6, 6, 5]);
        assert_eq!(log_radices(24), [8, 8, 8]);
    }

    #[test]
    fn the_quotient_of_a_constant_factor_is_that_of_2_to_the_256() {
        let quotient = |w: Fr| {
            // Bit by bit: the quotient of 2·r by p is 0 or 1 for r below p.
            let mut digits = [0u64; 4];
            let mut rest = w.into_bigint();
            for bit in (0..256).rev() {
                let doubled = Fr::from(rest) + Fr::from(rest);
                let reduced = doubled.into_bigint();
                // 2r ≥ p exactly when 2r mod p is below r.
                digits[bit / 64] |= u64::from(reduced < rest) << (bit % 64);
                rest = reduced;
            }
            digits
        };
        for w in
            crate::testing::scalars(5, 20)
                .into_iter()
                .chain([Fr::ONE, -Fr::ONE, Fr::from(0u64)])
        {
            let words = constant_factor(w);
            assert_eq!(words[..4], w.into_bigint().0);
            assert_eq!(words[4..], quotient(w));
        }
    }
}
