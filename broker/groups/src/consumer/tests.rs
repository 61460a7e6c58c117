mod harness;
mod model;
mod offsets;
mod records;
mod regexes;
mod rules;
mod sizes;
mod static_members;
