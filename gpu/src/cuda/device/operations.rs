//! # Operations on vectors: on the GPU where they lie there, else by the CPU

use std::sync::Arc;

use ark_bn254::Fr;

use super::Cuda;
use crate::Cpu;
use crate::cpu::portable::{check_lines, check_lookup, check_mix, check_range, check_terms};
use crate::cuda::driver::DriverError;
use crate::cuda::memory::{Buffer, FR_BYTES, scalar_bytes};
use crate::cuda::{lines, vectors};
use crate::device::{Device, DeviceError, FrSlice, FrVec, Place};
use crate::lines::Lines;

impl Cuda {
    /// As [`Cuda::work`], for what gives a value and has no other operands.
    pub(super) fn work_alone<T>(
        &self,
        vector: &mut FrVec,
        gpu: impl FnOnce(&Buffer) -> Result<T, DriverError>,
        host: impl FnOnce(&mut FrVec) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        if let Place::Gpu(buffer) = vector.place() {
            let _turn = self.turn();
            if let Some(result) = self.tried(|| gpu(buffer))? {
                return Ok(result);
            }
        }
        self.fetch(vector)?;
        host(vector)
    }

    /// A new vector on the GPU, or one that `host` makes.
    pub(super) fn made(
        &self,
        gpu: impl FnOnce() -> Result<Buffer, DriverError>,
        host: impl FnOnce() -> Result<FrVec, DeviceError>,
    ) -> Result<FrVec, DeviceError> {
        if !self.has_failed() {
            let _turn = self.turn();
            if let Some(buffer) = self.tried(gpu)? {
                return Ok(FrVec::from_gpu(buffer));
            }
        }
        host()
    }

    pub(super) fn read_part(&self, part: FrSlice<'_>) -> Result<Vec<Fr>, DeviceError> {
        let (vector, first) = part.within();
        let Place::Gpu(buffer) = vector.place() else {
            return Cpu.read_range(part);
        };
        let values = buffer.scalars_from(first, part.len());
        Ok(values.map_err(|error| self.noted(error))?)
    }

    pub(super) fn write_part(
        &self,
        vector: &mut FrVec,
        first: usize,
        values: &[Fr],
    ) -> Result<(), DeviceError> {
        check_range(vector, first, values.len())?;
        let Place::Gpu(buffer) = vector.place() else {
            return Cpu.write_range(vector, first, values);
        };
        let written = buffer.write(first * FR_BYTES, scalar_bytes(values));
        Ok(written.map_err(|error| self.noted(error))?)
    }

    pub(super) fn run_program(
        &self,
        sum: &mut FrVec,
        lines: &Lines,
        columns: &[&FrVec],
        uniform: &[Fr],
        fold: Fr,
    ) -> Result<(), DeviceError> {
        check_lines(sum, lines, columns, uniform)?;
        self.work(
            sum,
            columns,
            |sum, columns| {
                let compiled = lines.copies.get::<lines::Compiled>(self.number);
                let operands = lines::Operands {
                    sum,
                    columns,
                    uniform,
                    fold,
                };
                lines::run(&self.driver, lines, compiled.as_deref(), &operands)
            },
            |sum, columns| Cpu.run_lines(sum, lines, columns, uniform, fold),
        )
    }

    /// A program that no kernel can be made of is run step by step.
    pub(super) fn compile_program(&self, lines: &Lines) -> Result<bool, DeviceError> {
        if self.has_failed() {
            return Ok(false);
        }
        if lines.copies.get::<lines::Compiled>(self.number).is_some() {
            return Ok(true);
        }
        // Compiling takes seconds, and needs no GPU: it is nobody's turn.
        match lines::compile(&self.driver, lines) {
            Ok(Some(compiled)) => {
                lines.copies.keep(self.number, Arc::new(compiled));
                Ok(true)
            }
            Ok(None) => Ok(false),
            // A compiler that is not there, or is too new for the driver, is no failure of the GPU.
            Err(_) => {
                let works = self.driver.synchronize();
                works.map(|()| false).map_err(|e| self.noted(e).into())
            }
        }
    }

    pub(super) fn add_terms(
        &self,
        sum: &mut FrVec,
        terms: &[(Fr, &FrVec)],
    ) -> Result<(), DeviceError> {
        check_terms(sum, terms)?;
        let (factors, others): (Vec<Fr>, Vec<&FrVec>) = terms.iter().copied().unzip();
        self.work(
            sum,
            &others,
            |sum, terms| vectors::combine(&self.driver, sum, &factors, terms),
            |sum, terms| {
                let terms = factors.iter().copied().zip(terms.iter().copied());
                let terms: Vec<(Fr, &FrVec)> = terms.collect();
                Cpu.combine(sum, &terms)
            },
        )
    }

    pub(super) fn mix_all(
        &self,
        vectors: &mut [FrVec],
        matrix: &[Vec<Fr>],
    ) -> Result<(), DeviceError> {
        check_mix(vectors, matrix)?;
        let buffers = vectors.iter().map(FrVec::buffer);
        if let Some(buffers) = buffers.collect::<Option<Vec<_>>>()
            && vectors::mixes(buffers.len())
        {
            let _turn = self.turn();
            let mixed = || vectors::mix(&self.driver, &buffers, matrix);
            if self.tried(mixed)?.is_some() {
                return Ok(());
            }
        }
        vectors
            .iter_mut()
            .try_for_each(|vector| self.fetch(vector))?;
        Cpu.mix(vectors, matrix)
    }

    pub(super) fn value_at(&self, vector: &FrVec, x: Fr) -> Result<Fr, DeviceError> {
        if let Place::Gpu(buffer) = vector.place() {
            let _turn = self.turn();
            let value = || vectors::evaluate(&self.driver, buffer, x);
            if let Some(value) = self.tried(value)? {
                return Ok(value);
            }
        }
        self.on_host(vector, |vector| Cpu.evaluate(vector, x))
    }

    pub(super) fn look_up(
        &self,
        table: &FrVec,
        factors: &[Fr],
        indices: &[u32],
    ) -> Result<FrVec, DeviceError> {
        check_lookup(table, factors, indices)?;
        let host = || self.on_host(table, |table| Cpu.lookup(table, factors, indices));
        match table.buffer() {
            Some(buffer) => {
                let found = || vectors::lookup(&self.driver, buffer, factors, indices);
                self.made(found, host)
            }
            None => host(),
        }
    }
}
