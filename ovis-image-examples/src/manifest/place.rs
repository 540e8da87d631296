//! Location of a manifest and of the images of its rows.

use std::path::{Component, Path, PathBuf};

use super::Row;

/// File name of a manifest in its folder.
pub const FILE_NAME: &str = "manifest.jsonl";

/// Returns the manifest that an argument names: the file, or the one in a folder.
pub fn file_in(argument: &Path) -> PathBuf {
    if argument.is_dir() {
        argument.join(FILE_NAME)
    } else {
        argument.to_owned()
    }
}

/// Returns the image file of a row of a manifest.
pub fn image_path(manifest: &Path, row: &Row) -> PathBuf {
    manifest.parent().unwrap_or(Path::new("")).join(&row.image)
}

/// Returns the relative path from a folder to a file, both absolute and without `..`, with `/`
/// between folders. Returns `None` if the name is not UTF-8, or if no path exists (another drive).
pub fn relative(folder: &Path, file: &Path) -> Option<String> {
    let (mut from, mut to) = (folder.components().peekable(), file.components().peekable());
    while from.peek().is_some() && from.peek() == to.peek() {
        from.next();
        to.next();
    }
    let mut parts = vec![".."; from.count()];
    for component in to {
        let Component::Normal(name) = component else {
            return None;
        };
        parts.push(name.to_str()?);
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_go_up_and_down() {
        let way = |from: &str, to: &str| relative(Path::new(from), Path::new(to)).unwrap();
        assert_eq!(way("/a/out", "/a/in/x.png"), "../in/x.png");
        assert_eq!(way("/a", "/a/in/x.png"), "in/x.png");
        assert_eq!(way("/a/b", "/c.png"), "../../c.png");
    }
}
