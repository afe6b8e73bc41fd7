//! A mesh in a directory: every `*.yaml` and `*.yml` at any depth, hidden ones left out.

use std::path::{Path, PathBuf};

use tidegate_engine::mesh::{self, Diagnostic, Mesh, SourceFile};

/// Largest file that is read, bytes: a mesh of 10,000 hosts is under 1 MiB.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// Most files that are read.
const MAX_FILES: usize = 10_000;
/// Deepest folder that is entered.
const MAX_DEPTH: usize = 16;

/// A directory that declares a mesh.
#[derive(Debug, Clone)]
pub struct MeshDirectory {
    path: PathBuf,
}

/// Why a directory gives no mesh.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file or folder could not be read.
    #[error("cannot read {}: {source}; check that it exists and may be read", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A bound was passed.
    #[error("{}: {what}", path.display())]
    TooMuch {
        /// Where.
        path: PathBuf,
        /// What passed which bound.
        what: String,
    },
    /// A directory without a mesh is more likely a mistake than an empty mesh.
    #[error("no *.yaml file in {}; a mesh declares at least one fleet and one service", .0.display())]
    Empty(PathBuf),
    /// The files were read and declare no valid mesh.
    #[error("{} in the mesh:\n{}", count(.0.len()), join(.0))]
    Invalid(Vec<Diagnostic>),
}

fn count(errors: usize) -> String {
    if errors == 1 {
        "1 error".to_owned()
    } else {
        format!("{errors} errors")
    }
}

fn join(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

// === impl SourceError ===

impl SourceError {
    /// Each error for itself, for programs.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Invalid(diagnostics) => diagnostics.iter().map(ToString::to_string).collect(),
            other => vec![other.to_string()],
        }
    }
}

// === impl MeshDirectory ===

impl MeshDirectory {
    /// Names a directory; nothing is read yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads and checks the whole mesh.
    ///
    /// # Errors
    /// All errors at once, each with its place and what would be right.
    pub fn read(&self) -> Result<Mesh, SourceError> {
        let mut paths = Vec::new();
        collect(&self.path, 0, &mut paths)?;
        // Sorted, so that errors come in the same order on every machine.
        paths.sort();
        if paths.is_empty() {
            return Err(SourceError::Empty(self.path.clone()));
        }
        let files = paths
            .iter()
            .map(|path| self.read_file(path))
            .collect::<Result<Vec<_>, _>>()?;
        mesh::read(&files).map_err(SourceError::Invalid)
    }

    fn read_file(&self, path: &Path) -> Result<SourceFile, SourceError> {
        let unreadable = |source| SourceError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() {
            // A pipe would block the one thread that decides, a device would never end.
            let source = std::io::Error::other("it is not a regular file");
            return Err(unreadable(source));
        }
        let bytes = metadata.len();
        if bytes > MAX_FILE_BYTES {
            let what = format!("{bytes} bytes, more than {MAX_FILE_BYTES}; split the file");
            return Err(SourceError::TooMuch {
                path: path.to_owned(),
                what,
            });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let shown = path.strip_prefix(&self.path).unwrap_or(path);
        Ok(SourceFile {
            path: shown.display().to_string(),
            text,
        })
    }
}

fn collect(folder: &Path, depth: usize, paths: &mut Vec<PathBuf>) -> Result<(), SourceError> {
    let unreadable = |source| SourceError::Unreadable {
        path: folder.to_owned(),
        source,
    };
    if depth > MAX_DEPTH {
        let what = format!("deeper than {MAX_DEPTH} folders; is there a cycle of links?");
        return Err(SourceError::TooMuch {
            path: folder.to_owned(),
            what,
        });
    }
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            collect(&path, depth + 1, paths)?;
        } else if path
            .extension()
            .is_some_and(|end| end == "yaml" || end == "yml")
        {
            paths.push(path);
        }
        if paths.len() > MAX_FILES {
            let what = format!("more than {MAX_FILES} files");
            return Err(SourceError::TooMuch {
                path: folder.to_owned(),
                what,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_regular_file_is_refused_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/zero", directory.path().join("a.yaml")).unwrap();
        let error = MeshDirectory::new(directory.path().to_owned())
            .read()
            .unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }
}
