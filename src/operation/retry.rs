//! Asking again what cannot be had yet.

use std::time::Duration;

use tokio::time::sleep;

/// Asks until it works, so many times at most, with a pause between. What it last came to.
pub(super) async fn retry<T, E, F: Future<Output = Result<T, E>>>(
    attempts: u32,
    pause: Duration,
    asked: impl Fn() -> F,
) -> Result<T, E> {
    for _ in 1..attempts {
        if let Ok(had) = asked().await {
            return Ok(had);
        }
        sleep(pause).await;
    }
    asked().await
}
