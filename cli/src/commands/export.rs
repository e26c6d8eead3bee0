//! `catalog export`: everything an account has, as records.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use serverless_catalog::{account::AccountId, cost::Meter, imports::Kind, store};

use crate::{connect::Target, console::warn, error::CliError};

/// Write an account's catalog as records (NDJSON) that import to the same catalog.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  catalog export --account ACME > acme.ndjson
  catalog export --account ACME --kind product --kind network --output acme.ndjson
  catalog export --account ACME | catalog import --account COPY --table-prefix other -
  catalog export --account ACME --output - | gzip > acme.ndjson.gz

API keys are not exported: only their hashes are stored.")]
pub struct Export {
    /// Whose catalog it is
    #[arg(long)]
    account: AccountId,
    /// Only records of this kind; may be given more than once. A network carries its bundles
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<Kind>,
    /// Write to this file; it is there only when it is whole. - is standard output, the default
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Export {
    /// Runs the export.
    ///
    /// # Errors
    /// [`CliError`] if the tables cannot be read, or the output cannot be written.
    pub async fn run(self, target: &Target) -> Result<(), CliError> {
        let store = target.store().await?;
        let Some(path) = self.output.as_ref().filter(|path| path.as_path() != Path::new("-"))
        else {
            let output = BufWriter::new(io::stdout());
            return self.write(&store, output, "standard output".into()).await;
        };
        let mut draft = path.as_os_str().to_owned();
        draft.push(".draft");
        let draft = PathBuf::from(draft);
        let file = File::create(&draft).map_err(CliError::file("write", &draft))?;
        let written = self.write(&store, BufWriter::new(file), draft.clone()).await;
        if let Err(error) = written {
            let _ = std::fs::remove_file(&draft);
            return Err(error);
        }
        std::fs::rename(&draft, path).map_err(CliError::file("write", path))
    }

    async fn write(
        &self,
        store: &store::Store,
        mut output: impl Write,
        path: PathBuf,
    ) -> Result<(), CliError> {
        let kinds = if self.kinds.is_empty() { &store::Export::KINDS[..] } else { &self.kinds };
        let (mut count, meter) = (0, Meter::default());
        let store = store.metered(&meter);
        for kind in kinds {
            let mut export = store::Export::new(&store, &self.account, *kind);
            while let Some(records) = export.next().await? {
                for record in records {
                    match writeln!(output, "{record}") {
                        Ok(()) => count += 1,
                        // The reader closed the pipe (`catalog export … | head -1`).
                        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                        Err(error) => return Err(CliError::file("write", path)(error)),
                    }
                }
            }
        }
        match output.flush() {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(CliError::file("write", path)(error));
            }
            _ => {}
        }
        let read_units = meter.cost().read_units;
        warn(format!("{count} records of {}, {read_units:.1} read units.", self.account));
        Ok(())
    }
}
