//! Images of each benchmark: prompts, seeds, and the files that the official scorer reads.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::work::{Files, Task, Work};
use super::{Arguments, Benchmark};
use crate::evaluate::prompts;

/// Seeds of the images of a benchmark.
struct Seeds {
    first: u64,
    per_prompt: usize,
}

impl Seeds {
    /// Returns the seeds of the prompt at a place. No two images of a benchmark share one.
    fn of(&self, place: usize) -> Vec<u64> {
        let start = self
            .first
            .wrapping_add(place as u64 * self.per_prompt as u64);
        (0..self.per_prompt as u64)
            .map(|image| start.wrapping_add(image))
            .collect()
    }

    /// Names the images of a prompt: `STEM.png`, or `STEM_K.png` for several.
    fn files(&self, stem: &str) -> Files {
        let name = |image: usize| match self.per_prompt {
            1 => PathBuf::from(format!("{stem}.png")),
            _ => PathBuf::from(format!("{stem}_{image}.png")),
        };
        Files::Each((0..self.per_prompt).map(name).collect())
    }
}

pub(super) fn work(arguments: &Arguments) -> Result<Work> {
    let path = &arguments.prompts;
    let usual = match arguments.benchmark {
        Benchmark::Geneval | Benchmark::Dpg | Benchmark::Oneig => 4,
        _ => 1,
    };
    let seeds = Seeds {
        first: arguments.seed.unwrap_or(0),
        per_prompt: arguments.images_per_prompt.map_or(usual, usize::from),
    };
    match arguments.benchmark {
        Benchmark::Cvtg => cvtg(path, &seeds),
        Benchmark::Longtext => longtext(path, "text_prompts.jsonl", &seeds),
        Benchmark::LongtextZh => longtext(path, "text_prompts_zh.jsonl", &seeds),
        Benchmark::Geneval => geneval(path, &seeds),
        Benchmark::Dpg => dpg(path, &seeds),
        Benchmark::Oneig => oneig(path, &arguments.model_name, &seeds),
        Benchmark::Signs => signs(path, &seeds),
    }
}

fn cvtg(path: &Path, seeds: &Seeds) -> Result<Work> {
    let prompts = prompts::cvtg(path)?.into_iter().enumerate();
    Ok(of_tasks(prompts.map(|(place, prompt)| Task {
        files: seeds.files(&format!("{}/{}", prompt.set, prompt.index)),
        prompt: prompt.prompt,
        seeds: seeds.of(place),
    })))
}

fn longtext(path: &Path, name: &str, seeds: &Seeds) -> Result<Work> {
    let prompts = prompts::longtext(path, name)?.into_iter().enumerate();
    Ok(of_tasks(prompts.map(|(place, prompt)| Task {
        files: seeds.files(&prompt.prompt_id.to_string()),
        prompt: prompt.prompt,
        seeds: seeds.of(place),
    })))
}

fn geneval(path: &Path, seeds: &Seeds) -> Result<Work> {
    let mut work = Work::default();
    for (place, (prompt, line)) in prompts::geneval(path)?.into_iter().enumerate() {
        let folder = PathBuf::from(format!("{place:05}"));
        let image = |image| folder.join(format!("samples/{image:04}.png"));
        work.tasks.push(Task {
            prompt,
            seeds: seeds.of(place),
            files: Files::Each((0..seeds.per_prompt).map(image).collect()),
        });
        work.texts.push((folder.join("metadata.jsonl"), line));
    }
    Ok(work)
}

fn dpg(path: &Path, seeds: &Seeds) -> Result<Work> {
    let prompts = prompts::dpg(path)?.into_iter().enumerate();
    Ok(of_tasks(prompts.map(|(place, (name, prompt))| Task {
        prompt,
        seeds: seeds.of(place),
        files: Files::Grid(PathBuf::from(format!("{name}.png"))),
    })))
}

fn oneig(path: &Path, model: &str, seeds: &Seeds) -> Result<Work> {
    let prompts = prompts::oneig(path)?.into_iter().enumerate();
    Ok(of_tasks(prompts.map(|(place, prompt)| {
        let file = Path::new(prompt.class).join(model);
        Task {
            files: Files::Grid(file.join(format!("{}.webp", prompt.id))),
            prompt: prompt.prompt,
            seeds: seeds.of(place),
        }
    })))
}

fn signs(path: &Path, seeds: &Seeds) -> Result<Work> {
    let prompts = prompts::signs(path)?.into_iter().enumerate();
    let images = seeds.per_prompt as u64;
    Ok(of_tasks(prompts.map(|(place, prompt)| {
        Task {
            files: seeds.files(&format!("{place:04}")),
            prompt: prompt.prompt,
            seeds: (0..images)
                .map(|image| prompt.seed.wrapping_add(1_000_000 * image))
                .collect(),
        }
    })))
}

fn of_tasks(tasks: impl Iterator<Item = Task>) -> Work {
    Work {
        tasks: tasks.collect(),
        texts: Vec::new(),
    }
}
