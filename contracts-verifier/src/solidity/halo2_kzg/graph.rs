//! # Field arithmetic as a graph
//! Every scalar a contract computes is a node; equal expressions are one node, so nothing is computed twice. A node refers to earlier nodes only.

use std::collections::BTreeMap;

use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, Field};
use zkinfer_verifier::curve::scalar_to_bytes;

/// A node of a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id(usize);

/// A value that the contract has before any arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Input {
    /// Evaluation at this position of the proof.
    Eval(usize),
    /// The challenge squeezed at this position.
    Challenge(usize),
    /// x^n.
    PowerOfX,
    /// The first word of the statement.
    Context,
    /// N of N/D = Σ_{i≥1} word_i / (x·ω^−i − 1).
    InstanceNumerator,
    /// D of the same.
    InstanceDenominator,
    /// The inverse of [`super::plan::Plan::inverted`].
    Inverse,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Node {
    Input(Input),
    Const(Fr),
    Add(Id, Id),
    Sub(Id, Id),
    Mul(Id, Id),
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Key {
    Input(Input),
    Const([u8; 32]),
    Add(Id, Id),
    Sub(Id, Id),
    Mul(Id, Id),
}

/// Nodes in an order in which each follows its operands.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    known: BTreeMap<Key, Id>,
}

impl Graph {
    fn insert(&mut self, node: Node) -> Id {
        let key = match node {
            Node::Input(input) => Key::Input(input),
            Node::Const(value) => Key::Const(scalar_to_bytes(value)),
            Node::Add(a, b) => Key::Add(a.min(b), a.max(b)),
            Node::Sub(a, b) => Key::Sub(a, b),
            Node::Mul(a, b) => Key::Mul(a.min(b), a.max(b)),
        };
        let next = Id(self.nodes.len());
        let id = *self.known.entry(key).or_insert(next);
        if id == next {
            self.nodes.push(node);
        }
        id
    }

    /// How many nodes there are.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// All nodes, operands first.
    pub(super) fn ids(&self) -> impl DoubleEndedIterator<Item = Id> + use<> {
        (0..self.nodes.len()).map(Id)
    }

    pub(super) fn node(&self, id: Id) -> Node {
        // An id is made by this graph, which only grows.
        self.nodes
            .get(id.0)
            .copied()
            .unwrap_or(Node::Const(Fr::ZERO))
    }

    fn value(&self, id: Id) -> Option<Fr> {
        match self.node(id) {
            Node::Const(value) => Some(value),
            _ => None,
        }
    }

    pub(super) fn input(&mut self, input: Input) -> Id {
        self.insert(Node::Input(input))
    }

    pub(super) fn constant(&mut self, value: Fr) -> Id {
        self.insert(Node::Const(value))
    }

    pub(super) fn add(&mut self, a: Id, b: Id) -> Id {
        match (self.value(a), self.value(b)) {
            (Some(a), Some(b)) => self.constant(a + b),
            (Some(zero), None) if zero == Fr::ZERO => b,
            (None, Some(zero)) if zero == Fr::ZERO => a,
            _ => match (self.negated(a), self.negated(b)) {
                (_, Some(b)) => self.sub(a, b),
                (Some(a), None) => self.sub(b, a),
                _ => self.insert(Node::Add(a, b)),
            },
        }
    }

    pub(super) fn sub(&mut self, a: Id, b: Id) -> Id {
        if a == b {
            return self.constant(Fr::ZERO);
        }
        match self.value(b) {
            Some(value) => {
                let b = self.constant(-value);
                self.add(a, b)
            }
            None => match self.negated(b) {
                Some(b) => self.add(a, b),
                None => self.insert(Node::Sub(a, b)),
            },
        }
    }

    /// b, if the node is 0 − b.
    fn negated(&self, id: Id) -> Option<Id> {
        match self.node(id) {
            Node::Sub(zero, b) if self.value(zero) == Some(Fr::ZERO) => Some(b),
            _ => None,
        }
    }

    pub(super) fn neg(&mut self, a: Id) -> Id {
        let zero = self.constant(Fr::ZERO);
        self.sub(zero, a)
    }

    pub(super) fn mul(&mut self, a: Id, b: Id) -> Id {
        match (self.value(a), self.value(b)) {
            (Some(a), Some(b)) => self.constant(a * b),
            (Some(c), None) => self.scale(b, c),
            (None, Some(c)) => self.scale(a, c),
            (None, None) => match (self.negated(a), self.negated(b)) {
                (Some(a), Some(b)) => self.mul(a, b),
                (Some(a), None) => {
                    let product = self.mul(a, b);
                    self.neg(product)
                }
                (None, Some(b)) => {
                    let product = self.mul(a, b);
                    self.neg(product)
                }
                (None, None) => self.insert(Node::Mul(a, b)),
            },
        }
    }

    fn scale(&mut self, a: Id, c: Fr) -> Id {
        if c == Fr::ZERO {
            return self.constant(c);
        }
        if c == Fr::ONE {
            return a;
        }
        if c == -Fr::ONE {
            return self.neg(a);
        }
        match self.negated(a) {
            Some(a) => self.scale(a, -c),
            None => {
                let c = self.constant(c);
                self.insert(Node::Mul(a, c))
            }
        }
    }

    /// acc·at + value.
    pub(super) fn horner(&mut self, acc: Id, at: Id, value: Id) -> Id {
        let product = self.mul(acc, at);
        self.add(product, value)
    }

    /// How often each node is an operand of a node that leads to one of `outputs`, which count once each.
    pub(super) fn uses(&self, outputs: &[Id]) -> Vec<usize> {
        let mut uses = vec![0; self.nodes.len()];
        let count = |uses: &mut Vec<usize>, id: Id| {
            if let Some(n) = uses.get_mut(id.0) {
                *n += 1;
            }
        };
        for id in outputs {
            count(&mut uses, *id);
        }
        for id in self.ids().rev() {
            if uses.get(id.0).is_none_or(|n| *n == 0) {
                continue;
            }
            if let Node::Add(a, b) | Node::Sub(a, b) | Node::Mul(a, b) = self.node(id) {
                count(&mut uses, a);
                count(&mut uses, b);
            }
        }
        uses
    }

    /// Products that one sum reads and nothing else: the sum can compute them.
    pub(super) fn deferred(&self, outputs: &[Id]) -> Vec<bool> {
        let uses = self.uses(outputs);
        let used = |id: Id| uses.get(id.0).copied().unwrap_or_default();
        let mut deferred = vec![false; self.nodes.len()];
        for id in self.ids().filter(|id| used(*id) > 0) {
            let (Node::Add(a, b) | Node::Sub(a, b)) = self.node(id) else {
                continue;
            };
            for operand in [a, b] {
                if let (Node::Mul(..), Some(slot)) =
                    (self.node(operand), deferred.get_mut(operand.0))
                {
                    *slot = used(operand) == 1;
                }
            }
        }
        deferred
    }
}

impl Id {
    /// Position in the graph.
    pub(super) const fn index(self) -> usize {
        self.0
    }
}
