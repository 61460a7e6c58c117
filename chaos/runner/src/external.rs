//! Other programs that answer in milliseconds.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Runs a program to its end and returns what it printed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} {} ended with {}: {}",
            arguments.join(" "),
            output.status,
            complaint(&output)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The same, with something to read. The input must fit into a pipe.
pub(crate) fn run_with_input(program: &str, arguments: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let mut pipe = child.stdin.take().context("stdin is piped")?;
    pipe.write_all(input.as_bytes())?;
    drop(pipe);
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{program} {} ended with {}: {}",
        arguments.join(" "),
        output.status,
        complaint(&output)
    );
    Ok(())
}

/// What a program that failed says of it. Maven says it on its standard output, and no more than colours on the other.
fn complaint(output: &Output) -> String {
    let [errors, printed] = [&output.stderr, &output.stdout].map(|it| {
        let text = String::from_utf8_lossy(it).replace("\u{1b}[0m", "");
        text.trim().to_owned()
    });
    if errors.is_empty() { printed } else { errors }
}

/// Says which of these programs are not on the PATH, and which Debian package brings each.
pub(crate) fn require(programs: &[(&str, &str)]) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let missing: Vec<String> = programs
        .iter()
        .filter(|(program, _)| !there(program))
        .map(|(program, package)| format!("{program} (package {package})"))
        .collect();
    ensure!(
        missing.is_empty(),
        "missing programs: {}",
        missing.join(", ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_complains_of_is_told_wherever_it_says_it() {
        let failing = |script: &str| {
            run("sh", &["-c", script])
                .expect_err("it fails")
                .to_string()
        };
        assert!(failing("echo not found >&2; exit 1").ends_with("exit status: 1: not found"));
        let maven = r"echo '[ERROR] no such jar'; printf '\033[0m\033[0m' >&2; exit 1";
        assert!(failing(maven).ends_with("exit status: 1: [ERROR] no such jar"));
    }
}
