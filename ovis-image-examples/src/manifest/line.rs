//! Lines of a JSON lines file, one at a time and of bounded length.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::ManifestError;
use crate::shared::input_file;

/// Maximum size of a line, in bytes. Longer lines are not rows: 10,000 boxes need a tenth of it.
pub const MOST_LINE_BYTES: u64 = 16 << 20;

/// Line that is not blank.
#[derive(Debug)]
pub struct JsonLine {
    /// Number of the line, from 1.
    pub number: u64,
    /// Offset of the line's first byte in the file.
    pub offset: u64,
    /// Bytes without the line feed, or the reason why there are none.
    pub bytes: Result<Vec<u8>, String>,
}

/// Reads the lines of a file.
#[derive(Debug)]
pub struct JsonLines {
    reader: BufReader<File>,
    path: PathBuf,
    number: u64,
    offset: u64,
}

impl JsonLines {
    /// Opens a regular file.
    ///
    /// # Errors
    /// Returns [`ManifestError::Read`].
    pub fn open(path: &Path) -> Result<Self, ManifestError> {
        let file = input_file::open(path).map_err(|source| ManifestError::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            reader: BufReader::with_capacity(1 << 16, file),
            path: path.to_owned(),
            number: 0,
            offset: 0,
        })
    }

    /// Returns the file's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read_line(&mut self) -> io::Result<Option<JsonLine>> {
        let mut bytes = Vec::new();
        let offset = self.offset;
        let limited = &mut (&mut self.reader).take(MOST_LINE_BYTES);
        let mut read = limited.read_until(b'\n', &mut bytes)? as u64;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        let is_whole = bytes.ends_with(b"\n") || read < MOST_LINE_BYTES;
        if !is_whole {
            bytes.clear();
            read += self.skip_line()?;
        }
        self.offset += read;
        let line = is_whole.then(|| {
            bytes.truncate(bytes.trim_ascii_end().len());
            bytes
        });
        Ok(Some(JsonLine {
            number: self.number,
            offset,
            bytes: line.ok_or_else(|| format!("it is longer than {MOST_LINE_BYTES} bytes")),
        }))
    }

    /// Skips to the next line without holding the skipped bytes in memory.
    fn skip_line(&mut self) -> io::Result<u64> {
        let mut skipped = 0;
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                return Ok(skipped);
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let count = end.map_or(buffer.len(), |end| end + 1);
            self.reader.consume(count);
            skipped += count as u64;
            if end.is_some() {
                return Ok(skipped);
            }
        }
    }
}

impl Iterator for JsonLines {
    type Item = Result<JsonLine, ManifestError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.read_line() {
                Ok(None) => return None,
                Ok(Some(line)) if line.bytes.as_ref().is_ok_and(Vec::is_empty) => {}
                Ok(Some(line)) => return Some(Ok(line)),
                Err(source) => {
                    let path = self.path.clone();
                    return Some(Err(ManifestError::Read { path, source }));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_numbers_and_offsets_and_blank_ones_are_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, "{}\r\n\n[1]").unwrap();
        let lines: Vec<JsonLine> = JsonLines::open(&path)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let shown: Vec<_> = lines
            .iter()
            .map(|line| (line.number, line.offset, line.bytes.as_deref().unwrap()))
            .collect();
        assert_eq!(shown, [(1, 0, &b"{}"[..]), (3, 5, b"[1]")]);
    }

    #[test]
    fn an_endless_line_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mut bytes = vec![b' '; 2 * MOST_LINE_BYTES as usize];
        bytes.extend(b"\n{}\n");
        std::fs::write(&path, bytes).unwrap();
        let lines: Vec<JsonLine> = JsonLines::open(&path)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert!(lines[0].bytes.as_ref().unwrap_err().contains("longer"));
        assert_eq!(
            (lines[1].number, lines[1].bytes.as_deref()),
            (2, Ok(&b"{}"[..]))
        );
    }
}
