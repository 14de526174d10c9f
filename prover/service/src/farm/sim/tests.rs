//! The scheduler over time.

use proptest::prelude::*;

use super::*;
use crate::store::Priority;

fn machines(nodes: u32, slots: u32, cache_keys: usize) -> Machines {
    Machines {
        nodes,
        slots,
        cache_keys,
        ram_bytes: 64 << 30,
    }
}

fn job(at_ms: u64, tenant: &str, circuit: &str, prove_ms: u64, key_load_ms: u64) -> TraceJob {
    TraceJob {
        at_ms,
        tenant: tenant.to_owned(),
        circuit: circuit.to_owned(),
        priority: Priority::Normal,
        prove_ms,
        key_load_ms,
        key_bytes: 1 << 30,
        ram: 1 << 30,
    }
}

fn any_trace() -> impl Strategy<Value = Vec<TraceJob>> {
    let one = (
        0u64..200_000,
        0u8..3,
        0u8..8,
        prop::sample::select(Priority::ALL),
        0u64..20_000,
        0u64..15_000,
    );
    prop::collection::vec(one, 1..150).prop_map(|mut jobs| {
        jobs.sort_by_key(|j| j.0);
        jobs.into_iter()
            .map(
                |(at_ms, tenant, circuit, priority, prove_ms, key_load_ms)| TraceJob {
                    priority,
                    ..job(
                        at_ms,
                        &tenant.to_string(),
                        &circuit.to_string(),
                        prove_ms,
                        key_load_ms,
                    )
                },
            )
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_job_is_proven_and_slots_do_not_stand_idle_for_long(
        trace in any_trace(), nodes in 1u32..5, slots in 1u32..4, keys in 1usize..5,
    ) {
        let report = simulate(&trace, machines(nodes, slots, keys), Policy::Scheduler);
        prop_assert_eq!(report.proven, trace.len() as u64);
        // With every load apart, one slot alone would be done by then; a hold adds two loads and 30 s at most.
        let last = trace.last().expect("not empty").at_ms;
        let work: u64 = trace.iter().map(|j| j.prove_ms + 3 * j.key_load_ms).sum();
        prop_assert!(report.makespan_ms <= last + work + 30_000);
        prop_assert_eq!(&simulate(&trace, machines(nodes, slots, keys), Policy::Scheduler), &report);
        let fifo = simulate(&trace, machines(nodes, slots, keys), Policy::Fifo);
        prop_assert_eq!(fifo.proven, report.proven);
    }

    #[test]
    fn of_two_equal_tenants_one_that_floods_leaves_the_other_its_part_within_a_minute(
        prove_ms in 200u64..3_000, other_ms in 200u64..3_000, key_load_ms in 0u64..1_500, slots in 1u32..3,
    ) {
        let mut trace: Vec<TraceJob> = (0..2_000u32)
            .map(|n| job(0, "flood", &format!("f{}", n % 3), prove_ms, key_load_ms))
            .collect();
        // Work for half of all slots in a minute.
        let jobs = 60_000 * 2 * u64::from(slots) / 2 / other_ms;
        trace.extend((0..jobs).map(|n| job(10_000, "other", &format!("o{}", n % 2), other_ms, key_load_ms)));
        let report = simulate(&trace, machines(2, slots, 6), Policy::Scheduler);
        let share = report.tenants["other"].contended_share;
        prop_assert!(share >= 0.45, "{share}");
        prop_assert!(report.tenants["other"].waits.max_ms < 90_000);
    }
}

#[test]
fn batch_jobs_do_not_starve_under_a_flood_of_interactive_ones() {
    let mut trace: Vec<TraceJob> = (0..6_000u64)
        .map(|n| TraceJob {
            priority: Priority::Interactive,
            ..job(n * 500, "a", "i", 1_000, 100)
        })
        .collect();
    trace.extend((0..20).map(|_| TraceJob {
        priority: Priority::Batch,
        ..job(1_000, "a", "b", 1_000, 100)
    }));
    trace.sort_by_key(|j| j.at_ms);
    for (nodes, slots) in [(1, 2), (6, 2)] {
        let report = simulate(&trace, machines(nodes, slots, 4), Policy::Scheduler);
        let waits = report.classes["BATCH"];
        // Every tenth lease of two a second, or two slots of twelve.
        assert!(waits.max_ms < 130_000, "{waits:?}");
    }
}

#[test]
fn a_normal_job_rises_over_interactive_ones_after_ten_minutes() {
    let mut trace: Vec<TraceJob> = (0..3_000u64)
        .map(|n| TraceJob {
            priority: Priority::Interactive,
            ..job(n * 500, "a", "m", 1_000, 0)
        })
        .collect();
    trace.push(job(1_000, "a", "m", 1_000, 0));
    trace.sort_by_key(|j| j.at_ms);
    // One slot for twice its work.
    let report = simulate(&trace, machines(1, 1, 4), Policy::Scheduler);
    let waits = report.classes["NORMAL"];
    assert!((599_000..=602_000).contains(&waits.max_ms), "{waits:?}");
}

#[test]
fn ten_circuits_on_four_nodes_start_warm_nine_times_in_ten() {
    for seed in 0..3 {
        let trace = generate(seed, 5_000);
        let ours = simulate(&trace, machines(4, 2, 4), Policy::Scheduler);
        let fifo = simulate(&trace, machines(4, 2, 4), Policy::Fifo);
        assert!(ours.warm_share >= 0.9, "seed {seed}: {}", ours.warm_share);
        assert!(fifo.warm_share < 0.7, "seed {seed}: {}", fifo.warm_share);
        assert!(ours.waits.mean_ms < fifo.waits.mean_ms, "seed {seed}");
    }
}

#[test]
fn what_no_node_can_take_is_counted() {
    let mut trace = vec![job(0, "a", "m", 1, 1), job(0, "a", "m", 1, 1)];
    trace[1].ram = 65 << 30;
    for policy in [Policy::Scheduler, Policy::Fifo] {
        let report = simulate(&trace, machines(1, 1, 1), policy);
        assert_eq!((report.proven, report.impossible), (1, 1));
    }
    let nowhere = simulate(&trace, machines(0, 1, 1), Policy::Scheduler);
    assert_eq!((nowhere.proven, nowhere.impossible), (0, 2));
}
