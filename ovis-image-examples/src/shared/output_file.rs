//! Output files: checked before the work starts, and written whole or not at all.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail, ensure};

/// Checks that a file of this name can be written: the extension is right, and its folder exists
/// and is writable.
///
/// # Errors
/// Returns an error that names the path and says what to do.
pub fn check(path: &Path, extension: &str) -> Result<()> {
    let shown = path.display();
    ensure!(
        !path.is_dir(),
        "{shown} is a folder: name a .{extension} file in it"
    );
    ensure!(
        path.extension()
            .is_some_and(|found| found.eq_ignore_ascii_case(extension)),
        "{shown} does not end in .{extension}"
    );
    let folder = folder_of(path);
    if !folder.is_dir() {
        bail!(
            "the output folder {} does not exist: create it first",
            folder.display()
        );
    }
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
        sync(file.as_file())?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
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

fn new_temporary(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    // Temporary files are private to their owner; this one will be an ordinary file.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}
