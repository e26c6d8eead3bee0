//! Imports that clients submit over HTTP: the job exists, with its options and its time, before there is anything to
//! read. What is to be imported becomes an object of its own; its creation starts the job.

use std::time::Duration;

use jiff::Timestamp;

use super::job::{ImportId, Submission};
use crate::account::AccountId;

/// The folder of submitted objects: `uploads/<account>/<import>`.
pub const UPLOADS: &str = "uploads/";

/// How long the presigned URL for an upload is valid.
pub const UPLOAD_TERM: Duration = Duration::from_mins(15);

/// How long after it was last submitted an import may still be without its object: an upload that began while its URL
/// was valid takes time.
pub const LONGEST_WAIT: Duration = Duration::from_hours(6);

/// A submission with the identity of its job.
#[derive(Clone, Debug)]
pub struct SubmittedImport {
    pub import: ImportId,
    pub submission: Submission,
    /// The time of its records.
    pub submitted_at: Timestamp,
}

/// The name of a submitted import's source.
#[must_use]
pub fn source_name(import: &ImportId) -> String {
    format!("upload {}", import.as_str())
}

/// The key of the object with what is to be imported.
#[must_use]
pub fn upload_key(account: &AccountId, import: &ImportId) -> String {
    format!("{UPLOADS}{account}/{}", import.as_str())
}

/// The account and the import of an uploaded object; `None`: it is none.
#[must_use]
pub fn uploaded(key: &str) -> Option<(AccountId, ImportId)> {
    let (account, import) = key.strip_prefix(UPLOADS)?.split_once('/')?;
    Some((AccountId::parse(account).ok()?, ImportId::parse(import)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uploads_key_tells_its_account_and_its_import() {
        let (account, import) = (AccountId::parse("ACME").expect("account"), ImportId::of(&["x"]));
        let key = upload_key(&account, &import);
        assert_eq!(key, format!("uploads/ACME/{}", import.as_str()));
        assert_eq!(source_name(&import), format!("upload {}", import.as_str()));
        assert_eq!(uploaded(&key), Some((account, import)));
        for other in
            ["imports/ACME/x", "uploads/ACME", "uploads/ACME/x", "uploads//", "uploads/a b/0"]
        {
            assert_eq!(uploaded(other), None, "{other}");
        }
    }
}
