//! Rewrites of the float graph that leave its function as it is and save requantizations.
//!
//! * An affine function that follows a Conv, MatMul, SumPool or another affine, and is its only reader, is folded into it:
//!   batch normalization, scaled means, biases written as Add.
//! * An affine function that follows a Layout moves before it where its channels stay channels.
//! * A clamp that follows a MaxPool, a Layout or another clamp moves before it: both commute, and the clamp then fuses with
//!   the requantization of the layer before. So does a quantization mark; two with the same scale are one.
//! * Nothing else passes a mark: it is where the file says what the integers are.

use super::graph::{FloatGraph, FloatNode, FloatOp};

/// Applies the rewrites until none applies, then drops nodes that no output needs.
pub(super) fn fold(graph: &mut FloatGraph) {
    // every step removes a node or moves one towards the inputs, so this ends
    while fold_affine(graph) || hoist_clamp(graph) || hoist_quantize(graph) {}
    drop_unread(graph);
}

/// The only input of `id`, when `id` is its only reader.
fn sole_input(graph: &FloatGraph, readers: &[Vec<usize>], id: usize) -> Option<usize> {
    match graph.nodes[id].inputs[..] {
        [from] if readers[from] == [id] => Some(from),
        _ => None,
    }
}

/// Makes the readers of `id` read `from`, which has the same function; `id` reads nothing and stays unread.
fn bypass(graph: &mut FloatGraph, readers: &mut [Vec<usize>], id: usize, from: usize) {
    for input in std::mem::take(&mut graph.nodes[id].inputs) {
        readers[input].retain(|reader| *reader != id);
    }
    let moved = std::mem::take(&mut readers[id]);
    for &reader in moved.iter().filter(|&&reader| reader != usize::MAX) {
        for input in &mut graph.nodes[reader].inputs {
            if *input == id {
                *input = from;
            }
        }
    }
    readers[from].extend(moved);
    for (_, output) in &mut graph.outputs {
        if *output == id {
            *output = from;
        }
    }
}

/// Exchanges `first` and its only reader `second`, an element-wise operator that commutes with it.
fn swap(graph: &mut FloatGraph, first: usize, second: usize) {
    let before = graph.nodes[graph.nodes[first].inputs[0]].shape.clone();
    let after = graph.nodes[second].shape.clone();
    let (elementwise, moved) = (graph.nodes[second].clone(), graph.nodes[first].clone());
    graph.nodes[first] = FloatNode {
        inputs: moved.inputs.clone(),
        shape: before,
        ..elementwise
    };
    graph.nodes[second] = FloatNode {
        inputs: vec![first],
        shape: after,
        ..moved
    };
}

fn fold_affine(graph: &mut FloatGraph) -> bool {
    let mut readers = graph.readers();
    let (mut next, mut changed) = (0, false);
    while next < graph.nodes.len() {
        let id = next;
        next += 1;
        let FloatOp::Affine {
            inner,
            factors,
            offsets,
        } = &graph.nodes[id].op
        else {
            continue;
        };
        if readers[id].is_empty() {
            continue;
        }
        let Some(from) = sole_input(graph, &readers, id) else {
            continue;
        };
        if let FloatOp::Layout { axes, view } = &graph.nodes[from].op
            && let Some(before) = inner_before(view, axes, *inner, factors.len())
        {
            swap(graph, from, id);
            if let FloatOp::Affine { inner, .. } = &mut graph.nodes[from].op {
                *inner = before;
            }
            // the readers are the same, and nothing before `from` can do now what it could not
            (next, changed) = (from, true);
            continue;
        }
        let folded = fold_into(&graph.nodes[from], *inner, factors, offsets);
        if let Some(op) = folded {
            let given = graph.given.as_mut();
            if let Some(given) = given.and_then(|g| g.get_mut(&graph.nodes[from].name)) {
                given.scale(factors, offsets);
            }
            graph.nodes[from].op = op;
            graph.nodes[from].shape = graph.nodes[id].shape.clone();
            bypass(graph, &mut readers, id, from);
            (next, changed) = (from, true);
        }
    }
    changed
}

/// Consecutive elements that share a channel before a Layout, where `inner` of them do behind it; `None` where the `channels` do not lie in order there.
fn inner_before(view: &[usize], axes: &[usize], inner: usize, channels: usize) -> Option<usize> {
    let long: Vec<usize> = axes.iter().copied().filter(|&a| view[a] != 1).collect();
    if channels == 1 || long.is_sorted() {
        return Some(inner);
    }
    // the axes behind the layout whose sizes make `size`, the last of them at `end`
    let start = |end: usize, size: usize| {
        let (mut start, mut product) = (end, 1);
        while product < size {
            start = start.checked_sub(1)?;
            product *= view[long[start]];
        }
        (product == size).then_some(start)
    };
    let end = start(long.len(), inner)?;
    let numbering = &long[start(end, channels)?..end];
    let place = |axis: usize| view[..axis].iter().filter(|&&size| size != 1).count();
    let in_order = numbering
        .windows(2)
        .all(|pair| place(pair[1]) == place(pair[0]) + 1);
    let last = *numbering.last()?;
    in_order.then(|| view[last + 1..].iter().product())
}

/// `node` followed by the affine function, as one operator.
fn fold_into(node: &FloatNode, inner: usize, factors: &[f32], offsets: &[f32]) -> Option<FloatOp> {
    // element i of the output belongs to channel ⌊i / step⌋ mod n on both sides
    let channel = |step: usize, n: usize| {
        let uniform = factors.len() == 1;
        let aligned = factors.len() == n && (inner == step || n == 1);
        let repeats = n.is_multiple_of(factors.len()) && inner == step;
        (uniform || aligned || repeats).then_some(move |c: usize| c % factors.len())
    };
    let scaled = |weights: &[f32], n: usize, of: &dyn Fn(usize) -> usize| -> Vec<f32> {
        let per = weights.len() / n;
        let factor = |i: usize| f64::from(factors[of(i / per)]);
        weights
            .iter()
            .enumerate()
            .map(|(i, &w)| (f64::from(w) * factor(i)) as f32)
            .collect()
    };
    let shifted = |bias: &[f32], of: &dyn Fn(usize) -> usize| -> Vec<f32> {
        let value = |c: usize, b: f32| {
            (f64::from(b) * f64::from(factors[of(c)]) + f64::from(offsets[of(c)])) as f32
        };
        bias.iter().enumerate().map(|(c, &b)| value(c, b)).collect()
    };
    match &node.op {
        FloatOp::Conv {
            geometry,
            weights,
            bias,
        } => {
            let [rows, columns] = geometry.output_size();
            let of = channel(rows * columns, bias.len())?;
            Some(FloatOp::Conv {
                geometry: geometry.clone(),
                weights: scaled(weights, bias.len(), &of),
                bias: shifted(bias, &of),
            })
        }
        FloatOp::MatMul {
            n_in,
            weights,
            bias,
        } => {
            let of = channel(1, bias.len())?;
            Some(FloatOp::MatMul {
                n_in: *n_in,
                weights: scaled(weights, bias.len(), &of),
                bias: shifted(bias, &of),
            })
        }
        FloatOp::Affine {
            inner: step,
            factors: f,
            offsets: o,
        } => {
            let (step, f, o) = if f.len() == 1 {
                (inner, vec![f[0]; factors.len()], vec![o[0]; factors.len()])
            } else {
                (*step, f.clone(), o.clone())
            };
            let of = channel(step, f.len())?;
            Some(FloatOp::Affine {
                inner: step,
                factors: scaled(&f, f.len(), &of),
                offsets: shifted(&o, &of),
            })
        }
        FloatOp::Contract { sizes, factor }
            if factors.len() == 1 && offsets == [0.0] && factors[0] > 0.0 =>
        {
            Some(FloatOp::Contract {
                sizes: *sizes,
                factor: factor * f64::from(factors[0]),
            })
        }
        FloatOp::SumPool {
            geometry,
            divisors,
            factor,
        } if factors.len() == 1 && offsets == [0.0] && factors[0] > 0.0 => {
            // a mean arrives as a sum times 1/n rounded to f32: take back the integer, which is exact
            let n = (1.0 / f64::from(factors[0])).round();
            let exact = (1.0..1e6).contains(&n) && (1.0 / n) as f32 == factors[0];
            let factor = factor
                * if exact {
                    1.0 / n
                } else {
                    f64::from(factors[0])
                };
            Some(FloatOp::SumPool {
                geometry: geometry.clone(),
                divisors: divisors.clone(),
                factor,
            })
        }
        _ => None,
    }
}

fn hoist_clamp(graph: &mut FloatGraph) -> bool {
    let mut readers = graph.readers();
    for id in 0..graph.nodes.len() {
        let FloatOp::Clamp { lo, hi } = graph.nodes[id].op else {
            continue;
        };
        if readers[id].is_empty() {
            continue;
        }
        let Some(from) = sole_input(graph, &readers, id) else {
            continue;
        };
        match graph.nodes[from].op.clone() {
            FloatOp::Clamp {
                lo: lo_before,
                hi: hi_before,
            } => {
                // min(max(min(max(x, a), b), lo), hi) is one clamp with clamped bounds
                let bound = |v: f32| v.max(lo).min(hi);
                graph.nodes[from].op = FloatOp::Clamp {
                    lo: bound(lo_before),
                    hi: bound(hi_before),
                };
                graph.nodes[from].name = graph.nodes[id].name.clone();
                bypass(graph, &mut readers, id, from);
                return true;
            }
            FloatOp::MaxPool { .. } | FloatOp::Layout { .. } => {
                swap(graph, from, id);
                return true;
            }
            _ => {}
        }
    }
    false
}

/// A mark behind another as one, where both have the same scale and zero point.
fn narrower(first: &FloatOp, second: &FloatOp) -> Option<FloatOp> {
    let &FloatOp::Quantize {
        scale,
        zero_point,
        lo,
        hi,
    } = first
    else {
        return None;
    };
    let &FloatOp::Quantize {
        scale: same_scale,
        zero_point: same_zero_point,
        lo: least,
        hi: largest,
    } = second
    else {
        return None;
    };
    let same = scale == same_scale && zero_point == same_zero_point && least <= largest;
    same.then(|| FloatOp::Quantize {
        scale,
        zero_point,
        lo: lo.clamp(least, largest),
        hi: hi.clamp(least, largest),
    })
}

/// Whether a mark says what the integers of a model input are: all of their type.
fn reads_input(graph: &FloatGraph, mark: usize) -> bool {
    let inputs = &graph.nodes[mark].inputs;
    inputs
        .iter()
        .any(|&i| matches!(graph.nodes[i].op, FloatOp::Input { .. }))
}

/// Moves a quantization mark before a MaxPool or Layout, makes one of two with the same scale, and drops one beside an equal one.
fn hoist_quantize(graph: &mut FloatGraph) -> bool {
    let mut readers = graph.readers();
    for id in 0..graph.nodes.len() {
        let FloatOp::Quantize { .. } = graph.nodes[id].op else {
            continue;
        };
        let [from] = graph.nodes[id].inputs[..] else {
            continue;
        };
        if readers[id].is_empty() {
            continue;
        }
        if let Some(one) = narrower(&graph.nodes[from].op, &graph.nodes[id].op)
            && (one == graph.nodes[from].op || readers[from] == [id] && !reads_input(graph, from))
        {
            graph.nodes[from].op = one;
            bypass(graph, &mut readers, id, from);
            return true;
        }
        let same = |&other: &usize| {
            let node = graph.nodes.get(other);
            other < id && node.is_some_and(|n| n.op == graph.nodes[id].op)
        };
        if let Some(twin) = readers[from].iter().copied().find(same) {
            bypass(graph, &mut readers, id, twin);
            return true;
        }
        let moves = matches!(
            graph.nodes[from].op,
            FloatOp::MaxPool { .. } | FloatOp::Layout { .. }
        );
        if moves && readers[from] == [id] {
            swap(graph, from, id);
            return true;
        }
    }
    false
}

pub(super) fn drop_unread(graph: &mut FloatGraph) {
    let mut needed = vec![false; graph.nodes.len()];
    for &id in graph
        .inputs
        .iter()
        .chain(graph.outputs.iter().map(|(_, id)| id))
    {
        needed[id] = true;
    }
    for id in (0..graph.nodes.len()).rev() {
        if needed[id] {
            for &input in &graph.nodes[id].inputs {
                needed[input] = true;
            }
        }
    }
    let mut kept = 0;
    let renamed: Vec<usize> = needed
        .iter()
        .map(|&needed| {
            kept += usize::from(needed);
            kept.saturating_sub(1)
        })
        .collect();
    let mut flags = needed.into_iter();
    graph.nodes.retain(|_| flags.next().unwrap_or(false));
    for node in &mut graph.nodes {
        for input in &mut node.inputs {
            *input = renamed[*input];
        }
    }
    for id in graph
        .inputs
        .iter_mut()
        .chain(graph.outputs.iter_mut().map(|(_, id)| id))
    {
        *id = renamed[*id];
    }
}

#[cfg(test)]
mod tests {
    use super::inner_before;

    #[test]
    fn channels_behind_a_layout_are_found_before_it() {
        // [h·w, channels] → [channels, h·w], as a pointwise convolution ends
        assert_eq!(inner_before(&[1, 64, 8], &[0, 2, 1], 64, 8), Some(1));
        assert_eq!(inner_before(&[8, 1, 64], &[2, 0, 1], 1, 8), Some(64));
        // two axes that number the channels, in order and not
        assert_eq!(inner_before(&[5, 2, 3, 7], &[1, 2, 0, 3], 35, 6), Some(7));
        assert_eq!(inner_before(&[5, 2, 3, 7], &[2, 1, 0, 3], 35, 6), None);
        // axes between them, and channels that are no whole axes
        assert_eq!(inner_before(&[2, 5, 3], &[0, 2, 1], 5, 6), None);
        assert_eq!(inner_before(&[4, 6], &[1, 0], 2, 12), None);
        // one factor, and a view
        assert_eq!(inner_before(&[4, 6], &[1, 0], 24, 1), Some(24));
        assert_eq!(inner_before(&[4, 1, 6], &[0, 2, 1], 3, 8), Some(3));
    }

    /// By definition: the channel of every element before the layout is that of the element it becomes.
    #[test]
    fn every_element_keeps_its_channel() {
        let view = [3, 2, 4];
        let orders = [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ];
        let mut moved = 0;
        for axes in orders {
            let sizes = axes.map(|a| view[a]);
            for (inner, channels) in [
                (1, 2),
                (1, 3),
                (1, 4),
                (2, 3),
                (3, 2),
                (4, 2),
                (6, 4),
                (8, 3),
                (12, 2),
                (1, 12),
                (2, 12),
            ] {
                let Some(before) = inner_before(&view, &axes, inner, channels) else {
                    continue;
                };
                moved += 1;
                for i in 0..24 {
                    let at = [
                        i / (sizes[1] * sizes[2]),
                        i / sizes[2] % sizes[1],
                        i % sizes[2],
                    ];
                    let mut place = [0; 3];
                    for (axis, index) in axes.iter().zip(at) {
                        place[*axis] = index;
                    }
                    let from = (place[0] * view[1] + place[1]) * view[2] + place[2];
                    assert_eq!(
                        i / inner % channels,
                        from / before % channels,
                        "{axes:?} {inner} {channels}"
                    );
                }
            }
        }
        assert!(moved > 20, "{moved}");
    }
}
