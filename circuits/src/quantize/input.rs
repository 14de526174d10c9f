//! Files of model inputs: `.npz` archives and JSON of the form `{"input_data": [[…]]}`.
//!
//! In an archive, the array that bears an input's name holds it, or `x` where the model has one input; its shape is the
//! input's, or [N, input] for N samples. In JSON, entry i of `input_data` holds input i: numbers in any nesting, whose count
//! is the input's length times N.

use super::npy;
use std::io::{Cursor, Read};

/// Most bytes an input file may have, compressed or not.
pub const MAX_INPUT_BYTES: usize = 512 << 20;
/// Most arrays in an archive.
const MAX_ARRAYS: usize = 64;
/// Most nested lists in JSON.
const MAX_DEPTH: usize = 16;

/// Why a file does not hold inputs of the model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// Too many bytes, as they are or decompressed.
    #[error("the input file has more than {max} bytes, which is the limit")]
    TooLarge {
        /// Limit.
        max: usize,
    },
    /// Not a readable zip archive.
    #[error("not a readable .npz archive: {reason}")]
    Archive {
        /// What is wrong.
        reason: String,
    },
    /// An array that is not read.
    #[error("array `{array}`: {reason}")]
    Array {
        /// Name of the array.
        array: String,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// Not JSON of the expected form.
    #[error("expected JSON of the form {{\"input_data\": [[numbers]]}}: {reason}")]
    Json {
        /// What is wrong.
        reason: String,
    },
    /// The file lacks an input.
    #[error("input `{input}` is missing; the file has {found}")]
    Missing {
        /// Name of the input.
        input: String,
        /// What the file has.
        found: String,
    },
    /// An input does not have its shape.
    #[error("input `{input}`: expected shape {expected:?} or [N, that], got {got}")]
    Shape {
        /// Name of the input.
        input: String,
        /// Shape of the input.
        expected: Vec<usize>,
        /// Shape or length in the file.
        got: String,
    },
    /// The inputs of one file have different numbers of samples.
    #[error("input `{input}` has {got} samples, the first input has {expected}")]
    Samples {
        /// Name of the input.
        input: String,
        /// Samples of the first input.
        expected: usize,
        /// Samples of this one.
        got: usize,
    },
    /// A value is NaN, infinite, or beyond float32.
    #[error("input `{input}`, sample {sample}, index {index}: {value} is not a finite float32")]
    NonFinite {
        /// Name of the input.
        input: String,
        /// Sample number, from 0.
        sample: usize,
        /// Row-major index in the sample.
        index: usize,
        /// The value.
        value: f64,
    },
}

/// The arrays of a file, not yet matched to a model.
#[derive(Clone, PartialEq)]
pub struct InputFile {
    arrays: Arrays,
}

#[derive(Clone, PartialEq)]
enum Arrays {
    /// Undecoded .npy files by name.
    Named(Vec<(String, Vec<u8>)>),
    /// Flat numbers by position.
    Positional(Vec<Vec<f64>>),
}

/// Inputs may be private: only how many there are is shown.
impl std::fmt::Debug for InputFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let n_arrays = match &self.arrays {
            Arrays::Named(arrays) => arrays.len(),
            Arrays::Positional(arrays) => arrays.len(),
        };
        f.debug_struct("InputFile")
            .field("n_arrays", &n_arrays)
            .finish_non_exhaustive()
    }
}

/// One tensor per model input.
pub type Sample = Vec<Vec<f32>>;

/// Reads a `.npz` archive.
///
/// # Errors
/// When it is not one, or is larger than the limits once decompressed.
pub fn from_npz(bytes: &[u8]) -> Result<InputFile, InputError> {
    from_npz_within(bytes, MAX_INPUT_BYTES)
}

/// As [`from_npz`], with at most `max` bytes, compressed or not.
fn from_npz_within(bytes: &[u8], max: usize) -> Result<InputFile, InputError> {
    if bytes.len() > max {
        return Err(InputError::TooLarge { max });
    }
    let broken = |e: &dyn std::fmt::Display| InputError::Archive {
        reason: e.to_string(),
    };
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| broken(&e))?;
    if archive.len() > MAX_ARRAYS {
        return Err(InputError::Archive {
            reason: format!("more than {MAX_ARRAYS} arrays"),
        });
    }
    let mut left = max;
    let mut arrays = Vec::with_capacity(archive.len());
    for i in 0..archive.len() {
        let file = archive.by_index(i).map_err(|e| broken(&e))?;
        let name = file
            .name()
            .strip_suffix(".npy")
            .unwrap_or(file.name())
            .to_owned();
        let mut data = Vec::new();
        // the declared size is not trusted: one byte past the limit is an error
        let read = file
            .take(left as u64 + 1)
            .read_to_end(&mut data)
            .map_err(|e| broken(&e))?;
        left = left.checked_sub(read).ok_or(InputError::TooLarge { max })?;
        arrays.push((name, data));
    }
    Ok(InputFile {
        arrays: Arrays::Named(arrays),
    })
}

/// Reads JSON of the form `{"input_data": [[…]]}`.
///
/// # Errors
/// When it is not of that form.
pub fn from_json(bytes: &[u8]) -> Result<InputFile, InputError> {
    if bytes.len() > MAX_INPUT_BYTES {
        return Err(InputError::TooLarge {
            max: MAX_INPUT_BYTES,
        });
    }
    let bad = |reason: &str| InputError::Json {
        reason: reason.to_owned(),
    };
    let json: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| InputError::Json {
        reason: e.to_string(),
    })?;
    let data = json
        .get("input_data")
        .ok_or_else(|| bad("no field input_data"))?;
    let inputs = data
        .as_array()
        .ok_or_else(|| bad("input_data is not a list"))?;
    let mut arrays = Vec::with_capacity(inputs.len());
    for input in inputs {
        if !input.is_array() {
            return Err(bad(
                "input_data is a list of numbers; expected one list per input",
            ));
        }
        let mut flat = Vec::new();
        flatten(input, MAX_DEPTH, &mut flat)?;
        arrays.push(flat);
    }
    Ok(InputFile {
        arrays: Arrays::Positional(arrays),
    })
}

fn flatten(value: &serde_json::Value, depth: usize, out: &mut Vec<f64>) -> Result<(), InputError> {
    match (value, depth) {
        (serde_json::Value::Number(number), _) => {
            out.push(number.as_f64().unwrap_or(f64::NAN));
            Ok(())
        }
        (serde_json::Value::Array(items), 1..) => items
            .iter()
            .try_for_each(|item| flatten(item, depth - 1, out)),
        (serde_json::Value::Array(_), 0) => Err(InputError::Json {
            reason: "lists nested too deeply".to_owned(),
        }),
        _ => Err(InputError::Json {
            reason: "an entry is not a number".to_owned(),
        }),
    }
}

impl InputFile {
    /// Reads an archive or JSON, whichever the bytes are.
    ///
    /// # Errors
    /// As [`from_npz`] and [`from_json`].
    pub fn parse(bytes: &[u8]) -> Result<Self, InputError> {
        if bytes.starts_with(b"PK") {
            from_npz(bytes)
        } else {
            from_json(bytes)
        }
    }

    /// Whether the file is an archive with an array of this name.
    pub fn has_array(&self, name: &str) -> bool {
        match &self.arrays {
            Arrays::Named(arrays) => arrays.iter().any(|(n, _)| n == name),
            Arrays::Positional(_) => false,
        }
    }

    /// The samples of a model with these inputs (name, shape), in the order of the file.
    ///
    /// # Errors
    /// When an input is missing, has another shape, or holds a value that is not a finite float32.
    pub fn samples(&self, inputs: &[(&str, &[usize])]) -> Result<Vec<Sample>, InputError> {
        let mut samples: Vec<Sample> = Vec::new();
        for (position, &(name, shape)) in inputs.iter().enumerate() {
            let values = self.values(position, name, shape, inputs.len())?;
            let len = shape.iter().product::<usize>().max(1);
            let n_samples = values.len() / len;
            if position == 0 {
                samples = vec![Vec::with_capacity(inputs.len()); n_samples];
            } else if samples.len() != n_samples {
                let input = name.to_owned();
                return Err(InputError::Samples {
                    input,
                    expected: samples.len(),
                    got: n_samples,
                });
            }
            for (number, (sample, values)) in
                samples.iter_mut().zip(values.chunks_exact(len)).enumerate()
            {
                let bad = |v: &f64| !v.is_finite() || v.abs() > f64::from(f32::MAX);
                if let Some(index) = values.iter().position(bad) {
                    let (input, value) = (name.to_owned(), values[index]);
                    return Err(InputError::NonFinite {
                        input,
                        sample: number,
                        index,
                        value,
                    });
                }
                sample.push(values.iter().map(|&v| v as f32).collect());
            }
        }
        Ok(samples)
    }

    /// The numbers of one input, a whole number of samples.
    fn values(
        &self,
        position: usize,
        name: &str,
        shape: &[usize],
        n_inputs: usize,
    ) -> Result<Vec<f64>, InputError> {
        let missing = |found: String| InputError::Missing {
            input: name.to_owned(),
            found,
        };
        let wrong = |got: String| InputError::Shape {
            input: name.to_owned(),
            expected: shape.to_vec(),
            got,
        };
        match &self.arrays {
            Arrays::Named(arrays) => {
                let find = |wanted: &str| arrays.iter().find(|(n, _)| n == wanted);
                let single = if n_inputs == 1 { find("x") } else { None };
                let (array, bytes) = find(name).or(single).ok_or_else(|| {
                    let names: Vec<_> = arrays.iter().map(|(n, _)| format!("`{n}`")).collect();
                    missing(format!("the arrays {}", names.join(", ")))
                })?;
                let (found, values) = npy::parse(array, bytes)?;
                let batched = found.len() == shape.len() + 1 && found[1..] == *shape;
                if !(batched || found == shape) || values.is_empty() {
                    return Err(wrong(format!("{found:?}")));
                }
                Ok(values)
            }
            Arrays::Positional(arrays) => {
                if arrays.len() != n_inputs {
                    return Err(missing(format!(
                        "{} lists, the model has {n_inputs} inputs",
                        arrays.len()
                    )));
                }
                let values = &arrays[position];
                let len = shape.iter().product::<usize>();
                if values.is_empty() || !values.len().is_multiple_of(len) {
                    return Err(wrong(format!("{} numbers", values.len())));
                }
                Ok(values.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::write::SimpleFileOptions;

    type Error = Box<dyn std::error::Error>;

    /// A `.npz` of one float32 array `x`.
    fn npz(shape: &str, values: &[f32]) -> Result<Vec<u8>, Error> {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        let mut array = b"\x93NUMPY\x01\x00".to_vec();
        array.extend(u16::try_from(header.len())?.to_le_bytes());
        array.extend(header.as_bytes());
        array.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        archive.start_file("x.npy", SimpleFileOptions::default())?;
        archive.write_all(&array)?;
        Ok(archive.finish()?.into_inner())
    }

    #[test]
    fn values_that_are_not_finite_name_sample_and_index() -> Result<(), Error> {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let file = from_npz(&npz("(2, 3)", &[0.0, 1.0, 2.0, 3.0, bad, 5.0])?)?;
            match file.samples(&[("input", &[3])]) {
                Err(InputError::NonFinite {
                    input,
                    sample: 1,
                    index: 1,
                    ..
                }) => assert_eq!(input, "input"),
                other => return Err(format!("{other:?}").into()),
            }
        }
        Ok(())
    }

    #[test]
    fn one_sample_needs_no_leading_axis() -> Result<(), Error> {
        let file = from_npz(&npz("(2, 3)", &[0.0; 6])?)?;
        assert_eq!(file.samples(&[("input", &[2, 3])])?.len(), 1);
        assert_eq!(file.samples(&[("input", &[3])])?.len(), 2);
        assert!(matches!(
            file.samples(&[("input", &[6])]),
            Err(InputError::Shape { .. })
        ));
        assert!(matches!(
            file.samples(&[("a", &[3]), ("b", &[3])]),
            Err(InputError::Missing { .. })
        ));
        Ok(())
    }

    #[test]
    fn archives_that_inflate_past_the_limit_are_refused() -> Result<(), Error> {
        let bytes = npz("(100000,)", &[0.0; 100_000])?;
        assert!(bytes.len() < 10_000, "zeros compress");
        assert!(from_npz_within(&bytes, 500_000).is_ok());
        assert_eq!(
            from_npz_within(&bytes, 400_000),
            Err(InputError::TooLarge { max: 400_000 })
        );
        Ok(())
    }
}
