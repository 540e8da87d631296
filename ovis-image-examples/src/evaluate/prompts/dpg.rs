//! DPG-Bench.

use std::fs;
use std::path::Path;

use super::{of_another, read};
use crate::evaluate::error::EvaluateError;

const DPG: &str = "DPG-Bench";

/// Reads the prompts of DPG-Bench from the folder with `0.txt` and so on, each with the name of its
/// file, in the order of the names.
///
/// # Errors
/// Returns [`EvaluateError`] if the folder cannot be read or contains no prompts.
pub fn dpg(folder: &Path) -> Result<Vec<(String, String)>, EvaluateError> {
    let failed = |source| EvaluateError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut prompts = Vec::with_capacity(paths.len());
    for path in paths {
        let name = path.file_stem().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| of_another(&path, DPG, "its name is not UTF-8"))?;
        let prompt = String::from_utf8(read(&path)?)
            .map_err(|_| of_another(&path, DPG, "it is not UTF-8"))?;
        prompts.push((name.to_owned(), prompt.trim().to_owned()));
    }
    if prompts.is_empty() {
        return Err(of_another(folder, DPG, "files such as 0.txt are needed"));
    }
    Ok(prompts)
}
