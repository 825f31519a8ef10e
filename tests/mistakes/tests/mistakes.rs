//! The common mistakes of a first program, and what the compiler says to them.

use std::process::Command;

/// The compiler whose wording the expected messages have.
const RUSTC: &str = "rustc 1.95";

#[test]
fn common_mistakes_get_errors_that_say_what_to_do() {
    let version = Command::new("rustc").arg("--version").output().expect("rustc");
    if !String::from_utf8_lossy(&version.stdout).starts_with(RUSTC) {
        eprintln!("skipped: the expected messages are those of {RUSTC}");
        return;
    }
    trybuild::TestCases::new().compile_fail("cases/*.rs");
}
