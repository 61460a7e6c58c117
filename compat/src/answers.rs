//! The same requests to Apache Kafka and to Foz, and their answers compared.
//!
//! `script` has the requests. What Kafka answered is kept in `answers.txt.zst`, so that a run needs Foz only. Where Foz
//! answers otherwise, `differences.tsv` says why; a row that speaks of more or fewer differences than it counts is an
//! error, so that none hides behind another.

mod alike;
mod asker;
mod difference;
mod node;
mod script;
mod shown;

use std::path::Path;

use anyhow::{Context, Result, bail};
use foz_e2e::folders::write;
use foz_e2e::progress::Progress;

use crate::compressed::{compress, decompress};

use self::asker::Asker;
use self::difference::{
    Answers, differences, read_answers, read_explained, unexplained, write_answers,
};
use self::node::Node;
pub(crate) use self::node::Product;

const ANSWERS: &str = "answers.txt.zst";
const DIFFERENCES: &str = "differences.tsv";

/// Keeps what Kafka answers.
///
/// # Errors
/// Kafka does not start, or does not answer.
pub(crate) fn record(
    kafka: &Product<'_>,
    folder: &Path,
    compat: &Path,
    progress: &Progress,
) -> Result<()> {
    let answers = progress.step("ask Apache Kafka", || ask(kafka, folder))?;
    write(compat.join(ANSWERS), compress(&write_answers(&answers))?)
}

/// Compares what Foz answers with what Kafka did.
///
/// # Errors
/// Foz does not start or does not answer; or answers otherwise, and nothing explains it.
pub(crate) fn compare(
    foz: &Product<'_>,
    folder: &Path,
    compat: &Path,
    progress: &Progress,
) -> Result<()> {
    let text = |name: &str| {
        let path = compat.join(name);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let kafka = std::fs::read(compat.join(ANSWERS)).context(ANSWERS)?;
    let kafka = decompress(&kafka).context(ANSWERS)?;
    write(folder.join("kafka.txt"), &kafka)?;
    let kafka = read_answers(&kafka).context(ANSWERS)?;
    let explained = read_explained(&text(DIFFERENCES)?).context(DIFFERENCES)?;
    let foz = progress.step("ask Foz", || ask(foz, folder))?;
    write(folder.join("foz.txt"), write_answers(&foz))?;
    let differences = differences(&kafka, &foz);
    let problems = unexplained(&differences, &explained);
    progress.line(&format!(
        "{} answers compared, {} differences are explained",
        kafka.len(),
        differences.len()
    ));
    if problems.is_empty() {
        return Ok(());
    }
    bail!(
        "{} are not as {DIFFERENCES} says (request, field, Kafka, Foz):\n{}\nall answers, Kafka's too: {}",
        problems.len(),
        problems.join("\n"),
        folder.display()
    )
}

fn ask(product: &Product<'_>, folder: &Path) -> Result<Answers> {
    let node = Node::start(product, &folder.join("node"))?;
    let mut asker = Asker::new(node.address());
    script::run(&mut asker)?;
    Ok(asker.into_answers())
}
