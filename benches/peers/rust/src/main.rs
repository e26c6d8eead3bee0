use std::{
    collections::HashMap,
    env,
    sync::{LazyLock, Mutex},
};

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use lambda_http::{
    Body, Error, Request, RequestExt, Response, run, service_fn, tracing::init_default_subscriber,
};
use serde::Deserialize;
use serde_dynamo::aws_sdk_dynamodb_1::{from_item, from_items, to_item};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

static ACCOUNTS: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);

struct App {
    dynamodb: Client,
    offerings_table: String,
    api_keys_table: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    product_offering_id: String,
    status: String,
    customer_type: String,
    document: String,
}

#[derive(Deserialize)]
struct ApiKey {
    account: String,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    init_default_subscriber();
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let app = App {
        dynamodb: Client::new(&config),
        offerings_table: env::var("OFFERINGS_TABLE")?,
        api_keys_table: env::var("API_KEYS_TABLE")?,
    };
    run(service_fn(|request| handle(&app, request))).await
}

async fn handle(app: &App, request: Request) -> Result<Response<Body>, Error> {
    let api_key = request.headers().get("x-api-key").and_then(|key| key.to_str().ok());
    let Some(account) = account_of(app, api_key).await? else {
        return reply(401, &json!({ "message": "Unauthorized" }));
    };

    let parameters = request.query_string_parameters();
    let limit = parameters.first("limit").unwrap_or("100").parse()?;
    let start = match parameters.first("cursor") {
        Some(cursor) => Some(to_item(serde_json::from_slice::<Value>(&URL_SAFE.decode(cursor)?)?)?),
        None => None,
    };
    let page = app
        .dynamodb
        .query()
        .table_name(&app.offerings_table)
        .index_name("byCustomerType")
        .key_condition_expression("account = :account AND customerType = :customerType")
        .expression_attribute_values(":account", AttributeValue::S(account))
        .expression_attribute_values(":customerType", AttributeValue::S("CONSUMER".into()))
        .limit(limit)
        .set_exclusive_start_key(start)
        .send()
        .await?;

    let items: Vec<Item> = from_items(page.items.unwrap_or_default())?;
    let offerings = items.into_iter().map(offering).collect::<Result<Vec<_>, _>>()?;
    let mut pagination = Map::new();
    if let Some(key) = page.last_evaluated_key {
        let key: Value = from_item(key)?;
        pagination.insert("nextCursor".into(), URL_SAFE.encode(key.to_string()).into());
    }
    reply(200, &json!({ "items": offerings, "pagination": pagination }))
}

async fn account_of(app: &App, api_key: Option<&str>) -> Result<Option<String>, Error> {
    let Some(api_key) = api_key else { return Ok(None) };
    if let Some(account) = ACCOUNTS.lock().unwrap().get(api_key) {
        return Ok(Some(account.clone()));
    }
    let found = app
        .dynamodb
        .get_item()
        .table_name(&app.api_keys_table)
        .key("keyHash", AttributeValue::S(hex::encode(Sha256::digest(api_key))))
        .send()
        .await?;
    let Some(item) = found.item else { return Ok(None) };
    let ApiKey { account } = from_item(item)?;
    ACCOUNTS.lock().unwrap().insert(api_key.into(), account.clone());
    Ok(Some(account))
}

fn offering(item: Item) -> serde_json::Result<Value> {
    let mut offering: Map<String, Value> = serde_json::from_str(&format!("{{{}", item.document))?;
    offering.insert("productOfferingId".into(), item.product_offering_id.into());
    offering.insert("status".into(), item.status.into());
    offering.insert("customerType".into(), item.customer_type.into());
    Ok(offering.into())
}

fn reply(status: u16, body: &Value) -> Result<Response<Body>, Error> {
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(body.to_string().into())?;
    Ok(response)
}
