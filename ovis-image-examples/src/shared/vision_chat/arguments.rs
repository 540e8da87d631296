use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ureq::http::HeaderValue;

use super::client::Settings;
use crate::shared::usage::UsageError;

/// Server with a vision-language model, and limits of the requests to it.
#[derive(Debug, clap::Args)]
pub struct ServerArguments {
    /// Address of the server, for example http://localhost:8000/v1
    #[arg(long, value_name = "URL")]
    pub server: String,
    /// Name of the model
    #[arg(long, value_name = "NAME")]
    pub model: String,
    /// Environment variable that contains the server's API key
    #[arg(long, value_name = "NAME")]
    api_key_env: Option<String>,
    /// Number of concurrent requests
    #[arg(long, value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=256))]
    pub concurrency: u32,
    /// Maximum number of requests per second [default: no limit]
    #[arg(long, value_name = "N")]
    max_rate: Option<f64>,
    /// Maximum number of times that a failed request is repeated
    #[arg(long, value_name = "N", default_value_t = 5)]
    retries: u32,
    /// Wait before the first repetition, in seconds; it doubles each time
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    backoff: f64,
    /// Timeout of a request, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120.0)]
    timeout: f64,
    /// Maximum number of tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 512)]
    max_tokens: u32,
    /// Maximum length of the longer side of the images that are sent
    #[arg(long, value_name = "PIXELS", default_value_t = 1024,
        value_parser = clap::value_parser!(u32).range(64..=8192))]
    pub max_side: u32,
}

impl ServerArguments {
    /// Returns the settings of the requests.
    ///
    /// # Errors
    /// Returns an error that names the flag if an argument is wrong.
    pub fn settings(&self) -> Result<Settings> {
        let server = self.server.trim_end_matches('/');
        ensure!(
            server.starts_with("http://") || server.starts_with("https://"),
            UsageError::new(format!(
                "invalid --server `{server}`: it must start with http:// or https://"
            ))
        );
        let interval = match self.max_rate {
            None => Duration::ZERO,
            Some(rate) => seconds("--max-rate", 1.0 / rate)?,
        };
        let authorization = self.api_key_env.as_deref().map(authorization);
        Ok(Settings {
            address: if server.ends_with("/chat/completions") {
                server.to_owned()
            } else {
                format!("{server}/chat/completions")
            },
            model: self.model.clone(),
            authorization: authorization.transpose()?,
            timeout: seconds("--timeout", self.timeout)?,
            retries: self.retries,
            backoff: seconds("--backoff", self.backoff)?,
            interval,
            max_tokens: self.max_tokens,
        })
    }
}

fn seconds(flag: &str, value: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(value)
        .ok()
        .filter(|duration| duration.as_secs() < 86_400)
        .with_context(|| {
            UsageError::new(format!(
                "invalid {flag} {value}: it must be from 0 to 86400"
            ))
        })
}

/// Returns the value of the header for the key in an environment variable.
fn authorization(variable: &str) -> Result<HeaderValue> {
    let key = std::env::var(variable)
        .ok()
        .filter(|key| !key.trim().is_empty());
    let missing = || UsageError::new(format!("--api-key-env: the variable {variable} is not set"));
    let bearer = format!("Bearer {}", key.with_context(missing)?.trim());
    let invalid = || {
        UsageError::new(format!(
            "--api-key-env: the variable {variable} is not a key"
        ))
    };
    let mut value = HeaderValue::from_str(&bearer).ok().with_context(invalid)?;
    value.set_sensitive(true);
    Ok(value)
}
