//! Random small integer models, from any source of randomness: a seeded generator in tests, bytes in the fuzz targets.
//!
//! An operator joins by one entry of [`Growing::layers`]: a function that appends it (and what brings its result back to int8).

#![allow(dead_code, reason = "each user takes a part")]

use rand::{Rng, RngCore};
use zkinfer_circuits::model::{Model, ModelBuilder, Visibilities};
use zkinfer_circuits::onnx::Relation;
use zkinfer_circuits::ops::{
    Add, ArgExtremum, Clip, Compare, Contract, Conv, Extremum, Gather, Layout, MatMul, MaxPool,
    Mul, Normalize, Op, Requantize, Rescale, Select, Softmax, SumPool, Table, TopK,
};
use zkinfer_circuits::tensor::{ConvGeometry, Quantization, Tensor};
use zkinfer_verifier::{Dtype, Visibility};

/// The operators of a layer, and the function that appends them.
pub type Layer<R> = (&'static [&'static str], fn(&mut Growing<R>));

/// A model under construction and the int8 tensor that the next layer reads.
pub struct Growing<R> {
    b: ModelBuilder,
    at: usize,
    rng: R,
    count: usize,
}

impl<R: RngCore + 'static> Growing<R> {
    fn shape(&self) -> Vec<usize> {
        self.b.fact(self.at).unwrap().shape.clone()
    }

    fn zero_point(&self) -> i64 {
        self.b
            .fact(self.at)
            .unwrap()
            .quantization
            .unwrap()
            .zero_point
    }

    fn push(&mut self, op: Op, inputs: &[usize]) -> usize {
        self.count += 1;
        let name = format!("n{} {}", self.count, op.name());
        self.b.node(&name, op, inputs).unwrap()
    }

    fn weights(&mut self, n: usize) -> Vec<i16> {
        (0..n).map(|_| self.rng.gen_range(-255i16..=255)).collect()
    }

    fn values(&mut self, n: usize) -> Vec<i32> {
        (0..n).map(|_| self.rng.gen_range(-128..=127)).collect()
    }

    fn biases(&mut self, n: usize) -> Vec<i32> {
        (0..n).map(|_| self.rng.gen_range(-1000..=1000)).collect()
    }

    fn quantization(&mut self) -> Quantization {
        let zero_point = *[-128, -3, 0, 7, 127].get(self.rng.gen_range(0..5)).unwrap();
        Quantization {
            scale: 0.5,
            zero_point,
        }
    }

    /// Brings an accumulator, or a tensor of another scale, back to int8.
    fn requantize(&mut self, acc: usize, inner: usize, channels: usize) {
        let fact = self.b.fact(acc).unwrap();
        let span = fact.interval.max_abs().max(1) as f64;
        let zero_point_in = fact.quantization.map_or(0, |q| q.zero_point);
        let output = self.quantization();
        let shift = [12, 24][self.rng.gen_range(0..2)];
        let ideal = 300.0 / span * f64::from(1u32 << shift);
        let multipliers = (0..channels)
            .map(|_| (ideal.min(1e9) * self.rng.gen_range(0.3..1.0)) as u32)
            .collect();
        let (lo, hi) = [
            (-128, 127),
            (output.zero_point.min(100) as i32, 127),
            (-5, 60),
        ][self.rng.gen_range(0..3)];
        let table = if self.rng.gen_bool(0.2) {
            self.values((hi - lo + 1) as usize)
        } else {
            vec![]
        };
        let op = Requantize {
            zero_point_in,
            inner,
            multipliers,
            shift,
            zero_point: output.zero_point,
            lo,
            hi,
            table,
            output,
        };
        self.at = self.push(Op::Requantize(op), &[acc]);
    }

    fn window(&mut self, depthwise: bool) -> Option<ConvGeometry> {
        let [1, channels, height, width] = self.shape()[..] else {
            return None;
        };
        let geometry = ConvGeometry {
            channels_in: channels,
            height,
            width,
            channels_out: if depthwise {
                channels
            } else {
                self.rng.gen_range(1..=2) * channels
            },
            kernel: [self.rng.gen_range(1..=2), self.rng.gen_range(1..=2)],
            strides: [self.rng.gen_range(1..=2), self.rng.gen_range(1..=2)],
            pads: [0, self.rng.gen_range(0..=1), 0, 0],
            dilations: [1, 1],
            groups: if depthwise || self.rng.gen_bool(0.3) {
                channels
            } else {
                1
            },
        };
        geometry.check().ok()?;
        Some(geometry)
    }

    fn output_shape(geometry: &ConvGeometry) -> Vec<usize> {
        let [rows, columns] = geometry.output_size();
        vec![1, geometry.channels_out, rows, columns]
    }

    /// The operators that each layer appends, and the function that does; a layer that does not apply appends nothing.
    pub fn layers() -> Vec<Layer<R>> {
        vec![
            (&["Conv", "Requantize"], Self::conv),
            (&["MatMul", "Requantize"], Self::mat_mul),
            (&["MaxPool"], Self::max_pool),
            (&["SumPool", "Requantize"], Self::sum_pool),
            (&["Table", "Add", "Requantize"], Self::residual),
            (&["Add", "Requantize"], Self::shortcut),
            (&["Layout"], Self::transpose),
            (&["Table", "Mul", "Requantize"], Self::product),
            (&["Table", "Max"], Self::extremum),
            (&["Table", "Compare", "Where"], Self::choice),
            (&["Table", "Gather"], Self::gather),
            (&["Contract", "Requantize"], Self::contract),
            (&["Normalize", "Requantize"], Self::normalize),
            (&["Softmax", "Requantize"], Self::softmax),
            (&["TopK"], Self::best),
            (&["ArgMax"], Self::place),
            (&["Normalize", "Rescale", "Clip", "Requantize"], Self::finer),
        ]
    }

    fn grow(&mut self) {
        let layers = Self::layers();
        let layer = self.rng.gen_range(0..layers.len());
        (layers[layer].1)(self);
    }

    fn conv(&mut self) {
        let Some(geometry) = self.window(false) else {
            return;
        };
        let shape = Self::output_shape(&geometry);
        let weights = self.weights(geometry.weights_len());
        let bias = self.biases(geometry.channels_out);
        let (inner, channels) = (shape[2] * shape[3], shape[1]);
        let conv = Conv {
            geometry,
            shape,
            zero_point: self.zero_point(),
            weights,
            bias,
        };
        let acc = self.push(Op::Conv(conv), &[self.at]);
        self.requantize(acc, inner, channels);
    }

    fn mat_mul(&mut self) {
        let mut shape = self.shape();
        let k = *shape.last().unwrap();
        let n = self.rng.gen_range(1..=3);
        *shape.last_mut().unwrap() = n;
        let (weights, bias) = (self.weights(n * k), self.biases(n));
        let mat_mul = MatMul {
            shape,
            zero_point: self.zero_point(),
            weights,
            bias,
        };
        let acc = self.push(Op::MatMul(mat_mul), &[self.at]);
        self.requantize(acc, 1, n);
    }

    /// Windows of a pool, one channel each, without padding.
    fn pool_window(&mut self) -> Option<(ConvGeometry, Vec<usize>)> {
        let mut geometry = self.window(true)?;
        geometry.pads = [0; 4];
        geometry.check().ok()?;
        let shape = Self::output_shape(&geometry);
        Some((geometry, shape))
    }

    fn max_pool(&mut self) {
        if let Some((geometry, shape)) = self.pool_window() {
            self.at = self.push(Op::MaxPool(MaxPool { geometry, shape }), &[self.at]);
        }
    }

    fn sum_pool(&mut self) {
        let Some((geometry, shape)) = self.pool_window() else {
            return;
        };
        let pool = SumPool {
            geometry,
            shape,
            zero_point: self.zero_point(),
            factors: vec![1],
            scale: 0.25,
        };
        let sum = self.push(Op::SumPool(pool), &[self.at]);
        self.requantize(sum, 1, 1);
    }

    fn residual(&mut self) {
        let other = self.branch();
        self.add(other);
    }

    /// A table of the present tensor, beside it.
    fn branch(&mut self) -> usize {
        let (values, output) = (self.values(256), self.quantization());
        let lo = -128;
        self.push(Op::Table(Table { lo, values, output }), &[self.at])
    }

    /// The same with the quantization of the present tensor.
    fn alike(&mut self) -> usize {
        let output = self.b.fact(self.at).unwrap().quantization.unwrap();
        let values = self.values(256);
        let lo = -128;
        self.push(Op::Table(Table { lo, values, output }), &[self.at])
    }

    fn product(&mut self) {
        let other = self.branch();
        let zero_point = |t| self.b.fact(t).unwrap().quantization.unwrap().zero_point;
        let zero_points = [zero_point(self.at), zero_point(other)];
        let product = self.push(Op::Mul(Mul { zero_points }), &[self.at, other]);
        self.requantize(product, 1, 1);
    }

    fn extremum(&mut self) {
        let other = self.alike();
        let largest = self.rng.gen_bool(0.5);
        self.at = self.push(Op::Extremum(Extremum { largest }), &[self.at, other]);
    }

    fn choice(&mut self) {
        let (other, third) = (self.alike(), self.alike());
        let zero_point = self.zero_point();
        let wide = self.rng.gen_bool(0.5);
        let compare = Compare {
            relation: [Relation::Less, Relation::LessOrEqual, Relation::Equal]
                [self.rng.gen_range(0..3)],
            zero_points: [zero_point; 2],
            factors: if wide { [5000, 4999] } else { [1, 1] },
        };
        let condition = self.push(Op::Compare(compare), &[self.at, other]);
        self.at = self.push(Op::Select(Select), &[condition, self.at, third]);
    }

    fn gather(&mut self) {
        let other = self.alike();
        let fact = self.b.fact(self.at).unwrap();
        let (shape, output) = (fact.shape.clone(), fact.quantization.unwrap());
        let len: usize = shape.iter().product();
        let constants = vec![7, -128];
        let sources = 2 * len + constants.len();
        let index = (0..len).map(|_| self.rng.gen_range(0..sources) as u32);
        let gather = Gather {
            shape,
            index: index.collect(),
            constants,
            output,
        };
        self.at = self.push(Op::Gather(gather), &[self.at, other]);
    }

    /// x·xᵀ of the present tensor as rows of its last axis.
    fn contract(&mut self) {
        let shape = self.shape();
        let inner = *shape.last().unwrap();
        let rows = shape.iter().product::<usize>() / inner;
        let zero_points = [self.zero_point(); 2];
        let contract = Contract {
            sizes: [1, rows, inner, rows],
            shape: vec![1, rows, rows],
            zero_points,
            scale: 0.25,
        };
        let product = self.push(Op::Contract(contract), &[self.at, self.at]);
        self.requantize(product, 1, 1);
    }

    fn normalize(&mut self) {
        let shape = self.shape();
        let n = *shape.last().unwrap();
        let normalize = Normalize {
            shape,
            n,
            zero_point: self.zero_point(),
            epsilon: self.rng.gen_range(1..100),
        };
        let rows = self.push(Op::Normalize(normalize), &[self.at]);
        self.requantize(rows, 1, 1);
    }

    fn softmax(&mut self) {
        let shape = self.shape();
        let n = *shape.last().unwrap();
        let mut powers: Vec<u32> = vec![1 << 16];
        while *powers.last().unwrap() > 0 {
            powers.push(powers.last().unwrap() / 3);
        }
        let one = self.rng.gen_range(1..5000);
        let softmax = Softmax {
            shape,
            n,
            powers,
            one,
        };
        let shares = self.push(Op::Softmax(softmax), &[self.at]);
        self.requantize(shares, 1, 1);
    }

    fn place(&mut self) {
        let mut shape = self.shape();
        let n = shape.pop().unwrap();
        shape.push(1);
        let place = ArgExtremum {
            shape,
            n,
            largest: self.rng.gen_bool(0.5),
            last: self.rng.gen_bool(0.5),
        };
        self.at = self.push(Op::ArgExtremum(place), &[self.at]);
    }

    fn finer(&mut self) {
        let shape = self.shape();
        let n = *shape.last().unwrap();
        let normalize = Normalize {
            shape,
            n,
            zero_point: self.zero_point(),
            epsilon: 1,
        };
        let rows = self.push(Op::Normalize(normalize), &[self.at]);
        let rescale = Rescale {
            zero_point: 0,
            inner: 1,
            multipliers: vec![self.rng.gen_range(1..5000)],
            shift: 12,
            scale: 0.5,
        };
        let rescaled = self.push(Op::Rescale(rescale), &[rows]);
        let clip = Clip {
            lo: -self.rng.gen_range(0..2000),
            hi: self.rng.gen_range(0..2000),
        };
        let clipped = self.push(Op::Clip(clip), &[rescaled]);
        self.requantize(clipped, 1, 1);
    }

    fn best(&mut self) {
        let shape = self.shape();
        let n = *shape.last().unwrap();
        let (largest, k) = (self.rng.gen_bool(0.5), self.rng.gen_range(1..=n));
        let mut kept = shape;
        *kept.last_mut().unwrap() = k;
        let top = TopK {
            shape: kept,
            n,
            k,
            largest,
            indices: self.rng.gen_bool(0.3),
        };
        self.at = self.push(Op::TopK(top), &[self.at]);
    }

    /// Adds an earlier int8 tensor of the same shape: a fan-out.
    fn shortcut(&mut self) {
        let shape = self.shape();
        let fits = |t: &usize| {
            let fact = self.b.fact(*t).unwrap();
            fact.shape == shape && fact.is_int8() && fact.quantization.is_some()
        };
        let earlier: Vec<usize> = (0..self.at).filter(fits).collect();
        if !earlier.is_empty() {
            let at = self.rng.gen_range(0..earlier.len());
            self.add(earlier[at]);
        }
    }

    fn add(&mut self, other: usize) {
        let zero_point = |t| self.b.fact(t).unwrap().quantization.unwrap().zero_point;
        let zero_points = [zero_point(self.at), zero_point(other)];
        let factors = [self.rng.gen_range(1..9000), self.rng.gen_range(-9000..9000)];
        let add = Add {
            zero_points,
            factors,
            output: None,
        };
        let acc = self.push(Op::Add(add), &[self.at, other]);
        self.requantize(acc, 1, 1);
    }

    fn transpose(&mut self) {
        let view = self.shape();
        let axes = (0..view.len()).rev().collect();
        let shape = view.iter().rev().copied().collect();
        self.at = self.push(Op::Layout(Layout { view, axes, shape }), &[self.at]);
    }
}

/// A model of one to four layers, and the generator as it was left.
pub fn random_model<R: RngCore + 'static>(mut rng: R) -> (Model, R) {
    let visibility = |rng: &mut R| match rng.gen_range(0..5) {
        0 | 1 => Visibility::Public,
        2 | 3 => Visibility::Private,
        _ => Visibility::Hashed,
    };
    let visibilities = Visibilities {
        input: visibility(&mut rng),
        output: visibility(&mut rng),
        ..Visibilities::default()
    };
    let shape = vec![
        1,
        rng.gen_range(1..=2),
        rng.gen_range(2..=3),
        rng.gen_range(2..=3),
    ];
    let mut growing = Growing {
        b: ModelBuilder::new(visibilities),
        at: 0,
        rng,
        count: 0,
    };
    let quantization = growing.quantization();
    growing.at = growing
        .b
        .input("x", shape, Dtype::Int8, quantization)
        .unwrap();
    for _ in 0..growing.rng.gen_range(1..=4) {
        growing.grow();
    }
    growing.b.output("y", growing.at).unwrap();
    (growing.b.finish().unwrap(), growing.rng)
}

/// An input of the model.
pub fn random_input<R: RngCore>(model: &Model, rng: &mut R) -> Tensor {
    let shape = model.inputs()[0].shape.clone();
    let len = shape.iter().product();
    let data = (0..len).map(|_| rng.gen_range(-128..=127)).collect();
    Tensor::new(shape, data).unwrap()
}
