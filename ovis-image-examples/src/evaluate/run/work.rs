//! Images to generate: prompts, seeds and files.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use image::RgbImage;
use image::imageops::replace;
use sha2::{Digest, Sha256};

/// Images of one prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Prompt.
    pub prompt: String,
    /// Seed of each image.
    pub seeds: Vec<u64>,
    /// Files to write, relative to the output folder.
    pub files: Files,
}

/// Files of the images of one prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// A file for each image.
    Each(Vec<PathBuf>),
    /// A single file that shows all images in rows: two by two for four images.
    Grid(PathBuf),
}

impl Files {
    /// Returns the paths of all files.
    pub fn paths(&self) -> &[PathBuf] {
        match self {
            Self::Each(paths) => paths,
            Self::Grid(path) => std::slice::from_ref(path),
        }
    }
}

/// Everything that a run makes.
#[derive(Debug, Default)]
pub struct Work {
    /// Images.
    pub tasks: Vec<Task>,
    /// Files beside the images, which the official scorer needs.
    pub texts: Vec<(PathBuf, String)>,
}

impl Work {
    /// Returns a hash of all prompts and file names.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for task in &self.tasks {
            hash.update(task.prompt.as_bytes());
            for path in task.files.paths() {
                hash.update([0]);
                hash.update(path.as_os_str().as_encoded_bytes());
            }
            hash.update([1]);
        }
        hash.finalize()[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Returns the first file that two tasks would write.
    pub fn repeated_file(&self) -> Option<&Path> {
        let mut seen = HashSet::new();
        let paths = self.tasks.iter().flat_map(|task| task.files.paths());
        paths.map(PathBuf::as_path).find(|path| !seen.insert(*path))
    }

    /// Drops the tasks of other parts. Texts stay, as they are equal in all parts.
    pub fn keep(&mut self, part: Part) {
        let mut index = 0;
        self.tasks.retain(|_| {
            index += 1;
            (index - 1) % part.count == part.index
        });
    }

    /// Drops the tasks whose files all exist, and returns their number.
    pub fn skip_existing(&mut self, folder: &Path) -> usize {
        let before = self.tasks.len();
        self.tasks.retain(|task| {
            let mut paths = task.files.paths().iter();
            !paths.all(|path| folder.join(path).is_file())
        });
        before - self.tasks.len()
    }

    /// Groups the next tasks into batches: up to `size` tasks of one image each, or one of several.
    pub fn batches(&self, size: usize) -> Vec<&[Task]> {
        self.tasks
            .chunk_by(|first, second| first.seeds.len() == 1 && second.seeds.len() == 1)
            .flat_map(|tasks| tasks.chunks(size.max(1)))
            .collect()
    }
}

/// Share of the prompts that one device or machine generates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Place among the parts, from 0.
    index: usize,
    /// Number of parts.
    count: usize,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once('/')
            .and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match parsed {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Self {
                index: index - 1,
                count,
            }),
            _ => Err("a part is K/N with K from 1 to N, for example 1/4".to_owned()),
        }
    }
}

/// Arranges images of one size in rows of `sqrt(count)`, rounded up, without space between them.
/// Returns `None` without images.
pub fn grid(images: &[RgbImage]) -> Option<RgbImage> {
    let (width, height) = images.first()?.dimensions();
    let columns = (1..=images.len()).find(|columns| columns * columns >= images.len())?;
    let rows = images.len().div_ceil(columns);
    let mut sheet = RgbImage::new(width * columns as u32, height * rows as u32);
    for (index, image) in images.iter().enumerate() {
        let (column, row) = ((index % columns) as u32, (index / columns) as u32);
        replace(
            &mut sheet,
            image,
            i64::from(column * width),
            i64::from(row * height),
        );
    }
    Some(sheet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(name: &str, images: u64) -> Task {
        Task {
            prompt: name.to_owned(),
            seeds: (0..images).collect(),
            files: Files::Grid(PathBuf::from(name)),
        }
    }

    fn work(tasks: &[(&str, u64)]) -> Work {
        Work {
            tasks: tasks
                .iter()
                .map(|(name, images)| task(name, *images))
                .collect(),
            texts: Vec::new(),
        }
    }

    #[test]
    fn parts_share_the_tasks_evenly() {
        let names = |part: &str| {
            let mut work = work(&[("a", 1), ("b", 1), ("c", 1)]);
            work.keep(part.parse().unwrap());
            let names: Vec<String> = work.tasks.into_iter().map(|task| task.prompt).collect();
            names.concat()
        };
        assert_eq!((names("1/2"), names("2/2")), ("ac".into(), "b".into()));
        for wrong in ["0/2", "3/2", "1", "a/2", "1/0"] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn tasks_of_one_image_share_a_batch() {
        let work = work(&[("a", 1), ("b", 1), ("c", 1), ("d", 4), ("e", 4)]);
        let sizes: Vec<usize> = work.batches(2).iter().map(|batch| batch.len()).collect();
        assert_eq!(sizes, [2, 1, 1, 1]);
    }

    #[test]
    fn another_prompt_or_file_is_another_hash_and_a_repeated_file_is_found() {
        let one = work(&[("a", 1), ("b", 1)]);
        assert_eq!(one.hash(), work(&[("a", 1), ("b", 1)]).hash());
        assert_ne!(one.hash(), work(&[("a", 1), ("c", 1)]).hash());
        assert_ne!(one.hash(), work(&[("ab", 1)]).hash());
        assert_eq!(one.repeated_file(), None);
        let twice = work(&[("a", 1), ("b", 1), ("a", 1)]);
        assert_eq!(twice.repeated_file(), Some(Path::new("a")));
    }

    #[test]
    fn four_images_are_two_by_two() {
        let images: Vec<RgbImage> = (0..4)
            .map(|level| RgbImage::from_pixel(2, 3, image::Rgb([level; 3])))
            .collect();
        let sheet = grid(&images).unwrap();
        assert_eq!(sheet.dimensions(), (4, 6));
        let levels = [(0, 0), (2, 0), (0, 3), (2, 3)].map(|(x, y)| sheet.get_pixel(x, y)[0]);
        assert_eq!(levels, [0, 1, 2, 3]);
        assert_eq!(grid(&images[..1]).unwrap().dimensions(), (2, 3));
        assert!(grid(&[]).is_none());
    }

    #[test]
    fn tasks_with_all_files_are_skipped() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "").unwrap();
        let mut work = work(&[("a", 4), ("b", 4)]);
        assert_eq!(work.skip_existing(folder.path()), 1);
        assert_eq!(work.tasks, [task("b", 4)]);
    }
}
