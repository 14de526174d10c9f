//! Children that are shell scripts: what they write was written by the test.

use std::{num::NonZeroUsize, os::unix::fs::PermissionsExt as _, path::Path};

use zeroize::Zeroizing;

use super::*;
use crate::{
    farm::lease::AttemptId,
    store::{FailureClass, JobId, Resources},
};

/// A slot whose child says `replies`, then runs `end`.
fn slot(folder: &Path, replies: &[u8], end: &str) -> Box<dyn Slot> {
    slot_on(folder, ChildGpus::default(), "", replies, end)
}

/// The same on `gpus`, whose child runs `begin` before it reads its order.
fn slot_on(
    folder: &Path,
    gpus: ChildGpus,
    begin: &str,
    replies: &[u8],
    end: &str,
) -> Box<dyn Slot> {
    let (said, program) = (folder.join("replies"), folder.join("child"));
    std::fs::write(&said, replies).unwrap();
    // The first request is waited for, so that an answer never comes before its order.
    let script = format!(
        "#!/bin/sh\n{begin}\nhead -c 30 >/dev/null\ncat '{}'\n{end}\n",
        said.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let children = Children {
        program,
        share: Share::of(NonZeroUsize::MIN, 1),
        ram_bytes: 1 << 30,
        allowance_bytes: 0,
        gpus,
    };
    children.start(0).unwrap()
}

fn watch() -> Arc<Watch> {
    let attempt = AttemptId {
        job: JobId::fresh(),
        epoch: 1,
    };
    Arc::new(Watch::new(attempt, Resources::default()))
}

fn order() -> Order {
    Order {
        load: Load {
            circuit: CircuitId::fresh(),
            folder: "/nowhere".into(),
            limits: Resources::default(),
            time_limit: Duration::from_secs(60),
        },
        input: Zeroizing::new(vec![1; 100]),
        context: [0; 32],
    }
}

fn done(told: Told) -> Vec<u8> {
    protocol::frame(&Reply::Done {
        number: 1,
        told,
        peak_ram: 77,
        warm: vec![],
    })
    .unwrap()
}

async fn failure(slot: &mut Box<dyn Slot>) -> Failure {
    match slot.prove(order(), &watch()).await {
        Err(WorkError::Failed(failure)) => failure,
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f38_an_error_of_a_million_bytes_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let told = Told::Failed(Failure {
        class: FailureClass::Internal,
        code: "C".repeat(1000),
        message: "é".repeat(500_000),
        attempt: 0,
    });
    let mut slot = slot(folder.path(), &done(told), "exec sleep 60");
    let failure = failure(&mut slot).await;
    assert_eq!(failure.class, FailureClass::Internal);
    assert!(failure.message.len() <= 1024 && failure.message.ends_with('…'));
    assert!(failure.code.len() <= 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_breaks_the_protocol_is_killed() {
    for garbage in [
        &[0xff_u8; 64][..],
        &[3, 0, 0, 0, 9, 9, 9],
        &[200, 0, 0, 0, 1],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let end = if garbage.len() == 5 {
            "exit 0"
        } else {
            "exec sleep 60"
        };
        let mut slot = slot(folder.path(), garbage, end);
        let failure = failure(&mut slot).await;
        assert_eq!(
            (failure.class, &*failure.code),
            (FailureClass::NodeFault, "CHILD_DIED")
        );
        assert!(
            failure.message.contains("broke the protocol"),
            "{}",
            failure.message
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_a_child_is_told_with_its_cause() {
    let cases = [
        (
            "kill -9 $$",
            FailureClass::NodeFault,
            "CHILD_DIED",
            "SIGKILL",
        ),
        (
            "kill -11 $$",
            FailureClass::NodeFault,
            "CHILD_DIED",
            "SIGSEGV",
        ),
        (
            "exit 3",
            FailureClass::NodeFault,
            "CHILD_DIED",
            "exit code 3",
        ),
        (
            "echo memory allocation of 99 bytes failed >&2; kill -6 $$",
            FailureClass::ResourceExceeded,
            "MEMORY_LIMIT",
            "asked for more memory",
        ),
    ];
    for (end, class, code, words) in cases {
        let folder = tempfile::tempdir().unwrap();
        let mut slot = slot(folder.path(), b"", end);
        let failure = failure(&mut slot).await;
        assert_eq!((failure.class, &*failure.code), (class, code), "{end}");
        assert!(
            failure.message.contains(words),
            "{end}: {}",
            failure.message
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_another_order_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let stale = protocol::frame(&Reply::Done {
        number: 9,
        told: Told::Stopped,
        peak_ram: 0,
        warm: vec![],
    })
    .unwrap();
    let proof = Outcome::Proved {
        proof: vec![5],
        public_values: vec![6],
        load_ms: 7,
        prove_ms: 8,
    };
    let replies = [stale, done(Told::Made(proof))].concat();
    let mut slot = slot(folder.path(), &replies, "exec sleep 60");
    let watch = watch();
    let proved = slot.prove(order(), &watch).await.unwrap();
    assert_eq!(
        (&proved.parts.proof[..], &proved.parts.public_values[..]),
        (&[5][..], &[6][..])
    );
    assert_eq!(
        (proved.key_load.as_millis(), proved.prove.as_millis()),
        (7, 8)
    );
    assert!(watch.peak_ram() >= 77);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_does_not_listen_is_killed_two_seconds_after_a_cancel() {
    let folder = tempfile::tempdir().unwrap();
    let mut slot = slot(
        folder.path(),
        b"",
        "trap '' TERM; while :; do sleep 1; done",
    );
    let watch = watch();
    let begun = Instant::now();
    let stop = {
        let watch = Arc::clone(&watch);
        async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            watch.stop(super::super::watch::Stop::Gateway);
        }
    };
    let (proved, ()) = tokio::join!(slot.prove(order(), &watch), stop);
    assert!(matches!(proved, Err(WorkError::Cancelled)));
    let took = begun.elapsed();
    assert!(
        took >= PATIENCE && took < PATIENCE + Duration::from_secs(3),
        "{took:?}"
    );
}

fn gpus() -> ChildGpus {
    ChildGpus {
        ordinals: vec![3],
        table_bytes: Some(7),
    }
}

/// A proof, and one warm circuit.
fn proof() -> Vec<u8> {
    let made = Outcome::Proved {
        proof: vec![5],
        public_values: vec![6],
        load_ms: 7,
        prove_ms: 8,
    };
    protocol::frame(&Reply::Done {
        number: 1,
        told: Told::Made(made),
        peak_ram: 77,
        warm: vec![([1; 16], 9)],
    })
    .unwrap()
}

fn on(is_gpu: bool) -> Vec<u8> {
    let line = "what computes".to_owned();
    protocol::frame(&Reply::Device { is_gpu, line }).unwrap()
}

async fn tier_after_proof(slot: &mut Box<dyn Slot>) -> Tier {
    slot.prove(order(), &watch()).await.unwrap();
    slot.warm().first().unwrap().tier
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_waits_until_the_child_knows_what_it_proves_on() {
    let folder = tempfile::tempdir().unwrap();
    let (opened, seen) = (folder.path().join("opened"), folder.path().join("seen"));
    for (is_gpu, tier) in [(true, Tier::Vram), (false, Tier::Ram)] {
        std::fs::write(&opened, on(is_gpu)).unwrap();
        // What it was started with is kept for the test.
        let begin = format!(
            "echo \"$*\" >'{}'; sleep 0.2; cat '{}'",
            seen.display(),
            opened.display()
        );
        let mut slot = slot_on(folder.path(), gpus(), &begin, &proof(), "exec sleep 60");
        assert_eq!(tier_after_proof(&mut slot).await, tier);
        let arguments = std::fs::read_to_string(&seen).unwrap();
        assert_eq!(arguments.trim(), "prover-child --gpu=3 --gpu-table-bytes=7");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_dies_while_it_opens_its_gpu_gives_way_to_one_without() {
    let folder = tempfile::tempdir().unwrap();
    let begin = "case \"$*\" in *--gpu*) kill -11 $$ ;; esac";
    let mut slot = slot_on(folder.path(), gpus(), begin, &proof(), "exec sleep 60");
    assert_eq!(tier_after_proof(&mut slot).await, Tier::Ram);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_that_fails_during_an_order_leaves_the_slot_on_the_cpu() {
    let folder = tempfile::tempdir().unwrap();
    let opened = folder.path().join("opened");
    std::fs::write(&opened, on(true)).unwrap();
    let begin = format!("cat '{}'", opened.display());
    let replies = [on(false), proof()].concat();
    let mut slot = slot_on(folder.path(), gpus(), &begin, &replies, "exec sleep 60");
    assert_eq!(tier_after_proof(&mut slot).await, Tier::Ram);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_is_heard_while_a_child_opens_its_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let mut slot = slot_on(folder.path(), gpus(), "exec sleep 60", b"", "");
    let watch = watch();
    watch.stop(super::super::watch::Stop::Gateway);
    let proved = slot.prove(order(), &watch).await;
    assert!(matches!(proved, Err(WorkError::Cancelled)));
}
