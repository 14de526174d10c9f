//! Two ways to prove the same inputs, in turns in one process, so that a ratio does not depend on what else the machine does.

use std::{num::NonZeroUsize, time::Instant};

use serde_json::{Value, json};
use zkinfer_circuits::tensor::Tensor;
use zkinfer_verifier::Context;

use super::super::{
    CliError,
    output::{bytes, row, seconds},
};
use crate::work::{
    Unwatched, WorkError,
    local::LocalProver,
    slots::{Share, Slots},
};

/// Figures as JSON, and as lines of a table.
type Compared = (Value, Vec<(String, String)>);

/// The median, the upper one of an even number; 0 of none.
pub(super) fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// Proofs a minute: one at a time as `prove` makes them, and `slots` in flight on a prover made ready for many, which took so many
/// seconds to load; also one at a time on that prover, so that the tables' part of the ratio is seen.
pub(super) fn throughput(
    plain: &LocalProver,
    (ready, ready_seconds): (&LocalProver, f64),
    input: &[Tensor],
    slots: NonZeroUsize,
    rounds: usize,
) -> Result<Compared, CliError> {
    let threads = rayon::current_num_threads();
    let one = Share::of(NonZeroUsize::MIN, threads);
    let many = Share::of(slots, threads);
    let shares = [one, many].map(|share| Slots::start(share).map_err(CliError::failed));
    let [one, flight] = shares;
    let (one, flight) = (one?, flight?);
    let n_proofs = 4 * slots.get();
    let a_minute = |slots: &Slots, prover: &LocalProver| -> Result<f64, WorkError> {
        let begun = Instant::now();
        slots.run(
            vec![input.to_vec(); n_proofs],
            |_, tensors| prover.prove_tensors(tensors, Context::ZERO, &Unwatched),
            |_, _| Ok(()),
        )?;
        Ok(60.0 * n_proofs as f64 / begun.elapsed().as_secs_f64())
    };
    let (mut alone, mut tabulated, mut together, mut ratios) = (vec![], vec![], vec![], vec![]);
    for _ in 0..rounds.max(1) {
        let (a, b) = (a_minute(&one, plain)?, a_minute(&flight, ready)?);
        alone.push(a);
        together.push(b);
        ratios.push(b / a);
        tabulated.push(a_minute(&one, ready)?);
    }
    let ratio = median(&ratios);
    let table_bytes = ready.table_bytes();
    let figures = json!({
        "in_flight": many.slots, "threads_each": many.threads, "proofs_a_round": n_proofs,
        "table_bytes": table_bytes, "load_with_tables_seconds": ready_seconds,
        "sequential_proofs_per_minute": alone, "sequential_with_tables_proofs_per_minute": tabulated,
        "in_flight_proofs_per_minute": together, "ratios": ratios, "ratio": ratio,
    });
    let lines = vec![
        row(
            "one at a time",
            format!(
                "{:.1} proofs a minute, {threads} threads, no tables",
                median(&alone)
            ),
        ),
        row(
            "with tables",
            format!(
                "{:.1} proofs a minute, {threads} threads; {} of tables, loaded in {}",
                median(&tabulated),
                bytes(table_bytes),
                seconds(ready_seconds)
            ),
        ),
        row(
            "in flight",
            format!(
                "{:.1} proofs a minute, {} on {} threads each, the same tables: {ratio:.2} times one at a time without",
                median(&together),
                many.slots,
                many.threads
            ),
        ),
    ];
    Ok((figures, lines))
}

/// Seconds an inference, in a proof about `n` of them and in a proof of its own. `rows` are those of the batch.
pub(super) fn batch(
    alone: &LocalProver,
    together: &LocalProver,
    input: &[Tensor],
    n: usize,
    rows: usize,
    rounds: usize,
) -> Result<Compared, CliError> {
    let inputs: Vec<Tensor> = std::iter::repeat_n(input, n).flatten().cloned().collect();
    let prove = |prover: &LocalProver, tensors: &[Tensor]| -> Result<f64, WorkError> {
        let begun = Instant::now();
        prover.prove_tensors(tensors.to_vec(), Context::ZERO, &Unwatched)?;
        Ok(begun.elapsed().as_secs_f64())
    };
    let (mut single, mut each, mut ratios) = (vec![], vec![], vec![]);
    for _ in 0..rounds.max(1) {
        let a = prove(alone, input)?;
        let b = prove(together, &inputs)? / n as f64;
        single.push(a);
        each.push(b);
        ratios.push(b / a);
    }
    let ratio = median(&ratios);
    let figures = json!({
        "batch": n, "rows": rows, "single_seconds": single, "seconds_an_inference": each, "ratios": ratios, "ratio": ratio,
    });
    let lines = vec![row(
        format!("batch of {n}"),
        format!(
            "{} rows, {} an inference: {ratio:.2} of a proof of its own ({})",
            rows,
            seconds(median(&each)),
            seconds(median(&single))
        ),
    )];
    Ok((figures, lines))
}
