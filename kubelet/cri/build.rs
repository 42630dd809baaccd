//! Compiles the CRI messages and clients; protox reads the .proto, so no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/runtime.v1.proto");
    let files = protox::compile(["proto/runtime.v1.proto"], ["proto"])?;
    tonic_prost_build::configure().build_server(false).btree_map(".").compile_fds(files)?;
    Ok(())
}
