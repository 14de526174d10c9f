//! # Dual: two devices that must agree
//!
//! Every operation is done by both and compared, for finding what one of them gets wrong. As slow as the two together.

use std::fmt;

use ark_bn254::{Fr, G1Affine, G1Projective, G2Affine, G2Projective};

use crate::bases::Bases;
use crate::curve::{G1, G2};
use crate::device::{
    Device, DeviceError, DeviceInfo, Direction, FixedBase, FrSlice, FrVec, Place, Points,
};
use crate::domain::Domain;
use crate::field::ScalarClass;

/// Two devices, of which the first one's results count and the second one's must be equal.
pub struct Dual<A, B> {
    first: A,
    second: B,
}

impl<A: Device, B: Device> Dual<A, B> {
    /// Of a device and the one it is compared with.
    #[must_use]
    pub fn new(first: A, second: B) -> Self {
        Self { first, second }
    }

    /// Lets both devices change their vectors of `vector`, and compares what they hold then.
    fn change(
        &self,
        operation: &'static str,
        vector: &mut FrVec,
        first: impl FnOnce(&A, &mut FrVec) -> Result<(), DeviceError>,
        second: impl FnOnce(&B, &mut FrVec) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        let pair = pair_mut(vector)?;
        agree_on_refusal(
            operation,
            first(&self.first, &mut pair.0),
            second(&self.second, &mut pair.1),
        )?;
        let left = self
            .first
            .download(std::mem::replace(&mut pair.0, FrVec::from_host(Vec::new())))?;
        let right = self
            .second
            .download(std::mem::replace(&mut pair.1, FrVec::from_host(Vec::new())))?;
        let index = (0..left.len().max(right.len())).find(|i| left.get(*i) != right.get(*i));
        pair.0 = self.first.upload(left)?;
        pair.1 = self.second.upload(right)?;
        match index {
            None => Ok(()),
            Some(index) => Err(DeviceError::Disagreement { operation, index }),
        }
    }
}

/// Both results where they are equal, or the refusal of both.
fn agreed<T: PartialEq>(
    operation: &'static str,
    first: Result<T, DeviceError>,
    second: Result<T, DeviceError>,
) -> Result<T, DeviceError> {
    match (first, second) {
        (Ok(left), Ok(right)) if left == right => Ok(left),
        // A failure is no disagreement, whatever the other device says.
        (Err(error @ DeviceError::Gpu(_)), _) | (_, Err(error @ DeviceError::Gpu(_))) => Err(error),
        (Err(error), Err(_)) => Err(error),
        _ => Err(DeviceError::Disagreement {
            operation,
            index: 0,
        }),
    }
}

fn agree_on_refusal(
    operation: &'static str,
    first: Result<(), DeviceError>,
    second: Result<(), DeviceError>,
) -> Result<(), DeviceError> {
    agreed(operation, first, second)
}

fn pair(vector: &FrVec) -> Result<&(FrVec, FrVec), DeviceError> {
    match vector.place() {
        Place::Both(pair) => Ok(pair),
        Place::Host(_) | Place::Gpu(_) => Err(DeviceError::Foreign),
    }
}

fn pair_mut(vector: &mut FrVec) -> Result<&mut (FrVec, FrVec), DeviceError> {
    match vector.place_mut() {
        Place::Both(pair) => Ok(pair),
        Place::Host(_) | Place::Gpu(_) => Err(DeviceError::Foreign),
    }
}

/// The same part of both vectors.
fn parts(scalars: FrSlice<'_>) -> Result<(FrSlice<'_>, FrSlice<'_>), DeviceError> {
    let (vector, first) = scalars.within();
    let pair = pair(vector)?;
    let range = first..first + scalars.len();
    Ok((pair.0.slice(range.clone())?, pair.1.slice(range)?))
}

impl<A: Device, B: Device> Device for Dual<A, B> {
    fn info(&self) -> DeviceInfo {
        let (first, second) = (self.first.info(), self.second.info());
        DeviceInfo {
            name: format!("{} and {}", first.name, second.name),
            ..first
        }
    }

    fn upload(&self, values: Vec<Fr>) -> Result<FrVec, DeviceError> {
        let second = self.second.upload(values.clone())?;
        Ok(FrVec::from_both(self.first.upload(values)?, second))
    }

    fn download(&self, mut vector: FrVec) -> Result<Vec<Fr>, DeviceError> {
        let pair = pair_mut(&mut vector)?;
        let left = std::mem::replace(&mut pair.0, FrVec::from_host(Vec::new()));
        let right = std::mem::replace(&mut pair.1, FrVec::from_host(Vec::new()));
        agreed(
            "download",
            self.first.download(left),
            self.second.download(right),
        )
    }

    fn ntt(
        &self,
        vector: &mut FrVec,
        domain: &Domain,
        direction: Direction,
        points: Points,
    ) -> Result<(), DeviceError> {
        self.change(
            "ntt",
            vector,
            |device, vector| device.ntt(vector, domain, direction, points),
            |device, vector| device.ntt(vector, domain, direction, points),
        )
    }

    fn to_coset(&self, vector: &mut FrVec, domain: &Domain) -> Result<(), DeviceError> {
        self.change(
            "to_coset",
            vector,
            |device, vector| device.to_coset(vector, domain),
            |device, vector| device.to_coset(vector, domain),
        )
    }

    fn mul_sub_scale(
        &self,
        a: &mut FrVec,
        b: &FrVec,
        c: &FrVec,
        scale: Fr,
    ) -> Result<(), DeviceError> {
        let (b, c) = (pair(b)?, pair(c)?);
        self.change(
            "mul_sub_scale",
            a,
            |device, a| device.mul_sub_scale(a, &b.0, &c.0, scale),
            |device, a| device.mul_sub_scale(a, &b.1, &c.1, scale),
        )
    }

    fn mul_pointwise(&self, a: &mut FrVec, b: &FrVec) -> Result<(), DeviceError> {
        let b = pair(b)?;
        self.change(
            "mul_pointwise",
            a,
            |device, a| device.mul_pointwise(a, &b.0),
            |device, a| device.mul_pointwise(a, &b.1),
        )
    }

    fn msm_g1(
        &self,
        bases: &Bases<G1>,
        scalars: FrSlice<'_>,
        class: ScalarClass,
    ) -> Result<G1Projective, DeviceError> {
        let (left, right) = parts(scalars)?;
        agreed(
            "msm_g1",
            self.first.msm_g1(bases, left, class),
            self.second.msm_g1(bases, right, class),
        )
    }

    fn msm_g2(
        &self,
        bases: &Bases<G2>,
        scalars: FrSlice<'_>,
        class: ScalarClass,
    ) -> Result<G2Projective, DeviceError> {
        let (left, right) = parts(scalars)?;
        agreed(
            "msm_g2",
            self.first.msm_g2(bases, left, class),
            self.second.msm_g2(bases, right, class),
        )
    }

    fn tabulate_g1(
        &self,
        bases: &Bases<G1>,
        n_full: usize,
        max_bytes: u64,
    ) -> Result<u64, DeviceError> {
        self.first.tabulate_g1(bases, n_full, max_bytes)
    }

    fn tabulate_g2(
        &self,
        bases: &Bases<G2>,
        n_full: usize,
        max_bytes: u64,
    ) -> Result<u64, DeviceError> {
        self.first.tabulate_g2(bases, n_full, max_bytes)
    }

    fn msm_grouped_g1(
        &self,
        bases: &Bases<G1>,
        groups: &[u32],
        values: FrSlice<'_>,
    ) -> Result<G1Projective, DeviceError> {
        let (left, right) = parts(values)?;
        agreed(
            "msm_grouped_g1",
            self.first.msm_grouped_g1(bases, groups, left),
            self.second.msm_grouped_g1(bases, groups, right),
        )
    }

    fn fixed_base_g1(
        &self,
        base: &FixedBase<G1>,
        scalars: &[Fr],
    ) -> Result<Vec<G1Affine>, DeviceError> {
        agreed(
            "fixed_base_g1",
            self.first.fixed_base_g1(base, scalars),
            self.second.fixed_base_g1(base, scalars),
        )
    }

    fn fixed_base_g2(
        &self,
        base: &FixedBase<G2>,
        scalars: &[Fr],
    ) -> Result<Vec<G2Affine>, DeviceError> {
        agreed(
            "fixed_base_g2",
            self.first.fixed_base_g2(base, scalars),
            self.second.fixed_base_g2(base, scalars),
        )
    }
}

impl<A: fmt::Debug, B: fmt::Debug> fmt::Debug for Dual<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dual({:?}, {:?})", self.first, self.second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_device, emulated_gpu, points, scalars};
    use crate::{Cpu, PortableCpu};

    #[test]
    fn two_sound_devices_pass_as_one() {
        check_device(&Dual::new(Cpu, PortableCpu)).expect("equal results");
        let gpu = emulated_gpu(None).expect("a C++ compiler");
        check_device(&Dual::new(gpu, Cpu)).expect("equal results");
    }

    #[test]
    fn what_one_device_gets_wrong_is_named() {
        let dual = Dual::new(Cpu, PortableCpu);
        let (left, right) = (scalars(1, 8), scalars(2, 8));
        let mut vector = FrVec::from_both(FrVec::from_host(left), FrVec::from_host(right));
        let domain = Domain::new(8).expect("a small domain");
        let refused = dual.ntt(&mut vector, &domain, Direction::Forward, Points::Subgroup);
        let operation = "ntt";
        assert!(
            matches!(refused, Err(DeviceError::Disagreement { operation: named, .. }) if named == operation),
            "{refused:?}"
        );
        let bases = Bases::<G1>::from_points(points::<G1>(8).0);
        let refused = dual.msm_g1(&bases, vector.as_slice(), ScalarClass::Full);
        assert!(
            matches!(refused, Err(DeviceError::Disagreement { .. })),
            "{refused:?}"
        );
    }
}
