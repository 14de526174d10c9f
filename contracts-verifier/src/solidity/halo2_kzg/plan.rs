//! # What a contract computes for one key
//! The whole verification as data: what is absorbed before each challenge, one graph of field arithmetic, and the point arithmetic.
//! Both contracts are written from this plan, so their equations are stated once, here; they are those of
//! `zkinfer_verifier::halo2_kzg`. Derivations: DESIGN.md#halo2-kzg.

use ark_bn254::Fr;
use ark_ff::{AdditiveGroup, Field};
use zkinfer_verifier::halo2_kzg::{Column, DELTA, Eval, Op, OpeningSet, Poly, Protocol, omega};

use super::graph::{Graph, Id, Input};

/// A point that the contract reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// A commitment of a fixed column, in the key.
    Fixed(usize),
    /// A commitment of a permutation polynomial, in the key.
    Sigma(usize),
    /// A commitment at this position of the proof's first points.
    Commitment(usize),
    /// The result of an earlier chain.
    Chain(usize),
    /// The first opening commitment of the proof.
    W,
    /// The second.
    WPrime,
    /// The generator.
    Generator,
}

/// Horner's rule in the group: (…(p_0·at + p_1)·at + …) + p_last.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chain {
    pub(super) at: Id,
    pub(super) points: Vec<Point>,
}

/// The verification of one key.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) graph: Graph,
    /// Words of the proof absorbed before each challenge.
    pub(super) absorbed: Vec<usize>,
    /// Which challenge x is.
    pub(super) x: usize,
    /// The product of all denominators.
    pub(super) inverted: Id,
    /// Point chains, each with more than one point.
    pub(super) chains: Vec<Chain>,
    /// F + u·W' is this point …
    pub(super) first: Point,
    /// … and the sum of these multiples.
    pub(super) terms: Vec<(Id, Point)>,
}

/// Positions of the challenges among all that are squeezed.
struct Challenges {
    gates: Vec<usize>,
    beta: usize,
    gamma: usize,
    y: usize,
    x: usize,
    y_opening: usize,
    v: usize,
    u: usize,
}

impl Plan {
    pub(super) fn new(p: &Protocol) -> Self {
        let (absorbed, challenges) = transcript(p);
        let mut builder = Builder::new(p, &challenges);
        let sets = p.openings();
        let (inverted, inverses) = builder.invert(&sets);
        let quotient = builder.quotient(&challenges, &inverses);
        let (chains, first, terms) = builder.open(&sets, quotient, &inverses);
        Self {
            graph: builder.graph,
            absorbed,
            x: challenges.x,
            inverted,
            chains,
            first,
            terms,
        }
    }

    /// Nodes that are read by name, in the order in which they are needed.
    pub(super) fn outputs(&self) -> Vec<Id> {
        let chains = self.chains.iter().map(|chain| chain.at);
        let terms = self.terms.iter().map(|(scalar, _)| *scalar);
        [self.inverted]
            .into_iter()
            .chain(chains)
            .chain(terms)
            .collect()
    }
}

/// The transcript's schedule; the order is that of [`Protocol`].
fn transcript(p: &Protocol) -> (Vec<usize>, Challenges) {
    let mut absorbed = Vec::new();
    let mut pending = 0;
    let mut squeeze = |pending: &mut usize| {
        absorbed.push(std::mem::take(pending));
        absorbed.len() - 1
    };
    let mut gates = vec![0; p.challenge_phases.len()];
    for phase in 0..p.n_phases() {
        pending += 2 * p.advice_phases.iter().filter(|of| **of == phase).count();
        for (challenge, of) in gates.iter_mut().zip(&p.challenge_phases) {
            if *of == phase {
                *challenge = squeeze(&mut pending);
            }
        }
    }
    let _theta = squeeze(&mut pending);
    let beta = squeeze(&mut pending);
    let gamma = squeeze(&mut pending);
    pending += 2 * (p.n_products() + 1);
    let y = squeeze(&mut pending);
    pending += 2 * p.n_quotients();
    let x = squeeze(&mut pending);
    pending += p.n_evals();
    let y_opening = squeeze(&mut pending);
    let v = squeeze(&mut pending);
    pending += 2;
    let u = squeeze(&mut pending);
    let challenges = Challenges {
        gates,
        beta,
        gamma,
        y,
        x,
        y_opening,
        v,
        u,
    };
    (absorbed, challenges)
}

/// The inverses that one inversion gives.
struct Inverses {
    x: Id,
    /// 1 / D of the words.
    instance: Id,
    /// 1 / (x − 1).
    first: Id,
    /// N and 1/D of Σ 1 / (x·ω^j − 1) over the blinding rows −j.
    blind: (Id, Id),
    /// 1 / (x·ω^−last − 1).
    last: Id,
    /// x^n − 1 and its inverse.
    vanishing: (Id, Id),
    /// 1 / Z_{T∖S_0}(u).
    outside_first: Id,
}

struct Builder<'p> {
    p: &'p Protocol,
    graph: Graph,
    omega: Fr,
    x: Id,
    u: Id,
    y_opening: Id,
    v: Id,
}

impl<'p> Builder<'p> {
    fn new(p: &'p Protocol, challenges: &Challenges) -> Self {
        let mut graph = Graph::default();
        let mut challenge = |at| graph.input(Input::Challenge(at));
        let (x, u) = (challenge(challenges.x), challenge(challenges.u));
        let (y_opening, v) = (challenge(challenges.y_opening), challenge(challenges.v));
        Self {
            p,
            graph,
            omega: omega(p),
            x,
            u,
            y_opening,
            v,
        }
    }

    fn one(&mut self) -> Id {
        self.graph.constant(Fr::ONE)
    }

    fn zero(&mut self) -> Id {
        self.graph.constant(Fr::ZERO)
    }

    fn power(&self, rotation: i32) -> Fr {
        let power = self.omega.pow([u64::from(rotation.unsigned_abs())]);
        if rotation < 0 {
            power.inverse().unwrap_or_default()
        } else {
            power
        }
    }

    /// x·ω^rotation − 1.
    fn row(&mut self, rotation: i32) -> Id {
        let power = self.graph.constant(self.power(rotation));
        let minus_one = self.graph.constant(-Fr::ONE);
        self.graph.horner(self.x, power, minus_one)
    }

    /// u − x·ω^rotation.
    fn distance(&mut self, rotation: i32) -> Id {
        let power = self.graph.constant(-self.power(rotation));
        self.graph.horner(self.x, power, self.u)
    }

    fn product(&mut self, factors: impl IntoIterator<Item = Id>) -> Id {
        let one = self.one();
        factors
            .into_iter()
            .fold(one, |product, factor| self.graph.mul(product, factor))
    }

    /// Z_{T∖S}(u) of a set, T being all rotations.
    fn outside(&mut self, sets: &[OpeningSet], set: &OpeningSet) -> Id {
        let mut all: Vec<i32> = sets.iter().flat_map(|set| set.rotations.clone()).collect();
        all.sort_unstable();
        all.dedup();
        all.retain(|rotation| !set.rotations.contains(rotation));
        let factors: Vec<Id> = all.into_iter().map(|r| self.distance(r)).collect();
        self.product(factors)
    }

    /// All denominators, their product, and their inverses from the product's [eprint 2008/199, §2.1].
    fn invert(&mut self, sets: &[OpeningSet]) -> (Id, Inverses) {
        let (mut over, mut under) = (self.zero(), self.one());
        for j in 1..=i32::from(self.p.blinding_factors) {
            let row = self.row(j);
            // N/D + 1/row = (N·row + D)/(D·row).
            over = self.graph.horner(over, row, under);
            under = self.graph.mul(under, row);
        }
        let instance = self.graph.input(Input::InstanceDenominator);
        let first = self.row(0);
        let last = self.row(-self.p.last_rotation());
        let x_n = self.graph.input(Input::PowerOfX);
        let one = self.one();
        let vanishing = self.graph.sub(x_n, one);
        let outside = match sets.first() {
            Some(set) => self.outside(sets, set),
            None => one,
        };
        let all = [self.x, instance, first, under, last, vanishing, outside];
        let mut prefixes = Vec::with_capacity(all.len());
        let mut product = one;
        for denominator in all {
            prefixes.push(product);
            product = self.graph.mul(product, denominator);
        }
        let mut rest = self.graph.input(Input::Inverse);
        let mut inverses = [one; 7];
        for ((inverse, prefix), denominator) in inverses.iter_mut().zip(prefixes).zip(all).rev() {
            *inverse = self.graph.mul(rest, prefix);
            rest = self.graph.mul(rest, denominator);
        }
        let [
            x,
            instance,
            first,
            blind,
            last,
            vanishing_inverse,
            outside_first,
        ] = inverses;
        let inverses = Inverses {
            x,
            instance,
            first,
            blind: (over, blind),
            last,
            vanishing: (vanishing, vanishing_inverse),
            outside_first,
        };
        (product, inverses)
    }

    /// What the quotient must open to at x: the folded constraints over x^n − 1.
    fn quotient(&mut self, challenges: &Challenges, inverses: &Inverses) -> Id {
        let n_inverse = Fr::from(self.p.n()).inverse().unwrap_or_default();
        let n_inverse = self.graph.constant(n_inverse);
        let common = self.graph.mul(inverses.vanishing.0, n_inverse);
        let first = self.graph.mul(common, inverses.first);
        let last = self.graph.mul(common, inverses.last);
        let blind = self.graph.mul(inverses.blind.0, inverses.blind.1);
        let blind = self.graph.mul(common, blind);
        // Σ word_i·l_i(x) = common·N/D + word_0·l_0(x).
        let over = self.graph.input(Input::InstanceNumerator);
        let words = self.graph.mul(over, inverses.instance);
        let words = self.graph.mul(common, words);
        let context = self.graph.input(Input::Context);
        let instance = self.graph.horner(context, first, words);

        let y = self.graph.input(Input::Challenge(challenges.y));
        let mut numerator = self.zero();
        let mut stack: Vec<Id> = Vec::new();
        let zero = self.zero();
        for op in &self.p.gates {
            let mut pop = || stack.pop().unwrap_or(zero);
            let eval = |at| Input::Eval(at);
            let value = match op {
                Op::Const(value) => self.graph.constant(*value),
                Op::Fixed(query) => {
                    let at = self.p.fixed_eval(usize::from(*query));
                    self.graph.input(eval(at))
                }
                Op::Advice(query) => self.graph.input(eval(usize::from(*query))),
                Op::Instance => instance,
                Op::Challenge(i) => {
                    let at = challenges.gates.get(usize::from(*i)).copied();
                    self.graph.input(Input::Challenge(at.unwrap_or_default()))
                }
                Op::Neg => {
                    let a = pop();
                    self.graph.neg(a)
                }
                Op::Add => {
                    let (b, a) = (pop(), pop());
                    self.graph.add(a, b)
                }
                Op::Mul => {
                    let (b, a) = (pop(), pop());
                    self.graph.mul(a, b)
                }
                Op::Scale(factor) => {
                    let a = pop();
                    let factor = self.graph.constant(*factor);
                    self.graph.mul(a, factor)
                }
                Op::End => {
                    let top = pop();
                    numerator = self.graph.horner(numerator, y, top);
                    continue;
                }
            };
            stack.push(value);
        }
        if self.p.n_products() > 0 {
            let ends = (first, last, blind);
            for value in self.permutation(challenges, ends, instance) {
                numerator = self.graph.horner(numerator, y, value);
            }
        }
        self.graph.mul(numerator, inverses.vanishing.1)
    }

    /// The constraints of the permutation argument.
    fn permutation(
        &mut self,
        challenges: &Challenges,
        (first, last, blind): (Id, Id, Id),
        instance: Id,
    ) -> Vec<Id> {
        let n_products = self.p.n_products();
        let beta = self.graph.input(Input::Challenge(challenges.beta));
        let gamma = self.graph.input(Input::Challenge(challenges.gamma));
        let one = self.one();
        let product = |graph: &mut Graph, i: usize, which: usize| {
            graph.input(Input::Eval(self.p.product_eval(i) + which))
        };
        let mut constraints = Vec::with_capacity(2 * n_products + 1);
        // l_0·(1 − Z_0), l_last·(Z_last² − Z_last), l_0·(Z_i − Z_(i−1)(ω^last·x)).
        let start = product(&mut self.graph, 0, 0);
        let start = self.graph.sub(one, start);
        constraints.push(self.graph.mul(start, first));
        let end = product(&mut self.graph, n_products - 1, 0);
        let minus_one = self.graph.sub(end, one);
        let end = self.graph.mul(end, minus_one);
        constraints.push(self.graph.mul(end, last));
        for i in 1..n_products {
            let next = product(&mut self.graph, i, 0);
            let before = product(&mut self.graph, i - 1, 2);
            let step = self.graph.sub(next, before);
            constraints.push(self.graph.mul(step, first));
        }
        // (1 − l_last − l_blind)·(Z_i(ωx)·Π (f + β·σ + γ) − Z_i(x)·Π (f + β·δ^j·x + γ)).
        let active = self.graph.sub(one, last);
        let active = self.graph.sub(active, blind);
        let coset = self.graph.mul(beta, self.x);
        let mut shift = Fr::ONE;
        for i in 0..n_products {
            let mut left = product(&mut self.graph, i, 1);
            let mut right = product(&mut self.graph, i, 0);
            for j in self.p.chunk(i) {
                let column = self.p.permuted.get(j).copied();
                let value = match column.and_then(|column| match column {
                    Column::Instance => None,
                    column => self.p.permuted_eval(column),
                }) {
                    Some(at) => self.graph.input(Input::Eval(at)),
                    None => instance,
                };
                let value = self.graph.add(value, gamma);
                let sigma = self.graph.input(Input::Eval(self.p.sigma_eval(j)));
                let factor = self.graph.horner(beta, sigma, value);
                left = self.graph.mul(left, factor);
                let delta = self.graph.constant(shift);
                let factor = self.graph.horner(coset, delta, value);
                right = self.graph.mul(right, factor);
                shift *= DELTA;
            }
            let difference = self.graph.sub(left, right);
            constraints.push(self.graph.mul(difference, active));
        }
        constraints
    }

    /// SHPLONK: the chains of the sets, and F + u·W' as a sum of multiples.
    fn open(
        &mut self,
        sets: &[OpeningSet],
        quotient: Id,
        inverses: &Inverses,
    ) -> (Vec<Chain>, Point, Vec<(Id, Point)>) {
        let mut chains: Vec<Chain> = Vec::new();
        let mut chain = |at: Id, points: Vec<Point>| match points.as_slice() {
            [single] => *single,
            _ => {
                chains.push(Chain { at, points });
                Point::Chain(chains.len() - 1)
            }
        };
        let x_n = self.graph.input(Input::PowerOfX);
        let after_products = self.p.advice_phases.len() + self.p.n_products() + 1;
        let pieces = (0..self.p.n_quotients()).rev();
        let pieces = pieces.map(|i| Point::Commitment(after_products + i));
        let pieces = chain(x_n, pieces.collect());

        let mut first = Point::Generator;
        let mut terms = Vec::new();
        let mut claimed = self.zero();
        let mut v_power = self.one();
        for (i, set) in sets.iter().enumerate() {
            let factor = if i == 0 {
                v_power
            } else {
                let outside = self.outside(sets, set);
                let ratio = self.graph.mul(outside, inverses.outside_first);
                self.graph.mul(v_power, ratio)
            };
            v_power = self.graph.mul(v_power, self.v);
            let value = self.claimed(set, quotient, inverses.x);
            claimed = self.graph.horner(value, factor, claimed);
            let points = set.polys.iter().rev().map(|(poly, _)| match *poly {
                Poly::Advice(column) => Point::Commitment(self.advice_position(column)),
                Poly::Fixed(column) => Point::Fixed(usize::from(column)),
                Poly::Product(i) => Point::Commitment(self.p.advice_phases.len() + usize::from(i)),
                Poly::Sigma(i) => Point::Sigma(usize::from(i)),
                Poly::Quotient => pieces,
                Poly::Random => Point::Commitment(after_products - 1),
            });
            let point = chain(self.y_opening, points.collect());
            if i == 0 {
                first = point;
            } else {
                terms.push((factor, point));
            }
        }
        let inside: Vec<Id> = sets
            .first()
            .map(|set| set.rotations.iter().map(|r| self.distance(*r)).collect())
            .unwrap_or_default();
        let inside = self.product(inside);
        let (claimed, inside) = (self.graph.neg(claimed), self.graph.neg(inside));
        terms.push((claimed, Point::Generator));
        terms.push((inside, Point::W));
        terms.push((self.u, Point::WPrime));
        (chains, first, terms)
    }

    /// Σ_j y'^j·r_j(u) of a set. With m points x·ω^a, the Lagrange polynomial of x·ω^a at u is
    /// x^(1−m)·Π_{b≠a} (u − x·ω^b)/(ω^a − ω^b): the powers of ω are constants, 1/x is the only inverse.
    fn claimed(&mut self, set: &OpeningSet, quotient: Id, x_inverse: Id) -> Id {
        let mut total = self.zero();
        for (a, rotation) in set.rotations.iter().enumerate() {
            let mut value = self.zero();
            for (_, evals) in set.polys.iter().rev() {
                let eval = match evals.get(a) {
                    Some(Eval::Given(at)) => self.graph.input(Input::Eval(*at)),
                    _ => quotient,
                };
                value = self.graph.horner(value, self.y_opening, eval);
            }
            let mut scale = Fr::ONE;
            let mut basis = self.one();
            for other in set.rotations.iter().filter(|other| *other != rotation) {
                scale *= self.power(*rotation) - self.power(*other);
                let distance = self.distance(*other);
                basis = self.graph.mul(basis, distance);
            }
            let scale = self.graph.constant(scale.inverse().unwrap_or_default());
            let value = self.graph.mul(value, scale);
            total = self.graph.horner(value, basis, total);
        }
        (1..set.rotations.len()).fold(total, |total, _| self.graph.mul(total, x_inverse))
    }

    /// Position of an advice column's commitment in the proof: by phase, then by column.
    fn advice_position(&self, column: u16) -> usize {
        let column = usize::from(column);
        let phases = &self.p.advice_phases;
        let phase = phases.get(column).copied().unwrap_or_default();
        let earlier = phases.iter().filter(|of| **of < phase).count();
        earlier
            + phases
                .iter()
                .take(column)
                .filter(|of| **of == phase)
                .count()
    }
}
