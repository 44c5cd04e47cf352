//! Retries.

use std::time::Duration;

use tokio::time::sleep;

/// Retries `operation` up to `attempts` times in total with a delay; returns the last result.
pub(super) async fn retry<T, E, F: Future<Output = Result<T, E>>>(
    attempts: u32,
    delay: Duration,
    operation: impl Fn() -> F,
) -> Result<T, E> {
    for _ in 1..attempts {
        if let Ok(value) = operation().await {
            return Ok(value);
        }
        sleep(delay).await;
    }
    operation().await
}
