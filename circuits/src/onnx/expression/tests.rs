use super::*;

fn constant(c: f64) -> Expression {
    Expression::Constant(c)
}

fn combine(f: Binary, a: Expression, b: Expression) -> Expression {
    Expression::combine(f, a, b).unwrap()
}

/// Expressions with every node and function in them.
fn samples() -> Vec<Expression> {
    let x = || Expression::Argument;
    let mut samples: Vec<Expression> = Function::ALL.into_iter().map(Expression::of).collect();
    for f in Binary::ALL {
        samples.push(combine(f, x(), constant(0.75)));
        samples.push(combine(f, constant(-1.5), Expression::of(Function::Round)));
    }
    let positive = combine(Binary::Less, constant(0.0), x());
    let scaled = combine(Binary::Multiply, constant(0.1), x());
    samples.push(Expression::select(positive, x(), scaled).unwrap());
    samples.push(constant(2.25));
    samples.push(x());
    samples
}

#[test]
fn a_composition_has_the_composed_values() {
    for outer in samples() {
        for inner in samples() {
            let composed = outer.compose(&inner);
            assert!(composed.size() <= outer.size() * inner.size());
            for i in -20..=20 {
                let x = f64::from(i) * 0.173;
                let (got, expected) = (composed.value(x), outer.value(inner.value(x)));
                assert_eq!(
                    got.to_bits(),
                    expected.to_bits(),
                    "{outer:?} of {inner:?} at {x}"
                );
            }
        }
    }
}

#[test]
fn constants_are_folded() {
    let two = combine(Binary::Add, constant(1.5), constant(0.5));
    assert_eq!(two, constant(2.0));
    assert_eq!(Expression::apply(Function::Square, two), Ok(constant(4.0)));
    let x = Expression::Argument;
    let taken = Expression::select(constant(1.0), x.clone(), constant(3.0)).unwrap();
    assert!(taken.is_identity());
    let constant_at_four = Expression::of(Function::Sqrt).compose(&constant(4.0));
    assert_eq!(constant_at_four.constant(), Some(2.0));
    assert!(Expression::Apply(Function::Exp, Box::new(constant(0.0))).is_constant());
    assert!(!combine(Binary::Multiply, constant(0.0), x).is_constant());
}

#[test]
fn binary_functions_have_these_values() {
    use Binary::*;
    const NAN: f64 = f64::NAN;
    for (f, a, b, value) in [
        (Minimum, 0.0, -0.0, -0.0),
        (Minimum, -0.0, 0.0, -0.0),
        (Maximum, 0.0, -0.0, 0.0),
        (Maximum, -0.0, 0.0, 0.0),
        (Minimum, NAN, 1.0, NAN),
        (Maximum, 1.0, NAN, NAN),
        (Maximum, -3.0, 2.0, 2.0),
        (Divide, 1.0, 0.0, f64::INFINITY),
        (Divide, 0.0, 0.0, NAN),
        (Remainder, -7.0, 3.0, -1.0),
        (Remainder, 7.0, -3.0, 1.0),
        (Remainder, 1e300, 7.0, 1.0),
        (Remainder, 1.0, 0.0, NAN),
        (Modulo, -7.0, 3.0, 2.0),
        (Modulo, 7.0, -3.0, -2.0),
        (Modulo, -6.0, 3.0, 0.0),
        (Modulo, 1.0, 0.0, NAN),
        (Less, NAN, 1.0, 0.0),
        (Less, 1.0, 1.0, 0.0),
        (LessOrEqual, 1.0, 1.0, 1.0),
        (Equal, 0.0, -0.0, 1.0),
        (Equal, NAN, NAN, 0.0),
        (And, 1.0, 0.0, 0.0),
        (Or, 1.0, 0.0, 1.0),
        (Xor, 1.0, 1.0, 0.0),
        (Power, -8.0, 3.0, -512.0),
    ] {
        let got = f.value(a, b);
        assert_eq!(got.to_bits(), value.to_bits(), "{f:?} {a} {b}: {got}");
    }
}

#[test]
fn serialization_keeps_every_expression() {
    for expression in samples() {
        let bytes = postcard::to_allocvec(&expression).unwrap();
        let back: Expression = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(back, expression);
    }
}

#[test]
fn malformed_bytes_are_refused() {
    use postfix::Symbol;
    let refused = |symbols: Vec<Symbol>| Expression::try_from(symbols).unwrap_err();
    let malformed = |at, expected, got| ExpressionError::Malformed { at, expected, got };
    assert_eq!(refused(vec![]), malformed(0, 1, 0));
    let add = Symbol::Combine(Binary::Add);
    assert_eq!(refused(vec![Symbol::Argument, add]), malformed(1, 2, 1));
    let two = vec![Symbol::Argument, Symbol::Argument];
    assert_eq!(refused(two), malformed(2, 1, 2));
    let mut long = vec![Symbol::Argument];
    long.resize(Expression::MAX_NODES + 1, Symbol::Apply(Function::Exp));
    let too_large = ExpressionError::TooLarge { got: 257, max: 256 };
    assert_eq!(refused(long.clone()), too_large);
    let bytes = postcard::to_allocvec(&long).unwrap();
    assert!(postcard::from_bytes::<Expression>(&bytes).is_err());
    long.pop();
    assert_eq!(Expression::try_from(long).unwrap().depth(), 256);
}

#[test]
fn constructors_stop_at_the_limit() {
    let mut expression = Expression::Argument;
    for size in 2..=Expression::MAX_NODES {
        expression = Expression::apply(Function::Sin, expression).unwrap();
        assert_eq!((expression.size(), expression.depth()), (size, size));
    }
    let refused = ExpressionError::TooLarge { got: 257, max: 256 };
    assert_eq!(
        Expression::apply(Function::Sin, expression.clone()),
        Err(refused)
    );
    assert!(expression.compose(&expression).bounded().is_err());
}

#[test]
fn every_function_is_listed_at_its_index() {
    for (i, f) in Binary::ALL.into_iter().enumerate() {
        assert_eq!(postcard::to_allocvec(&f).unwrap(), [i as u8]);
    }
    // the index after the last is of none
    assert!(postcard::from_bytes::<Binary>(&[Binary::ALL.len() as u8]).is_err());
}
