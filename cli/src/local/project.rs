//! The folder a running catalog keeps its data and its whereabouts in: `.catalog` of the project.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File, TryLockError},
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use serverless_catalog::{store::TableNames, text::hex};

use super::Bucket;
use crate::error::CliError;

/// The folder, used by this process alone while it lives.
#[derive(Debug)]
pub struct Project {
    folder: PathBuf,
    _lock: File,
}

/// Where a running catalog is reached: what `--ready-file` tells, and what other commands look up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Whereabouts {
    /// The HTTP API.
    pub url: String,
    /// The DynamoDB engine.
    pub dynamodb_url: String,
    /// The S3 server, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects_url: Option<String>,
    /// The bucket of catalogs to import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
}

impl Whereabouts {
    /// Where the catalog of this folder is running, if it is.
    ///
    /// # Errors
    /// [`CliError::Starting`] while it is not reached yet: to go elsewhere then would be a mistake.
    pub fn of_running(folder: &Path) -> Result<Option<Self>, CliError> {
        // A running catalog holds the lock; a killed one holds it no more.
        let Ok(lock) = File::open(folder.join(LOCK)) else { return Ok(None) };
        match lock.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {
                let told = fs::read(folder.join(RUNNING)).ok();
                let whereabouts = told.and_then(|json| serde_json::from_slice(&json).ok());
                whereabouts.map(Some).ok_or_else(|| CliError::Starting(folder.to_owned()))
            }
            _ => Ok(None),
        }
    }

    /// Writes the file at once, so that a reader never sees half of it.
    ///
    /// # Errors
    /// [`CliError::File`].
    pub fn write(&self, path: &Path) -> Result<(), CliError> {
        let json = serde_json::to_string(self).unwrap_or_default();
        let mut draft = path.as_os_str().to_owned();
        draft.push(".draft");
        let draft = PathBuf::from(draft);
        fs::write(&draft, json + "\n").map_err(CliError::file("write", &draft))?;
        fs::rename(&draft, path).map_err(CliError::file("write", path))
    }
}

const LOCK: &str = "lock";
const LOCK_RETRIES: u32 = 10;
const RUNNING: &str = "serve.json";
const FUNCTIONS: &str = "functions.env";
const SAM_VARIABLES: &str = "env.json";
const SECRET: &str = "cursor-secret";
const DATA: &str = "catalog.db";

impl Project {
    /// Takes the folder for this process, making it if need be.
    ///
    /// # Errors
    /// [`CliError::DataInUse`] while another process has it; [`CliError::File`].
    pub fn take(folder: &Path) -> Result<Self, CliError> {
        fs::create_dir_all(folder).map_err(CliError::file("make", folder))?;
        let path = folder.join(LOCK);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(CliError::file("open", &path))?;
        let mut locked = lock.try_lock();
        for _ in 0..LOCK_RETRIES {
            // A command that looks whether a catalog is running holds the lock for a moment.
            if !matches!(locked, Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
            locked = lock.try_lock();
        }
        match locked {
            Ok(()) => {
                let project = Self { folder: folder.to_owned(), _lock: lock };
                // A catalog that was killed left its own.
                project.withdraw();
                Ok(project)
            }
            Err(TryLockError::WouldBlock) => Err(CliError::DataInUse(folder.to_owned())),
            Err(TryLockError::Error(source)) => {
                Err(CliError::File { action: "lock", path, source })
            }
        }
    }

    /// The engine's file.
    #[must_use]
    pub fn data_file(&self) -> PathBuf {
        self.folder.join(DATA)
    }

    /// The folder of buckets.
    #[must_use]
    pub fn objects_folder(&self) -> PathBuf {
        self.folder.join("objects")
    }

    /// The secret cursors are sealed with, made at first use: cursors survive a restart.
    ///
    /// # Errors
    /// [`CliError::File`]; [`CliError::Engine`] when the system has no randomness.
    pub fn cursor_secret(&self) -> Result<String, CliError> {
        let path = self.folder.join(SECRET);
        if let Ok(secret) = fs::read_to_string(&path)
            && secret.len() >= 32
        {
            return Ok(secret);
        }
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random).map_err(|error| CliError::Engine(error.to_string()))?;
        let secret = hex(&random);
        write_private(&path, &secret)?;
        Ok(secret)
    }

    /// Tells other commands where the catalog is reached, and leaves the environment in which the
    /// Lambda binaries themselves run against its engine: for `cargo lambda watch --env-file`, and for
    /// `sam local --env-vars`, whose containers reach this machine by another name.
    ///
    /// # Errors
    /// [`CliError::File`].
    pub fn announce(
        &self,
        whereabouts: &Whereabouts,
        tables: &TableNames,
        cursor_secret: &str,
        bucket: Option<&Bucket>,
    ) -> Result<(), CliError> {
        let mut variables = vec![
            ("AWS_ENDPOINT_URL_DYNAMODB", whereabouts.dynamodb_url.clone()),
            ("CURSOR_SECRET", cursor_secret.to_owned()),
        ];
        let tables = tables.variables().into_iter();
        variables.extend(tables.map(|(name, table)| (name, table.to_owned())));
        variables.extend(bucket.into_iter().flat_map(Bucket::environment));
        let mut environment = String::new();
        for (name, value) in &variables {
            let _ = writeln!(environment, "{name}={value}");
        }
        write_private(&self.folder.join(FUNCTIONS), &environment)?;

        // There is no queue here: `sam local` would give the name of one.
        variables.push(("IMPORT_QUEUE_URL", String::new()));
        let variables: BTreeMap<_, _> =
            variables.into_iter().map(|(name, value)| (name, from_container(&value))).collect();
        let sam_variables = format!("{:#}\n", json!({ "Parameters": variables }));
        write_private(&self.folder.join(SAM_VARIABLES), &sam_variables)?;
        whereabouts.write(&self.folder.join(RUNNING))
    }
}

/// A URL of this machine alone as a container has it: by the name that container engines give their host.
fn from_container(url: &str) -> String {
    url.replace("//127.0.0.1:", "//host.docker.internal:")
        .replace("//[::1]:", "//host.docker.internal:")
}

/// Writes a file that only its owner reads.
fn write_private(path: &Path, text: &str) -> Result<(), CliError> {
    let mut options = File::options();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = |mut file: File| file.write_all(text.as_bytes());
    options.open(path).and_then(write).map_err(CliError::file("write", path))
}

impl Project {
    /// Takes back what was announced.
    fn withdraw(&self) {
        for name in [RUNNING, FUNCTIONS, SAM_VARIABLES] {
            let _ = fs::remove_file(self.folder.join(name));
        }
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        self.withdraw();
    }
}
