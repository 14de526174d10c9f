//! Every system from program to accepted proof, and everything that must be refused on the way.

mod small;

use std::fs;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ark_bn254::Bn254;
use ark_groth16::{Groth16, prepare_verifying_key};
use small::{Bundle, context, dense, input, layers, products_of_rows, rng};
use zkinfer_circuits::arithmetization::r1cs::export::write_r1cs;
use zkinfer_circuits::arithmetization::r1cs::{Form, R1cs};
use zkinfer_circuits::tensor::Tensor;
use zkinfer_engine::quote::{Kernel, Rates, calibrate};
use zkinfer_engine::{
    CircuitCost, Phase, PrepareError, ProveError, SetupError, Silent, compare, quote,
};
use zkinfer_gpu::Cpu;
use zkinfer_params::dev_setup::Trapdoor;
use zkinfer_params::keys::{KeyOpenError, KeySink, KeyWriter, ProvingKeyFile, SectionKind};
use zkinfer_verifier::{Proof, ProofSystem, Statement, verify};

#[test]
fn proofs_of_every_system_are_accepted_for_their_statement_only() {
    for system in ProofSystem::ALL {
        let bundle = Bundle::new(layers(5, 2), system, 1);
        let prover = bundle.prover();
        let (one, two) = (input(&bundle.program, 1), input(&bundle.program, 2));
        let proven = prover.prove(&one, &mut rng(1), &Silent).expect("a proof");
        let other = prover.prove(&two, &mut rng(2), &Silent).expect("a proof");
        verify(&bundle.vk, &proven.statement, &proven.proof).expect("accepted");
        verify(&bundle.vk, &other.statement, &other.proof).expect("accepted");
        assert_eq!(proven.outputs[0].shape, [1, 5]);

        assert!(verify(&bundle.vk, &other.statement, &proven.proof).is_err());
        let moved = Statement {
            context: context(8),
            ..proven.statement.clone()
        };
        assert!(verify(&bundle.vk, &moved, &proven.proof).is_err());
        let mut edited = proven.statement.clone();
        edited.public_bytes[3] ^= 1;
        assert!(verify(&bundle.vk, &edited, &proven.proof).is_err());
        let stranger = Bundle::new(layers(5, 2), system, 2);
        assert!(verify(&stranger.vk, &proven.statement, &proven.proof).is_err());
    }
}

#[test]
fn products_of_two_computed_tensors_are_proved_in_every_system() {
    let n = 6;
    for system in ProofSystem::ALL {
        let bundle = Bundle::new(products_of_rows(n), system, 1);
        let one = input(&bundle.program, 1);
        let proven = bundle.prover().prove(&one, &mut rng(1), &Silent);
        let proven = proven.expect("a proof");
        verify(&bundle.vk, &proven.statement, &proven.proof).expect("accepted");
        let x = &one.tensors[0].data;
        let row = |t: usize, i: usize| &x[(t * n + i) * n..][..n];
        for (out, y) in proven.outputs[0].data.iter().enumerate() {
            let (t, i, j) = (out / (n * n), out / n % n, out % n);
            let terms = row(t, i).iter().zip(row(t, j));
            let sum: i64 = terms.map(|(a, b)| a * (b + 1)).sum();
            assert_eq!(*y, (((sum + 512) >> 10) + 3).clamp(-128, 127));
        }
        let mut edited = proven.statement.clone();
        edited.public_bytes[0] ^= 1;
        assert!(verify(&bundle.vk, &edited, &proven.proof).is_err());
    }
}

#[test]
fn tables_change_no_proof_and_keep_to_their_memory() {
    for (system, tabulated) in [
        (ProofSystem::Groth16, true),
        (ProofSystem::UltraGroth, true),
        (ProofSystem::Halo2Kzg, false),
    ] {
        let bundle = Bundle::new(layers(20, 2), system, 1);
        let one = input(&bundle.program, 1);
        let plain = bundle.prover().prove(&one, &mut rng(1), &Silent);
        let plain = plain.expect("a proof");
        verify(&bundle.vk, &plain.statement, &plain.proof).expect("accepted");
        let mut most = 0;
        for budget in [0, 1 << 20, u64::MAX] {
            let prover = bundle.prover();
            let bytes = prover.tabulate(budget).expect("a sound key");
            assert!(bytes <= budget);
            assert_eq!(prover.tabulate(budget).expect("a sound key"), bytes);
            most = bytes;
            let proven = prover.prove(&one, &mut rng(1), &Silent).expect("a proof");
            assert_eq!(proven.proof, plain.proof, "{system} with {bytes} bytes");
        }
        assert_eq!(most > 0, tabulated);
    }
}

#[test]
fn ark_groth16_verifies_plain_proofs() {
    let bundle = Bundle::new(dense(5), ProofSystem::Groth16, 3);
    let proven = bundle
        .prover()
        .prove(&input(&bundle.program, 1), &mut rng(1), &Silent)
        .expect("a proof");
    let groth = bundle.vk.groth().expect("a groth16 key");
    let Proof::Groth16 { a, b, c } = proven.proof else {
        panic!("a proof of another system");
    };
    let key = prepare_verifying_key(&ark_groth16::VerifyingKey::<Bn254> {
        alpha_g1: groth.alpha_g1,
        beta_g2: groth.beta_g2,
        gamma_g2: groth.gamma_g2,
        delta_g2: groth.deltas_g2[0],
        gamma_abc_g1: groth.ic.clone(),
    });
    let proof = ark_groth16::Proof { a, b, c };
    let mut words = proven.statement.words();
    assert!(Groth16::<Bn254>::verify_proof(&key, &proof, &words).expect("well formed"));
    words[0] += ark_bn254::Fr::from(1u64);
    assert!(!Groth16::<Bn254>::verify_proof(&key, &proof, &words).expect("well formed"));
}

#[test]
fn the_same_input_twice_gives_different_bytes_everywhere() {
    for system in ProofSystem::ALL {
        let bundle = Bundle::new(dense(5), system, 4);
        let prover = bundle.prover();
        let one = input(&bundle.program, 1);
        let mut rng = rng(1);
        let proofs = [(); 2].map(|()| {
            let proven = prover.prove(&one, &mut rng, &Silent).expect("a proof");
            proven.proof.to_bytes()
        });
        for (k, (left, right)) in proofs[0].chunks(64).zip(proofs[1].chunks(64)).enumerate() {
            assert_ne!(left, right, "{system}: bytes {}..{}", 64 * k, 64 * k + 64);
        }
    }
}

#[test]
fn a_set_up_from_one_trapdoor_makes_the_same_keys_for_any_number_of_threads() {
    for system in ProofSystem::ALL {
        let keys = [1, 3].map(|n_threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(n_threads)
                .build()
                .expect("a thread pool");
            pool.install(|| {
                let bundle = Bundle::new(layers(40, 2), system, 5);
                (
                    bundle.vk.encode(),
                    fs::read(bundle.key_path()).expect("readable"),
                )
            })
        });
        assert!(keys[0] == keys[1], "{system}");
    }
}

#[test]
fn keys_of_another_program_system_or_trapdoor_are_refused_by_name() {
    for system in ProofSystem::ALL {
        let bundle = Bundle::new(dense(5), system, 6);
        let again = Bundle::new(dense(5), system, 7);
        let other = Bundle::new(dense(6), system, 6);
        let refusal = |program: &Bundle, key: &Bundle, vk: &Bundle| {
            bundle
                .backend
                .prepare(program.program.clone(), key.key(), vk.vk.clone())
                .err()
        };
        assert!(refusal(&bundle, &bundle, &bundle).is_none());
        for refused in [
            refusal(&other, &bundle, &bundle),
            refusal(&bundle, &other, &bundle),
            refusal(&bundle, &bundle, &other),
            refusal(&bundle, &bundle, &again),
            refusal(&bundle, &again, &bundle),
        ] {
            assert!(
                matches!(refused, Some(PrepareError::Digest { .. })),
                "{refused:?}"
            );
        }
        let stranger = ProofSystem::ALL[(system as usize) % ProofSystem::ALL.len()];
        let stranger = Bundle::new(dense(5), stranger, 6);
        for refused in [
            refusal(&bundle, &stranger, &bundle),
            refusal(&bundle, &bundle, &stranger),
        ] {
            assert!(
                matches!(refused, Some(PrepareError::System { .. })),
                "{refused:?}"
            );
        }
    }
}

#[test]
fn a_damaged_section_of_a_key_gives_no_proof_and_is_named() {
    let bundle = Bundle::new(dense(5), ProofSystem::UltraGroth, 8);
    let one = input(&bundle.program, 1);
    let prove = |key| {
        let (program, vk) = (bundle.program.clone(), bundle.vk.clone());
        match bundle.backend.prepare(program, key, vk) {
            Ok(prover) => {
                prover
                    .prove(&one, &mut rng(1), &Silent)
                    .map_err(|refused| match refused {
                        ProveError::ProvingKey(KeyOpenError::Damaged { kind }) => kind,
                        other => panic!("{other}"),
                    })
            }
            Err(PrepareError::ProvingKey(KeyOpenError::Damaged { kind })) => Err(kind),
            Err(other) => panic!("{other}"),
        }
    };
    for section in bundle.key().sections() {
        let kind = section.kind;
        let (start, point) = (section.offset as usize, kind.point_bytes() as usize);
        // every point, then one after another: a point that meets no scalar may be damaged and the proof is good
        let everywhere: Vec<usize> = (0..section.count as usize).collect();
        let refused = prove(damaged(&bundle, start, point, &everywhere));
        assert_eq!(refused.err(), Some(kind));
        let mut n_refused = 0;
        for k in everywhere.iter().step_by(1 + everywhere.len() / 8) {
            match prove(damaged(&bundle, start, point, &[*k])) {
                Ok(proven) => verify(&bundle.vk, &proven.statement, &proven.proof)
                    .expect("an accepted proof although the key is damaged"),
                Err(named) => {
                    assert_eq!(named, kind);
                    n_refused += 1;
                }
            }
        }
        assert!(n_refused > 0, "{kind:?}");
    }
}

/// The key with one bit of some points flipped.
fn damaged(bundle: &Bundle, start: usize, point: usize, which: &[usize]) -> ProvingKeyFile {
    let mut bytes = fs::read(bundle.key_path()).expect("readable");
    for k in which {
        bytes[start + k * point + 40] ^= 0x10;
    }
    let path = bundle.dir.path().join("damaged.key");
    fs::write(&path, &bytes).expect("written");
    ProvingKeyFile::open(&path).expect("the header is whole")
}

#[test]
fn a_damaged_or_truncated_key_of_halo2_is_refused_before_any_proof() {
    let bundle = Bundle::new(dense(5), ProofSystem::Halo2Kzg, 8);
    for section in bundle.key().sections() {
        let kind = section.kind;
        let key = damaged(&bundle, section.offset as usize, 64, &[0]);
        let (program, vk) = (bundle.program.clone(), bundle.vk.clone());
        let refused = bundle.backend.prepare(program, key, vk).err();
        assert!(
            matches!(refused, Some(PrepareError::ProvingKey(KeyOpenError::Damaged { kind: k })) if k == kind),
            "{kind:?}: {refused:?}"
        );
    }
}

/// The key of `bundle` with single point `index` of `edited` overwritten by `bytes`, all digests made anew: what an author of keys can do.
fn rewritten(
    bundle: &Bundle,
    edited: SectionKind,
    index: usize,
    bytes: Option<usize>,
) -> ProvingKeyFile {
    let key = bundle.key();
    let mut writer = KeyWriter::create(&bundle.dir.path().join("edited.key")).expect("created");
    writer.begin(key.header()).expect("a header");
    for section in key.sections() {
        let mut points = key
            .read_section(section.kind, section.count)
            .expect("a sound section");
        if section.kind == edited {
            let len = section.kind.point_bytes() as usize;
            // another point of the section, or infinity
            let other = match bytes {
                Some(other) => points[other * len..][..len].to_vec(),
                None => vec![0; len],
            };
            points[index * len..][..len].copy_from_slice(&other);
        }
        writer
            .start_section(section.kind, section.count)
            .expect("a section");
        writer.append(&points).expect("its points");
    }
    writer.finish().expect("the key is written")
}

#[test]
fn a_key_whose_blinding_points_were_edited_is_refused_before_any_proof() {
    for (system, n_g1) in [(ProofSystem::Groth16, 3), (ProofSystem::UltraGroth, 4)] {
        let bundle = Bundle::new(dense(5), system, 12);
        let points = (0..n_g1).map(|index| (SectionKind::PointsG1, index, (index + 1) % n_g1));
        let points = points.chain([(SectionKind::PointsG2, 0, 1), (SectionKind::PointsG2, 1, 0)]);
        for (kind, index, other) in points {
            for bytes in [None, Some(other)] {
                let key = rewritten(&bundle, kind, index, bytes);
                let (program, vk) = (bundle.program.clone(), bundle.vk.clone());
                let refused = bundle.backend.prepare(program, key, vk).err();
                assert!(
                    matches!(refused, Some(PrepareError::Single { .. })),
                    "{system} {kind:?} {index}: {refused:?}"
                );
            }
        }
        // The rewriting itself changes nothing.
        let key = rewritten(&bundle, SectionKind::PointsG1, 0, Some(0));
        let (program, vk) = (bundle.program.clone(), bundle.vk.clone());
        assert!(bundle.backend.prepare(program, key, vk).is_ok());
    }
}

#[test]
fn a_truncated_key_is_refused_when_it_is_opened() {
    for system in [ProofSystem::UltraGroth, ProofSystem::Halo2Kzg] {
        let bundle = Bundle::new(dense(5), system, 8);
        let bytes = fs::read(bundle.key_path()).expect("readable");
        for section in bundle.key().sections() {
            let path = bundle.dir.path().join("short.key");
            fs::write(&path, &bytes[..section.offset as usize]).expect("written");
            assert!(ProvingKeyFile::open(&path).is_err());
        }
    }
}

#[test]
fn every_report_can_cancel_a_set_up_and_a_proof() {
    for system in ProofSystem::ALL {
        let bundle = Bundle::new(dense(5), system, 9);
        let prover = bundle.prover();
        let one = input(&bundle.program, 1);
        let reports = AtomicU64::new(0);
        let count = |_: Phase, done: u64, total: u64| {
            assert!(done <= total);
            reports.fetch_add(1, Ordering::Relaxed);
            ControlFlow::Continue(())
        };
        prover.prove(&one, &mut rng(1), &count).expect("a proof");
        let n_reports = reports.into_inner();
        assert!(n_reports >= 8, "{n_reports} reports");
        for stop_at in 0..n_reports {
            let reports = AtomicU64::new(0);
            let stop = |_: Phase, _: u64, _: u64| match reports.fetch_add(1, Ordering::Relaxed)
                == stop_at
            {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            };
            let stopped = prover.prove(&one, &mut rng(1), &stop);
            assert!(matches!(stopped, Err(ProveError::Cancelled)));
            assert_eq!(reports.into_inner(), stop_at + 1, "nothing ran on");
        }

        let path = bundle.dir.path().join("cancelled.key");
        let stop = |phase: Phase, done: u64, _: u64| match phase == Phase::Keys && done > 0 {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let mut writer = KeyWriter::create(&path).expect("created");
        let trapdoor = Trapdoor::insecure_from_seed_for_tests(1);
        let stopped = bundle.backend.setup(
            &bundle.program,
            [9; 32],
            trapdoor.into(),
            &mut writer,
            &stop,
        );
        assert!(matches!(stopped, Err(SetupError::Cancelled)));
        drop(writer);
        assert_eq!(
            fs::read_dir(bundle.dir.path()).expect("readable").count(),
            1
        );
    }
}

#[test]
fn an_input_of_another_shape_or_range_is_an_error() {
    for system in ProofSystem::ALL {
        let bundle = Bundle::new(dense(5), system, 10);
        let prover = bundle.prover();
        let good = input(&bundle.program, 1);
        let mut long = good.clone();
        long.tensors[0] = Tensor::flat(vec![0; 5]);
        let mut large = good.clone();
        large.tensors[0].data[0] = 128;
        let mut none = good.clone();
        none.tensors.clear();
        for bad in [long, large, none] {
            let refused = prover.prove(&bad, &mut rng(1), &Silent);
            assert!(matches!(refused, Err(ProveError::Solve(_))), "{refused:?}");
        }
    }
}

#[test]
fn a_quote_knows_the_key_bytes_exactly_and_what_the_proof_needs() {
    for system in ProofSystem::ALL {
        for program in [dense(5), layers(40, 2)] {
            let bundle = Bundle::new(program, system, 11);
            let quoted = quote(&bundle.program, system).expect("a quote");
            let key_bytes = fs::metadata(bundle.key_path()).expect("there").len();
            assert_eq!(quoted.key_bytes, key_bytes);
            assert_eq!(quoted.proof_bytes, bundle.vk.proof_bytes());
            assert!(quoted.rows <= quoted.domain && quoted.domain.is_power_of_two());
            assert!(quoted.ram_bytes > 0 && quoted.prove_seconds > 0.0 && quoted.gas > 150_000);
        }
    }
}

#[test]
fn a_quote_counts_the_constraints_of_the_exported_circuit() {
    for program in [dense(5), layers(40, 2)] {
        let quoted = quote(&program, ProofSystem::Groth16).expect("a quote");
        let CircuitCost::R1cs { cost, wires } = &quoted.circuit else {
            panic!("groth16 proves an R1CS");
        };
        let circuit = R1cs::lower(&program, Form::Plain).expect("a circuit");
        let mut file = Vec::new();
        write_r1cs(&circuit, &mut file).expect("written");
        // Magic, version, number of sections; kind and length of the header; the field's size and modulus; then numbers of 4 and 8 bytes.
        let number = |at: usize| {
            file[at..]
                .iter()
                .take(4)
                .rev()
                .fold(0, |n, b| n << 8 | usize::from(*b))
        };
        let counts = 12 + 12 + 4 + 32;
        assert_eq!(number(counts), *wires);
        assert_eq!(number(counts + 4 * 4 + 8), cost.rows);
    }
}

#[test]
fn other_rates_change_the_seconds_and_not_the_recommendation() {
    let reference = compare(&layers(40, 2)).expect("quotes");
    let begun = Instant::now();
    let clock = || begun.elapsed();
    let rates = calibrate(&Cpu, Duration::ZERO, &clock, &mut |_| ()).expect("the CPU works");
    assert!(rates.took().is_some() && Rates::reference().took().is_none());
    assert!(Kernel::ALL.iter().all(|kernel| rates.of(*kernel) > 0.0));
    let here = reference.clone().priced(&rates);
    assert_eq!(
        (here.recommended, &here.reason),
        (reference.recommended, &reference.reason)
    );
    for (here, reference) in here.quotes.iter().zip(&reference.quotes) {
        assert_ne!(here.prove_seconds, reference.prove_seconds);
        assert_eq!(here.ram_bytes, reference.ram_bytes);
        assert_eq!(here.clone().priced(&Rates::reference()), *reference);
    }
}
