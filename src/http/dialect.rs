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
    use lambda_http::http::header::AUTHORIZATION;

    use super::*;

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
}
