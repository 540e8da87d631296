//! Tesseract, run as a program.

mod rows;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use image::RgbImage;

use super::{Line, ReaderError, TextReader};
use rows::lines;

/// Name of the program.
const PROGRAM: &str = "tesseract";

/// Sparse text in no particular order, as in photos and on posters.
const SPARSE_TEXT: &str = "11";

/// Tesseract (version 4 or later), which is started for each image.
#[derive(Debug, Clone)]
pub struct Tesseract {
    languages: String,
}

impl Tesseract {
    /// Creates a reader of some languages, as Tesseract names them: `eng`, or `chi_sim+eng`.
    ///
    /// # Errors
    /// Returns [`ReaderError`] if the program cannot be started or does not know a language.
    pub fn new(languages: &str) -> Result<Self, ReaderError> {
        let mut command = Command::new(PROGRAM);
        let output = command.arg("--list-langs").output().map_err(not_started)?;
        let known = String::from_utf8_lossy(&output.stdout).into_owned();
        let is_known = |language: &str| known.lines().any(|line| line.trim() == language);
        if let Some(unknown) = languages.split('+').find(|language| !is_known(language)) {
            return Err(ReaderError::Language {
                language: unknown.to_owned(),
            });
        }
        Ok(Self {
            languages: languages.to_owned(),
        })
    }

    fn run(&self, image: &RgbImage) -> Result<Output, ReaderError> {
        let mut command = Command::new(PROGRAM);
        command
            .args(["stdin", "stdout", "-l", &self.languages])
            .args(["--psm", SPARSE_TEXT, "-c", "tessedit_create_tsv=1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(not_started)?;
        if let Some(mut input) = child.stdin.take() {
            // If the program stops before it has read everything, its own message is better.
            let _ = input.write_all(&portable_pixmap(image));
        }
        child.wait_with_output().map_err(not_started)
    }
}

impl TextReader for Tesseract {
    fn read(&self, image: &RgbImage) -> Result<Vec<Line>, ReaderError> {
        let output = self.run(image)?;
        let failed = |reason: &str| ReaderError::Program {
            program: PROGRAM,
            reason: reason.to_owned(),
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(failed(said.lines().last().unwrap_or("it gave no reason")));
        }
        lines(&String::from_utf8_lossy(&output.stdout))
            .ok_or_else(|| failed("its output is not the table that was asked for"))
    }
}

fn not_started(source: std::io::Error) -> ReaderError {
    ReaderError::NotStarted {
        program: PROGRAM,
        source,
    }
}

/// Writes an image as PPM, which needs no compression.
fn portable_pixmap(image: &RgbImage) -> Vec<u8> {
    let mut bytes = format!("P6\n{} {}\n255\n", image.width(), image.height()).into_bytes();
    bytes.extend_from_slice(image.as_raw());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::golden::folder;

    #[test]
    fn signs_are_read_if_the_program_is_there() {
        let reader = match Tesseract::new("eng") {
            Ok(reader) => reader,
            Err(error) => {
                // Standard error, past the capture of the test harness.
                let _ = writeln!(std::io::stderr(), "skipped: {error}");
                return;
            }
        };
        let sign = image::open(folder().join("reader/sign-2.png")).unwrap();
        let lines = reader.read(&sign.into_rgb8()).unwrap();
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["C8H9C", "HE"]);
        assert!(lines.iter().all(|line| line.score > 0.5));
        let error = Tesseract::new("eng+klingon").unwrap_err().to_string();
        assert!(error.contains("`klingon`"), "{error}");
    }

    #[test]
    fn an_image_is_passed_as_a_pixmap() {
        let image = RgbImage::from_pixel(2, 1, image::Rgb([1, 2, 3]));
        assert_eq!(
            portable_pixmap(&image),
            b"P6\n2 1\n255\n\x01\x02\x03\x01\x02\x03"
        );
    }
}
