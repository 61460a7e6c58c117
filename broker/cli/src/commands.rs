//! One file for each command.

use std::io::{self, Write};

use crate::args::{Cli, Command};
use crate::client::{Client, ClientConfig};

pub mod consume;
pub mod produce;
pub mod topics;

/// Runs a command; what it prints goes to `out`.
///
/// # Errors
/// What went wrong, in one sentence.
pub async fn run(cli: Cli, out: &mut (impl Write + Send)) -> anyhow::Result<()> {
    let command = match cli.command {
        Command::Topics(command) if command.asks_controllers() => {
            return topics::deleted::run(cli.controllers, command, out).await;
        }
        command => command,
    };
    let client = Client::connect(ClientConfig::new(cli.bootstrap)).await?;
    match command {
        Command::Topics(command) => topics::run(&client, command, out).await,
        Command::Produce(args) => produce::run(&client, args).await,
        Command::Consume(args) => consume::run(&client, args, out).await,
    }
}

/// The reader of our output has gone: `foz consume orders | head -1` is no error.
#[must_use]
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// `1 message`, `2 messages`.
fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
