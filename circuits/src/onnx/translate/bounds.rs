//! How much a file may make of itself: every list that grows faster than the file has its bound here, and is counted over all nodes and all steps of loops.

use super::{Translation, refused};
use crate::onnx::ImportError;
use crate::onnx::proto::{elements, too_large};
use tract_onnx::prelude::{TypedModel, TypedNode};
use tract_onnx::tract_core::ops::scan::Scan;
use tract_onnx::tract_core::ops::source::TypedSource;

/// Most values that are spelled out for one node: the kernels of a batch, the windows of a pool, a constant that broadcasts.
pub(super) const MAX_SPELLED_OUT: usize = 1 << 24;
/// Values that all nodes may hold together for each byte of the file, beside `MAX_SPELLED_OUT`: a weight is spelled out for every step of a recurrence.
const VALUES_PER_BYTE: usize = 256;
/// Most elements that all gathers of a model may have together.
const MAX_MOVED: usize = 3 << 23;
/// Most elements of a tensor that is laid out for windows: padding, zeros between elements, taps side by side.
pub(super) const MAX_LAID_OUT: usize = 1 << 23;
/// Most taps that are counted for all pools.
const MAX_COUNTED: usize = 1 << 26;
/// Most nodes of tract's graph in all steps of all loops.
const MAX_UNROLLED: usize = 1 << 17;

/// What the float graph takes so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    /// Elements of all gathers.
    moved: usize,
    /// Values that the nodes hold, and constants that were computed.
    held: usize,
    /// Nodes whose values are counted.
    nodes: usize,
    /// Taps that were counted for pools.
    taps: usize,
    /// Nodes of tract's graph in the steps of loops.
    unrolled: usize,
}

impl Used {
    /// Counts values.
    pub(super) fn hold(&mut self, n: usize) {
        self.held = self.held.saturating_add(n);
    }

    /// Counts elements of a gather.
    pub(super) fn move_elements(&mut self, n: usize) {
        self.moved = self.moved.saturating_add(n);
    }
}

/// Refuses large tensors that depend on an input, before the parser simplifies their operators: it makes lists of their axes' lengths there.
pub(super) fn check_sizes(model: &TypedModel) -> Result<(), ImportError> {
    let mut computed = vec![false; model.nodes.len()];
    for id in model.eval_order().map_err(refused)? {
        let node = &model.nodes[id];
        if let Some(scan) = node.op_as::<Scan>() {
            check_sizes(&scan.body)?;
        }
        computed[id] = node.op_is::<TypedSource>() || node.inputs.iter().any(|x| computed[x.node]);
        let shapes = node.outputs.iter().filter(|_| computed[id]);
        for shape in shapes.filter_map(|output| output.fact.shape.as_concrete()) {
            if elements(shape).is_none() {
                return Err(too_large(&node.name, shape));
            }
        }
    }
    Ok(())
}

impl Translation<'_> {
    /// Refuses what a node was translated to where that is too much.
    pub(super) fn count(&mut self, node: &TypedNode) -> Result<(), ImportError> {
        for new in &self.graph.nodes[self.used.nodes..] {
            self.used.hold(new.op.n_values());
            if new.len() > MAX_LAID_OUT {
                let (shape, max) = (&new.shape, MAX_LAID_OUT);
                let reason = format!("it takes a tensor of {shape:?}, more than {max} elements");
                return Err(self.unsupported(node, reason));
            }
        }
        self.used.nodes = self.graph.nodes.len();
        let max = VALUES_PER_BYTE * self.parsed.n_bytes + MAX_SPELLED_OUT;
        self.within_bound(node, self.used.held, max, || {
            format!("the layers up to it hold more than {max} values")
        })
    }

    /// Refuses to spell out more values than a file can reasonably ask for without holding them.
    pub(super) fn room_to_spell_out(&self, node: &TypedNode, n: usize) -> Result<(), ImportError> {
        self.within_bound(node, n, MAX_SPELLED_OUT, || {
            format!("{n} values to spell out; expected at most {MAX_SPELLED_OUT}")
        })
    }

    /// Refuses a gather that would be one too many.
    pub(super) fn room_to_move(&self, node: &TypedNode, n: usize) -> Result<(), ImportError> {
        self.within_bound(node, self.used.moved.saturating_add(n), MAX_MOVED, || {
            format!("more than {MAX_MOVED} elements are moved by the model")
        })
    }

    /// Counts the taps of a pool, unless they are too many.
    pub(super) fn count_taps(&mut self, node: &TypedNode, n: usize) -> Result<(), ImportError> {
        self.room_to_spell_out(node, n)?;
        self.used.taps = self.used.taps.saturating_add(n);
        self.within_bound(node, self.used.taps, MAX_COUNTED, || {
            format!("the pools up to it have more than {MAX_COUNTED} taps")
        })
    }

    /// Counts the nodes of a loop's steps, unless they are too many.
    pub(super) fn count_steps(&mut self, node: &TypedNode, n: usize) -> Result<(), ImportError> {
        self.used.unrolled = self.used.unrolled.saturating_add(n);
        self.within_bound(node, self.used.unrolled, MAX_UNROLLED, || {
            format!("its {n} nodes of all steps are, with those of loops before, more than {MAX_UNROLLED}")
        })
    }

    fn within_bound(
        &self,
        node: &TypedNode,
        n: usize,
        max: usize,
        reason: impl FnOnce() -> String,
    ) -> Result<(), ImportError> {
        match n <= max {
            true => Ok(()),
            false => Err(self.unsupported(node, reason())),
        }
    }
}
