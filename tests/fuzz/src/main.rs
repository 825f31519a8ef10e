//! The program that `scripts/fuzz` runs: libFuzzer with the target that `FUZZ_TARGET` names.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    static TARGET: std::sync::LazyLock<fn(&[u8])> = std::sync::LazyLock::new(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        match realtime_fuzz::TARGETS.iter().find(|target| target.name == name) {
            Some(target) => target.run,
            None => panic!("FUZZ_TARGET names no target: {name:?}"),
        }
    });
    (*TARGET)(data);
});

#[cfg(not(fuzzing))]
fn main() {
    realtime_fuzz::TARGETS.iter().for_each(|target| println!("{}", target.name));
}
