//! Cases of claimed operators that do not pass, and why.

use crate::case::Case;
use crate::verdict::{Outcome, Verdict};

/// A case, or with `*` at the end all cases that begin so; and the reason.
const EXCEPTIONS: &[(&str, &str)] = &[];

/// What is wrong with the verdicts: claimed cases that do not pass and are not excepted, and exceptions for nothing.
pub fn complaints(cases: &[Case], verdicts: &[Verdict]) -> Vec<String> {
    let mut used = vec![false; EXCEPTIONS.len()];
    let mut complaints = Vec::new();
    for (case, verdict) in cases.iter().zip(verdicts) {
        let (status, reason) = match &verdict.outcome {
            Outcome::Pass { .. } => continue,
            Outcome::Fail(reason) => ("fails", reason),
            Outcome::Unsupported(reason) => ("is unsupported", reason),
        };
        if !case.claimed {
            continue;
        }
        let name = case.name.trim_start_matches("test_");
        let matches = |pattern: &str| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        };
        match EXCEPTIONS.iter().position(|(pattern, _)| matches(pattern)) {
            Some(index) => used[index] = true,
            None => complaints.push(format!("{name} ({}) {status}: {reason}", case.operator)),
        }
    }
    let unused = EXCEPTIONS.iter().zip(used).filter(|(_, used)| !used);
    complaints.extend(unused.map(|((p, _), _)| format!("{p} is excepted, but nothing there fails")));
    complaints
}
