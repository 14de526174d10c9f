//! Small random integer models: eval = solver = both R1CS forms = Halo2 in several layouts, and a tampered witness is refused.

#![allow(clippy::unwrap_used)]

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use zkinfer_circuits::arithmetization::halo2::{Halo2Circuit, Plan, Products};
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::constraint::{Assignment, Program, solve};
use zkinfer_circuits::model::{Model, ModelBuilder, Visibilities};
use zkinfer_circuits::ops::{Add, Conv, Layout, MatMul, MaxPool, Op, Requantize, SumPool, Table};
use zkinfer_circuits::tensor::{ConvGeometry, Quantization, Tensor};
use zkinfer_circuits::testing::{Forger, Halo2Forger};
use zkinfer_verifier::Visibility;

const GRAPHS: u64 = 40;

/// A model under construction and the int8 tensor that the next layer reads.
struct Growing {
    b: ModelBuilder,
    at: usize,
    rng: StdRng,
    count: usize,
}

impl Growing {
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

    fn weights(&mut self, n: usize) -> Vec<i8> {
        (0..n).map(|_| self.rng.gen_range(-127i8..=127)).collect()
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
            .map(|_| (ideal * self.rng.gen_range(0.3..1.0)) as u32)
            .collect();
        let (lo, hi) = [
            (-128, 127),
            (output.zero_point.min(100) as i8, 127),
            (-5, 60),
        ][self.rng.gen_range(0..3)];
        let table = if self.rng.gen_bool(0.2) {
            self.weights(256)
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

    fn grow(&mut self) {
        let (at, zero_point) = (self.at, self.zero_point());
        match self.rng.gen_range(0..7) {
            0 | 1 => {
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
                    zero_point,
                    weights,
                    bias,
                };
                let acc = self.push(Op::Conv(conv), &[at]);
                self.requantize(acc, inner, channels);
            }
            2 => {
                let mut shape = self.shape();
                let k = *shape.last().unwrap();
                let n = self.rng.gen_range(1..=3);
                *shape.last_mut().unwrap() = n;
                let (weights, bias) = (self.weights(n * k), self.biases(n));
                let acc = self.push(
                    Op::MatMul(MatMul {
                        shape,
                        zero_point,
                        weights,
                        bias,
                    }),
                    &[at],
                );
                self.requantize(acc, 1, n);
            }
            3 => {
                let Some(mut geometry) = self.window(true) else {
                    return;
                };
                geometry.pads = [0; 4];
                if geometry.check().is_err() {
                    return;
                }
                let shape = Self::output_shape(&geometry);
                self.at = self.push(Op::MaxPool(MaxPool { geometry, shape }), &[at]);
            }
            4 => {
                let Some(mut geometry) = self.window(true) else {
                    return;
                };
                geometry.pads = [0; 4];
                if geometry.check().is_err() {
                    return;
                }
                let shape = Self::output_shape(&geometry);
                let pool = SumPool {
                    geometry,
                    shape,
                    zero_point,
                    factors: vec![1],
                    scale: 0.25,
                };
                let sum = self.push(Op::SumPool(pool), &[at]);
                self.requantize(sum, 1, 1);
            }
            5 => {
                let (values, output) = (self.weights(256), self.quantization());
                let other = self.push(Op::Table(Table { values, output }), &[at]);
                let zero_points = [zero_point, output.zero_point];
                let factors = [self.rng.gen_range(1..9000), self.rng.gen_range(-9000..9000)];
                let acc = self.push(
                    Op::Add(Add {
                        zero_points,
                        factors,
                    }),
                    &[at, other],
                );
                self.requantize(acc, 1, 1);
            }
            _ => {
                let view = self.shape();
                let mut axes: Vec<usize> = (0..view.len()).collect();
                axes.reverse();
                let mut shape = view.clone();
                shape.reverse();
                self.at = self.push(Op::Layout(Layout { view, axes, shape }), &[at]);
            }
        }
    }
}

fn random_model(seed: u64) -> (Model, StdRng) {
    let mut rng = StdRng::seed_from_u64(seed);
    // some are hashed by their number, so that the graphs stay what they are
    let visibility = |rng: &mut StdRng, hashed: u64| match rng.gen_bool(0.5) {
        _ if seed % 5 == hashed => Visibility::Hashed,
        true => Visibility::Public,
        false => Visibility::Private,
    };
    let visibilities = Visibilities {
        input: visibility(&mut rng, 2),
        output: visibility(&mut rng, 3),
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
    growing.at = growing.b.input("x", shape, quantization).unwrap();
    for _ in 0..growing.rng.gen_range(1..=4) {
        growing.grow();
    }
    growing.b.output("y", growing.at).unwrap();
    (growing.b.finish().unwrap(), growing.rng)
}

/// Changes `n` random wires or pairs in either form of R1CS, each of which must be refused; how many were tried.
fn refused_in_both_forms(
    program: &Arc<Program>,
    solved: &Assignment,
    rng: &mut StdRng,
    n: usize,
    seed: u64,
) -> usize {
    let mut forgeries = 0;
    for form in [Form::Plain, Form::Committed] {
        let circuit = R1cs::lower(program, form).unwrap();
        let forger = Forger::new(&circuit, solved);
        forger
            .check_honest()
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let changes: Vec<_> = forger.single_changes().collect();
        for _ in 0..changes.len().min(n) {
            let changes = &changes[rng.gen_range(0..changes.len())];
            assert!(
                !forger.accepts(changes, None),
                "seed {seed}, {form:?}: {changes:?}"
            );
            forgeries += 1;
        }
    }
    forgeries
}

#[test]
fn random_graphs_agree_in_every_form_and_refuse_tampering() {
    let mut forgeries = 0usize;
    for seed in 0..GRAPHS {
        let (model, mut rng) = random_model(seed);
        let program = Arc::new(model.synthesize().unwrap());
        assert_eq!(
            Program::decode(&program.encode()).unwrap(),
            *program,
            "seed {seed}"
        );
        let shape = model.inputs()[0].shape.clone();
        let len = shape.iter().product();
        let data = (0..len).map(|_| rng.gen_range(-128..=127)).collect();
        let x = Tensor::new(shape, data).unwrap();
        let y = model.eval(std::slice::from_ref(&x)).unwrap();
        let solved = solve(&program, &[x]).unwrap();
        assert_eq!(solved.outputs(&program), y, "seed {seed}: solver and eval");
        forgeries += refused_in_both_forms(&program, &solved, &mut rng, 60, seed);
        for products in [Products::Always, Products::Never] {
            let plan = Plan {
                limb_bits: rng.gen_range(4..=9),
                width: [1, 2, 3, 8][rng.gen_range(0..4)],
                products,
            };
            let circuit = Halo2Circuit::lower_with(&program, plan).unwrap();
            let forger = Halo2Forger::new(&circuit, &solved);
            forger
                .check_honest()
                .unwrap_or_else(|e| panic!("seed {seed}, {plan:?}: {e}"));
            let lies = forger.lies(false);
            let some: Vec<_> = (0..lies.len().min(40))
                .map(|_| lies[rng.gen_range(0..lies.len())].clone())
                .collect();
            forgeries += forger
                .check_lies(&some)
                .unwrap_or_else(|e| panic!("seed {seed}, {plan:?}: {e}"));
        }
    }
    println!("{GRAPHS} graphs, {forgeries} forgeries refused");
    assert!(forgeries > 1000);
}

/// Inferences in the batches of random graphs.
const BATCH: u32 = 3;

#[test]
fn random_graphs_in_batches_are_their_single_inferences_and_refuse_tampering() {
    // models whose pooling comes before a requantization in a batch, and some others
    let reordered = |seed: &u64| {
        let model = random_model(*seed).0;
        let single = model.synthesize().unwrap();
        single.batched(BATCH).unwrap() != model.synthesize_batch(BATCH).unwrap()
    };
    let pooled: Vec<u64> = (0..400).filter(reordered).take(8).collect();
    assert_eq!(pooled.len(), 8);
    let mut forgeries = 0usize;
    for seed in pooled.into_iter().chain(0..8) {
        let (model, mut rng) = random_model(seed);
        let program = Arc::new(model.synthesize_batch(BATCH).unwrap());
        assert_eq!(Program::decode(&program.encode()).unwrap(), *program);
        let shape = model.inputs()[0].shape.clone();
        let len: usize = shape.iter().product();
        let xs: Vec<Tensor> = (0..BATCH)
            .map(|_| {
                let data = (0..len).map(|_| rng.gen_range(-128..=127)).collect();
                Tensor::new(shape.clone(), data).unwrap()
            })
            .collect();
        let ys: Vec<Tensor> = xs
            .iter()
            .flat_map(|x| model.eval(std::slice::from_ref(x)).unwrap())
            .collect();
        let solved = solve(&program, &xs).unwrap();
        assert_eq!(solved.outputs(&program), ys, "seed {seed}: solver and eval");
        forgeries += refused_in_both_forms(&program, &solved, &mut rng, 30, seed);
        let circuit = Halo2Circuit::lower(&program).unwrap();
        let forger = Halo2Forger::new(&circuit, &solved);
        forger
            .check_honest()
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let lies = forger.lies(false);
        let some: Vec<_> = (0..lies.len().min(20))
            .map(|_| lies[rng.gen_range(0..lies.len())].clone())
            .collect();
        forgeries += forger
            .check_lies(&some)
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
    assert!(forgeries > 500, "{forgeries}");
}
