use zkinfer_service::{
    store::Digest,
    work::{LocalWork, Work as _},
};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn f12_clients_that_go_away_leave_no_half_job_and_no_poisoned_connection() {
    let (_turn, _folder, gateway) = farm(&["--max-queued", "100000"]).await;
    let circuit = gateway.circuit("digits-mlp", &[]);
    let calls = if all() { 10_000 } else { 600 };
    let mut rng = StdRng::seed_from_u64(12);
    let mut sent = BTreeSet::new();
    for n in 0..calls {
        let mut client = gateway.jobs().await;
        let mut wanted = request(&circuit, input("digits-mlp", n));
        wanted.allow_cached = Some(false);
        sent.insert(wanted.request_id.clone());
        wanted
            .labels
            .insert("request".into(), wanted.request_id.clone());
        let patience = Duration::from_micros(rng.gen_range(0..4000));
        let answer = tokio::time::timeout(patience, client.create_job(wanted)).await;
        if let Ok(Ok(made)) = answer {
            let name = made.into_inner().name;
            let request = proto::CancelJobRequest {
                name,
                ..Default::default()
            };
            let patience = Duration::from_micros(rng.gen_range(0..2000));
            let _ = tokio::time::timeout(patience, client.cancel_job(request)).await;
        }
    }
    let mut client = gateway.jobs().await;
    let mut token = String::new();
    let mut seen = BTreeSet::new();
    loop {
        let request = proto::ListJobsRequest {
            page_size: 500,
            page_token: token,
            circuit: circuit.clone(),
            ..Default::default()
        };
        let page = client.list_jobs(request).await.unwrap().into_inner();
        for job in &page.jobs {
            if job.kind() != proto::job::Kind::Prove {
                continue;
            }
            assert!(
                matches!(job.state(), State::Queued | State::Cancelled),
                "{job:#?}"
            );
            assert!(sent.contains(&job.labels["request"]));
            assert!(
                seen.insert(job.labels["request"].clone()),
                "twice: {job:#?}"
            );
            assert!(job.input.is_some() && job.deadline.is_some(), "{job:#?}");
        }
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    println!("{} of {calls} calls made a job", seen.len());
    assert!(!seen.is_empty());
    let name = submit(&gateway, &circuit, input("digits-mlp", 3)).await;
    let cancelled = client
        .cancel_job(proto::CancelJobRequest {
            name,
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(cancelled.into_inner().state(), State::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn f13_the_same_request_from_many_clients_is_one_job() {
    let (_turn, _folder, gateway) = farm(&QUICK).await;
    let circuit = gateway.circuit("digits-mlp", &[]);
    for same_id in [true, false] {
        let wanted = request(&circuit, input("digits-mlp", usize::from(same_id)));
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..32 {
            let mut client = gateway.jobs().await;
            let mut wanted = wanted.clone();
            if !same_id {
                wanted.request_id = uuid::Uuid::new_v4().to_string();
            }
            calls.spawn(async move { client.create_job(wanted).await.unwrap().into_inner() });
        }
        let made = calls.join_all().await;
        let names: BTreeSet<_> = made.iter().map(|j| j.name.clone()).collect();
        assert_eq!(names.len(), 1, "same request id: {same_id}");
        assert_eq!(made.iter().filter(|j| !j.deduplicated).count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f14_a_cancelled_job_stays_cancelled_and_its_prover_is_freed() {
    let (_turn, folder, gateway) = farm(&QUICK).await;
    let circuit = long_circuit(&gateway);
    let mut client = gateway.jobs().await;
    let cancel = |name: &str| proto::CancelJobRequest {
        name: name.into(),
        ..Default::default()
    };
    // QUEUED: there is no node yet.
    let queued = submit(&gateway, &circuit, long_input(0)).await;
    client.cancel_job(cancel(&queued)).await.unwrap();
    let node = Node::join(&gateway, "a", folder.path(), &[]);
    // RUNNING, and a prover that does not hear: the proof comes after the cancel.
    let deaf = submit(&gateway, &circuit, long_input(1)).await;
    until(&mut client, &deaf, SOON, is(State::Running)).await;
    node.signal_provers(Signal::STOP);
    client.cancel_job(cancel(&deaf)).await.unwrap();
    node.signal_provers(Signal::CONT);
    // RUNNING: the slot is free for another job within a heartbeat and a bit.
    let running = submit(&gateway, &circuit, long_input(2)).await;
    until(&mut client, &running, SOON, is(State::Running)).await;
    client.cancel_job(cancel(&running)).await.unwrap();
    let begun = Instant::now();
    let next = submit(&gateway, &circuit, long_input(3)).await;
    until(&mut client, &next, SOON, |j| {
        matches!(j.state(), State::Leased | State::Running) || is_over(j)
    })
    .await;
    let freed = begun.elapsed();
    println!(
        "R4: the slot was free {:.2} s after the cancel (heartbeat 0.5 s)",
        freed.as_secs_f64()
    );
    assert!(freed < Duration::from_secs(7), "{freed:?}");
    succeeds(&gateway, &next).await;
    for name in [&queued, &deaf, &running] {
        assert_eq!(job(&mut client, name).await.state(), State::Cancelled);
        ends_once(&gateway, name, State::Cancelled).await;
        let request = proto::GetProofRequest {
            job: name.clone(),
            ..Default::default()
        };
        let refused = client.get_proof(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f15_a_cancel_that_races_the_proof_gives_one_end() {
    let (_turn, folder, gateway) = farm(&QUICK).await;
    let circuit = gateway.circuit("digits-mlp", &[]);
    let _node = Node::join(&gateway, "a", folder.path(), &[]);
    let mut client = gateway.jobs().await;
    let warm = submit(&gateway, &circuit, input("digits-mlp", 63)).await;
    succeeds(&gateway, &warm).await;
    let mut states = BTreeSet::new();
    let mut names = BTreeSet::new();
    for n in 0..40u64 {
        let mut wanted = request(&circuit, input("digits-mlp", n as usize));
        wanted.allow_cached = Some(false);
        let name = client.create_job(wanted).await.unwrap().into_inner().name;
        // From before the lease to after the proof.
        let wait = if n < 30 { 3 * n } else { 60 * (n - 28) };
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let request = proto::CancelJobRequest {
            name: name.clone(),
            ..Default::default()
        };
        let answered = client.cancel_job(request).await.unwrap().into_inner();
        assert!(is_over(&answered));
        states.insert(answered.state);
        names.insert(name);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ends = farm_kit::ends(&gateway, &names).await;
    for name in &names {
        let now = job(&mut client, name).await;
        assert_eq!(ends[name], vec![now.state()]);
    }
    assert_eq!(states.len(), 2, "some were cancelled, some proven");
}

#[tokio::test(flavor = "multi_thread")]
async fn f29_a_job_that_no_node_can_hold_says_how_much_it_needs() {
    let (_turn, folder, gateway) = farm(&QUICK).await;
    let circuit = long_circuit(&gateway);
    let mut client = gateway.jobs().await;
    let name = submit(&gateway, &circuit, long_input(0)).await;
    let waiting = job(&mut client, &name).await.pending_reason.unwrap();
    assert_eq!(waiting.kind(), proto::pending_reason::Kind::NoNodeOnline);
    let _node = Node::join(&gateway, "small", folder.path(), &["--max-ram", "1048576"]);
    let kind = proto::pending_reason::Kind::NoNodeBigEnough;
    let seen = until(&mut client, &name, Duration::from_secs(5), |j| {
        j.pending_reason.as_ref().is_some_and(|p| p.kind() == kind)
    })
    .await;
    let detail = seen.pending_reason.unwrap().detail;
    assert!(detail.contains("MiB"), "{detail}");
    let told = json(&mut gateway.cli(&["job", "explain", &name]));
    assert!(
        told["verdicts"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("MiB"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn f36_a_private_input_is_nowhere_in_what_an_attacker_can_copy() {
    let _turn = FARMS.acquire().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("gateway");
    let gateway = Gateway::logged(&data, &QUICK, &folder.path().join("log"));
    let circuit = gateway.circuit("digits-mlp", &["--input", "private"]);
    let plain = input("digits-mlp", 5);
    // Queued, with no node: the input is at rest, inline and as an artifact.
    let inline = submit(&gateway, &circuit, plain.clone()).await;
    let file = folder.path().join("secret.json");
    let other = input("digits-mlp", 6);
    std::fs::write(&file, &other).unwrap();
    let mut command = gateway.cli(&["job", "submit", &circuit, "--no-cache"]);
    let uploaded = json(command.arg("--input").arg(&file));
    std::fs::remove_file(&file).unwrap();
    let uploaded = uploaded["name"].as_str().unwrap().to_owned();
    let mut canaries = [&plain, &other]
        .map(|i| canaries(&gateway, &circuit, i))
        .concat();
    // By its own digest a client asks for an upload: that of the second text is known until its job ends.
    canaries.pop();
    let search = |place: &str| {
        for (what, canary) in &canaries {
            assert_eq!(find(folder.path(), canary), None, "{what}, {place}");
        }
    };
    search("while queued");
    let node = Node::join_logged(
        &gateway,
        "a",
        folder.path(),
        &folder.path().join("node-log"),
    );
    for name in [&inline, &uploaded] {
        let ended = succeeds(&gateway, name).await;
        assert!(ended.input.is_none());
    }
    search("after success");
    // Dropped after success: nothing of kind INPUT is left.
    tokio::time::sleep(Duration::from_secs(5)).await;
    drop(node);
    search("at the end");
    // An untrusted node never sees a private input.
    let _node = Node::join(&gateway, "stranger", folder.path(), &["--untrusted"]);
    let name = submit(&gateway, &circuit, input("digits-mlp", 7)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut client = gateway.jobs().await;
    let waiting = job(&mut client, &name).await;
    assert_eq!(waiting.state(), State::Queued, "{waiting:#?}");
}

/// What would give the input away: its text, the numbers of its quantized tensor, and the digests of both, by which a guess is known.
fn canaries(gateway: &Gateway, circuit: &str, input: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let id = circuit.strip_prefix("circuits/").unwrap();
    let bundle = gateway.data.join("circuits").join(id);
    let gate = LocalWork::in_process().gate(&bundle).unwrap();
    let quantized = gate.quantize(input).unwrap();
    let text = |bytes: &[u8], from: &str| {
        let text = std::str::from_utf8(bytes).unwrap();
        let start = text.find(from).unwrap() + from.len();
        text.as_bytes()[start..start + 60].to_vec()
    };
    vec![
        ("text", text(input, "[[")),
        ("tensor", text(&quantized, "\"data\":[")),
        ("digest of the tensor", Digest::of(&quantized).0.to_vec()),
        ("digest of the text", Digest::of(input).0.to_vec()),
    ]
}

/// The first file below `folder` that holds `canary`.
fn find(folder: &Path, canary: &[u8]) -> Option<std::path::PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read(&path)
                .is_ok_and(|bytes| bytes.windows(canary.len()).any(|w| w == canary))
            {
                return Some(path);
            }
        }
    }
    None
}

/// Not a fault: what the queue adds to a proof of an idle server (R5).
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_server_starts_a_job_at_once() {
    let (_turn, _folder, gateway) = farm(&["--slots", "1"]).await;
    let circuit = gateway.circuit("digits-mlp", &[]);
    let mut client = gateway.jobs().await;
    let mut waits = Vec::new();
    for n in 0..60 {
        let name = submit(&gateway, &circuit, input("digits-mlp", n)).await;
        let ended = until(&mut client, &name, SOON, is_over).await;
        assert_eq!(ended.state(), State::Succeeded, "{ended:#?}");
        let at = |t: &Option<prost_types::Timestamp>| {
            let t = t.as_ref().unwrap();
            t.seconds * 1000 + i64::from(t.nanos) / 1_000_000
        };
        waits.push(at(&ended.history[0].lease_time) - at(&ended.create_time));
    }
    waits.sort_unstable();
    println!(
        "R5: submit to lease, 60 jobs: p50 {} ms, p95 {} ms, most {} ms",
        waits[30], waits[57], waits[59]
    );
    assert!(waits.iter().all(|w| *w >= 0));
}
