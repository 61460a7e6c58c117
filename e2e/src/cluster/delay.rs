//! What a pod sends to one port of others, held back: a follower whose fetches are late, for example.
//!
//! The kernel may have no netem, so a process in the pod's network namespace takes the connections: a rule of iptables
//! hands it those that the pod's own processes make, which do not run as root, as it does.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::net::sockopt::ip_original_dst;
use rustix::process::Pid;

use super::daemon::Inside;
use crate::external::External;

/// The subcommand of this program that [`serve`] runs under.
pub const SUBCOMMAND: &str = "delay";

/// Inside the pod's network namespace.
const PORT: u16 = 19_191;
/// As long as it takes each established connection to send something.
const RESET_FOR: Duration = Duration::from_millis(300);

/// Held back for as long as this is kept.
#[derive(Debug)]
pub struct Delay {
    relay: Child,
}

impl Delay {
    /// Holds back what the network namespace of this process sends to `port`, by `delay`. Connections that are there
    /// are reset.
    pub fn begin(process: Pid, port: u16, delay: Duration) -> Result<Delay> {
        let target = process.as_raw_nonzero().get().unsigned_abs();
        let prefix = Inside::Network(target).prefix();
        let program = std::env::current_exe()?;
        let relay = Command::new(&prefix[0])
            .args(&prefix[1..])
            .arg(program)
            .args([SUBCOMMAND, &delay.as_millis().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("starting the relay that holds back")?;
        let delay = Delay { relay };
        let port = port.to_string();
        let to = PORT.to_string();
        let of_pod = [
            "-p",
            "tcp",
            "--dport",
            &port,
            "-m",
            "owner",
            "!",
            "--uid-owner",
            "0",
        ];
        let iptables = |words: &[&str], end: &[&str]| {
            let command = External::new(&prefix[0]).args(&prefix[1..]);
            let command = command.arg("iptables").args(words).args(of_pod);
            command.args(end).run().map(drop)
        };
        let redirect = ["-j", "REDIRECT", "--to-ports", &to];
        iptables(&["-t", "nat", "-A", "OUTPUT"], &redirect)?;
        let reset = ["-j", "REJECT", "--reject-with", "tcp-reset"];
        iptables(&["-A", "OUTPUT"], &reset)?;
        thread::sleep(RESET_FOR);
        iptables(&["-D", "OUTPUT"], &reset)?;
        Ok(delay)
    }
}

impl Drop for Delay {
    /// The rule stays: without the relay the pod would reach nobody. So this is for pods that end.
    fn drop(&mut self) {
        let _ = self.relay.kill();
        let _ = self.relay.wait();
    }
}

/// Takes the connections, for ever.
pub fn serve(delay: Duration) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    loop {
        let (caller, _) = listener.accept()?;
        thread::spawn(move || pass_on(&caller, delay));
    }
}

/// A failure on either side closes both, which is all that a caller can be told.
fn pass_on(caller: &TcpStream, delay: Duration) {
    let target = ip_original_dst(caller).map(SocketAddr::V4);
    let server = target
        .ok()
        .and_then(|target| TcpStream::connect_timeout(&target, Duration::from_secs(5)).ok());
    let Some(server) = server else { return };
    thread::scope(|scope| {
        scope.spawn(|| forward(caller, &server, delay));
        forward(&server, caller, Duration::ZERO);
    });
}

/// A request goes out after its answer was waited for, so a delay of what comes is a delay of each request.
fn forward(mut from: &TcpStream, mut to: &TcpStream, delay: Duration) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        thread::sleep(delay);
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
