//! Reads a manifest for training. Everything that can be checked without decoding an image is
//! checked here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader};

use super::caption::CaptionLanguage;
use super::error::DataError;
use super::frame::Frame;
use super::row::{DataRow, weight};
use crate::manifest::{Row, Rows, file_in, image_path};
use crate::shared::terminal::shown;
use crate::shared::{input_file, input_image};

/// What is read of a manifest.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// Buckets that replace those of the manifest; those of the manifest, or the images' own sizes,
    /// if empty.
    pub sizes: &'a [[u32; 2]],
    /// Languages of captions.
    pub languages: &'a [CaptionLanguage],
    /// True if every row needs a caption.
    pub needs_captions: bool,
    /// True if the images must exist.
    pub needs_images: bool,
}

/// Reads the rows of a manifest, or of the one in a folder, in their order.
///
/// # Errors
/// Returns a [`ManifestError`](crate::manifest::ManifestError) that names the file and line, or a
/// [`DataError`].
pub fn read_manifest(argument: &Path, reading: &Reading<'_>) -> Result<Vec<DataRow>> {
    let manifest = file_in(argument);
    let mut rows = Vec::new();
    let (mut missing, mut count) = (None, 0);
    for row in Rows::open(&manifest)? {
        let row = row?;
        let image = image_path(&manifest, &row);
        if reading.needs_images && input_file::check(&image).is_err() {
            missing.get_or_insert(image);
            count += 1;
            continue;
        }
        rows.push(data_row(&row, image, &manifest, reading)?);
    }
    if let Some(image) = missing {
        return Err(DataError::MissingImages {
            manifest,
            image,
            count,
        }
        .into());
    }
    if rows.is_empty() {
        return Err(DataError::NoRows { manifest }.into());
    }
    no_empty_bucket(&rows, reading.sizes)?;
    Ok(rows)
}

/// Checks that each size that was named has images.
pub(super) fn no_empty_bucket(rows: &[DataRow], sizes: &[[u32; 2]]) -> Result<(), DataError> {
    let unused = |size: &&[u32; 2]| rows.iter().all(|row| row.frame.bucket != **size);
    match sizes.iter().find(unused).copied() {
        Some([width, height]) => Err(DataError::EmptyBucket { width, height }),
        None => Ok(()),
    }
}

pub(super) fn data_row(
    row: &Row,
    image: PathBuf,
    manifest: &Path,
    reading: &Reading<'_>,
) -> Result<DataRow> {
    let name = row.image.to_string_lossy().into_owned();
    let refused = |reason: String| DataError::Row {
        manifest: manifest.to_owned(),
        image: name.clone(),
        reason,
    };
    let languages = reading.languages.iter();
    let captions: Vec<(CaptionLanguage, String)> = languages
        .filter_map(|language| Some((*language, language.of(row)?.to_owned())))
        .collect();
    if captions.is_empty() && reading.needs_captions {
        let names: Vec<String> = reading.languages.iter().map(ToString::to_string).collect();
        let names = names.join(" or ");
        return Err(refused(format!("it has no caption in {names}")).into());
    }
    let own = || -> Result<[u32; 2]> {
        match (row.width, row.height) {
            (Some(width), Some(height)) if width > 0 && height > 0 => Ok([width, height]),
            _ => upright_size(&image),
        }
    };
    let frame = if reading.sizes.is_empty() {
        match Frame::of_row(row).map_err(refused)? {
            Some(frame) => frame,
            None => Frame::whole(own()?),
        }
    } else {
        let nearest = Frame::nearest(own()?, reading.sizes, !row.texts.is_empty());
        nearest.ok_or_else(|| anyhow!("there are no sizes"))?
    };
    Ok(DataRow {
        captions,
        weight: weight(row).map_err(refused)?,
        ..DataRow::new(name.clone(), image, frame)
    })
}

/// Reads the size of an image as its orientation shows it, without decoding its pixels.
pub(super) fn upright_size(path: &Path) -> Result<[u32; 2]> {
    let read = || -> Result<[u32; 2]> {
        let file = std::io::BufReader::new(input_file::open(path)?);
        let reader = ImageReader::new(file).with_guessed_format()?;
        let mut decoder = reader.into_decoder()?;
        let (width, height) = decoder.dimensions();
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let turned = matches!(
            orientation,
            Orientation::Rotate90
                | Orientation::Rotate270
                | Orientation::Rotate90FlipH
                | Orientation::Rotate270FlipH
        );
        Ok(if turned {
            [height, width]
        } else {
            [width, height]
        })
    };
    read().with_context(|| format!("cannot read the image {}", shown(path)))
}

/// Reads the pixels of a row's image, upright.
///
/// # Errors
/// Returns an error that names the file.
pub fn upright(row: &DataRow) -> Result<DynamicImage> {
    Ok(input_image::read(&row.image)?.image)
}

#[cfg(test)]
mod tests {
    use super::*;

    const READING: Reading<'static> = Reading {
        sizes: &[],
        languages: &CaptionLanguage::ALL,
        needs_captions: true,
        needs_images: true,
    };

    fn folder(lines: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("manifest.jsonl"), lines).unwrap();
        for (name, width) in [("a.png", 32), ("b.png", 64)] {
            let image = image::RgbImage::new(width, 32);
            image.save(folder.path().join(name)).unwrap();
        }
        folder
    }

    fn refused(lines: &str, reading: &Reading<'_>) -> String {
        let folder = folder(lines);
        let error = read_manifest(folder.path(), reading).unwrap_err();
        crate::shared::error_chain::one_line(&error)
    }

    #[test]
    fn rows_have_frames_captions_and_weights() {
        let folder = folder(
            "{\"image\":\"a.png\",\"caption_en\":\"a\",\"caption_zh\":\" \",\"weight\":2}\n\
             {\"image\":\"b.png\",\"caption_zh\":\"b\",\"bucket\":[16,16],\"resize\":[32,16],\"crop\":[8,0,16,16]}\n",
        );
        let rows = read_manifest(folder.path(), &READING).unwrap();
        assert_eq!(rows[0].frame, Frame::whole([32, 32]));
        assert_eq!(rows[0].captions, [(CaptionLanguage::En, "a".to_owned())]);
        assert_eq!((rows[0].weight, rows[1].weight), (2.0, 1.0));
        assert_eq!(
            (rows[1].frame.bucket, rows[1].frame.place),
            ([16, 16], [-8, 0])
        );
        let sizes = Reading {
            sizes: &[[16, 16], [32, 16]],
            ..READING
        };
        let rows = read_manifest(folder.path(), &sizes).unwrap();
        assert_eq!(rows[1].frame.bucket, [32, 16]);
    }

    #[test]
    fn bad_rows_are_errors_that_name_them() {
        let good = "{\"image\":\"a.png\",\"caption_en\":\"a\"}\n";
        let message = refused(
            &format!("{good}{{\"image\":\"none.png\",\"caption_en\":\"a\"}}"),
            &READING,
        );
        assert!(
            message.contains("none.png") && message.contains("1 of the images"),
            "{message}"
        );
        let message = refused("{\"image\":\"a.png\",\"caption_en\":\"\"}", &READING);
        assert!(
            message.contains("a.png") && message.contains("en or zh"),
            "{message}"
        );
        let message = refused(
            &format!("{good}{{\"image\":\"a.png\",\"caption_en\":7}}"),
            &READING,
        );
        assert!(message.contains("line 2"), "{message}");
        let message = refused("\n", &READING);
        assert!(message.contains("no rows"), "{message}");
        let sizes = Reading {
            sizes: &[[16, 16], [16, 64]],
            ..READING
        };
        let message = refused(good, &sizes);
        assert!(message.contains("16x64 is empty"), "{message}");
        assert!(read_manifest(Path::new("nowhere"), &READING).is_err());
    }
}
