//! Generation of a benchmark's images.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use burn::tensor::backend::Backend;
use indicatif::{ProgressBar, ProgressStyle};
use ovis_image::device::BackendVisitor;
use ovis_image::error::Printable;
use ovis_image::{GenerationRequest, LoadOptions, LoraFile, OvisImagePipeline};
use serde_json::json;

use super::Arguments;
use super::record::{Generated, append, check_settings, create_folder_of};
use super::work::{Files, Task, Work, grid};
use crate::shared::image_file::ImageFormat;
use crate::shared::model::Model;
use crate::shared::program::{print, say};
use crate::shared::terminal::printable_lines;
use crate::shared::usage::UsageError;
use crate::shared::{embedded, interrupt, lora, output_file, peak_memory, threads};

const TEMPLATE: &str = "{wide_bar} {pos}/{len} prompts, {elapsed} so far, {eta} left";

/// Generates the images that are missing.
///
/// # Errors
/// Returns an error if the prompts, the model or the settings are wrong, before anything is
/// generated, and errors of the generation.
pub fn run(arguments: &Arguments) -> Result<()> {
    interrupt::exit_between_files()?;
    if let Some(threads) = arguments.threads {
        threads::limit(threads.into())?;
    }
    let (work, prompts_hash) = arguments.work()?;
    let device = arguments.device.spec.open()?;
    threads::warn(arguments.threads.is_some(), &device);
    let loras = lora::open(&arguments.lora, &arguments.model.hub)?;
    let model = arguments.model.resolve()?;
    if matches!(model, Model::Embedded) {
        say(&format!("note: {}", embedded::NOTICE));
    }
    let place = device.to_string();
    device.visit(Generate {
        arguments,
        model: &model,
        loras: &loras,
        work,
        prompts_hash,
        place,
    })
}

/// The work, on the backend of the device.
struct Generate<'a> {
    arguments: &'a Arguments,
    model: &'a Model,
    loras: &'a [LoraFile],
    work: Work,
    prompts_hash: String,
    place: String,
}

impl BackendVisitor for Generate<'_> {
    type Output = Result<()>;

    fn visit<B: Backend>(mut self, device: B::Device) -> Result<()> {
        let arguments = self.arguments;
        let folder = &arguments.output;
        let dtype = arguments.device.dtype;
        let dtype = dtype.unwrap_or_else(|| self.model.default_dtype::<B>(&device));
        let mut options = LoadOptions::new().with_dtype(dtype);
        if let Some(quantization) = arguments.quantize {
            options = options.with_quantization(quantization);
        }
        let checkpoint = self.model.open()?;
        let shared = arguments.request();
        shared.check(&checkpoint, &options)?;
        ensure!(
            shared.num_images() == 1,
            UsageError::new("a benchmark names its own number of images: see --images-per-prompt")
        );
        let settings = json!({
            "seed": arguments.seed,
            "images_per_prompt": arguments.images_per_prompt,
            "benchmark": arguments.benchmark.name(),
            "prompts": self.prompts_hash,
            "model": Model::hash(&checkpoint)?,
            "dtype": dtype.to_string(),
            "quantize": arguments.quantize.map(|format| format.to_string()),
            "loras": arguments.lora.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "request": shared.parameters(),
        });
        create_folder_of(&folder.join("settings.json"))?;
        check_settings(folder, &settings)?;
        for (path, text) in &self.work.texts {
            let path = folder.join(path);
            create_folder_of(&path)?;
            output_file::write_whole(&path, format!("{text}\n").as_bytes())?;
        }
        let present = self.work.skip_existing(folder);
        let count = self.work.tasks.len();
        if count == 0 {
            return print(format!("all {present} prompts have their images\n").as_bytes());
        }
        let mut pipeline = OvisImagePipeline::<B>::from_checkpoint(&checkpoint, options, &device)?;
        drop(checkpoint);
        for lora in lora::load(&mut pipeline, &arguments.lora, self.loras)? {
            say(&format!("note: {}: {}", Printable(&lora.file), lora.report));
        }
        let spent = self.generate_all(&pipeline, &shared)?;
        let images: usize = self.work.tasks.iter().map(|task| task.seeds.len()).sum();
        let said = format!(
            "{images} images of {count} prompts in {}, {:.2} s an image on {}; {present} prompts already had their images\n",
            folder.display(),
            spent.as_secs_f64() / images.max(1) as f64,
            self.place,
        );
        print(printable_lines(&said).as_bytes())
    }
}

impl Generate<'_> {
    /// Generates all images, and returns the time it took.
    fn generate_all<B: Backend>(
        &self,
        pipeline: &OvisImagePipeline<B>,
        shared: &GenerationRequest,
    ) -> Result<Duration> {
        let bar = ProgressBar::new(self.work.tasks.len() as u64)
            .with_style(ProgressStyle::with_template(TEMPLATE)?);
        bar.enable_steady_tick(Duration::from_millis(500));
        let (mut spent, mut cut) = (Duration::ZERO, 0);
        for tasks in self.work.batches(self.arguments.batch_size.into()) {
            let start = Instant::now();
            let prompts = tasks.iter().map(|task| task.prompt.as_str());
            let seeds: Vec<u64> = tasks.iter().flat_map(|task| task.seeds.clone()).collect();
            let count = seeds.len();
            let request = shared
                .clone()
                .with_prompts(prompts)
                .with_images_per_prompt(count / tasks.len().max(1))
                .with_seed_per_image(seeds);
            let output = pipeline.generate_with(&request, |_| ControlFlow::Continue(()))?;
            let elapsed = start.elapsed();
            spent += elapsed;
            let reports = &output.settings.prompt_reports;
            let truncated: Vec<usize> = reports
                .iter()
                .map(|report| report.truncated_tokens)
                .collect();
            let mut images = output.images.into_iter().map(|image| image.image);
            for (place, task) in tasks.iter().enumerate() {
                let own: Vec<_> = images.by_ref().take(task.seeds.len()).collect();
                save(&self.arguments.output, task, &own)?;
                let generated = Generated {
                    image: task.files.paths().first().cloned().unwrap_or_default(),
                    seeds: task.seeds.clone(),
                    truncated_tokens: truncated.get(place).copied().unwrap_or(0),
                    seconds_per_image: elapsed.as_secs_f64() / count.max(1) as f64,
                    peak_memory_bytes: peak_memory::peak_memory_bytes(),
                };
                append(&self.arguments.output, &generated)?;
                cut += usize::from(generated.truncated_tokens > 0);
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        if cut > 0 {
            say(&format!(
                "note: {cut} prompts were too long and were truncated; run.jsonl has the numbers of tokens"
            ));
        }
        Ok(spent)
    }
}

/// Saves the images of a prompt.
fn save(folder: &Path, task: &Task, images: &[image::RgbImage]) -> Result<()> {
    let write = |path: &Path, image: &image::RgbImage| {
        let path = folder.join(path);
        create_folder_of(&path)?;
        output_file::write_whole(&path, &ImageFormat::of(&path).encode(image, &[])?)
    };
    match &task.files {
        Files::Each(paths) => {
            for (path, image) in paths.iter().zip(images) {
                write(path, image)?;
            }
        }
        Files::Grid(path) => {
            if let Some(sheet) = grid(images) {
                write(path, &sheet)?;
            }
        }
    }
    Ok(())
}
