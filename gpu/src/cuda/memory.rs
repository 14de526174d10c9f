//! # Memory: buffers of a device, and elements as bytes

#![allow(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, BigInt};
use rayon::prelude::*;
use zeroize::optimization_barrier;

use super::driver::{Address, Arg, Driver, DriverError};

/// Scalars that one task overwrites.
const WIPED_AT_ONCE: usize = 1 << 14;
/// Bytes of a scalar.
pub(crate) const FR_BYTES: usize = 32;

/// Memory of a device, overwritten with zeros before it is given back: it may hold a witness or what tells of one.
pub(crate) struct Buffer {
    driver: Arc<dyn Driver>,
    at: Address,
    bytes: usize,
}

impl Buffer {
    /// A buffer with arbitrary contents.
    pub(crate) fn new(driver: &Arc<dyn Driver>, bytes: usize) -> Result<Self, DriverError> {
        // No device hands out nothing.
        let at = driver.alloc(bytes.max(16))?;
        Ok(Self {
            driver: Arc::clone(driver),
            at,
            bytes,
        })
    }

    /// A buffer of zeros.
    pub(crate) fn zeroed(driver: &Arc<dyn Driver>, bytes: usize) -> Result<Self, DriverError> {
        let buffer = Self::new(driver, bytes)?;
        buffer.zero()?;
        Ok(buffer)
    }

    /// A buffer with these bytes.
    pub(crate) fn of(driver: &Arc<dyn Driver>, contents: &[u8]) -> Result<Self, DriverError> {
        if contents.is_empty() {
            return Self::new(driver, 0);
        }
        Ok(Self {
            at: driver.alloc_with(contents)?,
            driver: Arc::clone(driver),
            bytes: contents.len(),
        })
    }

    /// A buffer with these scalars, in Montgomery form.
    pub(crate) fn of_scalars(
        driver: &Arc<dyn Driver>,
        scalars: &[Fr],
    ) -> Result<Self, DriverError> {
        Self::of(driver, scalar_bytes(scalars))
    }

    pub(crate) fn zero(&self) -> Result<(), DriverError> {
        self.driver.zero(self.at, self.bytes)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The address of byte `offset`.
    pub(crate) fn at(&self, offset: usize) -> Address {
        debug_assert!(offset <= self.bytes);
        self.at + offset as u64
    }

    /// The buffer as an argument of a kernel.
    pub(crate) fn arg(&self) -> Arg {
        Arg::At(self.at)
    }

    pub(crate) fn driver(&self) -> &Arc<dyn Driver> {
        &self.driver
    }

    /// The bytes from `offset` on.
    pub(crate) fn read(&self, offset: usize, to: &mut [u8]) -> Result<(), DriverError> {
        assert!(offset + to.len() <= self.bytes, "a read beyond a buffer");
        self.driver.download(self.at(offset), to)
    }

    /// Overwrites the bytes from `offset` on.
    pub(crate) fn write(&self, offset: usize, from: &[u8]) -> Result<(), DriverError> {
        assert!(offset + from.len() <= self.bytes, "a write beyond a buffer");
        self.driver.upload(self.at(offset), from)
    }

    /// The `u32` words from byte `offset` on.
    pub(crate) fn words(&self, offset: usize, n: usize) -> Result<Vec<u32>, DriverError> {
        let mut words = vec![0u32; n];
        self.read(offset, bytemuck::cast_slice_mut(&mut words))?;
        Ok(words)
    }

    /// The scalars that the buffer holds.
    pub(crate) fn scalars(&self) -> Result<Vec<Fr>, DriverError> {
        self.scalars_from(0, self.bytes / FR_BYTES)
    }

    /// `n` of them, from the one of this index on.
    pub(crate) fn scalars_from(&self, first: usize, n: usize) -> Result<Vec<Fr>, DriverError> {
        let mut scalars = vec![Fr::ZERO; n];
        let read = self.read(first * FR_BYTES, scalar_bytes_mut(&mut scalars));
        if let Err(error) = read {
            wipe(&mut scalars);
            return Err(error);
        }
        Ok(scalars)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // A device that refuses this refuses everything: its memory is gone with its context.
        let _ = self.driver.zero(self.at, self.bytes);
        self.driver.free(self.at);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.bytes)
    }
}

/// A scalar as an argument of a kernel, in Montgomery form.
pub(crate) fn element(scalar: Fr) -> Arg {
    let BigInt(limbs) = scalar.0;
    let mut words = [0u32; 8];
    for (pair, limb) in words.chunks_exact_mut(2).zip(limbs) {
        pair[0] = limb as u32;
        pair[1] = (limb >> 32) as u32;
    }
    Arg::Element(words)
}

/// Overwrites scalars with zeros, at the speed of the memory.
pub(crate) fn wipe(scalars: &mut [Fr]) {
    scalars
        .par_chunks_mut(WIPED_AT_ONCE)
        .for_each(|part| part.fill(Fr::ZERO));
    optimization_barrier(scalars);
}

const _: () = assert!(size_of::<Fr>() == FR_BYTES && align_of::<Fr>() == 8);

/// The words of scalars in Montgomery form, as bytes.
pub(crate) fn scalar_bytes(scalars: &[Fr]) -> &[u8] {
    // SAFETY: an `Fr` is four `u64` and a marker without size (the assertion above), so its 32 bytes are all initialised; the slice covers
    // exactly the memory of `scalars`, which is borrowed as long.
    unsafe { std::slice::from_raw_parts(scalars.as_ptr().cast(), size_of_val(scalars)) }
}

/// The same, to be written: what is written must be words below the modulus, for the elements to be what they say.
pub(crate) fn scalar_bytes_mut(scalars: &mut [Fr]) -> &mut [u8] {
    // SAFETY: as above, borrowed exclusively; every pattern of 256 bits is a valid `[u64; 4]`.
    unsafe { std::slice::from_raw_parts_mut(scalars.as_mut_ptr().cast(), size_of_val(scalars)) }
}
