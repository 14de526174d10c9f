use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn f01_a_killed_prover_fails_its_attempt_and_its_supervisor_goes_on() {
    let (_turn, folder, gateway) = farm(&QUICK).await;
    let circuit = long_circuit(&gateway);
    let mut nodes = two_nodes(&gateway, folder.path());
    let name = submit(&gateway, &circuit, long_input(0)).await;
    let (working, _) = at_work(&gateway, &name, &nodes).await.unwrap();
    assert!(working.signal_provers(Signal::KILL) > 0);
    let killed = Instant::now();
    let mut client = gateway.jobs().await;
    let seen = until(&mut client, &name, Duration::from_secs(5), |j| {
        !failures(j).is_empty()
    })
    .await;
    println!(
        "told after {:.0} ms",
        killed.elapsed().as_secs_f64() * 1000.0
    );
    assert_eq!(
        failures(&seen)[0],
        (FailureClass::NodeFault, "CHILD_DIED".into())
    );
    let ended = succeeds(&gateway, &name).await;
    assert_ne!(ended.history[0].node, ended.history[1].node, "{ended:#?}");
    assert!(nodes.iter_mut().all(Node::is_alive));
}

#[tokio::test(flavor = "multi_thread")]
async fn f02_a_killed_node_loses_its_lease_and_no_attempt_is_counted() {
    let slow = all();
    let (_turn, folder, gateway) = farm(if slow { &QUICK[2..] } else { &QUICK }).await;
    let circuit = long_circuit(&gateway);
    let mut nodes = two_nodes(&gateway, folder.path());
    // Of a BATCH job no copy is made before the lease ends.
    let mut wanted = request(&circuit, long_input(0));
    wanted.priority = proto::Priority::Batch.into();
    let mut client = gateway.jobs().await;
    let name = client.create_job(wanted).await.unwrap().into_inner().name;
    let working = at_work(&gateway, &name, &nodes).await.unwrap().0;
    let first = working.name == nodes[0].name;
    let children = working.provers();
    nodes[usize::from(!first)].kill();
    let killed = Instant::now();
    let limit = Duration::from_secs(if slow { 35 } else { 3 + 5 });
    let seen = until(&mut client, &name, limit, |j| j.history.len() > 1).await;
    println!(
        "R3: leased again after {:.1} s",
        killed.elapsed().as_secs_f64()
    );
    assert_eq!(failures(&seen)[0].0, FailureClass::NodeLost);
    assert!(!children.is_empty() && children.into_iter().all(is_gone));
    let ended = succeeds(&gateway, &name).await;
    assert_eq!(charged(&ended), 0, "{ended:#?}");
    let lost = gateway.node_list()[&nodes[usize::from(!first)].name]["lost"].as_u64();
    assert_eq!(lost, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn f03_a_frozen_node_that_comes_back_with_a_proof_makes_no_second_one() {
    let (_turn, folder, gateway) = farm(&QUICK).await;
    let circuit = long_circuit(&gateway);
    let nodes = two_nodes(&gateway, folder.path());
    let name = submit(&gateway, &circuit, long_input(0)).await;
    let (frozen, _) = at_work(&gateway, &name, &nodes).await.unwrap();
    frozen.freeze();
    let ended = succeeds(&gateway, &name).await;
    assert_eq!(failures(&ended)[0].0, FailureClass::NodeLost);
    frozen.thaw();
    tokio::time::sleep(Duration::from_secs(4)).await;
    ends_once(&gateway, &name, State::Succeeded).await;
}

/// Processes that want all there is of the processors.
struct Hogs(Vec<std::process::Child>);

impl Hogs {
    fn new(count: usize) -> Self {
        let endless = ["-c", "while :; do :; done"];
        let mut hog = std::process::Command::new("sh");
        hog.args(endless);
        Self((0..count).map(|_| hog.spawn().unwrap()).collect())
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            let _ = hog.kill();
            let _ = hog.wait();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f06_a_starved_node_keeps_its_leases() {
    let (_turn, folder, gateway) = farm(&QUICK).await;
    let circuit = long_circuit(&gateway);
    let _node = Node::join(&gateway, "a", folder.path(), &[]);
    let hogs = Hogs::new(2 * std::thread::available_parallelism().unwrap().get());
    let time = Duration::from_secs(if all() { 600 } else { 12 });
    let until = Instant::now() + time;
    let mut done = 0;
    while Instant::now() < until {
        let name = submit(&gateway, &circuit, long_input(done)).await;
        let ended = succeeds(&gateway, &name).await;
        assert_eq!(ended.history.len(), 1, "{ended:#?}");
        done += 1;
    }
    let hogs = hogs.0.len();
    println!("{done} proofs in {} s among {hogs} hogs", time.as_secs());
    assert_eq!(gateway.node_list()["a"]["lost"].as_u64(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn f16_a_job_that_kills_its_provers_is_given_up_and_nobody_else_suffers() {
    let (_turn, folder, gateway) = farm(&QUICK).await;
    let circuit = long_circuit(&gateway);
    let nodes = two_nodes(&gateway, folder.path());
    let mut client = gateway.jobs().await;
    let mut wanted = request(&circuit, long_input(0));
    wanted.max_attempts = 20;
    let poison = client.create_job(wanted).await.unwrap().into_inner().name;
    while let Some((working, _)) = at_work(&gateway, &poison, &nodes).await {
        let deaths = failures(&job(&mut client, &poison).await).len();
        assert!(working.signal_provers(Signal::KILL) > 0);
        until(&mut client, &poison, SOON, |j| failures(j).len() > deaths).await;
    }
    let ended = job(&mut client, &poison).await;
    assert_eq!(ended.state(), State::Dead, "{ended:#?}");
    assert_eq!(ended.failure.as_ref().unwrap().code, "POISON_SUSPECT");
    let at: BTreeSet<_> = ended.history.iter().map(|a| a.node.clone()).collect();
    assert_eq!(at.len(), 2, "{ended:#?}");
    let after = gateway.node_list();
    for node in &nodes {
        let score = after[&node.name]["score"].as_f64();
        assert_eq!(score, Some(1.0), "{after:?}");
    }
    let other = submit(&gateway, &circuit, long_input(1)).await;
    succeeds(&gateway, &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f17_a_proof_over_its_limits_is_stopped_and_the_figure_told() {
    let limits = [&QUICK[..], &["--proof-time-limit-ms", "1500"]].concat();
    let (_turn, folder, gateway) = farm(&limits).await;
    let circuit = long_circuit(&gateway);
    let node = Node::join(&gateway, "a", folder.path(), &[]);
    let mut client = gateway.jobs().await;
    let name = submit(&gateway, &circuit, long_input(0)).await;
    // A prover that does not come to an end.
    let ended = loop {
        node.signal_provers(Signal::STOP);
        let seen = job(&mut client, &name).await;
        if is_over(&seen) {
            break seen;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(ended.state(), State::Dead, "{ended:#?}");
    let failure = ended.failure.clone().unwrap();
    assert_eq!(failure.class(), FailureClass::ResourceExceeded);
    assert!(failure.message.contains("1.5 s"), "{failure:?}");
    assert!(ended.history.len() <= 2, "{ended:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f21_a_damaged_key_in_a_nodes_cache_is_fetched_again() {
    let (_turn, folder, gateway) = farm(&QUICK).await;
    let circuit = gateway.circuit("digits-cnn", &[]);
    let mut node = Node::join(&gateway, "a", folder.path(), &[]);
    let name = submit(&gateway, &circuit, input("digits-cnn", 0)).await;
    succeeds(&gateway, &name).await;
    for (n, damage) in ["flip", "truncate"].into_iter().enumerate() {
        node.kill();
        let (path, size) = largest_file(&node.data.join("cache"));
        assert!(size > 1_000_000, "{path:?}");
        let mut bytes = std::fs::read(&path).unwrap();
        if damage == "flip" {
            bytes[size / 2] ^= 1;
        } else {
            bytes.truncate(size / 2);
        }
        // In place, as a bad disk would do it.
        std::fs::write(&path, bytes).unwrap();
        node.start_again();
        let name = submit(&gateway, &circuit, input("digits-cnn", n + 1)).await;
        let ended = succeeds(&gateway, &name).await;
        assert_eq!(ended.history.len(), 1, "{damage}: {ended:#?}");
        assert_eq!(largest_file(&node.data.join("cache")).1, size, "{damage}");
    }
}

fn largest_file(folder: &Path) -> (std::path::PathBuf, usize) {
    let mut largest = (folder.to_owned(), 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let about = entry.metadata().unwrap();
            if about.is_dir() {
                folders.push(entry.path());
            } else if about.len() as usize > largest.1 {
                largest = (entry.path(), about.len() as usize);
            }
        }
    }
    largest
}

#[tokio::test(flavor = "multi_thread")]
async fn f31_a_node_that_is_asked_to_end_finishes_or_hands_back() {
    let (_turn, folder, gateway) = farm(&QUICK).await;
    let circuit = long_circuit(&gateway);
    let mut client = gateway.jobs().await;
    // Time enough: the proof is finished, and the node ends by itself.
    let mut node = Node::join(&gateway, "a", folder.path(), &["--drain-timeout", "30"]);
    let name = submit(&gateway, &circuit, long_input(0)).await;
    until(&mut client, &name, SOON, is(State::Running)).await;
    for prover in node.provers() {
        let groups = [node.pid(), prover].map(group_of);
        assert_ne!(groups[0], groups[1], "Ctrl-C would end the proof");
    }
    node.signal(Signal::TERM);
    let ended = succeeds(&gateway, &name).await;
    assert_eq!(ended.history.len(), 1, "{ended:#?}");
    assert!(
        node.wait(Duration::from_secs(10))
            .is_some_and(|s| s.success())
    );
    // No time: the attempt goes back uncounted, to another node.
    let mut hasty = Node::join(&gateway, "b", folder.path(), &["--drain-timeout", "1"]);
    let name = submit(&gateway, &circuit, long_input(1)).await;
    until(&mut client, &name, SOON, is(State::Running)).await;
    hasty.signal_provers(Signal::STOP);
    hasty.signal(Signal::TERM);
    until(
        &mut client,
        &name,
        Duration::from_secs(8),
        is(State::Queued),
    )
    .await;
    assert!(hasty.wait(Duration::from_secs(10)).is_some());
    let _other = Node::join(&gateway, "c", folder.path(), &[]);
    assert_eq!(charged(&succeeds(&gateway, &name).await), 0);
    // A second signal ends at once.
    let mut stuck = Node::join(&gateway, "d", folder.path(), &["--drain-timeout", "600"]);
    _other.freeze();
    let name = submit(&gateway, &circuit, long_input(2)).await;
    until(&mut client, &name, SOON, is(State::Running)).await;
    stuck.signal_provers(Signal::STOP);
    stuck.signal(Signal::TERM);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(stuck.is_alive());
    stuck.signal(Signal::TERM);
    assert!(stuck.wait(Duration::from_secs(3)).is_some());
    _other.thaw();
    succeeds(&gateway, &name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f40_a_second_copy_of_a_slow_proof_wins_and_the_first_is_not_blamed() {
    if !all() {
        println!("left out: a copy is made after 30 s; ZKINFER_FAULTS=all");
        return;
    }
    let (_turn, folder, gateway) = farm(&QUICK).await;
    let circuit = long_circuit(&gateway);
    let nodes = two_nodes(&gateway, folder.path());
    let name = submit(&gateway, &circuit, long_input(0)).await;
    // Its supervisor lives, its prover does not move.
    let (slow, _) = at_work(&gateway, &name, &nodes).await.unwrap();
    let before = gateway.node_list()[&slow.name].clone();
    let mut client = gateway.jobs().await;
    let ended = until(&mut client, &name, Duration::from_secs(90), is_over).await;
    assert_eq!(ended.state(), State::Succeeded, "{ended:#?}");
    proof(&gateway, &ended).await;
    assert_eq!(ended.history.len(), 2, "{ended:#?}");
    assert!(ended.history[1].speculative && !ended.history[0].speculative);
    slow.signal_provers(Signal::CONT);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = gateway.node_list()[&slow.name].clone();
    for count in ["score", "ok", "failed", "invalid", "lost"] {
        assert_eq!(before[count], after[count], "{count}");
    }
    ends_once(&gateway, &name, State::Succeeded).await;
}
