//! Masks of softmaxes: −∞ and other values so far below all scores that their powers are 0.
//!
//! They arrive added to the scores, or in their place, as −∞, as the least float32, or as −10,000 and the like. Whatever feeds nothing but a
//! softmax becomes a choice between a score and [`MASK`], which stands for "less than any score": when the graph is evaluated, [`BELOW`] less than the
//! least score of the tensor, and in the integer model the least value of the calibrated range. A mask anywhere else is refused.

use super::ImportError;
use super::fold::drop_unread;
use super::graph::{FloatGraph, FloatNode, FloatOp};

/// What is masked.
pub(crate) const MASK: f32 = f32::MIN;
/// How far a masked score lies below all others: e^-16 shows in no share.
pub(crate) const BELOW: f64 = 16.0;
/// Values from here on mask: scores are not so low.
const LEAST_SCORE: f32 = -9000.0;

fn masks(value: f32) -> bool {
    value <= LEAST_SCORE
}

fn is_masked(value: f64) -> bool {
    value <= f64::from(MASK)
}

/// Gives masked elements a value below all others; a tensor of nothing else stays.
pub(super) fn settle(values: &mut [f64]) {
    if !values.iter().any(|v| is_masked(*v)) {
        return;
    }
    let scores = values.iter().copied().filter(|v| !is_masked(*v));
    if let Some(least) = scores.reduce(f64::min) {
        fill(values, least - BELOW);
    }
}

/// Gives the elements of tensors of nothing but masks a value that can be shown.
pub(super) fn show(node: &FloatNode, values: &mut [f64]) {
    if holds(node) || node.op == FloatOp::Select {
        fill(values, -BELOW);
    }
}

fn fill(values: &mut [f64], with: f64) {
    for value in values.iter_mut().filter(|v| is_masked(**v)) {
        *value = with;
    }
}

/// Whether a node puts [`MASK`] beside other values, or is made of it.
pub(crate) fn has_mask(graph: &FloatGraph, id: usize) -> bool {
    let node = &graph.nodes[id];
    let made_of = |id: &usize| holds(&graph.nodes[*id]);
    holds(node) || matches!(node.op, FloatOp::Select) && node.inputs[1..].iter().any(made_of)
}

fn holds(node: &FloatNode) -> bool {
    matches!(&node.op, FloatOp::Gather { constants, .. } if constants.contains(&MASK))
}

/// Rewrites the masks of all softmaxes.
pub(super) fn rewrite(graph: &mut FloatGraph) -> Result<(), ImportError> {
    let scores = scores(graph);
    for id in 0..graph.nodes.len() {
        if scores[id] {
            mark_constants(graph, id);
        }
    }
    let first = (0..graph.nodes.len())
        .filter(|&id| scores[id])
        .find_map(|id| Some((id, split(graph, id)?)));
    match first {
        Some((id, made)) => {
            insert(graph, id, made);
            drop_unread(graph);
            // one mask less
            rewrite(graph)
        }
        None => check(graph, &scores),
    }
}

/// The nodes that nothing reads but softmaxes, also through moves and choices.
fn scores(graph: &FloatGraph) -> Vec<bool> {
    let readers = graph.readers();
    let mut scores = vec![false; graph.nodes.len()];
    for id in (0..graph.nodes.len()).rev() {
        let feeds = |&reader: &usize| {
            let Some(node) = graph.nodes.get(reader) else {
                return false;
            };
            match node.op {
                FloatOp::Softmax { .. } => true,
                FloatOp::Layout { .. } | FloatOp::Gather { .. } => scores[reader],
                FloatOp::Select => scores[reader] && node.inputs[0] != id,
                _ => false,
            }
        };
        scores[id] = !readers[id].is_empty() && readers[id].iter().all(feeds);
    }
    scores
}

/// Constants that mask become [`MASK`].
fn mark_constants(graph: &mut FloatGraph, id: usize) {
    if let FloatOp::Gather { constants, .. } = &mut graph.nodes[id].op {
        for c in constants.iter_mut().filter(|c| masks(**c)) {
            *c = MASK;
        }
    }
}

/// What a node that adds a mask becomes: two nodes, of which the second reads the first, whose number is the given one.
fn split(graph: &FloatGraph, id: usize) -> Option<[FloatNode; 2]> {
    let node = &graph.nodes[id];
    match &node.op {
        FloatOp::Affine {
            inner,
            factors,
            offsets,
        } if offsets.iter().any(|o| masks(*o)) => {
            let n = u32::try_from(node.len()).ok()?;
            let masked = |i: u32| masks(offsets[i as usize / inner % offsets.len()]);
            let kept = offsets.iter().map(|&o| if masks(o) { 0.0 } else { o });
            let scaled = FloatNode {
                op: FloatOp::Affine {
                    inner: *inner,
                    factors: factors.clone(),
                    offsets: kept.collect(),
                },
                ..node.clone()
            };
            let chosen = FloatNode {
                op: FloatOp::Gather {
                    index: (0..n).map(|i| if masked(i) { n } else { i }).collect(),
                    constants: vec![MASK],
                },
                inputs: vec![id],
                ..node.clone()
            };
            Some([scaled, chosen])
        }
        FloatOp::Add { signs: [1, 1] } => {
            let places = [(0, 1), (1, 0)];
            places.into_iter().find_map(|(mask, score)| {
                let choice = &graph.nodes[node.inputs[mask]];
                let [condition, yes, no] = choice.inputs[..] else {
                    return None;
                };
                let is_mask = |id: usize| match &graph.nodes[id].op {
                    FloatOp::Gather { index, constants } => {
                        let before: usize = graph.nodes[id]
                            .inputs
                            .iter()
                            .map(|&i| graph.nodes[i].len())
                            .sum();
                        let constant = |&i: &u32| {
                            Some(masks(*constants.get((i as usize).checked_sub(before)?)?))
                        };
                        index.iter().all(|i| constant(i) == Some(true))
                    }
                    _ => false,
                };
                if choice.op != FloatOp::Select || is_mask(yes) == is_mask(no) {
                    return None;
                }
                let other = if is_mask(yes) { no } else { yes };
                let sum = FloatNode {
                    inputs: vec![node.inputs[score], other],
                    ..node.clone()
                };
                let inputs = if is_mask(yes) {
                    vec![condition, yes, id]
                } else {
                    vec![condition, id, no]
                };
                let chosen = FloatNode {
                    op: FloatOp::Select,
                    inputs,
                    ..node.clone()
                };
                Some([sum, chosen])
            })
        }
        _ => None,
    }
}

/// Puts two nodes in the place of `id`; readers of `id` read the second.
fn insert(graph: &mut FloatGraph, id: usize, made: [FloatNode; 2]) {
    let moved = |old: usize| if old >= id { old + 1 } else { old };
    for node in &mut graph.nodes[id + 1..] {
        node.inputs
            .iter_mut()
            .for_each(|input| *input = moved(*input));
    }
    for input in &mut graph.inputs {
        *input = moved(*input);
    }
    for (_, output) in &mut graph.outputs {
        *output = moved(*output);
    }
    graph.nodes.splice(id..=id, made);
}

/// Whether [`MASK`] stands where no softmax makes 0 of it.
fn check(graph: &FloatGraph, scores: &[bool]) -> Result<(), ImportError> {
    for (id, node) in graph.nodes.iter().enumerate() {
        let values: &[f32] = match &node.op {
            FloatOp::Gather { constants, .. } if !scores[id] => constants,
            FloatOp::Affine { offsets, .. } => offsets,
            _ => continue,
        };
        if let Some(index) = values.iter().position(|v| *v <= MASK) {
            return Err(ImportError::NonFiniteWeight {
                tensor: node.name.clone(),
                index,
                value: f64::NEG_INFINITY,
            });
        }
    }
    Ok(())
}
