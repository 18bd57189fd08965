//! What `npm start` shows, to its end: it fails by itself if an answer, a frame or the machine's state is missing.

use std::path::PathBuf;
use std::process::Command;

use rstest::rstest;

#[rstest]
#[case::native("native")]
#[case::skb("skb")]
fn the_demo_ends_well(#[case] mode: &str) {
    let output = Command::new(demo()).args(["--mode", mode, "--seconds", "1"]).output().expect("the demo starts");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{told}{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("is as before") && told.contains("answers came back"), "{told}");
}

#[test]
fn the_demo_refuses_what_it_does_not_know() {
    let output = Command::new(demo()).arg("--mood").output().expect("the demo starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`--mood` is no option"));
}

/// Cargo builds examples with the tests, into a folder beside theirs; with `--test` it leaves them as they were.
fn demo() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    test.ancestors().nth(2).expect("target/<triple>/release").join("examples/demo")
}
