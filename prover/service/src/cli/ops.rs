//! `ops`: the ONNX operators that a model may have, and what each costs.

use serde_json::{Value, json};
use zkinfer_circuits::onnx::operators::{self, Operator};

use super::{CliError, Out, output::grid};

#[derive(Debug, clap::Args)]
pub(crate) struct OpsArgs {
    /// Only operators with this in their name, in whatever case.
    name: Option<String>,
    /// The page OPERATORS.md, with the case that each cost was counted on.
    #[arg(long, conflicts_with = "name")]
    markdown: bool,
}

pub(crate) fn ops(args: &OpsArgs, out: Out) -> Result<(), CliError> {
    let wanted = args.name.as_deref().unwrap_or_default().to_lowercase();
    let listed: Vec<_> = operators::table()
        .filter(|(operator, _)| operator.name.to_lowercase().contains(&wanted))
        .collect();
    if listed.is_empty() {
        let instead = operators::alternative(args.name.as_deref().unwrap_or_default());
        let instead = instead.map_or(String::new(), |other| format!("; in its place: {other}"));
        return Err(CliError::failed(format!(
            "no supported operator has `{wanted}` in its name{instead}"
        )));
    }
    let value: Value = listed.iter().map(|(operator, _)| entry(operator)).collect();
    let text = if args.markdown {
        operators::page()
    } else {
        text(&listed)
    };
    out.result(&json!({ "operators": value }), &text);
    Ok(())
}

fn entry(operator: &Operator) -> Value {
    let cost = operator.cost().map(|cost| {
        json!({
            "case": cost.case, "elements": cost.elements,
            "groth16": cost.groth16, "ultragroth": cost.ultragroth, "halo2_kzg": cost.halo2,
        })
    });
    json!({ "name": operator.name, "supported": operator.scope, "becomes": operator.becomes, "rows": cost })
}

fn text(listed: &[(&Operator, operators::Columns)]) -> String {
    let head = [
        "operator",
        "supported",
        "groth16",
        "ultragroth",
        "halo2-kzg",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(listed.iter().map(|(operator, costs)| {
        let mut row = vec![operator.name.to_owned(), operator.scope.to_owned()];
        row.extend(costs.iter().cloned());
        row
    }));
    grid(&rows)
        + &format!(
            "\n{} operators. Costs are rows by element of the outputs, on a small case of each, without tables and the statement;\n\
             `-`: no circuit for a table of this size. `zkinfer quote` counts a whole model.\n",
            listed.len()
        )
}
