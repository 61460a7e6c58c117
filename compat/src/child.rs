//! Nothing outlives a run, even one that was killed.

use std::ffi::OsStr;

use foz_e2e::external::External;

/// The program and first words of a command whose process the kernel kills when the thread that starts it is gone.
pub(crate) const DIES_WITH_US: [&str; 4] = ["setpriv", "--pdeathsig", "KILL", "--"];

pub(crate) fn dies_with_us(program: impl AsRef<OsStr>) -> External {
    let [setpriv, words @ ..] = DIES_WITH_US;
    External::new(setpriv).args(words).arg(program)
}
