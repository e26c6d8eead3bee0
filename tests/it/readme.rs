//! The README's example is answered as the README says.

use catalog_cli::local::sample;
use serde_json::Value;

use crate::support::Catalog;

const README: &str = include_str!("../../README.md");

#[tokio::test]
async fn the_first_curl_of_the_readme_gives_the_answer_beside_it() {
    let key =
        README.split("X-Api-Key: ").nth(1).and_then(|rest| rest.split('\'').next()).expect("key");
    let path =
        README.split("'http://127.0.0.1:3000").nth(1).and_then(|rest| rest.split('\'').next());
    let shown = README.split("```json\n").nth(1).and_then(|rest| rest.split("\n```").next());
    let shown: Value = serde_json::from_str(shown.expect("answer")).expect("JSON");

    let catalog = Catalog::start().await;
    sample::load(&catalog.stack.store).await.expect("sample");
    let answer = catalog.get(key, path.expect("path")).await;
    let mut body = answer.json();
    assert!(body["pagination"]["nextCursor"].as_str().is_some_and(|cursor| cursor.len() > 20));
    body["pagination"]["nextCursor"] = "…".into();
    assert_eq!(body, shown);

    let page = catalog.get(key, "/product-offerings").await;
    assert_eq!((page.ids().len(), page.bytes.len(), page.read_units()), (100, 126_473, 18.0));
}
