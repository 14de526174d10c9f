//! # Transforms: in lanes where the processor and the length allow, else by arkworks

use ark_bn254::Fr;
use ark_poly::EvaluationDomain;

use crate::device::{DeviceError, Direction, Points};
use crate::domain::Domain;

/// Transforms `values`, as many as the domain has points; `lanes`: with vector instructions where they are.
pub(super) fn transform(
    values: &mut Vec<Fr>,
    domain: &Domain,
    direction: Direction,
    points: Points,
    lanes: bool,
) -> Result<(), DeviceError> {
    let points = domain.points(points).ok_or(DeviceError::ZeroShift)?;
    #[cfg(target_arch = "x86_64")]
    if lanes && super::ifma::ntt::supports(domain.log_n()) {
        super::ifma::ntt::transform(values, &points, direction);
        return Ok(());
    }
    let _ = lanes;
    match direction {
        Direction::Forward => points.fft_in_place(values),
        Direction::Inverse => points.ifft_in_place(values),
    }
    Ok(())
}

/// Values on the subgroup to values on the coset, as many as the domain has points.
pub(super) fn to_coset(
    values: &mut Vec<Fr>,
    domain: &Domain,
    lanes: bool,
) -> Result<(), DeviceError> {
    #[cfg(target_arch = "x86_64")]
    if lanes && super::ifma::ntt::supports(domain.log_n()) {
        let coset = domain.points(Points::Coset).ok_or(DeviceError::ZeroShift)?;
        super::ifma::ntt::to_coset(values, &coset);
        return Ok(());
    }
    transform(values, domain, Direction::Inverse, Points::Subgroup, lanes)?;
    transform(values, domain, Direction::Forward, Points::Coset, lanes)
}
