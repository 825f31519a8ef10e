use std::time::Duration;

/// The longest a whole test may take.
const TEST: Duration = Duration::from_secs(60);
/// The longest one wait may take; generous, because tests run beside each other.
pub(crate) const WAIT: Duration = Duration::from_secs(15);

/// Runs one test of a suite, on a runtime of its own with two threads.
///
/// # Panics
/// When the test fails or takes longer than a minute.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    runtime.block_on(async {
        tokio::time::timeout(TEST, test).await.expect("the test ends in time");
    });
    runtime.shutdown_background();
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + WAIT;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits for a future.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT, future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}
