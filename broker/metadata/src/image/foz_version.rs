//! The feature whose level says which records may be in the metadata.

/// Its name.
pub const FOZ_VERSION_FEATURE: &str = "foz.version";
/// The level of a new cluster.
pub const FOZ_VERSION: i32 = 1;
/// The highest level that this program can read.
pub const FOZ_VERSION_MAX: i32 = 1;

/// Tests of this crate stand for later versions, too.
const READABLE_MAX: i32 = if cfg!(test) { 9 } else { FOZ_VERSION_MAX };

/// Whether this program can read what may be written once the level of the feature is finalised. Not only records of
/// kinds that it does not know may follow: those that it knows may mean something else.
pub(super) fn check_readable(feature: &str, level: i32) -> Result<(), String> {
    if feature == FOZ_VERSION_FEATURE && level > READABLE_MAX {
        return Err(format!(
            "{feature} {level} is finalised, and this version knows up to {READABLE_MAX}: run a newer one"
        ));
    }
    Ok(())
}
