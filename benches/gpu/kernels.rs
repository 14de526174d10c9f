//! Multiplications and transforms: checked, then timed.

use zkinfer_gpu::curve::ProjectiveOf;
use zkinfer_gpu::{
    Bases, Cpu, Curve, Device, Direction, Domain, FrSlice, FrVec, G1, G2, Points, ScalarClass,
};

use crate::inputs::{Class, Progression, full};
use crate::limits::Additions;
use crate::machine::{Machine, synchronize, token};
use crate::options::Options;
use crate::report::{Report, Subject, Times};

/// Sizes up to which multiplications are compared with the CPU's, not only with what the logarithms say.
const MAX_COMPARED_LOG: u32 = 18;

/// A group, and the device's operations in it.
pub(crate) trait Group: Curve {
    /// What a line of the table is called.
    const WHAT: &'static str;
    const ADDITIONS: Additions;

    fn msm(
        device: &dyn Device,
        bases: &Bases<Self>,
        scalars: FrSlice<'_>,
        class: ScalarClass,
    ) -> ProjectiveOf<Self>;

    /// Bytes of the best table for full-size scalars; 0 where the device makes none.
    fn tabulate(device: &dyn Device, bases: &Bases<Self>) -> u64;
}

impl Group for G1 {
    const WHAT: &'static str = "MSM G1";
    const ADDITIONS: Additions = Additions::G1;

    fn msm(
        device: &dyn Device,
        bases: &Bases<Self>,
        scalars: FrSlice<'_>,
        class: ScalarClass,
    ) -> ProjectiveOf<Self> {
        let sum = device.msm_g1(bases, scalars, class);
        sum.expect("sound bases, scalars of their class")
    }

    fn tabulate(device: &dyn Device, bases: &Bases<Self>) -> u64 {
        let bytes = device.tabulate_g1(bases, bases.len(), u64::MAX);
        bytes.expect("sound bases")
    }
}

impl Group for G2 {
    const WHAT: &'static str = "MSM G2";
    const ADDITIONS: Additions = Additions::G2;

    fn msm(
        device: &dyn Device,
        bases: &Bases<Self>,
        scalars: FrSlice<'_>,
        class: ScalarClass,
    ) -> ProjectiveOf<Self> {
        let sum = device.msm_g2(bases, scalars, class);
        sum.expect("sound bases, scalars of their class")
    }

    fn tabulate(device: &dyn Device, bases: &Bases<Self>) -> u64 {
        let bytes = device.tabulate_g2(bases, bases.len(), u64::MAX);
        bytes.expect("sound bases")
    }
}

/// Multiplications of every size and class, without a table and with one.
pub(crate) fn multiplications<C: Group>(
    machine: &Machine,
    options: &Options,
    report: &mut Report,
    last: u32,
) {
    let device = machine.device();
    for log_n in options.log_sizes(16, last) {
        let n = 1 << log_n;
        let bases = Bases::<C>::from_points(Progression::new().points::<C>(n));
        for tabulated in [false, true] {
            let table_bytes = if tabulated {
                C::tabulate(device, &bases)
            } else {
                0
            };
            if tabulated && table_bytes == 0 {
                println!("| {} | 2^{log_n} | no room for a table |", C::WHAT);
                continue;
            }
            for class in Class::TIMED {
                let subject = Subject {
                    what: C::WHAT,
                    log_n,
                    scalars: class.name(),
                    table_bytes,
                };
                multiplication(machine, &bases, class, &subject, report);
            }
        }
    }
}

fn multiplication<C: Group>(
    machine: &Machine,
    bases: &Bases<C>,
    class: Class,
    subject: &Subject,
    report: &mut Report,
) {
    let device = machine.device();
    let scalars = class.scalars(bases.len());
    // What the CPU says of tables is what it said without them.
    let compared = subject.log_n <= MAX_COMPARED_LOG && subject.table_bytes == 0;
    let vector = device.upload(scalars.clone()).expect("the device's memory");
    let msm = || C::msm(device, bases, vector.as_slice(), class.promise());
    check_sum(bases, scalars, class, compared, msm());
    let times = Times::of(
        repeats(subject.log_n),
        || (),
        |()| {
            let _ = std::hint::black_box(msm());
        },
    );
    let limit = machine.at_clock(|limits| {
        let terms = class.terms(bases.len());
        limits.msm(C::ADDITIONS, &terms, subject.table_bytes > 0)
    });
    report.times(subject, times, limit);
}

/// # Panics
/// When a sum is not that of the logarithms, or of the CPU.
pub(crate) fn check_sum<C: Group>(
    bases: &Bases<C>,
    scalars: Vec<ark_bn254::Fr>,
    class: Class,
    compared: bool,
    got: ProjectiveOf<C>,
) {
    let (n, what, name) = (bases.len(), C::WHAT, class.name());
    let expected = Progression::new().sum::<C>(0, &scalars);
    assert!(
        got == expected,
        "{what} of {n}, {name}: not the sum of the logarithms"
    );
    if compared {
        let vector = Cpu.upload(scalars).expect("the host's memory");
        let cpu = C::msm(&Cpu, bases, vector.as_slice(), class.promise());
        assert!(got == cpu, "{what} of {n}, {name}: not the CPU's sum");
    }
}

/// Transforms of every size.
pub(crate) fn transforms(machine: &Machine, options: &Options, report: &mut Report) {
    for log_n in options.log_sizes(16, 24) {
        let domain = Domain::new(1 << log_n).expect("a small domain");
        for transform in [Transform::Forward, Transform::ToCoset] {
            check_transform(machine.device(), transform, &domain);
            let times = timed_transform(machine.device(), transform, &domain);
            let limit = machine.at_clock(|limits| match transform {
                Transform::ToCoset => 2.0 * limits.ntt(log_n),
                _ => limits.ntt(log_n),
            });
            let subject = Subject {
                what: transform.name(),
                log_n,
                scalars: String::new(),
                table_bytes: 0,
            };
            report.times(&subject, times, limit);
        }
    }
}

/// A transform of a vector.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Transform {
    Forward,
    Inverse,
    ForwardOnCoset,
    InverseOnCoset,
    ToCoset,
}

impl Transform {
    pub(crate) const ALL: [Self; 5] = [
        Self::Forward,
        Self::Inverse,
        Self::ForwardOnCoset,
        Self::InverseOnCoset,
        Self::ToCoset,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Forward => "NTT",
            Self::Inverse => "inverse NTT",
            Self::ForwardOnCoset => "NTT on the coset",
            Self::InverseOnCoset => "inverse NTT on the coset",
            Self::ToCoset => "values on H to values on g·H",
        }
    }

    fn run(self, device: &dyn Device, vector: &mut FrVec, domain: &Domain) {
        let (forward, inverse) = (Direction::Forward, Direction::Inverse);
        let done = match self {
            Self::Forward => device.ntt(vector, domain, forward, Points::Subgroup),
            Self::Inverse => device.ntt(vector, domain, inverse, Points::Subgroup),
            Self::ForwardOnCoset => device.ntt(vector, domain, forward, Points::Coset),
            Self::InverseOnCoset => device.ntt(vector, domain, inverse, Points::Coset),
            Self::ToCoset => device.to_coset(vector, domain),
        };
        done.expect("a vector of the domain's length");
    }
}

/// # Panics
/// When the CPU's elements are others.
pub(crate) fn check_transform(device: &dyn Device, transform: Transform, domain: &Domain) {
    let values = full(2, domain.n());
    let of = |device: &dyn Device| {
        let mut vector = device.upload(values.clone()).expect("the device's memory");
        transform.run(device, &mut vector, domain);
        device.download(vector).expect("a device that works")
    };
    let (name, log_n) = (transform.name(), domain.log_n());
    assert!(
        of(device) == of(&Cpu),
        "{name} of 2^{log_n}: not the CPU's elements"
    );
}

/// Several in a row, so that what is waited for is small beside them; the time of one.
fn timed_transform(device: &dyn Device, transform: Transform, domain: &Domain) -> Times {
    let in_a_row = ((1 << 24) / domain.n()).clamp(4, 128);
    let vector = device.upload(full(2, domain.n()));
    let mut vector = vector.expect("the device's memory");
    let times = Times::of(
        repeats(domain.log_n()),
        || token(device),
        |token| {
            for _ in 0..in_a_row {
                transform.run(device, &mut vector, domain);
            }
            synchronize(device, token);
        },
    );
    times.each(in_a_row)
}

/// Runs of which the median is taken.
pub(crate) fn repeats(log_n: u32) -> usize {
    if log_n <= 20 { 9 } else { 5 }
}
