//! `catalog export`: everything an account has, as records.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use serverless_catalog::{
    account::AccountId,
    changes::{Kinds, Positions, View, ends},
    cost::Meter,
    cursor::Cursors,
    imports::Kind,
    store,
};

use crate::{
    connect::{CursorSecret, Target},
    console::warn,
    error::CliError,
};

/// Write an account's catalog as records (NDJSON) that import to the same catalog.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  catalog export --account ACME > acme.ndjson
  catalog export --account ACME --kind product --kind network --output acme.ndjson
  catalog export --account ACME | catalog import --account COPY --table-prefix other -
  catalog export --account ACME --output - | gzip > acme.ndjson.gz
  catalog export --account ACME --with-cursor --output acme.ndjson

API keys are not exported: only their hashes are stored.")]
pub(super) struct Export {
    /// Whose catalog it is
    #[arg(long)]
    account: AccountId,
    /// Only records of this kind; may be given more than once. A network carries its bundles
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<Kind>,
    /// Begin with a line that has the changesCursor: catalog changes and GET /catalog/v1/changes tell what has
    /// changed since. Each bundle is then a record of its own, as it is there. Imports skip the line
    #[arg(long)]
    with_cursor: bool,
    #[command(flatten)]
    secret: CursorSecret,
    /// Write to this file; it is there only when it is whole. - is standard output, the default
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Export {
    /// Runs the export.
    pub(super) async fn run(self, target: &Target) -> Result<(), CliError> {
        let cursors = self.with_cursor.then(|| self.secret.cursors(target)).transpose()?;
        let store = target.store().await?;
        let head = match cursors {
            Some(cursors) => Some(self.head(&store, &cursors).await?),
            None => None,
        };
        let head = head.as_deref();
        let Some(path) = self.output.as_ref().filter(|path| path.as_path() != Path::new("-"))
        else {
            let output = BufWriter::new(io::stdout());
            return self.write(&store, head, output, "standard output".into()).await;
        };
        let draft = path.with_added_extension("draft");
        let file = File::create(&draft).map_err(CliError::file("write", &draft))?;
        let written = self.write(&store, head, BufWriter::new(file), draft.clone()).await;
        if let Err(error) = written {
            let _ = std::fs::remove_file(&draft);
            return Err(error);
        }
        std::fs::rename(&draft, path).map_err(CliError::file("write", path))
    }

    /// The kinds to write. Networks come with their bundles, whether or not these are asked for, too.
    fn kinds(&self) -> Vec<Kind> {
        if self.kinds.is_empty() {
            return store::RecordReader::KINDS.to_vec();
        }
        let has_networks = self.kinds.contains(&Kind::Network);
        let asked = Kind::ALL.iter().filter(|kind| self.kinds.contains(kind));
        asked.copied().filter(|kind| !(has_networks && *kind == Kind::Bundle)).collect()
    }

    /// The first line: the cursor of the changes since now. It is made before the first record is read.
    async fn head(&self, store: &store::Store, cursors: &Cursors) -> Result<String, CliError> {
        let with_bundles = |kind: Kind| {
            if kind == Kind::Network { vec![kind, Kind::Bundle] } else { vec![kind] }
        };
        let kinds = Kinds::of(self.kinds().into_iter().flat_map(with_bundles));
        let view = View::Everything.fingerprint();
        let oldest = Positions::oldest(store.clock().now(), kinds, view);
        let ends = ends(store, &self.account, oldest).await?;
        let cursor = ends.seal(cursors, &self.account);
        let cursor = cursor.map_err(|error| CliError::Incomplete(error.to_string()))?;
        Ok(format!("{{\"changesCursor\":\"{cursor}\"}}"))
    }

    async fn write(
        &self,
        store: &store::Store,
        head: Option<&str>,
        mut output: impl Write,
        path: PathBuf,
    ) -> Result<(), CliError> {
        let (mut count, meter) = (0, Meter::default());
        let store = store.metered(&meter);
        if let Some(head) = head {
            writeln!(output, "{head}").map_err(CliError::file("write", &path))?;
        }
        for kind in self.kinds() {
            let mut reader = store::RecordReader::new(&store, &self.account, kind);
            if head.is_some() {
                reader = reader.with_bundles_apart();
            }
            while let Some(records) = reader.next().await? {
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
