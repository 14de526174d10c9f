//! A farm of real processes: a gateway and prover nodes on loopback, and the means to hurt them.
#![allow(dead_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tonic::transport::Channel;
use zkinfer_service::{
    api::proto::{self, create_job_request::Input, job::State, jobs_client::JobsClient},
    bundle::ProofFile,
};
use zkinfer_verifier::VerifyingKey;

pub const BIN: &str = env!("CARGO_BIN_EXE_zkinfer");

/// Whether the slow tier runs too.
pub fn all() -> bool {
    std::env::var("ZKINFER_FAULTS").is_ok_and(|v| v == "all")
}

pub fn model(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../circuits/tests/models")
        .join(file)
}

/// An address that was free a moment ago.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// As much as there is to read where logs are searched.
const LEVEL: &str = "debug";
const QUIET: &str = "info";

fn log() -> Stdio {
    match std::env::var_os("ZKINFER_TEST_LOG") {
        None => Stdio::null(),
        Some(_) => Stdio::inherit(),
    }
}

#[track_caller]
pub fn json(command: &mut Command) -> serde_json::Value {
    let output = command.arg("--json").output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Leases that end soon, so that tests do not wait long.
pub const QUICK: [&str; 4] = ["--lease-ttl-ms", "3000", "--heartbeat-ms", "500"];

/// `zkinfer serve` without a prover of its own.
pub struct Gateway {
    child: Child,
    pub listen: SocketAddr,
    pub nodes: SocketAddr,
    pub data: PathBuf,
    arguments: Vec<String>,
}

impl Gateway {
    pub fn start(data: &Path, more: &[&str]) -> Self {
        Self::on(free_address(), free_address(), data, more)
    }

    pub fn on(listen: SocketAddr, nodes: SocketAddr, data: &Path, more: &[&str]) -> Self {
        let mut arguments: Vec<String> = vec![
            "serve".into(),
            "--json".into(),
            "--listen".into(),
            listen.to_string(),
            "--node-listen".into(),
            nodes.to_string(),
            "--data".into(),
            data.to_str().unwrap().into(),
        ];
        if !more.contains(&"--slots") {
            arguments.extend(["--slots".into(), "0".into()]);
        }
        arguments.extend(more.iter().map(|m| (*m).to_owned()));
        let child = Self::spawn(&arguments, log(), QUIET);
        Self {
            child,
            listen,
            nodes,
            data: data.to_owned(),
            arguments,
        }
    }

    /// The same, with everything it logs in `log`.
    pub fn logged(data: &Path, more: &[&str], log: &Path) -> Self {
        let mut gateway = Self::start(data, more);
        gateway.kill();
        let file = std::fs::File::create(log).unwrap();
        gateway.child = Self::spawn(&gateway.arguments, file.into(), LEVEL);
        gateway
    }

    fn spawn(arguments: &[String], stderr: Stdio, level: &str) -> Child {
        let mut child = Command::new(BIN)
            .env("ZKINFER_LOG", level)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.contains("listening"), "{arguments:?}: {line:?}");
        child
    }

    /// `kill -9`, and the same again.
    pub fn restart(&mut self) {
        self.kill();
        self.child = Self::spawn(&self.arguments, log(), QUIET);
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Starts again after [`Self::kill`].
    pub fn start_again(&mut self) {
        self.child = Self::spawn(&self.arguments, log(), QUIET);
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// A command of the command line for this gateway.
    pub fn cli(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BIN);
        command
            .args(arguments)
            .args(["--endpoint", &self.endpoint()]);
        command
    }

    pub async fn channel(&self) -> Channel {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let connected = Channel::from_shared(self.endpoint())
                .unwrap()
                .connect()
                .await;
            match connected {
                Ok(channel) => return channel,
                Err(e) if Instant::now() > until => panic!("{e}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    pub async fn jobs(&self) -> JobsClient<Channel> {
        JobsClient::new(self.channel().await)
    }

    pub fn token(&self, trust: &str) -> String {
        let token = json(&mut self.cli(&["token", "create", "--trust", trust]));
        token["token"].as_str().unwrap().to_owned()
    }

    /// A READY circuit of a bundled model.
    pub fn circuit(&self, name: &str, more: &[&str]) -> String {
        let (file, samples) = (
            model(&format!("{name}.onnx")),
            model(&format!("{name}.calibration.npz")),
        );
        let mut command = self.cli(&["circuit", "create", "--wait"]);
        command.arg("--calibration").arg(samples);
        let created = json(command.args(more).arg(file));
        created["name"].as_str().unwrap().to_owned()
    }

    /// Nodes by display name, as `node ls` shows them.
    pub fn node_list(&self) -> BTreeMap<String, serde_json::Value> {
        let listed = json(&mut self.cli(&["node", "ls"]));
        let nodes = listed.as_array().cloned().unwrap();
        nodes
            .into_iter()
            .map(|n| (n["display_name"].as_str().unwrap_or_default().to_owned(), n))
            .collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A `zkinfer node` process.
pub struct Node {
    child: Child,
    pub name: String,
    pub data: PathBuf,
    arguments: Vec<String>,
    inside: Option<String>,
}

impl Node {
    /// Joins with a fresh token.
    pub fn join(gateway: &Gateway, name: &str, data: &Path, more: &[&str]) -> Self {
        let url = format!("https://{}", gateway.nodes);
        Self::join_at(gateway, &url, name, data, more, None)
    }

    /// Joins through `url`, inside a network namespace if one is named.
    pub fn join_at(
        gateway: &Gateway,
        url: &str,
        name: &str,
        data: &Path,
        more: &[&str],
        inside: Option<&str>,
    ) -> Self {
        let trust = if more.contains(&"--untrusted") {
            "untrusted"
        } else {
            "owned"
        };
        let token = gateway.token(trust);
        let data = data.join(name);
        let mut arguments: Vec<String> = [
            "node",
            "join",
            "--gateway",
            url,
            "--token",
            &token,
            "--name",
            name,
            "--slot-threads",
            "1",
            "--data",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(data.to_str().unwrap().into());
        if !more.contains(&"--slots") {
            arguments.extend(["--slots".into(), "1".into()]);
        }
        let more = more.iter().filter(|m| **m != "--untrusted");
        arguments.extend(more.map(|m| (*m).to_owned()));
        let inside = inside.map(str::to_owned);
        let child = Self::spawn(&arguments, inside.as_deref());
        Self {
            child,
            name: name.into(),
            data,
            arguments,
            inside,
        }
    }

    /// Joins, with everything it logs in `log`.
    pub fn join_logged(gateway: &Gateway, name: &str, data: &Path, log: &Path) -> Self {
        let mut node = Self::join(gateway, name, data, &[]);
        let joined = node.data.join("node.crt");
        let until = Instant::now() + Duration::from_secs(20);
        while !joined.exists() {
            assert!(Instant::now() < until, "{name} did not join");
            std::thread::sleep(Duration::from_millis(20));
        }
        node.kill();
        let file = std::fs::File::create(log).unwrap();
        node.child = Command::new(BIN)
            .args(&node.arguments)
            .env("ZKINFER_LOG", LEVEL)
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        node
    }

    fn spawn(arguments: &[String], inside: Option<&str>) -> Child {
        let mut command = match inside {
            None => Command::new(BIN),
            Some(space) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", space, BIN]);
                command
            }
        };
        command
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(log())
            .spawn()
            .unwrap()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap()).unwrap()
    }

    /// Its prover processes.
    pub fn provers(&self) -> Vec<Pid> {
        children_of(self.pid())
    }

    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid(), signal);
    }

    pub fn signal_provers(&self, signal: Signal) -> usize {
        let provers = self.provers();
        for pid in &provers {
            let _ = kill_process(*pid, signal);
        }
        provers.len()
    }

    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        self.signal_provers(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal_provers(Signal::CONT);
        self.signal(Signal::CONT);
    }

    /// `kill -9` of the supervisor; its children die with it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    pub fn restart(&mut self) {
        self.kill();
        self.start_again();
    }

    pub fn start_again(&mut self) {
        self.child = Self::spawn(&self.arguments, self.inside.as_deref());
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Option<std::process::ExitStatus> {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            if Instant::now() > until {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.thaw();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process is over, read by its parent or not.
pub fn is_gone(pid: Pid) -> bool {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let Ok(status) = std::fs::read_to_string(path) else {
        return true;
    };
    let state = status.lines().find(|l| l.starts_with("State:"));
    state.is_none_or(|s| s.contains('Z') || s.contains('X'))
}

/// The process group, to all of which a terminal sends Ctrl-C.
pub fn group_of(pid: Pid) -> String {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    let stat = std::fs::read_to_string(path).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    after_name.split_whitespace().nth(2).unwrap().to_owned()
}

/// The direct children of a process.
pub fn children_of(parent: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<i32>().ok())
        else {
            continue;
        };
        let status = std::fs::read_to_string(process.path().join("status")).unwrap_or_default();
        let of = status.lines().find_map(|l| l.strip_prefix("PPid:"));
        if of.is_some_and(|p| p.trim() == parent.as_raw_nonzero().to_string()) {
            found.extend(Pid::from_raw(pid));
        }
    }
    found
}

/// The bundled input of a model, rotated by `n`: another input for every number.
pub fn input(name: &str, n: usize) -> Vec<u8> {
    inputs(name, n, 1)
}

/// `count` such inputs after one another, for a circuit of a batch.
pub fn inputs(name: &str, n: usize, count: usize) -> Vec<u8> {
    let file: serde_json::Value =
        serde_json::from_slice(&std::fs::read(model(&format!("{name}.json"))).unwrap()).unwrap();
    let values = file["input_data"][0].as_array().unwrap();
    let mut all = Vec::new();
    for k in 0..count {
        let mut rotated = values.clone();
        rotated.rotate_left((n + k) % values.len());
        all.extend(rotated);
    }
    serde_json::to_vec(&serde_json::json!({ "input_data": [all] })).unwrap()
}

pub fn request(circuit: &str, input: Vec<u8>) -> proto::CreateJobRequest {
    proto::CreateJobRequest {
        circuit: circuit.into(),
        input: Some(Input::InlineInput(input)),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    }
}

pub async fn job(client: &mut JobsClient<Channel>, name: &str) -> proto::Job {
    let request = proto::GetJobRequest {
        name: name.into(),
        view: proto::get_job_request::View::Full.into(),
    };
    client.get_job(request).await.unwrap().into_inner()
}

/// Waits until `holds` of a job; panics after `limit`.
#[track_caller]
pub fn until<'a>(
    client: &'a mut JobsClient<Channel>,
    name: &'a str,
    limit: Duration,
    holds: impl Fn(&proto::Job) -> bool + 'a,
) -> impl Future<Output = proto::Job> + 'a {
    let place = std::panic::Location::caller();
    async move {
        let end = Instant::now() + limit;
        loop {
            let seen = job(client, name).await;
            if holds(&seen) {
                return seen;
            }
            assert!(Instant::now() < end, "{place}: after {limit:?}: {seen:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub fn is_over(job: &proto::Job) -> bool {
    job.state >= i32::from(State::Succeeded)
}

pub fn is(state: State) -> impl Fn(&proto::Job) -> bool {
    move |job| job.state() == state
}

/// The proof of a job, verified with the circuit's key on the gateway's disk.
pub async fn proof(gateway: &Gateway, job: &proto::Job) -> ProofFile {
    let mut client = gateway.jobs().await;
    let request = proto::GetProofRequest {
        job: job.name.clone(),
        format: proto::ProofFormat::Json.into(),
    };
    let proof = client.get_proof(request).await.unwrap().into_inner();
    let Some(proto::proof::Body::Data(data)) = proof.body else {
        panic!("no proof")
    };
    let id = job.circuit.strip_prefix("circuits/").unwrap();
    let key = gateway.data.join("circuits").join(id).join("verifying.key");
    let key = VerifyingKey::decode(&std::fs::read(key).unwrap()).unwrap();
    let file = ProofFile::parse(&data).unwrap();
    file.clone().verify(&key).unwrap();
    file
}

/// How often each job of `names` was seen to end.
pub async fn ends(gateway: &Gateway, names: &BTreeSet<String>) -> BTreeMap<String, Vec<State>> {
    let mut client = gateway.jobs().await;
    let request = proto::WatchJobsRequest {
        cursor: "0".into(),
        ..Default::default()
    };
    let mut stream = client.watch_jobs(request).await.unwrap().into_inner();
    let mut ends: BTreeMap<String, Vec<State>> = BTreeMap::new();
    let quiet = Duration::from_millis(1500);
    while let Ok(Ok(Some(event))) = tokio::time::timeout(quiet, stream.message()).await {
        if let Some(proto::job_event::Event::State(change)) = event.event
            && names.contains(&event.job)
            && change.to >= i32::from(State::Succeeded)
        {
            ends.entry(event.job).or_default().push(change.to());
        }
    }
    ends
}

/// A network namespace joined to this one by a pair of interfaces; gone when dropped.
pub struct Network {
    pub space: String,
    pub outside: String,
    pub here: std::net::Ipv4Addr,
}

impl Network {
    /// `None`, with a line that says so, where namespaces cannot be made.
    pub fn new(number: u8) -> Option<Self> {
        let id = std::process::id() % 10_000;
        let (space, outside, inside) = (
            format!("zk{id}x{number}"),
            format!("zo{id}x{number}"),
            format!("zi{id}x{number}"),
        );
        let network = Self {
            here: std::net::Ipv4Addr::new(10, 211, number, 1),
            space: space.clone(),
            outside: outside.clone(),
        };
        let there = format!("10.211.{number}.2/24");
        let here = format!("10.211.{number}.1/24");
        let made = run(&["ip", "netns", "add", &space])
            && run(&[
                "ip", "link", "add", &outside, "type", "veth", "peer", "name", &inside,
            ])
            && run(&["ip", "link", "set", &inside, "netns", &space])
            && run(&["ip", "addr", "add", &here, "dev", &outside])
            && run(&["ip", "link", "set", &outside, "up"])
            && run(&["ip", "-n", &space, "addr", "add", &there, "dev", &inside])
            && run(&["ip", "-n", &space, "link", "set", &inside, "up"])
            && run(&["ip", "-n", &space, "link", "set", "lo", "up"]);
        if !made {
            println!("left out: network namespaces need root and iproute2");
            return None;
        }
        Some(network)
    }

    /// Nothing passes in either direction.
    pub fn cut(&self) {
        assert!(run(&["ip", "link", "set", &self.outside, "down"]));
    }

    pub fn heal(&self) {
        let here = format!("{}/24", self.here);
        assert!(run(&["ip", "link", "set", &self.outside, "up"]));
        let _ = run(&["ip", "addr", "add", &here, "dev", &self.outside]);
    }

    /// What goes from here into the namespace is lost; the other direction passes.
    pub fn lose_replies(&self) {
        assert!(run(&["ip", "route", "add", "blackhole", &self.there()]));
    }

    pub fn find_replies(&self) {
        assert!(run(&["ip", "route", "del", "blackhole", &self.there()]));
    }

    /// The other end, more exactly than the route to its network.
    fn there(&self) -> String {
        let [a, b, c, _] = self.here.octets();
        format!("{a}.{b}.{c}.2/32")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = run(&["ip", "netns", "del", &self.space]);
        let _ = run(&["ip", "link", "del", &self.outside]);
    }
}

fn run(command: &[&str]) -> bool {
    Command::new(command[0])
        .args(&command[1..])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// Forwards connections to `to`, and cuts each after `bytes` from there, `cuts` times in all; and how many cuts are left.
pub fn cutting_proxy(to: SocketAddr, bytes: usize, cuts: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    use std::{
        io::{Read as _, Write as _},
        net::{Shutdown, TcpStream},
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let left = Arc::new(AtomicUsize::new(cuts));
    let told = Arc::clone(&left);
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(to) else {
                continue;
            };
            let (mut near_in, mut far_out) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut near_in, &mut far_out);
                let _ = far_out.shutdown(Shutdown::Both);
            });
            let left = Arc::clone(&left);
            std::thread::spawn(move || {
                let (mut near, mut far, mut passed) = (near, far, 0);
                let mut buffer = [0; 8192];
                while let Ok(n) = far.read(&mut buffer) {
                    let cut = passed + n > bytes
                        && left
                            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |c| c.checked_sub(1))
                            .is_ok();
                    if n == 0 || cut || near.write_all(&buffer[..n]).is_err() {
                        break;
                    }
                    passed += n;
                }
                let _ = near.shutdown(Shutdown::Both);
                let _ = far.shutdown(Shutdown::Both);
            });
        }
    });
    (address, told)
}
