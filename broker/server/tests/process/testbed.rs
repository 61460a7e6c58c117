//! A cluster of processes below one temporary directory; everything ends with it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use foz_cli::client::{Client, ClientConfig, Consumer, ConsumerConfig, NewTopic, OffsetAt};
use foz_cli::message::ReceivedMessage;
use kafka_protocol::messages::BrokerId;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

/// The longest that anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One process and what it is started with.
pub(crate) struct Node {
    name: String,
    roles: &'static str,
    pub(crate) directory: PathBuf,
    pub(crate) kafka_port: u16,
    replication_port: u16,
    /// Of a controller; 0 for brokers.
    pub(crate) grpc_port: u16,
    http_port: u16,
    child: Option<Child>,
}

/// Controllers and brokers of one cluster.
pub(crate) struct Testbed {
    pub(crate) controllers: Vec<Node>,
    pub(crate) brokers: Vec<Node>,
    _directory: tempfile::TempDir,
}

impl Testbed {
    /// Starts so many of each and waits until all are ready.
    pub(crate) fn start(controllers: usize, brokers: usize) -> Self {
        let mut testbed = Self::prepare(controllers, brokers);
        testbed.start_all();
        testbed
    }

    /// Starts what was prepared and waits until all are ready.
    pub(crate) fn start_all(&mut self) {
        self.nodes().for_each(Node::spawn);
        self.wait_ready();
    }

    /// So many of each, which can be configured; none is started.
    pub(crate) fn prepare(controllers: usize, brokers: usize) -> Self {
        Self::prepare_as(controllers, brokers, false)
    }

    /// So many processes of both roles: they are the brokers, and there are no others.
    pub(crate) fn prepare_combined(count: usize) -> Self {
        Self::prepare_as(count, count, true)
    }

    fn prepare_as(controllers: usize, brokers: usize, are_combined: bool) -> Self {
        raise_open_files_limit();
        let directory = tempfile::tempdir().unwrap();
        let grpc_ports: Vec<u16> = (0..controllers).map(|_| free_port()).collect();
        let voters: Vec<String> = (1000..)
            .zip(&grpc_ports)
            .map(|(node_id, port)| format!("{node_id}@127.0.0.1:{port}"))
            .collect();
        let voters = voters.join(",");
        let node = |name: String, roles, node_id: usize, extra: &str| {
            let node_directory = directory.path().join(&name);
            let (kafka_port, replication_port) = (free_port(), free_port());
            let http_port = free_port();
            fs::create_dir(&node_directory).unwrap();
            let properties = format!(
                "node.id={node_id}\nlog.dirs={}\ncontroller.quorum.voters={voters}\n\
                 foz.http.listener=127.0.0.1:{http_port}\n{extra}",
                node_directory.join("data").display()
            );
            let listeners = match roles {
                "controller" => String::new(),
                _ => format!(
                    "listeners=PLAINTEXT://127.0.0.1:{kafka_port},\
                     REPLICATION://127.0.0.1:{replication_port}\n"
                ),
            };
            fs::write(
                node_directory.join("server.properties"),
                properties + &listeners,
            )
            .unwrap();
            Node {
                name,
                roles,
                directory: node_directory,
                kafka_port,
                replication_port,
                grpc_port: 0,
                http_port,
                child: None,
            }
        };
        let listener = |port: &u16| format!("controller.listener=127.0.0.1:{port}\n");
        // Rebalances of the tests should not wait for more members.
        let at_once = "group.initial.rebalance.delay.ms=0\n";
        let broker = |index: usize| {
            let name = format!("broker-{index}");
            if are_combined {
                let extra = at_once.to_owned() + &listener(&grpc_ports[index]);
                node(name, "broker,controller", index, &extra)
            } else {
                node(name, "broker", index, at_once)
            }
        };
        let brokers: Vec<Node> = (0..brokers).map(broker).collect();
        let controllers = grpc_ports.iter().enumerate().map(|(index, port)| {
            let name = format!("controller-{index}");
            let mut node = node(name, "controller", 1000 + index, &listener(port));
            node.grpc_port = *port;
            node
        });
        let controllers: Vec<Node> = if are_combined {
            Vec::new()
        } else {
            controllers.collect()
        };
        Self {
            controllers,
            brokers,
            _directory: directory,
        }
    }

    /// Every process, controllers first.
    pub(crate) fn nodes(&mut self) -> impl Iterator<Item = &mut Node> {
        self.controllers.iter_mut().chain(&mut self.brokers)
    }

    /// Waits until every process that runs is ready.
    pub(crate) fn wait_ready(&mut self) {
        for node in self.nodes().filter(|node| node.child.is_some()) {
            node.wait_ready();
        }
    }

    /// A client that knows all brokers.
    pub(crate) async fn client(&self) -> Client {
        self.client_within(Duration::from_millis(50)).await
    }

    /// The same, looking so often.
    pub(crate) async fn client_within(&self, pause: Duration) -> Client {
        let bootstrap: Vec<String> = self
            .brokers
            .iter()
            .map(|broker| format!("127.0.0.1:{}", broker.kafka_port))
            .collect();
        let config = ClientConfig::new(bootstrap.iter().map(String::as_str));
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Client::connect(config.clone()).await {
                Ok(client) => return client,
                Err(error) if Instant::now() > deadline => panic!("no broker answers: {error}"),
                Err(_) => tokio::time::sleep(pause).await,
            }
        }
    }
}

impl Node {
    /// Starts the process; its log goes to a file beside its data.
    pub(crate) fn spawn(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("log"))
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_foz-broker"))
            .arg("--config")
            .arg(self.directory.join("server.properties"))
            .args(["--roles", self.roles, "--log-text"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM; waits for the end and returns whether it was a clean one.
    pub(crate) fn stop(&mut self) -> bool {
        self.signal(Signal::TERM);
        self.wait_end()
    }

    /// Only sends it; the process goes on until it has done what the signal says. But for a stop: the kernel has
    /// one thread take it, and the others go on until that one has run.
    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, signal).unwrap();
        if signal == Signal::STOP {
            let deadline = Instant::now() + PATIENCE;
            while !has_stopped(child.id()) {
                assert!(Instant::now() < deadline, "{} runs on", self.name);
                std::thread::yield_now();
            }
        }
    }

    /// Waits for the end and returns whether it was a clean one.
    pub(crate) fn wait_end(&mut self) -> bool {
        let mut child = self.child.take().expect("it runs");
        let status = wait_exit(&mut child).unwrap_or_else(|| {
            panic!("{} does not stop\n{}", self.name, self.log());
        });
        status.success()
    }

    /// Waits for the process to end by itself; its log tells why.
    pub(crate) fn wait_failure(&mut self) -> String {
        let mut child = self.child.take().expect("it runs");
        let status = wait_exit(&mut child);
        if status.is_none() {
            child.kill().unwrap();
        }
        let status = status.unwrap_or_else(|| panic!("{} runs on\n{}", self.name, self.log()));
        assert!(
            !status.success(),
            "{} ended well\n{}",
            self.name,
            self.log()
        );
        self.log()
    }

    pub(crate) fn wait_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self
            .http("/readyz")
            .is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
        {
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().unwrap());
            assert!(
                ended.is_none(),
                "{} ended: {ended:?}\n{}",
                self.name,
                self.log()
            );
            assert!(
                Instant::now() < deadline,
                "{} is not ready\n{}",
                self.name,
                self.log()
            );
            pause();
        }
    }

    /// The whole answer to a GET, if there is one.
    pub(crate) fn http(&self, path: &str) -> Option<String> {
        let mut stream = self.connect_http().ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// Puts `line` in place of the lines of its key; counts from the next start.
    pub(crate) fn configure(&self, line: &str) {
        let path = self.directory.join("server.properties");
        let (key, _) = line.split_once('=').unwrap();
        let properties = fs::read_to_string(&path).unwrap();
        let others = properties
            .lines()
            .filter(|other| other.split_once('=').is_none_or(|(other, _)| other != key));
        let lines: Vec<&str> = others.chain([line]).collect();
        fs::write(path, lines.join("\n") + "\n").unwrap();
    }

    /// A connection to the HTTP port.
    pub(crate) fn connect_http(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(("127.0.0.1", self.http_port))
    }

    /// A connection for bytes that no client would send.
    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.kafka_port)
    }

    /// A connection to the listener of the other nodes.
    pub(crate) fn connect_as_node(&self) -> TcpStream {
        connect(self.replication_port)
    }

    /// How many connections of other nodes it has.
    pub(crate) fn connections_of_nodes(&self) -> usize {
        const ESTABLISHED: &str = "01";
        let port = format!(":{:04X}", self.replication_port);
        let connections = fs::read_to_string("/proc/net/tcp").unwrap();
        let connections = connections.lines().map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            (fields.next(), fields.nth(1))
        });
        let ours = connections.filter(|(local, state)| {
            local.is_some_and(|local| local.ends_with(&port)) && *state == Some(ESTABLISHED)
        });
        ours.count()
    }

    /// Of the process.
    pub(crate) fn process_id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let pid = self.process_id();
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
        statm
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            * 4096
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Of how many it said so in its newest registration.
    pub(crate) fn logs_in_doubt(&self) -> String {
        let log = self.log();
        let (_, said) = log.rsplit_once("logs_in_doubt").expect("it has registered");
        // In colours.
        let number = said.split_whitespace().next().unwrap().rsplit(['m', '=']);
        number.into_iter().next().unwrap().to_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}", self.name, self.log());
        }
    }
}

/// The partition's node ids, in order.
pub(crate) fn sorted(ids: &[BrokerId]) -> Vec<i32> {
    let mut ids: Vec<i32> = ids.iter().map(|id| id.0).collect();
    ids.sort_unstable();
    ids
}

/// A topic with so many partitions.
pub(crate) fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions: Some(partitions),
        ..NewTopic::default()
    }
}

/// Every message of a topic, from the first to the last that is visible now.
pub(crate) async fn read_all(client: &Client, topic: &str) -> Vec<ReceivedMessage> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let (partitions, latest) = loop {
        let found = async {
            let partitions = client.partitions_of(topic, PATIENCE).await?;
            let latest = client.offsets(topic, &partitions, OffsetAt::Latest).await?;
            Ok::<_, foz_cli::client::ClientError>((partitions, latest))
        };
        match found.await {
            Ok(found) => break found,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{topic}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let expected: i64 = latest.values().sum();
    let mut consumer = Consumer::new(client, ConsumerConfig::default());
    for partition in partitions {
        consumer.assign(topic, partition, 0);
    }
    let mut messages = Vec::new();
    while (messages.len() as i64) < expected {
        let polled = consumer.poll(deadline).await.unwrap();
        messages.extend(polled.messages);
        assert!(
            tokio::time::Instant::now() < deadline,
            "{topic}: {} of {expected} messages came back",
            messages.len()
        );
    }
    messages
}

/// Between two looks at something that takes its time.
pub(crate) fn pause() {
    #[allow(clippy::disallowed_methods)] // a test's own thread, not a runtime's
    std::thread::sleep(Duration::from_millis(20));
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Whether no thread runs; one that has ended meanwhile does not count.
fn has_stopped(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut states = threads.filter_map(|thread| {
        let status = fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
        let state = status.lines().find_map(|line| line.strip_prefix("State:"));
        Some(state.is_some_and(|state| state.trim_start().starts_with('T')))
    });
    states.all(|is_stopped| is_stopped)
}

fn wait_exit(child: &mut Child) -> Option<std::process::ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        pause();
    }
    None
}

/// Of this process, which has thousands of connections in some tests.
fn raise_open_files_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

/// A port that is free, below those that the kernel gives to outgoing connections, and that no other
/// test of this process gets.
fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    loop {
        let at = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = FIRST + at as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
