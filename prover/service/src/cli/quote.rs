//! `quote`: what keys and proofs will cost, system beside system.

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};
use zkinfer_engine::{
    self as engine, CircuitCost, Comparison, Quote,
    quote::{Kernel, Rates},
};
use zkinfer_gpu::Cpu;

use super::{
    CliError, Out,
    output::{bytes, grid, row, seconds, table},
    processor,
    progress::Bar,
};
use crate::{bundle::Bundle, work::local};

/// How long the micro-run takes.
const CALIBRATION: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(crate) struct QuoteArgs {
    /// The bundle folder.
    bundle: PathBuf,
    /// Take stored rates of a reference machine for the seconds, instead of measuring this machine for about two seconds.
    #[arg(long)]
    no_calibration: bool,
}

pub(crate) fn quote(args: &QuoteArgs, out: Out) -> Result<(), CliError> {
    let bundle = Bundle::open(&args.bundle)?;
    let (_, program) = local::read_circuit(&bundle).map_err(CliError::usage)?;
    let own = engine::quote(&program, bundle.system()).map_err(CliError::failed)?;
    // The recommendation is made on reference rates: the same on every machine, and on a busy one.
    let all = engine::compare(&program).map_err(CliError::failed)?;
    let rates = rates(args)?;
    let (own, all) = (own.priced(&rates), all.priced(&rates));
    let batch = program.batch();
    let mut value = own_json(&own, &rates);
    value["batch"] = json!(batch);
    value["rates"] = rates_json(&rates);
    let systems = all.quotes.iter().map(|q| system_json(q, &rates));
    value["systems"] = systems.collect();
    value["refused"] = all
        .refused
        .iter()
        .map(|(system, why)| json!({ "system": system.name(), "reason": why }))
        .collect();
    value["recommended"] = json!({ "system": all.recommended.name(), "reason": all.reason });
    let text = format!(
        "{}\n{}",
        own_text(&own, batch, &rates),
        compared(&own, &all)
    );
    out.result(&value, &text);
    Ok(())
}

/// What an operation costs: measured here, or stored.
fn rates(args: &QuoteArgs) -> Result<Rates, CliError> {
    if args.no_calibration {
        return Ok(Rates::reference());
    }
    let bar = Bar::new("calibrate");
    let shown = &mut |part| bar.show("", part);
    engine::quote::calibrate(&Cpu, CALIBRATION, &processor::time, shown).map_err(CliError::failed)
}

fn rates_json(rates: &Rates) -> Value {
    let nanoseconds: serde_json::Map<String, Value> = Kernel::ALL
        .iter()
        .map(|kernel| (kernel.name().to_owned(), json!(rates.of(*kernel) * 1e9)))
        .collect();
    json!({
        "calibrated": rates.took().is_some(), "calibration_seconds": rates.took().map(|took| took.as_secs_f64()),
        "threads": rates.threads(), "core_nanoseconds": nanoseconds,
    })
}

/// Where the seconds come from.
fn rates_text(rates: &Rates) -> String {
    match rates.took() {
        Some(took) => format!(
            "measured here on {} threads, in {}",
            rates.threads(),
            seconds(took.as_secs_f64())
        ),
        None => format!(
            "stored rates of a reference machine, not measured here; {} threads",
            rates.threads()
        ),
    }
}

/// The figures that every system has.
fn system_json(q: &Quote, rates: &Rates) -> Value {
    json!({
        "system": q.system.name(), "setup_trust": q.trust.name(), "rows": q.rows, "domain": q.domain,
        "limb_bits": q.circuit.limb_bits(), "table_rows": q.circuit.table_rows(),
        "proving_key_bytes": q.key_bytes, "proof_bytes": q.proof_bytes, "ram_bytes": q.ram_bytes,
        "setup_seconds": q.setup.seconds(rates), "load_seconds": q.load.seconds(rates), "prove_seconds": q.prove.seconds(rates),
        "setup_core_seconds": q.setup.core_seconds(rates), "load_core_seconds": q.load.core_seconds(rates),
        "prove_core_seconds": q.prove.core_seconds(rates), "gas": q.gas, "transaction_gas": q.transaction_gas,
    })
}

fn own_json(q: &Quote, rates: &Rates) -> Value {
    let mut value = system_json(q, rates);
    let layers = q.circuit.by_node().iter();
    value["by_layer"] = layers
        .map(|(name, rows)| json!({ "node": name, "rows": rows }))
        .collect();
    match &q.circuit {
        CircuitCost::R1cs { cost, wires } => {
            let tables = cost.tables.iter();
            value["tables"] = tables
                .map(|t| json!({ "table": t.name, "rows": t.rows }))
                .collect();
            value["constraints"] = json!(cost.rows);
            value["statement_rows"] = json!(cost.statement_rows);
            value["wires"] = json!(wires);
        }
        CircuitCost::Halo2(cost) => {
            value["columns"] = json!({
                "advice": cost.n_advice, "fixed": cost.n_fixed, "permuted": cost.n_permuted,
            });
            value["tape_rows"] = json!(cost.tape_rows);
            value["lookup_rows"] = json!(cost.lookup_rows);
            value["addends_per_row"] = json!(cost.width);
            value["statement_rows"] = json!(cost.n_words);
        }
    }
    value
}

fn own_text(q: &Quote, batch: u32, rates: &Rates) -> String {
    let mut rows = vec![row("system", q.system), row("inferences per proof", batch)];
    let layers = || {
        let layers = q.circuit.by_node().iter();
        layers.map(|(name, n)| row(format!("  {name}"), n))
    };
    match &q.circuit {
        CircuitCost::R1cs { cost, wires } => {
            rows.push(row("constraints", cost.rows));
            rows.extend(layers());
            let tables = cost.tables.iter();
            rows.extend(tables.map(|t| row(format!("  table {}", t.name), t.rows)));
            rows.push(row("  statement", cost.statement_rows));
            rows.push(row("wires", wires));
        }
        CircuitCost::Halo2(cost) => {
            rows.push(row("rows", q.rows));
            rows.extend(layers());
            rows.push(row("  tables", cost.table_rows));
            let columns = format!(
                "{} advice, {} fixed, {} permuted; {} addends a row",
                cost.n_advice, cost.n_fixed, cost.n_permuted, cost.width
            );
            rows.push(row("columns", columns));
        }
    }
    rows.push(row("ranges", ranges(q)));
    rows.push(row("domain", q.domain));
    rows.push(row("proving key", bytes(q.key_bytes)));
    rows.push(row("proof", bytes(q.proof_bytes as u64)));
    rows.push(row(
        "memory of a prover",
        format!("about {}, with the key's pages", bytes(q.ram_bytes)),
    ));
    rows.push(row("setup", format!("about {}", seconds(q.setup_seconds))));
    rows.push(row(
        "prove",
        format!(
            "about {}, after about {} of loading",
            seconds(q.prove_seconds),
            seconds(q.load_seconds)
        ),
    ));
    rows.push(row("rates", rates_text(rates)));
    rows.push(row("gas", format!("about {}", q.gas)));
    table(&rows)
}

/// What the cost model chose for ranges.
fn ranges(q: &Quote) -> String {
    match q.circuit.limb_bits() {
        Some(bits) => format!(
            "limbs of {bits} bits; all tables {} rows",
            q.circuit.table_rows()
        ),
        None => "single bits, no tables".to_owned(),
    }
}

fn compared(own: &Quote, all: &Comparison) -> String {
    let head = [
        "system",
        "set-up",
        "limbs",
        "prove",
        "memory",
        "proving key",
        "proof",
        "gas, transaction",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(all.quotes.iter().map(|q| {
        let mark = if q.system == own.system { " *" } else { "" };
        let limbs = q.circuit.limb_bits();
        vec![
            format!("{}{mark}", q.system),
            q.trust.name().to_owned(),
            limbs.map_or_else(|| "bits".to_owned(), |bits| format!("{bits} bits")),
            seconds(q.prove_seconds),
            bytes(q.ram_bytes),
            bytes(q.key_bytes),
            bytes(q.proof_bytes as u64),
            q.transaction_gas.to_string(),
        ]
    }));
    let mut text = grid(&rows);
    for (system, why) in &all.refused {
        text += &format!("{system}: {why}\n");
    }
    text + &format!("recommended: {}: {}\n", all.recommended, all.reason)
}
