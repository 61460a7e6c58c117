//! Writes the CustomResourceDefinitions into the folder named by the only argument (default: `crds`).

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "crds".into()));
    for (name, yaml) in foz_crd::rendered()? {
        let path = folder.join(name);
        std::fs::write(&path, yaml).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}
