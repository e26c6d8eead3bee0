//! Dialects: which header of an API carries the key, and what its error bodies look like.
//!
//! A dialect is a value, so that the HTTP adapter can answer any path, even an unknown one, in the nearest dialect.

use lambda_http::http::HeaderMap;

use super::{ApiError, ApiRequest, networks, partners, problem, products};
use crate::access::{ApiKey, Permission};

/// The conventions of one API: of a published one, or of the catalog's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Product offerings: the contract published by Connect.
    Offerings,
    /// Partner offerings: the contract of SendGrid's Account Provisioning API.
    Partners,
    /// Networks, countries and network products: the contract published by Click Airtime.
    Networks,
    /// Products: the contract published by agentlyleads.
    Products,
    /// The catalog's own API.
    Catalog,
}

/// An error, rendered in a dialect: what the response needs besides its status.
pub(super) struct RenderedError {
    pub(super) content_type: &'static str,
    /// The body, as JSON.
    pub(super) body: String,
    /// The challenge of a 401 response (RFC 9110 section 11.6.1).
    pub(super) challenge: &'static str,
}

impl Dialect {
    /// The dialect for a path that no endpoint serves: that of the first segment that names an API. A stage or a base
    /// path may come before it.
    pub(super) fn nearest(path: &str) -> Self {
        let by_segment = |segment| match segment {
            "product-offerings" => Some(Self::Offerings),
            "v3" => Some(Self::Partners),
            "v2" => Some(Self::Networks),
            "api" => Some(Self::Products),
            "catalog" => Some(Self::Catalog),
            _ => None,
        };
        path.split('/').find_map(by_segment).unwrap_or(Self::Offerings)
    }

    pub(super) fn key_header(self) -> &'static str {
        match self {
            Self::Offerings => "X-Api-Key",
            Self::Partners | Self::Networks | Self::Products | Self::Catalog => "Authorization",
        }
    }

    /// The key of a request; `None` if it is missing, malformed or given twice.
    pub(super) fn key(self, headers: &HeaderMap) -> Option<ApiKey> {
        let mut values = headers.get_all(self.key_header()).iter();
        let only = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
        match self {
            Self::Offerings => ApiKey::parse(only),
            Self::Partners | Self::Networks | Self::Products | Self::Catalog => {
                // The scheme is case-insensitive (RFC 9110 section 11.1).
                let (scheme, token) = only.split_once(' ')?;
                if !scheme.eq_ignore_ascii_case("bearer") {
                    return None;
                }
                ApiKey::parse(token.trim_start_matches(' '))
            }
        }
    }

    /// Renders an error. `permission` is the one that the endpoint requires: the text of a 403 names it.
    pub(super) fn error(
        self,
        error: &ApiError,
        request: &ApiRequest,
        permission: Permission,
    ) -> RenderedError {
        let body = self.error_body(error, &request.path, &request.id, permission);
        let challenge = match self {
            Self::Offerings => "ApiKey header=\"X-Api-Key\"",
            Self::Partners | Self::Networks | Self::Products | Self::Catalog => "Bearer",
        };
        RenderedError { content_type: self.error_media_type(), body, challenge }
    }

    pub(super) fn error_media_type(self) -> &'static str {
        match self {
            Self::Offerings | Self::Catalog => "application/problem+json",
            Self::Partners | Self::Networks | Self::Products => "application/json",
        }
    }

    pub(super) fn error_body(
        self,
        error: &ApiError,
        path: &str,
        request_id: &str,
        permission: Permission,
    ) -> String {
        match self {
            Self::Offerings | Self::Catalog => problem::error_body(error, path, self, permission),
            Self::Partners => partners::errors::error_body(error, permission),
            Self::Networks => networks::envelope::error_body(error, request_id, permission),
            Self::Products => products::errors::error_body(error, permission),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write as _, time::Duration};

    use lambda_http::http::header::AUTHORIZATION;

    use super::*;
    use crate::{
        access::{KeyRejection, LimitName, PerMinute, Standing},
        cursor::InvalidCursor,
        http::{Absent, Excess},
        objects::ObjectError,
        text::FieldError,
    };

    #[test]
    fn an_unknown_path_is_answered_in_the_dialect_that_its_first_known_segment_names() {
        for (path, dialect) in [
            ("/product-offerings/a/b", Dialect::Offerings),
            ("/v3/partners/nothing", Dialect::Partners),
            ("/v2", Dialect::Networks),
            ("/prod/v2/catalog/x", Dialect::Networks),
            ("/api/v2/products", Dialect::Products),
            ("/api/v1/other", Dialect::Products),
            ("/catalog/v1/nothing", Dialect::Catalog),
            ("/prod/product-offerings/v2", Dialect::Offerings),
            ("/nowhere", Dialect::Offerings),
            ("", Dialect::Offerings),
        ] {
            assert_eq!(Dialect::nearest(path), dialect, "{path}");
        }
    }

    #[test]
    fn a_bearer_key_needs_its_scheme_and_must_be_sent_once() {
        let key = "cat_live_DemoKeyOfAcmeForLocalUseOnly0001";
        let given = |values: &[String]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().expect("header"));
            }
            Dialect::Networks.key(&headers).is_some()
        };
        assert!(given(&[format!("Bearer {key}")]));
        assert!(given(&[format!("bearer   {key}")]));
        for wrong in
            [key.to_owned(), format!("Basic {key}"), format!("Bearer{key}"), "Bearer ".into()]
        {
            assert!(!given(std::slice::from_ref(&wrong)), "{wrong}");
        }
        assert!(!given(&[format!("Bearer {key}"), format!("Bearer {key}")]));
        assert!(!given(&[format!("Bearer {key},Bearer {key}")]));
        assert!(!given(&[]));
    }

    const ALL: [Dialect; 5] = [
        Dialect::Offerings,
        Dialect::Partners,
        Dialect::Networks,
        Dialect::Products,
        Dialect::Catalog,
    ];

    fn over_limit(wait: i64) -> ApiError {
        ApiError::TooMany(Excess::Limit(Standing {
            limit_name: LimitName::ReadUnits,
            limit: PerMinute::new(600).expect("a limit"),
            remaining: 0,
            is_empty: true,
            reset: 1_795_867_200,
            wait,
        }))
    }

    fn errors() -> Vec<ApiError> {
        let field = |name: &str| FieldError::new(name, "must be right");
        let rejections = [
            KeyRejection::Malformed,
            KeyRejection::Unknown,
            KeyRejection::Revoked,
            KeyRejection::Expired,
            KeyRejection::IpNotAllowed,
            KeyRejection::PermissionLacking,
        ];
        let absent = [
            Absent::Path,
            Absent::Offering,
            Absent::Export,
            Absent::Import,
            Absent::Network,
            Absent::NetworkOfNumber,
        ];
        let mut errors = vec![
            ApiError::Invalid(vec![field("limit")]),
            ApiError::Invalid(vec![field("limit"), field("cursor")]),
            ApiError::Invalid(vec![field("phone_number")]),
            ApiError::invalid("", "The body has no records"),
            ApiError::from(InvalidCursor),
            ApiError::Required("phone_number"),
            ApiError::NotVisible(field("customerType")),
        ];
        errors.extend(rejections.map(ApiError::KeyRejected));
        errors.extend(absent.map(ApiError::NotFound));
        errors.extend([
            ApiError::MethodNotAllowed("GET, HEAD"),
            ApiError::UnderWay(Duration::from_secs(5)),
            ApiError::Gone,
            ApiError::TooLarge(5_000_000),
            ApiError::IdempotencyKeyOfAnotherRequest,
            over_limit(1),
            over_limit(2),
            ApiError::TooMany(Excess::UnknownKeys),
            ApiError::TooMany(Excess::Exports),
            ApiError::from(ObjectError::Denied),
            ApiError::from(ObjectError::Unavailable("secret".into())),
        ]);
        errors
    }

    /// A body without the time that it was made at.
    fn timeless(body: &str) -> String {
        let name = "\"timestamp\":\"";
        let Some((before, rest)) = body.split_once(name) else { return body.to_owned() };
        let (time, after) = rest.split_once('"').expect("a text");
        assert!(time.parse::<jiff::Timestamp>().is_ok() && time.len() == 24, "{time}");
        format!("{before}{name}…\"{after}")
    }

    #[test]
    fn every_error_is_told_in_the_words_of_each_dialect_and_its_cause_only_in_the_log() {
        let mut told = String::new();
        for error in errors() {
            let _ = writeln!(told, "{}, in the log: {}", error.status(), error.cause());
            if let ApiError::TooMany(excess) = error {
                let _ = writeln!(told, "retry after {}", excess.retry_after());
            }
            for dialect in ALL {
                let body = dialect.error_body(&error, "/a/b", "req_1", Permission::AirtimeRead);
                let _ = writeln!(told, "{dialect:?}: {}", timeless(&body));
            }
            told.push('\n');
        }
        insta::assert_snapshot!(told);
    }

    #[test]
    fn the_key_and_the_errors_of_a_dialect_travel_as_its_api_has_published() {
        let (offerings, json) = ("application/problem+json", "application/json");
        let request = ApiRequest::new(lambda_http::Request::default());
        let told = ALL.map(|dialect| {
            let rendered = dialect.error(&ApiError::Gone, &request, Permission::AirtimeRead);
            (dialect.key_header(), rendered.content_type, rendered.challenge)
        });
        let key = "ApiKey header=\"X-Api-Key\"";
        assert_eq!(
            told,
            [
                ("X-Api-Key", offerings, key),
                ("Authorization", json, "Bearer"),
                ("Authorization", json, "Bearer"),
                ("Authorization", json, "Bearer"),
                ("Authorization", offerings, "Bearer"),
            ]
        );
        let mut headers = HeaderMap::new();
        let key = "cat_live_DemoKeyOfAcmeForLocalUseOnly0001";
        headers.insert("x-api-key", key.parse().expect("header"));
        assert_eq!(
            ALL.map(|dialect| dialect.key(&headers).is_some()),
            [true, false, false, false, false]
        );
    }
}
