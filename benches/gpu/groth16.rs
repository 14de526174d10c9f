//! What a device does for a Groth16 proof: the same calls, in the same order, as the engine makes them, on a key of arbitrary points and with
//! scalars that are all of full size.

use std::mem;

use ark_bn254::{Fr, G1Projective, G2Projective};
use ark_ff::Field;
use zkinfer_gpu::{Bases, Cpu, Device, Domain, FrVec, G1, G2, ScalarClass};

use crate::inputs::{Progression, full};
use crate::kernels::{Group, repeats};
use crate::machine::Machine;
use crate::options::Options;
use crate::report::{Report, Subject, Times};

/// Wires that are not private: those of the statement.
const N_INSTANCE: usize = 2;
/// Sizes up to which a proof is compared with the CPU's, not only with what the logarithms say.
const MAX_COMPARED_LOG: u32 = 18;

/// The sections of a key for as many wires as rows.
struct Key {
    a: Bases<G1>,
    b1: Bases<G1>,
    b2: Bases<G2>,
    d2: Bases<G1>,
    h: Bases<G1>,
}

/// Rows of A, B, C and the wires: what the host computes before.
#[derive(Clone)]
struct Witness {
    rows: [Vec<Fr>; 3],
    wires: Vec<Fr>,
}

/// The sums of a proof.
#[derive(PartialEq)]
struct Sums {
    h: G1Projective,
    a: G1Projective,
    d2: G1Projective,
    b1: G1Projective,
    b2: G2Projective,
}

impl Key {
    fn new(n: usize) -> Self {
        let g1 = Progression::new().points::<G1>(n);
        let d2 = g1[N_INSTANCE.min(n)..].to_vec();
        Self {
            a: Bases::from_points(g1.clone()),
            b1: Bases::from_points(g1.clone()),
            d2: Bases::from_points(d2),
            h: Bases::from_points(g1),
            b2: Bases::from_points(Progression::new().points::<G2>(n)),
        }
    }

    /// Tabulates sections, those that gain most first; the bytes of the tables, and whether all have one.
    fn tabulate(&self, device: &dyn Device) -> (u64, bool) {
        let bytes = [
            G1::tabulate(device, &self.h),
            G2::tabulate(device, &self.b2),
            G1::tabulate(device, &self.a),
            G1::tabulate(device, &self.d2),
            G1::tabulate(device, &self.b1),
        ];
        (bytes.iter().sum(), bytes.iter().all(|bytes| *bytes > 0))
    }
}

impl Witness {
    fn new(n: usize) -> Self {
        Self {
            rows: [11, 12, 13].map(|seed| full(seed, n)),
            wires: full(14, n),
        }
    }
}

/// The quotient's values on the coset.
fn quotient(device: &dyn Device, domain: &Domain, rows: [Vec<Fr>; 3]) -> FrVec {
    let [mut a, b, c] = rows.map(|rows| {
        let mut vector = device.upload(rows).expect("the device's memory");
        let done = device.to_coset(&mut vector, domain);
        done.expect("a vector of the domain's length");
        vector
    });
    let scale = domain.vanishing_on_coset().inverse();
    let scale = scale.expect("Z has no root on the coset");
    let done = device.mul_sub_scale(&mut a, &b, &c, scale);
    done.expect("vectors of one length");
    a
}

fn prove(device: &dyn Device, key: &Key, domain: &Domain, mut witness: Witness) -> Sums {
    let full = ScalarClass::Full;
    let quotient = quotient(device, domain, witness.rows);
    let h = G1::msm(device, &key.h, quotient.as_slice(), full);
    drop(quotient);
    let n_wires = witness.wires.len();
    let lent = device.lend(mem::take(&mut witness.wires), 0..n_wires);
    let lent = lent.expect("the device's memory");
    let wires = lent.part();
    let private = wires.slice(n_wires - key.d2.len()..n_wires);
    let sums = Sums {
        h,
        a: G1::msm(device, &key.a, wires, full),
        d2: G1::msm(device, &key.d2, private.expect("a part of the wires"), full),
        b1: G1::msm(device, &key.b1, wires, full),
        b2: G2::msm(device, &key.b2, wires, full),
    };
    witness.wires = device.take_back(lent).expect("a device that works");
    sums
}

/// The sums by the logarithms of the points, for the quotient that the CPU computes.
fn expected(domain: &Domain, witness: &Witness) -> Sums {
    let quotient = quotient(&Cpu, domain, witness.rows.clone());
    let quotient = Cpu.download(quotient).expect("the host's memory");
    let points = Progression::new();
    let (wires, start) = (&witness.wires, N_INSTANCE.min(domain.n()));
    let of_all = points.sum::<G1>(0, wires);
    Sums {
        h: points.sum::<G1>(0, &quotient),
        a: of_all,
        d2: points.sum::<G1>(start, &wires[start..]),
        b1: of_all,
        b2: points.sum::<G2>(0, wires),
    }
}

/// Proofs of every size, without tables and with them.
pub(crate) fn proofs(machine: &Machine, options: &Options, report: &mut Report) {
    let device = machine.device();
    for log_n in options.log_sizes(18, 22) {
        let n = 1 << log_n;
        let domain = Domain::new(n).expect("a small domain");
        let (key, witness) = (Key::new(n), Witness::new(n));
        let expected = expected(&domain, &witness);
        for tabulated in [false, true] {
            let (table_bytes, all) = if tabulated {
                key.tabulate(device)
            } else {
                (0, true)
            };
            if !all {
                println!("| Groth16 | 2^{log_n} | no room for all tables |");
                continue;
            }
            let run = |device: &dyn Device| prove(device, &key, &domain, witness.clone());
            let got = run(device);
            assert!(
                got == expected,
                "Groth16 of 2^{log_n}: not the sums of the logarithms"
            );
            if log_n <= MAX_COMPARED_LOG && !tabulated {
                assert!(got == run(&Cpu), "Groth16 of 2^{log_n}: not the CPU's sums");
            }
            let times = Times::of(
                repeats(log_n),
                || witness.clone(),
                |witness| {
                    std::hint::black_box(prove(device, &key, &domain, witness));
                },
            );
            let limit = machine.at_clock(|limits| limits.groth16(log_n, tabulated));
            let subject = Subject {
                what: "Groth16, the device's part",
                log_n,
                scalars: "full".to_owned(),
                table_bytes,
            };
            report.times(&subject, times, limit);
        }
    }
}
