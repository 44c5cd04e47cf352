//! Tells the crate where the programs of this build are.

fn main() {
    // target/<profile>/build/<package>/out
    let out = std::env::var("OUT_DIR").unwrap_or_default();
    let programs = std::path::Path::new(&out).ancestors().nth(3);
    let programs = programs.unwrap_or(std::path::Path::new("."));
    println!("cargo::rustc-env=PROGRAMS={}", programs.display());
    println!("cargo::rerun-if-changed=build.rs");
}
