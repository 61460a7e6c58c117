mod harness;
mod model;
mod offsets;
mod records;
mod regexes;
mod rules;
mod static_members;
