//! Jars from Maven.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use foz_e2e::external::External;

const LIMIT: Duration = Duration::from_secs(10 * 60);

/// Has Maven copy the jars that the `pom.xml` of a folder names.
///
/// # Errors
/// Maven fails; with what it printed.
pub(crate) fn copy_jars(pom_folder: &Path, arguments: &[&str], into: &Path) -> Result<()> {
    External::new("mvn")
        .args(["--quiet", "--batch-mode"])
        .arg("org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies")
        .arg("-DincludeScope=runtime")
        .args(arguments)
        .arg(format!("-DoutputDirectory={}", into.display()))
        .in_folder(pom_folder)
        .limit(LIMIT)
        .run()
        .map(drop)
}
