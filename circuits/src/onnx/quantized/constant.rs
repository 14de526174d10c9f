//! Integer constants of a file, their scales, and the real numbers they stand for.

use super::{MICROSOFT, Rewrite, Scheme, attribute, refuse};
use crate::onnx::ImportError;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{NodeProto, TensorProto};

/// A constant that an integer operator may read.
pub(super) enum Constant {
    /// As the file has it.
    File(Box<TensorProto>),
    /// Computed by a QuantizeLinear of a constant.
    Integers(Plain<i32>),
}

/// Values with their dimensions and element type.
#[derive(Clone, Debug)]
pub(super) struct Plain<T> {
    pub(super) shape: Vec<i64>,
    pub(super) values: Vec<T>,
    pub(super) dtype: DataType,
}

/// Integers with their scales: what a real constant was made from.
#[derive(Clone, Debug)]
pub(super) struct Integers {
    /// Zero point subtracted.
    pub(super) values: Vec<i32>,
    pub(super) scales: Vec<f32>,
}

/// Scales and zero points of a constant: one, or one for each index of an axis.
#[derive(Clone, Debug)]
pub(super) struct Scales {
    pub(super) scales: Vec<f32>,
    pub(super) zero_points: Vec<i32>,
    /// Type of the zero point, if the file has one.
    pub(super) dtype: Option<DataType>,
    pub(super) axis: i64,
}

/// A float32 initializer.
pub(super) fn floats(name: &str, shape: &[i64], values: Vec<f32>) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: shape.to_vec(),
        data_type: DataType::Float as i32,
        float_data: values,
        ..TensorProto::default()
    }
}

/// Least and largest value of an integer type that quantization uses.
pub(super) fn range(dtype: DataType) -> Option<(i32, i32)> {
    match dtype {
        DataType::Uint8 => Some((0, 255)),
        DataType::Int8 => Some((-128, 127)),
        DataType::Uint16 => Some((0, 65_535)),
        DataType::Int16 => Some((-32_768, 32_767)),
        DataType::Int32 => Some((i32::MIN, i32::MAX)),
        _ => None,
    }
}

/// The values of a float tensor whose length was checked; doubles are rounded.
pub(super) fn real_of(tensor: &TensorProto) -> Vec<f32> {
    let raw = &tensor.raw_data;
    let double = tensor.data_type == DataType::Double as i32;
    match (double, raw.is_empty()) {
        (false, true) => tensor.float_data.clone(),
        (true, true) => tensor.double_data.iter().map(|&v| v as f32).collect(),
        (false, false) => raw
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect(),
        (true, false) => raw
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32)
            .collect(),
    }
}

/// The integers of a tensor whose length was checked.
pub(super) fn integers(tensor: &TensorProto) -> Option<Vec<i32>> {
    let dtype = DataType::try_from(tensor.data_type).ok()?;
    let (lo, hi) = range(dtype)?;
    if tensor.raw_data.is_empty() {
        let values = tensor.int32_data.clone();
        return values
            .iter()
            .all(|v| (lo..=hi).contains(v))
            .then_some(values);
    }
    let raw = &tensor.raw_data;
    let pairs = || raw.chunks_exact(2).map(|b| [b[0], b[1]]);
    Some(match dtype {
        DataType::Uint8 => raw.iter().map(|&b| b.into()).collect(),
        DataType::Int8 => raw.iter().map(|&b| (b as i8).into()).collect(),
        DataType::Uint16 => pairs().map(|b| u16::from_le_bytes(b).into()).collect(),
        DataType::Int16 => pairs().map(|b| i16::from_le_bytes(b).into()).collect(),
        _ => raw
            .chunks_exact(4)
            .map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect(),
    })
}

impl Constant {
    /// The real values of a float32 constant.
    pub(super) fn floats(&self, node: &NodeProto, name: &str) -> Result<Plain<f32>, ImportError> {
        let wrong = || {
            let reason = format!("`{name}` is not a float32 constant");
            refuse(node, reason)
        };
        let Self::File(tensor) = self else {
            return Err(wrong());
        };
        if tensor.data_type != DataType::Float as i32 {
            return Err(wrong());
        }
        Ok(Plain {
            shape: tensor.dims.clone(),
            values: real_of(tensor),
            dtype: DataType::Float,
        })
    }

    /// The values of an integer constant.
    pub(super) fn integers(&self, node: &NodeProto, name: &str) -> Result<Plain<i32>, ImportError> {
        match self {
            Self::Integers(plain) => Ok(plain.clone()),
            Self::File(tensor) => {
                let values = integers(tensor).ok_or_else(|| {
                    let got = DataType::try_from(tensor.data_type).unwrap_or_default();
                    let reason = format!(
                        "`{name}` has type {got:?}; expected int8, uint8, int16, uint16 or int32"
                    );
                    refuse(node, reason)
                })?;
                Ok(Plain {
                    shape: tensor.dims.clone(),
                    values,
                    // `integers` accepted the type
                    dtype: DataType::try_from(tensor.data_type).unwrap_or_default(),
                })
            }
        }
    }
}

impl Scales {
    /// For a tensor of this shape: how many consecutive elements share a scale. Checks that every index of the axis has one.
    fn inner(&self, node: &NodeProto, shape: &[i64]) -> Result<usize, ImportError> {
        if self.scales.len() == 1 {
            return Ok(1);
        }
        let rank = shape.len() as i64;
        let axis = if self.axis < 0 {
            self.axis + rank
        } else {
            self.axis
        };
        let position = usize::try_from(axis).ok();
        let size = position.and_then(|a| shape.get(a)).copied();
        let Some((position, size)) = position.zip(size) else {
            let reason = format!(
                "the axis {} of its scales is not one of {shape:?}",
                self.axis
            );
            return Err(refuse(node, reason));
        };
        if usize::try_from(size) != Ok(self.scales.len()) {
            let reason = format!(
                "expected {size} scales, one for each index of axis {axis}, got {}",
                self.scales.len()
            );
            return Err(refuse(node, reason));
        }
        // lengths of initializers are bounded by `proto`
        Ok(shape[position + 1..].iter().product::<i64>() as usize)
    }

    fn at(&self, inner: usize, i: usize) -> (f32, i32) {
        let c = i / inner.max(1) % self.scales.len();
        (self.scales[c], self.zero_points[c])
    }
}

impl Plain<f32> {
    /// QuantizeLinear, as onnxruntime computes it.
    pub(super) fn quantize(
        self,
        node: &NodeProto,
        scales: &Scales,
    ) -> Result<Plain<i32>, ImportError> {
        let dtype = scales.dtype.unwrap_or(DataType::Uint8);
        let inner = scales.inner(node, &self.shape)?;
        let (lo, hi) =
            range(dtype).ok_or_else(|| refuse(node, "its zero point is not of an integer type"))?;
        let integer = |(i, &v): (usize, &f32)| {
            let (scale, zero) = scales.at(inner, i);
            let rounded = f64::from((v / scale).round_ties_even()) + f64::from(zero);
            rounded.clamp(lo.into(), hi.into()) as i32
        };
        Ok(Plain {
            values: self.values.iter().enumerate().map(integer).collect(),
            shape: self.shape,
            dtype,
        })
    }
}

impl Rewrite {
    /// The values of a constant operand.
    pub(super) fn operand<'a>(
        &'a self,
        node: &'a NodeProto,
        i: usize,
        what: &str,
    ) -> Result<(&'a str, &'a Constant), ImportError> {
        let name = node.input.get(i).filter(|name| !name.is_empty());
        let Some(name) = name else {
            return Err(refuse(node, format!("it has no {what}")));
        };
        match self.constants.get(name) {
            Some(constant) => Ok((name, constant)),
            None => Err(refuse(
                node,
                format!("its {what} `{name}` is not a constant; expected a fixed one"),
            )),
        }
    }

    /// Scales at operand `i` and zero points at operand `j`.
    pub(super) fn scales(
        &self,
        node: &NodeProto,
        i: usize,
        j: usize,
        axis: i64,
    ) -> Result<Scales, ImportError> {
        if attribute(node, "block_size").unwrap_or(0) != 0 {
            return Err(refuse(
                node,
                "scales per block; expected one scale, or one per channel",
            ));
        }
        let (name, constant) = self.operand(node, i, "scale")?;
        let scales = constant.floats(node, name)?;
        if scales.values.is_empty() || scales.shape.len() > 1 {
            let reason = format!(
                "its scale `{name}` has the shape {:?}; expected one number, or one per channel",
                scales.shape
            );
            return Err(refuse(node, reason));
        }
        let bad = |s: &&f32| !(s.is_finite() && **s > 0.0);
        if let Some(scale) = scales.values.iter().find(bad) {
            let reason = format!("its scale `{name}` holds {scale}; expected positive numbers");
            return Err(refuse(node, reason));
        }
        let n = scales.values.len();
        let (mut zero_points, mut dtype) = (vec![0; n], None);
        if node.input.get(j).is_some_and(|name| !name.is_empty()) {
            let (name, constant) = self.operand(node, j, "zero point")?;
            let zeros = constant.integers(node, name)?;
            if zeros.values.len() != n {
                let reason = format!(
                    "its zero point `{name}` has {} values, its scale has {n}; expected as many",
                    zeros.values.len()
                );
                return Err(refuse(node, reason));
            }
            zero_points = zeros.values;
            dtype = Some(zeros.dtype);
        }
        Ok(Scales {
            scales: scales.values,
            zero_points,
            dtype,
            axis,
        })
    }

    /// Scale and zero point of an activation: one of each.
    pub(super) fn scheme(
        &self,
        node: &NodeProto,
        i: usize,
        j: usize,
    ) -> Result<Scheme, ImportError> {
        let scales = self.scales(node, i, j, 0)?;
        let ([scale], [zero_point]) = (&scales.scales[..], &scales.zero_points[..]) else {
            return Err(refuse(
                node,
                format!(
                    "{} scales for an activation; expected one for the tensor",
                    scales.scales.len()
                ),
            ));
        };
        // without a zero point, onnx says uint8 unless the attribute gives a type
        let declared = attribute(node, "output_dtype").and_then(|t| i32::try_from(t).ok());
        let declared = declared.and_then(|t| DataType::try_from(t).ok());
        let dtype = scales
            .dtype
            .or(declared.filter(|&t| t != DataType::Undefined))
            .unwrap_or(DataType::Uint8);
        let Some((lo, hi)) = range(dtype).filter(|_| dtype != DataType::Int32) else {
            let reason =
                format!("its integers have type {dtype:?}; expected int8, uint8, int16 or uint16");
            return Err(refuse(node, reason));
        };
        Ok(Scheme {
            scale: *scale,
            zero_point: *zero_point,
            lo,
            hi,
        })
    }

    /// Makes the real constant `output` of the integer constant `name`.
    pub(super) fn dequantize(
        &mut self,
        node: &NodeProto,
        name: &str,
        scales: &Scales,
        output: String,
    ) -> Result<(), ImportError> {
        let constant = self.constants.get(name).ok_or_else(|| {
            let reason = format!("`{name}` is not a constant; expected fixed integers");
            refuse(node, reason)
        })?;
        let plain = constant.integers(node, name)?;
        if scales.dtype.is_some_and(|t| t != plain.dtype) {
            let reason = format!(
                "`{name}` has type {:?}, its zero point {:?}; expected one type",
                plain.dtype, scales.dtype
            );
            return Err(refuse(node, reason));
        }
        let inner = scales.inner(node, &plain.shape)?;
        let mut values = Vec::with_capacity(plain.values.len());
        let mut real = Vec::with_capacity(plain.values.len());
        for (i, &v) in plain.values.iter().enumerate() {
            let (scale, zero) = scales.at(inner, i);
            let centred = v.checked_sub(zero).ok_or_else(|| {
                refuse(
                    node,
                    format!("`{name}`: {v} minus the zero point passes 32 bits"),
                )
            })?;
            values.push(centred);
            // exact in f64, rounded once
            real.push((f64::from(scale) * f64::from(centred)) as f32);
        }
        if let Some(index) = real.iter().position(|v| !v.is_finite()) {
            return Err(ImportError::NonFiniteWeight {
                tensor: name.to_owned(),
                index,
                value: real[index].into(),
            });
        }
        self.initializers.push(floats(&output, &plain.shape, real));
        self.real.insert(
            output,
            Integers {
                values,
                scales: scales.scales.clone(),
            },
        );
        Ok(())
    }
}

/// Whether the domain is onnxruntime's own.
pub(super) fn is_microsoft(node: &NodeProto) -> bool {
    node.domain == MICROSOFT
}
