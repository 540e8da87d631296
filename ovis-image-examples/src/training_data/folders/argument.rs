//! Folder of images from the command line or a settings file.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Folder of images, written as `DIR` or `DIR:WEIGHT`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageFolder {
    /// Folder.
    pub folder: PathBuf,
    /// Frequency of an image of the folder, relative to images of other folders.
    pub weight: f64,
}

impl FromStr for ImageFolder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Text after the last colon that is not a number is part of the path, as in `C:\photos`.
        let numbered = text.rsplit_once(':').and_then(|(folder, weight)| {
            let weight: f64 = weight.parse().ok()?;
            Some((folder, weight))
        });
        let (folder, weight) = numbered.unwrap_or((text, 1.0));
        if folder.is_empty() {
            return Err("the folder has no name".to_owned());
        }
        if !(1e-9..=1e9).contains(&weight) {
            return Err(format!("the weight {weight} is not from 1e-9 to 1e9"));
        }
        Ok(Self {
            folder: folder.into(),
            weight,
        })
    }
}

impl fmt::Display for ImageFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.folder.display(), self.weight)
    }
}

impl TryFrom<String> for ImageFolder {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ImageFolder> for String {
    fn from(folder: ImageFolder) -> Self {
        folder.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_may_have_a_weight() {
        for (text, folder, weight) in [
            ("photos", "photos", 1.0),
            ("photos:2.5", "photos", 2.5),
            ("C:\\photos", "C:\\photos", 1.0),
            ("C:\\photos:3", "C:\\photos", 3.0),
        ] {
            let read: ImageFolder = text.parse().unwrap();
            assert_eq!((read.folder.clone(), read.weight), (folder.into(), weight));
            assert_eq!(read.to_string().parse(), Ok(read));
        }
        for text in [
            "photos:0",
            "photos:1e-309",
            "photos:-1",
            "photos:inf",
            "photos:NaN",
            ":2",
            "",
        ] {
            assert!(text.parse::<ImageFolder>().is_err(), "{text}");
        }
    }
}
