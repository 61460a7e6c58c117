//! The program: what it prints and how it exits.

use std::path::PathBuf;
use std::process::{Command, Output};

const TRUE: &str = r#"{"send":{"t_us":1,"client":1,"topic":"t","partition":0,"values":[0,1]}}
{"ack":{"t_us":5,"client":1,"topic":"t","partition":0,"values":[0,1],"offsets":[0,1]}}
{"final_read":{"t_us":9,"topic":"t","partition":0,"begin_offset":0,"end_offset":2,"records":{"offsets":[0,1],"values":[0,1]}}}
"#;

/// A poll of another client, between the lines of the first file.
const PHANTOM: &str = r#"{"poll":{"t_us":6,"client":2,"topic":"t","partition":0,"records":{"offsets":[2],"values":[77]}}}
"#;

fn judge(test: &str, files: &[&str], options: &[&str]) -> Output {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let paths = files.iter().enumerate().map(|(number, text)| {
        let path = folder.join(format!("{test}-{number}.jsonl"));
        std::fs::write(&path, text).expect("the folder for tests can be written");
        path
    });
    Command::new(env!("CARGO_BIN_EXE_foz-judge"))
        .args(options)
        .args(paths)
        .output()
        .expect("foz-judge starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_true_history_passes() {
    let output = judge("true", &[TRUE], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("PASSED"));
}

#[test]
fn an_anomaly_is_shown_with_the_line_that_proves_it() {
    let output = judge("phantom", &[TRUE, PHANTOM], &[]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("phantom t-0 offset 2 value 77: nobody sent this value (events [3])"),
        "{text}"
    );
    assert!(
        text.contains(r#"phantom-1.jsonl:1 {"poll":{"t_us":6,"#),
        "{text}"
    );
}

#[test]
fn the_report_as_json() {
    let output = judge("json", &[TRUE, PHANTOM], &["--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["anomaly_counts"]["phantom"], 1);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_cut_off_last_line_is_left_out_and_any_other_refused() {
    let cut = format!("{TRUE}{}", &PHANTOM[..40]);
    let output = judge("cut", &[&cut, PHANTOM], &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("cut off"), "{}", text(&output));
    assert!(
        text(&output).contains(r#"cut-1.jsonl:1 {"poll""#),
        "{}",
        text(&output)
    );

    let output = judge("broken", &[&format!("{{\n{TRUE}")], &[]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(
        text(&output).contains("broken-0.jsonl, line 1"),
        "{}",
        text(&output)
    );
    assert_eq!(judge("none", &[], &[]).status.code(), Some(2));
}
