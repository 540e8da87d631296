//! Output files: checked before the work starts, and written whole or not at all.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};

use super::typed;
use super::usage::UsageError;

/// Checks that the file that a flag names can be written: it has one of the extensions, and its
/// folder exists and is writable.
///
/// # Errors
/// Returns an error that names the flag and the path, and says what to do.
pub fn check(flag: &str, path: &Path, extensions: &[&str]) -> Result<()> {
    check_path(path, extensions).with_context(|| format!("invalid {}", typed::name(flag)))
}

fn check_path(path: &Path, extensions: &[&str]) -> Result<()> {
    let shown = path.display();
    let first = extensions.first().copied().unwrap_or_default();
    ensure!(
        !path.is_dir(),
        UsageError(format!("{shown} is a folder: name a .{first} file in it"))
    );
    let has = |extension: &&str| {
        path.extension()
            .is_some_and(|found| found.eq_ignore_ascii_case(extension))
    };
    ensure!(
        extensions.iter().any(has),
        UsageError(format!(
            "{shown} does not end in .{}",
            extensions.join(", .")
        ))
    );
    let folder = folder_of(path);
    ensure!(
        folder.is_dir(),
        UsageError(format!(
            "the output folder {} does not exist: create it first",
            folder.display()
        ))
    );
    // The only reliable test of a folder's permissions; the file is gone at once.
    tempfile::tempfile_in(folder)
        .with_context(|| format!("cannot write into the output folder {}", folder.display()))?;
    Ok(())
}

/// Writes a file beside the target and renames it, so that no half-written file is ever seen.
///
/// # Errors
/// Returns the file system's error with the path.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes, |file| file.sync_all())
}

/// Like [`write_whole`], without waiting for the disk: for files that are soon replaced.
///
/// # Errors
/// Returns the file system's error with the path.
pub fn write_passing(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes, |_| Ok(()))
}

fn write(path: &Path, bytes: &[u8], sync: impl Fn(&File) -> std::io::Result<()>) -> Result<()> {
    let _writing = wait_until_written();
    let write = || -> std::io::Result<()> {
        let mut file = new_temporary(folder_of(path))?;
        file.write_all(bytes)?;
        keep_mode(path, file.as_file());
        sync(file.as_file())?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Gives a file the permissions of the one that it is going to replace. A system that refuses has
/// its reasons, and the file keeps the usual ones.
fn keep_mode(replaced: &Path, file: &File) {
    if let Ok(metadata) = std::fs::metadata(replaced) {
        let _ = file.set_permissions(metadata.permissions());
    }
}

/// Held while a temporary file exists.
static WRITING: Mutex<()> = Mutex::new(());

/// Waits until no file is being written. While the result is held, none is begun.
pub fn wait_until_written() -> MutexGuard<'static, ()> {
    // A writer that panicked has removed its file.
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names one of several files: `image.png` becomes `image-0.png`. A single file keeps its name.
pub fn numbered(path: &Path, index: usize, count: usize) -> PathBuf {
    if count == 1 {
        return path.to_owned();
    }
    let mut name = OsString::from(path.file_stem().unwrap_or_default());
    name.push(format!("-{index}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Removes the files that killed processes did not finish. The caller holds the lock of the folder.
///
/// # Errors
/// Returns the file system's error with the path.
pub fn remove_unfinished(folder: &Path) -> Result<()> {
    let cannot_read = || format!("cannot read the folder {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(cannot_read)? {
        let path = entry.with_context(cannot_read)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(UNFINISHED) && path.is_file() {
            std::fs::remove_file(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Start of the names of temporary files.
const UNFINISHED: &str = ".unfinished-";

fn new_temporary(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED);
    // Temporary files are private to their owner; this one will be an ordinary file.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_is_replaced_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.png");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        write_whole(&path, b"first").unwrap();
        for bits in [0o600, 0o664, 0o644] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(bits)).unwrap();
            write_whole(&path, b"second").unwrap();
            assert_eq!(mode(), bits);
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
    }

    #[test]
    fn only_unfinished_files_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (_, unfinished) = new_temporary(folder.path()).unwrap().keep().unwrap();
        let finished = folder.path().join("image.png");
        write_whole(&finished, b"image").unwrap();
        remove_unfinished(folder.path()).unwrap();
        assert!(finished.exists() && !unfinished.exists());
    }

    #[test]
    fn any_of_the_endings_is_enough() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str| check_path(&folder.path().join(name), &["png", "jpg"]);
        assert!(check("a.png").is_ok() && check("a.JPG").is_ok());
        let error = check("a.gif").unwrap_err().to_string();
        assert!(error.contains("does not end in .png, .jpg"), "{error}");
    }
}
