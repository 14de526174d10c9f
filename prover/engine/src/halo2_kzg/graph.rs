//! # Expressions over the cells of a row, each written once
//!
//! Nodes are made by [`Graph::add`] and its like, which fold constants, pull signs outwards and give an expression that is there
//! already its old number. A node that reads no cell is *uniform*: one value for all rows. An operand's number is less than that of what
//! is made of it.

use std::collections::HashMap;

use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, Field, One, Zero};
use zkinfer_verifier::halo2_kzg::Column;

/// A polynomial whose values the constraints read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// An advice column.
    Advice(u16),
    /// A fixed column.
    Fixed(u16),
    /// The instance column.
    Instance,
    /// A permutation product Z_i.
    Product(u16),
    /// A permutation polynomial σ_i.
    Sigma(u16),
    /// l_0, 1 on the first row and 0 on the others.
    First,
    /// The points ωⁱ: X without the shift of the coset.
    Point,
}

impl From<Column> for Source {
    fn from(column: Column) -> Self {
        match column {
            Column::Advice(i) => Self::Advice(i),
            Column::Fixed(i) => Self::Fixed(i),
            Column::Instance => Self::Instance,
        }
    }
}

/// A value that the proof supplies, the same for all rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Given {
    /// A challenge of the gates.
    Challenge(u16),
    /// Folds permutation values.
    Beta,
    /// Separates permutation factors.
    Gamma,
    /// Folds constraints.
    Y,
    /// What the points are multiplied with on the coset.
    Shift,
}

/// Number of a node.
pub(super) type Id = u32;

/// An expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Node {
    /// A number.
    Constant(Fr),
    /// A value that the proof supplies.
    Given(Given),
    /// A column at a rotation.
    Cell(Source, i32),
    /// −a.
    Neg(Id),
    /// a + b.
    Add(Id, Id),
    /// a − b; b is uniform only if a is.
    Sub(Id, Id),
    /// a·b; a uniform operand stands first.
    Mul(Id, Id),
}

/// Expressions under construction.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    uniform: Vec<bool>,
    numbers: HashMap<Node, Id>,
}

impl Graph {
    pub(super) fn node(&self, id: Id) -> Node {
        self.nodes[id as usize]
    }

    /// Whether the node has one value for all rows.
    pub(super) fn is_uniform(&self, id: Id) -> bool {
        self.uniform[id as usize]
    }

    /// The operands of a node.
    pub(super) fn operands(&self, id: Id) -> impl Iterator<Item = Id> {
        let pair = match self.node(id) {
            Node::Constant(_) | Node::Given(_) | Node::Cell(..) => [None, None],
            Node::Neg(a) => [Some(a), None],
            Node::Add(a, b) | Node::Sub(a, b) | Node::Mul(a, b) => [Some(a), Some(b)],
        };
        pair.into_iter().flatten()
    }

    fn insert(&mut self, node: Node) -> Id {
        if let Some(id) = self.numbers.get(&node) {
            return *id;
        }
        // A gate program has at most 2^16 operations, and each makes a few nodes.
        let id = self.nodes.len() as Id;
        self.nodes.push(node);
        let uniform = match node {
            Node::Cell(..) => false,
            _ => self.operands(id).all(|operand| self.is_uniform(operand)),
        };
        self.uniform.push(uniform);
        self.numbers.insert(node, id);
        id
    }

    fn as_constant(&self, id: Id) -> Option<Fr> {
        match self.node(id) {
            Node::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// a, if the node is −a of a row; a uniform sign costs nothing where it is.
    fn as_negated(&self, id: Id) -> Option<Id> {
        match self.node(id) {
            Node::Neg(a) if !self.is_uniform(id) => Some(a),
            _ => None,
        }
    }

    pub(super) fn constant(&mut self, value: Fr) -> Id {
        self.insert(Node::Constant(value))
    }

    pub(super) fn given(&mut self, given: Given) -> Id {
        self.insert(Node::Given(given))
    }

    pub(super) fn cell(&mut self, source: Source, rotation: i32) -> Id {
        self.insert(Node::Cell(source, rotation))
    }

    pub(super) fn neg(&mut self, a: Id) -> Id {
        match self.node(a) {
            Node::Constant(value) => self.constant(-value),
            Node::Neg(a) => a,
            Node::Sub(a, b) => self.sub(b, a),
            _ => self.insert(Node::Neg(a)),
        }
    }

    pub(super) fn add(&mut self, a: Id, b: Id) -> Id {
        match (self.as_constant(a), self.as_constant(b)) {
            (Some(a), Some(b)) => return self.constant(a + b),
            (Some(value), None) if value.is_zero() => return b,
            (None, Some(value)) if value.is_zero() => return a,
            _ => (),
        }
        match (self.as_negated(a), self.as_negated(b)) {
            (Some(a), Some(b)) => {
                let sum = self.add(a, b);
                self.neg(sum)
            }
            (Some(a), None) => self.sub(b, a),
            (None, Some(b)) => self.sub(a, b),
            (None, None) => self.insert(Node::Add(a.min(b), a.max(b))),
        }
    }

    pub(super) fn sub(&mut self, a: Id, b: Id) -> Id {
        if a == b {
            return self.constant(Fr::ZERO);
        }
        match (self.as_constant(a), self.as_constant(b)) {
            (Some(a), Some(b)) => return self.constant(a - b),
            (Some(value), None) if value.is_zero() => return self.neg(b),
            (None, Some(value)) if value.is_zero() => return a,
            _ => (),
        }
        if self.is_uniform(b) && !self.is_uniform(a) {
            let b = self.neg(b);
            return self.add(a, b);
        }
        match (self.as_negated(a), self.as_negated(b)) {
            (Some(a), Some(b)) => self.sub(b, a),
            (Some(a), None) => {
                let sum = self.add(a, b);
                self.neg(sum)
            }
            (None, Some(b)) => self.add(a, b),
            (None, None) => self.insert(Node::Sub(a, b)),
        }
    }

    pub(super) fn mul(&mut self, a: Id, b: Id) -> Id {
        match (self.as_negated(a), self.as_negated(b)) {
            (Some(a), Some(b)) => return self.mul(a, b),
            (Some(a), None) => {
                let product = self.mul(a, b);
                return self.neg(product);
            }
            (None, Some(b)) => {
                let product = self.mul(a, b);
                return self.neg(product);
            }
            (None, None) => (),
        }
        // A uniform operand first, and among those a constant first.
        let rank = |id| (!self.is_uniform(id), self.as_constant(id).is_none(), id);
        let (a, b) = if rank(a) <= rank(b) { (a, b) } else { (b, a) };
        if let Some(value) = self.as_constant(a) {
            if let Some(other) = self.as_constant(b) {
                return self.constant(value * other);
            } else if value.is_zero() {
                return a;
            } else if value.is_one() {
                return b;
            } else if value == -Fr::ONE {
                return self.neg(b);
            }
        }
        // u·(v·x) with uniform u and v: one product a row instead of two.
        if self.is_uniform(a)
            && let Node::Mul(inner, rest) = self.node(b)
            && self.is_uniform(inner)
            && !self.is_uniform(rest)
        {
            let factor = self.mul(a, inner);
            return self.mul(factor, rest);
        }
        self.insert(Node::Mul(a, b))
    }
}
