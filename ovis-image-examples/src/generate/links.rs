//! Links that lead out of a folder: a folder that lies within another may hold files that do not.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

/// Number of folders below its own in which a checkpoint's files may lie, and one to spare.
const DEPTH: usize = 3;

/// Finds a link through which reading `path` would leave `folder`, which contains the path itself.
///
/// A folder is searched as deep as a checkpoint is. Beside a file, its folder's configurations are
/// checked too.
pub(super) fn link_leaving(path: &Path, folder: &Path) -> Option<PathBuf> {
    let folder = folder.canonicalize().ok()?;
    if path.is_dir() {
        return link_within(path, &folder);
    }
    let beside = entries(path.parent()?);
    let mut configurations = beside.filter(|path| path.extension().is_some_and(|e| e == "json"));
    configurations.find(|path| leaves(path, &folder))
}

fn link_within(start: &Path, folder: &Path) -> Option<PathBuf> {
    let mut seen = BTreeSet::new();
    // The nearest come first, so that no folder is seen first where it is too deep.
    let mut left = VecDeque::from([(start.to_owned(), 0)]);
    while let Some((path, depth)) = left.pop_front() {
        if !seen.insert(path.canonicalize().ok()) {
            continue;
        }
        for entry in entries(&path) {
            if leaves(&entry, folder) {
                return Some(entry);
            }
            if depth < DEPTH && entry.is_dir() {
                left.push_back((entry, depth + 1));
            }
        }
    }
    None
}

/// Lists what is in a folder; nothing if it cannot be read, because then nothing in it is read.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = folder.read_dir().into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

/// Returns whether a path is a link to something outside of a folder. Links to nothing are not
/// read.
fn leaves(path: &Path, folder: &Path) -> bool {
    path.is_symlink() && path.canonicalize().is_ok_and(|to| !to.starts_with(folder))
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_to_where_they_lead() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("images");
        let model = folder.join("model");
        fs::create_dir_all(model.join("vae")).unwrap();
        fs::create_dir(folder.join("blobs")).unwrap();
        for path in [folder.join("blobs/weights"), root.path().join("secret")] {
            fs::write(path, "").unwrap();
        }
        symlink("../../blobs/weights", model.join("vae/weights")).unwrap();
        symlink(".", model.join("loop")).unwrap();
        symlink("nowhere", model.join("gone")).unwrap();
        assert_eq!(link_leaving(&model, &folder), None);
        assert_eq!(
            link_leaving(&model, &model),
            Some(model.join("vae/weights"))
        );

        // Through a link that stays.
        let hidden = folder.join("blobs/config.json");
        symlink("../../secret", &hidden).unwrap();
        assert_eq!(link_leaving(&model, &folder), None);
        symlink("../blobs", model.join("transformer")).unwrap();
        let found = model.join("transformer/config.json");
        assert_eq!(link_leaving(&model, &folder), Some(found));
        // A configuration beside a file.
        let file = folder.join("blobs/weights");
        assert_eq!(link_leaving(&file, &folder), Some(hidden));
    }
}
