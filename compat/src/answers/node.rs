//! One process, broker and controller, with an empty disk.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use foz_e2e::build_cache::remove_folder;
use foz_e2e::external::External;
use foz_e2e::folders::write;

use crate::child::DIES_WITH_US;
use crate::free_port::free_port;
use crate::kit::Kit;

const START_LIMIT: Duration = Duration::from_secs(120);
const FORMAT_LIMIT: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Any id does.
const CLUSTER_ID: &str = "Zm96LWFuc3dlcnMtLWZvbw";
/// Nobody waits for members or brokers that do not come, and records of any time stay.
const COMMON: &str = "group.initial.rebalance.delay.ms=0\noffsets.topic.num.partitions=1\n\
                      offsets.topic.replication.factor=1\ntransaction.state.log.num.partitions=1\n\
                      transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
                      log.retention.ms=-1\n";

/// What is run.
#[derive(Debug)]
pub(crate) enum Product<'a> {
    /// The path of its binary.
    Foz(&'a Path),
    /// It is among the jars of its tests.
    Kafka(&'a Kit),
}

/// It ends with this.
#[derive(Debug)]
pub(crate) struct Node {
    process: Child,
    address: SocketAddr,
}

impl Node {
    /// Starts it with its files in the folder, which is emptied before, and waits until it listens.
    ///
    /// # Errors
    /// It ends, or does not listen in time; says where its log is.
    pub(crate) fn start(product: &Product<'_>, folder: &Path) -> Result<Self> {
        remove_folder(folder)?;
        std::fs::create_dir_all(folder)?;
        let [client, replication, controller, http] =
            [free_port(), free_port(), free_port(), free_port()];
        let data = folder.join("data");
        let data = data.display();
        let file = folder.join("server.properties");
        let [program, words @ ..] = DIES_WITH_US;
        let mut command = Command::new(program);
        command.args(words);
        match product {
            Product::Foz(broker) => {
                let text = format!(
                    "node.id=0\nlog.dirs={data}\nmetadata.log.dir={}\n\
                     controller.quorum.voters=1000@127.0.0.1:{controller}\n\
                     controller.listener=127.0.0.1:{controller}\nfoz.http.listener=127.0.0.1:{http}\n\
                     listeners=PLAINTEXT://127.0.0.1:{client},REPLICATION://127.0.0.1:{replication}\n{COMMON}",
                    folder.join("metadata").display(),
                );
                write(&file, text)?;
                command.arg(broker).arg("--config").arg(&file);
                command.args(["--roles", "broker,controller", "--log-text"]);
            }
            Product::Kafka(kit) => {
                let text = format!(
                    "process.roles=broker,controller\nnode.id=0\nlog.dirs={data}\n\
                     controller.quorum.voters=0@127.0.0.1:{controller}\ncontroller.listener.names=CONTROLLER\n\
                     listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}\n{COMMON}"
                );
                write(&file, text)?;
                External::new("java")
                    .args(["-Xmx256m", "-cp"])
                    .arg(kit.class_path())
                    .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
                    .arg(&file)
                    .limit(FORMAT_LIMIT)
                    .run()?;
                command
                    .args([
                        "java",
                        "-Xmx512m",
                        "-XX:+UseSerialGC",
                        "-XX:TieredStopAtLevel=1",
                        "-cp",
                    ])
                    .arg(kit.class_path())
                    .arg("kafka.Kafka")
                    .arg(&file);
            }
        }
        let log_path = folder.join("log");
        let log = File::create(&log_path)?;
        let process = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start setpriv")?;
        let address = SocketAddr::from(([127, 0, 0, 1], client));
        let mut node = Self { process, address };
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = node.process.try_wait()? {
                bail!("it ended with {status}: {}", log_path.display());
            }
            if Instant::now() > deadline {
                bail!("it does not listen: {}", log_path.display());
            }
            std::thread::park_timeout(LOOK_AGAIN);
        }
        Ok(node)
    }

    /// Where clients reach it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // What it has is of no use any more; it may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
