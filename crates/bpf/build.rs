//! Compiles the objects of `bpf/` to the objects that the crate carries: its users need neither clang nor kernel
//! headers.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The sources of the objects, below `bpf/`. `uplink.bpf.c` and the guards are parts of `datapath.bpf.c`,
/// which `explain.bpf.c` is once more.
const OBJECTS: [&str; 11] = [
    "datapath",
    "explain",
    "port",
    "ring",
    "umem",
    "inject",
    "link_guard",
    "testbed/draw",
    "testbed/generate",
    "testbed/sink",
    "testbed/vlan",
];

fn main() {
    let sources =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bpf").canonicalize().expect("bpf/ lies beside crates/");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");

    println!("cargo::rerun-if-changed={}", sources.display());
    println!("cargo::rerun-if-env-changed=CLANG");
    println!("cargo::rerun-if-env-changed=LLVM_STRIP");
    for object in OBJECTS {
        let source = format!("{object}.bpf.c");
        let object = out.join(Path::new(object).with_extension("bpf.o").file_name().expect("a source has a name"));
        compile(&sources, &architecture, &source, &object);
        strip(&object);
    }
    describe_contract(&sources, &architecture, &out.join("contract_header.rs"));
}

/// What the programs' header says, for the test that compares `contract.rs` with it. Not in the test itself, where the
/// target would need bindgen and all below it, optimized.
fn describe_contract(sources: &Path, architecture: &str, to: &Path) {
    bindgen::Builder::default()
        .header(sources.join("include/xsknet/contract.h").to_str().expect("a path of the sources"))
        .clang_arg(format!("-I/usr/include/{architecture}-linux-gnu"))
        .allowlist_item("[Xx][Ss][Kk][Nn][Ee][Tt]_.*")
        .prepend_enum_name(false)
        .generate()
        .expect("bindgen reads the contract")
        .write_to_file(to)
        .expect("OUT_DIR can be written");
}

fn compile(sources: &Path, architecture: &str, source: &str, object: &Path) {
    run(
        "CLANG",
        "clang",
        Command::new(tool("CLANG", "clang"))
            .current_dir(sources)
            .args(["-g", "-O2", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror"])
            // BTF keeps file names for the verifier's messages; they shall not depend on where this was built.
            .arg(format!("-ffile-prefix-map={}=bpf", sources.display()))
            // <asm/types.h> lies here on Debian; clang looks for it nowhere when the target is bpf.
            .arg(format!("-I/usr/include/{architecture}-linux-gnu"))
            .args(["-I", "include", "-c", source, "-o"])
            .arg(object),
    );
}

/// Drops DWARF and keeps BTF, which the loader needs.
fn strip(object: &Path) {
    run("LLVM_STRIP", "llvm-strip", Command::new(tool("LLVM_STRIP", "llvm-strip")).arg("-g").arg(object));
}

fn tool(variable: &str, default: &str) -> String {
    env::var(variable).unwrap_or_else(|_| default.to_owned())
}

fn run(variable: &str, name: &str, command: &mut Command) {
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!(
            "{name} could not build the BPF programs ({status}); a missing header is in Debian's linux-libc-dev or \
             libbpf-dev"
        ),
        Err(cause) => panic!(
            "building the BPF programs needs {name}, which could not be run ({cause}): install it \
             (Debian: apt-get install clang llvm libbpf-dev linux-libc-dev) or name it in ${variable}"
        ),
    }
}
