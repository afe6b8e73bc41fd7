//! Waits for conditions, never for time alone.

use std::time::Duration;

use tokio::time::Instant;

use super::error::DemoError;

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(50);

/// Looks until `probe` gives a value. `Ok(Err(text))` is "not yet", with what was seen.
///
/// # Errors
/// What `probe` fails with, or [`DemoError::Overdue`] with what was seen last.
pub(super) async fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<Result<T, String>, DemoError>,
) -> Result<T, DemoError> {
    let deadline = Instant::now() + limit;
    loop {
        let seen = match probe().await? {
            Ok(value) => return Ok(value),
            Err(seen) => seen,
        };
        if Instant::now() >= deadline {
            return Err(DemoError::Overdue {
                what: what.to_owned(),
                seconds: limit.as_secs(),
                last: seen,
                tail: String::new(),
            });
        }
        tokio::time::sleep(EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_never_comes_ends_with_what_was_seen_last() {
        let mut looks = 0;
        let error = until::<()>("the tide", Duration::from_secs(1), async || {
            looks += 1;
            Ok(Err("low water".to_owned()))
        })
        .await
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the tide did not happen within 1 s (low water)"
        );
        assert!(looks > 1);
    }
}
