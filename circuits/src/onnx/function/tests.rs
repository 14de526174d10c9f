use sha2::{Digest, Sha256};

use super::{Function, power};

/// Units in the last place between two finite doubles.
fn distance(a: f64, b: f64) -> u64 {
    let ordered = |x: f64| {
        let bits = x.to_bits() as i64;
        if bits < 0 { i64::MIN - bits } else { bits }
    };
    ordered(a).abs_diff(ordered(b))
}

/// The arguments of the pinned digest and of the identities: fine near 0 and 1, over ±800, and over all exponents.
fn grid() -> Vec<f64> {
    let mut grid = vec![0.0, 1.0, 0.5, 1.0 - f64::EPSILON, 1.0 + f64::EPSILON, 1e22];
    grid.extend((0..800).map(|i| f64::from(i) * 0.011));
    grid.extend((0..400).map(|i| f64::from(i) * 2.003));
    grid.extend((1..200).map(|i| f64::from(i) * std::f64::consts::FRAC_PI_2));
    grid.extend(
        (0..2046)
            .step_by(7)
            .map(|e| f64::from_bits((e << 52) | 0x9_1e37_79b9_7f4a)),
    );
    grid.extend([
        f64::MAX,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        f64::INFINITY,
    ]);
    let negative: Vec<f64> = grid.iter().map(|x| -x).collect();
    grid.extend(negative);
    grid.push(f64::NAN);
    grid
}

#[test]
fn bits_are_the_pinned_ones_on_every_machine() {
    let (grid, mut hash) = (grid(), Sha256::new());
    for function in Function::ALL {
        for &x in &grid {
            hash.update(function.value(x).to_bits().to_be_bytes());
        }
    }
    for (i, &x) in grid.iter().enumerate() {
        for y in [-3.0, 0.5, 7.0, 700.0, -0.37, grid[grid.len() - 1 - i]] {
            hash.update(power(x, y).to_bits().to_be_bytes());
        }
    }
    let digest: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        digest,
        "97c5360e6ec1b004202c4c52082f09efd27f712e88c220b632b55baea6ae5ec8"
    );
}

#[test]
fn known_values_are_within_one_ulp() {
    // written by tests/vectors/functions.py with mpmath at 1400 bits
    let vectors = include_str!("../../../tests/vectors/functions.csv");
    let mut known = 0;
    for line in vectors.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        let [name, argument, value] = fields[..] else {
            panic!("not three fields: {line}");
        };
        let number = |text: &str| text.parse::<f64>().unwrap();
        let got = match argument.split_once('^') {
            Some((x, y)) => power(number(x), number(y)),
            None => Function::ALL
                .into_iter()
                .find(|f| f.name() == name)
                .unwrap()
                .value(number(argument)),
        };
        assert!(distance(got, number(value)) <= 1, "{line}: got {got:e}");
        known += 1;
    }
    assert_eq!(known, 680);
}

#[test]
fn sigmoid_and_tanh_are_correctly_rounded() {
    // from an evaluation to 40 digits
    assert_eq!(Function::Sigmoid.value(1.0), 0.731_058_578_630_004_9);
    assert_eq!(Function::Tanh.value(0.5), 0.462_117_157_260_009_75);
    assert_eq!(Function::Tanh.value(-20.0), -1.0);
    assert_eq!(Function::Sigmoid.value(0.0), 0.5);
    assert_eq!(Function::Sigmoid.value(-1e300), 0.0);
    assert_eq!(Function::Sigmoid.value(1e300), 1.0);
}

#[test]
fn agrees_with_the_platform_to_a_few_ulp() {
    type Pair = (Function, fn(f64) -> f64);
    let pairs: [Pair; 16] = [
        (Function::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
        (Function::Tanh, f64::tanh),
        (Function::Exp, f64::exp),
        (Function::Ln, f64::ln),
        (Function::Sin, f64::sin),
        (Function::Cos, f64::cos),
        (Function::Tan, f64::tan),
        (Function::Asin, f64::asin),
        (Function::Acos, f64::acos),
        (Function::Atan, f64::atan),
        (Function::Sinh, f64::sinh),
        (Function::Cosh, f64::cosh),
        // std computes these from logarithms, the last inexactly for negative numbers
        (Function::Asinh, f64::asinh),
        (Function::Acosh, f64::acosh),
        (Function::Atanh, |x| x.abs().atanh().copysign(x)),
        (Function::Softplus, |x| x.exp().ln_1p()),
    ];
    for (function, reference) in pairs {
        for i in -3000..3000 {
            let x = f64::from(i) * 0.0101;
            let (got, expected) = (function.value(x), reference(x));
            assert_eq!(got.is_nan(), expected.is_nan(), "{function:?} {x}");
            if expected.is_finite() {
                let close = (got - expected).abs() <= 4e-15 * expected.abs();
                assert!(close, "{function:?} {x}: {got:e}, {expected:e}");
            }
        }
    }
}

#[test]
fn odd_and_even_functions_are_so_exactly() {
    use Function::*;
    for x in grid() {
        for f in [
            Tanh, Reciprocal, Negate, Sign, Round, Erf, Sin, Tan, Asin, Atan, Sinh, Asinh, Atanh,
        ] {
            let (a, b) = (f.value(x), f.value(-x));
            assert!(
                a.is_nan() && b.is_nan() || a.to_bits() == (-b).to_bits(),
                "{f:?} {x:e}"
            );
        }
        for f in [Abs, Square, Cos, Cosh] {
            assert_eq!(f.value(x).to_bits(), f.value(-x).to_bits(), "{f:?} {x:e}");
        }
        let (floor, ceil) = (Floor.value(x), Ceil.value(-x));
        assert!(x.is_nan() || floor.to_bits() == (-ceil).to_bits(), "{x:e}");
    }
}

#[test]
fn monotone_functions_are_so_on_a_fine_grid() {
    use Function::*;
    let pairs = |centre: f64, step: f64, n: i32| {
        (-n..n).map(move |i| {
            let i = f64::from(i);
            (centre + i * step, centre + (i + 1.0) * step)
        })
    };
    // neighbouring doubles too, and across the seams of the case distinctions
    let seams = [
        0.0, 0.3, 1.0, 6.0, 40.0, -40.0, 350.0, -700.0, -745.0, 709.7,
    ];
    for f in [Sigmoid, Tanh, Exp, Erf, Softplus, Sinh, Asinh, Atan] {
        for (x, y) in pairs(0.0, 0.005, 1500).chain(pairs(0.0, 0.4, 2000)).chain(
            seams
                .into_iter()
                .flat_map(|c| pairs(c, f64::EPSILON * c.abs().max(1e-9), 150)),
        ) {
            assert!(f.value(x) <= f.value(y), "{f:?} {x:e} {y:e}");
        }
    }
}

#[test]
fn special_values_are_those_of_ieee() {
    use Function::*;
    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;
    for (f, x, value) in [
        (Exp, -INF, 0.0),
        (Exp, INF, INF),
        (Exp, 709.8, INF),
        (Exp, -746.0, 0.0),
        (Exp, 0.0, 1.0),
        (Ln, 1.0, 0.0),
        (Ln, 0.0, -INF),
        (Ln, -0.0, -INF),
        (Ln, -1.0, NAN),
        (Ln, INF, INF),
        (Sqrt, -1.0, NAN),
        (Sqrt, -0.0, -0.0),
        (Reciprocal, 0.0, INF),
        (Reciprocal, -0.0, -INF),
        (Sign, -0.0, -0.0),
        (Sign, -3.0, -1.0),
        (Round, 2.5, 2.0),
        (Round, 3.5, 4.0),
        (Round, -0.5, -0.0),
        (Erf, INF, 1.0),
        (Erf, -0.0, -0.0),
        (Softplus, INF, INF),
        (Softplus, -INF, 0.0),
        (Sin, INF, NAN),
        (Cos, -INF, NAN),
        (Tan, INF, NAN),
        (Asin, 1.5, NAN),
        (Asin, 1.0, std::f64::consts::FRAC_PI_2),
        (Acos, 1.0, 0.0),
        (Acos, -1.0, std::f64::consts::PI),
        (Acos, -1.5, NAN),
        (Atan, -INF, -std::f64::consts::FRAC_PI_2),
        (Sinh, -INF, -INF),
        (Sinh, 711.0, INF),
        (Cosh, -INF, INF),
        (Cosh, 0.0, 1.0),
        (Asinh, -INF, -INF),
        (Acosh, 1.0, 0.0),
        (Acosh, 0.5, NAN),
        (Acosh, INF, INF),
        (Atanh, -1.0, -INF),
        (Atanh, 1.5, NAN),
        (Tanh, INF, 1.0),
        (Sigmoid, -INF, 0.0),
    ] {
        let got = f.value(x);
        assert_eq!(got.to_bits(), value.to_bits(), "{f:?} {x}: {got}");
    }
    for f in Function::ALL {
        assert_eq!(f.value(-f64::NAN).to_bits(), NAN.to_bits(), "{f:?}");
    }
}

#[test]
fn powers_have_the_special_values_of_ieee() {
    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;
    for (x, y, value) in [
        (0.0, 0.0, 1.0),
        (NAN, 0.0, 1.0),
        (1.0, NAN, 1.0),
        (NAN, 1.0, NAN),
        (0.0, -1.0, INF),
        (-0.0, -3.0, -INF),
        (-0.0, -2.0, INF),
        (-0.0, 3.0, -0.0),
        (0.0, 0.5, 0.0),
        (-2.0, 3.0, -8.0),
        (-2.0, 0.5, NAN),
        (-1.0, INF, 1.0),
        (-1.0, 1e300, 1.0),
        (-1.0, 9_007_199_254_740_991.0, -1.0),
        (2.0, INF, INF),
        (0.5, INF, 0.0),
        (2.0, -INF, 0.0),
        (-0.5, -INF, INF),
        (-INF, 3.0, -INF),
        (-INF, -3.0, -0.0),
        (-INF, 0.5, INF),
        (INF, -0.5, 0.0),
        (2.0, 1024.0, INF),
        (2.0, -1074.0, f64::from_bits(1)),
        (2.0, -1076.0, 0.0),
        (-10.0, 309.0, -INF),
        (4.0, 0.5, 2.0),
        (10.0, 22.0, 1e22),
    ] {
        let got = power(x, y);
        let same = got.to_bits() == value.to_bits() || (got.is_nan() && value.is_nan());
        assert!(same, "{x}^{y}: {got}");
    }
}

#[test]
fn every_function_is_listed_at_its_index() {
    for (i, f) in Function::ALL.into_iter().enumerate() {
        assert_eq!(postcard::to_allocvec(&f).unwrap(), [i as u8]);
    }
    // the index after the last is of none
    assert!(postcard::from_bytes::<Function>(&[Function::ALL.len() as u8]).is_err());
}
