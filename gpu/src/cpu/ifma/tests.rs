//! Lanes against arkworks: random values, corner values, and every bound that a function states.

use core::arch::x86_64::__m512i;
use core::mem::transmute;

use ark_bn254::{FqConfig, FrConfig};
use ark_ff::{AdditiveGroup, BigInt, Field, Fp, MontBackend, MontConfig, PrimeField};

use super::detected;
use super::field::{LANES, Lanes, MASK, Modulus, Mont, split, times};
use super::signed::Signed;
use crate::curve::Row;

type Scalar<T> = Fp<MontBackend<T, 4>, 4>;
type Limbs = [u64; 5];

/// Vectors of random values.
const N_RANDOM: usize = 1_000_000 / LANES;

fn lanes<M: Modulus>(values: &[Limbs; LANES]) -> Lanes<M> {
    let limbs: [[u64; LANES]; 5] =
        core::array::from_fn(|j| core::array::from_fn(|lane| values[lane][j]));
    // SAFETY: registers are plain integers; ten of them are 80 words.
    Lanes::from_limbs(unsafe { transmute::<[[u64; LANES]; 5], [[__m512i; 2]; 5]>(limbs) })
}

fn limbs<M: Modulus>(lanes: &Lanes<M>) -> [Limbs; LANES] {
    // SAFETY: registers are plain integers; ten of them are 80 words.
    let limbs: [[u64; LANES]; 5] = unsafe { transmute::<[[__m512i; 2]; 5], _>(lanes.limbs) };
    core::array::from_fn(|lane| core::array::from_fn(|j| limbs[j][lane]))
}

/// x + k·p.
fn plus_multiple<M: Modulus>(x: Row, k: u64) -> Limbs {
    let (mut sum, multiple) = (split(x, 1), times(M::P, k));
    let mut carry = 0;
    for j in 0..5 {
        carry += sum[j] + multiple[j];
        sum[j] = carry & MASK;
        carry >>= 52;
    }
    assert_eq!(carry, 0);
    sum
}

/// The class of a value, its limbs being clean and the value below bound·p.
fn class<T: MontConfig<4>>(value: Limbs, bound: u64, what: &str) -> Scalar<T> {
    let (mut value_first, mut limit_first) = (value, times(Mont::<T>::P, bound));
    value_first.reverse();
    limit_first.reverse();
    assert!(value_first < limit_first, "{what} is not below {bound}·p");
    assert!(value.iter().all(|limb| *limb <= MASK), "{what} has carries");
    let radix = Scalar::<T>::from(1u64 << 52);
    value_first
        .into_iter()
        .fold(Scalar::<T>::ZERO, |sum, limb| {
            sum * radix + Scalar::<T>::from(limb)
        })
}

/// 0, 1, p − 1, 2^k and its neighbours, full limbs, powers of both R.
fn corners<T: MontConfig<4>>() -> Vec<Row> {
    let mut values = vec![
        Scalar::<T>::ZERO,
        -Scalar::<T>::ONE,
        -Scalar::<T>::from(2u64),
    ];
    let mut power = Scalar::<T>::ONE;
    for bit in 0..=2 * 260 {
        if bit < 254 || [256, 260, 512, 520].contains(&bit) {
            values.extend([power - Scalar::<T>::ONE, power, power + Scalar::<T>::ONE]);
        }
        power.double_in_place();
    }
    let mut corners: Vec<Row> = values.iter().map(|x| x.into_bigint().0).collect();
    for j in 1..5 {
        let full = |bits: u32| {
            core::array::from_fn(|word| {
                let bits = bits.saturating_sub(64 * word as u32).min(64);
                if bits == 64 {
                    u64::MAX
                } else {
                    (1 << bits) - 1
                }
            })
        };
        let [low, high]: [Row; 2] = [full(52 * (j - 1)), full((52 * j).min(253))];
        corners.push(core::array::from_fn(|word| high[word] & !low[word]));
    }
    corners.push([u64::MAX, u64::MAX, u64::MAX, (1 << 61) - 1]);
    corners
}

/// xorshift64*: four words a value below p.
fn random<T: MontConfig<4>>(state: &mut u64) -> Scalar<T> {
    loop {
        let mut words: Row = core::array::from_fn(|_| {
            *state ^= *state >> 12;
            *state ^= *state << 25;
            *state ^= *state >> 27;
            state.wrapping_mul(0x2545_F491_4F6C_DD1D)
        });
        words[3] >>= 2;
        if BigInt(words) < T::MODULUS {
            return Fp::new_unchecked(BigInt(words));
        }
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn check_random<T: MontConfig<4>>() {
    let mut state = 0x9E37_79B9_7F4A_7C15;
    // 2²⁶⁴: what takes x·y/2²⁶⁰ to x·y·2⁴/2²⁶⁰, the Montgomery form with R = 2²⁵⁶.
    let sixteen =
        Lanes::<Mont<T>>::splat(split(Scalar::<T>::from(2u64).pow([264]).into_bigint().0, 1));
    for _ in 0..N_RANDOM {
        let a: [Scalar<T>; LANES] = core::array::from_fn(|_| random(&mut state));
        let b: [Scalar<T>; LANES] = core::array::from_fn(|_| random(&mut state));
        let x = Lanes::<Mont<T>>::gather::<0>(a.each_ref().map(|a| &a.0.0));
        let y = Lanes::<Mont<T>>::gather::<0>(b.each_ref().map(|b| &b.0.0));
        let y16 = Lanes::<Mont<T>>::gather::<4>(b.each_ref().map(|b| &b.0.0));
        let stored = |lanes: Lanes<Mont<T>>| {
            let mut rows = [[0; 4]; LANES];
            lanes.store(&mut rows);
            rows.map(|row| Fp::new_unchecked(BigInt(row)))
        };
        let expect =
            |got: [Scalar<T>; LANES], of: &dyn Fn(Scalar<T>, Scalar<T>) -> Scalar<T>, what| {
                for lane in 0..LANES {
                    assert_eq!(got[lane], of(a[lane], b[lane]), "{what} in lane {lane}");
                }
            };
        expect(stored(x), &|a, _| a, "gather and store");
        expect(stored(x.mul(&y16).less::<1>()), &|a, b| a * b, "product");
        expect(
            stored(x.square().mul(&sixteen).less::<1>()),
            &|a, _| a.square(),
            "square",
        );
        expect(
            stored(Lanes::reduce(x.mul_wide(&y16)).less::<1>()),
            &|a, b| a * b,
            "wide product",
        );
        expect(stored(x.add(&y).less::<1>()), &|a, b| a + b, "sum");
        expect(
            stored(x.sub::<1>(&y).less::<1>()),
            &|a, b| a - b,
            "difference",
        );
        expect(
            stored(y16.canonical()),
            &|_, b| b * Scalar::<T>::from(16u64),
            "canonical",
        );
    }
}

/// Two values at their largest multiples of p, against what the functions say.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn check_pair<T: MontConfig<4>>(a: &[Row; LANES], b: &[Row; LANES]) {
    let inverse = inverse_of_r::<T>();
    let value = |rows: &[Row; LANES], k| rows.map(|row| plus_multiple::<Mont<T>>(row, k));
    let classes =
        |got: Lanes<Mont<T>>, bound, what| limbs(&got).map(|x| class::<T>(x, bound, what));
    let (x, y) = (
        a.map(|a| class::<T>(split(a, 1), 1, "a")),
        b.map(|b| class::<T>(split(b, 1), 1, "b")),
    );
    let check = |got: [Scalar<T>; LANES], of: &dyn Fn(Scalar<T>, Scalar<T>) -> Scalar<T>, what| {
        for lane in 0..LANES {
            assert_eq!(
                got[lane],
                of(x[lane], y[lane]),
                "{what} of {:?} and {:?}",
                a[lane],
                b[lane]
            );
        }
    };
    // Factors below 9·p and 9·p, 84·p and p: 81 and 84 in 84.
    for (j, k) in [(0, 0), (8, 8), (83, 0), (0, 83)] {
        let (a, b) = (
            lanes::<Mont<T>>(&value(a, j)),
            lanes::<Mont<T>>(&value(b, k)),
        );
        check(
            classes(a.mul(&b), 2, "product"),
            &|x, y| x * y * inverse,
            "product",
        );
        check(
            classes(Lanes::reduce(a.mul_wide(&b)), 2, "reduction"),
            &|x, y| x * y * inverse,
            "reduction",
        );
        check(
            classes(Signed::from(a).times::<0>(&b), 2, "times"),
            &|x, y| x * y * inverse,
            "times",
        );
    }
    for j in [0, 8] {
        let a = lanes::<Mont<T>>(&value(a, j));
        check(
            classes(a.square(), 2, "square"),
            &|x, _| x * x * inverse,
            "square",
        );
    }
    for (j, k) in [(0, 0), (40, 39), (3, 39)] {
        let (a, b) = (
            lanes::<Mont<T>>(&value(a, j)),
            lanes::<Mont<T>>(&value(b, k)),
        );
        check(classes(a.add(&b), j + k + 2, "sum"), &|x, y| x + y, "sum");
        check(
            classes(a.sub::<40>(&b), j + 41, "difference"),
            &|x, y| x - y,
            "difference",
        );
        if j < 4 {
            check(
                classes(a.sub2::<80>(&b, &b), j + 81, "difference of two"),
                &|x, y| x - y - y,
                "difference of two",
            );
        }
    }
    for j in [0, 1, 2, 31, 62, 63] {
        let a = lanes::<Mont<T>>(&value(a, j));
        check(classes(a.shrink(), 2, "shrunk"), &|x, _| x, "shrunk");
        check(
            classes(a.canonical(), 1, "canonical"),
            &|x, _| x,
            "canonical",
        );
        check(
            classes(a.less::<16>(), if j < 32 { 16 } else { j - 15 }, "less"),
            &|x, _| x,
            "less",
        );
    }
}

/// The signed form at both ends of what it may hold.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn check_signed<T: MontConfig<4>>(a: &[Row; LANES], b: &[Row; LANES]) {
    const K: u64 = 26;
    let inverse = inverse_of_r::<T>();
    let root = split(b[0], 1);
    let (x, y) = (
        a.map(|a| class::<T>(split(a, 1), 1, "a")),
        b.map(|b| class::<T>(split(b, 1), 1, "b")),
    );
    for k in [0, 1, 25, 56] {
        let high: Signed<Mont<T>> = lanes(&a.map(|a| plus_multiple::<Mont<T>>(a, k))).into();
        let (mut sum, mut negative) = (Signed::zero(), high);
        Signed::cross_by_one(&mut sum, &mut negative);
        let (mut crossed, mut difference): (Signed<Mont<T>>, _) =
            (lanes(&b.map(|b| split(b, 1))).into(), high);
        Signed::cross::<K>(&mut crossed, &mut difference, &root);
        let class_of = |got: Lanes<Mont<T>>, bound, lane: usize, what| {
            class::<T>(limbs(&got)[lane], bound, what)
        };
        for lane in 0..LANES {
            let product = x[lane] * y[0] * inverse;
            assert_eq!(class_of(sum.reduced::<K>(), 2, lane, "sum"), x[lane]);
            assert_eq!(
                class_of(high.canonical::<K>(), 1, lane, "canonical"),
                x[lane]
            );
            assert_eq!(
                class_of(high.times_root::<K>(&root), 2, lane, "product"),
                product
            );
            assert_eq!(
                class_of(crossed.canonical::<K>(), 1, lane, "cross"),
                y[lane] + product
            );
            assert_eq!(
                class_of(difference.canonical::<K>(), 1, lane, "cross"),
                y[lane] - product
            );
            if k < K {
                assert_eq!(
                    class_of(negative.lifted::<K>(), K + 1, lane, "negative"),
                    -x[lane]
                );
                assert_eq!(
                    class_of(negative.reduced::<K>(), 2, lane, "negative"),
                    -x[lane]
                );
                assert_eq!(
                    class_of(negative.times_root::<K>(&root), 2, lane, "negative"),
                    -product
                );
            }
        }
    }
}

fn inverse_of_r<T: MontConfig<4>>() -> Scalar<T> {
    Scalar::<T>::from(2u64)
        .pow([260])
        .inverse()
        .expect("2 is not 0")
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn check_corners<T: MontConfig<4>>() {
    let corners = corners::<T>();
    let n = corners.len();
    let first = |start: usize| core::array::from_fn(|lane| corners[(start + lane) % n]);
    for start in (0..n).step_by(LANES) {
        let a = first(start);
        for other in 0..n {
            let b = [corners[other]; LANES];
            if other % 16 == start / LANES % 16 {
                check_pair::<T>(&a, &b);
                check_signed::<T>(&a, &b);
            }
            let product =
                lanes::<Mont<T>>(&a.map(|a| split(a, 1))).mul(&lanes(&b.map(|b| split(b, 1))));
            let mut rows = [[0; 4]; LANES];
            product.less::<1>().store(&mut rows);
            for lane in 0..LANES {
                // As Montgomery forms with R = 2²⁵⁶, a·b/2²⁶⁰ is 1/16 of the product.
                let [x, y, z] = [a[lane], b[lane], rows[lane]]
                    .map(|row| Scalar::<T>::new_unchecked(BigInt(row)));
                assert_eq!(x * y, z * Scalar::<T>::from(16u64));
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
fn check_rows<T: MontConfig<4>>() {
    let rows: [Row; LANES] = core::array::from_fn(|lane| {
        core::array::from_fn(|word| {
            (0x0123_4567_89AB_CDEFu64 ^ u64::MAX >> word).rotate_left(5 * lane as u32 + word as u32)
        })
    });
    let full = [[u64::MAX; 4]; LANES];
    for rows in [rows, full, [[0; 4]; LANES]] {
        let x = Lanes::<Mont<T>>::load::<0>(&rows);
        assert_eq!(limbs(&x), rows.map(|row| split(row, 1)));
        // Sixteen times what four words hold is 260 bits.
        assert_eq!(
            limbs(&Lanes::<Mont<T>>::load::<4>(&rows)),
            rows.map(|row| split(row, 16))
        );
        let mut stored = [[7; 4]; LANES];
        x.store(&mut stored);
        assert_eq!(stored, rows);
        let mut places = [[7; 4]; 2 * LANES];
        {
            let mut places: Vec<&mut Row> = places.iter_mut().rev().step_by(2).collect();
            let mut places: [&mut Row; LANES] = core::array::from_fn(|_| places.remove(0));
            x.scatter(&mut places);
        }
        for lane in 0..LANES {
            assert_eq!(places[2 * LANES - 1 - 2 * lane], rows[lane]);
            assert_eq!(places[2 * LANES - 2 - 2 * lane], [7; 4]);
        }
    }
    let x = Lanes::<Mont<T>>::load::<0>(&rows);
    for lane in 0..LANES {
        for word in 0..4 {
            let mut other = rows;
            other[lane][word] ^= 1 << (13 * word + lane);
            let y = Lanes::<Mont<T>>::load::<0>(&other);
            assert_eq!(x.equals(&y), !(1 << lane));
            assert_eq!(x.select(1 << lane, &y).equals(&y), u16::MAX);
            assert_eq!(x.select(!(1 << lane), &y).equals(&x), u16::MAX);
        }
        let top = limbs(&x)[lane][4];
        let above = |limb: u64| {
            (0..LANES)
                .map(|l| u16::from(limbs(&x)[l][4] > limb) << l)
                .sum()
        };
        let expected: [u16; 2] = [above(top), above(top - 1)];
        assert_eq!([x.top_above(top), x.top_above(top - 1)], expected);
    }
}

#[test]
fn a_million_random_values_agree_with_arkworks_in_both_fields() {
    if detected() {
        // SAFETY: the processor has the instructions.
        unsafe {
            check_random::<FqConfig>();
            check_random::<FrConfig>();
        }
    }
}

#[test]
fn corner_values_and_bounds_agree_with_arkworks_in_both_fields() {
    if detected() {
        // SAFETY: the processor has the instructions.
        unsafe {
            check_corners::<FqConfig>();
            check_corners::<FrConfig>();
        }
    }
}

#[test]
fn rows_go_to_lanes_and_back() {
    if detected() {
        // SAFETY: the processor has the instructions.
        unsafe {
            check_rows::<FqConfig>();
            check_rows::<FrConfig>();
        }
    }
}
