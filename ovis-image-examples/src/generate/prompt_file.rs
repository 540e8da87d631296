//! Prompts from a file: one a line, made one after another.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ovis_image::GenerationRequest;

use crate::shared::usage::UsageError;

/// Number of bytes above which a file is taken for something other than prompts.
const MOST_BYTES: u64 = 16 << 20;

/// Number of prompts above which a file is taken for something else.
const MOST_PROMPTS: usize = 4096;

/// Reads the prompts of a file, or of standard input for `-`. Blank lines are left out.
///
/// # Errors
/// Returns an error that names the file if it cannot be read, is not text, is too long or has no
/// prompts.
pub fn read(path: &Path) -> Result<Vec<String>> {
    let (name, bytes) = if path == Path::new("-") {
        ("standard input".to_owned(), bytes_of(std::io::stdin()))
    } else {
        let bytes = File::open(path).map_err(Into::into).and_then(bytes_of);
        (path.display().to_string(), bytes)
    };
    let bytes = bytes.with_context(|| format!("cannot read the prompts in {name}"))?;
    let text = String::from_utf8(bytes).with_context(|| format!("{name} is not UTF-8 text"))?;
    let prompts = prompts(&text);
    ensure!(
        !prompts.is_empty() && prompts.len() <= MOST_PROMPTS,
        UsageError(format!(
            "{name} has {} prompts: it must have 1 to {MOST_PROMPTS}, one in each line",
            prompts.len()
        ))
    );
    Ok(prompts)
}

/// Makes the requests of all prompts from that of one. They differ in nothing else, so that every
/// prompt starts from the noise of the same seeds. Without a file there is one request.
pub fn requests(base: &GenerationRequest, prompts: Option<&[String]>) -> Vec<GenerationRequest> {
    let Some(prompts) = prompts else {
        return vec![base.clone()];
    };
    prompts
        .iter()
        .map(|prompt| base.clone().with_prompts([prompt]))
        .collect()
}

fn bytes_of(file: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= MOST_BYTES,
        UsageError(format!("more than {MOST_BYTES} bytes"))
    );
    Ok(bytes)
}

fn prompts(text: &str) -> Vec<String> {
    // Editors on Windows begin files with this mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().map(str::trim);
    let prompts = lines.filter(|line| !line.is_empty());
    prompts.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_a_line() {
        let text = "\u{feff}a cat, on a mat\r\n\n  一只猫 \n# not a comment\n";
        assert_eq!(
            prompts(text),
            ["a cat, on a mat", "一只猫", "# not a comment"]
        );
        let base = GenerationRequest::new("x").with_seed(3);
        let requests = requests(&base, Some(&prompts(text)));
        assert_eq!(requests.len(), 3);
        assert_eq!(requests[1].parameters().prompts, ["一只猫"]);
        assert_eq!(requests[1].parameters().seeds, [3]);
    }

    #[test]
    fn files_without_prompts_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            format!("{:#}", read(&path).unwrap_err())
        };
        for (name, bytes) in [
            ("empty.txt", &b" \n\n"[..]),
            ("bytes.txt", b"\xff\xfe"),
            ("long.txt", &[b'\n'; (MOST_BYTES + 1) as usize]),
        ] {
            let error = file(name, bytes);
            assert!(error.contains(name), "{error}");
        }
        let many = "x\n".repeat(MOST_PROMPTS + 1);
        assert!(file("many.txt", many.as_bytes()).contains("4097 prompts"));
        assert!(read(&folder.path().join("missing.txt")).is_err());
    }
}
