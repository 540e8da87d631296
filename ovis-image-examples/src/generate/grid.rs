//! Images side by side with captions: one setting across, another down.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use image::{Rgb, RgbImage, imageops};
use ovis_image::GenerationRequest;

use super::captions;
use super::grid_values;
use crate::shared::record::names;
use crate::shared::seed::Seed;
use crate::shared::usage::UsageError;

/// A setting and its values, one per column or row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridAxis {
    /// The setting.
    pub setting: GridSetting,
    /// The values as they were written.
    pub values: Vec<String>,
}

/// A setting by which images can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GridSetting {
    /// `--seed`.
    Seed,
    /// `--guidance-scale`.
    GuidanceScale,
    /// `--steps`.
    Steps,
    /// `--sampler`.
    Sampler,
    /// `--schedule`.
    Schedule,
    /// `--sigmas`.
    Sigmas,
    /// `--guidance`.
    Guidance,
    /// `--step-cache`, or `none`.
    StepCache,
    /// `--prompt`.
    Prompt,
}

const SETTINGS: [(&str, GridSetting); 9] = [
    ("seed", GridSetting::Seed),
    ("guidance-scale", GridSetting::GuidanceScale),
    ("steps", GridSetting::Steps),
    ("sampler", GridSetting::Sampler),
    ("schedule", GridSetting::Schedule),
    ("sigmas", GridSetting::Sigmas),
    ("guidance", GridSetting::Guidance),
    ("step-cache", GridSetting::StepCache),
    ("prompt", GridSetting::Prompt),
];
const MOST_VALUES: usize = 64;

impl GridSetting {
    /// Sets a request to a value of this setting.
    ///
    /// # Errors
    /// Returns an error if the setting does not have this value.
    pub fn apply(self, request: GenerationRequest, value: &str) -> Result<GenerationRequest> {
        let number = || format!("`{value}` is not a valid {self}");
        Ok(match self {
            Self::Seed => request.with_seed(value.parse().with_context(number)?),
            Self::GuidanceScale => request.with_guidance_scale(value.parse().with_context(number)?),
            Self::Steps => request.with_num_inference_steps(value.parse().with_context(number)?),
            Self::Sampler => {
                let named = names::parse_sampler(value).map_err(UsageError)?;
                named.apply(request)
            }
            Self::Schedule => request.with_schedule(value.parse()?),
            Self::Sigmas => {
                request.with_sigma_spacing(names::parse_spacing(value).map_err(UsageError)?)
            }
            Self::Guidance => request.with_guidance_method(value.parse()?),
            Self::StepCache if value == "none" => request,
            Self::StepCache => request.with_step_cache(value.parse()?),
            Self::Prompt => request.with_prompts([value.to_owned()]),
        })
    }
}

impl GridAxis {
    /// Returns the caption of a value.
    pub fn caption(&self, value: &str) -> String {
        match self.setting {
            GridSetting::Prompt => value.to_owned(),
            setting => format!("{setting} {value}"),
        }
    }

    fn captions(&self) -> Vec<String> {
        self.values
            .iter()
            .map(|value| self.caption(value))
            .collect()
    }
}

/// The requests of a grid, row by row, and its captions.
#[derive(Debug, Clone)]
pub struct GridRequests {
    /// Requests, each for one image.
    pub requests: Vec<GenerationRequest>,
    /// Captions of the rows: a single empty one if there is one axis.
    pub rows: Vec<String>,
    /// Captions of the columns.
    pub columns: Vec<String>,
}

impl GridRequests {
    /// Makes the requests of one axis (across) or two (across, down).
    ///
    /// # Errors
    /// Returns an error for another number of axes, for a value that its setting does not have, and
    /// for a base request of several images.
    pub fn new(base: &GenerationRequest, axes: &[GridAxis]) -> Result<Self> {
        let (across, down) = match axes {
            [across] => (across, None),
            [across, down] => (across, Some(down)),
            _ => bail!(UsageError(format!(
                "--grid: a grid has one or two settings, not {}",
                axes.len()
            ))),
        };
        ensure!(
            down.is_none_or(|down| down.setting != across.setting),
            UsageError(format!(
                "--grid: both settings of the grid are {}",
                across.setting
            ))
        );
        ensure!(
            base.num_images() == 1,
            UsageError::new(
                "--grid: a grid has one image per value: give one prompt, without --num-images and --seeds"
            )
        );
        let mut requests = Vec::new();
        for row in down.map_or(vec![None], |down| down.values.iter().map(Some).collect()) {
            for value in &across.values {
                let mut cell = vec![(across.setting, value)];
                cell.extend(down.map(|down| down.setting).zip(row));
                // The name of a sampler may have a spacing behind it, which --sigmas overrides.
                cell.sort_by_key(|(setting, _)| *setting != GridSetting::Sampler);
                let request = cell
                    .into_iter()
                    .try_fold(base.clone(), |request, (setting, value)| {
                        setting.apply(request, value)
                    })?;
                requests.push(request);
            }
        }
        Ok(Self {
            requests,
            rows: down.map_or(vec![String::new()], GridAxis::captions),
            columns: across.captions(),
        })
    }
}

impl FromStr for GridAxis {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, values) = text.split_once('=').unwrap_or((text, ""));
        let Some((_, setting)) = SETTINGS.iter().find(|(known, _)| *known == name) else {
            let names = SETTINGS.map(|(name, _)| name).join(", ");
            bail!("`{name}` is not one of {names}");
        };
        let mut values = grid_values::split(values).map_err(UsageError)?;
        ensure!(
            values.iter().all(|value| !value.is_empty()) && values.len() <= MOST_VALUES,
            "`{text}` is not {name}=VALUE,VALUE,… with 1 to {MOST_VALUES} values"
        );
        if *setting == GridSetting::Seed {
            // The caption says which seed was chosen.
            for value in &mut values {
                let seed = value.parse::<Seed>();
                *value = seed.map_or_else(|_| value.clone(), |seed| seed.value.to_string());
            }
        }
        for value in &values {
            setting.apply(GenerationRequest::new(""), value)?;
        }
        Ok(Self {
            setting: *setting,
            values,
        })
    }
}

impl fmt::Display for GridSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = SETTINGS.iter().find(|(_, setting)| setting == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

const BACKGROUND: Rgb<u8> = Rgb([255; 3]);
/// Space around images and captions, in pixels of the font.
const MARGIN: u32 = 4;
/// Side in pixels per unit of the captions' scale: larger images have larger captions.
const SIDE_PER_SCALE: u32 = 384;

/// Draws images of one size, row by row, with captions above the columns and left of the rows.
///
/// # Errors
/// Returns an error if the number of images is not rows times columns, or if they differ in size.
pub fn render(rows: &[String], columns: &[String], cells: &[RgbImage]) -> Result<RgbImage> {
    let Some(first) = cells.first() else {
        bail!("the grid has no images");
    };
    let (width, height) = first.dimensions();
    ensure!(
        cells.len() == rows.len() * columns.len(),
        "{} images for {} rows and {} columns",
        cells.len(),
        rows.len(),
        columns.len()
    );
    ensure!(
        cells
            .iter()
            .all(|cell| cell.dimensions() == (width, height)),
        "the images of the grid differ in size"
    );
    let scale = (width.min(height) / SIDE_PER_SCALE).max(1);
    let margin = MARGIN * scale;
    let line = captions::HEIGHT * scale;
    let widths = rows.iter().map(|row| captions::width(row) * scale);
    let left = match widths.max().unwrap_or(0).min(width) {
        0 => margin,
        widest => widest + 2 * margin,
    };
    let top = line + 2 * margin;
    let (across, down) = (width + margin, height + margin);
    let mut sheet = RgbImage::from_pixel(
        left + columns.len() as u32 * across,
        top + rows.len() as u32 * down,
        BACKGROUND,
    );
    for (index, cell) in cells.iter().enumerate() {
        let (row, column) = (index / columns.len(), index % columns.len());
        let x = left + column as u32 * across;
        let y = top + row as u32 * down;
        imageops::replace(&mut sheet, cell, x.into(), y.into());
    }
    for (column, caption) in columns.iter().enumerate() {
        let x = left + column as u32 * across;
        captions::write(&mut sheet, caption, [x, margin], width, scale);
    }
    for (row, caption) in rows.iter().enumerate() {
        let y = top + row as u32 * down + (height.saturating_sub(line)) / 2;
        captions::write(
            &mut sheet,
            caption,
            [margin, y],
            left.saturating_sub(2 * margin),
            scale,
        );
    }
    Ok(sheet)
}

#[cfg(test)]
mod tests {
    use ovis_image::{SamplerKind, SigmaSpacing};

    use super::*;

    fn cell(level: u8) -> RgbImage {
        RgbImage::from_pixel(64, 48, Rgb([level; 3]))
    }

    fn captions<const N: usize>(texts: [&str; N]) -> Vec<String> {
        texts.map(str::to_owned).into()
    }

    #[test]
    fn images_stand_unaltered_in_rows_and_columns() {
        let cells: Vec<RgbImage> = (1..=6).map(|index| cell(40 * index)).collect();
        let sheet = render(&captions(["a", "b"]), &captions(["1", "2", "3"]), &cells).unwrap();
        let count = |level: u8| sheet.pixels().filter(|pixel| pixel.0 == [level; 3]).count();
        for index in 1..=6 {
            assert_eq!(count(40 * index), 64 * 48);
        }
        // 80 stands right of 40, 160 below it.
        let at = |level: u8| {
            let mut pixels = sheet.enumerate_pixels();
            pixels
                .find(|(_, _, pixel)| pixel.0 == [level; 3])
                .map(|(x, y, _)| (x, y))
                .unwrap()
        };
        assert!(at(80).0 > at(40).0 + 63 && at(80).1 == at(40).1);
        assert!(at(160).1 > at(40).1 + 47 && at(160).0 == at(40).0);
    }

    #[test]
    fn captions_are_drawn_beside_the_images() {
        let ink = |columns: &[String]| {
            let sheet = render(&captions([""]), columns, &[cell(200)]).unwrap();
            (
                sheet.dimensions(),
                sheet.pixels().filter(|pixel| pixel.0 == [0; 3]).count(),
            )
        };
        let (size, drawn) = ink(&captions(["seed 1"]));
        assert!(drawn > 10);
        assert_eq!(ink(&captions([""])), (size, 0));
        let (long_size, drawn) = ink(&captions(["a caption that is far too long for an image"]));
        assert!(long_size == size && drawn > 10);
        assert!(ink(&captions(["一只猫"])).1 > 10);
    }

    #[test]
    fn images_that_do_not_make_a_grid_are_refused() {
        let (one, two) = (captions([""]), captions(["1", "2"]));
        assert!(render(&one, &two, &[]).is_err());
        assert!(render(&one, &two, &[cell(1)]).is_err());
        assert!(render(&one, &two, &[cell(1), RgbImage::new(3, 3)]).is_err());
    }

    #[test]
    fn axes_are_read_and_bad_ones_refused() {
        let axis: GridAxis = "guidance-scale=1,3.5".parse().unwrap();
        assert_eq!(axis.setting, GridSetting::GuidanceScale);
        assert_eq!(axis.captions(), ["guidance-scale 1", "guidance-scale 3.5"]);
        for bad in [
            "",
            "seed",
            "seed=",
            "seed=1,,2",
            "size=1",
            "seed=x",
            "sampler=x",
            "sigmas=shift:3",
            "prompt=\"a",
        ] {
            assert!(bad.parse::<GridAxis>().is_err(), "{bad}");
        }
        let axis: GridAxis = "prompt=\"a cat, asleep\",猫".parse().unwrap();
        assert_eq!(axis.captions(), ["a cat, asleep", "猫"]);
        let axis: GridAxis = "seed=random,-1,7".parse().unwrap();
        assert!(axis.values.iter().all(|seed| seed.parse::<u64>().is_ok()));
        assert_eq!(axis.values[2], "7");
    }

    #[test]
    fn every_combination_is_a_request() {
        let base = GenerationRequest::new("a cat");
        let axis = |text: &str| text.parse::<GridAxis>().unwrap();
        let grid = GridRequests::new(&base, &[axis("seed=1,2,3"), axis("steps=4,5")]).unwrap();
        assert_eq!(grid.requests.len(), 6);
        assert_eq!((grid.rows.len(), grid.columns.len()), (2, 3));
        let both = [axis("sigmas=beta"), axis("sampler=Euler a,DPM++ 2M Karras")];
        let grid = GridRequests::new(&base, &both).unwrap();
        let second = grid.requests[1].parameters();
        assert_eq!(second.sampler, SamplerKind::DpmSolver2M);
        assert_eq!(second.sigma_spacing, SigmaSpacing::Beta);
        for bad in [
            vec![axis("seed=1"), axis("seed=2")],
            vec![axis("seed=1"), axis("steps=2"), axis("sigmas=beta")],
        ] {
            assert!(GridRequests::new(&base, &bad).is_err(), "{bad:?}");
        }
        let several = base.with_images_per_prompt(2);
        assert!(GridRequests::new(&several, &[axis("seed=1")]).is_err());
    }
}
