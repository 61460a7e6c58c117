/// What this thread has cost so far, for tests of what things cost: others on the machine do not count.
pub(crate) fn processor_ms() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
}
