//! The way from this machine's loopback to the API server inside its network namespace.
//!
//! A socket belongs to the namespace it was made in. The listener is made here, on loopback, and
//! handed as standard input to a process inside the control plane's namespace, which makes the other
//! half of each connection there.

use std::io::copy;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::addresses::{API_SERVER_PORT, CONTROL_PLANE};
use super::daemon::{Inside, Launcher, words};

/// Taken when it is free, so that a kubeconfig stays valid from one cluster to the next; else any.
const PORT_PREFERRED: u16 = 16443;
/// The subcommand of this program that [`serve`] runs under.
pub const SUBCOMMAND: &str = "relay";

/// Starts the relay and hands back the loopback address it listens on.
pub fn start(launcher: &Launcher, control_plane: u32) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT_PREFERRED))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .context("no free port on 127.0.0.1 for the relay")?;
    let address = listener.local_addr()?;
    let program = std::env::current_exe()?.display().to_string();
    let target = format!("{CONTROL_PLANE}:{API_SERVER_PORT}");
    let command = words([&program, SUBCOMMAND, &target]);
    let stdin = Stdio::from(OwnedFd::from(listener));
    launcher.start_with_stdin("relay", Inside::Network(control_plane), &command, stdin)?;
    Ok(address)
}

/// Accepts on the listener that is standard input and connects each caller to `target`, for ever.
pub fn serve(target: SocketAddr) -> Result<()> {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    serve_listener(&TcpListener::from(stdin), target)
}

fn serve_listener(listener: &TcpListener, target: SocketAddr) -> Result<()> {
    loop {
        match listener.accept() {
            Ok((caller, _)) => {
                thread::spawn(move || connect(&caller, target));
            }
            Err(error) => {
                // Out of file descriptors, for one: passes when callers leave.
                eprintln!("accept: {error}");
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// A failure on either side closes both, which is all that a caller can be told.
fn connect(caller: &TcpStream, target: SocketAddr) {
    let Ok(server) = TcpStream::connect_timeout(&target, Duration::from_secs(5)) else {
        return;
    };
    // Otherwise an answer may wait for the acknowledgement of the one before, and Linux delays that by 40 ms.
    let _ = caller.set_nodelay(true).and(server.set_nodelay(true));
    thread::scope(|scope| {
        scope.spawn(|| forward(caller, &server));
        forward(&server, caller);
    });
}

fn forward(mut from: &TcpStream, mut to: &TcpStream) {
    if copy(&mut from, &mut to).is_err() {
        let _ = from.shutdown(Shutdown::Both);
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn bytes_and_the_end_of_each_direction_pass() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = server.local_addr().unwrap();
        let relay = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = relay.local_addr().unwrap();
        thread::spawn(move || serve_listener(&relay, target));
        thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut question = String::new();
            stream.read_to_string(&mut question).unwrap();
            write!(stream, "{question} indeed").unwrap();
        });
        let mut caller = TcpStream::connect(address).unwrap();
        caller.write_all(b"it works").unwrap();
        caller.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        caller.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "it works indeed");
    }

    #[test]
    fn a_caller_is_turned_away_when_nothing_serves() {
        let unused = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = unused.local_addr().unwrap();
        drop(unused);
        let relay = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = relay.local_addr().unwrap();
        thread::spawn(move || serve_listener(&relay, target));
        let mut caller = TcpStream::connect(address).unwrap();
        caller
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        assert_eq!(caller.read(&mut [0; 1]).unwrap(), 0);
    }
}
