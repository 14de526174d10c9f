//! The library's `Circuit`: one region, fixed cells and copies for key generation, both phases of advice for a proof.

use super::columns::{Config, DEGREE, Shape};
use super::values::fr;
use super::witness::{Challenges, First};
use super::{Fr, Halo2Circuit};
use crate::constraint::Assignment;
use halo2_proofs::circuit::{Cell, Layouter, Region, SimpleFloorPlanner, Value};
use halo2_proofs::plonk::{Advice, Circuit, Column, ConstraintSystem, Error, Fixed};
use halo2curves::ff::Field;
use zkinfer_verifier::Statement;

/// A circuit, with the cells of the first phase when it is to be proved.
#[derive(Debug)]
pub struct Synthesis<'a> {
    circuit: &'a Halo2Circuit,
    first: Option<First>,
}

impl std::fmt::Debug for First {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("First")
            .field("rows", &self.h.len())
            .finish_non_exhaustive()
    }
}

impl Halo2Circuit {
    /// The circuit for key generation.
    pub fn synthesis(&self) -> Synthesis<'_> {
        Synthesis {
            circuit: self,
            first: None,
        }
    }

    /// The circuit with the witness of a solved program that shows `statement`.
    pub fn assign(&self, solved: &Assignment, statement: &Statement) -> Synthesis<'_> {
        let words = Self::instance(&statement.words());
        Synthesis {
            circuit: self,
            first: Some(self.first(solved, &words)),
        }
    }

    /// The circuit with given cells of the first phase.
    pub(super) fn with_first(&self, first: First) -> Synthesis<'_> {
        Synthesis {
            circuit: self,
            first: Some(first),
        }
    }
}

/// A permuted column, in the order of [`Config`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Permuted {
    H,
    A,
    B,
    S,
}

/// A cell of a permuted column.
pub(super) type Place = (Permuted, usize);

/// Fixed cells other than zero: (column, row, value), columns numbered as in [`column`].
pub(super) fn fixed_cells(c: &Halo2Circuit) -> impl Iterator<Item = (usize, usize, Fr)> + '_ {
    let active = (0..c.active_rows()).map(|row| (0, row, Fr::ONE));
    let words = (0..c.n_words).map(|row| (1, row, Fr::ONE));
    let lookups = c.rows.iter().enumerate().flat_map(move |(row, lookup)| {
        let table = (lookup.table != 0).then(|| (2, row, Fr::from(u64::from(lookup.table))));
        let kind = lookup
            .kind
            .map(|kind| (8 + c.plan.width + kind as usize, row, Fr::ONE));
        table.into_iter().chain(kind)
    });
    let tables = c.tables.iter().enumerate().flat_map(|(id, table)| {
        let scale = Fr::from(id as u64);
        table.values.iter().enumerate().flat_map(move |(i, value)| {
            let row = table.start + i;
            let key = fr(table.first + i as i64);
            [(3, row, key), (4, row, scale * fr(*value)), (5, row, scale)]
        })
    });
    let tape = c.tape.rows.iter().enumerate().flat_map(move |(row, op)| {
        let addends = c.tape.weights_of(op).iter().enumerate();
        let addends = addends.map(move |(j, w)| (8 + j, row, *w));
        [(6, row, Fr::from(op.mode as u64)), (7, row, op.f)]
            .into_iter()
            .chain(addends)
    });
    active
        .chain(words)
        .chain(lookups)
        .chain(tables)
        .chain(tape)
        .filter(|(_, _, value)| *value != Fr::ZERO)
}

fn column(config: &Config, index: usize) -> Column<Fixed> {
    let fixed = &config.fixed;
    match index {
        0 => fixed.active,
        1 => fixed.word,
        2 => fixed.table,
        3..=5 => fixed.rows[index - 3],
        6 => fixed.mode,
        7 => fixed.f,
        _ => {
            let width = fixed.addends.len();
            match index - 8 {
                j if j < width => fixed.addends[j],
                j => fixed.kinds[j - width],
            }
        }
    }
}

/// Every copy constraint.
pub(super) fn copies(c: &Halo2Circuit) -> impl Iterator<Item = (Place, Place)> + '_ {
    let home = |cell: u32| (Permuted::H, c.home_row(cell));
    let result = |row: u32| (Permuted::S, row as usize + 1);
    let operands = c.tape.rows.iter().enumerate().flat_map(move |(row, op)| {
        [(Permuted::A, op.a), (Permuted::B, op.b)]
            .into_iter()
            .filter_map(move |(column, operand)| {
                let source = c.tape.factor(operand, home, result)?;
                Some(((column, row), source))
            })
    });
    let ties = c
        .tape
        .ties
        .iter()
        .map(move |(row, target, _)| (result(*row), target.place(home, result)));
    let homes = c
        .home_ties
        .iter()
        .map(move |(copy, of, _)| (home(*copy), home(*of)));
    operands.chain(ties).chain(homes)
}

impl Circuit<Fr> for Synthesis<'_> {
    type Config = Config;
    type FloorPlanner = SimpleFloorPlanner;
    type Params = Shape;

    fn without_witnesses(&self) -> Self {
        self.circuit.synthesis()
    }

    fn params(&self) -> Shape {
        self.circuit.shape()
    }

    fn configure(meta: &mut ConstraintSystem<Fr>) -> Config {
        Config::new(meta, &Shape::default())
    }

    fn configure_with_params(meta: &mut ConstraintSystem<Fr>, shape: Shape) -> Config {
        let config = Config::new(meta, &shape);
        debug_assert_eq!(meta.degree(), DEGREE);
        config
    }

    fn synthesize(&self, config: Config, mut layouter: impl Layouter<Fr>) -> Result<(), Error> {
        layouter.assign_region(
            || "circuit",
            |mut region| {
                self.fix(&config, &mut region);
                let Some(first) = &self.first else {
                    return Ok(());
                };
                let c = self.circuit;
                write(&mut region, config.h, &first.h);
                write(&mut region, config.l, &first.l);
                write(&mut region, config.m, &first.m);
                region.next_phase();
                let mut challenge = |i: usize| {
                    let challenge = config.challenges.get(i);
                    challenge.map_or(Value::known(Fr::ZERO), |c| region.get_challenge(*c))
                };
                let challenges: Value<Vec<Fr>> = (0..5).map(&mut challenge).collect();
                let mut second = None;
                challenges.map(|v| {
                    second = Some(c.second(first, &Challenges::new(|i| v[i])));
                });
                let Some(second) = second else { return Ok(()) };
                write(&mut region, config.a, &second.a);
                write(&mut region, config.b, &second.b);
                write(&mut region, config.s, &second.s);
                write(&mut region, config.phi, &second.phi);
                Ok(())
            },
        )
    }
}

impl Synthesis<'_> {
    /// Calls `column` with the index and the values, from row 0, of every advice column of a phase, for a prover that fills columns itself.
    /// A challenge that is not there counts as zero. Without a witness there is no column.
    pub fn with_advice(
        &self,
        phase: u8,
        challenges: &[Option<Fr>],
        column: &mut dyn FnMut(usize, &[Fr]),
    ) {
        let Some(first) = &self.first else { return };
        // In the order in which `Config` makes the columns.
        if phase == 0 {
            for (i, values) in [&first.h, &first.l, &first.m].into_iter().enumerate() {
                column(i, values);
            }
        } else {
            let challenge = |i: usize| challenges.get(i).copied().flatten().unwrap_or(Fr::ZERO);
            let second = self.circuit.second(first, &Challenges::new(challenge));
            let columns = [&second.a, &second.b, &second.s, &second.phi];
            for (i, values) in columns.into_iter().enumerate() {
                column(3 + i, values);
            }
        }
    }
}

fn write(region: &mut Region<'_, Fr>, column: Column<Advice>, values: &[Fr]) {
    for (row, value) in values.iter().enumerate() {
        region.assign_advice(column, row, Value::known(*value));
    }
}

impl Synthesis<'_> {
    /// Fixed cells and copies.
    fn fix(&self, config: &Config, region: &mut Region<'_, Fr>) {
        for (index, row, value) in fixed_cells(self.circuit) {
            region.assign_fixed(column(config, index), row, value);
        }
        let cell = |(column, row): Place| {
            let column = match column {
                Permuted::H => config.h,
                Permuted::A => config.a,
                Permuted::B => config.b,
                Permuted::S => config.s,
            };
            Cell {
                row_offset: row,
                column: column.into(),
            }
        };
        for (left, right) in copies(self.circuit) {
            region.constrain_equal(cell(left), cell(right));
        }
    }
}
