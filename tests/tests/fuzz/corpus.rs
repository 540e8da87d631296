//! Replays the files of `tests/corpus`, which were made by hand or found by a search.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ovis_image::tensor_file::TensorSource;
use ovis_image::{OvisImageError, Result};

use ovis_image_tests::error_chain::chain;

use crate::harness::{Scratch, alone, is_typed, read_all};
use crate::lora::open_and_attach;

type Reader = fn(&Path, usize) -> Result<()>;

/// File name and the text that its error must contain; `None` for a valid file.
type Expected = (&'static str, Option<&'static str>);

fn corpus(reader: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(reader)
}

/// Returns the size of a file, or of a folder's files, in bytes.
fn bytes_of(path: &Path) -> usize {
    if path.is_dir() {
        std::fs::read_dir(path)
            .unwrap()
            .map(|file| bytes_of(&file.unwrap().path()))
            .sum()
    } else {
        std::fs::metadata(path).unwrap().len() as usize
    }
}

fn replay(reader: &str, read: Reader, ending: &str, expected: &[Expected]) {
    let _alone = alone();
    let folder = corpus(reader);
    let mut failures = Vec::new();
    for (name, says) in expected {
        let mut path = folder.join(format!("{name}{ending}"));
        if !path.exists() {
            path = folder.join(name);
        }
        let result = read(&path, bytes_of(&path));
        let as_expected = match (&result, says) {
            (Ok(()), None) => true,
            (Err(error), Some(says)) => {
                is_typed(error, &path);
                chain(error).contains(says)
            }
            _ => false,
        };
        if !as_expected {
            let result = result.map_err(|error: OvisImageError| chain(&error));
            failures.push(format!("{name}: {result:?} instead of {says:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));

    let listed: BTreeSet<&str> = expected.iter().map(|(name, _)| *name).collect();
    for file in std::fs::read_dir(&folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let name = name.strip_suffix(ending).unwrap_or(&name);
        assert!(listed.contains(name), "{reader}/{name} is not replayed");
    }
}

#[test]
fn gguf() {
    replay(
        "gguf",
        read_all,
        ".gguf",
        &[
            ("sound", None),
            ("arrays-4-deep", None),
            ("axis-0", None),
            // The reader's caller checks scales before it uses them.
            ("scale-nan", None),
            ("type-unknown", None),
            ("type-without-reader-claims-2-to-64", None),
            ("alignment-0", Some("alignment 0 is not a power of two")),
            ("alignment-2-to-31", Some("16 bytes at 0 of the data")),
            ("alignment-3", Some("alignment 3 is not a power of two")),
            ("alignment-of-another-type", Some("general.alignment")),
            ("all-in-one-place", Some("overlap")),
            ("array-2-to-61-of-u64", Some("claims 2305843009213693952")),
            ("array-2-to-63-of-bytes", Some("claims 9223372036854775808")),
            ("array-of-unknown-type", Some("the unknown type 99")),
            ("arrays-100-deep", Some("too deep")),
            ("axes-overflow", Some("tensor `a`: shape")),
            ("axes-overflow-but-for-a-0", Some("tensor `a`: shape")),
            ("axes-overflow-in-bytes", Some("tensor `a`: shape")),
            ("axis-no-whole-block", Some("whole number of Q8_0 blocks")),
            ("big-endian", Some("big-endian")),
            ("dimensions-2-to-32-less-1", Some("4294967295 dimensions")),
            ("dimensions-5", Some("tensor `a` has 5 dimensions")),
            ("key-2-to-63-bytes", Some("for a metadata key")),
            ("magic-alone", Some("ends within the version")),
            ("name-2-to-63-bytes", Some("for a tensor's name")),
            ("name-not-utf8", Some("name is not UTF-8")),
            ("name-twice", Some("tensor `a` appears twice")),
            ("offset-2-to-64-less-32", Some("tensor `a`: 16 bytes at")),
            ("offset-after-the-end", Some("tensor `a`: 16 bytes at 32")),
            ("offset-not-aligned", Some("not aligned to 32")),
            ("overlapping", Some("`a` and `b` overlap")),
            ("scalar-in-blocks", Some("tensor `a`: shape []")),
            ("tensors-2-to-63", Some("for the number of tensors")),
            (
                "tensors-more-than-there-are",
                Some("its header ends within"),
            ),
            ("text-2-to-64-less-1-bytes", Some("for a metadata value")),
            ("truncated-data", Some("tensor `a`: 16 bytes at 0")),
            ("value-of-unknown-type", Some("the unknown type 13")),
            ("values-2-to-63", Some("for the number of metadata pairs")),
            ("version-1", Some("version 1 is not 2 or 3")),
        ],
    );
}

#[test]
fn safetensors() {
    replay(
        "safetensors",
        read_all,
        ".safetensors",
        &[
            ("sound", None),
            ("dtype-not-floats", None),
            ("fields-that-nobody-knows", None),
            ("metadata-null", None),
            ("shape-of-1000-axes", None),
            ("shape-overflows-but-for-a-0", None),
            ("7-bytes", Some("shorter than the 8 bytes")),
            ("dtype-a-number", Some("tensor `a`: invalid type")),
            ("dtype-absent", Some("tensor `a`: missing field `dtype`")),
            ("dtype-of-half-a-byte", Some("tensor `a`")),
            ("dtype-unknown", Some("tensor `a`")),
            ("entry-nested-10000-deep", Some("tensor `a`")),
            ("header-is-a-list", Some("expected tensors by name")),
            ("header-nested-10000-deep", Some("expected tensors by name")),
            ("header-not-utf8", Some("not JSON")),
            ("hole-after", Some("16 of the 20 bytes")),
            ("hole-before", Some("tensor `a` begins at byte 4")),
            ("hole-between", Some("tensor `b` begins at byte 20")),
            ("length-0", Some("not JSON")),
            ("length-1-too-long", Some("its header claims")),
            ("length-2-to-63", Some("claims 9223372036854775808 bytes")),
            ("length-2-to-64-less-1", Some("claims 18446744073709551615")),
            ("metadata-of-numbers", Some("__metadata__")),
            ("metadata-twice", Some("__metadata__` appears twice")),
            ("name-twice", Some("tensor `a` appears twice")),
            ("name-twice-elsewhere", Some("tensor `a` appears twice")),
            ("no-tensors-but-data", Some("0 of the 8 bytes")),
            ("offsets-2-to-64-less-1", Some("tensor `a`: it claims")),
            ("offsets-after-the-end", Some("tensor `a`: it claims")),
            ("offsets-backwards", Some("tensor `a`: it claims")),
            ("offsets-of-three", Some("tensor `a`")),
            ("overlapping", Some("tensor `b` begins at byte 8")),
            ("shape-1e999", Some("tensor `a`: number out of range")),
            ("shape-2-to-64", Some("tensor `a`: invalid type")),
            ("shape-absent", Some("tensor `a`: missing field `shape`")),
            ("shape-fraction", Some("tensor `a`: invalid type")),
            ("shape-negative", Some("tensor `a`: invalid value")),
            ("shape-overflows", Some("tensor `a`: shape")),
            ("shape-overflows-in-bits", Some("tensor `a`: shape")),
            ("shape-overflows-to-16-bytes", Some("tensor `a`: shape")),
            ("shape-twice", Some("tensor `a`: duplicate field `shape`")),
            ("text-after-the-header", Some("trailing characters")),
            ("unknown-field-nested-10000-deep", Some("tensor `a`")),
        ],
    );
}

#[test]
fn shards() {
    replay(
        "shards",
        read_all,
        "",
        &[
            ("sound", None),
            ("above-the-folder", Some("outside its folder")),
            ("absent-shard", Some("three.safetensors not found")),
            ("absolute-path", Some("outside its folder")),
            ("empty-map", Some("weight_map is empty")),
            ("empty-name", Some("outside its folder")),
            ("map-of-numbers", Some("expected a string")),
            ("nested-10000-deep", Some("EOF while parsing")),
            ("no-map", Some("missing field `weight_map`")),
            ("tensor-in-two-shards", Some("tensor `a` is in two shards")),
            ("tensor-of-another-shard", Some("tensor `a` is not in")),
            ("tensor-of-no-shard", Some("tensor `c` is not in")),
            ("the-folder-itself", Some("outside its folder")),
            ("the-index-itself", Some("its header claims")),
            ("through-the-folder-above", Some("outside its folder")),
            ("with-a-nul", Some("cannot access")),
            ("with-a-slash", Some("cannot access")),
        ],
    );
}

#[test]
fn lora() {
    replay(
        "lora",
        open_and_attach,
        ".safetensors",
        &[
            ("sound", None),
            ("config-of-dots", None),
            ("config-sound", None),
            (
                "alpha-alone",
                Some("`x_embedder.alpha` belongs to an incomplete module"),
            ),
            ("alpha-nan", Some("not a single finite number")),
            ("alpha-of-none", Some("not a single finite number")),
            ("alpha-of-two", Some("not a single finite number")),
            ("another-method", Some("DoRA")),
            ("another-width", Some("has shape [1, 17]")),
            ("config-a-list", Some("expected a map")),
            ("config-alpha-1e300", Some("module `x_embedder`")),
            ("config-alpha-1e999", Some("number out of range")),
            ("config-alpha-a-text", Some("expected f64")),
            ("config-dora", Some("DoRA")),
            ("config-empty", Some("EOF")),
            ("config-nested-10000-deep", Some("recursion limit")),
            ("config-pattern-1e300", Some("module `x_embedder`")),
            ("config-regular-expression", Some("regular expression")),
            ("empty-module-name", Some("belongs to this model")),
            ("half-alone", Some("an incomplete module")),
            ("metadata-alpha-1e300", Some("module `x_embedder`")),
            ("no-lora", Some("does not belong to a LoRA")),
            ("no-tensors", Some("none of the 0 modules")),
            ("one-axis", Some("must be [rank, in] and [out, rank]")),
            ("rank-0", Some("must be [rank, in] and [out, rank]")),
            ("ranks-differ", Some("must be [rank, in] and [out, rank]")),
            ("two-names-of-one-matrix", Some("the same matrix")),
            ("value-nan", Some("NaN or infinite")),
        ],
    );
}

/// Opening a pipe would wait for its other end.
#[cfg(unix)]
#[test]
fn a_pipe_is_not_waited_for() {
    let _alone = alone();
    let scratch = Scratch::new();
    for name in [
        "model.safetensors",
        "model.gguf",
        "model.safetensors.index.json",
    ] {
        let pipe = scratch.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for path in [&pipe, scratch.path()] {
            let error = TensorSource::open(path).unwrap_err();
            is_typed(&error, scratch.path());
        }
        std::fs::remove_file(pipe).unwrap();
    }
}
