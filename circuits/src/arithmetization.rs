//! From program to circuit: each proof system's reading of the same instructions.

pub mod r1cs;
