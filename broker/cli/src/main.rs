//! `foz`: produce, consume and manage topics from a terminal. The work is in the library beside it.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;
use foz_cli::args::Cli;
use foz_cli::commands;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = BufWriter::new(io::stdout());
    let done = commands::run(cli, &mut out).await;
    let done = done.and(out.flush().map_err(anyhow::Error::from));
    // The thread that reads standard input may be waiting in it, so the runtime is not waited for.
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if commands::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("foz: {error:#}");
            ExitCode::FAILURE
        }
    }
}
