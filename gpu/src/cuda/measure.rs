//! # Measure: what a GPU does in a clock
//!
//! Rates of single instructions, of field products and of copies, and the clock of the multiprocessors: what the limits of transforms and
//! multiplications are computed from. For benches, on a GPU that does nothing else.

use std::sync::Arc;
use std::time::Instant;

use ark_ff::Field;

use super::Cuda;
use super::driver::{Arg, Driver, DriverError, Kernel, Unit};
use super::memory::{Buffer, FR_BYTES, element};
use crate::testing::scalars;

/// Threads of a block of every kernel here.
const BLOCK: u32 = 256;
/// Rounds of the instruction kernels: some ten milliseconds, beside which a launch is nothing.
const ROUNDS: u32 = 10_000;
/// Products of each chain: some twenty milliseconds on a large GPU.
const CHAIN_ROUNDS: u32 = 4096;
/// Launches of which the median is taken; one before them warms up.
const REPEATS: usize = 5;
/// Bytes of a copy: many times the second-level cache.
const COPIED_BYTES: usize = 512 << 20;

/// The instructions that are measured: the name of each in machine code, its kernel, and how many of them a thread executes in a round.
const INSTRUCTIONS: [(&str, &str, f64); 5] = [
    ("IMAD.WIDE", "field_rate_wide", 64.0),
    ("IMAD (low half)", "field_rate_lo", 64.0),
    ("IMAD.HI", "field_rate_hi", 64.0),
    ("IADD3 and LOP3", "field_rate_add", 128.0),
    ("DFMA", "field_rate_fp64", 64.0),
];

/// How many results of an instruction a GPU gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InstructionRate {
    /// The instruction.
    pub name: &'static str,
    /// Results of a multiprocessor in a clock, by the clocks that the blocks counted themselves.
    pub per_clock: f64,
    /// Results of the whole GPU in a second, by the wall.
    pub per_second: f64,
    /// Clocks of a multiprocessor in a second: those that the longest block counted, by the wall.
    pub clock_hz: f64,
}

impl Cuda {
    /// The rates of instructions; none where the kernels do not run on a GPU.
    ///
    /// # Errors
    /// When the GPU has failed.
    pub fn instruction_rates(&self) -> Result<Vec<InstructionRate>, DriverError> {
        let measured = INSTRUCTIONS.into_iter().map(|(name, kernel, per_round)| {
            instruction_rate(self.driver(), (name, kernel, per_round), ROUNDS)
        });
        measured.filter_map(Result::transpose).collect()
    }

    /// Clocks of a multiprocessor in a second, now, under a load of multiplications; none where the kernels do not run on a GPU.
    ///
    /// # Errors
    /// When the GPU has failed.
    pub fn clock_hz(&self) -> Result<Option<f64>, DriverError> {
        let rate = instruction_rate(self.driver(), INSTRUCTIONS[0], ROUNDS)?;
        Ok(rate.map(|rate| rate.clock_hz))
    }

    /// Products of scalars in a second, two chains a thread, with the results of some checked.
    ///
    /// # Errors
    /// When the GPU has failed, or multiplies wrongly.
    pub fn product_rate(&self) -> Result<f64, DriverError> {
        product_rate(self.driver(), 4, CHAIN_ROUNDS)
    }

    /// Bytes in a second that the GPU's memory gives and takes when it copies: both are counted.
    ///
    /// # Errors
    /// When the GPU has failed, or has no memory for it.
    pub fn copy_rate(&self) -> Result<f64, DriverError> {
        copy_rate(self.driver(), COPIED_BYTES)
    }
}

/// The rate of one of [`INSTRUCTIONS`], by as many blocks as run at once; none on an emulation, which has no such kernels.
pub(crate) fn instruction_rate(
    driver: &Arc<dyn Driver>,
    (name, kernel, per_round): (&'static str, &'static str, f64),
    rounds: u32,
) -> Result<Option<InstructionRate>, DriverError> {
    let facts = driver.facts();
    let Some(resident) = resident_blocks(facts.architecture) else {
        return Ok(None);
    };
    let grid = count(facts.multiprocessors * resident);
    let clocks = Buffer::zeroed(driver, 8 * grid as usize)?;
    let sink = Buffer::zeroed(driver, 4)?;
    let args = [clocks.arg(), sink.arg(), Arg::U32(rounds), Arg::U32(7)];
    let seconds = median_seconds(driver, || launch(driver, kernel, grid, &args))?;
    let mut counted = vec![0u64; grid as usize];
    clocks.read(0, bytemuck::cast_slice_mut(&mut counted))?;
    let mean = counted.iter().map(|&clocks| clocks as f64).sum::<f64>() / f64::from(grid);
    let longest = counted.iter().copied().max().unwrap_or(0) as f64;
    let of_block = f64::from(BLOCK) * per_round * f64::from(rounds);
    Ok(Some(InstructionRate {
        name,
        per_clock: resident as f64 * of_block / mean,
        per_second: f64::from(grid) * of_block / seconds,
        clock_hz: longest / seconds,
    }))
}

/// Products in a second of `blocks` blocks a multiprocessor, in chains of `rounds`.
pub(crate) fn product_rate(
    driver: &Arc<dyn Driver>,
    blocks: usize,
    rounds: u32,
) -> Result<f64, DriverError> {
    let grid = count(driver.facts().multiprocessors * blocks);
    let n = grid * BLOCK;
    let begun = scalars(31, 2 * n as usize);
    let factor = scalars(33, 1)[0];
    let chains = Buffer::of_scalars(driver, &begun)?;
    let args = [chains.arg(), element(factor), Arg::U32(rounds), Arg::U32(n)];
    let mut n_launches = 0;
    let seconds = median_seconds(driver, || {
        n_launches += 1;
        launch(driver, "field_chain_fr", grid, &args)
    })?;
    let power = factor.pow([u64::from(rounds) * n_launches]);
    let ended = chains.scalars()?;
    if ended
        .iter()
        .zip(&begun)
        .any(|(end, begin)| *end != *begin * power)
    {
        return Err(DriverError::Failed {
            call: "a chain of products",
            reason: "it gives other elements than the CPU".to_owned(),
        });
    }
    Ok(2.0 * f64::from(n) * f64::from(rounds) / seconds)
}

/// Bytes in a second that copies of `bytes` read and write.
pub(crate) fn copy_rate(driver: &Arc<dyn Driver>, bytes: usize) -> Result<f64, DriverError> {
    const COPIES: usize = 8;
    let bytes = bytes.next_multiple_of(FR_BYTES);
    let (from, to) = (
        Buffer::zeroed(driver, bytes)?,
        Buffer::zeroed(driver, bytes)?,
    );
    let seconds = median_seconds(driver, || {
        (0..COPIES).try_for_each(|_| driver.copy(to.at(0), from.at(0), bytes))
    })?;
    Ok((2 * COPIES * bytes) as f64 / seconds)
}

/// Blocks of [`BLOCK`] threads that a multiprocessor runs at once, and no more than the kernels are made for; none on no GPU.
fn resident_blocks(architecture: (u32, u32)) -> Option<usize> {
    match architecture {
        (0, _) => None,
        // A multiprocessor of consumer GPUs since 2020 holds 1536 threads, others 2048.
        (8, 6..) | (12.., _) => Some(6),
        _ => Some(8),
    }
}

/// The median of the seconds that `work` takes, each time to its end.
fn median_seconds(
    driver: &Arc<dyn Driver>,
    mut work: impl FnMut() -> Result<(), DriverError>,
) -> Result<f64, DriverError> {
    work()?;
    driver.synchronize()?;
    let mut seconds = Vec::with_capacity(REPEATS);
    for _ in 0..REPEATS {
        let begun = Instant::now();
        work()?;
        driver.synchronize()?;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[REPEATS / 2])
}

fn launch(
    driver: &Arc<dyn Driver>,
    name: &'static str,
    grid: u32,
    args: &[Arg],
) -> Result<(), DriverError> {
    let unit = Unit::Field;
    driver.launch(Kernel { unit, name }, grid, BLOCK, 0, args)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::emulator::Emulator;

    #[test]
    fn chains_of_products_are_checked_and_timed() {
        let driver = Emulator::start(None).expect("a C++ compiler");
        assert!(product_rate(&driver, 1, 3).expect("right products") > 0.0);
        assert!(copy_rate(&driver, 1 << 16).expect("memory") > 0.0);
    }

    #[test]
    fn an_emulation_has_no_instruction_rates() {
        let cuda = Cuda::with_driver(Emulator::start(None).expect("a C++ compiler"));
        assert_eq!(cuda.instruction_rates().expect("nothing runs"), []);
        assert_eq!(cuda.clock_hz().expect("nothing runs"), None);
    }
}
