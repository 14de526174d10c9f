//! # The specialised contract
//! The plan of one key as Solidity: key inlined, arithmetic in a straight line, nothing looked up. What is read more than once is kept in
//! memory, everything else is one expression of a bounded depth. An addition is reduced only where five times r would be passed.

use std::{
    collections::BTreeMap,
    fmt::{Result, Write},
};

use ark_bn254::{Fr, G1Affine};
use ark_ff::{AdditiveGroup, Field};
use zkinfer_verifier::{
    VerifyingKey,
    curve::{scalar_to_bytes, write_g1, write_g2},
    halo2_kzg::{Protocol, omega, transcript::TRANSCRIPT_DOMAIN},
};

use super::{
    graph::{Graph, Id, Input, Node},
    plan::{Chain, Plan, Point},
};

const TEMPLATE: &str = include_str!("../../../templates/Halo2KzgSpecialised.sol.in");
/// Stack items that an expression may take.
const MAX_DEPTH: usize = 7;
/// Values that are kept on the stack instead of in memory.
const N_LOCALS: usize = 3;
/// Multiples of r that fit 256 bits.
const MAX_BOUND: u8 = 5;
/// −\[1\] in G2: x.c1, x.c0, y.c1, y.c0.
const MINUS_G2: [&str; 4] = [
    "0x198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2",
    "0x1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed",
    "0x275dc4a288d1afb3cbb1ac09187524c7db36395df7be3b99e673b13a075a65ec",
    "0x1d9befcd05a5323e6da4d435f3b617cdb3af83285c2df711ef39c01571827f9d",
];

/// The source of the specialised contract; `about` and `constructor` are Solidity.
pub(crate) fn source(key: &VerifyingKey, p: &Protocol, about: &str, constructor: &str) -> String {
    let plan = Plan::new(p);
    let mut writer = Writer::new(key, p, &plan);
    let mut body = String::new();
    // Writing to a String does not fail.
    let _ = writer.body(&mut body);
    let digest = format!("0x{}", hex::encode(key.digest()));
    let repr = format!("0x{}", hex::encode(scalar_to_bytes(p.transcript_repr)));
    let domain = format!("0x{}", hex::encode(TRANSCRIPT_DOMAIN));
    TEMPLATE
        .replace("@ABOUT@", about.trim_end())
        .replace("@CONSTRUCTOR@", constructor)
        .replace("@PUBLIC_BYTES@", &key.layout.public_bytes().to_string())
        .replace("@WORDS@", &key.layout.n_words().to_string())
        .replace("@PROOF_BYTES@", &p.proof_bytes().to_string())
        .replace("@VK_DIGEST@", &digest)
        .replace("@REPR@", &repr)
        .replace("@DOMAIN@", &domain)
        .replace("@R_AT@", &(writer.runtime + 128).to_string())
        .replace("@Q_AT@", &(writer.runtime + 160).to_string())
        .replace("@M_AT@", &(writer.runtime + 192).to_string())
        .replace("@TOTAL@", &writer.total.to_string())
        .replace("@BODY@", body.trim_end())
}

/// An expression, the stack items it takes, and the multiple of r it is below.
#[derive(Clone, Debug)]
struct Expression {
    text: String,
    depth: usize,
    bound: u8,
}

struct Writer<'a> {
    p: &'a Protocol,
    plan: &'a Plan,
    uses: Vec<usize>,
    /// Nodes kept in memory: offset and bound, once computed.
    kept: BTreeMap<Id, (usize, u8)>,
    /// Inputs on the stack.
    locals: BTreeMap<Input, String>,
    n_words: usize,
    proof: usize,
    pairs: usize,
    challenges: usize,
    runtime: usize,
    total: usize,
}

impl<'a> Writer<'a> {
    fn new(key: &VerifyingKey, p: &'a Protocol, plan: &'a Plan) -> Self {
        let n_words = key.layout.n_words();
        let proof = 96 + 32 * n_words;
        // W' is the first point of the pairing's input, which goes on behind the proof.
        let pairs = proof + p.proof_bytes() - 64;
        let challenges = pairs + 384;
        let runtime = challenges + 32 * plan.absorbed.len();
        // Behind the four values: r, q and m.
        let total = runtime + 224;
        Self {
            p,
            plan,
            uses: plan.graph.uses(&plan.outputs()),
            kept: BTreeMap::new(),
            locals: BTreeMap::new(),
            n_words,
            proof,
            pairs,
            challenges,
            runtime,
            total,
        }
    }

    fn evals(&self) -> usize {
        self.proof + 64 * self.p.n_commitments()
    }

    fn body(&mut self, out: &mut String) -> Result {
        self.canonical(out)?;
        self.transcript(out)?;
        self.instance(out)?;
        let graph = &self.plan.graph;
        writeln!(out, "\n            // Denominators, and their product.")?;
        let early = graph.uses(&[self.plan.inverted]);
        self.arithmetic(out, &early)?;
        self.inversion(out)?;
        writeln!(
            out,
            "\n            // Constraints at x, claimed evaluations at u, scalars."
        )?;
        let all = self.uses.clone();
        self.arithmetic(out, &all)?;
        self.group(out)?;
        self.pairing(out)
    }

    /// Every point finite, canonical and on the curve, every scalar canonical.
    fn canonical(&self, out: &mut String) -> Result {
        writeln!(out, "            {{")?;
        let q = at(self.runtime + 160);
        writeln!(out, "                let q := mload({q})")?;
        writeln!(out, "                let good := 1")?;
        let commitments = (0..self.p.n_commitments()).map(|i| self.proof + 64 * i);
        for offset in commitments.chain([self.pairs - 64, self.pairs]) {
            let place = at(offset);
            writeln!(out, "                good := and(good, point({place}, q))")?;
        }
        writeln!(
            out,
            "                if iszero(good) {{ fail(0xb8fedf87) }} // InvalidPoint()"
        )?;
        writeln!(out, "                good := 1")?;
        for i in 0..self.p.n_evals() {
            let eval = at(self.evals() + 32 * i);
            writeln!(
                out,
                "                good := and(good, lt(mload({eval}), r))"
            )?;
        }
        writeln!(
            out,
            "                if iszero(good) {{ fail(0x05b05ccc) }} // InvalidScalar()"
        )?;
        writeln!(out, "            }}")
    }

    fn transcript(&self, out: &mut String) -> Result {
        writeln!(
            out,
            "\n            // Challenges: the hash of all before, then of each hash and what follows it, in place, or of the hash and 0x01."
        )?;
        writeln!(out, "            {{")?;
        writeln!(out, "                let front")?;
        writeln!(out, "                let kept")?;
        writeln!(out, "                let h")?;
        let mut position = self.proof;
        for (i, words) in self.plan.absorbed.iter().enumerate() {
            let length = 32 * words;
            if i == 0 {
                writeln!(
                    out,
                    "                h := keccak256(m, {})",
                    position + length
                )?;
            } else if length == 0 {
                writeln!(out, "                mstore(0, h)")?;
                writeln!(out, "                mstore8(32, 1)")?;
                writeln!(out, "                h := keccak256(0, 33)")?;
            } else {
                writeln!(out, "                front := {}", at(position - 32))?;
                writeln!(out, "                kept := mload(front)")?;
                writeln!(out, "                mstore(front, h)")?;
                writeln!(
                    out,
                    "                h := keccak256(front, {})",
                    length + 32
                )?;
                writeln!(out, "                mstore(front, kept)")?;
            }
            position += length;
            if self.used_challenge(i) {
                let place = at(self.challenges + 32 * i);
                writeln!(out, "                mstore({place}, mod(h, r))")?;
            }
        }
        writeln!(out, "            }}")
    }

    fn used_challenge(&self, i: usize) -> bool {
        let graph = &self.plan.graph;
        let is = |id: &Id| graph.node(*id) == Node::Input(Input::Challenge(i));
        i == self.plan.x || graph.ids().any(|id| is(&id) && self.n_uses(id) > 0)
    }

    fn n_uses(&self, id: Id) -> usize {
        self.uses.get(id.index()).copied().unwrap_or_default()
    }

    /// x^n and the words: N/D = Σ_{i≥1} word_i / (x·ω^−i − 1).
    fn instance(&self, out: &mut String) -> Result {
        writeln!(
            out,
            "\n            // x^n, and N/D = Σ_{{i≥1}} word_i / (x·ω^−i − 1). A factor is below 2r; so is N."
        )?;
        writeln!(out, "            {{")?;
        writeln!(
            out,
            "                let x := mload({})",
            at(self.challenges + 32 * self.plan.x)
        )?;
        writeln!(out, "                let power := x")?;
        for _ in 0..self.p.k {
            writeln!(out, "                power := mulmod(power, power, r)")?;
        }
        writeln!(out, "                mstore({}, power)", at(self.runtime))?;
        let more = self.n_words.saturating_sub(1);
        let step = literal(omega(self.p).inverse().unwrap_or_default());
        writeln!(out, "                let n := 0")?;
        writeln!(out, "                let d := 1")?;
        if more > 0 {
            writeln!(out, "                let step := {step} // 1/ω")?;
            writeln!(out, "                let r1 := sub(r, 1)")?;
            writeln!(out, "                let factor")?;
        }
        let word = |out: &mut String, indent: &str, place: &str| -> Result {
            writeln!(out, "{indent}x := mulmod(x, step, r)")?;
            writeln!(out, "{indent}factor := add(x, r1)")?;
            writeln!(
                out,
                "{indent}n := add(mulmod(n, factor, r), mulmod(mload({place}), d, r))"
            )?;
            writeln!(out, "{indent}d := mulmod(d, factor, r)")
        };
        let single = if more < 12 { more } else { more % 4 };
        for i in 0..single {
            word(out, "                ", &at(128 + 32 * i))?;
        }
        if single < more {
            let (start, end) = (at(128 + 32 * single), at(self.proof));
            writeln!(out, "                let end := {end}")?;
            writeln!(
                out,
                "                for {{ let word := {start} }} lt(word, end) {{ word := add(word, 128) }} {{"
            )?;
            for place in ["word", "add(word, 32)", "add(word, 64)", "add(word, 96)"] {
                word(out, "                    ", place)?;
            }
            writeln!(out, "                }}")?;
        }
        writeln!(
            out,
            "                mstore({}, mod(n, r))",
            at(self.runtime + 32)
        )?;
        writeln!(out, "                mstore({}, d)", at(self.runtime + 64))?;
        writeln!(out, "            }}")
    }

    /// Computes and keeps what is wanted and not kept yet: values read twice, results, and parts of expressions that are too deep.
    fn arithmetic(&mut self, out: &mut String, wanted: &[usize]) -> Result {
        let graph = &self.plan.graph;
        let outputs = self.plan.outputs();
        let is_wanted = |id: &Id| wanted.get(id.index()).is_some_and(|n| *n > 0);
        let ids: Vec<Id> = graph.ids().filter(is_wanted).collect();

        // The inputs read most often go to the stack.
        let mut inputs: Vec<(usize, Input)> = ids
            .iter()
            .filter_map(|id| match graph.node(*id) {
                Node::Input(input) => Some((wanted.get(id.index()).copied()?, input)),
                _ => None,
            })
            .filter(|(n, _)| *n > 3)
            .collect();
        inputs.sort_unstable_by(|a, b| b.cmp(a));
        inputs.truncate(N_LOCALS);
        writeln!(out, "            {{")?;
        for (i, (_, input)) in inputs.into_iter().enumerate() {
            let load = self.load(input);
            writeln!(out, "                let c{i} := {load}")?;
            self.locals.insert(input, format!("c{i}"));
        }
        let mut open: BTreeMap<Id, Expression> = BTreeMap::new();
        for id in ids {
            if self.kept.contains_key(&id) {
                continue;
            }
            let expression = self.expression(graph, &mut open, id);
            let leaf = matches!(graph.node(id), Node::Input(_) | Node::Const(_));
            let named = outputs.contains(&id);
            if !leaf && (self.n_uses(id) > 1 || named || expression.depth >= MAX_DEPTH) {
                let offset = self.total;
                self.total += 32;
                writeln!(
                    out,
                    "                mstore({}, {})",
                    kept_at(offset),
                    expression.text
                )?;
                self.kept.insert(id, (offset, expression.bound));
            } else {
                open.insert(id, expression);
            }
        }
        self.locals.clear();
        writeln!(out, "            }}")
    }

    fn load(&self, input: Input) -> String {
        let offset = match input {
            Input::Eval(i) => self.evals() + 32 * i,
            Input::Challenge(i) => self.challenges + 32 * i,
            Input::Context => 96,
            Input::PowerOfX => self.runtime,
            Input::InstanceNumerator => self.runtime + 32,
            Input::InstanceDenominator => self.runtime + 64,
            Input::Inverse => self.runtime + 96,
        };
        format!("mload({})", at(offset))
    }

    /// An operand: kept in memory, or an expression that is written here and nowhere else.
    fn operand(&self, open: &mut BTreeMap<Id, Expression>, id: Id) -> Expression {
        if let Some((offset, bound)) = self.kept.get(&id) {
            return Expression {
                text: format!("mload({})", kept_at(*offset)),
                depth: 2,
                bound: *bound,
            };
        }
        let leaf = matches!(self.plan.graph.node(id), Node::Input(_) | Node::Const(_));
        let known = if leaf {
            open.get(&id).cloned()
        } else {
            open.remove(&id)
        };
        known.unwrap_or(Expression {
            text: "0".to_owned(),
            depth: 1,
            bound: 1,
        })
    }

    fn expression(&self, graph: &Graph, open: &mut BTreeMap<Id, Expression>, id: Id) -> Expression {
        // Arguments are evaluated from the right: the deeper one goes there.
        let order = |a: Expression, b: Expression| if a.depth > b.depth { (b, a) } else { (a, b) };
        match graph.node(id) {
            Node::Input(input) => match self.locals.get(&input) {
                Some(name) => Expression {
                    text: name.clone(),
                    depth: 1,
                    bound: 1,
                },
                None => Expression {
                    text: self.load(input),
                    depth: 2,
                    bound: 1,
                },
            },
            Node::Const(value) => Expression {
                text: literal(value),
                depth: 1,
                bound: 1,
            },
            Node::Mul(a, b) => {
                let (a, b) = (self.operand(open, a), self.operand(open, b));
                let (a, b) = order(a, b);
                Expression {
                    text: format!("mulmod({}, {}, r)", a.text, b.text),
                    depth: (1 + b.depth).max(2 + a.depth),
                    bound: 1,
                }
            }
            Node::Add(a, b) => {
                let (a, b) = (self.operand(open, a), self.operand(open, b));
                sum(order(a, b))
            }
            Node::Sub(a, b) => {
                let zero = graph.node(a) == Node::Const(Fr::ZERO);
                let (a, b) = (self.operand(open, a), self.operand(open, b));
                let multiple = match b.bound {
                    1 => "r".to_owned(),
                    n => multiple_of_r(n),
                };
                let negative = Expression {
                    text: format!("sub({multiple}, {})", b.text),
                    depth: 1 + b.depth,
                    bound: b.bound,
                };
                if zero {
                    // Up to the multiple itself, for b = 0: one more is needed to stay below.
                    return match negative.bound + 1 {
                        bound if bound <= MAX_BOUND => Expression { bound, ..negative },
                        _ => Expression {
                            text: format!("mod({}, r)", negative.text),
                            depth: 1 + negative.depth,
                            bound: 1,
                        },
                    };
                }
                sum(order(a, negative))
            }
        }
    }

    fn inversion(&self, out: &mut String) -> Result {
        let (product, _) = self.kept_of(self.plan.inverted);
        let (product, inverse) = (kept_at(product), at(self.runtime + 96));
        let scratch = self.pairs + 64;
        writeln!(
            out,
            "\n            // One inversion. If a denominator is zero, so is the product, and no inverse passes."
        )?;
        writeln!(out, "            let ok")?;
        writeln!(out, "            {{")?;
        writeln!(out, "                let s := {}", at(scratch))?;
        for offset in [0, 32, 64] {
            writeln!(out, "                mstore(add(s, {offset}), 32)")?;
        }
        writeln!(out, "                mstore(add(s, 96), mload({product}))")?;
        writeln!(out, "                mstore(add(s, 128), sub(r, 2))")?;
        writeln!(out, "                mstore(add(s, 160), r)")?;
        writeln!(out, "                mstore({inverse}, 0)")?;
        writeln!(
            out,
            "                ok := staticcall(gas(), 5, s, 192, {inverse}, 32)"
        )?;
        writeln!(
            out,
            "                ok := and(ok, eq(returndatasize(), 32))"
        )?;
        writeln!(
            out,
            "                ok := and(ok, eq(mulmod(mload({product}), mload({inverse}), r), 1))"
        )?;
        writeln!(
            out,
            "                if iszero(ok) {{ fail(0x09bde339) }} // InvalidProof()"
        )?;
        writeln!(out, "            }}")
    }

    fn kept_of(&self, id: Id) -> (usize, u8) {
        self.kept.get(&id).copied().unwrap_or_default()
    }

    fn scalar(&self, id: Id) -> String {
        match (self.plan.graph.node(id), self.kept.get(&id)) {
            (Node::Input(input), _) => self.load(input),
            (Node::Const(value), _) => literal(value),
            (_, Some((offset, _))) => format!("mload({})", kept_at(*offset)),
            (_, None) => "0".to_owned(),
        }
    }

    /// x and y of a point that is not a chain.
    fn point(&self, point: Point) -> [String; 2] {
        let constant = |point: Option<&G1Affine>| {
            let mut bytes = Vec::with_capacity(64);
            write_g1(&mut bytes, point.unwrap_or(&G1Affine::identity()));
            let (x, y) = bytes.split_at(32);
            [x, y].map(|half| {
                let hex = hex::encode(half);
                let short = hex.trim_start_matches('0');
                if short.is_empty() {
                    "0".to_owned()
                } else {
                    format!("0x{hex}")
                }
            })
        };
        let loaded = |offset: usize| [offset, offset + 32].map(|o| format!("mload({})", at(o)));
        match point {
            Point::Fixed(i) => constant(self.p.fixed.get(i)),
            Point::Sigma(i) => constant(self.p.sigma.get(i)),
            Point::Commitment(i) => loaded(self.proof + 64 * i),
            Point::W => loaded(self.pairs - 64),
            Point::WPrime => loaded(self.pairs),
            Point::Generator => ["1".to_owned(), "2".to_owned()],
            // A chain inside another stands in its own place.
            Point::Chain(i) => loaded(self.chain_place(i)),
        }
    }

    /// Chains that are points of other chains are computed behind everything else.
    fn chain_place(&self, i: usize) -> usize {
        self.total + 128 * i
    }

    fn group(&mut self, out: &mut String) -> Result {
        let plan = self.plan;
        writeln!(
            out,
            "\n            // F + u·W'. Each sum by Horner's rule: times the challenge, plus the next commitment."
        )?;
        writeln!(out, "            {{")?;
        writeln!(out, "                let t")?;
        writeln!(out, "                let t2")?;
        writeln!(out, "                let t3")?;
        let mut sized = [false; 2];
        for (i, chain) in plan.chains.iter().enumerate() {
            let inner = plan
                .chains
                .iter()
                .any(|other| other.points.contains(&Point::Chain(i)));
            if inner {
                self.horner(out, &mut sized, self.chain_place(i), chain)?;
            }
        }
        let total = self.pairs + 192;
        self.place(out, &mut sized, total, plan.first)?;
        let sum = at(total);
        for (scalar, point) in &plan.terms {
            self.place(out, &mut sized, total + 64, *point)?;
            writeln!(out, "                mstore(t2, {})", self.scalar(*scalar))?;
            call(out, &mut sized, 7, "t", 96)?;
            call(out, &mut sized, 6, &sum, 128)?;
        }
        writeln!(out, "            }}")?;
        self.total += 128 * plan.chains.len();
        Ok(())
    }

    /// A point, or the sum of a chain, at `offset`; t is there afterwards.
    fn place(
        &self,
        out: &mut String,
        sized: &mut [bool; 2],
        offset: usize,
        point: Point,
    ) -> Result {
        if let Point::Chain(i) = point
            && let Some(chain) = self.plan.chains.get(i)
        {
            return self.horner(out, sized, offset, chain);
        }
        let [x, y] = self.point(point);
        writeln!(out, "                t := {}", at(offset))?;
        writeln!(out, "                t2 := add(t, 64)")?;
        writeln!(out, "                mstore(t, {x})")?;
        writeln!(out, "                mstore(add(t, 32), {y})")
    }

    fn horner(
        &self,
        out: &mut String,
        sized: &mut [bool; 2],
        offset: usize,
        chain: &Chain,
    ) -> Result {
        let mut points = chain.points.iter();
        if let Some(first) = points.next() {
            let [x, y] = self.point(*first);
            writeln!(out, "                t := {}", at(offset))?;
            writeln!(out, "                t2 := add(t, 64)")?;
            writeln!(out, "                t3 := add(t, 96)")?;
            writeln!(out, "                mstore(t, {x})")?;
            writeln!(out, "                mstore(add(t, 32), {y})")?;
        }
        writeln!(out, "                {{")?;
        writeln!(
            out,
            "                    let c := {}",
            self.scalar(chain.at)
        )?;
        for point in points {
            let [x, y] = self.point(*point);
            writeln!(out, "                mstore(t2, c)")?;
            call(out, sized, 7, "t", 96)?;
            writeln!(out, "                mstore(t2, {x})")?;
            writeln!(out, "                mstore(t3, {y})")?;
            call(out, sized, 6, "t", 128)?;
        }
        writeln!(out, "                }}")
    }

    fn pairing(&self, out: &mut String) -> Result {
        let mut s_g2 = Vec::with_capacity(128);
        write_g2(&mut s_g2, &self.p.s_g2);
        writeln!(out, "\n            // e(W', [s]) · e(F + u·W', −[1]) = 1.")?;
        for (i, word) in s_g2.chunks(32).enumerate() {
            let place = at(self.pairs + 64 + 32 * i);
            writeln!(out, "            mstore({place}, 0x{})", hex::encode(word))?;
        }
        for (i, word) in MINUS_G2.iter().enumerate() {
            let place = at(self.pairs + 256 + 32 * i);
            writeln!(out, "            mstore({place}, {word})")?;
        }
        writeln!(out, "            mstore(0, 0)")?;
        writeln!(
            out,
            "            ok := and(ok, staticcall(gas(), 8, {}, 384, 0, 32))",
            at(self.pairs)
        )?;
        writeln!(out, "            ok := and(ok, eq(returndatasize(), 32))")?;
        writeln!(out, "            ok := and(ok, eq(mload(0), 1))")?;
        writeln!(
            out,
            "            if iszero(ok) {{ fail(0x09bde339) }} // InvalidProof()"
        )
    }
}

/// A call to precompile 6 or 7 in place. That the precompile is there is checked once: an address has code, or is one, for a whole transaction.
fn call(
    out: &mut String,
    sized: &mut [bool; 2],
    precompile: u8,
    place: &str,
    length: usize,
) -> Result {
    writeln!(
        out,
        "                ok := and(ok, staticcall(gas(), {precompile}, {place}, {length}, {place}, 64))"
    )?;
    if let Some(sized) = sized.get_mut(usize::from(precompile == 7))
        && !*sized
    {
        *sized = true;
        writeln!(
            out,
            "                ok := and(ok, eq(returndatasize(), 64))"
        )?;
    }
    Ok(())
}

fn sum((a, b): (Expression, Expression)) -> Expression {
    if a.bound + b.bound <= MAX_BOUND {
        Expression {
            text: format!("add({}, {})", a.text, b.text),
            depth: b.depth.max(1 + a.depth),
            bound: a.bound + b.bound,
        }
    } else {
        Expression {
            text: format!("addmod({}, {}, r)", a.text, b.text),
            depth: (1 + b.depth).max(2 + a.depth),
            bound: 1,
        }
    }
}

/// The address `offset` bytes behind m.
fn at(offset: usize) -> String {
    if offset == 0 {
        "m".to_owned()
    } else {
        format!("add(m, {offset:#x})")
    }
}

/// The address of a value that is kept, by m or by k in turns: an optimizer that cannot tell whether a store by one changes what stands
/// at the other loads values again, as meant, instead of computing them again.
fn kept_at(offset: usize) -> String {
    if offset / 32 % 2 == 0 {
        at(offset)
    } else {
        format!("add(k, {offset:#x})")
    }
}

fn literal(value: Fr) -> String {
    let text = hex::encode(scalar_to_bytes(value));
    let short = text.trim_start_matches('0');
    if short.len() <= 8 {
        format!("0x{}", if short.is_empty() { "0" } else { short })
    } else {
        format!("0x{text}")
    }
}

/// n·r as a literal, n up to 5.
fn multiple_of_r(n: u8) -> String {
    use ark_ff::{BigInteger, PrimeField};
    let mut sum = Fr::MODULUS;
    for _ in 1..n {
        sum.add_with_carry(&Fr::MODULUS);
    }
    format!("0x{}", hex::encode(sum.to_bytes_be()))
}
