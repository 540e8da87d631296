use std::fmt;
use std::str::FromStr;

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use super::{DpmSolver2M, Euler, EulerAncestral, Heun, Lcm, Sampler, UniPc};
use crate::error::{OvisImageError, Result};

/// Selects a sampler by name.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum SamplerKind {
    /// Selects [`Euler`], the model's usual sampler.
    #[default]
    Euler,
    /// Selects [`Heun`].
    Heun,
    /// Selects [`DpmSolver2M`].
    DpmSolver2M,
    /// Selects [`UniPc`].
    UniPc,
    /// Selects [`Lcm`].
    Lcm,
    /// Selects [`EulerAncestral`].
    EulerAncestral {
        /// Fraction of the noise to renew at each step, from 0 to 1.
        eta: f32,
    },
}

impl SamplerKind {
    /// Values that [`FromStr`] accepts.
    pub const NAMES: &str =
        "euler, heun, dpmpp-2m, unipc, lcm, euler-ancestral, euler-ancestral:ETA";

    /// Creates a sampler for one run.
    pub fn build<B: Backend>(self) -> Box<dyn Sampler<B>> {
        match self {
            Self::Euler => Box::new(Euler),
            Self::Heun => Box::new(Heun),
            Self::DpmSolver2M => Box::new(DpmSolver2M::default()),
            Self::UniPc => Box::new(UniPc::default()),
            Self::Lcm => Box::new(Lcm),
            Self::EulerAncestral { eta } => Box::new(EulerAncestral::new(eta)),
        }
    }

    /// Returns whether the sampler adds fresh noise at its steps.
    pub(crate) fn adds_noise(self) -> bool {
        match self {
            Self::Euler | Self::Heun | Self::DpmSolver2M | Self::UniPc => false,
            Self::Lcm | Self::EulerAncestral { .. } => true,
        }
    }

    /// Checks the settings of the sampler.
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) if
    /// `eta` is not between 0 and 1.
    pub(crate) fn validate(self) -> Result<()> {
        match self {
            Self::EulerAncestral { eta } if !(0.0..=1.0).contains(&eta) => Err(
                OvisImageError::argument("sampler", format!("eta = {eta} is not between 0 and 1")),
            ),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Euler => f.write_str("euler"),
            Self::Heun => f.write_str("heun"),
            Self::DpmSolver2M => f.write_str("dpmpp-2m"),
            Self::UniPc => f.write_str("unipc"),
            Self::Lcm => f.write_str("lcm"),
            Self::EulerAncestral { eta: 1.0 } => f.write_str("euler-ancestral"),
            Self::EulerAncestral { eta } => write!(f, "euler-ancestral:{eta}"),
        }
    }
}

impl FromStr for SamplerKind {
    type Err = OvisImageError;

    fn from_str(text: &str) -> Result<Self> {
        let kind = match text {
            "euler" => Self::Euler,
            "heun" => Self::Heun,
            "dpmpp-2m" => Self::DpmSolver2M,
            "unipc" => Self::UniPc,
            "lcm" => Self::Lcm,
            "euler-ancestral" => Self::EulerAncestral { eta: 1.0 },
            _ => text
                .strip_prefix("euler-ancestral:")
                .and_then(|eta| eta.parse().ok())
                .map(|eta| Self::EulerAncestral { eta })
                .ok_or_else(|| {
                    OvisImageError::argument(
                        "sampler",
                        format!("`{text}` is not one of {}", Self::NAMES),
                    )
                })?,
        };
        kind.validate()?;
        Ok(kind)
    }
}

impl From<SamplerKind> for String {
    fn from(kind: SamplerKind) -> Self {
        kind.to_string()
    }
}

impl TryFrom<String> for SamplerKind {
    type Error = OvisImageError;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sampler_reads_what_it_writes() {
        for kind in [
            SamplerKind::Euler,
            SamplerKind::Heun,
            SamplerKind::DpmSolver2M,
            SamplerKind::UniPc,
            SamplerKind::Lcm,
            SamplerKind::EulerAncestral { eta: 1.0 },
            SamplerKind::EulerAncestral { eta: 0.25 },
        ] {
            assert_eq!(kind.to_string().parse::<SamplerKind>().unwrap(), kind);
        }
    }

    #[test]
    fn unknown_samplers_are_refused() {
        for bad in [
            "",
            "ddim",
            "euler-ancestral:",
            "euler-ancestral:2",
            "euler-ancestral:NaN",
        ] {
            assert!(bad.parse::<SamplerKind>().is_err(), "{bad}");
        }
    }
}
