//! The endpoint of the partners dialect (SendGrid Account Provisioning), and its errors.

use serde::Serialize;

use super::{
    ApiError, ApiRequest, Dialect, Endpoint, Methods, Payload, RequestRecord,
    messages::{INTERNAL_ERROR, SERVICE_UNAVAILABLE, not_found, rejected},
};
use crate::{
    access::{Permission, Principal, Rejection},
    json::{PAGE_BYTES, bytes_in_reply},
    partners::PartnerCatalog,
    store::StoreError,
};

pub(super) const LIST: &str = "/v3/partners/offerings";

/// The published documentation tells clients to cache the list.
const CACHE: &str = "private, max-age=300";

/// `GET /v3/partners/offerings`.
pub struct ListPartnerOfferings<S> {
    store: S,
}

impl<S> ListPartnerOfferings<S> {
    /// Creates the endpoint over these tables.
    pub fn new(store: S) -> Self {
        Self { store }
    }
}

impl<S> Endpoint for ListPartnerOfferings<S>
where
    S: PartnerCatalog<Error = StoreError> + Send + 'static,
{
    const DIALECT: Dialect = Dialect::Partners;
    const PERMISSION: Permission = Permission::PartnersRead;

    fn methods(&self, request: &ApiRequest) -> Option<Methods> {
        request.parameters(LIST).map(|_| Methods::READ)
    }

    async fn answer(
        &self,
        _request: &ApiRequest,
        principal: &Principal,
        record: &mut RequestRecord,
    ) -> Result<Payload, ApiError> {
        let catalog = self.store.partner_catalog(&principal.account, &mut record.cost).await?;
        record.items = catalog.len();
        Ok(Payload::read(body(&catalog)?, CACHE))
    }
}

/// Joins documents, which are JSON already, to `{"catalog":[…]}`, if they fit into a reply. This API has no
/// pages, and a client would take a shortened list for the complete one.
fn body(catalog: &[String]) -> Result<String, ApiError> {
    let body = format!("{{\"catalog\":[{}]}}", catalog.join(","));
    if bytes_in_reply(&body) > PAGE_BYTES {
        let cause =
            "the partner offerings do not fit a reply: remove some, or some of their entitlements";
        return Err(ApiError::Internal(cause.to_owned()));
    }
    Ok(body)
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "PartnersErrors"))]
pub(super) struct Errors<'a> {
    errors: [Entry<'a>; 1],
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "PartnersError"))]
struct Entry<'a> {
    message: String,
    field: &'a str,
    error_id: &'static str,
}

/// `{"errors":[{"message","field","error_id"}]}`.
pub(super) fn error_body(error: &ApiError, permission: Permission) -> String {
    let (error_id, field, message) = match error {
        ApiError::Invalid(errors) => {
            let first = errors.first();
            let field = first.map_or("", |error| error.field.as_str());
            let message = first.map(|error| format!("{field} {}", error.message));
            ("10-40001", field, message.unwrap_or_default())
        }
        ApiError::Required(field) => ("10-40001", *field, format!("{field} is required")),
        ApiError::NotAdmitted(Rejection::IpNotAllowed) => {
            ("10-40300", "", rejected(Rejection::IpNotAllowed, permission))
        }
        ApiError::NotAdmitted(Rejection::PermissionLacking) => {
            ("10-40300", "", rejected(Rejection::PermissionLacking, permission))
        }
        ApiError::NotAdmitted(_) => ("10-40100", "", "Failed to authenticate user".to_owned()),
        ApiError::NotVisible(error) => {
            ("10-40300", error.field.as_str(), format!("{} {}", error.field, error.message))
        }
        ApiError::NotFound(absent) => ("10-40400", "", not_found(*absent).to_owned()),
        ApiError::MethodNotAllowed(allowed) => ("10-40500", "", format!("Use one of: {allowed}.")),
        ApiError::TooLarge(bytes) => {
            ("10-41300", "", format!("The body must be at most {bytes} bytes."))
        }
        ApiError::Unavailable(_) => ("10-50300", "", SERVICE_UNAVAILABLE.to_owned()),
        ApiError::Internal(_) => ("10-50000", "", INTERNAL_ERROR.to_owned()),
    };
    let body = Errors { errors: [Entry { message, field, error_id }] };
    // It has only texts: serializing them cannot fail.
    serde_json::to_string(&body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_does_not_fit_a_reply_is_a_500_whose_cause_says_what_to_do() {
        // Quotes count twice, because they are escaped inside the reply.
        let catalog = |count: usize| vec!["\"".repeat(1_000_000); count];
        assert_eq!(body(&catalog(2)).expect("it fits").len(), 2_000_015);
        let error = body(&catalog(3)).expect_err("too much");
        assert_eq!(error.status(), 500);
        assert!(error.cause().contains("do not fit a reply: remove some"), "{}", error.cause());
    }
}
