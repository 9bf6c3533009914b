//! The one thread that uses the store, and the queue before it. What the requests are is the
//! business of their own modules.

use std::fmt;

use tokio::sync::{mpsc, oneshot};

use crate::StateError;
use crate::engine::Engine;

/// Requests that wait for the thread at once. Whoever comes later waits to be let in, so the
/// memory has a bound and nobody is refused.
const REQUESTS_WAITING_MAX: usize = 1024;

type Request = Box<dyn FnOnce(&mut Engine) + Send>;

#[derive(Clone)]
pub(crate) struct Writer {
    requests: mpsc::Sender<Request>,
}

impl Writer {
    /// Opens the store on its thread, and waits until it has been.
    pub(crate) fn start<T: Send + 'static>(
        open: impl FnOnce() -> Result<(Engine, T), StateError> + Send + 'static,
    ) -> Result<(Writer, T), StateError> {
        let (requests, mut waiting) = mpsc::channel::<Request>(REQUESTS_WAITING_MAX);
        let (opened, opening) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("gatepost-state".to_owned())
            .spawn(move || {
                let (mut engine, with) = match open() {
                    Ok(opened) => opened,
                    Err(error) => {
                        // Whoever opens it waits for this.
                        let _ = opened.send(Err(error));
                        return;
                    }
                };
                let _ = opened.send(Ok(with));
                while let Some(request) = engine.wait(&mut waiting) {
                    request(&mut engine);
                }
            })
            .map_err(StateError::Thread)?;
        let with = opening.recv().map_err(|_| StateError::Ended)??;
        Ok((Writer { requests }, with))
    }

    /// Runs `request` on the thread. If the caller goes away while it waits to be let in, it never
    /// runs; afterwards it runs whether anybody waits for the answer or not.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut Engine) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let (answer, answered) = oneshot::channel();
        let request: Request = Box::new(move |engine| {
            // Nobody may be waiting any more; what was done stays done.
            let _ = answer.send(request(engine));
        });
        self.requests.send(request).await.map_err(|_| StateError::Ended)?;
        answered.await.map_err(|_| StateError::Ended)?
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}
