//! The commands of the tool, one file each.

mod changes;
mod difference;
mod export;
mod import;
mod imports;
mod keys;
mod openapi;
mod serve;
mod smoke;
mod tables;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::{
    filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use self::{
    changes::Changes, export::Export, import::Import, imports::Imports, keys::Keys,
    openapi::OpenApi, serve::Serve, smoke::Smoke, tables::Tables,
};
use crate::{connect::Target, console::warn, error::CliError};

/// Run a product catalog on this machine, and operate one anywhere
#[derive(Parser, Debug)]
#[command(
    name = "catalog",
    version,
    after_help = "Begin with:\n  catalog serve --sample\nEvery command has --help with examples."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    target: Target,
}

#[derive(Subcommand, Debug)]
enum Command {
    Serve(Serve),
    /// Make, list and revoke API keys
    #[command(subcommand)]
    Keys(Keys),
    Import(Import),
    Export(Export),
    Changes(Changes),
    /// Look at the imports: of files, S3, EventBridge and the queue
    #[command(subcommand)]
    Imports(Imports),
    /// Create or describe the tables of template.yaml, or backfill the entries of offerings
    #[command(subcommand)]
    Tables(Tables),
    Smoke(Smoke),
    #[command(name = "openapi")]
    OpenApi(OpenApi),
}

/// Runs the command that the arguments name.
pub async fn run() -> ExitCode {
    let Cli { command, target } = Cli::parse();
    // `serve` logs one line per request on standard error; LOG_LEVEL=warn silences it.
    let level = std::env::var("LOG_LEVEL").ok().and_then(|level| level.parse().ok());
    let targets = Targets::new()
        .with_target("serverless_catalog", level.unwrap_or(tracing::Level::INFO))
        // A line for each batch of changes is too many for a terminal.
        .with_target("serverless_catalog::streams", level.unwrap_or(tracing::Level::WARN))
        .with_target("catalog_cli", level.unwrap_or(tracing::Level::INFO));
    let lines =
        tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines).with(targets).init();

    let outcome: Result<(), CliError> = match command {
        Command::Serve(serve) => serve.run(&target).await,
        Command::Keys(keys) => keys.run(&target).await,
        Command::Import(import) => import.run(&target).await,
        Command::Export(export) => export.run(&target).await,
        Command::Changes(changes) => changes.run(&target).await,
        Command::Imports(imports) => imports.run(&target).await,
        Command::Tables(tables) => tables.run(&target).await,
        Command::Smoke(smoke) => smoke.run(&target).await,
        Command::OpenApi(openapi) => openapi.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ CliError::Usage(_)) => {
            warn(format!("catalog: {error}"));
            ExitCode::from(2)
        }
        Err(error) => {
            warn(format!("catalog: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    /// The help texts of a command and of all its subcommands.
    fn helps(command: &mut clap::Command) -> Vec<(String, String)> {
        let name = command.get_name().to_owned();
        let (long, short) = (command.render_long_help(), command.render_help());
        let mut all = vec![(name, format!("{long}\n{short}"))];
        for below in command.get_subcommands_mut() {
            all.extend(helps(below));
        }
        all
    }

    #[test]
    fn every_help_text_reads_as_plain_text() {
        let mut command = Cli::command();
        command.build();
        let texts = helps(&mut command);
        for name in ["catalog", "serve", "create", "import", "export", "retry", "openapi"] {
            assert!(texts.iter().any(|(known, _)| known == name), "{name}");
        }
        for (name, text) in texts {
            assert!(!text.contains('`'), "{name}: {text}");
        }
    }
}
