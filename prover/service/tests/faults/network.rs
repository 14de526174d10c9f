use super::*;

/// A gateway that a network namespace can reach, and that namespace; `None` where none can be made.
async fn apart(
    number: u8,
    options: &[&str],
) -> Option<(SemaphorePermit<'static>, TempDir, Network, Gateway)> {
    let turn = FARMS.acquire().await.unwrap();
    let network = Network::new(number)?;
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = farm_kit::free_address();
    nodes.set_ip(std::net::Ipv4Addr::UNSPECIFIED.into());
    let data = folder.path().join("gateway");
    let gateway = Gateway::on(farm_kit::free_address(), nodes, &data, options);
    Some((turn, folder, network, gateway))
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_a_partition_that_heals_after_the_lease_went_elsewhere_makes_no_second_end() {
    let Some((_turn, folder, network, gateway)) = apart(4, &QUICK).await else {
        return;
    };
    let circuit = long_circuit(&gateway);
    let url = format!("https://{}:{}", network.here, gateway.nodes.port());
    let space = Some(network.space.as_str());
    let far = Node::join_at(&gateway, &url, "far", folder.path(), &[], space);
    let name = submit(&gateway, &circuit, long_input(0)).await;
    let mut client = gateway.jobs().await;
    until(&mut client, &name, SOON, is(State::Running)).await;
    network.cut();
    let near = Node::join_at(
        &gateway,
        &format!("https://127.0.0.1:{}", gateway.nodes.port()),
        "near",
        folder.path(),
        &[],
        None,
    );
    let ended = succeeds(&gateway, &name).await;
    assert_eq!(failures(&ended)[0].0, FailureClass::NodeLost, "{ended:#?}");
    network.heal();
    ends_once(&gateway, &name, State::Succeeded).await;
    // The far node works again.
    near.freeze();
    let name = submit(&gateway, &circuit, long_input(1)).await;
    let ended = succeeds(&gateway, &name).await;
    let list = gateway.node_list();
    assert_eq!(
        list["far"]["name"].as_str(),
        Some(ended.history.last().unwrap().node.as_str())
    );
    drop(far);
}

#[tokio::test(flavor = "multi_thread")]
async fn f05_lost_replies_for_less_than_a_lease_cost_nothing() {
    let quick = ["--lease-ttl-ms", "6000", "--heartbeat-ms", "500"];
    let Some((_turn, folder, network, gateway)) = apart(5, &quick).await else {
        return;
    };
    let circuit = long_circuit(&gateway);
    let url = format!("https://{}:{}", network.here, gateway.nodes.port());
    let space = Some(network.space.as_str());
    let node = Node::join_at(&gateway, &url, "far", folder.path(), &[], space);
    let name = submit(&gateway, &circuit, long_input(0)).await;
    let mut client = gateway.jobs().await;
    until(&mut client, &name, SOON, is(State::Running)).await;
    // The proof must still be on its way when replies come again.
    node.signal_provers(Signal::STOP);
    network.lose_replies();
    tokio::time::sleep(Duration::from_secs(3)).await;
    network.find_replies();
    tokio::time::sleep(Duration::from_secs(3)).await;
    node.signal_provers(Signal::CONT);
    let ended = succeeds(&gateway, &name).await;
    assert_eq!(ended.history.len(), 1, "{ended:#?}");
    assert_eq!(gateway.node_list()["far"]["lost"].as_u64(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn f25_a_download_that_is_cut_goes_on_and_no_failure_is_counted() {
    let (_turn, folder, gateway) = farm(&QUICK).await;
    let circuit = gateway.circuit("digits-cnn", &[]);
    // The key has seven megabytes: every connection ends after two.
    let (proxy, cuts_left) = cutting_proxy(gateway.nodes, 2 << 20, 6);
    let url = format!("https://{proxy}");
    let _node = Node::join_at(&gateway, &url, "a", folder.path(), &[], None);
    let name = submit(&gateway, &circuit, input("digits-cnn", 0)).await;
    let ended = succeeds(&gateway, &name).await;
    assert_eq!(charged(&ended), 0, "{ended:#?}");
    assert!(failures(&ended).is_empty(), "{ended:#?}");
    let left = cuts_left.load(std::sync::atomic::Ordering::SeqCst);
    assert!(left < 4, "{left} of 6 cuts are left");
}
