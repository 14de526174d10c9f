//! # The specialised contract
//! The plan of one key as Solidity: key inlined, arithmetic in a straight line, nothing looked up. What is read more than once is kept in
//! memory, everything else is one expression of a bounded depth. An addition is reduced only where five times r would be passed.

mod arithmetic;
mod group;

use std::{
    collections::BTreeMap,
    fmt::{Result, Write},
};

use ark_bn254::Fr;
use ark_ff::Field;
use zkinfer_verifier::{
    VerifyingKey,
    curve::scalar_to_bytes,
    halo2_kzg::{Protocol, omega, transcript::TRANSCRIPT_DOMAIN},
};

use self::arithmetic::kept_at;
use super::{
    graph::{Id, Input, Node},
    plan::Plan,
};

const TEMPLATE: &str = include_str!("../../../templates/Halo2KzgSpecialised.sol.in");

/// What a key with hashed tensors adds to `verify`, where `end` is behind the packed words; after it, behind the digests.
const DIGESTS: &str = "            tensors := add(publicTensors.offset, PUBLIC_BYTES)
            for { let last := add(end, shl(5, sub(WORDS, PACKED))) } lt(end, last) { end := add(end, 32) } {
                if iszero(lt(calldataload(tensors), R)) {
                    mstore(0, 0xd1bf1a92) // InvalidWord()
                    revert(0x1c, 4)
                }
                mstore(end, calldataload(tensors))
                tensors := add(tensors, 32)
            }
";

/// What it adds to `verifyProof`.
const DIGEST_WORDS: &str = "            for { let last := add(start, shl(5, WORDS)) } lt(end, last) { end := add(end, 32) } {
                bad := or(bad, iszero(lt(mload(end), R)))
            }
";

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
    let layout = &key.layout;
    let n_hashed = layout.n_hashed();
    // Without hashed tensors the code is that of a statement without digests.
    let (digests, digest_words) = match n_hashed {
        0 => ("", ""),
        _ => (DIGESTS, DIGEST_WORDS),
    };
    TEMPLATE
        .replace("@ABOUT@", about.trim_end())
        .replace("@CONSTRUCTOR@", constructor)
        .replace("@DIGESTS@", digests)
        .replace("@DIGEST_WORDS@", digest_words)
        .replace("@PUBLIC_BYTES@", &layout.public_bytes().to_string())
        .replace("@STATEMENT_BYTES@", &layout.statement_bytes().to_string())
        .replace("@PACKED@", &(layout.n_words() - n_hashed).to_string())
        .replace("@WORDS@", &layout.n_words().to_string())
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
}

/// The address `offset` bytes behind m.
fn at(offset: usize) -> String {
    if offset == 0 {
        "m".to_owned()
    } else {
        format!("add(m, {offset:#x})")
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
