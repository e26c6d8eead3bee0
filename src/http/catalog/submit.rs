//! `POST /catalog/v1/imports`: what a client submits, records or the announcement of an upload.

use serde_json::value::RawValue;

use crate::{
    http::{
        ApiError, ApiRequest, body,
        params::{Parameter, Params, QueryValue},
    },
    imports::{
        Kind, OrderBy,
        job::{ImportOptions, Submission},
        snapshot::{DEFAULT_SHARE, parse_share},
    },
    json::{Members, json_type, type_name},
    source::{Compression, Format},
    text::FieldError,
};

pub(super) const REPLACE: Parameter<ReplacedKind> = Parameter::new(
    "replace",
    "The import is a snapshot of this kind, that is, it contains all records of the kind: stored ones that it does not contain are removed; offerings are archived.",
);

pub(super) const REPLACE_SHARE: Parameter<Share> = Parameter::new(
    "replaceShare",
    "The largest share of what is stored that `replace` may remove; 0.5 without it.",
);

pub(super) const ORDER: Parameter<OrderBy> = Parameter::new(
    "order",
    "`record`: a record with `updatedAt` has that time. `source`: all records have the time of the import, which overrides newer data.",
);

pub(super) const DRY_RUN: Parameter<bool> =
    Parameter::new("dryRun", "Compare and count, but write nothing; `false` by default.");

/// The most bytes that S3 takes with one request: 5 GiB (S3 user guide, "Uploading objects").
pub(super) const MAX_UPLOAD_BYTES: u64 = 5 * 1024 * 1024 * 1024;

/// What is wrong with a body of another media type.
pub(super) const WRONG_TYPE: &str =
    "Content-Type must be application/x-ndjson, application/json or text/csv";

/// A kind that can be replaced. Bundles are replaced together with their networks.
#[derive(Clone, Copy)]
pub(super) struct ReplacedKind(Kind);

impl ReplacedKind {
    fn kinds() -> impl Iterator<Item = Kind> {
        Kind::ALL.iter().copied().filter(|kind| *kind != Kind::Bundle)
    }
}

impl QueryValue for ReplacedKind {
    fn parse(text: &str) -> Result<Self, String> {
        Self::kinds().find(|kind| kind.as_str() == text).map(Self).ok_or_else(|| {
            let kinds: Vec<&str> = Self::kinds().map(Kind::as_str).collect();
            format!("must be one of {}", kinds.join(", "))
        })
    }

    #[cfg(feature = "openapi")]
    fn schema(_: &mut crate::http::describe::Schemas) -> serde_json::Value {
        let kinds: Vec<&str> = Self::kinds().map(Kind::as_str).collect();
        serde_json::json!({ "type": "string", "enum": kinds })
    }
}

/// A share of what is stored.
#[derive(Clone, Copy)]
pub(super) struct Share(f64);

impl QueryValue for Share {
    fn parse(text: &str) -> Result<Self, String> {
        let share = parse_share(text).map(Self);
        share.ok_or_else(|| "must be a number from 0 to 1, such as 0.8".to_owned())
    }

    #[cfg(feature = "openapi")]
    fn schema(_: &mut crate::http::describe::Schemas) -> serde_json::Value {
        serde_json::json!({ "type": "number", "minimum": 0, "maximum": 1 })
    }
}

/// What a client submits.
pub(super) enum Submitted<'a> {
    /// Records, in the body itself.
    Records(Submission, &'a [u8]),
    /// An object that it will upload.
    Upload(Submission),
}

impl<'a> Submitted<'a> {
    pub(super) fn parse(request: &'a ApiRequest) -> Result<Self, ApiError> {
        let (media_type, bytes) = body::typed(request)?;
        let format = match media_type.as_str() {
            "application/x-ndjson" => Format::Ndjson,
            "text/csv" => Format::Csv,
            "application/json" => match json_type(first_character(bytes)) {
                "array" => Format::JsonArray,
                _ => return upload(request, body::json_text(bytes)?).map(Self::Upload),
            },
            _ => return Err(ApiError::invalid("", WRONG_TYPE)),
        };
        if first_character(bytes).is_none() {
            return Err(ApiError::invalid("", "The body has no records"));
        }
        let mut params = Params::parse(&request.query);
        let share = params.single(&REPLACE_SHARE);
        let replace = params.single(&REPLACE);
        let order_by = params.single(&ORDER);
        let dry_run = params.single(&DRY_RUN);
        if share.is_some() && replace.is_none() {
            params.add_error(REPLACE_SHARE.name, "needs replace");
        }
        params.finish()?;
        let options = options(Some(format), replace, share, order_by, dry_run);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(Self::Records(Submission { options, length }, bytes))
    }
}

fn first_character(bytes: &[u8]) -> Option<u8> {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start().first().copied()
}

fn options(
    format: Option<Format>,
    replace: Option<ReplacedKind>,
    share: Option<Share>,
    order_by: Option<OrderBy>,
    dry_run: Option<bool>,
) -> ImportOptions {
    let share = share.map_or(DEFAULT_SHARE, |Share(share)| share);
    ImportOptions {
        format,
        replace: replace.map(|ReplacedKind(kind)| (kind, share)),
        order_by: order_by.unwrap_or(OrderBy::Record),
        dry_run: dry_run.unwrap_or(false),
    }
}

/// The announcement of an upload: `{"upload":{…}}`.
fn upload(request: &ApiRequest, json: &str) -> Result<Submission, ApiError> {
    let invalid = |field: &str, message: String| ApiError::invalid(field, message);
    let other = |_: &str| "Send an array of records, or an object with upload".to_owned();
    let members = body::members(json, |_| true, other)?;
    if let Some(twice) = members.duplicate() {
        return Err(invalid(twice, "occurs twice".to_owned()));
    }
    let [(name, upload)] = members.0.as_slice() else {
        return Err(invalid("upload", "must be the only member".to_owned()));
    };
    if name != "upload" {
        return Err(invalid("upload", "is required, or an array of records".to_owned()));
    }
    if type_name(upload) != "object" {
        return Err(invalid("upload", format!("must be an object, not {}", type_name(upload))));
    }
    if !request.query.is_empty() {
        let message = "the options of an upload belong into upload".to_owned();
        return Err(invalid("query", message));
    }
    body::parsed(Announcement::of(upload.get()))?.submission()
}

/// The members of `upload`, and what is wrong with them so far.
struct Announcement<'a> {
    members: Members<'a>,
    errors: Vec<FieldError>,
}

impl<'a> Announcement<'a> {
    fn of(json: &'a str) -> Result<Self, serde_json::Error> {
        Ok(Self { members: Members::of(json, |_| true)?, errors: Vec::new() })
    }

    fn submission(mut self) -> Result<Submission, ApiError> {
        const KNOWN: [&str; 7] = [
            "format",
            "compression",
            "length",
            REPLACE.name,
            REPLACE_SHARE.name,
            ORDER.name,
            DRY_RUN.name,
        ];
        let unknown = self.members.0.iter().find(|(name, _)| !KNOWN.contains(&name.as_str()));
        if let Some((name, _)) = unknown {
            let name = name.clone();
            self.add_error(&name, format!("is unknown; there are {}", KNOWN.join(", ")));
        }
        if let Some(twice) = self.members.duplicate().map(ToOwned::to_owned) {
            self.add_error(&twice, "occurs twice".to_owned());
        }
        let format = self.text("format", str::parse::<Format>);
        if self.member("format").is_none() {
            self.add_error("format", format!("is required: one of {}", Format::spellings()));
        }
        let _: Option<Compression> = self.text("compression", str::parse);
        let replace = self.text(REPLACE.name, ReplacedKind::parse);
        let order_by = self.text(ORDER.name, str::parse);
        let dry_run = self.literal(DRY_RUN.name, bool::parse);
        let share = self.literal(REPLACE_SHARE.name, Share::parse);
        if share.is_some() && replace.is_none() {
            self.add_error(REPLACE_SHARE.name, "needs replace".to_owned());
        }
        let length = self.literal("length", |text| {
            let length = text.parse().ok().filter(|length| (1..=MAX_UPLOAD_BYTES).contains(length));
            length.ok_or_else(|| format!("must be a whole number from 1 to {MAX_UPLOAD_BYTES}"))
        });
        if length.is_none() && self.member("length").is_none() {
            self.add_error("length", "is required: the number of bytes".to_owned());
        }
        match length {
            Some(length) if self.errors.is_empty() => {
                let options = options(format, replace, share, order_by, dry_run);
                Ok(Submission { options, length })
            }
            _ => Err(ApiError::Invalid(self.errors)),
        }
    }

    fn add_error(&mut self, name: &str, message: String) {
        self.errors.push(FieldError::new(format!("upload.{name}"), message));
    }

    fn member(&self, name: &str) -> Option<&'a RawValue> {
        self.members.0.iter().find(|(member, _)| member == name).map(|(_, value)| *value)
    }

    /// A member that is a string.
    fn text<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let value = self.member(name)?;
        let text = serde_json::from_str::<String>(value.get());
        let parsed = text.map_err(|_| format!("must be a string, not {}", type_name(value)));
        self.checked(name, parsed.and_then(|text| parse(&text)))
    }

    /// A member that is a number or a boolean.
    fn literal<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let value = self.member(name)?;
        self.checked(name, parse(value.get()))
    }

    fn checked<T>(&mut self, name: &str, parsed: Result<T, String>) -> Option<T> {
        parsed.map_err(|message| self.add_error(name, message)).ok()
    }
}

#[cfg(test)]
mod tests;
