//! Line plots over the steps of a run, as SVG.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// A line of a plot.
#[derive(Debug, Clone)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Steps and values.
    pub points: Vec<(usize, f64)>,
}

impl Series {
    /// Creates a line without points.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            points: Vec::new(),
        }
    }

    /// Adds the value after a step.
    pub fn push(&mut self, step: usize, value: f64) {
        self.points.push((step, value));
    }
}

const WIDTH: u32 = 720;
const PANEL_HEIGHT: u32 = 300;
const COLORS: [RGBColor; 3] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
];

/// Draws panels below one another, each with a title and its lines.
///
/// # Errors
/// Returns an error if a panel has no points.
pub fn panels(panels: &[(&str, &[Series])]) -> Result<String> {
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, (WIDTH, PANEL_HEIGHT * panels.len() as u32));
    let root = root.into_drawing_area();
    root.fill(&WHITE)?;
    for (area, (title, lines)) in root.split_evenly((panels.len(), 1)).iter().zip(panels) {
        let points = || lines.iter().flat_map(|line| &line.points);
        let steps = points().map(|(step, _)| *step).max();
        let steps = steps.ok_or_else(|| anyhow!("`{title}` has no points"))?;
        let top = points().map(|(_, value)| *value).fold(0.0, f64::max);
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 16))
            .margin(12)
            .x_label_area_size(32)
            .y_label_area_size(48)
            .build_cartesian_2d(0..steps.max(1), 0.0..(1.05 * top).max(f64::MIN_POSITIVE))?;
        chart.configure_mesh().x_desc("step").draw()?;
        for (line, color) in lines.iter().zip(COLORS.iter().cycle()) {
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), color))?
                .label(&line.name)
                .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], *color));
        }
        if lines.len() > 1 {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::LowerLeft)
                .background_style(WHITE)
                .border_style(BLACK)
                .draw()?;
        }
    }
    root.present()?;
    drop(root);
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_its_titles_lines_and_names() {
        let mut line = Series::new("sigma");
        let mut other = Series::new("latents");
        for step in 0..5 {
            line.push(step, 1.0 / (step + 1) as f64);
            other.push(step, step as f64);
        }
        let svg = panels(&[("A", &[line.clone()]), ("B", &[line, other])]).unwrap();
        assert!(svg.starts_with("<svg"));
        assert!(svg.matches("<polyline").count() >= 3);
        for text in ["A", "B", "sigma", "latents", "step"] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn nothing_to_draw_is_refused() {
        assert!(panels(&[("A", &[])]).is_err());
    }
}
