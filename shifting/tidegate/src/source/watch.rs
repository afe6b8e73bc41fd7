//! Tells when a directory changed.

use std::path::Path;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// A change is told when the directory was quiet for this long: editors and `git pull` write
/// several files, and half of a change must not be read as the whole.
const QUIET: Duration = Duration::from_millis(200);
/// A directory that is never quiet is read at least this often.
const PATIENCE: Duration = Duration::from_secs(5);

/// Watches `directory` until the receiver is dropped; each message is one settled change.
///
/// # Errors
/// When the operating system can't watch it.
pub fn watch(directory: &Path) -> Result<mpsc::Receiver<()>, notify::Error> {
    watch_all(&[directory], RecursiveMode::Recursive)
}

/// The same for several directories, without what is below them.
///
/// # Errors
/// When the operating system can't watch one of them.
pub fn watch_flat(directories: &[&Path]) -> Result<mpsc::Receiver<()>, notify::Error> {
    watch_all(directories, RecursiveMode::NonRecursive)
}

fn watch_all(
    directories: &[&Path],
    mode: RecursiveMode,
) -> Result<mpsc::Receiver<()>, notify::Error> {
    let (raw_sender, mut raw) = mpsc::channel::<()>(1);
    let mut watcher =
        notify::recommended_watcher(move |event: Result<notify::Event, notify::Error>| {
            let is_read = matches!(&event, Ok(event) if event.kind.is_access());
            if !is_read {
                // A full channel means that a change is already waiting to be told.
                let _ = raw_sender.try_send(());
            }
        })?;
    for directory in directories {
        watcher.watch(directory, mode)?;
    }
    let (settled, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        // Dropping the watcher would end the watch.
        let _watcher = watcher;
        while raw.recv().await.is_some() {
            let give_up = Instant::now() + PATIENCE;
            while let Ok(Some(())) =
                timeout_at((Instant::now() + QUIET).min(give_up), raw.recv()).await
            {}
            if settled.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}
