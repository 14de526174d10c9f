//! # Rates: what an operation of each kernel costs, and work counted in them
//!
//! Set-ups and proofs are counted in operations of a few [`Kernel`]s; [`Rates`] say what one of each takes, stored ones of a reference
//! machine or those of [`calibrate`](super::calibrate()). A count times its rate is core-seconds; seconds are those divided by the threads,
//! except for what one thread does.

use std::time::Duration;

use zkinfer_gpu::Cpu;

/// An operation that set-ups and proofs are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// An addition in a multiplication in G1.
    AddG1,
    /// An addition in a multiplication in G2.
    AddG2,
    /// An addition in fixed-base products in G1.
    MakeG1,
    /// An addition in fixed-base products in G2.
    MakeG2,
    /// A point of a fixed-base table in G1.
    TableG1,
    /// A point of a fixed-base table in G2.
    TableG2,
    /// A power of τ in G1, made by arkworks.
    Power,
    /// A butterfly of a transform.
    Butterfly,
    /// A product and a sum of field elements in a long vector.
    Product,
    /// The same by one thread, while the others wait.
    Serial,
}

impl Kernel {
    /// How many there are.
    pub const N: usize = 10;
    /// Every one, in the order of their numbers.
    pub const ALL: [Self; Self::N] = [
        Self::AddG1,
        Self::AddG2,
        Self::MakeG1,
        Self::MakeG2,
        Self::TableG1,
        Self::TableG2,
        Self::Power,
        Self::Butterfly,
        Self::Product,
        Self::Serial,
    ];

    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AddG1 => "addition in G1",
            Self::AddG2 => "addition in G2",
            Self::MakeG1 => "fixed-base addition in G1",
            Self::MakeG2 => "fixed-base addition in G2",
            Self::TableG1 => "table point in G1",
            Self::TableG2 => "table point in G2",
            Self::Power => "power of tau",
            Self::Butterfly => "butterfly",
            Self::Product => "product",
            Self::Serial => "serial product",
        }
    }
}

/// Core-nanoseconds of an operation on the reference machine: see DESIGN.md#estimates.
const REFERENCE: [f64; Kernel::N] = [
    66.8, 165.0, 51.0, 162.0, 467.0, 1_590.0, 11_900.0, 6.2, 23.7, 21.5,
];
/// A byte that is hashed, in serial products.
pub(super) const HASHED_BYTE: f64 = 0.041;
/// What a window of a multiplication costs beside its additions, most of it inversions.
const ADDITIONS_PER_WINDOW: f64 = 1_200.0;
/// Sizes beyond these caches cost more for each doubling: points of a multiplication, elements of a transform.
const LOG_CACHED: f64 = 18.0;
const MULTIPLICATION_PER_DOUBLING: f64 = 0.13;
const TRANSFORM_PER_DOUBLING: f64 = 0.07;

/// Additions of a multiplication by `n` scalars of full size.
pub(super) fn multiplication(n: usize) -> f64 {
    if n == 0 {
        return 0.0;
    }
    let windows = 254.0 / ((n as f64).log2() - 2.0).max(2.0);
    Cpu::additions(n) as f64 * beyond_caches(n, MULTIPLICATION_PER_DOUBLING)
        + ADDITIONS_PER_WINDOW * windows
}

/// Butterflies of a transform of `n` elements, a power of two.
pub(super) fn transform(n: usize) -> f64 {
    (n / 2) as f64 * f64::from(n.ilog2()) * beyond_caches(n, TRANSFORM_PER_DOUBLING)
}

fn beyond_caches(n: usize, per_doubling: f64) -> f64 {
    1.0 + per_doubling * ((n as f64).log2() - LOG_CACHED).max(0.0)
}

/// What an operation of each kernel takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    core_seconds: [f64; Kernel::N],
    threads: usize,
    took: Option<Duration>,
}

impl Rates {
    /// Those of the reference machine, with the threads of rayon's current pool.
    #[must_use]
    pub fn reference() -> Self {
        Self {
            core_seconds: REFERENCE.map(|nanoseconds| nanoseconds * 1e-9),
            threads: rayon::current_num_threads(),
            took: None,
        }
    }

    /// Those of a micro-run.
    pub(super) fn measured(core_seconds: [f64; Kernel::N], took: Duration) -> Self {
        Self {
            core_seconds,
            threads: rayon::current_num_threads(),
            took: Some(took),
        }
    }

    /// Core-seconds of an operation.
    #[must_use]
    pub fn of(&self, kernel: Kernel) -> f64 {
        self.core_seconds[kernel as usize]
    }

    /// Threads that work together.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// How long the micro-run took; `None` for the reference machine's.
    #[must_use]
    pub fn took(&self) -> Option<Duration> {
        self.took
    }
}

/// Operations of each kernel.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Work([f64; Kernel::N]);

impl Work {
    /// The sum of counts.
    pub(super) fn of(counts: &[(Kernel, f64)]) -> Self {
        Self::default().and(counts)
    }

    /// This and more.
    pub(super) fn and(mut self, counts: &[(Kernel, f64)]) -> Self {
        for (kernel, count) in counts {
            self.0[*kernel as usize] += count;
        }
        self
    }

    /// So many times all of it: what a whole process spends beside its kernels, in page faults, allocation and scheduling.
    pub(super) fn times(mut self, factor: f64) -> Self {
        self.0.iter_mut().for_each(|count| *count *= factor);
        self
    }

    /// Operations of a kernel.
    #[must_use]
    pub fn count(&self, kernel: Kernel) -> f64 {
        self.0[kernel as usize]
    }

    /// Seconds of all threads together.
    #[must_use]
    pub fn core_seconds(&self, rates: &Rates) -> f64 {
        let costs = Kernel::ALL.map(|kernel| self.count(kernel) * rates.of(kernel));
        costs.iter().sum()
    }

    /// Seconds on the rates' threads.
    #[must_use]
    pub fn seconds(&self, rates: &Rates) -> f64 {
        let serial = self.count(Kernel::Serial) * rates.of(Kernel::Serial);
        let parallel = self.core_seconds(rates) - serial;
        serial + parallel / rates.threads().max(1) as f64
    }
}
