//! Bases on the device, with their table where there is one.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::plan::{table_bits, table_windows};
use super::{launch, names, word};
use crate::bases::{Bases, BasesError};
use crate::cuda::driver::{Arg, Driver, DriverError};
use crate::cuda::memory::Buffer;
use crate::curve::Curve;

/// Bases on the device.
pub(crate) struct Resident<C: Curve> {
    /// The points, or for every window w of a table their multiples 2^(c·w)·P, one window after another.
    points: Buffer,
    /// A bit for each base: whether it is finite.
    finite: Buffer,
    len: usize,
    /// Bits of a table's windows.
    window_bits: Option<u32>,
    curve: PhantomData<C>,
}

/// Bases that cannot be used.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// The key is damaged.
    Bases(BasesError),
    /// The machine failed, or has no memory for them.
    Driver(DriverError),
}

impl From<DriverError> for Unusable {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

impl<C: Curve> Resident<C> {
    /// Copies bases to the device; every coordinate is looked at before.
    pub(crate) fn new(driver: &Arc<dyn Driver>, bases: &Bases<C>) -> Result<Self, Unusable> {
        let finite = bases.finite().map_err(Unusable::Bases)?;
        let words: Vec<u32> = bytemuck::cast_slice(finite.words()).to_vec();
        Ok(Self {
            points: Buffer::of(driver, bytemuck::cast_slice(bases.raw()))?,
            finite: Buffer::of(driver, bytemuck::cast_slice(&words))?,
            len: bases.len(),
            window_bits: None,
            curve: PhantomData,
        })
    }

    /// Bases that a kernel made; the infinite ones among them count as finite, and add nothing.
    pub(crate) fn of_sums(points: Buffer, len: usize) -> Result<Self, DriverError> {
        let words = vec![u32::MAX; len.div_ceil(32)];
        Ok(Self {
            finite: Buffer::of(points.driver(), bytemuck::cast_slice(&words))?,
            points,
            len,
            window_bits: None,
            curve: PhantomData,
        })
    }

    /// The same bases with a table in at most `max_bytes`; `None` where none fits or a base is not of the group.
    pub(crate) fn tabulated(&self, max_bytes: u64) -> Result<Option<Self>, DriverError> {
        let driver = self.driver();
        let Some(c) = table_bits::<C>(self.len, max_bytes).filter(|_| self.len > 0) else {
            return Ok(None);
        };
        let names = names::<C>();
        let points = Buffer::new(driver, table_windows(c) * self.len * C::POINT_BYTES)?;
        driver.copy(points.at(0), self.points.at(0), self.len * C::POINT_BYTES)?;
        let fault = Buffer::zeroed(driver, 4)?;
        for window in 1..table_windows(c) {
            let args = [
                points.arg(),
                fault.arg(),
                word((window - 1) * self.len),
                word(self.len),
                word(self.len),
                Arg::U32(c),
            ];
            launch(driver, names.double, names.unit, self.len, &args)?;
        }
        if fault.words(0, 1)?[0] != 0 {
            return Ok(None);
        }
        let finite = Buffer::new(driver, self.finite.bytes())?;
        driver.copy(finite.at(0), self.finite.at(0), self.finite.bytes())?;
        Ok(Some(Self {
            points,
            finite,
            len: self.len,
            window_bits: Some(c),
            curve: PhantomData,
        }))
    }

    pub(crate) fn driver(&self) -> &Arc<dyn Driver> {
        self.points.driver()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the table, 0 where there is none.
    pub(crate) fn table_bytes(&self) -> u64 {
        self.window_bits.map_or(0, |_| self.points.bytes() as u64)
    }

    pub(super) fn window_bits(&self) -> Option<u32> {
        self.window_bits
    }

    pub(super) fn points(&self) -> Arg {
        self.points.arg()
    }

    pub(super) fn finite(&self) -> Arg {
        self.finite.arg()
    }

}

impl<C: Curve> fmt::Debug for Resident<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resident<{}>({} points)", C::NAME, self.len)
    }
}
