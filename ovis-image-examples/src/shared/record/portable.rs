//! Paths in records: nothing that is stored in an image says where on a machine its files were.

use std::path::{Path, PathBuf};

use super::Record;

impl Record {
    /// Replaces absolute paths, which name folders and often a person: by paths relative to the
    /// image if the file is in or below the image's folder, or else by the file's name.
    pub fn without_folders(mut self, image: &Path) -> Self {
        let image = std::path::absolute(image).unwrap_or_else(|_| image.to_owned());
        let folder = image.parent().unwrap_or(Path::new(""));
        for (_, path) in self.inputs.paths_mut() {
            *path = portable(path, folder);
        }
        let text = |text: &str| portable(Path::new(text), folder).display().to_string();
        for lora in &mut self.inputs.loras {
            *lora = text(lora);
        }
        for lora in &mut self.settings.loras {
            lora.name = text(&lora.name);
        }
        self.model = text(&self.model);
        self
    }
}

fn portable(path: &Path, folder: &Path) -> PathBuf {
    if !path.is_absolute() {
        return path.to_owned();
    }
    if let Ok(below) = path.strip_prefix(folder)
        && below.is_relative()
        && below != Path::new("")
    {
        return below.to_owned();
    }
    path.file_name()
        .map_or_else(|| path.to_owned(), PathBuf::from)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn folders_are_left_out_and_what_is_near_is_kept() {
        let folder = Path::new("/home/somebody/images");
        for (path, expected) in [
            ("/models/Ovis-Image-7B", "Ovis-Image-7B"),
            ("/home/somebody/images/start.png", "start.png"),
            ("/home/somebody/images/masks/1.png", "masks/1.png"),
            ("/home/somebody/images", "images"),
            (
                "/home/somebody/other/style.safetensors:0.5",
                "style.safetensors:0.5",
            ),
            ("masks/1.png", "masks/1.png"),
            ("owner/name", "owner/name"),
            ("hf:owner/name/file.gguf", "hf:owner/name/file.gguf"),
            ("embedded model", "embedded model"),
        ] {
            assert_eq!(
                portable(path.as_ref(), folder),
                Path::new(expected),
                "{path}"
            );
        }
    }
}
