use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn f07_a_gateway_killed_at_any_moment_of_a_commit_ends_with_one_proof() {
    let (_turn, folder, mut gateway) = farm(&QUICK).await;
    let circuit = gateway.circuit("digits-mlp", &[]);
    let _node = Node::join(&gateway, "a", folder.path(), &[]);
    let warm = submit(&gateway, &circuit, input("digits-mlp", 99)).await;
    succeeds(&gateway, &warm).await;
    let rounds = if all() { 100 } else { 15 };
    let mut met = 0;
    for round in 0..rounds {
        let name = submit(&gateway, &circuit, input("digits-mlp", round)).await;
        // Kills spread over the life of a proof: lease, input, proof, upload, verification, transaction, answer.
        tokio::time::sleep(Duration::from_millis(2 + 9 * (round as u64 % 15))).await;
        let mut client = gateway.jobs().await;
        met += usize::from(!is_over(&job(&mut client, &name).await));
        gateway.restart();
        let ended = succeeds(&gateway, &name).await;
        assert_eq!(charged(&ended), 0, "{ended:#?}");
        ends_once(&gateway, &name, State::Succeeded).await;
    }
    println!("{met} of {rounds} kills met a proof that was not stored");
    assert!(met >= rounds / 4, "{met} of {rounds}");
    let data = folder.path().join("gateway/uploads");
    let left = std::fs::read_dir(data).map_or(0, Iterator::count);
    assert_eq!(left, 0, "uploads are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn f08_a_gateway_that_is_replaced_finds_its_proofs_running() {
    let (_turn, folder, mut gateway) = farm(&QUICK).await;
    let circuit = long_circuit(&gateway);
    let nodes: Vec<Node> = ["a", "b", "c"]
        .map(|name| Node::join(&gateway, name, folder.path(), &["--slots", "2"]))
        .into();
    let mut names = Vec::new();
    for n in 0..6 {
        names.push(submit(&gateway, &circuit, long_input(n)).await);
    }
    let mut client = gateway.jobs().await;
    for name in &names {
        until(&mut client, name, SOON, |j| {
            j.state() == State::Running || is_over(j)
        })
        .await;
    }
    for node in &nodes {
        node.signal_provers(Signal::STOP);
    }
    let mut running = 0;
    for name in &names {
        running += usize::from(job(&mut client, name).await.state() == State::Running);
    }
    assert!(running >= 3, "{running} proofs run when the gateway goes");
    gateway.restart();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for node in &nodes {
        node.signal_provers(Signal::CONT);
    }
    for name in &names {
        let ended = succeeds(&gateway, name).await;
        assert_eq!((charged(&ended), ended.history.len()), (0, 1), "{ended:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f32_a_watch_that_is_cut_and_a_gateway_that_restarts_repeat_and_lose_nothing() {
    let (_turn, folder, mut gateway) = farm(&QUICK).await;
    let circuit = gateway.circuit("digits-mlp", &[]);
    let _node = Node::join(&gateway, "a", folder.path(), &[]);
    let mut rng = StdRng::seed_from_u64(32);
    let mut names = BTreeSet::new();
    let mut cursor = "0".to_owned();
    let mut changes = Vec::new();
    let jobs = 30;
    for cut in 0..100 {
        if cut % 3 == 0 && names.len() < jobs {
            names.insert(submit(&gateway, &circuit, input("digits-mlp", names.len())).await);
        }
        if cut == 50 {
            gateway.restart();
        }
        let request = proto::WatchJobsRequest {
            cursor: cursor.clone(),
            ..Default::default()
        };
        let mut client = gateway.jobs().await;
        let mut stream = client.watch_jobs(request).await.unwrap().into_inner();
        let patience = Duration::from_millis(rng.gen_range(0..120));
        let until = tokio::time::Instant::now() + patience;
        while let Ok(Ok(Some(event))) = tokio::time::timeout_at(until, stream.message()).await {
            if let Some(Event::State(change)) = &event.event {
                changes.push((event.job.clone(), change.from, change.to));
            }
            cursor = event.cursor;
        }
    }
    for name in &names {
        succeeds(&gateway, name).await;
    }
    let mut client = gateway.jobs().await;
    let request = proto::WatchJobsRequest {
        cursor,
        ..Default::default()
    };
    let mut stream = client.watch_jobs(request).await.unwrap().into_inner();
    let quiet = Duration::from_secs(1);
    while let Ok(Ok(Some(event))) = tokio::time::timeout(quiet, stream.message()).await {
        if let Some(Event::State(change)) = &event.event {
            changes.push((event.job.clone(), change.from, change.to));
        }
    }
    // Each job's changes are a chain from nothing to its end: none twice, none missing.
    for name in &names {
        let chain: Vec<_> = changes.iter().filter(|c| &c.0 == name).collect();
        assert_eq!(chain[0].1, 0, "{chain:?}");
        assert!(chain.windows(2).all(|w| w[0].2 == w[1].1), "{chain:?}");
        assert_eq!(chain.last().unwrap().2, i32::from(State::Succeeded));
        assert_eq!(
            chain
                .iter()
                .filter(|c| c.2 == i32::from(State::Succeeded))
                .count(),
            1
        );
    }
}
