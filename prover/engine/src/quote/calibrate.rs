//! # Calibration: what one operation of each kernel costs on this machine
//!
//! A micro-run of the kernels that set-ups and proofs are made of, with the threads that a proof would use. Every kernel runs once a round,
//! rounds follow each other until the time is up, and all that a kernel took is divided by all its operations. The caller's clock should count
//! what all threads of the process spend on a processor: then what else the machine does hardly matters. Inputs are fixed, nothing secret is near.

use std::time::{Duration, Instant};

use ark_bn254::{Fr, G1Affine, G1Projective, G2Affine};
use ark_ec::scalar_mul::BatchMulPreprocessing;
use ark_ec::{AffineRepr, PrimeGroup};
use ark_ff::UniformRand;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rayon::prelude::*;
use zkinfer_gpu::{Bases, Cpu, Device, DeviceError, Domain, FixedBase, G1, G2, ScalarClass};

use super::rates::{Kernel, Rates, multiplication};

/// Binary logarithms of the sizes: large enough that a round of a kernel takes milliseconds, small enough for some rounds in two seconds.
const LOG_G1: u32 = 15;
const LOG_G2: u32 = 12;
const LOG_POWERS: u32 = 12;
const LOG_TABLE: u32 = 9;
const LOG_FIELD: u32 = 16;
/// What every kernel runs at least.
const MIN_ROUNDS: usize = 3;
/// Products of one element in a round of the field kernels, and elements of one task.
const PRODUCTS: usize = 32;
const PART: usize = 1 << 11;
/// Elements of a round of the serial kernel.
const SERIAL: usize = 1 << 13;
/// No kernel takes less in all.
const LEAST_SECONDS: f64 = 1e-6;

/// Runs every kernel on `device` for about `time` in all, and says what an operation costs. `clock` is the processor time of this process so
/// far; `shown` hears how far the micro-run is, from 0 to 1.
///
/// # Errors
/// [`DeviceError`] when the device has failed.
pub fn calibrate(
    device: &dyn Device,
    time: Duration,
    clock: &dyn Fn() -> Duration,
    shown: &mut dyn FnMut(f64),
) -> Result<Rates, DeviceError> {
    let begun = Instant::now();
    let mut bench = Bench::new(device, clock)?;
    let mut rounds: Vec<[Run; Kernel::N]> = Vec::new();
    while rounds.len() < MIN_ROUNDS || begun.elapsed() < time {
        rounds.push(bench.round()?);
        shown((begun.elapsed().as_secs_f64() / time.as_secs_f64()).min(1.0));
    }
    let core_seconds = Kernel::ALL.map(|kernel| {
        let of: Vec<Run> = rounds.iter().map(|round| round[kernel as usize]).collect();
        let took: Duration = of.iter().map(|run| run.took).sum();
        let operations: f64 = of.iter().map(|run| run.operations).sum();
        // A clock may stand still for a moment.
        took.as_secs_f64().max(LEAST_SECONDS) / operations
    });
    Ok(Rates::measured(core_seconds, begun.elapsed()))
}

/// A kernel's run in one round.
#[derive(Clone, Copy, Default)]
struct Run {
    took: Duration,
    operations: f64,
}

/// The inputs of the kernels.
struct Bench<'a> {
    device: &'a dyn Device,
    clock: &'a dyn Fn() -> Duration,
    g1: Bases<G1>,
    g2: Bases<G2>,
    /// Small tables, whose making is timed apart.
    table_g1: FixedBase<G1>,
    table_g2: FixedBase<G2>,
    scalars: Vec<Fr>,
    values: Vec<Fr>,
    domain: Domain,
}

impl<'a> Bench<'a> {
    fn new(device: &'a dyn Device, clock: &'a dyn Fn() -> Duration) -> Result<Self, DeviceError> {
        let seeds: Vec<u64> = (0..1 << (LOG_FIELD - 8)).collect();
        let drawn = seeds.par_iter().flat_map_iter(|seed| {
            let mut rng = StdRng::seed_from_u64(*seed);
            (0..1 << 8).map(move |_| Fr::rand(&mut rng))
        });
        let scalars: Vec<Fr> = drawn.collect();
        let table_g1 = FixedBase::<G1>::new(G1Affine::generator(), 1 << LOG_TABLE);
        let table_g2 = FixedBase::<G2>::new(G2Affine::generator(), 1 << LOG_TABLE);
        let g1 = device.fixed_base_g1(&table_g1, &scalars[..1 << LOG_G1])?;
        let g2 = device.fixed_base_g2(&table_g2, &scalars[..1 << LOG_G2])?;
        Ok(Self {
            device,
            clock,
            g1: Bases::from_points(g1),
            g2: Bases::from_points(g2),
            table_g1,
            table_g2,
            values: scalars.clone(),
            domain: Domain::new(scalars.len()).ok_or(DeviceError::ZeroShift)?,
            scalars,
        })
    }

    /// Every kernel once.
    fn round(&mut self) -> Result<[Run; Kernel::N], DeviceError> {
        let mut runs = [Run::default(); Kernel::N];
        for kernel in Kernel::ALL {
            let begun = (self.clock)();
            let operations = self.run(kernel)?;
            let took = (self.clock)().saturating_sub(begun);
            runs[kernel as usize] = Run { took, operations };
        }
        Ok(runs)
    }

    /// Runs a kernel; how many operations that were.
    fn run(&mut self, kernel: Kernel) -> Result<f64, DeviceError> {
        let device = self.device;
        let operations = match kernel {
            Kernel::AddG1 => {
                let scalars = device.upload(self.scalars[..self.g1.len()].to_vec())?;
                let _sum = device.msm_g1(&self.g1, scalars.as_slice(), ScalarClass::Full)?;
                return Ok(multiplication(self.g1.len()));
            }
            Kernel::AddG2 => {
                let scalars = device.upload(self.scalars[..self.g2.len()].to_vec())?;
                let _sum = device.msm_g2(&self.g2, scalars.as_slice(), ScalarClass::Full)?;
                Cpu::additions(self.g2.len())
            }
            Kernel::MakeG1 => {
                let scalars = &self.scalars[..self.g1.len() / 2];
                let _points = device.fixed_base_g1(&self.table_g1, scalars)?;
                scalars.len() * FixedBase::<G1>::cost(1 << LOG_TABLE).1
            }
            Kernel::MakeG2 => {
                let scalars = &self.scalars[..self.g2.len()];
                let _points = device.fixed_base_g2(&self.table_g2, scalars)?;
                scalars.len() * FixedBase::<G2>::cost(1 << LOG_TABLE).1
            }
            Kernel::TableG1 => {
                let _table = FixedBase::<G1>::new(G1Affine::generator(), self.g2.len());
                FixedBase::<G1>::cost(self.g2.len()).0
            }
            Kernel::TableG2 => {
                let _table = FixedBase::<G2>::new(G2Affine::generator(), self.g2.len() / 4);
                FixedBase::<G2>::cost(self.g2.len() / 4).0
            }
            Kernel::Power => {
                let scalars = &self.scalars[..1 << LOG_POWERS];
                let table = BatchMulPreprocessing::new(G1Projective::generator(), scalars.len());
                let _points = table.batch_mul(scalars);
                scalars.len()
            }
            Kernel::Butterfly => {
                let mut values = device.upload(self.scalars.clone())?;
                device.to_coset(&mut values, &self.domain)?;
                self.domain.n() * self.domain.log_n() as usize
            }
            Kernel::Product => {
                let pairs = self.values.par_chunks_mut(PART);
                let pairs = pairs.zip(self.scalars.par_chunks(PART));
                pairs.for_each(|(values, factors)| multiply(values, factors));
                PRODUCTS << LOG_FIELD
            }
            Kernel::Serial => {
                multiply(&mut self.values[..SERIAL], &self.scalars[..SERIAL]);
                PRODUCTS * SERIAL
            }
        };
        Ok(operations as f64)
    }
}

/// v ← v·f + f, many times.
fn multiply(values: &mut [Fr], factors: &[Fr]) {
    for _ in 0..PRODUCTS {
        for (value, factor) in values.iter_mut().zip(factors) {
            *value = *value * factor + factor;
        }
    }
}
