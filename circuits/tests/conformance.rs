//! Every case of every operator climbs the ladder of `zkinfer_circuits::testing`.

use zkinfer_circuits::ops::Op;
use zkinfer_circuits::testing::check_case;

#[test]
fn every_operator_case_passes_the_ladder() {
    let mut failures = vec![];
    let cases = Op::cases();
    assert!(cases.len() >= 15);
    for case in &cases {
        let label = format!("{}: {}", case.op.name(), case.name);
        match check_case(case) {
            Ok(measured) => println!("{label}: {} forgeries refused", measured.forgeries),
            Err(failure) => failures.push(format!("{label}: {failure}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
