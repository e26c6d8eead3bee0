//! `GET /v3/partners/offerings`.

#[cfg(feature = "openapi")]
use serde_json::json;

use crate::{
    access::Permission,
    http::{ApiError, Call, Dialect, Endpoint, Methods, Reply},
    json::{PAGE_BYTES, bytes_in_reply},
};
#[cfg(feature = "openapi")]
use crate::{
    http::describe::{Failures, Operation, Schemas, operation, read},
    partners::PartnerOffering,
};

const PATH: &str = "/v3/partners/offerings";

/// The published documentation tells clients to cache the list.
const CACHE: &str = "private, max-age=300";

pub struct ListPartnerOfferings;

impl Endpoint for ListPartnerOfferings {
    const DIALECT: Dialect = Dialect::Partners;
    const PERMISSION: Permission = Permission::PartnersRead;
    const PATHS: &'static [(&'static str, Methods)] = &[(PATH, Methods::READ)];

    async fn answer(&self, call: Call<'_>) -> Result<Reply, ApiError> {
        let catalog = call.store.partner_catalog(&call.principal.account).await?;
        call.log.items = catalog.len();
        Ok(Reply::cacheable(body(&catalog)?, CACHE))
    }
}

/// Joins documents, which are JSON already, to `{"catalog":[…]}`, if they fit into a reply. This API has no
/// pages, and a client would take a shortened list for the complete one.
fn body(catalog: &[String]) -> Result<String, ApiError> {
    let body = format!("{{\"catalog\":[{}]}}", catalog.join(","));
    if bytes_in_reply(&body) > PAGE_BYTES {
        let cause =
            "the partner offerings do not fit a reply: remove some, or some of their entitlements";
        return Err(ApiError::internal(cause));
    }
    Ok(body)
}

#[cfg(feature = "openapi")]
pub(in crate::http) fn describe(schemas: &mut Schemas) -> Operation {
    let failures = Failures::of::<ListPartnerOfferings>(schemas, PATH);
    let catalog = json!({
        "type": "object",
        "required": ["catalog"],
        "properties": { "catalog": { "type": "array", "items": schemas.of::<PartnerOffering>() } },
    });
    let example = json!({ "catalog": [{
        "offering": { "name": "Reseller Essentials", "type": "package", "quantity": 1 },
        "entitlements": { "email_sends_max_monthly": 50_000, "ip_count": 1, "teammates_max_total": 1, "users_max_total": 10 },
    }] });
    operation(
        "listPartnerOfferings",
        "List partner offerings",
        "Packages first, then addons, each by name. The list changes rarely: a client may keep it for five minutes.",
        &[],
        &failures,
        read("All of them.", catalog, &example),
    )
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
        assert_eq!(
            error.cause(),
            "the partner offerings do not fit a reply: remove some, or some of their entitlements"
        );
        // The envelope has 14 characters, of which two are quotes.
        let most = "x".repeat(PAGE_BYTES - 16);
        assert_eq!(body(std::slice::from_ref(&most)).expect("it fits").len(), PAGE_BYTES - 2);
        assert_eq!(body(&[most + "x"]).expect_err("too much").status(), 500);
    }
}
