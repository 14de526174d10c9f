//! # Domain: the 2^log_n-th roots of unity, and their coset
//!
//! H = {ωⁱ}, n = 2^log_n. The coset is g·H with g the field's multiplicative generator; Z(X) = Xⁿ − 1 vanishes on H and is
//! the constant gⁿ − 1 on the coset.

use ark_bn254::Fr;
use ark_ff::{FftField, Field, One};
use ark_poly::{EvaluationDomain, Radix2EvaluationDomain};

/// The evaluation domain of a quadratic arithmetic program.
#[derive(Debug, Clone)]
pub struct Domain {
    subgroup: Radix2EvaluationDomain<Fr>,
    coset: Radix2EvaluationDomain<Fr>,
}

impl Domain {
    /// The smallest domain with at least `min_len` points; `None` beyond the field's 2²⁸ roots of unity.
    #[must_use]
    pub fn new(min_len: usize) -> Option<Self> {
        let subgroup = Radix2EvaluationDomain::<Fr>::new(min_len.max(1))?;
        let coset = subgroup.get_coset(Fr::GENERATOR)?;
        Some(Self { subgroup, coset })
    }

    /// The domain of 2^log_n points that `root` generates; `None` unless its order is exactly 2^log_n.
    ///
    /// [`Domain::new`] takes the powers of 5^t, t = (r − 1)/2²⁸; other provers take other roots.
    #[must_use]
    pub fn with_root(log_n: u32, root: Fr) -> Option<Self> {
        let standard = Self::new(1usize.checked_shl(log_n)?)?;
        let half = (0..log_n.saturating_sub(1)).fold(root, |power, _| power.square());
        let minus_one = if log_n == 0 { Fr::one() } else { -Fr::one() };
        if half != minus_one {
            return None;
        }
        let group_gen_inv = root.inverse()?;
        let with_root = |domain: Radix2EvaluationDomain<Fr>| Radix2EvaluationDomain {
            group_gen: root,
            group_gen_inv,
            ..domain
        };
        Some(Self {
            subgroup: with_root(standard.subgroup),
            coset: with_root(standard.coset),
        })
    }

    /// ω, the generator of H.
    #[must_use]
    pub fn root(&self) -> Fr {
        self.subgroup.group_gen
    }

    /// g, the offset of the coset.
    #[must_use]
    pub fn coset_offset(&self) -> Fr {
        self.coset.offset
    }

    /// Number of points n.
    #[must_use]
    pub fn n(&self) -> usize {
        self.subgroup.size()
    }

    /// Base-2 logarithm of the number of points.
    #[must_use]
    pub fn log_n(&self) -> u32 {
        self.subgroup.log_size_of_group
    }

    /// Z(x) = xⁿ − 1.
    #[must_use]
    pub fn vanishing_at(&self, x: Fr) -> Fr {
        x.pow([self.subgroup.size]) - Fr::one()
    }

    /// The value gⁿ − 1 that Z has on every point of the coset; never zero.
    #[must_use]
    pub fn vanishing_on_coset(&self) -> Fr {
        self.vanishing_at(self.coset.coset_offset())
    }

    /// L_i(x) for every i: the value at x of the polynomial that is 1 at ωⁱ and 0 on the rest of H.
    #[must_use]
    pub fn lagrange_at(&self, x: Fr) -> Vec<Fr> {
        self.subgroup.evaluate_all_lagrange_coefficients(x)
    }

    /// The same for the coset: 1 at g·ωⁱ and 0 on its other points.
    #[must_use]
    pub fn coset_lagrange_at(&self, x: Fr) -> Vec<Fr> {
        self.coset.evaluate_all_lagrange_coefficients(x)
    }

    /// The points s·ωⁱ, for arkworks; `None` when s is zero.
    pub(crate) fn points(&self, points: crate::Points) -> Option<Radix2EvaluationDomain<Fr>> {
        match points {
            crate::Points::Subgroup => Some(self.subgroup),
            crate::Points::Coset => Some(self.coset),
            crate::Points::Shifted(shift) => self.subgroup.get_coset(shift),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lagrange_values_interpolate_on_subgroup_and_coset() {
        let domain = Domain::new(13).expect("a small domain exists");
        assert_eq!((domain.n(), domain.log_n()), (16, 4));
        let x = Fr::from(123_456_789u64);
        let polynomial =
            |x: Fr| (0u64..16).fold(Fr::from(0u64), |sum, k| sum * x + Fr::from(k * k + 7));
        for (points, lagrange) in [
            (crate::Points::Subgroup, domain.lagrange_at(x)),
            (crate::Points::Coset, domain.coset_lagrange_at(x)),
        ] {
            let value: Fr = domain
                .points(points)
                .expect("not shifted by zero")
                .elements()
                .zip(lagrange)
                .map(|(point, weight)| polynomial(point) * weight)
                .sum();
            assert_eq!(value, polynomial(x));
        }
        for point in domain
            .points(crate::Points::Coset)
            .expect("not shifted by zero")
            .elements()
        {
            assert_eq!(domain.vanishing_at(point), domain.vanishing_on_coset());
        }
        assert!(Domain::new((1 << 28) + 1).is_none());
    }

    #[test]
    fn a_root_of_another_order_is_refused() {
        let domain = Domain::new(16).expect("a small domain exists");
        let other = domain.root().pow([3]);
        let with_other =
            Domain::with_root(4, other).expect("an odd power generates the same domain");
        assert_eq!((with_other.root(), with_other.n()), (other, 16));
        assert_eq!(with_other.vanishing_on_coset(), domain.vanishing_on_coset());
        for (log_n, root) in [
            (4, domain.root().square()),
            (5, domain.root()),
            (3, domain.root()),
            (4, Fr::one()),
            (4, Fr::from(0u64)),
            (1, Fr::one()),
            (0, -Fr::one()),
            (29, domain.root()),
            (64, domain.root()),
        ] {
            assert!(Domain::with_root(log_n, root).is_none(), "2^{log_n}");
        }
        assert!(Domain::with_root(0, Fr::one()).is_some());
        assert!(Domain::with_root(1, -Fr::one()).is_some());
    }
}
