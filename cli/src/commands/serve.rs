//! `catalog serve`: runs the whole catalog locally.

use std::{
    fmt::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use serverless_catalog::{imports::Counts, store::TableNames};

use crate::{
    connect::Target,
    console::{say, warn},
    error::CliError,
    interruption::Interruption,
    local::{Addresses, LOCALHOST, Project, Stack, StackOptions, Storage, sample},
    template::{Route, Template},
};

/// Run the whole catalog on this machine: an embedded DynamoDB engine, the tables and routes of
/// template.yaml, and the very handlers the Lambdas run.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  catalog serve --sample                 with the sample catalogs and their keys
  catalog serve --port 8080 --data /tmp/shop
  catalog serve --memory --port 0 --ready-file /tmp/ready.json
  catalog serve --listen 172.17.0.1      where containers reach it (sam local)

Data is kept in .catalog and is there again after a restart. A file dropped into
.catalog/objects/catalog/imports/<account>/ is imported by the real function, as one dropped into S3 would be;
its report is in .catalog/objects/catalog/reports/<account>/. Stop with Ctrl-C.")]
pub(super) struct Serve {
    /// The port of the HTTP API; 0 takes any free one
    #[arg(long, default_value_t = 3000)]
    port: u16,

    /// The address that the HTTP API, the DynamoDB engine and the bucket listen on. Whoever reaches
    /// another one than 127.0.0.1 reads and writes the tables and the bucket without any key
    #[arg(long, value_name = "ADDRESS", default_value_t = LOCALHOST)]
    listen: IpAddr,

    /// Keep nothing: all data is gone at the end
    #[arg(long)]
    memory: bool,

    /// Load the sample catalogs and make the keys that open them
    #[arg(long)]
    sample: bool,

    /// Write {"url":…,"dynamodbUrl":…} here as soon as requests are answered
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,

    /// Another template than the one built in
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
}

impl Serve {
    /// Runs until Ctrl-C or SIGTERM.
    pub(super) async fn run(self, target: &Target) -> Result<(), CliError> {
        let mut end = Interruption::expect();
        if let Some(path) = &self.ready_file {
            // A file from an earlier run would signal readiness too early.
            let _ = std::fs::remove_file(path);
        }
        let project = match Project::take(&target.data) {
            Ok(project) => Some(project),
            // A catalog in memory needs no folder; without one, other commands do not find it.
            Err(CliError::DataInUse(_)) if self.memory => None,
            Err(error) => return Err(error),
        };
        let storage = match &project {
            Some(project) if !self.memory => Storage::File(project.data_file()),
            _ => Storage::Memory,
        };
        let cursor_secret = match &project {
            Some(project) => project.cursor_secret()?,
            None => "of a catalog in memory, gone at its end".to_owned(),
        };
        let template = match &self.template {
            None => Template::built_in()?,
            Some(path) => {
                let yaml = std::fs::read_to_string(path).map_err(CliError::file("read", path))?;
                Template::parse(&yaml)?
            }
        };
        let name = target.table_prefix.clone();
        let routes = template.routes()?;
        let stack = Stack::start(StackOptions {
            listen: self.listen,
            port: self.port,
            storage,
            folder: project.as_ref().filter(|_| !self.memory).map(|one| one.folder().to_owned()),
            name: name.clone(),
            cursor_secret: cursor_secret.clone(),
            template,
            demo_keys: self.sample,
        })
        .await?;
        let loaded = if self.sample { Some(sample::load(&stack.store).await?) } else { None };
        let addresses = stack.addresses();
        if let Some(project) = &project {
            let tables = TableNames::with_prefix(&name);
            project.announce(&addresses, &tables, &cursor_secret, &stack)?;
        }
        if let Some(path) = &self.ready_file {
            addresses.write(path)?;
        }

        say(self.greeting(target, &addresses, &routes, loaded, &stack.bucket.imports()));
        if !self.listen.is_loopback() {
            warn(exposure_warning(self.listen));
        }
        end.wait().await;
        say("Stopping.");
        if let Some(path) = &self.ready_file {
            let _ = std::fs::remove_file(path);
        }
        stack.stop().await;
        Ok(())
    }

    /// What runs where, and how to start.
    fn greeting(
        &self,
        target: &Target,
        addresses: &Addresses,
        routes: &[Route],
        loaded: Option<Counts>,
        imports: &Path,
    ) -> String {
        let Addresses { url, dynamodb_url, .. } = addresses;
        let kept =
            if self.memory { "in memory".to_owned() } else { target.data.display().to_string() };
        let mut text = format!("The catalog is running at {url} (data: {kept})\n");
        for route in routes {
            let Some(path) = &route.path else { continue };
            let _ = writeln!(text, "  {url}{path}  ({})", route.function);
        }
        let _ = writeln!(text, "Documentation to try out: {url}/docs");
        let _ = writeln!(text, "DynamoDB engine: {dynamodb_url}");
        if let Some(counts) = loaded {
            let _ = writeln!(
                text,
                "Sample data: {} records new, {} changed, {} as before.",
                counts.created, counts.updated, counts.unchanged
            );
        }
        // A catalog in memory has no folder to keep files in.
        if !self.memory {
            let _ = writeln!(text, "Files dropped into {} are imported.", imports.display());
        }
        format!("{text}\n{}", getting_started(url, self.sample))
    }
}

/// The warning about what `--listen` exposes.
fn exposure_warning(listen: IpAddr) -> String {
    let who = if listen.is_unspecified() {
        "every machine that reaches this one".to_owned()
    } else {
        format!("every machine and container that reaches {listen}")
    };
    format!(
        "WARNING: open to {who}: the HTTP API by its keys, but the DynamoDB engine and the bucket, with all \
         data and keys in them, without any. Use it in networks that you trust."
    )
}

fn getting_started(url: &str, sample: bool) -> String {
    let mut text = String::new();
    if sample {
        text.push_str("Try it with the demo keys:\n");
        for sample in &sample::SAMPLES {
            let _ = writeln!(text, "  {:<7} {}", sample.account, sample.key);
        }
        let key = sample::SAMPLES[0].key;
        let _ = writeln!(
            text,
            "  curl -H 'X-Api-Key: {key}' '{url}/product-offerings?countries=JP&limit=2'\n"
        );
    }
    text.push_str("Make a key and load a catalog, in another terminal:\n");
    text.push_str("  catalog keys create --account ACME --permissions offerings.read\n");
    text.push_str("  catalog import --account ACME offerings.ndjson\n");
    text.push_str("Ctrl-C stops the catalog.");
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        serve: Serve,
        #[command(flatten)]
        target: Target,
    }

    /// What a catalog says that was started with these options.
    fn greeting(options: &[&str], loaded: Option<Counts>) -> String {
        let Line { serve, target } = Line::parse_from([&["catalog"], options].concat());
        let addresses = Addresses {
            url: "http://127.0.0.1:3000".to_owned(),
            dynamodb_url: "http://127.0.0.1:4000".to_owned(),
            objects_url: None,
            bucket: None,
        };
        let route = |path: Option<&str>| Route {
            method: "ANY".to_owned(),
            path: path.map(ToOwned::to_owned),
            function: "list-things".to_owned(),
        };
        let routes = [route(Some("/things")), route(None)];
        serve.greeting(&target, &addresses, &routes, loaded, Path::new("shop/imports"))
    }

    #[test]
    fn a_catalog_greets_with_what_runs_where_and_how_to_start() {
        assert_eq!(
            greeting(&["--data", "shop"], None),
            "\
The catalog is running at http://127.0.0.1:3000 (data: shop)
  http://127.0.0.1:3000/things  (list-things)
Documentation to try out: http://127.0.0.1:3000/docs
DynamoDB engine: http://127.0.0.1:4000
Files dropped into shop/imports are imported.

Make a key and load a catalog, in another terminal:
  catalog keys create --account ACME --permissions offerings.read
  catalog import --account ACME offerings.ndjson
Ctrl-C stops the catalog."
        );
        let loaded = Counts { created: 1, updated: 2, unchanged: 3, ..Counts::default() };
        assert_eq!(
            greeting(&["--memory", "--sample"], Some(loaded)),
            "\
The catalog is running at http://127.0.0.1:3000 (data: in memory)
  http://127.0.0.1:3000/things  (list-things)
Documentation to try out: http://127.0.0.1:3000/docs
DynamoDB engine: http://127.0.0.1:4000
Sample data: 1 records new, 2 changed, 3 as before.

Try it with the demo keys:
  ACME    cat_live_DemoKeyOfAcmeForLocalUseOnly0001
  GLOBEX  cat_live_DemoKeyOfGlobexForLocalUse000001
  curl -H 'X-Api-Key: cat_live_DemoKeyOfAcmeForLocalUseOnly0001' \
'http://127.0.0.1:3000/product-offerings?countries=JP&limit=2'

Make a key and load a catalog, in another terminal:
  catalog keys create --account ACME --permissions offerings.read
  catalog import --account ACME offerings.ndjson
Ctrl-C stops the catalog."
        );
    }

    #[test]
    fn who_else_reaches_a_catalog_is_told() {
        let rest = "the HTTP API by its keys, but the DynamoDB engine and the bucket, with all data and keys in \
            them, without any. Use it in networks that you trust.";
        for (listen, who) in [
            ("0.0.0.0", "every machine that reaches this one"),
            ("::", "every machine that reaches this one"),
            ("192.0.2.1", "every machine and container that reaches 192.0.2.1"),
        ] {
            let told = exposure_warning(listen.parse().expect("an address"));
            assert_eq!(told, format!("WARNING: open to {who}: {rest}"));
        }
    }
}
