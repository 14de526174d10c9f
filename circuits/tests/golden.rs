//! Counts and digests that only change on purpose: regenerate with `UPDATE_GOLDEN=1` and say why in the commit.

#![allow(clippy::unwrap_used)]

mod fixtures;

use fixtures::compiled;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use zkinfer_circuits::arithmetization::halo2::Halo2Circuit;
use zkinfer_circuits::arithmetization::r1cs::{Cost, Form, R1cs};
use zkinfer_circuits::constraint::Program;
use zkinfer_circuits::ops::Op;
use zkinfer_circuits::testing::program_of;

const MODELS: [&str; 8] = [
    "digits-mlp",
    "digits-cnn",
    "lenet5-mnist-shape",
    "mlp-100k",
    "cnn-cifar-tiny",
    "cnn-cifar-small",
    "tiny-transformer",
    "tiny-transformer-ln17",
];

fn check(file: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, actual).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        golden, actual,
        "{file} changed: UPDATE_GOLDEN=1 rewrites it"
    );
}

fn hex(digest: [u8; 32]) -> String {
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

fn row(out: &mut String, name: &str, program: &Arc<Program>, form: Form) {
    let Ok(circuit) = R1cs::lower(program, form) else {
        writeln!(out, "{name},{form:?},refused,,,,").unwrap();
        return;
    };
    let Cost {
        rows,
        tables,
        statement_rows,
        limb_bits,
        committed,
        private,
        ..
    } = circuit.cost();
    let tables: usize = tables.iter().map(|t| t.rows).sum();
    let nodes = rows - tables - statement_rows;
    writeln!(
        out,
        "{name},{form:?},{rows},{nodes},{tables},{statement_rows},{},{limb_bits}",
        committed + private
    )
    .unwrap();
}

fn halo2_row(out: &mut String, name: &str, circuit: &Halo2Circuit) {
    let c = circuit.cost();
    writeln!(
        out,
        "{name},{},{},{},{},{},{}",
        c.k, c.tape_rows, c.lookup_rows, c.table_rows, c.width, c.limb_bits
    )
    .unwrap();
}

fn model(name: &str) -> Arc<Program> {
    Arc::new(compiled(name, 1).program)
}

#[test]
fn costs_and_digests_are_golden() {
    let mut costs =
        "case,form,rows,node rows,table rows,statement rows,private wires,limb bits\n".to_owned();
    let mut digests = String::new();
    let mut halo2 = "case,k,tape rows,lookup rows,table rows,width,limb bits\n".to_owned();
    for case in Op::cases() {
        let name = format!("{}: {}", case.op.name(), case.name).replace(',', ";");
        let program = program_of(&case).unwrap();
        for form in [Form::Plain, Form::Committed] {
            row(&mut costs, &name, &program, form);
        }
        halo2_row(&mut halo2, &name, &Halo2Circuit::lower(&program).unwrap());
        writeln!(digests, "{} {name}", hex(program.digest())).unwrap();
    }
    for name in MODELS {
        let program = model(name);
        for form in [Form::Plain, Form::Committed] {
            row(&mut costs, name, &program, form);
        }
        let circuit = R1cs::lower(&program, Form::Committed).unwrap();
        writeln!(digests, "{} {name}", hex(program.digest())).unwrap();
        writeln!(
            digests,
            "{} {name} committed circuit",
            hex(circuit.digest())
        )
        .unwrap();
        let circuit = Halo2Circuit::lower(&program).unwrap();
        halo2_row(&mut halo2, name, &circuit);
        writeln!(digests, "{} {name} halo2 circuit", hex(circuit.digest())).unwrap();
    }
    check("cost.csv", &costs);
    check("halo2.csv", &halo2);
    check("digests.txt", &digests);
}

/// The promise of the design: 4 rows an activation (and one per input byte), whatever the weights.
#[test]
fn lenet_costs_at_most_five_rows_per_activation() {
    let program = model("lenet5-mnist-shape");
    let cost = R1cs::lower(&program, Form::Committed).unwrap().cost();
    let activations: usize = program
        .steps()
        .iter()
        .filter(|s| s.instr.name() == "lookup")
        .filter_map(|s| s.y)
        .map(|y| program.tensors()[y.index()].len())
        .sum();
    let tables: usize = cost.tables.iter().map(|t| t.rows).sum();
    let per_activation = (cost.rows - tables) as f64 / activations as f64;
    println!("{activations} activations, {per_activation:.3} rows each, tables {tables} rows");
    assert!(per_activation <= 5.0);
}

/// What a batch shares: rows an inference, by the size of the batch.
#[test]
fn costs_of_batches_are_golden() {
    let mut costs =
        "model,batch,committed rows,rows an inference,table rows,limb bits,halo2 k\n".to_owned();
    for name in ["digits-mlp", "digits-cnn", "lenet5-mnist-shape"] {
        for n in [1, 4, 16] {
            let program = Arc::new(compiled(name, n).program);
            let cost = R1cs::lower(&program, Form::Committed).unwrap().cost();
            let tables: usize = cost.tables.iter().map(|t| t.rows).sum();
            let each = cost.rows.div_ceil(n as usize);
            let k = Halo2Circuit::lower(&program).map_or_else(
                |_| "refused".to_owned(),
                |circuit| circuit.cost().k.to_string(),
            );
            writeln!(
                costs,
                "{name},{n},{},{each},{tables},{},{k}",
                cost.rows, cost.limb_bits
            )
            .unwrap();
        }
    }
    check("batch.csv", &costs);
}
