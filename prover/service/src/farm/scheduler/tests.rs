//! Properties of plans, and that explanations are true.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*, sample::subsequence};
use uuid::Uuid;

use super::*;

const NOW: Millis = 10_000_000;
const BACKENDS: [Backend; 3] = [Backend::Groth16, Backend::Halo2Kzg, Backend::UltraGroth];

fn node_id(n: u128) -> NodeId {
    NodeId(Uuid::from_u128(n))
}

fn job_id(n: u128) -> JobId {
    JobId(Uuid::from_u128(n))
}

fn circuit_id(n: u128) -> CircuitId {
    CircuitId(Uuid::from_u128(n))
}

fn resources(ram_bytes: u64) -> Resources {
    Resources {
        ram_bytes,
        disk_bytes: 1 << 40,
        cpu_threads: 8,
        ..Resources::default()
    }
}

fn share() -> Share {
    Share {
        weight: 1.0,
        vtime: 0.0,
        running: 0,
        max_running: 100,
    }
}

fn node(n: u128) -> Candidate {
    Candidate {
        node: node_id(n),
        state: NodeState::Active,
        trust: Trust::Owned,
        pools: Vec::new(),
        backends: BACKENDS.to_vec(),
        total: resources(64 << 30),
        free: resources(64 << 30),
        slots: 4,
        free_slots: 4,
        keys: Vec::new(),
        score: 1.0,
    }
}

fn job(n: u128, circuit: u128) -> Waiting {
    Waiting {
        job: job_id(n),
        tenant: TenantId(1),
        circuit: circuit_id(circuit),
        backend: Backend::UltraGroth,
        priority: Priority::Normal,
        created_at: NOW - 1_000 + n as i64,
        not_before: 0,
        needs: Resources {
            ram_bytes: 1 << 30,
            ..Resources::default()
        },
        min_trust: Trust::Untrusted,
        pools: Vec::new(),
        excluded: Vec::new(),
        estimated_ms: 30_000,
        key_load_ms: 5_000,
        passed_over: 0,
        passed_since: None,
        low_score_from: None,
    }
}

fn key(circuit: u128, tier: Tier) -> KeyResidency {
    KeyResidency {
        circuit: circuit_id(circuit),
        tier,
        load_ms: 5_000,
    }
}

fn snapshot(jobs: Vec<Waiting>, nodes: Vec<Candidate>) -> Snapshot {
    let tenants = jobs.iter().map(|j| (j.tenant, share())).collect();
    Snapshot {
        now: NOW,
        jobs,
        nodes,
        tenants,
        ..Snapshot::default()
    }
}

fn picks(snapshot: &Snapshot, n: u128, max: u32) -> Vec<JobId> {
    plan(snapshot, node_id(n), max).picks
}

fn pending(snapshot: &Snapshot, n: u128) -> Pending {
    explain(snapshot, job_id(n)).expect("known").pending
}

fn pools() -> impl Strategy<Value = Vec<String>> {
    subsequence(vec!["a".to_owned(), "b".to_owned()], 0..=2)
}

fn amounts() -> impl Strategy<Value = Resources> {
    (0u64..6, 0u64..3, 0u64..6, 0u32..6).prop_map(|(ram, vram, disk, cpu_threads)| Resources {
        ram_bytes: ram << 30,
        vram_bytes: vram << 30,
        disk_bytes: disk << 30,
        cpu_threads,
    })
}

fn any_node(n: u128) -> impl Strategy<Value = Candidate> {
    let keys = vec((0u128..5, prop::sample::select(Tier::ALL)), 0..4);
    let about = (
        prop_oneof![4 => Just(NodeState::Active), 1 => prop::sample::select(NodeState::ALL)],
        prop::sample::select(Trust::ALL),
        pools(),
        subsequence(BACKENDS.to_vec(), 0..=3),
        prop_oneof![3 => Just(1.0), 1 => 0.0..1.0],
    );
    (about, amounts(), amounts(), 0u32..6, 0u32..6, keys).prop_map(
        move |((state, trust, pools, backends, score), total, free, slots, free_slots, keys)| {
            Candidate {
                state,
                trust,
                pools,
                backends,
                total,
                free: Resources {
                    ram_bytes: free.ram_bytes.min(total.ram_bytes),
                    vram_bytes: free.vram_bytes.min(total.vram_bytes),
                    disk_bytes: free.disk_bytes.min(total.disk_bytes),
                    cpu_threads: free.cpu_threads,
                },
                slots,
                free_slots: free_slots.min(slots),
                keys: keys.into_iter().map(|(c, tier)| key(c, tier)).collect(),
                score,
                ..node(n)
            }
        },
    )
}

fn any_job(n: u128) -> impl Strategy<Value = Waiting> {
    let needs = (0u64..4, 0u64..2, 0u64..3, 0u32..3);
    let place = (
        1i64..4,
        0u128..5,
        prop::sample::select(BACKENDS.to_vec()),
        prop::sample::select(Priority::ALL),
        prop_oneof![3 => Just(Trust::Untrusted), 1 => prop::sample::select(Trust::ALL)],
        prop_oneof![3 => Just(Vec::new()), 1 => pools()],
        subsequence(vec![0u128, 1, 2], 0..2),
    );
    let times = (
        0i64..1_500_000,
        -5_000i64..2_000,
        0u64..70_000,
        0u64..40_000,
    );
    let passed = (0u32..10, prop::option::of(0i64..40_000));
    (place, needs, times, passed).prop_map(
        move |(
            (tenant, circuit, backend, priority, min_trust, pools, excluded),
            (ram, vram, disk, cpu_threads),
            (waited, not_before, estimated_ms, key_load_ms),
            (passed_over, since),
        )| Waiting {
            tenant: TenantId(tenant),
            backend,
            priority,
            created_at: NOW - waited,
            not_before: NOW + not_before,
            needs: Resources {
                ram_bytes: ram << 30,
                vram_bytes: vram << 30,
                disk_bytes: disk << 30,
                cpu_threads,
            },
            min_trust,
            pools,
            excluded: excluded.into_iter().map(node_id).collect(),
            estimated_ms,
            key_load_ms,
            passed_over,
            passed_since: since.map(|ms| NOW - ms),
            ..job(n, circuit)
        },
    )
}

fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    let jobs: Vec<_> = (0..20).map(any_job).collect();
    let jobs = (jobs, 0usize..=20).prop_map(|(mut jobs, n)| {
        jobs.truncate(n);
        jobs
    });
    let nodes = (any_node(0), any_node(1), any_node(2));
    let tenant = (0.1..4.0, 0.0..1e5, 0u32..4, 0u32..6);
    let tenants = vec(tenant, 3);
    (jobs, nodes, tenants, 0u32..5, 0u32..12).prop_map(
        |(jobs, nodes, tenants, batch_running, leases_since_batch)| Snapshot {
            now: NOW,
            jobs,
            nodes: vec![nodes.0, nodes.1, nodes.2],
            tenants: (1..)
                .zip(tenants)
                .map(|(n, (weight, vtime, running, max_running))| {
                    let share = Share {
                        weight,
                        vtime,
                        running,
                        max_running,
                    };
                    (TenantId(n), share)
                })
                .collect(),
            batch_running,
            leases_since_batch,
        },
    )
}

/// What must hold for a pick, in other words than the scheduler's.
fn may_run(job: &Waiting, node: &Candidate) -> bool {
    let has_key = node.keys.iter().any(|k| k.circuit == job.circuit);
    node.state == NodeState::Active
        && node.backends.contains(&job.backend)
        && node.trust.code() >= job.min_trust.code()
        && (job.pools.is_empty() || job.pools.iter().any(|p| node.pools.contains(p)))
        && !job.excluded.contains(&node.node)
        && (node.score >= 0.3 || job.priority == Priority::Batch)
        && job.needs.cpu_threads <= node.total.cpu_threads
        && job.needs.ram_bytes <= node.free.ram_bytes
        && job.needs.vram_bytes <= node.free.vram_bytes
        && (has_key || job.needs.disk_bytes <= node.free.disk_bytes)
        && job.not_before <= NOW
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_plan_holds_only_jobs_that_the_node_and_the_tenant_may_run(s in any_snapshot(), max in 0u32..8) {
        for node in &s.nodes {
            let plan = plan(&s, node.node, max);
            prop_assert!(plan.picks.len() as u32 <= max.min(node.free_slots));
            let unique: BTreeSet<_> = plan.picks.iter().collect();
            prop_assert_eq!(unique.len(), plan.picks.len());
            let picked: Vec<&Waiting> = plan.picks.iter()
                .map(|p| s.jobs.iter().find(|j| j.job == *p).expect("known")).collect();
            for job in &picked {
                prop_assert!(may_run(job, node), "{job:?} on {node:?}");
            }
            let ram: u64 = picked.iter().map(|j| j.needs.ram_bytes).sum();
            prop_assert!(ram <= node.free.ram_bytes);
            for (tenant, share) in &s.tenants {
                let more = picked.iter().filter(|j| j.tenant == *tenant).count() as u32;
                prop_assert!(more == 0 || share.running + more <= share.max_running);
            }
            for circuit in 0..5 {
                let of = picked.iter().filter(|j| j.circuit == circuit_id(circuit));
                let total: u64 = of.clone().map(|j| j.estimated_ms).sum();
                prop_assert!(of.count() < 2 || total <= BATCH_MS);
            }
            for job in plan.passed_over.iter().chain(&plan.held) {
                prop_assert!(!plan.picks.contains(job));
                prop_assert!(s.jobs.iter().any(|j| j.job == *job));
            }
            prop_assert!(plan.retry_at.is_none_or(|t| t > NOW));
        }
    }

    #[test]
    fn the_order_of_the_lists_does_not_matter(
        (s, shuffled) in any_snapshot().prop_flat_map(|s| {
            let jobs = Just(s.jobs.clone()).prop_shuffle();
            let nodes = Just(s.nodes.clone()).prop_shuffle();
            (Just(s), jobs, nodes)
        }).prop_map(|(s, jobs, nodes)| (s.clone(), Snapshot { jobs, nodes, ..s })),
        max in 1u32..6,
    ) {
        for node in &s.nodes {
            prop_assert_eq!(plan(&s, node.node, max), plan(&shuffled, node.node, max));
        }
        for job in &s.jobs {
            prop_assert_eq!(explain(&s, job.job), explain(&shuffled, job.job));
        }
    }

    #[test]
    fn an_explanation_says_eligible_where_the_job_alone_is_picked_and_nowhere_else(s in any_snapshot()) {
        for job in &s.jobs {
            let together = explain(&s, job.job).expect("known");
            let alone = Snapshot { jobs: vec![job.clone()], ..s.clone() };
            prop_assert_eq!(&explain(&alone, job.job).expect("known").verdicts, &together.verdicts);
            for verdict in &together.verdicts {
                let picked = plan(&alone, verdict.node, 1).picks;
                prop_assert_eq!(verdict.eligible, picked == [job.job], "{:?}: {:?}", job, verdict);
            }
            let any = together.verdicts.iter().any(|v| v.eligible);
            let waits = together.pending.kind == PendingKind::WaitingForTurn;
            prop_assert!(!any || waits, "{:?}", together);
        }
    }

    #[test]
    fn an_idle_farm_leaves_no_job_that_no_node_holds_for_another(s in any_snapshot()) {
        // Some node takes it, or says when to ask again, unless no node may.
        for job in &s.jobs {
            let alone = Snapshot { jobs: vec![job.clone()], ..s.clone() };
            let able = |n: &&Candidate| may_run(job, n) && n.free_slots > 0;
            let share = s.tenants[&job.tenant];
            if share.running >= share.max_running || !s.nodes.iter().any(|n| able(&n)) {
                continue;
            }
            let plans: Vec<Plan> = s.nodes.iter().filter(able).map(|n| plan(&alone, n.node, 1)).collect();
            prop_assert!(plans.iter().all(|p| !p.picks.is_empty() || p.retry_at.is_some()));
            let later = Waiting { passed_since: Some(NOW - MAX_PASSED_MS), ..job.clone() };
            let later = Snapshot { jobs: vec![later], ..s.clone() };
            for node in s.nodes.iter().filter(able) {
                prop_assert_eq!(plan(&later, node.node, 1).picks, vec![job.job]);
            }
        }
    }

    #[test]
    fn a_job_is_passed_over_at_most_eight_times(loads in 1u64..40_000, step in 0i64..6_000) {
        // The head is cold, and warm work never ends.
        let mut s = snapshot(vec![job(0, 9)], vec![Candidate { keys: vec![key(1, Tier::Ram)], ..node(0) }]);
        s.jobs[0].key_load_ms = loads;
        let mut asked = 0u32;
        loop {
            let fresh = Waiting { created_at: s.now, estimated_ms: 0, ..job(u128::from(asked) + 1, 1) };
            s.jobs.truncate(1);
            s.jobs.push(fresh);
            let plan = plan(&s, node_id(0), 1);
            asked += 1;
            if plan.picks == [job_id(0)] {
                break;
            }
            prop_assert_eq!(&plan.passed_over, &[job_id(0)]);
            s.jobs[0].passed_over += 1;
            s.jobs[0].passed_since.get_or_insert(s.now);
            s.now += step;
            prop_assert!(asked < 20);
        }
        let by_time = if step > 0 { MAX_PASSED_MS as u64 / step as u64 + 1 } else { u64::MAX };
        let expected = u64::from(MAX_PASSED_OVER).min(by_time);
        prop_assert!(u64::from(asked - 1) <= expected, "{asked}");
        prop_assert!(asked > 5, "affinity counts: {asked}");
    }
}

#[test]
fn a_loaded_key_goes_first_within_the_slack_and_not_beyond() {
    let mut s = snapshot(
        vec![job(0, 9), job(1, 1)],
        vec![Candidate {
            keys: vec![key(1, Tier::Ram)],
            ..node(0)
        }],
    );
    s.jobs[1].tenant = TenantId(2);
    s.tenants.insert(TenantId(2), share());
    assert_eq!(picks(&s, 0, 1), [job_id(1)]);
    // 2 × 5 s of key load.
    s.tenants.get_mut(&TenantId(2)).expect("there").vtime = 10_000.0;
    assert_eq!(picks(&s, 0, 1), [job_id(1)]);
    s.tenants.get_mut(&TenantId(2)).expect("there").vtime = 10_001.0;
    assert_eq!(picks(&s, 0, 1), [job_id(0)]);
}

#[test]
fn nearer_tiers_go_first() {
    let keys = vec![key(1, Tier::Disk), key(2, Tier::Ram), key(3, Tier::Vram)];
    let jobs = (0..4).map(|n| job(n, n)).collect();
    let mut s = snapshot(jobs, vec![Candidate { keys, ..node(0) }]);
    for expected in [3, 2, 1, 0] {
        assert_eq!(picks(&s, 0, 1), [job_id(expected)]);
        s.jobs.retain(|j| j.job != job_id(expected));
    }
}

#[test]
fn a_job_is_held_for_the_node_that_has_its_key_but_not_for_long() {
    let loaded = Candidate {
        keys: vec![key(1, Tier::Ram)],
        ..node(1)
    };
    let mut s = snapshot(vec![job(0, 1)], vec![node(0), loaded]);
    let held = plan(&s, node_id(0), 4);
    assert_eq!(held.picks, []);
    assert_eq!(held.held, [job_id(0)]);
    assert_eq!(held.passed_over, []);
    assert_eq!(held.retry_at, Some(NOW + 10_000));
    let why = explain(&s, job_id(0)).expect("known");
    assert_eq!(
        why.verdicts[0].reason,
        format!(
            "{} has the key loaded: the job waits for it, 10.0 s at most",
            node_id(1)
        )
    );
    assert!(why.verdicts[1].eligible);
    assert_eq!(picks(&s, 1, 1), [job_id(0)]);
    s.jobs[0].passed_since = Some(NOW);
    s.jobs[0].passed_over = 1;
    s.now = NOW + 9_999;
    assert_eq!(picks(&s, 0, 1), []);
    s.now = NOW + 10_000;
    assert_eq!(picks(&s, 0, 1), [job_id(0)]);
    // Nobody waits for a node that takes nothing.
    s.jobs[0].passed_since = None;
    s.nodes[1].state = NodeState::Draining;
    assert_eq!(picks(&s, 0, 1), [job_id(0)]);
}

#[test]
fn a_job_held_for_a_busy_node_keeps_its_slot_from_lower_classes() {
    let mut loaded = Candidate {
        keys: vec![key(1, Tier::Ram)],
        ..node(1)
    };
    loaded.free_slots = 0;
    let mut s = snapshot(vec![job(0, 1), job(1, 2)], vec![node(0), loaded]);
    s.jobs[1].priority = Priority::Batch;
    s.nodes[0].free_slots = 1;
    assert_eq!(picks(&s, 0, 4), []);
    s.nodes[0].free_slots = 2;
    assert_eq!(picks(&s, 0, 4), [job_id(1)]);
    s.nodes[0].free_slots = 1;
    s.nodes[1].free_slots = 1;
    assert_eq!(picks(&s, 0, 4), [job_id(1)]);
}

#[test]
fn classes_go_in_order_and_rise_with_waiting() {
    let mut s = snapshot((0..3).map(|n| job(n, 1)).collect(), vec![node(0)]);
    s.jobs[0].priority = Priority::Batch;
    s.jobs[2].priority = Priority::Interactive;
    let all: Vec<JobId> = (0..3)
        .map(|_| {
            let first = picks(&s, 0, 1)[0];
            s.jobs.retain(|j| j.job != first);
            first
        })
        .collect();
    assert_eq!(all, [job_id(2), job_id(1), job_id(0)]);
    let class = |p, minutes: i64| fair::class(p, NOW - minutes * 60_000, NOW);
    assert_eq!(class(Priority::Batch, 9), Priority::Batch);
    assert_eq!(class(Priority::Batch, 10), Priority::Normal);
    assert_eq!(class(Priority::Batch, 20), Priority::Interactive);
    assert_eq!(class(Priority::Normal, 10), Priority::Interactive);
    assert_eq!(class(Priority::Interactive, 999), Priority::Interactive);
    assert_eq!(class(Priority::Batch, -5), Priority::Batch);
}

#[test]
fn a_tenth_of_the_slots_is_for_batch() {
    let mut s = snapshot((0..20).map(|n| job(n, n)).collect(), vec![node(0)]);
    for j in &mut s.jobs {
        j.key_load_ms = 0;
        j.priority = Priority::Interactive;
    }
    s.jobs[19].priority = Priority::Batch;
    // Four slots: each tenth lease.
    s.leases_since_batch = 8;
    assert!(!picks(&s, 0, 1).contains(&job_id(19)));
    assert_eq!(picks(&s, 0, 2)[1], job_id(19));
    // Twelve slots: two of them.
    s.leases_since_batch = 0;
    s.nodes = vec![node(0), node(1), node(2)];
    for (running, first) in [(0, 19), (1, 19), (2, 0)] {
        s.batch_running = running;
        assert_eq!(picks(&s, 0, 1), [job_id(first)], "{running} run");
    }
}

#[test]
fn jobs_of_one_circuit_come_together() {
    let mut s = snapshot((0..8).map(|n| job(n, n % 2)).collect(), vec![node(0)]);
    for j in &mut s.jobs {
        j.estimated_ms = 20_000;
    }
    assert_eq!(picks(&s, 0, 3), [job_id(0), job_id(2), job_id(4)]);
    // 60 s a call: the fourth of them ends it unless another circuit's turn has come.
    assert_eq!(
        picks(&s, 0, 4),
        [job_id(0), job_id(2), job_id(4), job_id(1)]
    );
}

#[test]
fn virtual_time_is_charged_settled_and_not_saved_up() {
    assert_eq!(fair::charge(1_000, 2.0), 500.0);
    assert_eq!(fair::settle(1_000, 4_000, 2.0), 1_500.0);
    assert_eq!(fair::settle(1_000, 0, 1.0), -fair::charge(1_000, 1.0));
    for odd in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(fair::charge(7, odd), 7.0);
    }
    assert_eq!(fair::join(3.0, [10.0, 12.0], [99.0]), 10.0);
    assert_eq!(fair::join(11.0, [10.0, 12.0], []), 11.0);
    assert_eq!(fair::join(3.0, [], [4.0, 9.0]), 9.0);
    assert_eq!(fair::join(3.0, [], []), 3.0);
}

#[test]
fn every_kind_of_waiting_has_its_sentence() {
    let mut s = snapshot(vec![job(0, 1), job(1, 1)], Vec::new());
    let kind = |s: &Snapshot| {
        let p = pending(s, 1);
        (p.kind, p.detail)
    };
    assert_eq!(
        kind(&s),
        (PendingKind::NoNodeOnline, "no node ever joined".into())
    );
    s.nodes = vec![node(0)];
    assert_eq!(
        kind(&s),
        (
            PendingKind::WaitingForTurn,
            "1 job goes first; 1 node has room for it".into()
        )
    );
    assert_eq!(pending(&s, 1).jobs_ahead, 1);
    s.nodes[0].free_slots = 0;
    let busy = "1 job goes first; the node that can take it is busy".into();
    assert_eq!(kind(&s), (PendingKind::WaitingForTurn, busy));
    s.jobs[1].excluded = vec![node_id(0)];
    assert_eq!(
        kind(&s),
        (
            PendingKind::AllNodesExcluded,
            "the only node that could take it does not: the node is excluded: an earlier attempt at this job ended badly on it".into()
        )
    );
    s.jobs[1].excluded.clear();
    s.jobs[1].needs.ram_bytes = 72 << 30;
    assert_eq!(
        kind(&s),
        (
            PendingKind::NoNodeBigEnough,
            "needs 72.0 GiB of memory, the largest node has 64.0 GiB".into()
        )
    );
    let verdict = &explain(&s, job_id(1)).expect("known").verdicts[0];
    assert_eq!(
        verdict.reason,
        "needs 72.0 GiB of memory, the node has 64.0 GiB"
    );
    s.nodes[0].backends = vec![Backend::Groth16];
    assert_eq!(
        kind(&s),
        (
            PendingKind::NoNodeForBackend,
            "none of 1 node proves ultragroth".into()
        )
    );
    s.nodes[0].state = NodeState::Offline;
    assert_eq!(
        kind(&s),
        (
            PendingKind::NoNodeOnline,
            "none of 1 node takes work".into()
        )
    );
    s = snapshot(vec![job(0, 1), job(1, 1)], vec![node(0)]);
    s.jobs[1].not_before = NOW + 2_500;
    let backoff = pending(&s, 1);
    assert_eq!(backoff.kind, PendingKind::Backoff);
    assert_eq!(backoff.next_try, Some(NOW + 2_500));
    assert_eq!(backoff.detail, "waits 2.5 s before the next try");
    assert_eq!(plan(&s, node_id(0), 1).retry_at, Some(NOW + 2_500));
    s.jobs[1].not_before = 0;
    let tenant = s.tenants.get_mut(&TenantId(1)).expect("there");
    (tenant.running, tenant.max_running) = (3, 3);
    assert_eq!(
        kind(&s),
        (
            PendingKind::TenantConcurrency,
            "the tenant has 3 running jobs, its limit is 3".into()
        )
    );
    assert!(explain(&s, job_id(7)).is_none());
}

#[test]
fn a_weak_node_gets_batch_jobs_and_copies_only() {
    let mut s = snapshot(
        vec![job(0, 1)],
        vec![Candidate {
            score: 0.29,
            ..node(0)
        }],
    );
    assert_eq!(picks(&s, 0, 1), []);
    let racing = Racing {
        job: s.jobs.remove(0),
        nodes: vec![node_id(1)],
        tried: Vec::new(),
        elapsed_ms: 30_001,
        expected: Quantiles::prior(1_000),
    };
    assert_eq!(
        speculate(&s, std::slice::from_ref(&racing), node_id(0)),
        Some(job_id(0))
    );
    let mut batch = racing.job;
    batch.priority = Priority::Batch;
    s.jobs.push(batch);
    assert_eq!(picks(&s, 0, 1), [job_id(0)]);
}

#[test]
fn a_copy_is_made_of_the_latest_job_only_on_an_idle_node() {
    let racing = |n: u128, elapsed_ms: u64, p95_ms: u64| Racing {
        job: job(n, 1),
        nodes: vec![node_id(1)],
        tried: Vec::new(),
        elapsed_ms,
        expected: Quantiles {
            p95_ms,
            ..Quantiles::default()
        },
    };
    let mut s = snapshot(Vec::new(), vec![node(0), node(1)]);
    let copy = |s: &Snapshot, running: &[Racing]| speculate(s, running, node_id(0));
    assert_eq!(copy(&s, &[racing(0, 30_000, 1)]), None);
    assert_eq!(copy(&s, &[racing(0, 30_001, 1)]), Some(job_id(0)));
    assert_eq!(copy(&s, &[racing(0, 80_000, 40_000)]), None);
    let two = [racing(0, 90_000, 40_000), racing(1, 50_000, 1)];
    assert_eq!(copy(&s, &two), Some(job_id(1)));
    // Earlier attempts elsewhere keep no copy away; one here does.
    let mut again = racing(0, 90_000, 1);
    again.tried = vec![node_id(1), node_id(5)];
    assert_eq!(copy(&s, std::slice::from_ref(&again)), Some(job_id(0)));
    again.tried.push(node_id(0));
    assert_eq!(copy(&s, &[again]), None);
    // On its own node, of a BATCH job, when one runs already, when the node has no room: no copy.
    assert_eq!(speculate(&s, &two, node_id(1)), None);
    let mut batch = racing(0, 90_000, 1);
    batch.job.priority = Priority::Batch;
    assert_eq!(copy(&s, &[batch]), None);
    let mut copied = racing(2, 90_000, 1);
    copied.nodes.push(node_id(3));
    assert_eq!(copy(&s, &[racing(0, 99_000, 1), copied]), None);
    s.nodes[0].free_slots = 0;
    assert_eq!(copy(&s, &two), None);
    s.nodes[0].free_slots = 1;
    s.nodes[0].free.ram_bytes = 0;
    assert_eq!(copy(&s, &two), None);
    s.nodes[0].free = s.nodes[0].total;
    s.jobs.push(job(9, 1));
    s.tenants.insert(TenantId(1), share());
    assert_eq!(copy(&s, &two), None);
}

#[test]
fn keys_in_demand_are_hinted() {
    let mut s = snapshot(
        (0..9).map(|n| job(n, n % 3)).collect(),
        vec![node(0), node(1)],
    );
    s.nodes[0].keys = vec![key(0, Tier::Ram)];
    s.nodes[0].free_slots = 0;
    s.jobs[1].estimated_ms = 31_000;
    assert_eq!(
        plan(&s, node_id(0), 4).prefetch,
        [circuit_id(1), circuit_id(2)]
    );
    // Loading takes longer than the work there is.
    for j in &mut s.jobs {
        j.key_load_ms = 200_000;
    }
    assert_eq!(plan(&s, node_id(0), 4).prefetch, []);
}
