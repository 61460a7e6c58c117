//! Other programs, run to their end within a time limit.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

/// For programs that answer in milliseconds when all is well.
pub const QUICK: Duration = Duration::from_secs(30);

/// One run of another program. Its output is captured unless [`External::run_shown`] is used.
#[derive(Debug)]
pub struct External {
    command: Command,
    input: Input,
    limit: Duration,
}

/// What a program reads.
#[derive(Debug)]
enum Input {
    Nothing,
    Bytes(Vec<u8>),
    Pipe(PipeReader),
}

/// What a program that ended wrote.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text without the line end at its end.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// Standard error as text without the line end at its end.
    #[must_use]
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim_end().to_owned()
    }
}

impl External {
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>) -> External {
        External {
            command: Command::new(program),
            input: Input::Nothing,
            limit: QUICK,
        }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> External {
        self.command.arg(arg);
        self
    }

    #[must_use]
    pub fn args<I, S>(mut self, args: I) -> External
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.command.args(args);
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> External {
        self.command.env(name, value);
        self
    }

    #[must_use]
    pub fn in_folder(mut self, folder: impl AsRef<Path>) -> External {
        self.command.current_dir(folder);
        self
    }

    /// Bytes for its standard input; without this it reads an empty one.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> External {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Its standard input is what somebody writes meanwhile, and ends when the other end of the pipe is dropped.
    #[must_use]
    pub fn stdin_pipe(mut self, pipe: PipeReader) -> External {
        self.input = Input::Pipe(pipe);
        self
    }

    /// How long it may take, [`QUICK`] when not said. It is killed after that.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> External {
        self.limit = limit;
        self
    }

    /// Runs it; an exit status other than 0 is an error that quotes the end of its output.
    pub fn run(self) -> Result<Output> {
        let line = self.command_line();
        let output = self.run_any()?;
        if !output.status.success() {
            bail!(
                "{line}\nended with {}:\n{}",
                output.status,
                last_words(&output)
            );
        }
        Ok(output)
    }

    /// Runs it; any exit status is fine. Fails when it cannot be started or takes too long.
    pub fn run_any(mut self) -> Result<Output> {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let line = self.command_line();
        let mut child = self.spawn(&line)?;
        let stdout = Drain::of(child.stdout.take());
        let stderr = Drain::of(child.stderr.take());
        match await_end(&mut child, self.limit)? {
            Some(status) => Ok(Output {
                status,
                stdout: stdout.into_bytes(),
                stderr: stderr.into_bytes(),
            }),
            None => {
                let status = kill(&mut child)?;
                let output = Output {
                    status,
                    stdout: stdout.so_far(),
                    stderr: stderr.so_far(),
                };
                let words = last_words(&output);
                bail!(
                    "{line}\nwas stopped after {} s:\n{words}",
                    self.limit.as_secs_f64()
                )
            }
        }
    }

    /// Runs it with its output shown as it comes; an exit status other than 0 is an error.
    pub fn run_shown(mut self) -> Result<()> {
        let line = self.command_line();
        let mut child = self.spawn(&line)?;
        match await_end(&mut child, self.limit)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("{line}\nended with {status}"),
            None => {
                kill(&mut child)?;
                bail!("{line}\nwas stopped after {} s", self.limit.as_secs())
            }
        }
    }

    /// Runs it and looks at each line of its standard output as it comes, until `look` has found what it looks for. It is
    /// killed then, and when the limit is over. That it ends before is an error.
    pub fn run_until<T>(mut self, mut look: impl FnMut(&str) -> Result<Option<T>>) -> Result<T> {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let line = self.command_line();
        let deadline = Instant::now() + self.limit;
        let mut child = self.spawn(&line)?;
        let stderr = Drain::of(child.stderr.take());
        let lines = lines_of(child.stdout.take());
        let found = loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(said) => match look(&said) {
                    Ok(None) => {}
                    Ok(Some(found)) => break Ok(found),
                    Err(error) => break Err(error),
                },
                Err(RecvTimeoutError::Timeout) => {
                    break Err(anyhow!("was stopped after {} s", self.limit.as_secs_f64()));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let words = String::from_utf8_lossy(&stderr.so_far()).into_owned();
                    break Err(anyhow!("ended:\n{}", last_lines(words.trim(), 40)));
                }
            }
        };
        kill(&mut child)?;
        found.context(line)
    }

    fn spawn(&mut self, line: &str) -> Result<Child> {
        let mut bytes = None;
        let stdin = match std::mem::replace(&mut self.input, Input::Nothing) {
            Input::Nothing => Stdio::null(),
            Input::Bytes(given) => {
                bytes = Some(given);
                Stdio::piped()
            }
            Input::Pipe(pipe) => pipe.into(),
        };
        self.command.stdin(stdin);
        let mut child = self
            .command
            .spawn()
            .with_context(|| format!("cannot start {line}"))?;
        if let (Some(bytes), Some(mut pipe)) = (bytes, child.stdin.take()) {
            // On a thread: the program may write before it has read everything. A program that ends
            // without reading its input shows in its exit status, not here.
            std::thread::spawn(move || pipe.write_all(&bytes));
        }
        Ok(child)
    }

    fn command_line(&self) -> String {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
        shortened(&words.join(" "))
    }
}

/// A person reads it: hundreds of file names tell nothing more.
fn shortened(line: &str) -> String {
    const CHARACTERS_MAX: usize = 1_000;
    match line.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}

/// Whether a program of this name is on the PATH.
#[must_use]
pub fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/sbin:/usr/bin"));
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn await_end(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn kill(child: &mut Child) -> Result<ExitStatus> {
    child.kill()?;
    Ok(child.wait()?)
}

/// Reads a pipe on a thread of its own, so that a program never blocks on a full one.
struct Drain {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Drain {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Drain {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let reader = std::thread::spawn(move || {
            let Some(mut pipe) = pipe else { return };
            let mut chunk = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = pipe.read(&mut chunk) {
                locked(&sink).extend_from_slice(&chunk[..length]);
            }
        });
        Drain { bytes, reader }
    }

    fn into_bytes(self) -> Vec<u8> {
        // A reader that panicked has still kept what it read.
        let _ = self.reader.join();
        std::mem::take(&mut *locked(&self.bytes))
    }

    /// Does not wait: a killed program's children may hold the pipe open.
    fn so_far(&self) -> Vec<u8> {
        std::mem::take(&mut *locked(&self.bytes))
    }
}

/// Read on a thread of its own, which ends with the pipe or with whoever takes the lines.
fn lines_of(pipe: Option<ChildStdout>) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let pipe = pipe.map(BufReader::new).into_iter();
        for line in pipe.flat_map(BufRead::lines).map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn locked(bytes: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    bytes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn last_words(output: &Output) -> String {
    let text = format!("{}\n{}", output.text(), output.error_text());
    last_lines(text.trim(), 40)
}

/// The last `count` lines of a text.
#[must_use]
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_input_pass_through() {
        let output = External::new("cat").stdin("a\nb\n").run().unwrap();
        assert_eq!(output.stdout, b"a\nb\n");
        assert_eq!(output.text(), "a\nb");
    }

    #[test]
    fn an_input_that_is_written_meanwhile_ends_with_its_writer() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let program = std::thread::spawn(|| External::new("cat").stdin_pipe(reader).run());
        writer.write_all(b"a\n").unwrap();
        writer.write_all(b"b\n").unwrap();
        drop(writer);
        assert_eq!(program.join().unwrap().unwrap().text(), "a\nb");
    }

    #[test]
    fn lines_are_looked_at_as_they_come_until_one_is_it() {
        let begun = Instant::now();
        let program =
            || External::new("sh").args(["-c", "echo a; echo b; echo no >&2; exec sleep 60"]);
        let find =
            |wanted: &'static str| move |line: &str| Ok((line == wanted).then(|| line.to_owned()));
        assert_eq!(program().run_until(find("b")).unwrap(), "b");
        let impatient = program().limit(Duration::from_millis(300));
        let error = impatient.run_until(find("c")).unwrap_err();
        assert!(format!("{error:#}").contains("stopped after"), "{error:#}");
        assert!(begun.elapsed() < Duration::from_secs(10));
        let short = External::new("sh").args(["-c", "echo a; echo no >&2"]);
        let error = short.run_until(find("c")).unwrap_err();
        assert!(format!("{error:#}").contains("ended"), "{error:#}");
    }

    #[test]
    fn a_failure_quotes_the_program_and_its_last_words() {
        let error = External::new("sh")
            .args(["-c", "echo no >&2; exit 3"])
            .run()
            .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("sh -c") && text.contains("exit status: 3") && text.contains("no"));
    }

    #[test]
    fn what_takes_too_long_is_killed() {
        let begun = Instant::now();
        let program = External::new("sh").args(["-c", "echo begun; exec sleep 60"]);
        let error = program.limit(Duration::from_millis(300)).run().unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(error.to_string().contains("begun"), "{error}");
    }

    #[test]
    fn an_unread_input_does_not_hang() {
        External::new("true")
            .stdin(vec![b'x'; 1 << 20])
            .run()
            .unwrap();
    }

    #[test]
    fn the_last_lines_of_a_short_text_are_all_of_it() {
        assert_eq!(last_lines("a\nb\nc", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
        assert_eq!(last_lines("", 2), "");
    }
}
