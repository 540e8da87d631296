//! Folders of images to train on, with captions in text files, and without a manifest.

mod argument;
mod tags;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::caption::CaptionLanguage;
use super::error::DataError;
use super::frame::{Frame, MOST_SIDE};
use super::mask::Mask;
use super::read::{no_empty_bucket, upright_size};
use super::row::DataRow;
use crate::shared::aspect_buckets::Buckets;
use crate::shared::captioned_images::{caption, is_image, repeats};
use crate::shared::terminal::shown;

pub use argument::ImageFolder;
pub use tags::TagChanges;

/// Maximum size of a caption file, in bytes.
const MOST_CAPTION_BYTES: u64 = 1 << 16;

/// Maximum logarithm of the ratio of a mask's aspect ratio to that of its image.
const MOST_STRETCH: f64 = 0.03;

const READABLE: &str = "images must be PNG, JPEG or WebP: convert it, or move it out of the folder";

/// Masks of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masks<'a> {
    /// No masks.
    None,
    /// The opacity of the images.
    Alpha,
    /// Files in a folder, each with the name of its image, or with the extension png instead.
    Folder(&'a Path),
}

/// Sizes of images in training.
#[derive(Debug, Clone)]
pub enum Sizes<'a> {
    /// Sizes that the user named.
    Named(&'a [[u32; 2]]),
    /// The bucket nearest to each image.
    Nearest(Buckets),
}

/// Folders to read, and how.
#[derive(Debug, Clone)]
pub struct FolderReading<'a> {
    /// Folders of the images to learn from.
    pub images: &'a [ImageFolder],
    /// Folders of regularization images, which keep what the model draws for their captions.
    pub regularization: &'a [ImageFolder],
    /// Weight of a regularization image in the loss.
    pub prior_weight: f32,
    /// Word that is put in front of captions that do not have it, and is the caption of images
    /// without one. Regularization images do not get it.
    pub trigger: Option<&'a str>,
    /// True if every image needs a caption.
    pub needs_captions: bool,
    /// Sizes of the images.
    pub sizes: Sizes<'a>,
    /// Masks of the images. Regularization images have none.
    pub masks: Masks<'a>,
    /// Folder of the run, whose samples are not read.
    pub run: &'a Path,
}

/// Rows of folders.
#[derive(Debug, Clone, PartialEq)]
pub struct FolderRows {
    /// Rows, those of regularization images last.
    pub rows: Vec<DataRow>,
    /// Number of images that are smaller than their sizes in training.
    pub enlarged: usize,
}

/// Lists the images of folders with captions and sizes, in the order of names. Subfolders are read,
/// too; those named `N_class` at the top level repeat their images N times, and the class is the
/// caption of images without one.
///
/// # Errors
/// Returns an error that names the folder without images, or the image without a caption, without a
/// mask, or that cannot be read.
pub fn read_folders(reading: &FolderReading<'_>) -> Result<FolderRows> {
    let mut enlarged = 0;
    let mut rows = reading.rows(reading.images, false, &mut enlarged)?;
    let mut regularization = reading.rows(reading.regularization, true, &mut enlarged)?;
    rows.append(&mut regularization);
    if let Sizes::Named(sizes) = reading.sizes {
        no_empty_bucket(&rows, sizes)?;
    }
    Ok(FolderRows { rows, enlarged })
}

impl FolderReading<'_> {
    fn rows(
        &self,
        folders: &[ImageFolder],
        is_prior: bool,
        enlarged: &mut usize,
    ) -> Result<Vec<DataRow>> {
        let mut rows = Vec::new();
        let mut missing: Option<PathBuf> = None;
        let mut count = 0;
        let mut seen = self.excluded(is_prior);
        for (number, folder) in folders.iter().enumerate() {
            let mut paths = Vec::new();
            list(&folder.folder, &mut seen, &mut paths)?;
            if paths.is_empty() {
                let folder = folder.folder.clone();
                return Err(DataError::NoImages { folder }.into());
            }
            for path in paths {
                let size = upright_size(&path).context(READABLE)?;
                let row = self.row(folder, number, path, size, is_prior)?;
                *enlarged += usize::from(row.frame.resize[0] > size[0]);
                if self.needs_captions && row.captions.is_empty() {
                    missing.get_or_insert(row.image.clone());
                    count += 1;
                }
                rows.push(row);
            }
        }
        match missing {
            Some(image) if is_prior => Err(DataError::NoPriorCaption { image, count }.into()),
            Some(image) => Err(DataError::NoCaption { image, count }.into()),
            None => Ok(rows),
        }
    }

    /// Returns folders that are not read where they lie in a folder of images.
    fn excluded(&self, is_prior: bool) -> BTreeSet<PathBuf> {
        let mut folders = vec![self.run];
        if let Masks::Folder(masks) = self.masks {
            folders.push(masks);
        }
        if !is_prior {
            folders.extend(
                self.regularization
                    .iter()
                    .map(|prior| prior.folder.as_path()),
            );
        }
        let real = folders.into_iter();
        real.filter_map(|folder| folder.canonicalize().ok())
            .collect()
    }

    fn row(
        &self,
        folder: &ImageFolder,
        number: usize,
        path: PathBuf,
        size: [u32; 2],
        is_prior: bool,
    ) -> Result<DataRow> {
        let name = path.strip_prefix(&folder.folder).unwrap_or(&path);
        let (repeats, class) = repeats(name);
        let text = caption(&path, MOST_CAPTION_BYTES)
            .with_context(|| format!("{} cannot be used", shown(&path)))?;
        let class = class.filter(|class| !class.is_empty());
        let text = text.filter(|text| !text.is_empty()).or(class);
        let trigger = self.trigger.filter(|_| !is_prior);
        let captions = with_trigger(text, trigger).map(|text| (CaptionLanguage::En, text));
        let frame = match &self.sizes {
            Sizes::Named(sizes) => Frame::nearest(size, sizes, false).unwrap_or(Frame::whole(size)),
            Sizes::Nearest(buckets) => {
                let (bucket, resized) = buckets.select((size[0], size[1]));
                Frame::cropped(bucket.into(), resized.into())
            }
        };
        if frame.resize.iter().any(|side| *side > MOST_SIDE) {
            let [width, height] = size;
            return Err(DataError::TooThin {
                image: path,
                width,
                height,
            }
            .into());
        }
        let mask = if is_prior {
            Mask::Whole
        } else {
            self.mask(name, &path, size)?
        };
        let kind = if is_prior { "regularization" } else { "images" };
        Ok(DataRow {
            weight: folder.weight * f64::from(repeats.unwrap_or(1)),
            loss_weight: if is_prior { self.prior_weight } else { 1.0 },
            is_prior,
            mask,
            captions: captions.into_iter().collect(),
            ..DataRow::new(
                format!("{kind} {number}/{}", name.display()),
                path.clone(),
                frame,
            )
        })
    }

    fn mask(&self, name: &Path, image: &Path, size: [u32; 2]) -> Result<Mask> {
        let folder = match self.masks {
            Masks::None => return Ok(Mask::Whole),
            Masks::Alpha => return Ok(Mask::Alpha),
            Masks::Folder(folder) => folder,
        };
        let found = [folder.join(name), folder.join(name).with_extension("png")];
        let Some(mask) = found.into_iter().find(|path| path.is_file()) else {
            let mask = folder.join(name).with_extension("png");
            return Err(DataError::NoMask { mask }.into());
        };
        let aspect = |[width, height]: [u32; 2]| f64::from(width) / f64::from(height);
        let found = upright_size(&mask).context(READABLE)?;
        if (aspect(found) / aspect(size)).ln().abs() > MOST_STRETCH {
            return Err(DataError::MaskShape {
                mask,
                found,
                image: image.to_owned(),
                size,
            }
            .into());
        }
        Ok(Mask::File(mask))
    }
}

/// Lists the images of a folder and of the folders in it that were not seen yet. Hidden files and
/// macOS's resource forks are left out.
fn list(folder: &Path, seen: &mut BTreeSet<PathBuf>, paths: &mut Vec<PathBuf>) -> Result<()> {
    let mut read = || -> std::io::Result<Vec<PathBuf>> {
        if !seen.insert(folder.canonicalize()?) {
            return Ok(Vec::new());
        }
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect()
    };
    let entries = read().with_context(|| format!("cannot read the folder {}", shown(folder)));
    let mut entries = entries?;
    entries.sort_unstable();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || name == "__MACOSX" {
            continue;
        }
        if path.is_dir() {
            list(&path, seen, paths)?;
        } else if is_image(&path) {
            paths.push(path);
        }
    }
    Ok(())
}

/// Puts a word in front of a caption that does not have it.
fn with_trigger(caption: Option<String>, trigger: Option<&str>) -> Option<String> {
    match (caption, trigger) {
        (Some(caption), Some(word)) if !has_word(&caption, word) => {
            Some(format!("{word}, {caption}"))
        }
        (Some(caption), _) => Some(caption),
        (None, word) => word.map(str::to_owned),
    }
}

/// Returns true if a word or a phrase stands in a text, and not only as a part of other words.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    let is_apart = |neighbor: Option<char>| !neighbor.is_some_and(char::is_alphanumeric);
    text.match_indices(word).any(|(start, _)| {
        let (before, after) = (&text[..start], &text[start + word.len()..]);
        is_apart(before.chars().next_back()) && is_apart(after.chars().next())
    })
}

#[cfg(test)]
mod tests {
    use image::RgbImage;
    use tempfile::TempDir;

    use super::*;

    /// A folder of images of 64 x 64, with captions beside those that have one.
    fn folder(images: &[(&str, Option<&str>)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, caption) in images {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            RgbImage::new(64, 64).save(&path).unwrap();
            if let Some(caption) = caption {
                fs::write(path.with_extension("txt"), caption).unwrap();
            }
        }
        folder
    }

    fn of(folder: &TempDir) -> Vec<ImageFolder> {
        vec![folder.path().to_str().unwrap().parse().unwrap()]
    }

    fn reading(images: &[ImageFolder]) -> FolderReading<'_> {
        FolderReading {
            images,
            regularization: &[],
            prior_weight: 1.0,
            trigger: None,
            needs_captions: true,
            sizes: Sizes::Nearest(Buckets::new(64, 16)),
            masks: Masks::None,
            run: Path::new("no-run"),
        }
    }

    fn refused(reading: &FolderReading<'_>) -> String {
        format!("{:#}", read_folders(reading).unwrap_err())
    }

    #[test]
    fn captions_are_beside_images_and_the_trigger_in_front() {
        let folder = folder(&[
            ("a.png", Some("a red car\n")),
            ("b.png", Some("ovsstyle of a dog")),
            ("c.png", None),
            ("3_cat/d.png", None),
        ]);
        let images = of(&folder);
        let rows = read_folders(&FolderReading {
            trigger: Some("ovsstyle"),
            ..reading(&images)
        })
        .unwrap()
        .rows;
        let found: Vec<(&str, f64)> = rows
            .iter()
            .map(|row| (row.caption(0), row.weight))
            .collect();
        assert_eq!(
            found,
            [
                ("ovsstyle, cat", 3.0),
                ("ovsstyle, a red car", 1.0),
                ("ovsstyle of a dog", 1.0),
                ("ovsstyle", 1.0),
            ]
        );
        assert!(rows.iter().all(|row| row.frame.bucket == [64, 64]));
        let message = refused(&reading(&images));
        for part in ["1 image", "c.png", "--trigger"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn regularization_images_have_a_weight_in_the_loss_and_no_trigger() {
        let (folder, class) = (
            folder(&[("a.png", Some("a")), ("5_b/b.png", None)]),
            folder(&[
                ("r.png", Some("r")),
                ("s.png", Some("s")),
                ("t.png", Some("t")),
            ]),
        );
        let (images, regularization) = (of(&folder), of(&class));
        let rows = read_folders(&FolderReading {
            regularization: &regularization,
            prior_weight: 0.5,
            trigger: Some("ovsstyle"),
            ..reading(&images)
        })
        .unwrap()
        .rows;
        let prior: Vec<bool> = rows.iter().map(|row| row.is_prior).collect();
        assert_eq!(prior, [false, false, true, true, true]);
        let last = rows.last().unwrap();
        assert_eq!((last.caption(0), last.loss_weight), ("t", 0.5));
    }

    #[test]
    fn masks_have_the_names_of_their_images() {
        let folder = folder(&[
            ("a.png", Some("a")),
            ("in/b.png", Some("b")),
            ("masks/a.png", None),
        ]);
        let masks = folder.path().join("masks");
        // Another name of the same folder.
        let images = vec![ImageFolder {
            folder: folder.path().join("in").join(".."),
            weight: 1.0,
        }];
        let reading = FolderReading {
            masks: Masks::Folder(&masks),
            ..reading(&images)
        };
        let message = refused(&reading);
        assert!(
            message.contains("masks") && message.contains("b.png"),
            "{message}"
        );
        fs::create_dir(masks.join("in")).unwrap();
        RgbImage::new(8, 8)
            .save(masks.join("in").join("b.png"))
            .unwrap();
        let rows = read_folders(&reading).unwrap().rows;
        let found: Vec<&Mask> = rows.iter().map(|row| &row.mask).collect();
        assert_eq!(
            found,
            [
                &Mask::File(masks.join("a.png")),
                &Mask::File(masks.join("in").join("b.png"))
            ]
        );
        RgbImage::new(8, 6).save(masks.join("a.png")).unwrap();
        let message = refused(&reading);
        assert!(
            message.contains("8x6") && message.contains("64x64"),
            "{message}"
        );
        fs::write(masks.join("a.png"), "text").unwrap();
        assert!(refused(&reading).contains("a.png"));
    }

    #[test]
    fn sizes_are_the_nearest_bucket_or_those_that_were_named() {
        let folder = folder(&[("a.png", Some("a"))]);
        RgbImage::new(200, 90)
            .save(folder.path().join("wide.png"))
            .unwrap();
        fs::write(folder.path().join("wide.txt"), "wide").unwrap();
        let images = of(&folder);
        let FolderRows { rows, enlarged } = read_folders(&reading(&images)).unwrap();
        assert_eq!(enlarged, 0);
        assert_eq!(rows[1].frame.bucket, [80, 48]);
        assert_eq!(rows[1].frame.resize, [107, 48]);
        assert_eq!(rows[1].frame.place, [-13, 0]);
        let named = |sizes| FolderReading {
            sizes: Sizes::Named(sizes),
            ..reading(&images)
        };
        let rows = read_folders(&named(&[[32, 32], [64, 32]])).unwrap().rows;
        let large = read_folders(&named(&[[128, 128], [64, 32]])).unwrap();
        assert_eq!(large.enlarged, 1);
        assert_eq!(rows[1].frame.bucket, [64, 32]);
        let message = refused(&named(&[[32, 32], [64, 32], [16, 64]]));
        assert!(message.contains("16x64"), "{message}");
    }

    #[test]
    fn a_trigger_is_a_word_and_not_a_part_of_one() {
        for (text, word, has) in [
            ("a party", "art", false),
            ("art, flat", "art", true),
            ("an ovs style", "ovs style", true),
            ("modern art", "art", true),
            ("artful art", "art", true),
        ] {
            assert_eq!(has_word(text, word), has, "{text}");
        }
    }

    #[test]
    fn hidden_files_runs_and_regularization_images_are_not_read() {
        let folder = folder(&[
            ("a.png", Some("a")),
            ("._a.png", None),
            ("__MACOSX/b.png", None),
            ("class/r.png", Some("r")),
            ("style.run/samples/step.png", None),
        ]);
        let at = |name: &str| folder.path().join(name);
        let (images, regularization) = (
            of(&folder),
            [at("class").to_str().unwrap().parse().unwrap()],
        );
        let rows = read_folders(&FolderReading {
            regularization: &regularization,
            run: &at("style.run"),
            ..reading(&images)
        });
        let names = rows.unwrap().rows.into_iter().map(|row| row.name);
        let names: Vec<String> = names.collect();
        assert_eq!(names, ["images 0/a.png", "regularization 0/r.png"]);
    }

    #[test]
    fn folders_and_files_that_cannot_be_used_are_named() {
        let empty = folder(&[]);
        let images = of(&empty);
        assert!(refused(&reading(&images)).contains("no images"));
        let missing = ["nowhere".parse().unwrap()];
        assert!(refused(&reading(&missing)).contains("nowhere"));
        let bad = folder(&[("a.png", Some("a"))]);
        fs::write(bad.path().join("b.png"), "text").unwrap();
        let images = of(&bad);
        assert!(refused(&reading(&images)).contains("b.png"));
        fs::remove_file(bad.path().join("b.png")).unwrap();
        RgbImage::new(1, 2000)
            .save(bad.path().join("b.png"))
            .unwrap();
        let message = refused(&reading(&images));
        assert!(
            message.contains("1x2000") && message.contains("crop"),
            "{message}"
        );
        fs::remove_file(bad.path().join("b.png")).unwrap();
        fs::write(bad.path().join("a.txt"), [0xff, 0xfe]).unwrap();
        let message = refused(&reading(&images));
        assert!(
            message.contains("a.png") && message.contains("UTF-8"),
            "{message}"
        );
    }
}
