//! `catalog openapi`: the description of the APIs.

use std::path::PathBuf;

use clap::Args;

use crate::{api_docs, console::say, error::CliError};

/// Print the OpenAPI 3.1 description of the APIs
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  catalog openapi --output openapi.yaml
  catalog openapi --check openapi.yaml     # fails when the file is not what the code says")]
pub(super) struct OpenApi {
    /// Write it to this file
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    output: Option<PathBuf>,
    /// Only tell whether this file is the description
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

impl OpenApi {
    pub(super) fn run(self) -> Result<(), CliError> {
        let yaml = api_docs::yaml();
        if let Some(path) = self.check {
            let there = std::fs::read_to_string(&path).map_err(CliError::file("read", &path))?;
            if there == yaml {
                return Ok(());
            }
            return Err(CliError::Incomplete(format!(
                "{0} is out of date; regenerate it: catalog openapi --output {0}",
                path.display()
            )));
        }
        if let Some(path) = self.output {
            return std::fs::write(&path, yaml).map_err(CliError::file("write", path));
        }
        say(yaml.trim_end());
        Ok(())
    }
}
