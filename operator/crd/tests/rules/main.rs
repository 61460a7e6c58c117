//! What the API server refuses: every rule with the YAML of its folder under `rules/`, edge after edge in
//! [`samples`], and bounds that are plain schema in [`bounds`].

mod bounds;
mod pairs;
mod samples;
mod schemas;
