//! The 36 classes of lies and the tests that tell them: every class has tests that exist and run.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

/// Tests, as `file::function` from the repository's root.
type Tests = &'static [&'static str];

const EXACTLY_ONE: &str =
    "circuits/tests/forge.rs::exactly_one_witness_survives_for_every_input_of_every_gadget";
const ENUMERATED: &str =
    "circuits/tests/enumerate.rs::no_other_assignment_of_the_hinted_wires_is_accepted";
const IN_HALO2: &str =
    "circuits/tests/halo2.rs::exactly_one_witness_survives_for_every_input_of_every_gadget";
const BROKEN: &str =
    "circuits/tests/broken_gadgets.rs::every_broken_gadget_is_caught_for_its_own_reason";
const LIBRARY: &str =
    "circuits/tests/forge.rs::exactly_one_witness_survives_for_every_input_of_the_library";
const LIBRARY_IN_HALO2: &str =
    "circuits/tests/halo2.rs::exactly_one_witness_survives_for_every_input_of_the_library";

/// Class, its name in the list, what covers it.
const CLASSES: [(u32, &str, Tests); 36] = [
    (
        1,
        "remainder unranged or one-sided",
        &[EXACTLY_ONE, ENUMERATED, BROKEN],
    ),
    (2, "quotient unranged", &[EXACTLY_ONE, ENUMERATED, BROKEN]),
    (
        3,
        "off by one: remainder equal to the divisor",
        &[EXACTLY_ONE, ENUMERATED],
    ),
    (
        4,
        "range rounded up to a power of two",
        &[EXACTLY_ONE, IN_HALO2, BROKEN],
    ),
    (5, "tolerance instead of exactness", &[ENUMERATED, BROKEN]),
    (
        6,
        "accumulator wraps",
        &["circuits/tests/forge.rs::refuses_to_build_what_could_wrap"],
    ),
    (
        7,
        "negatives that are not canonical",
        &[ENUMERATED, EXACTLY_ONE],
    ),
    (8, "zero with two signs", &[LIBRARY, LIBRARY_IN_HALO2]),
    (
        9,
        "bit that is not boolean",
        &[EXACTLY_ONE, ENUMERATED, BROKEN],
    ),
    (
        10,
        "output free in one branch",
        &[
            EXACTLY_ONE,
            "circuits/tests/mutation.rs::deleting_any_step_of_any_operator_case_is_noticed",
        ],
    ),
    (
        11,
        "output that is only hinted",
        &[
            "circuits/tests/forge.rs::refuses_an_unbound_hint",
            "circuits/tests/forge.rs::refuses_an_unbound_quotient",
            BROKEN,
        ],
    ),
    (
        12,
        "check that says nothing",
        &[
            "circuits/tests/forge.rs::every_deleted_constraint_lets_a_forgery_through",
            "circuits/tests/halo2.rs::every_deleted_kind_of_constraint_lets_a_lie_through",
            "circuits/tests/mutation.rs::deleting_any_step_of_any_small_model_is_noticed",
            "circuits/tests/mutation.rs::deleting_any_step_of_lenet5_is_noticed",
        ],
    ),
    (
        13,
        "lookup padding and default rows",
        &[
            EXACTLY_ONE,
            "circuits/tests/halo2.rs::no_cell_that_is_used_can_be_bent",
            "circuits/tests/forge.rs::a_table_of_one_row_has_no_default",
        ],
    ),
    (
        14,
        "multiplicities",
        &[
            "circuits/tests/random_graphs.rs::random_graphs_agree_in_every_form_and_refuse_tampering",
            EXACTLY_ONE,
        ],
    ),
    (
        15,
        "reused challenge",
        &[
            "circuits/tests/forge.rs::a_folding_challenge_that_is_a_power_of_the_pole_is_forgeable",
            BROKEN,
        ],
    ),
    (
        16,
        "table id or selector free",
        &[
            "circuits/tests/forge.rs::other_tables_rows_are_refused",
            BROKEN,
        ],
    ),
    (
        17,
        "duplicate keys",
        &["circuits/tests/forge.rs::tables_have_unique_keys_and_are_shared"],
    ),
    (
        18,
        "tables that differ by platform",
        &[
            "circuits/tests/forge.rs::the_circuit_digest_covers_tables_form_and_layout",
            "circuits/tests/golden.rs::costs_and_digests_are_golden",
        ],
    ),
    (
        19,
        "softmax: maximum and sum",
        &[
            LIBRARY,
            LIBRARY_IN_HALO2,
            "circuits/tests/library.rs::the_solver_gives_what_a_plain_function_gives",
        ],
    ),
    (
        20,
        "LayerNorm: signed dividend",
        &[
            LIBRARY,
            LIBRARY_IN_HALO2,
            "circuits/tests/library.rs::the_solver_gives_what_a_plain_function_gives",
        ],
    ),
    (
        21,
        "reciprocal and root not unique",
        &[
            LIBRARY,
            LIBRARY_IN_HALO2,
            "circuits/tests/forge.rs::roots_of_all_small_values_are_the_only_ones",
        ],
    ),
    (
        22,
        "zero point in padding and sums",
        &[
            "circuits/tests/conformance.rs::every_operator_case_passes_the_ladder",
            "circuits/tests/models.rs::every_operator_variant_agrees_with_onnxruntime",
            BROKEN,
        ],
    ),
    (
        23,
        "rounding mode",
        &["circuits/tests/forge.rs::rounding_is_half_up_for_both_signs_and_has_one_answer"],
    ),
    (
        24,
        "ties",
        &["circuits/tests/forge.rs::ties_in_max_have_one_witness"],
    ),
    (
        25,
        "permutation without multiplicity or index",
        &[
            LIBRARY,
            LIBRARY_IN_HALO2,
            "circuits/tests/forge.rs::top_k_refuses_duplicates_drops_and_swaps",
        ],
    ),
    (
        26,
        "computed index unconstrained",
        &[
            LIBRARY,
            LIBRARY_IN_HALO2,
            "circuits/tests/forge.rs::an_index_outside_the_rows_is_refused",
        ],
    ),
    (
        27,
        "Freivalds challenge fixed or early",
        &[
            "circuits/tests/contract.rs::an_error_in_the_kernel_of_a_known_challenge_is_refused_under_others",
            "circuits/tests/contract.rs::an_error_in_the_kernel_of_known_tape_challenges_is_refused_under_others",
            "circuits/tests/halo2.rs::an_error_in_the_kernel_of_known_challenges_is_refused_under_others",
            "circuits/tests/halo2.rs::convolutions_as_products_hold_every_output",
        ],
    ),
    (
        28,
        "operand in the wrong phase",
        &[
            "circuits/tests/contract.rs::results_are_committed_in_both_ways",
            "circuits/tests/halo2.rs::operands_and_results_are_committed_before_the_challenges",
        ],
    ),
    (
        29,
        "public input, constant or key not in the transcript",
        &[
            "verifier/tests/reject.rs::rejects_every_changed_byte_of_the_statement",
            "verifier/tests/keys.rs::rejects_every_changed_byte_of_the_key",
            "verifier/tests/malleability.rs::statement_digests_differ_in_key_context_and_every_byte",
            "prover/engine/tests/halo2_verify.rs::no_changed_key_accepts_the_proof",
        ],
    ),
    (
        30,
        "missing copy between layers",
        &[
            "circuits/tests/forge.rs::fan_out_reads_one_tensor",
            "circuits/tests/halo2.rs::no_cell_that_is_used_can_be_bent",
            "circuits/tests/random_graphs.rs::random_graphs_agree_in_every_form_and_refuse_tampering",
        ],
    ),
    (
        31,
        "two code paths diverge",
        &[
            "circuits/tests/random_graphs.rs::random_graphs_agree_in_every_form_and_refuse_tampering",
            "circuits/tests/conformance.rs::every_operator_case_passes_the_ladder",
        ],
    ),
    (
        32,
        "public signal plus the modulus",
        &[
            "verifier/tests/reject.rs::rejects_scalars_with_the_modulus_added",
            "contracts-verifier/tests/evm.rs::refuses_words_that_are_not_canonical",
        ],
    ),
    (
        33,
        "malleable or trailing bytes",
        &[
            "verifier/tests/reject.rs::rejects_every_changed_byte_of_the_proof",
            "verifier/tests/reject.rs::rejects_coordinates_with_the_modulus_added",
            "verifier/tests/reject.rs::rejects_infinity_in_every_place",
            "verifier/tests/reject.rs::rejects_points_off_the_curve",
            "verifier/tests/reject.rs::rejects_wrong_lengths_and_counts",
            "contracts-verifier/tests/evm.rs::refuses_every_changed_byte_of_the_calldata",
            "contracts-verifier/tests/halo2_kzg.rs::refuses_every_changed_byte_of_the_calldata",
        ],
    ),
    (
        34,
        "commitment not hiding",
        &["prover/engine/tests/prove.rs::the_same_input_twice_gives_different_bytes_everywhere"],
    ),
    (
        35,
        "key of another circuit",
        &[
            "verifier/tests/reject.rs::rejects_proofs_of_another_circuit_and_another_system",
            "prover/engine/tests/prove.rs::keys_of_another_program_system_or_trapdoor_are_refused_by_name",
        ],
    ),
    (
        36,
        "deserialisation bombs",
        &[
            "circuits/tests/forge.rs::hostile_programs_are_refused_without_panic_or_allocation",
            "circuits/tests/import_fuzz.rs::mutated_files_never_panic_and_keep_to_the_bound",
            "verifier/tests/descriptions.rs::counts_are_checked_before_anything_is_allocated",
            "verifier/tests/decoders.rs::key_decoder_survives_random_bytes",
        ],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Whether `source` holds a test of that name which runs.
fn runs(source: &str, function: &str) -> Result<(), &'static str> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let head = [format!("fn {function}("), format!("async fn {function}(")];
    let at = lines
        .iter()
        .position(|line| head.iter().any(|h| line.starts_with(h)));
    let Some(at) = at else {
        return Err("there is no such function");
    };
    let above = lines[..at].iter().rev();
    let attributes: Vec<_> = above
        .take_while(|l| l.starts_with('#') || l.starts_with("//"))
        .collect();
    let is = |what: &str| attributes.iter().any(|line| line.starts_with(what));
    match (is("#[test]") || is("#[tokio::test"), is("#[ignore")) {
        (_, true) => Err("it is ignored"),
        (false, _) => Err("it is not a test"),
        (true, false) => Ok(()),
    }
}

#[test]
fn every_class_has_tests_that_exist_and_run() {
    let mut wrong = vec![];
    for (at, (class, name, coverage)) in CLASSES.iter().enumerate() {
        assert_eq!(*class as usize, at + 1, "{name}");
        assert!(!coverage.is_empty(), "{class}");
        for test in *coverage {
            let (file, function) = test.split_once("::").unwrap();
            let source = std::fs::read_to_string(root().join(file)).unwrap_or_default();
            if let Err(why) = runs(&source, function) {
                wrong.push(format!("{class} ({name}): {test}: {why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_check_sees_tests_that_are_missing_ignored_or_no_tests() {
    assert!(runs("#[test]\nfn a() {\n}\n", "a").is_ok());
    assert!(runs("#[test]\nfn ab() {\n}\n", "a").is_err());
    assert!(runs("#[test]\n#[ignore = \"slow\"]\nfn a() {\n}\n", "a").is_err());
    assert!(runs("fn a() {\n}\n", "a").is_err());
    assert!(runs("// fn a() {\n", "a").is_err());
}
