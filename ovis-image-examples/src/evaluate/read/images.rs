//! Images that arguments name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::shared::terminal::shown;

/// Extensions of images in folders.
const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// Lists the named images, and those in the named folders and the folders in them, by their names
/// in readings.
///
/// # Errors
/// Returns an error that names an argument that does not exist or a folder that cannot be read, or
/// an error if none of the arguments leads to an image.
pub(super) fn list(arguments: &[PathBuf]) -> Result<BTreeMap<String, PathBuf>> {
    let mut images = BTreeMap::new();
    let mut folders = Vec::new();
    for path in arguments {
        let metadata =
            fs::metadata(path).with_context(|| format!("cannot read {}", shown(path)))?;
        if metadata.is_dir() {
            folders.push(path.clone());
        } else {
            images.insert(name(path), path.clone());
        }
    }
    while let Some(folder) = folders.pop() {
        let unreadable = || format!("cannot read the folder {}", shown(&folder));
        for entry in fs::read_dir(&folder).with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?;
            let path = entry.path();
            // A link to a folder may lead in a circle.
            if entry.file_type().with_context(unreadable)?.is_dir() {
                folders.push(path);
            } else if is_image(&path) {
                images.insert(name(&path), path);
            }
        }
    }
    ensure!(
        !images.is_empty(),
        "there is no image ({}) in {}",
        EXTENSIONS.join(", "),
        arguments
            .iter()
            .map(|path| shown(path))
            .collect::<Vec<_>>()
            .join(", ")
    );
    Ok(images)
}

/// Hidden files are not images: some systems put one with the same extension beside each image.
fn is_image(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let known = path.extension().is_some_and(|extension| {
        EXTENSIONS
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    });
    known && !hidden
}

/// Returns the path as readings have it: with `/`, and without `./` at its start.
fn name(path: &Path) -> String {
    let parts = path.components();
    let path: PathBuf = parts
        .skip_while(|part| matches!(part, Component::CurDir))
        .collect();
    let name = path.to_string_lossy();
    if cfg!(windows) {
        name.replace('\\', "/")
    } else {
        name.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_searched_and_names_are_sorted() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b/1.PNG", "b/._1.png", "a/x/2.jpeg", "notes.txt", "odd.bmp"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let odd = folder.path().join("odd.bmp");
        let images = list(&[folder.path().to_owned(), odd.clone()]).unwrap();
        let found: Vec<&PathBuf> = images.values().collect();
        let expected = ["a/x/2.jpeg", "b/1.PNG"].map(|name| folder.path().join(name));
        assert_eq!(found, [&expected[0], &expected[1], &odd]);
        assert_eq!(name(Path::new("./a/./b.png")), "a/b.png");
        let empty = tempfile::tempdir().unwrap();
        let error = list(&[empty.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("there is no image"), "{error}");
    }
}
