//! Compiles the controllers' own contract with protox, so that no protoc has to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const FILE: &str = "foz/quorum/v1/quorum.proto";
    println!("cargo::rerun-if-changed=proto/{FILE}");
    let descriptors = protox::compile([FILE], ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
