//! The folder in which a running catalog keeps its data and publishes its addresses: `.catalog` of the
//! project.

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

use super::Stack;
use crate::error::CliError;

/// The folder, locked by this process until this is dropped.
#[derive(Debug)]
pub struct Project {
    folder: PathBuf,
    _lock: File,
}

/// The addresses of a running catalog, as written to `--ready-file`, and looked up by other commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Addresses {
    pub url: String,
    pub dynamodb_url: String,
    /// The S3 server, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects_url: Option<String>,
    /// The bucket of catalogs to import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
}

impl Addresses {
    /// The addresses of the catalog that runs in this folder, if one does.
    ///
    /// # Errors
    /// [`CliError::Starting`] while it cannot be reached yet: using another catalog then would be a mistake.
    pub fn of_running(folder: &Path) -> Result<Option<Self>, CliError> {
        // A running catalog holds the lock; if it is killed, the lock is released.
        let Ok(lock) = File::open(folder.join(LOCK)) else { return Ok(None) };
        match lock.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {
                let told = fs::read(folder.join(RUNNING)).ok();
                let addresses = told.and_then(|json| serde_json::from_slice(&json).ok());
                addresses.map(Some).ok_or_else(|| CliError::Starting(folder.to_owned()))
            }
            _ => Ok(None),
        }
    }

    /// Writes the file atomically, so that a reader never sees half of it.
    pub fn write(&self, path: &Path) -> Result<(), CliError> {
        let json = serde_json::to_string(self).unwrap_or_default();
        let draft = path.with_added_extension("draft");
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

/// The secret that encrypts cursors of the catalog in this folder, if it has one.
#[must_use]
pub fn known_cursor_secret(folder: &Path) -> Option<String> {
    let secret = fs::read_to_string(folder.join(SECRET)).ok();
    secret.filter(|secret| secret.len() >= 32)
}

impl Project {
    /// Locks the folder for this process; creates it if necessary.
    ///
    /// # Errors
    /// [`CliError::DataInUse`] while another process holds the lock; [`CliError::File`].
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
            // A command that checks whether a catalog is running holds the lock for a moment.
            if !matches!(locked, Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
            locked = lock.try_lock();
        }
        match locked {
            Ok(()) => {
                let project = Self { folder: folder.to_owned(), _lock: lock };
                // A catalog that was killed leaves its files behind.
                project.withdraw();
                Ok(project)
            }
            Err(TryLockError::WouldBlock) => Err(CliError::DataInUse(folder.to_owned())),
            Err(TryLockError::Error(source)) => {
                Err(CliError::File { action: "lock", path, source })
            }
        }
    }

    #[must_use]
    pub fn data_file(&self) -> PathBuf {
        self.folder.join(DATA)
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The secret that encrypts cursors. It is generated once and kept, so that cursors survive a restart.
    ///
    /// # Errors
    /// [`CliError::File`]; [`CliError::Engine`] when the system has no randomness.
    pub fn cursor_secret(&self) -> Result<String, CliError> {
        if let Some(secret) = known_cursor_secret(&self.folder) {
            return Ok(secret);
        }
        let path = self.folder.join(SECRET);
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random).map_err(|error| CliError::Engine(error.to_string()))?;
        let secret = hex(&random);
        write_private(&path, &secret)?;
        Ok(secret)
    }

    /// Publishes the addresses for other commands, and the environment variables with which the Lambda
    /// binaries themselves run against this engine: for `cargo lambda watch --env-file`, and for `sam local
    /// --env-vars`, whose containers reach this machine by another name.
    pub fn announce(
        &self,
        addresses: &Addresses,
        tables: &TableNames,
        cursor_secret: &str,
        stack: &Stack,
    ) -> Result<(), CliError> {
        let mut variables = vec![
            ("AWS_ENDPOINT_URL_DYNAMODB", addresses.dynamodb_url.clone()),
            ("CURSOR_SECRET", cursor_secret.to_owned()),
        ];
        let tables = tables.variables().into_iter();
        variables.extend(tables.map(|(name, table)| (name, table.to_owned())));
        variables.extend(stack.environment());
        let mut environment = String::new();
        for (name, value) in &variables {
            let _ = writeln!(environment, "{name}={value}");
        }
        write_private(&self.folder.join(FUNCTIONS), &environment)?;

        // Empty, because there is neither a bus nor an import queue here, and `sam local` would set a name.
        variables.push(("IMPORT_QUEUE_URL", String::new()));
        variables.push(("CHANGES_BUS", String::new()));
        let variables: BTreeMap<_, _> =
            variables.into_iter().map(|(name, value)| (name, from_container(&value))).collect();
        let sam_variables = format!("{:#}\n", json!({ "Parameters": variables }));
        write_private(&self.folder.join(SAM_VARIABLES), &sam_variables)?;
        addresses.write(&self.folder.join(RUNNING))
    }
}

/// A loopback URL as containers reach it: by the name that container engines give their host.
fn from_container(url: &str) -> String {
    url.replace("//127.0.0.1:", "//host.docker.internal:")
        .replace("//[::1]:", "//host.docker.internal:")
}

/// Writes a file that only its owner can read.
fn write_private(path: &Path, text: &str) -> Result<(), CliError> {
    let mut options = File::options();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = |mut file: File| file.write_all(text.as_bytes());
    options.open(path).and_then(write).map_err(CliError::file("write", path))
}

impl Project {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::{StackOptions, Storage};

    fn text(folder: &Path, name: &str) -> Option<String> {
        fs::read_to_string(folder.join(name)).ok()
    }

    #[tokio::test]
    async fn a_running_catalog_tells_its_addresses_and_others_its_environment() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("below").join(".catalog");
        assert_eq!(Addresses::of_running(&folder).expect("none"), None);
        let project = Project::take(&folder).expect("the folder");
        assert_eq!((project.folder(), project.data_file()), (&*folder, folder.join("catalog.db")));
        let starting = Addresses::of_running(&folder).expect_err("it starts");
        let expected = format!(
            "a catalog is starting in {}; try again in a moment (or give --endpoint-url or --aws)",
            folder.display()
        );
        assert_eq!(starting.to_string(), expected);
        let in_use = Project::take(&folder).expect_err("it is in use");
        let expected = format!(
            "another `catalog serve` is using {}; stop it, or choose other data with --data DIR or --memory",
            folder.display()
        );
        assert_eq!(in_use.to_string(), expected);

        let options = StackOptions::built_in("shop", Storage::Memory).expect("a template");
        let stack = Stack::start(options).await.expect("a stack");
        let addresses = stack.addresses();
        let tables = TableNames::with_prefix("shop");
        project.announce(&addresses, &tables, "secret", &stack).expect("announced");
        assert_eq!(Addresses::of_running(&folder).expect("running"), Some(addresses.clone()));
        let objects = addresses.objects_url.clone().expect("a bucket");
        let own: BTreeMap<&str, String> = stack.environment().into_iter().collect();
        let (sqs, queue) = (&own["AWS_ENDPOINT_URL_SQS"], &own["EXPORT_QUEUE_URL"]);
        assert_eq!(*queue, format!("{sqs}/000000000000/exports"));
        let mut lines = vec![
            format!("AWS_ENDPOINT_URL_DYNAMODB={}", addresses.dynamodb_url),
            "CURSOR_SECRET=secret".to_owned(),
        ];
        lines.extend(tables.variables().map(|(name, table)| format!("{name}={table}")));
        lines.extend([
            format!("AWS_ENDPOINT_URL_S3={objects}"),
            "CATALOG_BUCKET=catalog".to_owned(),
            format!("AWS_ENDPOINT_URL_SQS={sqs}"),
            format!("EXPORT_QUEUE_URL={queue}"),
        ]);
        let environment = text(&folder, FUNCTIONS).expect("functions.env");
        assert_eq!(environment, lines.join("\n") + "\n");
        let sam: serde_json::Value =
            serde_json::from_str(&text(&folder, SAM_VARIABLES).expect("env.json")).expect("JSON");
        lines.extend(["IMPORT_QUEUE_URL=".to_owned(), "CHANGES_BUS=".to_owned()]);
        let from_container = |value: &str| value.replace("//127.0.0.1:", "//host.docker.internal:");
        let variables: BTreeMap<&str, String> = lines
            .iter()
            .map(|line| line.split_once('=').expect("a variable"))
            .map(|(name, value)| (name, from_container(value)))
            .collect();
        assert_eq!(sam, json!({ "Parameters": variables }));

        drop(project);
        assert_eq!(Addresses::of_running(&folder).expect("none"), None);
        for name in [RUNNING, FUNCTIONS, SAM_VARIABLES] {
            assert_eq!(text(&folder, name), None, "{name}");
            // As a catalog that was killed leaves them.
            fs::write(folder.join(name), "old").expect("a file");
        }
        let project = Project::take(&folder).expect("the folder");
        for name in [RUNNING, FUNCTIONS, SAM_VARIABLES] {
            assert_eq!(text(project.folder(), name), None, "{name}");
        }
    }

    #[test]
    fn a_catalog_starts_while_a_command_looks_whether_one_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(Project::take(folder.path()).expect("the folder"));
        let looks = File::open(folder.path().join(LOCK)).expect("the lock");
        looks.lock_shared().expect("locked");
        let looking = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            drop(looks);
        });
        Project::take(folder.path()).expect("the folder");
        looking.join().expect("a thread");
    }

    #[test]
    fn a_cursor_secret_is_made_once_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(known_cursor_secret(folder.path()), None);
        let project = Project::take(folder.path()).expect("the folder");
        let secret = project.cursor_secret().expect("a secret");
        assert!(secret.len() == 64 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(project.cursor_secret().expect("a secret"), secret);
        assert_eq!(known_cursor_secret(folder.path()), Some(secret));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let metadata = fs::metadata(folder.path().join(SECRET)).expect("a file");
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        }
        // One that is too short is made anew.
        for (length, is_known) in [(32, true), (31, false)] {
            let short = "s".repeat(length);
            fs::write(folder.path().join(SECRET), &short).expect("a file");
            assert_eq!(known_cursor_secret(folder.path()).is_some(), is_known);
            assert_eq!(project.cursor_secret().expect("a secret") == short, is_known);
        }
    }

    #[test]
    fn a_container_reaches_this_machine_by_the_name_of_its_host() {
        for (url, expected) in [
            ("http://127.0.0.1:80/a", "http://host.docker.internal:80/a"),
            ("http://[::1]:80", "http://host.docker.internal:80"),
            ("http://192.0.2.1:80", "http://192.0.2.1:80"),
        ] {
            assert_eq!(from_container(url), expected);
        }
    }
}
