//! `foz-simulator run --seeds A..B`, `foz-simulator trace --seed S`.

use std::ops::Range;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use foz_simulator::{Mutation, Summary, run, run_keeping};

/// Lines of a trace that are printed for a schedule that failed.
const LINES_OF_FAILURE: usize = 60;

#[derive(Debug, Parser)]
#[command(about = "A cluster of Foz on virtual time, from one seed")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs schedules and prints figures; exits with 1 when one of them is wrong.
    Run {
        /// As 0..20000.
        #[arg(long, value_parser = seeds)]
        seeds: Range<u64>,
        /// A bug to put in.
        #[arg(long, value_parser = mutation)]
        mutation: Option<Mutation>,
        /// Stop at the first that is wrong.
        #[arg(long)]
        first: bool,
    },
    /// Prints what happens in a schedule.
    Trace {
        /// Which one.
        #[arg(long)]
        seed: u64,
        /// A bug to put in.
        #[arg(long, value_parser = mutation)]
        mutation: Option<Mutation>,
        /// Only so many of the last lines.
        #[arg(long, default_value_t = 1_000_000)]
        lines: usize,
    },
    /// Prints the bugs that can be put in.
    Mutations,
}

#[allow(clippy::print_stdout, reason = "a program for the terminal")]
#[allow(
    clippy::disallowed_methods,
    reason = "how long it takes is measured with the real clock"
)]
fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Run {
            seeds,
            mutation,
            first,
        } => {
            let began = Instant::now();
            let mut summary = Summary::default();
            for seed in seeds {
                let outcome = run(seed, mutation);
                summary.add(&outcome);
                if let Some(violation) = &outcome.violation {
                    let (_, lines) = run_keeping(seed, mutation, LINES_OF_FAILURE);
                    println!("{}\nseed {seed}: {violation}\n", lines.join("\n"));
                    if first {
                        break;
                    }
                }
            }
            let took = began.elapsed();
            println!("{summary}");
            let each = took.as_secs_f64() * 1e3 / summary.schedules().max(1) as f64;
            println!(
                "took                    {:.1} s, {each:.2} ms each",
                took.as_secs_f64()
            );
            if !summary.violations().is_empty() {
                bail!("{} schedules are wrong", summary.violations().len());
            }
        }
        Command::Trace {
            seed,
            mutation,
            lines,
        } => {
            let (outcome, lines) = run_keeping(seed, mutation, lines);
            println!("{}\n{outcome:#?}", lines.join("\n"));
        }
        Command::Mutations => {
            for mutation in Mutation::ALL {
                println!("{}", mutation.name());
            }
        }
    }
    Ok(())
}

fn seeds(text: &str) -> anyhow::Result<Range<u64>> {
    let (from, to) = text.split_once("..").context("as 0..20000")?;
    Ok(from.parse()?..to.parse()?)
}

fn mutation(name: &str) -> anyhow::Result<Mutation> {
    Mutation::named(name).with_context(|| format!("no bug is called {name}; see `mutations`"))
}
