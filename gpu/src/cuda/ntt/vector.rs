//! # Operations on vectors, element by element

use std::sync::Arc;

use ark_bn254::Fr;

use crate::cuda::driver::{Arg, Driver, DriverError, Kernel, Unit};
use crate::cuda::memory::{Buffer, FR_BYTES, element};

/// Threads of a block.
const BLOCK: u32 = 256;
/// Elements of a launch at most: a word of an element has a 32-bit index.
const LAUNCH: usize = 1 << 28;

/// a_i ← (a_i·b_i − c_i)·scale, for vectors of one length.
pub(crate) fn mul_sub_scale(
    driver: &Arc<dyn Driver>,
    a: &mut Buffer,
    b: &Buffer,
    c: &Buffer,
    scale: Fr,
) -> Result<(), DriverError> {
    launch(driver, "vector_mul_sub_scale", &[a, b, c], Some(scale))
}

/// a_i ← a_i·b_i, for vectors of one length.
pub(crate) fn mul(driver: &Arc<dyn Driver>, a: &mut Buffer, b: &Buffer) -> Result<(), DriverError> {
    launch(driver, "vector_mul", &[a, b], None)
}

/// A kernel whose parameters are vectors, a factor perhaps, and the number of elements.
fn launch(
    driver: &Arc<dyn Driver>,
    name: &'static str,
    vectors: &[&Buffer],
    factor: Option<Fr>,
) -> Result<(), DriverError> {
    let bytes = vectors.first().map_or(0, |vector| vector.bytes());
    assert!(
        vectors.iter().all(|vector| vector.bytes() == bytes),
        "vectors of one length"
    );
    let kernel = Kernel {
        unit: Unit::Ntt,
        name,
    };
    let len = bytes / FR_BYTES;
    for start in (0..len).step_by(LAUNCH) {
        let n = LAUNCH.min(len - start) as u32;
        let mut args: Vec<Arg> = vectors
            .iter()
            .map(|vector| Arg::At(vector.at(start * FR_BYTES)))
            .collect();
        args.extend(factor.map(element));
        args.push(Arg::U32(n));
        driver.launch(kernel, n.div_ceil(BLOCK), BLOCK, 0, &args)?;
    }
    Ok(())
}
