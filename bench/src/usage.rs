//! What a process has used, from `/proc` (proc(5)).

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

/// `/proc/PID/stat` counts in these, whatever the kernel's own tick is: USER_HZ is 100 on Linux.
const TICKS_PER_SECOND: u64 = 100;

/// Processor time of all threads so far, in user and in kernel mode.
///
/// # Errors
/// The process has ended.
pub(crate) fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let ticks = ticks_of(&text).with_context(|| format!("{path} is not what proc(5) says"))?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// Memory that is resident now.
///
/// # Errors
/// The process has ended.
pub(crate) fn memory_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    resident_bytes_of(&text).with_context(|| format!("{path} has no VmRSS"))
}

/// Files below `folder` that are open now.
///
/// # Errors
/// The process has ended.
pub(crate) fn open_files(pid: u32, folder: &Path) -> anyhow::Result<usize> {
    let path = format!("/proc/{pid}/fd");
    let entries = std::fs::read_dir(&path).with_context(|| format!("cannot read {path}"))?;
    // One that was closed since is none.
    let files = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    Ok(files.filter(|file| file.starts_with(folder)).count())
}

fn ticks_of(stat: &str) -> Option<u64> {
    // The program's name stands in parentheses and may itself hold spaces and parentheses.
    let (_, after_name) = stat.rsplit_once(')')?;
    // utime and stime are fields 14 and 15; the first after the name is field 3.
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident_bytes_of(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_user_and_system_time() {
        let stat =
            "77 (a (b) c) S 1 77 77 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 5 1 1 18446744";
        assert_eq!(ticks_of(stat), Some(300));
        assert_eq!(ticks_of("77 (cut off) S 1"), None);
        assert_eq!(ticks_of(""), None);
    }

    #[test]
    fn resident_memory_is_in_kibibytes() {
        assert_eq!(
            resident_bytes_of("Name:\tx\nVmRSS:\t   20480 kB\n"),
            Some(20 << 20)
        );
        assert_eq!(resident_bytes_of("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn this_process_uses_something() {
        assert!(memory_bytes(std::process::id()).unwrap() > 0);
        processor_time(std::process::id()).unwrap();
        let folder = std::env::temp_dir().join(format!("open-files-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = std::fs::File::create(folder.join("one")).unwrap();
        assert_eq!(open_files(std::process::id(), &folder).unwrap(), 1);
        drop(file);
        assert_eq!(open_files(std::process::id(), &folder).unwrap(), 0);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
