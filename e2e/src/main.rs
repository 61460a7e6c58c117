//! The program behind the Makefile; see the library for how it works.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use foz_e2e::cluster::kubectl::Kubectl;
use foz_e2e::cluster::{self, delay, relay, volumes};
use foz_e2e::folders::Folders;
use foz_e2e::images::Images;
use foz_e2e::prerequisites::{self, For};
use foz_e2e::programs::Programs;
use foz_e2e::progress::Progress;
use foz_e2e::{suite, tryout};

/// A program inside the cluster's network may run for as long as someone looks at it.
const INSIDE_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

const VARIABLES: &str = "\
Environment:
  FOZ_CACHE             folder for what takes long to build, and for the clusters [~/.cache/foz]
  FOZ_E2E_KUBECONFIG    use the cluster of this kubeconfig instead of starting one
  FOZ_E2E_IMAGE_LOADER  shell command that brings the image archive $1 into that cluster
  FOZ_E2E_KEEP          leave the cluster of `test` running
  FOZ_SOAK_MINUTES      length of the chaos of `soak` [60]";

/// A real Kubernetes on this machine, Foz on it, and the tests of both.
#[derive(Debug, Parser)]
#[command(name = "foz-e2e", disable_help_subcommand = true, after_help = VARIABLES)]
struct Arguments {
    /// Name of the cluster; clusters of different names do not touch each other.
    /// [default: `stories` for the stories, else `tryout`]
    #[arg(long, global = true, value_parser = cluster_name)]
    cluster: Option<String>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start Kubernetes with Foz on it, and show it working.
    Up,
    /// Remove all that `up` and the stories started.
    Down,
    /// Run every test that takes minutes.
    Test,
    /// Run the tests that take hours.
    Soak,
    /// Tell the stories whose names contain a text, all when none is given; keeps their cluster.
    Stories {
        #[arg(default_value = "")]
        filter: String,
    },
    /// Run a program inside the cluster's network, with the cluster's DNS.
    Inside {
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<String>,
    },
    /// Check this machine and install missing packages.
    Prerequisites,
    /// Start or remove a bare Kubernetes.
    #[command(subcommand)]
    Cluster(ClusterAction),
    /// Build the images, and give them to the cluster if it runs.
    Images,
    /// Print the path of the cluster's kubeconfig.
    Kubeconfig,
    #[command(name = relay::SUBCOMMAND, hide = true)]
    Relay { target: SocketAddr },
    #[command(name = delay::SUBCOMMAND, hide = true)]
    Delay { milliseconds: u64 },
    #[command(name = volumes::SUBCOMMAND, hide = true)]
    ProvisionVolumes {
        kubectl: PathBuf,
        kubeconfig: PathBuf,
        folder: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum ClusterAction {
    /// Start it and wait until its nodes are Ready.
    Up {
        #[arg(long, default_value_t = 3)]
        nodes: u8,
    },
    /// Remove it with all that it consists of.
    Down,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("foz-e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let progress = Progress::start();
    let folders = Folders::find()?;
    let named = |default: &'static str| arguments.cluster.as_deref().unwrap_or(default);
    let name = named("tryout");
    match &arguments.action {
        Action::Up => tryout::up(&folders, name, &progress),
        Action::Down => [name, suite::STORIES_CLUSTER]
            .into_iter()
            .try_for_each(|name| {
                let what = format!("remove the cluster {name}");
                progress.step(&what, || cluster::down(&folders, name))
            }),
        Action::Test => suite::test(&folders, &progress),
        Action::Soak => suite::soak(&folders, &progress),
        Action::Stories { filter } => {
            suite::stories(&folders, named(suite::STORIES_CLUSTER), filter, &progress)
        }
        Action::Inside { command } => {
            let programs = Programs::build(&folders, &progress)?;
            let cluster = cluster::find(&folders, &programs, name)?
                .with_context(|| format!("the cluster {name} does not run"))?;
            cluster
                .client(&command[0])
                .args(&command[1..])
                .limit(INSIDE_LIMIT)
                .run_shown()
        }
        Action::Prerequisites => prerequisites::ensure(&folders, For::Stories, &progress),
        Action::Cluster(ClusterAction::Up { nodes }) => {
            prerequisites::ensure(&folders, For::Cluster, &progress)?;
            let programs = Programs::build(&folders, &progress)?;
            cluster::up(&folders, &programs, name, *nodes, &progress).map(drop)
        }
        Action::Cluster(ClusterAction::Down) => {
            progress.step("remove the cluster", || cluster::down(&folders, name))
        }
        Action::Images => {
            prerequisites::ensure(&folders, For::Cluster, &progress)?;
            let images = Images::build(&folders, &progress)?;
            let programs = Programs::build(&folders, &progress)?;
            match cluster::find(&folders, &programs, name)? {
                Some(cluster) => images.import(&cluster, &progress),
                None => Ok(()),
            }
        }
        Action::Kubeconfig => {
            print_line(&cluster::kubeconfig(&folders, name).display().to_string());
            Ok(())
        }
        Action::Relay { target } => relay::serve(*target),
        Action::Delay { milliseconds } => delay::serve(Duration::from_millis(*milliseconds)),
        Action::ProvisionVolumes {
            kubectl,
            kubeconfig,
            folder,
        } => volumes::serve(&Kubectl::new(kubectl.clone(), kubeconfig.clone()), folder),
    }
}

/// The name becomes part of paths, of a cgroup and of the kubeconfig's context.
fn cluster_name(text: &str) -> Result<String, String> {
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    if (1..=20).contains(&text.len()) && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("a name is 1 to 20 lower-case letters and digits".to_owned())
    }
}

/// Results go to stdout, everything else to stderr.
#[expect(clippy::print_stdout, reason = "this is the program's output")]
fn print_line(text: &str) {
    println!("{text}");
}
