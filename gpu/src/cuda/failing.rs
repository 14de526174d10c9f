//! # Failing: a machine that breaks, for tests of what goes on without it

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::driver::{Address, Arg, Driver, DriverError, Facts, Generated, Kernel};

/// A machine that does so many launches and copies, and then nothing any longer.
#[derive(Debug)]
pub(crate) struct Failing {
    driver: Arc<dyn Driver>,
    left: Arc<AtomicU32>,
}

impl Failing {
    /// `driver` until it has done `calls` launches and copies.
    pub(crate) fn new(driver: Arc<dyn Driver>, calls: u32) -> Self {
        Self {
            driver,
            left: Arc::new(AtomicU32::new(calls)),
        }
    }

    fn alive(&self) -> Result<(), DriverError> {
        match self.left.load(Ordering::Relaxed) {
            0 => Err(broken()),
            _ => Ok(()),
        }
    }
}

fn broken() -> DriverError {
    DriverError::Failed {
        call: "a call",
        reason: "the machine broke, as it was told to".to_owned(),
    }
}

/// Counts a launch or a copy.
fn count(left: &AtomicU32) -> Result<(), DriverError> {
    let counted = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.checked_sub(1)
    });
    match counted {
        Ok(left) if left > 1 => Ok(()),
        _ => Err(broken()),
    }
}

impl Driver for Failing {
    fn facts(&self) -> &Facts {
        self.driver.facts()
    }

    fn free_bytes(&self) -> Result<u64, DriverError> {
        self.alive()?;
        self.driver.free_bytes()
    }

    fn alloc(&self, bytes: usize) -> Result<Address, DriverError> {
        self.alive()?;
        self.driver.alloc(bytes)
    }

    fn free(&self, at: Address) {
        self.driver.free(at);
    }

    fn zero(&self, at: Address, bytes: usize) -> Result<(), DriverError> {
        self.alive()?;
        self.driver.zero(at, bytes)
    }

    fn upload(&self, to: Address, from: &[u8]) -> Result<(), DriverError> {
        count(&self.left)?;
        self.driver.upload(to, from)
    }

    fn download(&self, from: Address, to: &mut [u8]) -> Result<(), DriverError> {
        count(&self.left)?;
        self.driver.download(from, to)
    }

    fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<(), DriverError> {
        count(&self.left)?;
        self.driver.copy(to, from, bytes)
    }

    fn launch(
        &self,
        kernel: Kernel,
        grid: u32,
        block: u32,
        shared: u32,
        args: &[Arg],
    ) -> Result<(), DriverError> {
        count(&self.left)?;
        self.driver.launch(kernel, grid, block, shared, args)
    }

    fn generate(
        &self,
        name: &'static str,
        source: &str,
    ) -> Result<Arc<dyn Generated>, DriverError> {
        self.alive()?;
        Ok(Arc::new(Counted {
            kernel: self.driver.generate(name, source)?,
            left: Arc::clone(&self.left),
        }))
    }

    fn synchronize(&self) -> Result<(), DriverError> {
        self.alive()?;
        self.driver.synchronize()
    }
}

/// A generated kernel of a machine that breaks.
#[derive(Debug)]
struct Counted {
    kernel: Arc<dyn Generated>,
    left: Arc<AtomicU32>,
}

impl Generated for Counted {
    fn launch(&self, grid: u32, block: u32, args: &[Arg]) -> Result<(), DriverError> {
        count(&self.left)?;
        self.kernel.launch(grid, block, args)
    }
}
