//! A copy of the engine, as a workspace of its own.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Where the engine is in the workspace, and in the copy.
const ENGINE: &str = "shifting/engine";

/// The copy. While it exists no other program uses it.
#[derive(Debug)]
pub(crate) struct Scratch {
    root: PathBuf,
    _lock: File,
}

// === impl Scratch ===

impl Scratch {
    /// Brings the copy in `root` to what the workspace is now. Files that are equal stay as they
    /// are, so that what was built stays, too.
    pub(crate) fn of(workspace: &Path, root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let lock = File::create(root.join("lock"))?;
        if lock.try_lock().is_err() {
            let why = format!("{} is in use by another run", root.display());
            return Err(io::Error::other(why));
        }
        let scratch = Self {
            root: root.canonicalize()?,
            _lock: lock,
        };
        let manifest = fs::read_to_string(workspace.join("Cargo.toml"))?;
        update(&root.join("Cargo.toml"), &own_manifest(&manifest))?;
        let locked = root.join("Cargo.lock");
        if !locked.exists() {
            fs::copy(workspace.join("Cargo.lock"), locked)?;
        }
        let engine = scratch.engine();
        let manifest = fs::read_to_string(workspace.join(ENGINE).join("Cargo.toml"))?;
        fs::create_dir_all(&engine)?;
        update(&engine.join("Cargo.toml"), &manifest)?;
        copy(&workspace.join(ENGINE).join("src"), &engine.join("src"))?;
        Ok(scratch)
    }

    /// The directory of the copied package.
    pub(crate) fn engine(&self) -> PathBuf {
        self.root.join(ENGINE)
    }

    /// Where builds go.
    pub(crate) fn builds(&self) -> PathBuf {
        self.root.join("target")
    }

    /// What tests write goes here.
    pub(crate) fn output(&self) -> PathBuf {
        self.root.join("output.txt")
    }

    /// A file of the sources.
    pub(crate) fn source(&self, file: &str) -> PathBuf {
        self.engine().join("src").join(file)
    }
}

/// The workspace's manifest with the engine as the only member: what is shared (lints, profiles,
/// versions) holds for the copy as it does for the original.
fn own_manifest(manifest: &str) -> String {
    let lines = manifest.lines().filter_map(|line| {
        let key = line.split('=').next().unwrap_or_default().trim();
        match key {
            "members" => Some(format!("members = [\"{ENGINE}\"]")),
            "exclude" | "default-members" => None,
            _ => Some(line.to_owned()),
        }
    });
    lines.map(|line| line + "\n").collect()
}

/// Makes `to` equal to `from`, files that are there too many included.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        names.insert(entry.file_name());
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            update(&target, &fs::read_to_string(entry.path())?)?;
        }
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if names.contains(&entry.file_name()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn update(path: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    fs::write(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_the_only_member_of_its_copy() {
        let manifest = fs::read_to_string(crate::workspace().join("Cargo.toml")).unwrap();
        let own = own_manifest(&manifest);
        assert!(own.contains("\nmembers = [\"shifting/engine\"]\n"), "{own}");
        assert!(own.contains("\n[profile.dev]\n"));
        for gone in ["xds/fuzz", "default-members", "\"integration\""] {
            assert!(!own.contains(gone), "{gone}: {own}");
        }
    }

    #[test]
    fn a_copy_follows_its_original_and_leaves_alone_what_is_equal() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::write(from.join("sub/a"), "1").unwrap();
        fs::write(from.join("b"), "2").unwrap();
        copy(&from, &to).unwrap();
        let written = || fs::metadata(to.join("b")).unwrap().modified().unwrap();
        let before = written();
        fs::remove_dir_all(from.join("sub")).unwrap();
        fs::write(to.join("c"), "left over").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("b")).unwrap(), "2");
        assert_eq!(written(), before);
        assert!(!to.join("sub").exists() && !to.join("c").exists());
    }
}
