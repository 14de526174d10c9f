//! `quote`: what keys and proofs will cost, system beside system.

use serde_json::{Value, json};
use zkinfer_engine::{self as engine, CircuitCost, Comparison, Quote};

use super::{
    CliError, Out,
    compile::BundleArg,
    output::{bytes, grid, row, seconds, table},
};
use crate::{bundle::Bundle, work::local};

pub(crate) fn quote(args: &BundleArg, out: Out) -> Result<(), CliError> {
    let bundle = Bundle::open(&args.bundle)?;
    let (_, program) = local::read_circuit(&bundle).map_err(CliError::usage)?;
    let own = engine::quote(&program, bundle.system()).map_err(CliError::failed)?;
    let all = engine::compare(&program).map_err(CliError::failed)?;
    let batch = program.batch();
    let mut value = own_json(&own);
    value["batch"] = json!(batch);
    value["systems"] = all.quotes.iter().map(system_json).collect();
    value["refused"] = all
        .refused
        .iter()
        .map(|(system, why)| json!({ "system": system.name(), "reason": why }))
        .collect();
    value["recommended"] = json!({ "system": all.recommended.name(), "reason": all.reason });
    out.result(
        &value,
        &format!("{}\n{}", own_text(&own, batch), compared(&own, &all)),
    );
    Ok(())
}

/// The figures that every system has.
fn system_json(q: &Quote) -> Value {
    json!({
        "system": q.system.name(), "setup_trust": q.trust.name(), "rows": q.rows, "domain": q.domain,
        "proving_key_bytes": q.key_bytes, "proof_bytes": q.proof_bytes, "ram_bytes": q.ram_bytes,
        "setup_seconds": q.setup_seconds, "prove_seconds": q.prove_seconds, "gas": q.gas, "transaction_gas": q.transaction_gas,
    })
}

fn own_json(q: &Quote) -> Value {
    let mut value = system_json(q);
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
            value["table_rows"] = json!(cost.table_rows);
            value["statement_rows"] = json!(cost.n_words);
        }
    }
    value
}

fn own_text(q: &Quote, batch: u32) -> String {
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
                "{} advice, {} fixed, {} permuted; limbs of {} bits",
                cost.n_advice, cost.n_fixed, cost.n_permuted, cost.limb_bits
            );
            rows.push(row("columns", columns));
        }
    }
    rows.push(row("domain", q.domain));
    rows.push(row("proving key", bytes(q.key_bytes)));
    rows.push(row("proof", bytes(q.proof_bytes as u64)));
    rows.push(row(
        "memory of a prover",
        format!("about {}", bytes(q.ram_bytes)),
    ));
    rows.push(row("setup", format!("about {}", seconds(q.setup_seconds))));
    rows.push(row("prove", format!("about {}", seconds(q.prove_seconds))));
    rows.push(row("gas", format!("about {}", q.gas)));
    table(&rows)
}

fn compared(own: &Quote, all: &Comparison) -> String {
    let head = [
        "system",
        "set-up",
        "prove",
        "memory",
        "proving key",
        "proof",
        "gas, transaction",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(all.quotes.iter().map(|q| {
        let mark = if q.system == own.system { " *" } else { "" };
        vec![
            format!("{}{mark}", q.system),
            q.trust.name().to_owned(),
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
