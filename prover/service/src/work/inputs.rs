//! From an input file to the tensors of one proof, or of many.
//!
//! A circuit of batch n proves n inferences at once: its proof takes n samples of a file (a leading axis of n, n times as many
//! numbers in JSON), and its tensors are those of the samples in order.

use zkinfer_circuits::{
    Model,
    model::{EvalError, QuantizeInputError},
    quantize::{InputError, InputFile},
    tensor::Tensor,
};
use zkinfer_verifier::{Role, StatementLayout, TensorSpec};

/// Why a file does not hold what one proof is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputFileError {
    /// It holds no inputs of this model.
    #[error(transparent)]
    File(#[from] InputError),
    /// Its numbers are no inputs of this model.
    #[error(transparent)]
    Quantize(#[from] QuantizeInputError),
    /// A proof takes another number of samples.
    #[error("the file holds {got} samples, a proof of this circuit is about {expected}")]
    Samples {
        /// Inferences of one proof.
        expected: usize,
        /// Samples of the file.
        got: usize,
    },
    /// The samples asked for are not there.
    #[error("there is no sample {index}: the file holds {got}, counted from 0")]
    NoSample {
        /// The last one asked for.
        index: usize,
        /// Samples of the file.
        got: usize,
    },
    /// The samples are not a whole number of proofs.
    #[error(
        "the file holds {got} samples, expected a multiple of {expected}: a proof of this circuit is about {expected}"
    )]
    Remainder {
        /// Inferences of one proof.
        expected: usize,
        /// Samples of the file.
        got: usize,
    },
}

/// How many inferences of `model` a statement of `layout` is about; `None` when it is not a statement about this model.
pub fn batch_of(model: &Model, layout: &StatementLayout) -> Option<usize> {
    let count = |role| layout.tensors.iter().filter(|t| t.role == role).count();
    let (inputs, outputs) = (model.inputs().len(), model.outputs().len());
    // a model has an input
    let batch = count(Role::Input) / inputs;
    (batch > 0 && count(Role::Input) == batch * inputs && count(Role::Output) == batch * outputs)
        .then_some(batch)
}

/// How many copies of one list of tensors the names of `specs` tell: `x[0], y[0], x[1], y[1]` are two of x and y. 1 where the
/// names tell nothing.
pub fn copies_in_names(specs: &[&TensorSpec]) -> usize {
    let Some((_, last)) = specs
        .last()
        .and_then(|t| t.name.strip_suffix(']')?.rsplit_once('['))
    else {
        return 1;
    };
    let copies = last.parse::<usize>().ok().and_then(|j| j.checked_add(1));
    let Some(copies) = copies.filter(|n| specs.len().is_multiple_of(*n)) else {
        return 1;
    };
    let each = specs.len() / copies;
    let named = |(i, spec): (usize, &&TensorSpec)| {
        let base = base_name(specs[i % each]);
        base.is_some_and(|base| spec.name == format!("{base}[{}]", i / each))
    };
    if specs.iter().enumerate().all(named) {
        copies
    } else {
        1
    }
}

/// The name of a tensor of the first copy, without its number.
pub fn base_name(spec: &TensorSpec) -> Option<&str> {
    spec.name.strip_suffix("[0]")
}

/// The tensors of one proof: of all samples of the file, which must be `batch`, or of `batch` samples from number `first` on.
///
/// # Errors
/// [`InputFileError`].
pub fn one(
    model: &Model,
    batch: usize,
    file: &[u8],
    first: Option<usize>,
) -> Result<Vec<Tensor>, InputFileError> {
    let samples = model.samples(&InputFile::parse(file)?)?;
    let got = samples.len();
    let chosen = chosen(got, batch, first)?;
    quantized(model, &samples[chosen])
}

/// Which of `got` samples a proof is about.
///
/// # Errors
/// [`InputFileError`].
pub fn chosen(
    got: usize,
    batch: usize,
    first: Option<usize>,
) -> Result<std::ops::Range<usize>, InputFileError> {
    let from = match first {
        None if got == batch => 0,
        None => {
            return Err(InputFileError::Samples {
                expected: batch,
                got,
            });
        }
        Some(first) => first,
    };
    let to = from.saturating_add(batch);
    if to > got {
        let index = to.saturating_sub(1);
        return Err(InputFileError::NoSample { index, got });
    }
    Ok(from..to)
}

/// The tensors of every proof that the file has samples for.
///
/// # Errors
/// [`InputFileError`].
pub fn every(model: &Model, batch: usize, file: &[u8]) -> Result<Vec<Vec<Tensor>>, InputFileError> {
    let samples = model.samples(&InputFile::parse(file)?)?;
    let got = samples.len();
    if got == 0 || !got.is_multiple_of(batch) {
        return Err(InputFileError::Remainder {
            expected: batch,
            got,
        });
    }
    samples.chunks(batch).map(|s| quantized(model, s)).collect()
}

fn quantized(model: &Model, samples: &[Vec<Vec<f32>>]) -> Result<Vec<Tensor>, InputFileError> {
    let mut tensors = Vec::with_capacity(samples.len() * model.inputs().len());
    for sample in samples {
        tensors.extend(model.quantize_input(sample)?);
    }
    Ok(tensors)
}

/// The outputs of the inferences whose inputs follow each other in `tensors`, one after the other.
///
/// # Errors
/// As [`Model::eval`].
pub fn eval(model: &Model, tensors: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
    let mut outputs = Vec::new();
    for input in tensors.chunks(model.inputs().len()) {
        outputs.extend(model.eval(input)?);
    }
    Ok(outputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zkinfer_verifier::{Dtype, Visibility};

    fn spec(name: &str) -> TensorSpec {
        TensorSpec {
            name: name.to_owned(),
            role: Role::Input,
            visibility: Visibility::Public,
            shape: vec![1],
            dtype: Dtype::Int8,
            scale: 1.0,
            zero_point: 0,
        }
    }

    fn copies(names: &[&str]) -> usize {
        let specs: Vec<TensorSpec> = names.iter().map(|n| spec(n)).collect();
        copies_in_names(&specs.iter().collect::<Vec<_>>())
    }

    #[test]
    fn copies_are_told_by_names_in_their_order() {
        assert_eq!(copies(&["x[0]", "x[1]", "x[2]"]), 3);
        assert_eq!(copies(&["x[0]", "y[0]", "x[1]", "y[1]"]), 2);
        assert_eq!(copies(&["a[1][0]", "a[1][1]"]), 2);
        for single in [
            &["x"][..],
            &["x", "y"],
            &["x[1]", "x[0]"],
            &["x[0]", "y[1]"],
            &["x[0]", "x[1]", "x[1]"],
            &["x[]"],
            &["[99999999999999999999]"],
            &["x[18446744073709551615]"],
        ] {
            assert_eq!(copies(single), 1, "{single:?}");
        }
    }

    #[test]
    fn the_samples_of_a_proof_are_counted_with_expected_and_got() {
        assert_eq!(chosen(16, 16, None).ok(), Some(0..16));
        assert_eq!(chosen(40, 16, Some(24)).ok(), Some(24..40));
        for (got, first, sentence) in [
            (
                15,
                None,
                "the file holds 15 samples, a proof of this circuit is about 16",
            ),
            (
                17,
                None,
                "the file holds 17 samples, a proof of this circuit is about 16",
            ),
            (
                40,
                Some(25),
                "there is no sample 40: the file holds 40, counted from 0",
            ),
        ] {
            let told = chosen(got, 16, first).map_err(|e| e.to_string());
            assert_eq!(told, Err(sentence.to_owned()));
        }
        assert!(chosen(40, 16, Some(usize::MAX)).is_err());
    }
}
