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

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use foz_e2e::folders::write;

use crate::compressed::{compress, decompress};
use crate::kit::Kit;
use crate::setting::Setting;

use self::asker::Asker;
use self::difference::{
    Answers, differences, read_answers, read_explained, unexplained, write_answers,
};
use self::node::{Node, Product};

const ANSWERS: &str = "answers.txt.zst";
const DIFFERENCES: &str = "differences.tsv";

/// Keeps what Kafka answers.
///
/// # Errors
/// Kafka does not start, or does not answer.
pub(crate) fn record(setting: &Setting) -> Result<()> {
    let _held = setting.hold()?;
    let kit = Kit::prepare(&setting.folders, &setting.progress)?;
    let (kafka, folder) = (Product::Kafka(&kit), folder(setting));
    let asked = (setting.progress).step("ask Apache Kafka", || ask(&kafka, &folder));
    let (answers, compat) = (asked?, setting.folders.repository.join("compat"));
    write(compat.join(ANSWERS), compress(&write_answers(&answers))?)
}

/// Compares what Foz answers with what Kafka did.
///
/// # Errors
/// Foz does not start or does not answer; or answers otherwise, and nothing explains it.
pub(crate) fn compare(setting: &Setting) -> Result<()> {
    let _held = setting.hold()?;
    let broker = setting.broker()?;
    let (folder, compat) = (folder(setting), setting.folders.repository.join("compat"));
    let (foz, progress) = (Product::Foz(&broker), &setting.progress);
    let text = |name: &str| {
        let path = compat.join(name);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let kafka = std::fs::read(compat.join(ANSWERS)).context(ANSWERS)?;
    let kafka = decompress(&kafka).context(ANSWERS)?;
    write(folder.join("kafka.txt"), &kafka)?;
    let kafka = read_answers(&kafka).context(ANSWERS)?;
    let explained = read_explained(&text(DIFFERENCES)?).context(DIFFERENCES)?;
    let foz = progress.step("ask Foz", || ask(&foz, &folder))?;
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

/// Where both answers are left, and what the node writes.
fn folder(setting: &Setting) -> PathBuf {
    setting.place.join("answers")
}

fn ask(product: &Product<'_>, folder: &Path) -> Result<Answers> {
    let node = Node::start(product, &folder.join("node"))?;
    let mut asker = Asker::new(node.address());
    let asked = script::run(&mut asker);
    let answers = asker.into_answers();
    if let Err(error) = asked {
        let unfinished = folder.join("unfinished.txt");
        write(&unfinished, write_answers(&answers))?;
        return Err(error.context(format!("the answers so far: {}", unfinished.display())));
    }
    Ok(answers)
}
