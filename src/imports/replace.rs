//! A source that is the whole of a kind: what it does not name goes.
//!
//! Offerings are archived, all else is removed. Only after the source was read to its end, only when
//! every line of it tells what it names, and never more than a share of what is stored: a file cut
//! short at its source does not empty a catalog.

use std::{collections::HashSet, future::Future};

use jiff::Timestamp;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{
    Group, ImportStore, ImportTarget, Importer, Kind, LineError, Record, engine::GROUP_LINES,
};

/// The share of what is stored that may go without being told so.
pub const DEFAULT_SHARE: f64 = 0.5;

/// Reads the share of what is stored that may go.
#[must_use]
pub fn parse_share(text: &str) -> Option<f64> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share))
}

/// What a source names of a kind.
#[derive(Clone, Debug)]
pub struct Named {
    kind: Kind,
    /// Hashes of identities: a few bytes each, however long they are.
    names: HashSet<[u8; 16]>,
    /// Lines that do not tell what they name.
    unreadable: u64,
}

impl Named {
    /// Nothing of a kind yet.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self { kind, names: HashSet::new(), unreadable: 0 }
    }

    /// Notes what a line names, whether or not the rest of it is right.
    fn note(&mut self, line: &[u8]) {
        match Record::names(line) {
            // A record without a name of its own names what nobody could find again.
            Some((kind, names)) if kind == self.kind && names.is_empty() => self.unreadable += 1,
            Some((kind, names)) if kind == self.kind => {
                self.names.extend(names.iter().map(|name| hash(name)));
            }
            Some(_) => {}
            None => self.unreadable += 1,
        }
    }

    /// Notes what a part of a source names.
    pub fn note_group(&mut self, group: Option<&Group>) {
        match group {
            Some(Group::Lines(lines)) => {
                for (_, line) in lines {
                    self.note(line);
                }
            }
            Some(Group::Refused(_)) => self.unreadable += 1,
            Some(Group::Broken(_) | Group::End) | None => {}
        }
    }

    fn has(&self, names: &[String]) -> bool {
        names.iter().any(|name| self.names.contains(&hash(name)))
    }
}

fn hash(name: &str) -> [u8; 16] {
    let mut hash = [0; 16];
    hash.copy_from_slice(&Sha256::digest(name)[..16]);
    hash
}

/// Everything stored of a kind, as records, a page after the other.
pub trait Stock: Send {
    /// What can go wrong below.
    type Error: Send;

    /// The next page; `None` after the last.
    fn page(&mut self) -> impl Future<Output = Result<Option<Vec<String>>, Self::Error>> + Send;
}

/// What a replacement came to.
#[derive(Debug)]
pub enum Replacement {
    /// What was not named is gone; the records that the database refused are told.
    Done(Vec<LineError>),
    /// Nothing was removed: more would have gone than was allowed.
    TooMany {
        /// What is not named.
        unnamed: u64,
        /// What is stored.
        stored: u64,
    },
    /// Nothing was removed: this many lines do not tell what they name.
    Unreadable(u64),
}

impl Replacement {
    /// Why nothing was removed of a kind, if so; `allowed` tells the share and where it is given.
    #[must_use]
    pub fn why_kept(&self, kind: Kind, allowed: &str) -> Option<String> {
        match self {
            Self::Done(_) => None,
            Self::TooMany { unnamed, stored } => Some(format!(
                "nothing was removed: {unnamed} of {stored} records of kind {kind} are not named, more than \
                 {allowed}"
            )),
            Self::Unreadable(lines) => {
                Some(format!("nothing was removed: {lines} lines do not tell what they name"))
            }
        }
    }
}

/// Removes what a source does not name, but never more than `share` of what is stored.
///
/// # Errors
/// When the database cannot be used at all; to do it again is safe.
pub async fn replace<T, S, E>(
    importer: &mut Importer<'_, T>,
    named: &Named,
    stock: impl Fn() -> S,
    share: f64,
) -> Result<Replacement, E>
where
    T: ImportStore + ImportTarget<Error = E>,
    S: Stock<Error = E>,
{
    if named.unreadable > 0 {
        return Ok(Replacement::Unreadable(named.unreadable));
    }
    let (mut stored, mut unnamed) = (0_u64, 0_u64);
    let mut pages = stock();
    while let Some(page) = pages.page().await? {
        for record in page {
            stored += u64::from(may_go(named.kind, &record));
            unnamed += u64::from(removal(named, &record).is_some());
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "a share needs no last digit")]
    if unnamed as f64 > stored as f64 * share {
        return Ok(Replacement::TooMany { unnamed, stored });
    }
    let mut refused = Vec::new();
    if unnamed == 0 {
        return Ok(Replacement::Done(refused));
    }
    let mut pages = stock();
    while let Some(page) = pages.page().await? {
        let lines: Vec<(u64, Vec<u8>)> = page
            .iter()
            .filter_map(|record| removal(named, record))
            .map(|line| (0, line.into_bytes()))
            .collect();
        for lines in lines.chunks(GROUP_LINES) {
            refused.extend(importer.group(lines, Timestamp::now()).await?);
        }
    }
    Ok(Replacement::Done(refused))
}

/// What says that an offering is on sale. The first member of that name is the offering's own: ids hold
/// no quotes unescaped.
const ON_SALE: &str = "\"status\":\"AVAILABLE\"";

/// Is a stored record one that a replacement of this kind could take away? Archived offerings are gone
/// already, and a network's export has its bundles beside it.
fn may_go(kind: Kind, record: &str) -> bool {
    let of_kind = Record::names(record.as_bytes()).is_some_and(|(of, _)| of == kind);
    of_kind && (kind != Kind::Offering || record.contains(ON_SALE))
}

/// The record that makes a stored one go, if it is not named.
fn removal(named: &Named, record: &str) -> Option<String> {
    let (kind, identity) = Record::names(record.as_bytes())?;
    if kind != named.kind || named.has(&identity) {
        return None;
    }
    if kind == Kind::Offering {
        let archived = || record.replacen(ON_SALE, "\"status\":\"ARCHIVED\"", 1);
        return record.contains(ON_SALE).then(archived);
    }
    let fields: &[&str] = match kind {
        Kind::Offering => &[],
        Kind::Promotion => &["code"],
        Kind::PartnerOffering => &["offering"],
        Kind::Network => &["id"],
        Kind::Bundle => &["network_id", "id"],
        Kind::ExchangeRate => &["source_currency", "destination_currency"],
        Kind::Product => &["sku", "externalId", "id"],
    };
    let members: Map<String, Value> = serde_json::from_str(record).ok()?;
    let mut removal = Map::new();
    removal.insert("kind".to_owned(), kind.as_str().into());
    removal.insert("op".to_owned(), "delete".into());
    for field in fields {
        if let Some(value) = members.get(*field).filter(|value| !value.is_null()) {
            removal.insert((*field).to_owned(), value.clone());
        }
    }
    Some(Value::from(removal).to_string())
}
