//! # zkinfer-gpu: field and group arithmetic in bulk
//!
//! A prover is written once over the trait [`Device`]: vectors of BN254 scalars that the device owns
//! ([`FrVec`]), bases mapped from a key file ([`Bases`]), number-theoretic transforms over a [`Domain`], multi-scalar
//! multiplications and fixed-base batches. No protocol step lives here. Element types are ark-bn254's.
//!
//! * [`device`]: the trait, its handles and its errors.
//! * [`curve`], [`field`]: raw limbs of points, sizes of scalars.
//! * [`bases`]: a section of a key file as the bases of a multi-scalar multiplication.
//! * [`domain`]: the evaluation domain and its coset.
//! * [`lines`]: straight-line programs over the rows of vectors.
//! * [`cpu`]: the CPU device, correct everywhere.
//! * [`testing`]: the suite that every device must pass.

#![deny(unsafe_code)]

pub mod bases;
mod copies;
pub mod cpu;
pub mod cuda;
pub mod curve;
pub mod device;
pub mod domain;
pub mod dual;
pub mod field;
pub mod kernels;
pub mod lines;
pub mod testing;

pub use bases::{Bases, BasesError};
pub use cpu::{Cpu, PortableCpu};
pub use curve::{Curve, G1, G2};
pub use device::{
    Device, DeviceError, DeviceInfo, Direction, FixedBase, FrSlice, FrVec, Lent, NO_GROUP, Points,
};
pub use domain::Domain;
pub use field::ScalarClass;
pub use lines::{Lines, LinesError, Op, Step};
