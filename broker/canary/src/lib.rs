//! Bugs put in on purpose, to see whether the tests that look for bugs would find them.
//!
//! Each [`Canary`] is one `if sings(…)` at the place where the bug would be made. The chaos runner
//! (`foz-chaos canaries`) runs a broker with one of them after the other, with the same seed and the same
//! faults for all, and fails when the judge has nothing to say.
//!
//! * Without the feature `canaries` there is none: [`sings`] is a constant, and what asks it costs nothing.
//! * The feature cannot be compiled with optimisation, so it is in no release and in no image.
//! * With the feature, one canary sings in a process, the one that [`choose`] was given at the start; with none
//!   given the broker is the same as without the feature.
//!
//! Start reading at `canary.rs`, which has the list.

mod canary;
#[cfg(not(feature = "canaries"))]
mod silent;
#[cfg(feature = "canaries")]
mod singing;

pub use canary::{Canary, UnknownCanary};
#[cfg(not(feature = "canaries"))]
pub use silent::sings;
#[cfg(feature = "canaries")]
pub use singing::{choose, sings};

/// The variable of the environment that names a canary, where there are any.
pub const VARIABLE: &str = "FOZ_CANARY";

#[cfg(all(feature = "canaries", not(debug_assertions)))]
compile_error!("canaries are bugs: they are not built with optimisation");
