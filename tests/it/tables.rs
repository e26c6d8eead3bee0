//! The tables that the tool creates from `template.yaml`.

use aws_sdk_dynamodb::{
    Client,
    types::{TimeToLiveSpecification, TimeToLiveStatus},
};
use catalog_cli::template::Template;

use crate::support::Catalog;

/// The attribute by which items of a table expire; `None`: they do not.
async fn time_to_live(client: &Client, table: &str) -> Option<String> {
    let reply = client.describe_time_to_live().table_name(table).send().await.expect("a reply");
    let described = reply.time_to_live_description?;
    let is_enabled = described.time_to_live_status() == Some(&TimeToLiveStatus::Enabled);
    described.attribute_name.filter(|_| is_enabled)
}

#[tokio::test]
async fn a_table_has_the_time_to_live_of_the_template_even_one_that_was_created_without() {
    let catalog = Catalog::start().await;
    let client = &catalog.stack.client;
    let tables = Template::built_in().expect("template").tables("test").expect("tables");
    let (mut expiring, mut lasting) = (Vec::new(), Vec::new());
    for table in &tables {
        match time_to_live(client, &table.name).await {
            Some(attribute) => {
                assert_eq!(attribute, "expiresAt");
                expiring.push(table);
            }
            None => lasting.push(&table.name),
        }
    }
    assert_eq!(lasting, ["test-offering-areas", "test-api-keys"]);

    let table = expiring[0];
    let off = TimeToLiveSpecification::builder().attribute_name("expiresAt").enabled(false);
    let off = off.build().expect("a specification");
    let update = client.update_time_to_live().table_name(&table.name);
    update.time_to_live_specification(off).send().await.expect("switched off");
    assert_eq!(time_to_live(client, &table.name).await, None);
    assert!(!table.create(client, false).await.expect("it exists"));
    assert_eq!(time_to_live(client, &table.name).await.as_deref(), Some("expiresAt"));
}
