//! # The graph as a list of multiply-adds
//! The reusable contract knows one operation, d = a·b + c, whose result goes to the next free place. The addition is not reduced: with
//! every operand below m·r a result is below (1 + m(c))·r, and 5·r < 2^256, so the bound of each value is followed here and a value is
//! reduced (multiplied by one) where it would pass that.

use std::collections::BTreeMap;

use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, Field};
use zkinfer_verifier::curve::scalar_to_bytes;

use super::graph::{Graph, Id, Input, Node};

/// Multiples of r that fit 256 bits.
const MAX_BOUND: u8 = 5;

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Input(Input),
    /// Position in [`Program::constants`].
    Constant(usize),
    /// Result of the operation at this position.
    Result(usize),
}

/// The result is a·b + c.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MultiplyAdd {
    pub(super) a: Place,
    pub(super) b: Place,
    pub(super) c: Place,
}

/// Straight-line code.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    pub(super) ops: Vec<MultiplyAdd>,
    pub(super) constants: Vec<Fr>,
    /// Operations before the inversion.
    pub(super) before_inverse: usize,
    /// Positions of the constants.
    numbers: BTreeMap<[u8; 32], usize>,
    /// Where each node of the graph is, and its bound.
    places: Vec<Option<(Place, u8)>>,
}

impl Program {
    /// Code that computes `inverted`, and, after the inversion, all of `outputs`.
    pub(super) fn new(graph: &Graph, inverted: Id, outputs: &[Id]) -> Self {
        let deferred = graph.deferred(outputs);
        let mut program = Self {
            places: vec![None; graph.len()],
            ..Self::default()
        };
        for (stage, wanted) in [&[inverted][..], outputs].into_iter().enumerate() {
            let uses = graph.uses(wanted);
            for id in graph.ids() {
                let needed = uses.get(id.index()).is_some_and(|n| *n > 0);
                let later = deferred.get(id.index()) == Some(&true);
                if needed && !later && program.place(id).is_none() {
                    program.compile(graph, id);
                }
            }
            if stage == 0 {
                program.before_inverse = program.ops.len();
            }
        }
        program
    }

    /// Where a node's value is; `None` for a node that is not computed on its own.
    pub(super) fn place(&self, id: Id) -> Option<Place> {
        self.known(id).map(|(place, _)| place)
    }

    fn known(&self, id: Id) -> Option<(Place, u8)> {
        self.places.get(id.index()).copied().flatten()
    }

    fn constant(&mut self, value: Fr) -> Place {
        let next = self.constants.len();
        let at = *self.numbers.entry(scalar_to_bytes(value)).or_insert(next);
        if at == next {
            self.constants.push(value);
        }
        Place::Constant(at)
    }

    /// An operand; a deferred product that its reader could not take is computed here.
    fn operand(&mut self, graph: &Graph, id: Id) -> (Place, u8) {
        match self.known(id) {
            Some(known) => known,
            None => self.compile(graph, id),
        }
    }

    /// The operands of a deferred product.
    fn deferred(&self, graph: &Graph, id: Id) -> Option<(Id, Id)> {
        match graph.node(id) {
            Node::Mul(p, q) if self.known(id).is_none() => Some((p, q)),
            _ => None,
        }
    }

    fn compile(&mut self, graph: &Graph, id: Id) -> (Place, u8) {
        let value = match graph.node(id) {
            Node::Input(input) => (Place::Input(input), 1),
            Node::Const(value) => (self.constant(value), 1),
            Node::Mul(a, b) => {
                let (a, b) = (self.operand(graph, a), self.operand(graph, b));
                let c = self.constant(Fr::ZERO);
                self.ops.push(MultiplyAdd { a: a.0, b: b.0, c });
                // A product alone is reduced.
                (Place::Result(self.ops.len() - 1), 1)
            }
            Node::Add(a, b) => {
                let products = (self.deferred(graph, a), self.deferred(graph, b));
                match products {
                    (Some(product), _) => self.fuse(graph, product, b),
                    (None, Some(product)) => self.fuse(graph, product, a),
                    (None, None) => {
                        let (a, b) = (self.operand(graph, a), self.operand(graph, b));
                        // The product with one reduces the larger.
                        let (large, small) = if a.1 >= b.1 { (a, b) } else { (b, a) };
                        let one = self.constant(Fr::ONE);
                        self.emit(large.0, one, small)
                    }
                }
            }
            Node::Sub(a, b) => {
                // a − p·c = p·(−c) + a for a constant c; otherwise a − b = b·(−1) + a.
                let scaled = self.deferred(graph, b).and_then(|(p, q)| {
                    match (graph.node(p), graph.node(q)) {
                        (Node::Const(c), _) => Some((q, c)),
                        (_, Node::Const(c)) => Some((p, c)),
                        _ => None,
                    }
                });
                let (b, factor) = scaled.unwrap_or((b, Fr::ONE));
                let (b, a) = (self.operand(graph, b), self.operand(graph, a));
                let factor = self.constant(-factor);
                self.emit(b.0, factor, a)
            }
        };
        if let Some(place) = self.places.get_mut(id.index()) {
            *place = Some(value);
        }
        value
    }

    fn fuse(&mut self, graph: &Graph, (p, q): (Id, Id), c: Id) -> (Place, u8) {
        let (p, q) = (self.operand(graph, p), self.operand(graph, q));
        let c = self.operand(graph, c);
        self.emit(p.0, q.0, c)
    }

    fn emit(&mut self, a: Place, b: Place, (mut c, mut bound): (Place, u8)) -> (Place, u8) {
        if bound >= MAX_BOUND {
            let (one, zero) = (self.constant(Fr::ONE), self.constant(Fr::ZERO));
            (c, bound) = self.emit(c, one, (zero, 0));
        }
        self.ops.push(MultiplyAdd { a, b, c });
        (Place::Result(self.ops.len() - 1), bound + 1)
    }
}
