//! What is done to the files of a node that is down.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use foz_protocol::batch::BatchHeader;

use crate::external::run;
use crate::seed::Choices;

/// Kafka's, and Foz's: everything below these offsets is flushed.
const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const META_PROPERTIES: &str = "meta.properties";
/// Foz takes another value than the kernel's own for a loss of power.
const BOOT_ID_KEY: &str = "foz.boot.id";
/// The metadata that a broker of Kafka follows is no data of clients.
const KAFKA_METADATA: &str = "__cluster_metadata";

/// Cuts the newest segment of each partition somewhere above what is known to be flushed, also in the
/// middle of a batch, and changes the boot id. Says how much went.
pub(super) fn lose_unflushed(data: &Path, pick: u64) -> Result<String> {
    let mut choices = Choices::of(pick);
    let points = fs::read_to_string(data.join(RECOVERY_POINTS)).unwrap_or_default();
    let (mut lost, mut partitions) = (0, 0);
    for partition in partition_folders(data)? {
        let Some(newest) = segments(&partition)?.pop() else {
            continue;
        };
        let name = partition.file_name().unwrap_or_default().to_string_lossy();
        let bytes = fs::read(&newest)?;
        let unflushed = unflushed(&bytes, recovery_point(&points, &name));
        let cut = choices.between(unflushed.start, unflushed.end);
        if cut < unflushed.end {
            File::options().write(true).open(&newest)?.set_len(cut)?;
            lost += unflushed.end - cut;
            partitions += 1;
        }
    }
    let path = data.join(META_PROPERTIES);
    let properties = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    fs::write(path, with_other_boot(&properties))?;
    Ok(format!(
        "{lost} bytes at the end of {partitions} partitions were lost"
    ))
}

/// Flips up to three bits in one closed segment. Says where.
pub(super) fn flip_bits(data: &Path, pick: u64) -> Result<String> {
    let mut choices = Choices::of(pick);
    let mut closed = Vec::new();
    for partition in partition_folders(data)? {
        let mut segments = segments(&partition)?;
        segments.pop();
        closed.append(&mut segments);
    }
    closed.retain(|path| fs::metadata(path).is_ok_and(|found| found.len() > 0));
    if closed.is_empty() {
        return Ok("no segment is closed yet: nothing was flipped".to_owned());
    }
    let path = &closed[choices.between(0, closed.len() as u64 - 1) as usize];
    let file = File::options().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let mut flipped = Vec::new();
    for _ in 0..choices.between(1, 3) {
        let at = choices.between(0, length - 1);
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        byte[0] ^= 1 << choices.between(0, 7);
        file.write_all_at(&byte, at)?;
        flipped.push(at.to_string());
    }
    let place = path.strip_prefix(data).unwrap_or(path).display();
    Ok(format!(
        "{place}: bits at {} were flipped",
        flipped.join(", ")
    ))
}

/// Puts the volume as it is now aside.
pub(super) fn copy(data: &Path, copy: &Path) -> Result<()> {
    if copy.exists() {
        fs::remove_dir_all(copy)?;
    }
    fs::create_dir_all(copy)?;
    copy_contents(data, copy)
}

/// Brings the copy back, in the very same directory.
pub(super) fn restore(copy: &Path, data: &Path) -> Result<()> {
    empty(data)?;
    copy_contents(copy, data)?;
    Ok(fs::remove_dir_all(copy)?)
}

/// Removes everything in the directory.
pub(super) fn empty(data: &Path) -> Result<()> {
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        if path.is_dir() {
            fs::remove_dir_all(path)?;
        } else {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn copy_contents(from: &Path, to: &Path) -> Result<()> {
    let from = from.join(".").display().to_string();
    run("cp", &["-a", &from, &to.display().to_string()]).map(drop)
}

/// In the order of their names, so that a choice by number is the same again.
fn partition_folders(data: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let index = name.rsplit_once('-').map(|(_, index)| index);
        let numbered = index.is_some_and(|index| index.parse::<u32>().is_ok());
        if numbered && path.is_dir() && !name.starts_with(KAFKA_METADATA) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Oldest first: names are base offsets with leading zeros.
pub(crate) fn segments(partition: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(partition)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Of the partition with this folder's name; 0 when the checkpoint does not have it.
fn recovery_point(checkpoint: &str, folder: &str) -> i64 {
    let (topic, index) = folder.rsplit_once('-').unwrap_or((folder, ""));
    let mut lines = checkpoint.lines().skip(2).map(|line| line.split(' '));
    let found = lines.find_map(|mut words| {
        let matches = words.next() == Some(topic) && words.next() == Some(index);
        matches.then(|| words.next()?.parse().ok()).flatten()
    });
    found.unwrap_or(0)
}

/// Where the batches from this offset on lie in a segment; what follows the last whole batch (space that
/// was only reserved) is not counted.
fn unflushed(segment: &[u8], from_offset: i64) -> Range<u64> {
    let (mut at, mut start) = (0, None);
    while let Ok(header) = BatchHeader::parse(&segment[at..]) {
        let end = at + header.total_length();
        if end > segment.len() {
            break;
        }
        if header.next_offset() > from_offset {
            start.get_or_insert(at);
        }
        at = end;
    }
    start.unwrap_or(at) as u64..at as u64
}

fn with_other_boot(properties: &str) -> String {
    let others = properties
        .lines()
        .filter(|line| !line.starts_with(BOOT_ID_KEY));
    let other = format!("{BOOT_ID_KEY}=00000000-0000-4000-8000-000000000000");
    let mut text: String = others.map(|line| format!("{line}\n")).collect();
    text.push_str(&other);
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with nothing but zeros for records.
    fn batch(base_offset: i64, last_offset_delta: i32, records_bytes: usize) -> Vec<u8> {
        let mut bytes = vec![0; 61 + records_bytes];
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&(49 + records_bytes as i32).to_be_bytes());
        bytes[16] = 2;
        bytes[23..27].copy_from_slice(&last_offset_delta.to_be_bytes());
        bytes
    }

    #[test]
    fn only_what_is_above_the_recovery_point_may_be_cut() {
        let mut segment = [batch(10, 4, 9), batch(15, 0, 39), batch(16, 3, 19)].concat();
        segment.extend([0; 500]);
        assert_eq!(unflushed(&segment, 0), 0..250);
        assert_eq!(unflushed(&segment, 15), 70..250);
        assert_eq!(unflushed(&segment, 16), 170..250);
        assert_eq!(unflushed(&segment, 20), 250..250);
        assert_eq!(unflushed(&[], 3), 0..0);
    }

    #[test]
    fn a_recovery_point_belongs_to_topic_and_index() {
        let checkpoint = "0\n3\nt 1 7\nt-x 1 9\nt 11 8\n";
        assert_eq!(recovery_point(checkpoint, "t-1"), 7);
        assert_eq!(recovery_point(checkpoint, "t-x-1"), 9);
        assert_eq!(recovery_point(checkpoint, "t-2"), 0);
        assert_eq!(recovery_point("", "t-2"), 0);
    }

    #[test]
    fn a_loss_of_power_cuts_and_changes_the_boot() {
        let dir = tempfile::tempdir().unwrap();
        let partition = dir.path().join("t-0");
        fs::create_dir(&partition).unwrap();
        let segment = partition.join("00000000000000000000.log");
        let whole = [batch(0, 0, 9), batch(1, 0, 900)].concat();
        fs::write(&segment, &whole).unwrap();
        fs::write(dir.path().join(RECOVERY_POINTS), "0\n1\nt 0 1\n").unwrap();
        fs::write(
            dir.path().join(META_PROPERTIES),
            "node.id=1\nfoz.boot.id=a\n",
        )
        .unwrap();
        lose_unflushed(dir.path(), 4).unwrap();
        let left = fs::read(&segment).unwrap();
        assert!((70..whole.len()).contains(&left.len()), "{}", left.len());
        let properties = fs::read_to_string(dir.path().join(META_PROPERTIES)).unwrap();
        assert!(
            properties.starts_with("node.id=1\nfoz.boot.id=0000"),
            "{properties}"
        );
    }

    #[test]
    fn bits_flip_in_closed_segments_only() {
        let dir = tempfile::tempdir().unwrap();
        let partition = dir.path().join("t-0");
        fs::create_dir(&partition).unwrap();
        let closed = partition.join("00000000000000000000.log");
        let active = partition.join("00000000000000000100.log");
        fs::write(&closed, [0; 64]).unwrap();
        fs::write(&active, [0; 64]).unwrap();
        flip_bits(dir.path(), 1).unwrap();
        assert_ne!(fs::read(&closed).unwrap(), [0; 64]);
        assert_eq!(fs::read(&active).unwrap(), [0; 64]);
    }

    #[test]
    fn an_older_copy_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (data, aside) = (dir.path().join("data"), dir.path().join("copy"));
        fs::create_dir_all(data.join("t-0")).unwrap();
        fs::write(data.join("t-0/a"), "old").unwrap();
        copy(&data, &aside).unwrap();
        fs::write(data.join("t-0/a"), "new").unwrap();
        fs::write(data.join("t-0/b"), "new").unwrap();
        restore(&aside, &data).unwrap();
        assert_eq!(fs::read_to_string(data.join("t-0/a")).unwrap(), "old");
        assert!(!data.join("t-0/b").exists() && !aside.exists());
    }
}
