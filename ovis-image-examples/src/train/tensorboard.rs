//! Event file for TensorBoard, with the numbers of the log.
//!
//! A file is a sequence of records of TFRecord's format, each an `Event` of TensorFlow's
//! `event.proto` in the encoding of protocol buffers.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shared::output_file::write_whole;
use crate::shared::terminal::shown;

/// Name of the file. TensorBoard reads files whose names contain `tfevents`.
const NAME: &str = "events.out.tfevents.ovis-image";
/// Version that the first event of a file states.
const VERSION: &str = "brain.Event:2";

/// Event file that events are appended to.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Writes the file into a folder anew, with the events of the log's lines.
    ///
    /// The log has no times, so all these events have the present one.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn create(folder: &Path, log: &str) -> Result<Self> {
        let path = folder.join(NAME);
        let time = now();
        let mut bytes = record(&version_event(time));
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        for line in lines {
            bytes.extend(event_of(&line, time).iter().flat_map(|event| record(event)));
        }
        write_whole(&path, &bytes)?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.with_context(|| format!("cannot write {}", shown(&path)))?;
        Ok(Self { path, file })
    }

    /// Appends the event of a line of the log. A line without a step or numbers has none.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn write(&mut self, line: &Value) -> Result<()> {
        let Some(event) = event_of(line, now()) else {
            return Ok(());
        };
        let written = self.file.write_all(&record(&event));
        written.with_context(|| format!("cannot write {}", shown(&self.path)))
    }
}

/// Returns the seconds since 1970.
fn now() -> f64 {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    elapsed.map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// Returns the event of a line of the log, unless the line has no step or no numbers.
fn event_of(line: &Value, time: f64) -> Option<Vec<u8>> {
    let step = line.get("step")?.as_u64()?;
    let mut numbers = Vec::new();
    for (name, value) in line.as_object()? {
        if name != "step" {
            collect(name, value, &mut numbers);
        }
    }
    (!numbers.is_empty()).then(|| scalar_event(time, step, &numbers))
}

/// Collects the numbers of a value. Objects and lists are parts of the name.
fn collect(name: &str, value: &Value, numbers: &mut Vec<(String, f32)>) {
    match value {
        Value::Number(number) => {
            if let Some(number) = number.as_f64() {
                numbers.push((name.to_owned(), number as f32));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(&format!("{name}/{index}"), item, numbers);
            }
        }
        Value::Object(fields) => {
            for (field, value) in fields {
                collect(&format!("{name}/{field}"), value, numbers);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// `Event` with `wall_time` (1) and `file_version` (3).
fn version_event(time: f64) -> Vec<u8> {
    let mut event = fixed64(1, time);
    event.extend(delimited(3, VERSION.as_bytes()));
    event
}

/// `Event` with `wall_time` (1), `step` (2) and `summary` (5), whose values (1) have a `tag` (1) and a
/// `simple_value` (2).
fn scalar_event(time: f64, step: u64, numbers: &[(String, f32)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, number) in numbers {
        let mut value = delimited(1, tag.as_bytes());
        value.extend(fixed32(2, *number));
        summary.extend(delimited(1, &value));
    }
    let mut event = fixed64(1, time);
    event.push(2 << 3);
    event.extend(varint(step));
    event.extend(delimited(5, &summary));
    event
}

fn fixed64(field: u8, value: f64) -> Vec<u8> {
    let mut bytes = vec![field << 3 | 1];
    bytes.extend(value.to_le_bytes());
    bytes
}

fn fixed32(field: u8, value: f32) -> Vec<u8> {
    let mut bytes = vec![field << 3 | 5];
    bytes.extend(value.to_le_bytes());
    bytes
}

fn delimited(field: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![field << 3 | 2];
    bytes.extend(varint(content.len() as u64));
    bytes.extend(content);
    bytes
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Returns a record: the length of the content and its checksum, the content and its checksum.
fn record(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u64).to_le_bytes();
    [&length[..], &checksum(&length), content, &checksum(content)].concat()
}

/// CRC-32C, rotated and offset as TFRecord does, so that checksums of checksums are not weak.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
        .to_le_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Both events as tensorboard 2.21 writes them.
    const WRITTEN: &str = "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a\
        322a28646c3200000000000000241956ec09000000000000f83f10ac022a240a0b0a046c6f7373150000803e0a\
        150a0e656d612f76616c69646174696f6e15000000c067a1fb02";

    fn hexadecimal(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn records_equal_those_of_tensorboard() {
        let line = json!({"loss": 0.25, "ema": {"validation": -2.0}, "skipped": true, "step": 300});
        let numbers = [("loss", 0.25), ("ema/validation", -2.0)];
        let numbers = numbers.map(|(tag, number)| (tag.to_owned(), number));
        let events = [version_event(1.5), scalar_event(1.5, 300, &numbers)];
        let written: Vec<u8> = events.iter().flat_map(|event| record(event)).collect();
        assert_eq!(hexadecimal(&written), WRITTEN);
        let event = event_of(&line, 1.5).unwrap();
        assert_eq!(event.len(), events[1].len());
    }

    #[test]
    fn a_file_has_the_events_of_the_log_and_those_that_are_appended() {
        let folder = tempfile::tempdir().unwrap();
        let log = "{\"step\": 1, \"loss\": 2.0}\n{\"step\": 2, \"bands\": [1.0, 2.0]}\n{\"st";
        let mut events = EventFile::create(folder.path(), log).unwrap();
        events.write(&json!({"step": 3, "loss": 1.5})).unwrap();
        events.write(&json!({"step": 4, "loss": null})).unwrap();
        let bytes = std::fs::read(folder.path().join(NAME)).unwrap();
        let mut rest = &bytes[..];
        let mut records = 0;
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], checksum(&rest[..8]));
            let content = &rest[12..12 + length];
            assert_eq!(rest[12 + length..16 + length], checksum(content));
            rest = &rest[16 + length..];
            records += 1;
        }
        assert_eq!(records, 4);
    }
}
