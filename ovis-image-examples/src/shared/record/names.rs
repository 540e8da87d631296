//! Names of samplers and schedules in other programs: AUTOMATIC1111's web UI, ComfyUI and
//! stable-diffusion.cpp.

use ovis_image::{GenerationRequest, SamplerKind, Schedule, SigmaSpacing};

/// A thing and its names in other programs, AUTOMATIC1111's first.
type Names<T> = (T, &'static [&'static str]);

const SAMPLERS: [Names<SamplerKind>; 6] = [
    (SamplerKind::Euler, &["Euler", "euler"]),
    (SamplerKind::Heun, &["Heun", "heun"]),
    (
        SamplerKind::DpmSolver2M,
        &["DPM++ 2M", "dpmpp_2m", "dpm++2m", "dpmpp-2m"],
    ),
    (
        SamplerKind::UniPc,
        &["UniPC", "uni_pc", "uni_pc_bh2", "unipc"],
    ),
    (SamplerKind::Lcm, &["LCM", "lcm"]),
    (
        SamplerKind::EulerAncestral { eta: 1.0 },
        &["Euler a", "euler_ancestral", "euler_a", "euler-ancestral"],
    ),
];

/// Spacings of the noise levels. The shift is not a part of these names: programs that have one
/// take it from the model.
const SPACINGS: [Names<SigmaSpacing>; 5] = [
    // Evenly in the timesteps; programs differ in where the last step is.
    (
        SigmaSpacing::Linear,
        &[
            "Automatic",
            "Uniform",
            "SGM Uniform",
            "Normal",
            "sgm_uniform",
            "discrete",
        ],
    ),
    (SigmaSpacing::Karras, &["Karras"]),
    (SigmaSpacing::Exponential, &["Exponential"]),
    (SigmaSpacing::Beta, &["Beta"]),
    (SigmaSpacing::Simple, &["Simple"]),
];

/// A sampler that a name means, and the schedule that stands behind it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NamedSampler {
    /// The sampler.
    pub kind: SamplerKind,
    /// The schedule: stable-diffusion.cpp and old versions of AUTOMATIC1111's web UI append it.
    pub schedule: Option<NamedSchedule>,
}

impl NamedSampler {
    /// Applies the sampler to a request, and the schedule if the name says one.
    pub fn apply(self, mut request: GenerationRequest) -> GenerationRequest {
        let named = self.schedule.unwrap_or_default();
        if let Some(schedule) = named.schedule {
            request = request.with_schedule(schedule);
        }
        if let Some(spacing) = named.spacing {
            request = request.with_sigma_spacing(spacing);
        }
        request.with_sampler(self.kind)
    }
}

impl From<SamplerKind> for NamedSampler {
    fn from(kind: SamplerKind) -> Self {
        Self {
            kind,
            schedule: None,
        }
    }
}

/// The schedule that a name means.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct NamedSchedule {
    /// Timestep shift, if the name says one.
    pub schedule: Option<Schedule>,
    /// Spacing of the noise levels, if the name says one.
    pub spacing: Option<SigmaSpacing>,
}

/// Finds the sampler of a name. `None` if it is unknown here, or what follows it is.
pub fn sampler(name: &str) -> Option<NamedSampler> {
    if let Ok(kind) = name.to_ascii_lowercase().parse::<SamplerKind>() {
        return Some(kind.into());
    }
    // `Euler a` is not `Euler` with a schedule `a`: `a` is none.
    let names = SAMPLERS
        .iter()
        .flat_map(|(kind, names)| names.iter().map(move |known| (*kind, *known)));
    names
        .filter_map(|(kind, known)| {
            let (start, rest) = name.split_at_checked(known.len())?;
            let schedule = match rest.strip_prefix(' ') {
                None if rest.is_empty() => None,
                None => return None,
                Some(rest) => Some(schedule(rest)?),
            };
            start
                .eq_ignore_ascii_case(known)
                .then_some(NamedSampler { kind, schedule })
        })
        .next()
}

/// Finds the schedule of a name: another program's, or this one's shift and spacing. `None` if any
/// of it is unknown here.
pub fn schedule(name: &str) -> Option<NamedSchedule> {
    let is_known = |known: &&str| name.eq_ignore_ascii_case(known);
    if let Some((spacing, _)) = SPACINGS
        .iter()
        .find(|(_, names)| names.iter().any(is_known))
    {
        return Some(NamedSchedule {
            schedule: None,
            spacing: Some(*spacing),
        });
    }
    let mut found = NamedSchedule::default();
    for word in name.split(' ') {
        if let (Ok(spacing), None) = (word.parse(), found.spacing) {
            found.spacing = Some(spacing);
        } else if let (Ok(schedule), None) = (word.parse(), found.schedule) {
            found.schedule = Some(schedule);
        } else {
            return None;
        }
    }
    Some(found)
}

/// Reads the value of `--sampler`, which may have a spacing of the noise levels behind it.
///
/// # Errors
/// Returns an error that lists the names if this one is unknown.
pub fn parse_sampler(name: &str) -> Result<NamedSampler, String> {
    sampler(name).ok_or_else(|| {
        format!(
            "`{name}` is not one of {}, or a name of AUTOMATIC1111's web UI or ComfyUI for one of them, \
             such as `DPM++ 2M Karras` or `euler_a`",
            SamplerKind::NAMES
        )
    })
}

/// Reads the value of `--sigmas`.
///
/// # Errors
/// Returns an error that lists the names if this one is unknown.
pub fn parse_spacing(name: &str) -> Result<SigmaSpacing, String> {
    let known = schedule(&name.to_ascii_lowercase()).filter(|known| known.schedule.is_none());
    known.and_then(|known| known.spacing).ok_or_else(|| {
        format!(
            "`{name}` is not one of {}, or a name of AUTOMATIC1111's web UI or ComfyUI for one of them",
            SigmaSpacing::NAMES
        )
    })
}

/// Names a sampler as AUTOMATIC1111's web UI does, or as this program does if the web UI lacks it.
pub fn of_sampler(sampler: SamplerKind) -> String {
    let known = SAMPLERS.iter().find(|(kind, _)| *kind == sampler);
    known.map_or_else(|| sampler.to_string(), |(_, names)| names[0].to_owned())
}

/// Names a shift, and the spacing unless it is linear.
pub fn of_schedule(schedule: &str, spacing: SigmaSpacing) -> String {
    if spacing == SigmaSpacing::Linear {
        schedule.to_owned()
    } else {
        format!("{schedule} {spacing}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_samplers_are_read_as_this_and_other_programs_write_them() {
        for (kind, names) in SAMPLERS {
            let expected = Some(NamedSampler {
                kind,
                schedule: None,
            });
            assert_eq!(sampler(&of_sampler(kind)), expected);
            assert_eq!(sampler(&kind.to_string()), expected);
            for name in names {
                assert_eq!(sampler(name), expected, "{name}");
            }
        }
        let other = SamplerKind::EulerAncestral { eta: 0.5 };
        assert_eq!(sampler(&of_sampler(other)).unwrap().kind, other);
    }

    #[test]
    fn case_does_not_matter_on_the_command_line() {
        for (name, kind) in [
            ("EULER", SamplerKind::Euler),
            ("Euler-Ancestral", SamplerKind::EulerAncestral { eta: 1.0 }),
            ("euler A", SamplerKind::EulerAncestral { eta: 1.0 }),
            ("DPMPP-2M karras", SamplerKind::DpmSolver2M),
        ] {
            assert_eq!(parse_sampler(name).unwrap().kind, kind, "{name}");
        }
        for (name, spacing) in [
            ("Karras", SigmaSpacing::Karras),
            ("BETA", SigmaSpacing::Beta),
            ("SGM Uniform", SigmaSpacing::Linear),
        ] {
            assert_eq!(parse_spacing(name).unwrap(), spacing, "{name}");
        }
        assert!(parse_sampler("ddim").unwrap_err().contains("dpmpp-2m"));
        for bad in ["", "x", "shift:3"] {
            assert!(parse_spacing(bad).unwrap_err().contains("karras"), "{bad}");
        }
    }

    #[test]
    fn a_schedule_may_follow_the_sampler() {
        for (name, kind, spacing) in [
            (
                "DPM++ 2M Karras",
                SamplerKind::DpmSolver2M,
                SigmaSpacing::Karras,
            ),
            (
                "euler_a karras",
                SamplerKind::EulerAncestral { eta: 1.0 },
                SigmaSpacing::Karras,
            ),
            ("euler discrete", SamplerKind::Euler, SigmaSpacing::Linear),
            (
                "Euler a SGM Uniform",
                SamplerKind::EulerAncestral { eta: 1.0 },
                SigmaSpacing::Linear,
            ),
        ] {
            let named = sampler(name).unwrap();
            assert_eq!(named.kind, kind, "{name}");
            assert_eq!(named.schedule.unwrap().spacing, Some(spacing), "{name}");
        }
        for unknown in [
            "",
            "DPM fast",
            "DPM++ 2M SDE",
            "euler gits",
            "Eulerian",
            "猫",
        ] {
            assert_eq!(sampler(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn names_of_schedules_are_read_as_this_and_other_programs_write_them() {
        for (spacing, names) in SPACINGS {
            for name in names {
                assert_eq!(schedule(name).unwrap().spacing, Some(spacing), "{name}");
            }
            let own = schedule(&of_schedule("shift:3", spacing)).unwrap();
            assert_eq!(own.schedule, Some(Schedule::FixedShift(3.0)));
            assert_eq!(own.spacing.unwrap_or_default(), spacing);
        }
        for unknown in [
            "",
            "KL Optimal",
            "ddim_uniform",
            "karras beta",
            "shift:3 gits",
            "shift:3  karras",
        ] {
            assert_eq!(schedule(unknown), None, "{unknown}");
        }
    }
}
