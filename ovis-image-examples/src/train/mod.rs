//! `train`: trains the transformer, the text encoder or the VAE, and writes a checkpoint.
//!
//! `settings` are the given values, `resolved` the effective ones. `run` checks them and locks the
//! `folder`. `models` are read or made. `looping` takes batches from the `queue`, which a source
//! fills in other threads. A `stage` validates, samples and exports its models.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::shared::terminal::start_log;
use crate::shared::usage::UsageError;
use crate::shared::{interrupt, threads};

pub mod autoencoder;
pub mod bar;
pub mod cached;
pub mod data;
pub mod drawing;
pub mod encoded_rows;
pub mod encoding;
pub mod error;
pub mod flow;
pub mod flow_source;
pub mod folder;
pub mod log;
pub mod looping;
pub mod lora;
pub mod lora_metadata;
pub mod lora_settings;
pub mod models;
pub mod output;
pub mod plan;
pub mod queue;
pub mod random;
pub mod replay;
pub mod resolve;
pub mod resolved;
pub mod run;
pub mod settings;
pub mod signals;
pub mod stage;
pub mod tensorboard;

pub use error::TrainError;
use looping::Ending;
pub use lora_settings::LoraSettings;
pub use resolved::Resolved;
use run::Train;
pub use settings::Settings;

/// Trains the transformer, the text encoder or the VAE.
///
/// Settings come from a TOML file, from flags, or both. Flags take precedence. A key of the file has
/// the name of its flag. Ctrl-C finishes the step and saves; --resume continues exactly there. A
/// file PAUSE in the run's folder, or the signal SIGUSR1, pauses the run.
///
/// Exit codes: 0 for success, 1 if the work failed, 2 if an argument is wrong, 130 if it was
/// interrupted.
#[derive(Debug, Parser)]
#[command(version, name = "train", args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArguments,
}

/// Kinds of training that have settings of their own.
#[derive(Debug, Subcommand)]
enum Command {
    /// Trains a LoRA: adapters of the transformer, whose own weights do not change
    ///
    /// Takes the settings of the stage flow, and those under Adapters; in a file, these are in the
    /// table [lora]. If --output ends in .safetensors, it names the file of the adapter.
    Lora(Box<LoraArguments>),
}

/// Arguments of `train lora`.
#[derive(Debug, Args)]
struct LoraArguments {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    lora: LoraSettings,
}

/// Arguments of every run.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// File with settings
    #[arg(short, long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Print the plan of the run and exit
    #[arg(long)]
    pub dry_run: bool,
    /// Resume the run in the folder, if there is one
    #[arg(long)]
    resume: bool,
    /// Resume even if the settings differ from those that the run was started with
    #[arg(long, requires = "resume", hide_short_help = true)]
    accept_changes: bool,
    /// Show more messages
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    #[command(flatten)]
    settings: Settings,
}

impl Arguments {
    /// Returns the arguments of the run.
    pub fn run(&self) -> &RunArguments {
        match &self.command {
            Some(Command::Lora(lora)) => &lora.run,
            None => &self.run,
        }
    }

    /// Reads the settings file and completes it.
    ///
    /// # Errors
    /// Returns an error that names the problem.
    pub fn resolve(&self) -> Result<Resolved> {
        let run = self.run();
        let file = match &run.config {
            Some(path) => Settings::read(path)?,
            None => Settings::default(),
        };
        let mut flags = run.settings.clone();
        match &self.command {
            Some(Command::Lora(arguments)) => flags.lora = Some(arguments.lora.clone()),
            None if file.lora.is_some() => bail!(UsageError::new(
                "the settings have a table [lora]: use `train lora`"
            )),
            None => {}
        }
        flags.resolve(&file)
    }
}

/// Runs the training that the arguments request.
///
/// # Errors
/// Returns an error if the settings, the models or the images cannot be used, or the run cannot be
/// written.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    start_log(arguments.run().verbose);
    let resolved = arguments.resolve()?;
    if let Some(threads) = resolved.threads {
        threads::limit(threads.into())?;
    }
    let device = resolved.device_spec()?.open()?;
    threads::warn(resolved.threads.is_some(), &device);
    let work = Train::prepare(arguments.run(), resolved)?;
    Ok(match device.visit(work)? {
        Ending::Finished => ExitCode::SUCCESS,
        Ending::Stopped => ExitCode::from(interrupt::EXIT_CODE),
    })
}
