//! Texts that are kept compressed: they are long, and their lines are much alike.

use anyhow::{Context, Result};

const LEVEL: i32 = 19;

/// The file of a text.
///
/// # Errors
/// zstd fails.
pub(crate) fn compress(text: &str) -> Result<Vec<u8>> {
    zstd::encode_all(text.as_bytes(), LEVEL).context("compressing")
}

/// The text of a file.
///
/// # Errors
/// It is not what [`compress`] makes.
pub(crate) fn decompress(file: &[u8]) -> Result<String> {
    let text = zstd::decode_all(file).context("decompressing")?;
    String::from_utf8(text).context("decompressing")
}
