use std::time::Duration;

/// The longest time that a whole test may take.
const TEST: Duration = Duration::from_secs(60);

/// Runs one test of a suite, on a runtime of its own with two threads.
///
/// # Panics
/// If the test fails or takes longer than a minute.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    runtime.block_on(async {
        tokio::time::timeout(TEST, test).await.expect("expected the test to end within a minute");
    });
    runtime.shutdown_background();
}
