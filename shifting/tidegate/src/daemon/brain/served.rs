//! What is served now, kept beside the journal: if the journal can't be read one day, sidecars
//! that come are served what was served last, instead of nothing.
//!
//! It is no second journal: no decision is ever taken from it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidegate_engine::compile::Splits;
use tidegate_engine::mesh::{Mesh, Settings};

/// The file in the data directory.
const NAME: &str = "served.json";

/// The mesh in force and how every service's traffic is split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Served {
    pub(crate) mesh: Mesh,
    pub(crate) splits: Splits,
    /// Of fleets whose sidecars are not configured as the mesh declares.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) settings: BTreeMap<String, Settings>,
}

/// The file that keeps it.
#[derive(Debug)]
pub(crate) struct ServedFile {
    path: PathBuf,
    last: Option<Served>,
}

// === impl ServedFile ===

impl ServedFile {
    pub(crate) fn in_directory(data: &Path) -> Self {
        Self {
            path: data.join(NAME),
            last: None,
        }
    }

    /// Replaces the file's content, all of it or nothing. Unchanged content is not written again.
    pub(super) fn keep(&mut self, served: Served) -> std::io::Result<()> {
        if self.last.as_ref() == Some(&served) {
            return Ok(());
        }
        let text = serde_json::to_vec(&served)?;
        let building = self.path.with_extension("json.new");
        let mut file = File::create(&building)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&building, &self.path)?;
        self.last = Some(served);
        Ok(())
    }

    /// What was served last; `None` when nothing ever was.
    pub(crate) fn read(&self) -> Result<Option<Served>, String> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(format!("{}: {cause}", self.path.display())),
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|cause| format!("{}: {cause}", self.path.display()))
    }
}
