//! Work that takes long, beside the threads that serve all streams.
//!
//! A request may name 200,000 resources. To read it, to look each of them up and to write the answer
//! takes tens of milliseconds, during which nobody else would be served on the same thread. So that
//! is done on threads of its own, few at a time: who sends large requests waits for others who do.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tonic::Status;

use crate::limits::CORES_PER_LARGE_REQUEST;

/// Where long work is done.
#[derive(Debug)]
pub(super) struct Lane {
    places: Arc<Semaphore>,
}

// === impl Lane ===

impl Lane {
    pub(super) fn new(cores: usize) -> Self {
        let places = (cores / CORES_PER_LARGE_REQUEST).max(1);
        Self {
            places: Arc::new(Semaphore::new(places)),
        }
    }

    /// Does work here if it is long, and at once if it isn't.
    ///
    /// # Errors
    /// If it panics, which ends only its own stream.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        long: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        if !long {
            return Ok(work());
        }
        let failed = |_| Status::internal("a large request could not be worked on");
        let place = self.places.clone().acquire_owned().await;
        // The work goes on if its stream ends meanwhile, and keeps its place.
        let place = place.map_err(|_| Status::unavailable("the control plane is stopping"))?;
        let work = move || {
            let done = work();
            drop(place);
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(failed)
    }
}

#[cfg(test)]
impl Lane {
    /// Takes all places.
    pub(super) async fn fill(&self) -> tokio::sync::SemaphorePermit<'_> {
        let all = u32::try_from(self.places.available_permits()).unwrap();
        self.places.acquire_many(all).await.unwrap()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn long_work_waits_for_its_place_and_nobody_waits_for_it() {
        let lane = Arc::new(Lane::new(1));
        let (release, released) = mpsc::channel::<()>();
        let first = tokio::spawn({
            let lane = lane.clone();
            async move { lane.run(true, move || released.recv().is_ok()).await }
        });
        while lane.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let mut second = Box::pin(lane.run(true, || 2));
        assert!(futures::poll!(&mut second).is_pending());
        // This thread is free, which is the only one that serves.
        assert_eq!(lane.run(false, || 3).await.unwrap(), 3);
        release.send(()).unwrap();
        assert!(first.await.unwrap().unwrap());
        assert_eq!(second.await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_gives_its_place_back() {
        let lane = Lane::new(2);
        let panics = lane.run(true, || panic!("as a test")).await;
        assert_eq!(panics.unwrap_err().code(), tonic::Code::Internal);
        assert_eq!(lane.run(true, || 1).await.unwrap(), 1);
    }
}
