//! Ensembles of decision trees.
//!
//! Every inner node is one comparison of a feature with a constant. From the lowest inner nodes up, each chooses the number of the leaf that its left or
//! its right subtree chose; the roots' choices are rows of a table of leaf weights, which are summed over the trees. Comparisons and choices are
//! exact on the quantized features, with thresholds rounded to 1/256 of their step: a proof is about the leaves that these reach.

use super::super::ImportError;
use super::super::quantized::refuse;
use super::{Labels, PostTransform, Rewrite, floats, input, integer, integers, text};
use std::collections::{BTreeMap, HashMap, HashSet};
use tract_onnx::pb::{AttributeProto, NodeProto, attribute_proto::AttributeType};

/// Most nodes of all trees of an ensemble.
const MAX_NODES: usize = 1 << 17;
/// Most comparisons from a root to a leaf.
const MAX_DEPTH: usize = 256;
/// Most choices of a row that are carried from a height to the next, over all heights.
const MAX_CARRIED: usize = 1 << 22;
/// Operator set of the comparisons and sums that trees become.
const LEAST_OPERATOR_SET: i64 = 13;
/// Most weights of all ensembles of a model: leaves times outputs.
const MAX_WEIGHTS: usize = 1 << 22;

/// What stands below a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Child {
    Leaf(usize),
    Inner(usize),
}

/// An inner node: it chooses what the first child chooses where the comparison holds, else what the second one does.
#[derive(Clone, Copy, Debug)]
struct Inner {
    feature: i64,
    threshold: f32,
    below: [Child; 2],
}

/// The trees of an operator, without their order.
struct Forest {
    /// ONNX's comparison of a feature with a threshold.
    relation: &'static str,
    inner: Vec<Inner>,
    /// Inner nodes by height, those just above leaves first.
    heights: Vec<Vec<usize>>,
    roots: Vec<Child>,
    /// By (tree, node), the number of the leaf.
    leaves: HashMap<(i64, i64), usize>,
}

/// Weights by leaf and output, and which of them are listed.
struct Weights {
    values: Vec<f32>,
    listed: Vec<bool>,
    outputs: usize,
}

/// The comparison of a branch, and whether its sides are exchanged.
fn relation(mode: &[u8]) -> Option<(&'static str, bool)> {
    Some(match mode {
        b"BRANCH_LEQ" => ("LessOrEqual", false),
        b"BRANCH_LT" => ("Less", false),
        b"BRANCH_GT" => ("LessOrEqual", true),
        b"BRANCH_GTE" => ("Less", true),
        b"BRANCH_EQ" => ("Equal", false),
        b"BRANCH_NEQ" => ("Equal", true),
        _ => return None,
    })
}

/// A node as the attributes list it.
enum Listed {
    Leaf(usize),
    Inner {
        relation: &'static str,
        inner: usize,
        below: [usize; 2],
    },
}

impl Forest {
    fn of(node: &NodeProto) -> Result<Self, ImportError> {
        let [trees, ids, features, yes, no] = [
            "nodes_treeids",
            "nodes_nodeids",
            "nodes_featureids",
            "nodes_truenodeids",
            "nodes_falsenodeids",
        ]
        .map(|name| integers(node, name));
        let values = floats(node, "nodes_values");
        let modes = node.attribute.iter().find(|a| a.name == "nodes_modes");
        let modes = modes.map_or(&[][..], |a| &a.strings);
        let n = ids.len();
        let lengths = [
            trees.len(),
            features.len(),
            yes.len(),
            no.len(),
            values.len(),
            modes.len(),
        ];
        if lengths.iter().any(|len| *len != n) || !(1..=MAX_NODES).contains(&n) {
            let reason = format!(
                "lists of {n} and {lengths:?} for its nodes; expected as many of each, between 1 and {MAX_NODES} (values as float32)"
            );
            return Err(refuse(node, reason));
        }
        let mut at = HashMap::with_capacity(n);
        for (i, (tree, id)) in trees.iter().zip(ids).enumerate() {
            if at.insert((*tree, *id), i).is_some() {
                return Err(refuse(node, format!("tree {tree} has node {id} twice")));
            }
        }
        let mut parents = vec![0u8; n];
        let (mut listed, mut inner, mut leaves) = (Vec::with_capacity(n), vec![], HashMap::new());
        for i in 0..n {
            if &modes[i][..] == b"LEAF" {
                listed.push(Listed::Leaf(leaves.len()));
                leaves.insert((trees[i], ids[i]), leaves.len());
                continue;
            }
            let Some((relation, exchanged)) = relation(&modes[i]) else {
                let mode = String::from_utf8_lossy(&modes[i]);
                return Err(refuse(
                    node,
                    format!("the mode {mode:.40}; expected LEAF or a BRANCH with one value"),
                ));
            };
            let mut below = [yes[i], no[i]];
            if exchanged {
                below.reverse();
            }
            let child = |id: i64| {
                at.get(&(trees[i], id)).copied().ok_or_else(|| {
                    refuse(
                        node,
                        format!(
                            "tree {} has no node {id}, which its node {} names",
                            trees[i], ids[i]
                        ),
                    )
                })
            };
            let below = [child(below[0])?, child(below[1])?];
            for child in below {
                parents[child] = parents[child].saturating_add(1);
            }
            listed.push(Listed::Inner {
                relation,
                inner: inner.len(),
                below,
            });
            // the children follow when all nodes have their numbers
            inner.push(Inner {
                feature: features[i],
                threshold: values[i],
                below: [Child::Leaf(0); 2],
            });
        }
        if let Some(i) = parents.iter().position(|parents| *parents > 1) {
            let reason = format!(
                "node {} of tree {} is below two branches; expected a tree",
                ids[i], trees[i]
            );
            return Err(refuse(node, reason));
        }
        let (mut known, roots) = (HashSet::new(), parents.iter().filter(|p| **p == 0).count());
        let first = (0..n).filter(|&i| known.insert(trees[i]));
        let first: Vec<usize> = first.collect();
        if roots != first.len() || first.iter().any(|&i| parents[i] > 0) {
            let reason = format!(
                "{roots} roots in {} trees; expected the first node of every tree to be its only root",
                first.len()
            );
            return Err(refuse(node, reason));
        }
        if let Some(feature) = inner.iter().map(|i: &Inner| i.feature).find(|f| *f < 0) {
            return Err(refuse(
                node,
                format!("the feature {feature}; expected none below 0"),
            ));
        }
        let mut forest = Self {
            relation: "LessOrEqual",
            inner,
            heights: vec![],
            roots: vec![],
            leaves,
        };
        forest.link(node, &listed, &parents)?;
        Ok(forest)
    }

    /// Children, heights and roots; every node must hang below a root.
    fn link(
        &mut self,
        node: &NodeProto,
        listed: &[Listed],
        parents: &[u8],
    ) -> Result<(), ImportError> {
        let child = |i: usize| match listed[i] {
            Listed::Leaf(leaf) => Child::Leaf(leaf),
            Listed::Inner { inner, .. } => Child::Inner(inner),
        };
        // parents before children
        let roots: Vec<usize> = (0..listed.len()).filter(|&i| parents[i] == 0).collect();
        let (mut order, mut next) = (roots.clone(), 0);
        let mut relations = vec![];
        while let Some(&i) = order.get(next) {
            next += 1;
            if let Listed::Inner {
                relation,
                inner,
                below,
            } = listed[i]
            {
                relations.push(relation);
                order.extend(below);
                self.inner[inner].below = below.map(child);
            }
        }
        if order.len() != listed.len() {
            return Err(refuse(
                node,
                "a branch that leads back to itself; expected trees",
            ));
        }
        relations.sort_unstable();
        relations.dedup();
        match relations[..] {
            [] => {}
            [relation] => self.relation = relation,
            _ => {
                return Err(refuse(
                    node,
                    format!(
                        "comparisons of several kinds ({}); expected one",
                        relations.join(", ")
                    ),
                ));
            }
        }
        let mut heights = vec![0usize; self.inner.len()];
        for i in order.into_iter().rev() {
            let Listed::Inner { inner, .. } = listed[i] else {
                continue;
            };
            let [yes, no] = self.inner[inner].below.map(|child| match child {
                Child::Leaf(_) => 0,
                Child::Inner(below) => heights[below] + 1,
            });
            let height = yes.max(no);
            heights[inner] = height;
            if self.heights.len() <= height {
                self.heights.resize(height + 1, vec![]);
            }
            self.heights[height].push(inner);
        }
        self.roots = roots.into_iter().map(child).collect();
        let depth = self.heights.len();
        if depth > MAX_DEPTH {
            let reason = format!("a tree of depth {depth}; expected at most {MAX_DEPTH}");
            return Err(refuse(node, reason));
        }
        Ok(())
    }

    /// Weights by leaf and output, from the lists that begin with `kind`, of which there may be so many.
    fn weights(
        &self,
        node: &NodeProto,
        kind: &str,
        outputs: usize,
        most: usize,
    ) -> Result<Weights, ImportError> {
        let list = |name: &str| integers(node, &format!("{kind}_{name}"));
        let [trees, nodes, ids] = ["treeids", "nodeids", "ids"].map(list);
        let values = floats(node, &format!("{kind}_weights"));
        if [trees.len(), nodes.len(), ids.len()]
            .iter()
            .any(|len| *len != values.len())
        {
            let reason = format!(
                "lists of different lengths for its {kind} weights (expected float32 ones)"
            );
            return Err(refuse(node, reason));
        }
        let size = self.leaves.len().checked_mul(outputs);
        let size = size.filter(|size| *size <= most).ok_or_else(|| {
            let leaves = self.leaves.len();
            refuse(
                node,
                format!(
                    "{leaves} leaves with {outputs} weights; expected at most {MAX_WEIGHTS} in all"
                ),
            )
        })?;
        let mut weights = Weights {
            values: vec![0.0; size],
            listed: vec![false; size],
            outputs,
        };
        for (i, value) in values.iter().enumerate() {
            let leaf = self.leaves.get(&(trees[i], nodes[i]));
            let output = usize::try_from(ids[i]).ok().filter(|o| *o < outputs);
            let (Some(leaf), Some(output)) = (leaf, output) else {
                let reason = format!(
                    "a weight of node {} of tree {} for output {}; expected a leaf and an output below {outputs}",
                    nodes[i], trees[i], ids[i]
                );
                return Err(refuse(node, reason));
            };
            let at = leaf * outputs + output;
            if std::mem::replace(&mut weights.listed[at], true) {
                let reason = format!(
                    "two weights of node {} of tree {} for output {output}",
                    nodes[i], trees[i]
                );
                return Err(refuse(node, reason));
            }
            weights.values[at] = *value;
        }
        Ok(weights)
    }

    /// Whether every leaf of some tree has a weight for every output: then every output always has a score.
    fn always_scores(&self, weights: &Weights) -> bool {
        let mut scored: HashMap<i64, Vec<bool>> = HashMap::new();
        for ((tree, _), leaf) in &self.leaves {
            let all = scored
                .entry(*tree)
                .or_insert_with(|| vec![true; weights.outputs]);
            let listed = &weights.listed[leaf * weights.outputs..];
            all.iter_mut()
                .zip(listed)
                .for_each(|(all, listed)| *all &= listed);
        }
        (0..weights.outputs).all(|output| scored.values().any(|all| all[output]))
    }
}

/// The choices that are made so far: one tensor of leaf numbers, and where in it an inner node's choice is.
#[derive(Default)]
struct Chosen {
    tensor: Option<String>,
    place: BTreeMap<usize, i64>,
}

impl Rewrite {
    pub(super) fn tree_regressor(&mut self, node: &NodeProto) -> Result<(), ImportError> {
        let targets = node.attribute.iter().find(|a| a.name == "n_targets");
        let targets = usize::try_from(targets.map_or(1, |a| a.i))
            .ok()
            .filter(|n| *n > 0);
        let targets = targets.ok_or_else(|| refuse(node, "n_targets below 1"))?;
        let forest = Forest::of(node)?;
        let weights = forest.weights(node, "target", targets, self.weights_left())?;
        let ends = [Some(&b"MIN"[..]), Some(b"MAX")];
        if ends.contains(&text(node, "aggregate_function")) && !weights.listed.iter().all(|l| *l) {
            return Err(refuse(
                node,
                "leaves without a weight for every target; expected one for MIN and MAX",
            ));
        }
        let sums = self.sums(node, &forest, weights)?;
        self.predicted(node, &sums)
    }

    pub(super) fn tree_classifier(&mut self, node: &NodeProto) -> Result<(), ImportError> {
        let labels = Labels::of(node, "classlabels_int64s")?;
        let forest = Forest::of(node)?;
        if labels.len() > 2 {
            let weights = forest.weights(node, "class", labels.len(), self.weights_left())?;
            // a class that no leaf scored would not be compared with the others
            if floats(node, "base_values").is_empty() && !forest.always_scores(&weights) {
                return Err(refuse(
                    node,
                    "a class without base values that not every leaf of some tree scores",
                ));
            }
            let sums = self.sums(node, &forest, weights)?;
            return self.classified(node, &labels, &sums, &sums);
        }
        // one score s for two classes, as class 0 lists it
        let weights = forest.weights(node, "class", 1, self.weights_left())?;
        let shares = weights.values.iter().all(|w| *w >= 0.0);
        let transform = PostTransform::of(node)?;
        if transform == PostTransform::Softmax || (shares && transform == PostTransform::Logistic) {
            return Err(refuse(
                node,
                "this post_transform of one score for two classes; expected NONE, or LOGISTIC of scores with signs",
            ));
        }
        let sums = self.sums(node, &forest, weights)?;
        // (1 − s, s) where s is a share, else (−s, s)
        let signs = self.floats(node, "signs", &[2], vec![-1.0, 1.0]);
        let mut both = self.push(node, ("Mul", "both"), &[&sums, &signs], vec![], None);
        if shares {
            let rest = self.floats(node, "rest", &[2], vec![1.0, 0.0]);
            both = self.push(node, ("Add", "shares"), &[&both, &rest], vec![], None);
        }
        self.classified(node, &labels, &both, &both)
    }

    fn weights_left(&self) -> usize {
        MAX_WEIGHTS.saturating_sub(self.weights)
    }

    /// Base values plus the sum, mean, least or largest of the leaves' weights.
    fn sums(
        &mut self,
        node: &NodeProto,
        forest: &Forest,
        Weights {
            values, outputs, ..
        }: Weights,
    ) -> Result<String, ImportError> {
        self.weights += values.len();
        let (reduction, axes_are_input) = match text(node, "aggregate_function") {
            None | Some(b"SUM" | b"AVERAGE") => ("ReduceSum", true),
            Some(b"MIN") => ("ReduceMin", self.operator_set >= 18),
            Some(b"MAX") => ("ReduceMax", self.operator_set >= 18),
            Some(other) => {
                let other = String::from_utf8_lossy(other);
                return Err(refuse(
                    node,
                    format!("aggregate_function {other:.40}; expected SUM, AVERAGE, MIN or MAX"),
                ));
            }
        };
        if self.operator_set < LEAST_OPERATOR_SET {
            let got = self.operator_set;
            let reason = format!("operator set {got}; expected at least {LEAST_OPERATOR_SET}");
            return Err(refuse(node, reason));
        }
        let leaves = self.leaves(node, forest)?;
        let table = self.floats(node, "weights", &[forest.leaves.len(), outputs], values);
        let each = self.push(
            node,
            ("Gather", "each"),
            &[&table, &leaves],
            vec![integer("axis", 0)],
            None,
        );
        let axes = self.integers(node, "axes", &[1], vec![1]);
        let mut attributes = vec![integer("keepdims", 0)];
        let mut inputs = vec![&*each, &axes];
        if !axes_are_input {
            inputs.truncate(1);
            attributes.push(AttributeProto {
                ints: vec![1],
                r#type: AttributeType::Ints.into(),
                ..integer("axes", 0)
            });
        }
        let mut sums = self.push(node, (reduction, "trees"), &inputs, attributes, None);
        if text(node, "aggregate_function") == Some(b"AVERAGE") {
            let share = self.floats(node, "share", &[1], vec![1.0 / forest.roots.len() as f32]);
            sums = self.push(node, ("Mul", "mean"), &[&sums, &share], vec![], None);
        }
        match floats(node, "base_values") {
            [] => Ok(sums),
            base if base.len() == outputs => {
                let base = self.floats(node, "base", &[outputs], base.to_vec());
                Ok(self.push(node, ("Add", "based"), &[&sums, &base], vec![], None))
            }
            base => Err(refuse(
                node,
                format!("{} base values; expected {outputs}", base.len()),
            )),
        }
    }

    /// The numbers of the leaves that the trees reach: [N, trees].
    fn leaves(&mut self, node: &NodeProto, forest: &Forest) -> Result<String, ImportError> {
        if forest
            .roots
            .iter()
            .any(|root| matches!(root, Child::Leaf(_)))
        {
            return Err(refuse(
                node,
                "a tree that is one leaf; expected branches (add its weight to the base values)",
            ));
        }
        let x = input(node, 0)?;
        let order: Vec<usize> = forest.heights.concat();
        let features = order.iter().map(|&i| forest.inner[i].feature).collect();
        let features = self.integers(node, "features", &[order.len()], features);
        let read = self.push(
            node,
            ("Gather", "read"),
            &[x, &features],
            vec![integer("axis", 1)],
            None,
        );
        let thresholds = order.iter().map(|&i| forest.inner[i].threshold).collect();
        let thresholds = self.floats(node, "thresholds", &[order.len()], thresholds);
        let holds = self.push(
            node,
            (forest.relation, "holds"),
            &[&read, &thresholds],
            vec![],
            None,
        );
        let mut chosen = Chosen::default();
        let (mut first, mut carried) = (0i64, 0usize);
        for height in &forest.heights {
            carried += chosen.place.len();
            if carried > MAX_CARRIED {
                let reason = format!(
                    "trees of depth {} with {} branches",
                    forest.heights.len(),
                    order.len()
                );
                return Err(refuse(node, reason + "; expected fewer or flatter ones"));
            }
            self.choose(node, forest, &holds, (first, height), &mut chosen);
            first += height.len() as i64;
        }
        let places = forest.roots.iter().filter_map(|root| match root {
            Child::Inner(i) => chosen.place.get(i).copied(),
            Child::Leaf(_) => None,
        });
        let places: Vec<i64> = places.collect();
        let places = self.integers(node, "roots", &[places.len()], places);
        let all = chosen.tensor.unwrap_or_default();
        Ok(self.push(
            node,
            ("Gather", "leaves"),
            &[&all, &places],
            vec![integer("axis", 1)],
            None,
        ))
    }

    /// The choices of the inner nodes of one height, whose comparisons begin at `first`: one selection for each way that
    /// leaves and choices stand below a branch.
    fn choose(
        &mut self,
        node: &NodeProto,
        forest: &Forest,
        holds: &str,
        (first, height): (i64, &[usize]),
        chosen: &mut Chosen,
    ) {
        let is_leaf = |child: Child| matches!(child, Child::Leaf(_));
        let mut made: Vec<String> = chosen.tensor.clone().into_iter().collect();
        for leaves in [[true, true], [true, false], [false, true], [false, false]] {
            let places = (first..).zip(height);
            let of_kind: Vec<(i64, usize)> = places
                .map(|(at, i)| (at, *i))
                .filter(|(_, i)| forest.inner[*i].below.map(is_leaf) == leaves)
                .collect();
            let Some((start, _)) = of_kind.first() else {
                continue;
            };
            let [yes, no] = leaves.map(u8::from);
            let part = |what: &str| format!("{what}.{start}.{yes}{no}");
            let n = of_kind.len();
            let at = self.integers(
                node,
                &part("at"),
                &[n],
                of_kind.iter().map(|(at, _)| *at).collect(),
            );
            let axis = || vec![integer("axis", 1)];
            let condition = self.push(
                node,
                ("Gather", &part("holds")),
                &[holds, &at],
                axis(),
                None,
            );
            let mut sides = vec![];
            for (side, name) in ["yes", "no"].into_iter().enumerate() {
                let numbers = of_kind
                    .iter()
                    .map(|(_, i)| match forest.inner[*i].below[side] {
                        Child::Leaf(leaf) => leaf as i64,
                        // lower inner nodes were placed before
                        Child::Inner(below) => chosen.place.get(&below).copied().unwrap_or(0),
                    });
                let numbers = numbers.collect();
                sides.push(if leaves[side] {
                    self.integers(node, &part(name), &[1, n], numbers)
                } else {
                    let index = self.integers(node, &part(name), &[n], numbers);
                    let all = chosen.tensor.clone().unwrap_or_default();
                    self.push(node, ("Gather", &part(name)), &[&all, &index], axis(), None)
                });
            }
            let inputs = [&*condition, &sides[0], &sides[1]];
            made.push(self.push(node, ("Where", &part("choice")), &inputs, vec![], None));
            for (_, i) in of_kind {
                let place = chosen.place.len() as i64;
                chosen.place.insert(i, place);
            }
        }
        chosen.tensor = match &made[..] {
            [one] => Some(one.clone()),
            all => {
                let all: Vec<&str> = all.iter().map(String::as_str).collect();
                let name = format!("chosen.{first}");
                Some(self.push(
                    node,
                    ("Concat", &name),
                    &all,
                    vec![integer("axis", 1)],
                    None,
                ))
            }
        };
    }
}
