//! # Dual: two devices that must agree
//!
//! Every operation is done by both and compared, for finding what one of them gets wrong. As slow as the two together.

use std::fmt;
use std::ops::Range;

use ark_bn254::{Fr, G1Affine, G1Projective, G2Affine, G2Projective};

use zeroize::Zeroizing;

use crate::bases::Bases;
use crate::curve::{G1, G2};
use crate::device::{
    Device, DeviceError, DeviceInfo, Direction, FixedBase, FrSlice, FrVec, Lent, Place, Points,
};
use crate::domain::Domain;
use crate::field::ScalarClass;
use crate::lines::Lines;

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
    fn change<T: PartialEq>(
        &self,
        operation: &'static str,
        vector: &mut FrVec,
        first: impl FnOnce(&A, &mut FrVec) -> Result<T, DeviceError>,
        second: impl FnOnce(&B, &mut FrVec) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let pair = pair_mut(vector)?;
        let result = agreed(
            operation,
            first(&self.first, &mut pair.0),
            second(&self.second, &mut pair.1),
        )?;
        self.compare(operation, pair)?;
        Ok(result)
    }

    /// Compares what the devices hold.
    fn compare(
        &self,
        operation: &'static str,
        pair: &mut (FrVec, FrVec),
    ) -> Result<(), DeviceError> {
        let left = self.first.download(taken(&mut pair.0))?;
        let right = self.second.download(taken(&mut pair.1))?;
        let index = (0..left.len().max(right.len())).find(|i| left.get(*i) != right.get(*i));
        pair.0 = self.first.upload(left)?;
        pair.1 = self.second.upload(right)?;
        match index {
            None => Ok(()),
            Some(index) => Err(DeviceError::Disagreement { operation, index }),
        }
    }

    /// A new vector of both devices, compared.
    fn made(
        &self,
        operation: &'static str,
        first: Result<FrVec, DeviceError>,
        second: Result<FrVec, DeviceError>,
    ) -> Result<FrVec, DeviceError> {
        let (first, second) = both(operation, first, second)?;
        let mut pair = (first, second);
        self.compare(operation, &mut pair)?;
        Ok(FrVec::from_both(pair.0, pair.1))
    }
}

/// A vector, of which nothing is left in its place.
fn taken(vector: &mut FrVec) -> FrVec {
    std::mem::replace(vector, FrVec::from_host(Vec::new()))
}

/// Both results where they are equal, or the refusal of both.
fn agreed<T: PartialEq>(
    operation: &'static str,
    first: Result<T, DeviceError>,
    second: Result<T, DeviceError>,
) -> Result<T, DeviceError> {
    let (left, right) = both(operation, first, second)?;
    match left == right {
        true => Ok(left),
        false => Err(DeviceError::Disagreement {
            operation,
            index: 0,
        }),
    }
}

/// Two results, or the refusal of both.
fn both<T>(
    operation: &'static str,
    first: Result<T, DeviceError>,
    second: Result<T, DeviceError>,
) -> Result<(T, T), DeviceError> {
    match (first, second) {
        (Ok(left), Ok(right)) => Ok((left, right)),
        // A failure is no disagreement, whatever the other device says.
        (Err(error @ DeviceError::Gpu(_)), _) | (_, Err(error @ DeviceError::Gpu(_))) => Err(error),
        (Err(error), Err(_)) => Err(error),
        _ => Err(DeviceError::Disagreement {
            operation,
            index: 0,
        }),
    }
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

/// The vectors of each device.
fn pairs<'a>(
    vectors: impl Iterator<Item = &'a FrVec>,
) -> Result<(Vec<&'a FrVec>, Vec<&'a FrVec>), DeviceError> {
    vectors
        .map(|vector| pair(vector).map(|(left, right)| (left, right)))
        .collect::<Result<Vec<_>, _>>()
        .map(|pairs| pairs.into_iter().unzip())
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

    fn lend(&self, values: Vec<Fr>, part: Range<usize>) -> Result<Lent, DeviceError> {
        let values = Zeroizing::new(values);
        let lent = Lent::of(&values, &part)?;
        Ok(Lent {
            part: (0, part.len()),
            vector: self.upload(lent.to_vec())?,
            kept: Some(values),
        })
    }

    fn download(&self, mut vector: FrVec) -> Result<Vec<Fr>, DeviceError> {
        let pair = pair_mut(&mut vector)?;
        agreed(
            "download",
            self.first.download(taken(&mut pair.0)),
            self.second.download(taken(&mut pair.1)),
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

    fn zeros(&self, len: usize) -> Result<FrVec, DeviceError> {
        self.made("zeros", self.first.zeros(len), self.second.zeros(len))
    }

    fn duplicate(&self, vector: &FrVec) -> Result<FrVec, DeviceError> {
        let pair = pair(vector)?;
        let (first, second) = (
            self.first.duplicate(&pair.0),
            self.second.duplicate(&pair.1),
        );
        self.made("duplicate", first, second)
    }

    fn read_range(&self, part: FrSlice<'_>) -> Result<Vec<Fr>, DeviceError> {
        let (left, right) = parts(part)?;
        agreed(
            "read_range",
            self.first.read_range(left),
            self.second.read_range(right),
        )
    }

    fn write_range(
        &self,
        vector: &mut FrVec,
        first: usize,
        values: &[Fr],
    ) -> Result<(), DeviceError> {
        self.change(
            "write_range",
            vector,
            |device, vector| device.write_range(vector, first, values),
            |device, vector| device.write_range(vector, first, values),
        )
    }

    fn run_lines(
        &self,
        sum: &mut FrVec,
        lines: &Lines,
        columns: &[&FrVec],
        uniform: &[Fr],
        fold: Fr,
    ) -> Result<(), DeviceError> {
        let (left, right) = pairs(columns.iter().copied())?;
        self.change(
            "run_lines",
            sum,
            |device, sum| device.run_lines(sum, lines, &left, uniform, fold),
            |device, sum| device.run_lines(sum, lines, &right, uniform, fold),
        )
    }

    fn compile_lines(&self, lines: &Lines) -> Result<bool, DeviceError> {
        let (first, second) = (
            self.first.compile_lines(lines)?,
            self.second.compile_lines(lines)?,
        );
        Ok(first || second)
    }

    fn combine(&self, sum: &mut FrVec, terms: &[(Fr, &FrVec)]) -> Result<(), DeviceError> {
        let (left, right) = pairs(terms.iter().map(|(_, vector)| *vector))?;
        let with_factors = |vectors: Vec<_>| -> Vec<(Fr, _)> {
            terms
                .iter()
                .map(|(factor, _)| *factor)
                .zip(vectors)
                .collect()
        };
        let (left, right) = (with_factors(left), with_factors(right));
        self.change(
            "combine",
            sum,
            |device, sum| device.combine(sum, &left),
            |device, sum| device.combine(sum, &right),
        )
    }

    fn mix(&self, vectors: &mut [FrVec], matrix: &[Vec<Fr>]) -> Result<(), DeviceError> {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for vector in vectors.iter_mut() {
            let pair = pair_mut(vector)?;
            left.push(taken(&mut pair.0));
            right.push(taken(&mut pair.1));
        }
        let mixed = agreed(
            "mix",
            self.first.mix(&mut left, matrix),
            self.second.mix(&mut right, matrix),
        );
        for ((vector, left), right) in vectors.iter_mut().zip(left).zip(right) {
            let pair = pair_mut(vector)?;
            (pair.0, pair.1) = (left, right);
        }
        mixed?;
        vectors
            .iter_mut()
            .try_for_each(|vector| self.compare("mix", pair_mut(vector)?))
    }

    fn evaluate(&self, vector: &FrVec, x: Fr) -> Result<Fr, DeviceError> {
        let pair = pair(vector)?;
        agreed(
            "evaluate",
            self.first.evaluate(&pair.0, x),
            self.second.evaluate(&pair.1, x),
        )
    }

    fn divide(&self, vector: &mut FrVec, z: Fr) -> Result<Fr, DeviceError> {
        self.change(
            "divide",
            vector,
            |device, vector| device.divide(vector, z),
            |device, vector| device.divide(vector, z),
        )
    }

    fn invert(&self, vector: &mut FrVec) -> Result<(), DeviceError> {
        self.change(
            "invert",
            vector,
            |device, vector| device.invert(vector),
            |device, vector| device.invert(vector),
        )
    }

    fn running_products(&self, vector: &mut FrVec, start: Fr) -> Result<Fr, DeviceError> {
        self.change(
            "running_products",
            vector,
            |device, vector| device.running_products(vector, start),
            |device, vector| device.running_products(vector, start),
        )
    }

    fn lookup(&self, table: &FrVec, factors: &[Fr], indices: &[u32]) -> Result<FrVec, DeviceError> {
        let table = pair(table)?;
        let (first, second) = (
            self.first.lookup(&table.0, factors, indices),
            self.second.lookup(&table.1, factors, indices),
        );
        self.made("lookup", first, second)
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
