//! Moves on real files: with a crash before each step, and after anything that a crash may leave.

mod crash;
mod races;
mod rows;
mod unreadable;
mod world;
