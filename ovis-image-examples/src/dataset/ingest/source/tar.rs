//! WebDataset archives: consecutive members with the same name form a sample, and their extensions
//! tell their kind. Nothing is unpacked here: an image is a span of the archive.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::{Candidate, Options, Place, record};
use crate::dataset::ingest::captions;
use crate::dataset::ingest::reason::{Dropped, Reason};
use crate::shared::captioned_images::IMAGES;
use crate::shared::input_file;

/// Maximum size of a sample's JSON, in bytes.
const MOST_JSON_BYTES: u64 = 1 << 20;

/// Number of members that are read ahead of the samples that are taken.
const AHEAD: usize = 256;

/// Tar archive.
pub(super) struct Tar {
    archive: PathBuf,
    stem: String,
    most_caption_bytes: u64,
    /// Offset of the next member's header.
    next: Option<u64>,
    open: Option<Sample>,
    done: VecDeque<Candidate>,
}

/// Members with the same name.
#[derive(Debug, Default)]
struct Sample {
    key: String,
    image: Option<(u64, u64, String)>,
    caption: Option<String>,
    record: Map<String, Value>,
    dropped: Option<Dropped>,
}

impl Tar {
    /// Opens an archive.
    ///
    /// # Errors
    /// Returns the system's error.
    pub(super) fn open(path: &Path, options: &Options) -> Result<Self> {
        input_file::check(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self {
            archive: path.to_owned(),
            stem: path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            most_caption_bytes: options.most_caption_bytes,
            next: Some(0),
            open: None,
            done: VecDeque::new(),
        })
    }

    /// Reads members until some samples are complete.
    fn read_ahead(&mut self) -> std::io::Result<()> {
        let Some(start) = self.next else {
            return Ok(());
        };
        let mut file = input_file::open(&self.archive)?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(start))?;
        let mut archive = ::tar::Archive::new(BufReader::new(file));
        let mut entries = archive.entries_with_seek()?;
        self.next = None;
        for _ in 0..AHEAD {
            let Some(entry) = entries.next() else {
                return Ok(());
            };
            let mut entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.close();
                    let detail = format!("the archive cannot be read beyond this entry: {error}");
                    self.refuse("(end)", Dropped::new(Reason::InvalidRow, detail));
                    return Ok(());
                }
            };
            // Both count from the start of what is read here.
            let offset = start + entry.raw_file_position();
            let padded = entry.size().checked_next_multiple_of(512);
            self.next = padded.and_then(|size| offset.checked_add(size));
            self.member(&mut entry, offset);
        }
        Ok(())
    }

    fn member(&mut self, entry: &mut ::tar::Entry<'_, BufReader<File>>, offset: u64) {
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() {
            return;
        }
        let name = entry.path_bytes().into_owned();
        let (name, is_utf8) = match String::from_utf8(name) {
            Ok(name) => (name, true),
            Err(error) => (
                String::from_utf8_lossy(error.as_bytes()).into_owned(),
                false,
            ),
        };
        let path = Path::new(&name);
        let is_inside = path
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !is_utf8 || !is_inside || name.contains('\\') {
            let detail = "the name leads out of the archive, or is not UTF-8";
            return self.refuse(&name, Dropped::new(Reason::UnsafeName, detail));
        }
        if !kind.is_file() && !kind.is_contiguous() {
            let detail = "it is a link or a device";
            return self.refuse(&name, Dropped::new(Reason::Unreadable, detail));
        }
        let (key, ending) = split(&name);
        if self.open.as_ref().is_none_or(|open| open.key != key) {
            self.close();
            self.open = Some(Sample {
                key: key.to_owned(),
                ..Sample::default()
            });
        }
        let Some(sample) = &mut self.open else {
            return;
        };
        sample.add(entry, ending, offset, &name, self.most_caption_bytes);
    }

    /// Adds a member that belongs to no sample.
    fn refuse(&mut self, name: &str, dropped: Dropped) {
        let id = format!("{}/{name}", self.stem);
        self.done.push_back(Candidate::refused(id, dropped));
    }

    /// Makes a candidate from the members so far.
    fn close(&mut self) {
        let Some(sample) = self.open.take() else {
            return;
        };
        let id = format!("{}/{}", self.stem, sample.key);
        let Some((offset, length, name)) = sample.image else {
            let dropped = Dropped::new(Reason::InvalidRow, "the sample has no image");
            self.done
                .push_back(Candidate::refused(id, sample.dropped.unwrap_or(dropped)));
            return;
        };
        let candidate = match record::to_row(sample.record) {
            Err(dropped) => Candidate::refused(id, dropped),
            Ok(mut row) => {
                row.id = id;
                row.image = name.clone().into();
                if let Some(caption) = sample.caption {
                    captions::assign(&mut row, caption);
                }
                Candidate {
                    row,
                    image: Place::Span {
                        archive: self.archive.clone(),
                        offset,
                        length,
                        name,
                    },
                    dropped: sample.dropped,
                }
            }
        };
        self.done.push_back(candidate);
    }
}

impl Sample {
    fn add(
        &mut self,
        entry: &mut ::tar::Entry<'_, BufReader<File>>,
        ending: &str,
        offset: u64,
        name: &str,
        most_caption_bytes: u64,
    ) {
        let ending = ending.to_lowercase();
        let last = ending.rsplit('.').next().unwrap_or_default();
        if IMAGES.contains(&last) {
            if self.image.is_none() {
                self.image = Some((offset, entry.size(), name.to_owned()));
            }
            return;
        }
        let mut text = |most: u64, reason: Reason| {
            let mut bytes = Vec::new();
            let read = entry.take(most + 1).read_to_end(&mut bytes);
            let text = String::from_utf8(bytes);
            match (read, text) {
                (Ok(read), _) if read as u64 > most => {
                    let detail = format!("`{name}` has more than {most} bytes");
                    Err(Dropped::new(Reason::CaptionTooLong, detail))
                }
                (Ok(_), Ok(text)) => Ok(text),
                (Ok(_), Err(_)) => Err(Dropped::new(reason, format!("`{name}` is not UTF-8"))),
                (Err(error), _) => Err(Dropped::new(reason, format!("`{name}`: {error}"))),
            }
        };
        match last {
            "txt" | "caption" => match text(most_caption_bytes, Reason::CaptionInvalid) {
                Ok(text) => self.caption = Some(text.trim().to_owned()),
                Err(dropped) => self.dropped = Some(dropped),
            },
            "json" => {
                let parsed = text(MOST_JSON_BYTES, Reason::InvalidRow).and_then(|text| {
                    serde_json::from_str(&text)
                        .map_err(|error| Dropped::new(Reason::InvalidRow, error.to_string()))
                });
                match parsed {
                    Ok(record) => self.record = record,
                    Err(dropped) => self.dropped = Some(dropped),
                }
            }
            _ => {}
        }
    }
}

/// Splits a name at the first dot after the last folder.
fn split(name: &str) -> (&str, &str) {
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[start..].find('.') {
        Some(dot) => (&name[..start + dot], &name[start + dot + 1..]),
        None => (name, ""),
    }
}

impl Iterator for Tar {
    type Item = Result<Candidate>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(candidate) = self.done.pop_front() {
                return Some(Ok(candidate));
            }
            if self.next.is_none() {
                self.close();
                return self.done.pop_front().map(Ok);
            }
            if let Err(error) = self.read_ahead() {
                self.next = None;
                let context = format!("cannot read {}", self.archive.display());
                return Some(Err(error).context(context));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_at_the_first_dot() {
        assert_eq!(split("a.b/0001.seg.png"), ("a.b/0001", "seg.png"));
        assert_eq!(split("0001"), ("0001", ""));
    }
}
