//! The models: ONNX files of layers with drawn weights, as large as wished.

use crate::child::Report;

/// Layers of every model.
const LAYERS: usize = 4;
/// Channels where the image grows.
const CHANNELS: usize = 8;
/// Height and width where the channels grow.
const SIDE: usize = 14;

/// How a model grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The image grows: activations dominate.
    Convolutions,
    /// The layers widen: weights dominate.
    Dense,
    /// The channels grow: both do, and multiply-accumulates faster than either.
    Channels,
}

/// What time must not grow faster than.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Weights and activations together.
    Stored,
    /// Multiply-accumulates.
    Mac,
}

impl Unit {
    /// How many a model has.
    pub fn of(self, report: &Report) -> f64 {
        match self {
            Self::Stored => report["weights"] + report["activations"],
            Self::Mac => report["macs"],
        }
    }

    /// Its name in the singular.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stored => "weight and activation",
            Self::Mac => "multiply-accumulate",
        }
    }
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 3] = [Self::Convolutions, Self::Dense, Self::Channels];

    /// Its name in tables and arguments.
    pub fn name(self) -> &'static str {
        match self {
            Self::Convolutions => "convolutions",
            Self::Dense => "dense",
            Self::Channels => "channels",
        }
    }

    /// What it consists of.
    pub fn what(self) -> &'static str {
        match self {
            Self::Convolutions => {
                "Four 3×3 convolutions of 8 channels, each with ReLU, over an image that grows."
            }
            Self::Dense => "Four square dense layers, each with ReLU, that widen.",
            Self::Channels => {
                "Four 3×3 convolutions over 14×14 pixels, each with ReLU, whose channels grow. Multiply-accumulates per weight and \
                 activation grow too, and the solver computes each: its time is held to them."
            }
        }
    }

    /// What its time must not grow faster than.
    pub fn unit(self) -> Unit {
        match self {
            Self::Convolutions | Self::Dense => Unit::Stored,
            Self::Channels => Unit::Mac,
        }
    }

    /// Channels and side of the image, or inputs and 1.
    fn size(self, macs: u64) -> (usize, usize) {
        let root = |per: usize| ((macs as f64 / per as f64).sqrt().round() as usize).max(1);
        match self {
            Self::Convolutions => (CHANNELS, root(LAYERS * CHANNELS * CHANNELS * 9)),
            Self::Dense => (root(LAYERS), 1),
            Self::Channels => (root(LAYERS * SIDE * SIDE * 9), SIDE),
        }
    }

    fn input_shape(self, macs: u64) -> Vec<usize> {
        let (channels, side) = self.size(macs);
        match self {
            Self::Dense => vec![1, channels],
            _ => vec![1, channels, side, side],
        }
    }

    /// An input, for calibration and for solving.
    pub fn sample(self, macs: u64) -> Vec<f32> {
        drawn(0, self.input_shape(macs).iter().product(), 1.0).collect()
    }

    /// The model of about so many multiply-accumulates as an ONNX file.
    pub fn onnx(self, macs: u64) -> Vec<u8> {
        let (shape, channels) = (self.input_shape(macs), self.size(macs).0);
        let (operator, kernel) = match self {
            Self::Dense => ("MatMul", vec![channels, channels]),
            _ => ("Conv", vec![channels, channels, 3, 3]),
        };
        let window: usize = kernel[1..].iter().product();
        let mut graph = vec![];
        for layer in 0..LAYERS {
            let [x, w, sum] = ["x", "w", "sum"].map(|name| format!("{name}{layer}"));
            let y = format!("x{}", layer + 1);
            let mut node = [text(1, &x), text(1, &w), text(2, &sum), text(3, &sum)].concat();
            node.extend(text(4, operator));
            if operator == "Conv" {
                node.extend(field(5, &pads_of_one()));
            }
            graph.extend(field(1, &node));
            let node = [text(1, &sum), text(2, &y), text(3, &y), text(4, "Relu")].concat();
            graph.extend(field(1, &node));
            // a sum of as many products as the window has stays as large as its terms
            let scale = 2.0 / (window as f32).sqrt();
            graph.extend(field(5, &weights(&w, &kernel, 1 + layer as u64, scale)));
        }
        graph.extend(text(2, self.name()));
        graph.extend(field(11, &value_info("x0", &shape)));
        graph.extend(field(12, &value_info(&format!("x{LAYERS}"), &shape)));
        let operator_set = [text(1, ""), number(2, 17)].concat();
        [number(1, 8), field(7, &graph), field(8, &operator_set)].concat()
    }
}

/// `n` numbers within ±`scale`, the same in every run.
fn drawn(stream: u64, n: usize, scale: f32) -> impl Iterator<Item = f32> {
    (0..n as u64).map(move |i| {
        // SplitMix64
        let mut z = (stream << 40 | i)
            .wrapping_add(1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        unit * scale
    })
}

/// A TensorProto of float32.
fn weights(name: &str, shape: &[usize], stream: u64, scale: f32) -> Vec<u8> {
    let values = drawn(stream, shape.iter().product(), scale);
    let raw: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
    let dims = shape.iter().flat_map(|&d| number(1, d as u64));
    let mut tensor: Vec<u8> = dims.collect();
    tensor.extend(number(2, 1));
    tensor.extend(text(8, name));
    tensor.extend(field(9, &raw));
    tensor
}

/// The AttributeProto `pads` of a 3×3 window that keeps the size.
fn pads_of_one() -> Vec<u8> {
    let ints = (0..4).flat_map(|_| number(8, 1));
    let mut attribute = text(1, "pads");
    attribute.extend(ints);
    attribute.extend(number(20, 7));
    attribute
}

/// A ValueInfoProto of float32.
fn value_info(name: &str, shape: &[usize]) -> Vec<u8> {
    let dims = shape.iter().flat_map(|&d| field(1, &number(1, d as u64)));
    let tensor = [number(1, 1), field(2, &dims.collect::<Vec<u8>>())].concat();
    [text(1, name), field(2, &field(1, &tensor))].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = vec![];
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A protobuf field of type varint.
fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// A protobuf field of bytes.
fn field(field: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = varint(field << 3 | 2);
    bytes.extend(varint(body.len() as u64));
    bytes.extend(body);
    bytes
}

fn text(number: u64, value: &str) -> Vec<u8> {
    field(number, value.as_bytes())
}
