//! What a lowering costs, counted from the lowering itself.

use super::{Form, LowerError, R1cs};
use crate::constraint::Program;
use std::sync::Arc;

/// Rows and wires of one form of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// All rows.
    pub rows: usize,
    /// Rows by ONNX node, in program order, tables and the statement apart.
    pub by_node: Vec<(String, usize)>,
    /// Tables with their rows.
    pub tables: Vec<TableCost>,
    /// Rows that hash, and that tie words and challenges.
    pub statement_rows: usize,
    /// Instance wires.
    pub instance: usize,
    /// Committed wires.
    pub committed: usize,
    /// Private wires.
    pub private: usize,
    /// Bits of a limb; 0 in the plain form.
    pub limb_bits: u32,
}

/// One table of the logUp argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableCost {
    /// What it holds.
    pub name: String,
    /// Rows.
    pub rows: usize,
}

/// Counts what lowering `program` to `form` costs.
///
/// # Errors
/// As [`R1cs::lower`].
pub fn cost(program: &Arc<Program>, form: Form) -> Result<Cost, LowerError> {
    Ok(R1cs::lower(program, form)?.cost())
}

impl R1cs {
    /// What this circuit costs.
    pub fn cost(&self) -> Cost {
        let mut by_node: Vec<(String, usize)> = vec![];
        let mut statement_rows = 0;
        let mut table_rows = 0;
        for group in &self.groups {
            let Some(step) = group.step else {
                match group.rule {
                    "table" => table_rows += group.n,
                    _ => statement_rows += group.n,
                }
                continue;
            };
            let node = self.program.node_of(&self.program.steps()[step]);
            match by_node.iter_mut().find(|(name, _)| name == node) {
                Some((_, rows)) => *rows += group.n,
                None => by_node.push((node.to_owned(), group.n)),
            }
        }
        let tables: Vec<TableCost> = self
            .tables
            .iter()
            .map(|t| TableCost {
                name: t.name.clone(),
                rows: t.rows.len(),
            })
            .collect();
        debug_assert_eq!(table_rows, tables.iter().map(|t| t.rows).sum::<usize>());
        Cost {
            rows: self.n_rows,
            by_node,
            tables,
            statement_rows,
            instance: self.n_instance,
            committed: self.n_committed,
            private: self.n_private,
            limb_bits: self.limb_bits,
        }
    }
}
