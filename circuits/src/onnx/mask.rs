//! Masks of softmaxes: −∞ and other values so low that they take up every score and their powers are 0.
//!
//! They arrive added to the scores, or in their place, as −∞, the least float32, or −10⁹. Whatever feeds nothing but softmaxes becomes a choice between a
//! score and [`MASK`], which stands for "less than any score" up to the softmax. Where values of a graph are shown, it is [`BELOW`] less than the least score
//! of its tensor; in the integer model it is less than every score that calibration saw, by as much. A mask anywhere else is refused, and so is one whose
//! softmax a function reads: a logarithm would tell one mask from another.

use super::ImportError;
use super::fold::drop_unread;
use super::graph::{FloatGraph, FloatNode, FloatOp};

/// What is masked.
pub(crate) const MASK: f32 = f32::MIN;
/// How far a masked score lies below all others: e^-16 shows in no share.
pub(crate) const BELOW: f64 = 16.0;
/// Values from here on take up what they are added to: a float32 of this size has steps of 64.
const ABSORBING: f32 = -9.9e8;
/// Most elements that masks are spelled out for.
const MAX_MASKED: usize = 1 << 26;

fn masks(value: f32) -> bool {
    value <= ABSORBING
}

fn is_masked(value: f64) -> bool {
    value <= f64::from(MASK)
}

/// Gives masked elements a value that can be shown: below all scores of the tensor.
pub(super) fn show(node: &FloatNode, values: &mut [f64]) {
    let moves = matches!(
        node.op,
        FloatOp::Gather { .. } | FloatOp::Layout { .. } | FloatOp::Select
    );
    if !moves || !values.iter().any(|v| is_masked(*v)) {
        return;
    }
    let scores = values.iter().copied().filter(|v| !is_masked(*v));
    let shown = scores.reduce(f64::min).unwrap_or(0.0) - BELOW;
    for value in values.iter_mut().filter(|v| is_masked(**v)) {
        *value = shown;
    }
}

/// Whether a node has [`MASK`] among its constants.
pub(crate) fn holds(node: &FloatNode) -> bool {
    matches!(&node.op, FloatOp::Gather { constants, .. } if constants.contains(&MASK))
}

/// Rewrites the masks of all softmaxes.
pub(super) fn rewrite(graph: &mut FloatGraph) -> Result<(), ImportError> {
    let mut spelled_out = 0usize;
    loop {
        let scores = scores(graph);
        let mut changed = false;
        // from the last on, so that earlier nodes keep their numbers
        for id in (0..scores.len()).rev().filter(|&id| scores[id]) {
            mark_constants(graph, id);
            if let Some(made) = split(graph, id) {
                spelled_out = made
                    .iter()
                    .fold(spelled_out, |n, node| n.saturating_add(node.len()));
                if spelled_out > MAX_MASKED {
                    return Err(ImportError::Unsupported {
                        node: graph.nodes[id].name.clone(),
                        op: "Softmax".to_owned(),
                        reason: "masks of more than 2^26 elements".to_owned(),
                    });
                }
                insert(graph, id, made);
                changed = true;
            }
        }
        if !changed {
            return check(graph, &scores);
        }
        // every mask is split once
        drop_unread(graph);
    }
}

/// Whether a function reads a softmax, also through moves, factors and bounds: one that may tell 0 from what is nearly 0.
fn is_read_by_a_function(graph: &FloatGraph, readers: &[Vec<usize>], softmax: usize) -> bool {
    let (mut reached, mut seen) = (vec![softmax], vec![false; graph.nodes.len()]);
    while let Some(at) = reached.pop() {
        if std::mem::replace(&mut seen[at], true) {
            continue;
        }
        for &reader in &readers[at] {
            match graph.nodes.get(reader).map(|node| &node.op) {
                Some(FloatOp::Unary(_)) => return true,
                Some(
                    FloatOp::Layout { .. }
                    | FloatOp::Gather { .. }
                    | FloatOp::Affine { .. }
                    | FloatOp::Clamp { .. },
                ) => reached.push(reader),
                _ => {}
            }
        }
    }
    false
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
                FloatOp::Softmax { .. } => !is_read_by_a_function(graph, &readers, reader),
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

/// What a node that adds a mask becomes: nodes that take the numbers from `id` on, the last of them in its place.
fn split(graph: &FloatGraph, id: usize) -> Option<Vec<FloatNode>> {
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
            Some(vec![scaled, chosen])
        }
        FloatOp::Add { signs: [1, 1] } => {
            let [a, b] = node.inputs[..] else {
                return None;
            };
            added(graph, id, a, b).or_else(|| added(graph, id, b, a))
        }
        _ => None,
    }
}

/// `score` plus a choice of which one side masks, as that choice between the mask and the sum with the other side.
fn added(graph: &FloatGraph, id: usize, score: usize, mask: usize) -> Option<Vec<FloatNode>> {
    let node = &graph.nodes[id];
    let (choice, moves) = match &graph.nodes[mask].op {
        FloatOp::Gather { index, constants } if constants.is_empty() => {
            let [from] = graph.nodes[mask].inputs[..] else {
                return None;
            };
            (from, Some(index))
        }
        _ => (mask, None),
    };
    let choice = &graph.nodes[choice];
    let [_, yes, no] = choice.inputs[..] else {
        return None;
    };
    let sides = [yes, no].map(|side| constants_of(&graph.nodes[side], graph));
    let is_mask = sides
        .clone()
        .map(|v| v.is_some_and(|v| v.iter().all(|c| masks(*c))));
    if choice.op != FloatOp::Select || is_mask[0] == is_mask[1] {
        return None;
    }
    let mut made = vec![];
    let mut inputs = choice.inputs.clone();
    if let Some(index) = moves {
        for (side, input) in inputs.iter_mut().enumerate() {
            let constants = side.checked_sub(1).and_then(|side| sides[side].as_ref());
            made.push(moved(graph, node, *input, index, constants));
            *input = id + side;
        }
    }
    let other = if is_mask[0] { 2 } else { 1 };
    made.push(FloatNode {
        inputs: vec![score, inputs[other]],
        ..node.clone()
    });
    inputs[other] = id + made.len() - 1;
    made.push(FloatNode {
        op: FloatOp::Select,
        inputs,
        ..node.clone()
    });
    Some(made)
}

/// The elements of `from` at `index`; of constants, those constants.
fn moved(
    graph: &FloatGraph,
    node: &FloatNode,
    from: usize,
    index: &[u32],
    constants: Option<&Vec<f32>>,
) -> FloatNode {
    let (index, constants, inputs) = match constants {
        None => (index.to_vec(), vec![], vec![from]),
        Some(values) => {
            let anchors = graph.nodes[from].inputs.clone();
            let before: usize = anchors.iter().map(|&i| graph.nodes[i].len()).sum();
            // tensors have less than 2^32 elements, their sum was an index before
            let index = (0..index.len()).map(|i| (before + i) as u32).zip(index);
            let (places, values): (Vec<u32>, Vec<f32>) =
                index.map(|(place, &i)| (place, values[i as usize])).unzip();
            (places, values, anchors)
        }
    };
    FloatNode {
        op: FloatOp::Gather { index, constants },
        inputs,
        ..node.clone()
    }
}

/// The values of a node that holds constants only.
fn constants_of(node: &FloatNode, graph: &FloatGraph) -> Option<Vec<f32>> {
    let FloatOp::Gather { index, constants } = &node.op else {
        return None;
    };
    let before: usize = node.inputs.iter().map(|&i| graph.nodes[i].len()).sum();
    let value = |&i: &u32| constants.get((i as usize).checked_sub(before)?).copied();
    index.iter().map(value).collect()
}

/// Puts nodes in the place of `id`; its readers read the last of them.
fn insert(graph: &mut FloatGraph, id: usize, made: Vec<FloatNode>) {
    let more = made.len() - 1;
    let renamed = |old: usize| if old >= id { old + more } else { old };
    for node in &mut graph.nodes[id + 1..] {
        for input in &mut node.inputs {
            *input = renamed(*input);
        }
    }
    for input in &mut graph.inputs {
        *input = renamed(*input);
    }
    for (_, output) in &mut graph.outputs {
        *output = renamed(*output);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A softmax of rows of two after `offsets` were added to four scores.
    fn graph(offsets: [f32; 4]) -> FloatGraph {
        let node = |name: &str, op, inputs| FloatNode {
            name: name.to_owned(),
            op,
            inputs,
            shape: vec![2, 2],
        };
        let sum = FloatOp::Affine {
            inner: 1,
            factors: vec![1.0; 4],
            offsets: offsets.to_vec(),
        };
        FloatGraph {
            nodes: vec![
                node("x", FloatOp::Input { dtype: None }, vec![]),
                node("sum", sum, vec![0]),
                node("shares", FloatOp::Softmax { n: 2 }, vec![1]),
            ],
            inputs: vec![0],
            outputs: vec![("y".to_owned(), 2)],
            given: None,
        }
    }

    fn shares(offsets: [f32; 4]) -> Vec<f64> {
        let mut graph = graph(offsets);
        rewrite(&mut graph).expect("masks of a softmax");
        let values = graph.evaluate(&[vec![1.0, 2.0, 3.0, 5.0]]);
        values.last().expect("three nodes or four").clone()
    }

    fn near(a: &[f64], b: [f64; 4]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
    }

    #[test]
    fn what_is_added_to_a_whole_row_is_no_mask_unless_it_takes_the_scores_up() {
        let unmasked = shares([0.0; 4]);
        let second = [unmasked[2], unmasked[3]];
        let first = [unmasked[0], unmasked[1]];
        assert!(near(
            &shares([-1e4, -1e4, 0.0, 0.0]),
            [first[0], first[1], second[0], second[1]]
        ));
        assert!(near(&shares([-1e9, 0.0, 0.0, -1e9]), [0.0, 1.0, 1.0, 0.0]));
        assert!(near(
            &shares([MASK, MASK, 0.0, 0.0]),
            [0.5, 0.5, second[0], second[1]]
        ));
        assert!(near(&shares([MASK; 4]), [0.5; 4]));
    }

    #[test]
    fn a_mask_that_something_else_reads_is_refused() {
        let mut shown = graph([0.0, MASK, 0.0, 0.0]);
        shown.outputs.push(("scores".to_owned(), 1));
        let refused = rewrite(&mut shown).expect_err("the scores are an output");
        assert!(
            matches!(refused, ImportError::NonFiniteWeight { index: 1, .. }),
            "{refused}"
        );
    }
}
