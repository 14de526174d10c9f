//! # What a circuit fixes: the cells of its fixed columns, and which cells are copies
//!
//! Collected from a circuit of the library's kind without a witness. Which cell follows which in the permutation is decided as the library
//! decides it (halo2 book, "Permutation argument"): in the order of the copies, two different cycles are joined by exchanging the
//! successors of their cells. Our σ's are therefore the library's.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ark_bn254::Fr;
use ark_ff::AdditiveGroup;
use halo2_proofs::circuit::Value;
use halo2_proofs::plonk::{
    Advice, Any, Assigned, Assignment, Challenge, Circuit, Column, ConstraintSystem, Error, Fixed,
    FloorPlanner, Instance, Selector,
};

use super::key::KeygenError;
use super::library::{LibraryFr, from_library};

/// The fixed part of a circuit.
#[derive(Debug)]
pub(super) struct Assembly {
    /// The configuration, as the library's verifying key has it.
    pub(super) cs: ConstraintSystem<LibraryFr>,
    /// The fixed columns, in the order of rows.
    pub(super) fixed: Vec<Vec<Fr>>,
    /// The cell that follows (j, i) has the number next[j·n + i].
    pub(super) next: Vec<u32>,
}

impl Assembly {
    /// Collects the fixed part of `circuit` on 2^k rows.
    pub(super) fn of<C: Circuit<LibraryFr>>(circuit: &C, k: u32) -> Result<Self, KeygenError> {
        let mut cs = ConstraintSystem::default();
        let config = C::configure_with_params(&mut cs, circuit.params());
        let n = 1usize << k;
        if n < cs.minimum_rows() {
            return Err(rows_missing(k).into());
        }
        let permuted = cs.permutation().get_columns();
        let n_cells = u32::try_from(permuted.len() << k).map_err(|_| KeygenError::TooLarge {
            what: "permuted cells",
            got: permuted.len() << k,
        })?;
        if cs.num_selectors() != 0 {
            return Err(KeygenError::TooLarge {
                what: "virtual selectors",
                got: cs.num_selectors(),
            });
        }
        let mut collector = Collector {
            k,
            usable: n - (cs.blinding_factors() + 1),
            fixed: vec![vec![Fr::ZERO; n]; cs.num_fixed_columns()],
            permuted,
            next: (0..n_cells).collect(),
            cycle: (0..n_cells).collect(),
            refused: None,
        };
        let constants = cs.constants().clone();
        // A circuit may answer what it cannot do with a panic.
        catch_unwind(AssertUnwindSafe(|| {
            C::FloorPlanner::synthesize(&mut collector, circuit, config, constants)
        }))
        .map_err(|_| KeygenError::Panicked)??;
        if let Some(error) = collector.refused {
            return Err(error.into());
        }
        let (cs, _) = cs.directly_convert_selectors_to_fixed(Vec::new());
        Ok(Self {
            cs,
            fixed: collector.fixed,
            next: collector.next,
        })
    }
}

fn rows_missing(k: u32) -> Error {
    Error::NotEnoughRowsAvailable { current_k: k }
}

struct Collector {
    k: u32,
    usable: usize,
    fixed: Vec<Vec<Fr>>,
    permuted: Vec<Column<Any>>,
    next: Vec<u32>,
    /// A tree over the cells of a cycle; its root stands for the cycle.
    cycle: Vec<u32>,
    refused: Option<Error>,
}

impl Collector {
    fn refuse(&mut self, error: Error) {
        self.refused.get_or_insert(error);
    }

    fn cell(&self, column: Column<Any>, row: usize) -> Result<u32, Error> {
        let position = self.permuted.iter().position(|c| *c == column);
        let position = position.ok_or(Error::ColumnNotInPermutation(column))?;
        if row >= self.usable {
            return Err(rows_missing(self.k));
        }
        // Below the number of cells, which fits.
        Ok(((position << self.k) + row) as u32)
    }

    /// The root of a cell's cycle; halves the path on the way.
    fn root(&mut self, mut cell: u32) -> u32 {
        while self.cycle[cell as usize] != cell {
            let parent = self.cycle[cell as usize];
            self.cycle[cell as usize] = self.cycle[parent as usize];
            cell = parent;
        }
        cell
    }

    fn join(&mut self, left: u32, right: u32) {
        let (a, b) = (self.root(left), self.root(right));
        if a != b {
            self.cycle[a as usize] = b;
            self.next.swap(left as usize, right as usize);
        }
    }
}

impl Assignment<LibraryFr> for Collector {
    fn enter_region<NR, N>(&mut self, _: N)
    where
        NR: Into<String>,
        N: FnOnce() -> NR,
    {
    }

    fn annotate_column<A, AR>(&mut self, _: A, _: Column<Any>)
    where
        A: FnOnce() -> AR,
        AR: Into<String>,
    {
    }

    fn exit_region(&mut self) {}

    fn enable_selector<A, AR>(&mut self, _: A, _: &Selector, _: usize) -> Result<(), Error>
    where
        A: FnOnce() -> AR,
        AR: Into<String>,
    {
        // There are none.
        Err(Error::Synthesis)
    }

    fn query_instance(&self, _: Column<Instance>, row: usize) -> Result<Value<LibraryFr>, Error> {
        if row < self.usable {
            Ok(Value::unknown())
        } else {
            Err(rows_missing(self.k))
        }
    }

    fn assign_advice<'v>(
        &mut self,
        _: Column<Advice>,
        _: usize,
        _: Value<Assigned<LibraryFr>>,
    ) -> Value<&'v Assigned<LibraryFr>> {
        Value::unknown()
    }

    fn assign_fixed(&mut self, column: Column<Fixed>, row: usize, to: Assigned<LibraryFr>) {
        let usable = row < self.usable;
        match self.fixed.get_mut(column.index()) {
            Some(cells) if usable => cells[row] = from_library(&to.evaluate()),
            Some(_) => self.refuse(rows_missing(self.k)),
            None => self.refuse(Error::BoundsFailure),
        }
    }

    fn copy(
        &mut self,
        left_column: Column<Any>,
        left_row: usize,
        right_column: Column<Any>,
        right_row: usize,
    ) {
        let left = self.cell(left_column, left_row);
        match (left, self.cell(right_column, right_row)) {
            (Ok(left), Ok(right)) => self.join(left, right),
            (Err(error), _) | (_, Err(error)) => self.refuse(error),
        }
    }

    fn fill_from_row(
        &mut self,
        column: Column<Fixed>,
        from_row: usize,
        to: Value<Assigned<LibraryFr>>,
    ) -> Result<(), Error> {
        let usable = self.usable;
        let cells = self
            .fixed
            .get_mut(column.index())
            .and_then(|cells| cells.get_mut(from_row.min(usable)..usable))
            .ok_or(Error::BoundsFailure)?;
        to.map(|value| cells.fill(from_library(&value.evaluate())));
        Ok(())
    }

    fn get_challenge(&self, _: Challenge) -> Value<LibraryFr> {
        Value::unknown()
    }

    fn push_namespace<NR, N>(&mut self, _: N)
    where
        NR: Into<String>,
        N: FnOnce() -> NR,
    {
    }

    fn pop_namespace(&mut self, _: Option<String>) {}
}
