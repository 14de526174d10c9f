//! # Point arithmetic of the specialised contract
//! F + u·W' by Horner's rule in each sum, then the pairing.

use std::fmt::{Result, Write};

use ark_bn254::G1Affine;
use zkinfer_verifier::curve::{write_g1, write_g2};

use super::{
    super::plan::{Chain, Point},
    Writer, at,
};

/// −\[1\] in G2: x.c1, x.c0, y.c1, y.c0.
const MINUS_G2: [&str; 4] = [
    "0x198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2",
    "0x1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed",
    "0x275dc4a288d1afb3cbb1ac09187524c7db36395df7be3b99e673b13a075a65ec",
    "0x1d9befcd05a5323e6da4d435f3b617cdb3af83285c2df711ef39c01571827f9d",
];

impl Writer<'_> {
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

    pub(super) fn group(&mut self, out: &mut String) -> Result {
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

    pub(super) fn pairing(&self, out: &mut String) -> Result {
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
