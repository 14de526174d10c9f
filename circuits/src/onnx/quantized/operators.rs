//! Operators on integers, each as its float operator on real tensors followed by a mark.

use super::constant::{Scales, is_microsoft};
use super::{Given, Rewrite, Scheme, attribute, node_name, refuse};
use crate::onnx::ImportError;
use tract_onnx::pb::{AttributeProto, NodeProto};

/// The attributes of a convolution.
const WINDOW: &[&str] = &[
    "auto_pad",
    "dilations",
    "group",
    "kernel_shape",
    "pads",
    "strides",
];

impl Rewrite {
    pub(super) fn integer_operator(&mut self, node: NodeProto) -> Result<(), ImportError> {
        if is_microsoft(&node) && attribute(&node, "channels_last").unwrap_or(0) != 0 {
            return Err(refuse(&node, "channels_last = 1; expected channels first"));
        }
        match node.op_type.as_str() {
            "QLinearConv" => self.qlinear_conv(node),
            "QLinearMatMul" => self.qlinear_matmul(node),
            "QGemm" => self.qgemm(node),
            "ConvInteger" => self.integer_product(node, "Conv", 0),
            "MatMulInteger" => self.integer_product(node, "MatMul", -1),
            "QLinearAdd" => self.binary(node, "Add"),
            "QLinearMul" => self.binary(node, "Mul"),
            "QLinearConcat" => self.concat(node),
            "QLinearAveragePool" => self.unary(node, "AveragePool"),
            "QLinearGlobalAveragePool" => self.unary(node, "GlobalAveragePool"),
            "QLinearLeakyRelu" => self.unary(node, "LeakyRelu"),
            "QLinearSigmoid" => self.unary(node, "Sigmoid"),
            "QLinearSoftmax" => self.unary(node, "Softmax"),
            _ => Err(refuse(&node, "it has no float form")),
        }
    }

    /// The real tensor of the integer operand `i`, whose scale and zero point follow it.
    fn real_operand(&mut self, node: &NodeProto, i: usize) -> Result<String, ImportError> {
        let name = node.input.get(i).filter(|name| !name.is_empty()).cloned();
        let name = name.ok_or_else(|| refuse(node, format!("it has no input {i}")))?;
        if self.constants.contains_key(&name) {
            let scales = self.scales(node, i + 1, i + 2, 0)?;
            let output = format!("{}.{i}", node_name(node));
            self.dequantize(node, &name, &scales, output.clone())?;
            return Ok(output);
        }
        let scheme = self.scheme(node, i + 1, i + 2)?;
        self.activation(node, &name, scheme)
    }

    /// Adds the float operator under the node's own name, and a mark where a scale is given for its result.
    fn replace(
        &mut self,
        node: &NodeProto,
        op: &str,
        input: Vec<String>,
        attributes: &[&str],
        scheme: Option<Scheme>,
    ) -> Result<(), ImportError> {
        let output = node.output.first().cloned();
        let output = output.ok_or_else(|| refuse(node, "it has no output"))?;
        let name = node_name(node);
        let real = match scheme {
            Some(_) => format!("{name}.real"),
            None => output.clone(),
        };
        let kept = |a: &&AttributeProto| attributes.contains(&a.name.as_str());
        self.nodes.push(NodeProto {
            input,
            output: vec![real.clone()],
            name: name.clone(),
            op_type: op.to_owned(),
            attribute: node.attribute.iter().filter(kept).cloned().collect(),
            ..NodeProto::default()
        });
        if let Some(scheme) = scheme {
            self.mark(node, format!("{name}.quantize"), real, output, scheme);
        }
        Ok(())
    }

    /// The real constant of weights at operand `i`, or the real tensor of a computed operand.
    fn weights(
        &mut self,
        node: &NodeProto,
        i: usize,
        axis: i64,
    ) -> Result<(String, Option<Scales>), ImportError> {
        let name = node.input.get(i).cloned().unwrap_or_default();
        if !self.constants.contains_key(&name) {
            return Ok((self.real_operand(node, i)?, None));
        }
        let scales = self.scales(node, i + 1, i + 2, axis)?;
        let output = format!("{}.weights", node_name(node));
        self.dequantize(node, &name, &scales, output.clone())?;
        Ok((output, Some(scales)))
    }

    /// The real constant of the int32 bias at operand `i`, with scale `x`·`weights`.
    fn bias(
        &mut self,
        node: &NodeProto,
        i: usize,
        x: f32,
        weights: &Scales,
    ) -> Result<Option<(String, Vec<i32>)>, ImportError> {
        let Some(name) = node.input.get(i).filter(|name| !name.is_empty()).cloned() else {
            return Ok(None);
        };
        let scales = Scales {
            scales: weights.scales.iter().map(|w| w * x).collect(),
            zero_points: vec![0; weights.scales.len()],
            dtype: None,
            axis: -1,
        };
        let output = format!("{}.bias", node_name(node));
        self.dequantize(node, &name, &scales, output.clone())?;
        let values = self.real.get(&output).map(|b| b.values.clone());
        Ok(values.map(|values| (output, values)))
    }

    fn qlinear_conv(&mut self, node: NodeProto) -> Result<(), ImportError> {
        let x = self.real_operand(&node, 0)?;
        let x_scale = self.scheme(&node, 1, 2)?.scale;
        let (w, scales) = self.weights(&node, 3, 0)?;
        let scales = scales.ok_or_else(|| refuse(&node, "its weights are not constant"))?;
        let bias = self.bias(&node, 8, x_scale, &scales)?;
        let mut inputs = vec![x, w];
        inputs.extend(bias.iter().map(|(name, _)| name.clone()));
        self.remember(&node, layer(&scales, bias.map(|(_, values)| values)))?;
        let scheme = self.scheme(&node, 6, 7)?;
        self.replace(&node, "Conv", inputs, WINDOW, Some(scheme))
    }

    fn qlinear_matmul(&mut self, node: NodeProto) -> Result<(), ImportError> {
        let scheme = self.scheme(&node, 6, 7)?;
        let (a, left) = self.weights(&node, 0, -2)?;
        let (b, right) = match left {
            Some(_) => (self.real_operand(&node, 3)?, None),
            None => self.weights(&node, 3, -1)?,
        };
        if let Some(scales) = left.or(right) {
            self.remember(&node, layer(&scales, None))?;
        }
        self.replace(&node, "MatMul", vec![a, b], &[], Some(scheme))
    }

    fn qgemm(&mut self, node: NodeProto) -> Result<(), ImportError> {
        let alpha = node.attribute.iter().find(|a| a.name == "alpha");
        let alpha = alpha.map_or(1.0, |a| a.f);
        let a = self.real_operand(&node, 0)?;
        let a_scale = self.scheme(&node, 1, 2)?.scale;
        let transposed = attribute(&node, "transB").unwrap_or(0) != 0;
        let (b, scales) = self.weights(&node, 3, if transposed { 0 } else { 1 })?;
        let scales = scales.ok_or_else(|| refuse(&node, "its second factor is not constant"))?;
        let bias = self.bias(&node, 6, alpha * a_scale, &scales)?;
        let mut inputs = vec![a, b];
        inputs.extend(bias.iter().map(|(name, _)| name.clone()));
        let mut given = layer(&scales, bias.map(|(_, values)| values));
        for scale in &mut given.weight_scales {
            *scale *= f64::from(alpha);
        }
        self.remember(&node, given)?;
        let requantized = node.input.get(7).is_some_and(|name| !name.is_empty());
        let scheme = requantized.then(|| self.scheme(&node, 7, 8)).transpose()?;
        self.replace(
            &node,
            "Gemm",
            inputs,
            &["alpha", "transA", "transB"],
            scheme,
        )
    }

    /// ConvInteger and MatMulInteger: the product of integers as the real product with weights divided by the scale of x.
    fn integer_product(&mut self, node: NodeProto, op: &str, axis: i64) -> Result<(), ImportError> {
        let [x, w] = [0, 1].map(|i| node.input.get(i).cloned().unwrap_or_default());
        let Some(scheme) = self.integers.get(&x).copied() else {
            let reason = format!(
                "`{x}` is not an integer tensor that an earlier node quantized with a fixed scale"
            );
            return Err(refuse(&node, reason));
        };
        if !self.constants.contains_key(&w) {
            return Err(refuse(&node, "its weights are not constant"));
        }
        let zeros = |i: usize| -> Result<Option<_>, ImportError> {
            let name = node.input.get(i).filter(|name| !name.is_empty());
            let Some(name) = name else { return Ok(None) };
            let constant = self.constants.get(name);
            let constant = constant.ok_or_else(|| refuse(&node, "a zero point is not constant"))?;
            Ok(Some(constant.integers(&node, name)?))
        };
        let x_zero = zeros(2)?.map_or(vec![0], |z| z.values);
        if x_zero != [scheme.zero_point] {
            let reason = format!(
                "its zero point is {x_zero:?}, that of `{x}` is {}; expected the same",
                scheme.zero_point
            );
            return Err(refuse(&node, reason));
        }
        let w_zero = zeros(3)?;
        let zero_points = w_zero.as_ref().map_or(vec![0], |z| z.values.clone());
        let scales = Scales {
            scales: vec![1.0 / scheme.scale; zero_points.len()],
            zero_points,
            dtype: w_zero.map(|z| z.dtype),
            axis,
        };
        if scales.scales.is_empty() || !scales.scales[0].is_finite() {
            return Err(refuse(
                &node,
                "its zero point is empty, or the scale of its input too small",
            ));
        }
        let weights = format!("{}.weights", node_name(&node));
        self.dequantize(&node, &w, &scales, weights.clone())?;
        self.remember(&node, layer(&scales, None))?;
        let kept: &[&str] = if op == "Conv" { WINDOW } else { &[] };
        self.replace(&node, op, vec![x, weights], kept, None)?;
        if let Some(output) = node.output.first() {
            self.integers.insert(output.clone(), Scheme::UNIT);
        }
        Ok(())
    }

    /// Whether the first operand is a tensor of quantized integers.
    pub(super) fn reads_integers(&self, node: &NodeProto) -> bool {
        let made = node.input.first().and_then(|x| self.integers.get(x));
        made.is_some_and(|&scheme| scheme != Scheme::UNIT)
    }

    /// Clip of integers: what PyTorch writes for activations of seven bits.
    pub(super) fn clip(&mut self, node: NodeProto) -> Result<(), ImportError> {
        let [x, output] = [node.input.first(), node.output.first()].map(|name| name.cloned());
        let (Some(x), Some(output)) = (x, output) else {
            return Err(refuse(&node, "it has no input or no output"));
        };
        let Some(made) = self.integers.get(&x).copied() else {
            return Err(refuse(&node, format!("`{x}` is no tensor of integers")));
        };
        let bound = |i: usize, end: i32| -> Result<i32, ImportError> {
            if node.input.get(i).is_none_or(|name| name.is_empty()) {
                return Ok(end);
            }
            let (name, constant) = self.operand(&node, i, "bound")?;
            match constant.integers(&node, name)?.values[..] {
                [bound] => Ok(bound),
                _ => Err(refuse(
                    &node,
                    format!("its bound `{name}` is not one integer"),
                )),
            }
        };
        let scheme = Scheme {
            lo: made.lo.max(bound(1, made.lo)?),
            hi: made.hi.min(bound(2, made.hi)?),
            ..made
        };
        if scheme.lo > scheme.hi {
            let reason = format!(
                "it leaves none of the integers from {} to {}",
                made.lo, made.hi
            );
            return Err(refuse(&node, reason));
        }
        let x = self.activation(&node, &x, made)?;
        self.mark(&node, node_name(&node), x, output, scheme);
        Ok(())
    }

    fn binary(&mut self, node: NodeProto, op: &str) -> Result<(), ImportError> {
        let inputs = vec![self.real_operand(&node, 0)?, self.real_operand(&node, 3)?];
        let scheme = self.scheme(&node, 6, 7)?;
        self.replace(&node, op, inputs, &[], Some(scheme))
    }

    fn unary(&mut self, node: NodeProto, op: &str) -> Result<(), ImportError> {
        let x = self.real_operand(&node, 0)?;
        let scheme = self.scheme(&node, 3, 4)?;
        let kept = [
            "alpha",
            "auto_pad",
            "axis",
            "ceil_mode",
            "count_include_pad",
            "kernel_shape",
            "pads",
            "strides",
        ];
        self.replace(&node, op, vec![x], &kept, Some(scheme))
    }

    fn concat(&mut self, node: NodeProto) -> Result<(), ImportError> {
        let scheme = self.scheme(&node, 0, 1)?;
        let inputs = (2..node.input.len())
            .step_by(3)
            .map(|i| self.real_operand(&node, i))
            .collect::<Result<Vec<_>, _>>()?;
        self.replace(&node, "Concat", inputs, &["axis"], Some(scheme))
    }
}

/// What planning takes back for a layer.
fn layer(weights: &Scales, bias: Option<Vec<i32>>) -> Given {
    Given {
        weight_scales: weights.scales.iter().map(|&s| s.into()).collect(),
        bias,
        rounds_bias: true,
    }
}
