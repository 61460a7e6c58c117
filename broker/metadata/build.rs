//! Compiles the records with protox, so that no protoc has to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = "foz/metadata/record.proto";
    println!("cargo::rerun-if-changed=proto/{file}");
    let descriptors = protox::compile([file], ["proto"])?;
    prost_build::Config::new()
        .bytes(["."])
        .compile_fds(descriptors)?;
    Ok(())
}
