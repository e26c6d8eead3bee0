//! The OpenAPI description: as a file, and as a page on which to try the APIs.

use axum::{
    Router,
    http::header::CONTENT_TYPE,
    response::{Html, IntoResponse as _},
    routing::get,
};
use serde_yaml_ng::{Mapping, Value};
use serverless_catalog::http::openapi;
use swagger_ui_dist::{ApiDefinition, OpenApiSource, generate_routes};

use crate::local::sample::SAMPLES;

/// The path of the page.
pub(crate) const DOCS: &str = "/docs";

/// The path of the description.
const DOCUMENT: &str = "/openapi.yaml";

/// The description as YAML. The same code always gives the same text.
pub(crate) fn yaml() -> String {
    const HEAD: &str = "# Made by `catalog openapi` from the code; do not edit.\n";
    const ORDER: [&str; 6] = ["openapi", "info", "servers", "tags", "paths", "components"];
    // Every JSON value is a YAML value: neither step can fail.
    let document = serde_yaml_ng::to_value(openapi::document()).unwrap_or_default();
    let mut ordered = Mapping::new();
    for name in ORDER {
        if let Some(value) = document.get(name) {
            ordered.insert(Value::from(name), value.clone());
        }
    }
    let text = serde_yaml_ng::to_string(&ordered).unwrap_or_default();
    let lines: Vec<String> = text.lines().map(quoted_time).collect();
    format!("{HEAD}{}\n", lines.join("\n"))
}

/// Quotes the value of a line if it is a time: YAML 1.1 parsers would not read it as a string.
fn quoted_time(line: &str) -> String {
    match line.rsplit_once(' ') {
        Some((before, value)) if value.parse::<jiff::Timestamp>().is_ok() => {
            format!("{before} '{value}'")
        }
        _ => line.to_owned(),
    }
}

/// The description, and a page at `/docs` on which to try the APIs; it loads nothing from other hosts. With
/// `sample`, the demo key is filled in.
pub(crate) fn routes(sample: bool) -> Router {
    let assets = ApiDefinition {
        uri_prefix: "/docs/ui".to_owned(),
        api_definition: OpenApiSource::Uri(DOCUMENT.to_owned()),
        title: Some("serverless-catalog".to_owned()),
    };
    let page = page(sample.then_some(SAMPLES[0].key));
    let document = || async { ([(CONTENT_TYPE, "application/yaml")], yaml()).into_response() };
    Router::new()
        .route(DOCS, get(|| async { Html(page) }))
        .route(DOCUMENT, get(document))
        .merge(generate_routes(assets))
}

fn page(key: Option<&str>) -> String {
    // A key has only letters, digits and underscores: nothing to escape.
    include_str!("docs.html")
        .replace("{{document}}", DOCUMENT)
        .replace("{{key}}", key.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::Request,
    };
    use lambda_http::Service as _;

    use super::*;

    #[test]
    fn openapi_yaml_is_what_the_code_says() {
        let is_there = yaml() == include_str!("../../openapi.yaml");
        assert!(is_there, "make openapi makes it again");
    }

    /// The media type and the text of a reply.
    async fn get(sample: bool, path: &str) -> (String, String) {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let reply = routes(sample).call(request).await.expect("a reply");
        let media_type = reply.headers()[CONTENT_TYPE].to_str().expect("ASCII").to_owned();
        let body = to_bytes(reply.into_body(), usize::MAX).await.expect("a body");
        (media_type, String::from_utf8(body.to_vec()).expect("UTF-8"))
    }

    #[tokio::test]
    async fn the_page_shows_the_description_and_of_the_sample_its_key() {
        assert_eq!(get(false, "/openapi.yaml").await, ("application/yaml".to_owned(), yaml()));
        let (media_type, page) = get(true, "/docs").await;
        assert_eq!(media_type, "text/html; charset=utf-8");
        assert_eq!(page.matches("url: '/openapi.yaml',").count(), 1, "{page}");
        let key = SAMPLES[0].key;
        assert_eq!(page.matches(key).count(), 1, "{page}");
        assert!(!page.contains("{{"), "{page}");
        assert_eq!(get(false, "/docs").await.1, page.replace(key, ""));
    }
}
