//! The list as a table: in a terminal, and as the page `OPERATORS.md`.

use super::{Counted, OPERATORS, Operator, QUANTIZED, TABULAR};
use std::fmt::Write;

/// Costs of one element of an operator's outputs, in tenths rounded to the nearest.
fn by_element(rows: usize, elements: usize) -> String {
    let tenths = (20 * rows + elements) / (2 * elements.max(1));
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// The three costs of an operator: groth16, ultragroth, halo2-kzg.
pub type Columns = [String; 3];

fn columns(operator: &Operator) -> Columns {
    let Some(Counted {
        elements,
        groth16,
        ultragroth,
        halo2,
        ..
    }) = operator.cost()
    else {
        return ["", "", ""].map(|_| "0".to_owned());
    };
    [
        groth16.map_or("-".to_owned(), |rows| by_element(rows, elements)),
        by_element(ultragroth, elements),
        by_element(halo2, elements),
    ]
}

/// Every operator with its costs.
pub fn table() -> impl Iterator<Item = (&'static Operator, Columns)> {
    let all = OPERATORS.iter().chain(QUANTIZED).chain(TABULAR);
    all.map(|operator| (operator, columns(operator)))
}

/// The page `OPERATORS.md`.
#[must_use]
pub fn page() -> String {
    let [real, quantized, tabular] = [OPERATORS, QUANTIZED, TABULAR].map(<[_]>::len);
    let mut page = format!(
        "# ONNX operators\n\n\
         {real} operators on numbers and truth values, {quantized} on quantized integers, {tabular} of scikit-learn's. Written by `tests/onnx_conformance`, which also \
         proves a case of each; `zkinfer ops` prints the same table.\n\n\
         Shapes are fixed in the file. Inputs are float32, bool, int8 to int64 or uint8; constants are of any type of ONNX's but strings, \
         eight-bit floats and four-bit integers.\n\n\
         Costs are rows by element of the outputs: constraints of groth16 and of ultragroth, rows of halo2-kzg (tape and lookups), counted on \
         the case named last. They leave out tables, which all operators of a model share, and the words of the statement; a layer that \
         requantizes pays here for itself. `-`: the form has no circuit for a table of this size. `zkinfer quote` counts a whole model.\n\n\
         | operator | supported | groth16 | ultragroth | halo2-kzg | case, elements |\n|---|---|--:|--:|--:|---|\n"
    );
    for (operator, [groth16, ultragroth, halo2]) in table() {
        let case = match (operator.cost(), operator.becomes) {
            (_, Some(other)) => format!("as {other}"),
            (Some(cost), None) => format!("{}, {}", cost.case, cost.elements),
            (None, None) => "computed when the model is read".to_owned(),
        };
        let Operator { name, scope, .. } = operator;
        // a write to a text does not fail
        let _ = writeln!(
            page,
            "| {name} | {scope} | {groth16} | {ultragroth} | {halo2} | {case} |"
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::by_element;

    #[test]
    fn tenths_are_rounded() {
        assert_eq!(by_element(7, 2), "3.5");
        assert_eq!(by_element(1, 3), "0.3");
        assert_eq!(by_element(2, 3), "0.7");
        assert_eq!(by_element(0, 5), "0.0");
    }
}
