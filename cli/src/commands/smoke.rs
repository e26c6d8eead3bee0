//! `catalog smoke`: a smoke test of a running catalog.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, KeySchemaElement},
};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use serverless_catalog::{
    access::{ApiKey, KeyHash, KeyPrefix, KeyRecord, Permission},
    account::AccountId,
    cause::chain,
    imports::job::Job,
    objects::{ObjectError, Objects},
    retry::Patience,
    store::{Store, TableNames},
    text::random_name,
};

use crate::{
    connect::Target, console::say, error::CliError, interruption::Interruption, template::Template,
};

/// Try a catalog out as its users do: an import and its report, a request to every endpoint of the four published APIs
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  catalog smoke                                  the catalog serve that runs in this folder
  catalog smoke --aws --table-prefix catalog-prod --url https://….execute-api.eu-west-1.amazonaws.com \\
      --bucket catalog-prod-catalog-123456789012
  make smoke STACK=catalog-prod                  the same, with what the stack's outputs say

Everything happens in an account of its own, SMOKE-…, with a key that ends after an hour, and all of it is
removed at the end, also after a failure or Ctrl-C. It costs a few hundred requests at most.")]
pub(super) struct Smoke {
    /// The base URL of the HTTP API (otherwise that of catalog serve): what the stack tells as its API URL
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The bucket of catalogs to import (otherwise that of catalog serve)
    #[arg(long, value_name = "NAME")]
    bucket: Option<String>,
    /// How long the import, and each answer, may take to be what it should be
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

/// The catalog under test, and the temporary account and key of the test.
struct Trial {
    account: AccountId,
    key: ApiKey,
    url: String,
    bucket: String,
    s3: aws_sdk_s3::Client,
    store: Store,
    patience: Duration,
}

impl Smoke {
    /// Runs all checks, and removes what they created.
    pub(super) async fn run(self, target: &Target) -> Result<(), CliError> {
        let mut interruption = Interruption::expect();
        let catalog = target.connect().await?;
        let tables = TableNames::with_prefix(&target.table_prefix);
        let missing = |option: &str| {
            CliError::Usage(format!(
                "{option} is missing: it is an output of the stack (`sam list stack-outputs \
                 --stack-name {}`), or known by a `catalog serve` that runs here with its data in a folder",
                target.table_prefix
            ))
        };
        let running = catalog.addresses.as_ref();
        let url =
            self.url.or_else(|| Some(running?.url.clone())).ok_or_else(|| missing("--url"))?;
        let bucket = self.bucket.or_else(|| running?.bucket.clone());
        let (bucket, s3) = bucket.zip(catalog.s3.clone()).ok_or_else(|| missing("--bucket"))?;
        let trial = Trial {
            account: AccountId::parse(&format!("SMOKE-{}", &random_name()[..12]))
                .map_err(|error| CliError::Usage(error.to_string()))?,
            key: ApiKey::generate(&KeyPrefix::default())
                .map_err(|error| CliError::Usage(format!("no randomness for a key: {error}")))?,
            url: url.trim_end_matches('/').to_owned(),
            bucket,
            s3,
            store: Store::new(catalog.client.clone(), tables),
            patience: Duration::from_secs(self.timeout),
        };
        say(format!("Trying {} with the account {}.", trial.url, trial.account));
        let outcome = tokio::select! {
            outcome = trial.all() => outcome,
            () = interruption.wait() => Err("interrupted".to_owned()),
        };
        let removed = trial.remove(&catalog.client, &target.table_prefix).await;
        outcome.and(removed).map_err(|why| CliError::Incomplete(format!("smoke: {why}")))?;
        say("All checks passed; the test data is removed.");
        Ok(())
    }
}

impl Trial {
    async fn all(&self) -> Result<(), String> {
        self.create_key().await?;
        self.import().await?;
        self.requests().await
    }

    async fn create_key(&self) -> Result<(), String> {
        let record = KeyRecord {
            label: Some("catalog smoke".to_owned()),
            expires_at: Some(Timestamp::now() + SignedDuration::from_hours(1)),
            ..KeyRecord::new(self.account.clone(), Permission::ALL.iter().copied())
        };
        let created = self.store.create_key(&self.key.hash(), &record).await;
        created.map(|_| ()).map_err(|error| chain(&error))
    }

    /// Imports a file with a record of every kind through the bucket, and waits for the report.
    async fn import(&self) -> Result<(), String> {
        let records = records();
        let lines: Vec<String> = records.iter().map(ToString::to_string).collect();
        let key = format!("imports/{}/smoke.ndjson", self.account);
        let started = Instant::now();
        let objects = Objects::new(self.s3.clone());
        let failed = |key: &str, error: ObjectError| {
            format!("s3://{}/{key}: {}", self.bucket, chain(&error))
        };
        let content = (lines.join("\n") + "\n").into_bytes();
        let put = objects.put(&self.bucket, &key, "application/x-ndjson", content).await;
        put.map_err(|error| failed(&key, error))?;
        let job = self.wait("the import", async || self.ended_job().await).await?;
        let counts = job.progress.counts;
        let expected = u64::try_from(records.len()).unwrap_or_default();
        if (counts.created, counts.total()) != (expected, expected) {
            return Err(format!("of {expected} records of {key} are not all created: {counts:?}"));
        }
        say(format!("ok  import of {key}: {expected} records in {}", took(started)));
        let report =
            format!("reports/{}/smoke.ndjson.{}.json", self.account, job.import_id.as_str());
        let stored = async || {
            let found = Box::pin(objects.get(&self.bucket, &report)).await;
            let found = found.map_err(|error| failed(&report, error))?.ok_or("there is none")?;
            let json: Value = serde_json::from_slice(&found).map_err(|error| error.to_string())?;
            if json["status"] == "done" { Ok(json) } else { Err(format!("the report says {json}")) }
        };
        self.wait("the report", stored).await?;
        say(format!("ok  report {report}"));
        Ok(())
    }

    async fn ended_job(&self) -> Result<Job, String> {
        let jobs = self.store.jobs(&self.account).await.map_err(|error| chain(&error))?;
        let job = jobs.into_iter().next().ok_or("no import has begun")?;
        if job.status.is_end() { Ok(job) } else { Err(format!("it is {}", job.status.as_str())) }
    }

    /// Sends a request to every endpoint of the four published APIs, and checks a value in each answer.
    async fn requests(&self) -> Result<(), String> {
        let requests: [(&str, Option<Value>, &str, Value); 9] = [
            ("/product-offerings?limit=1", None, "/items/0/productOfferingId", json!("smoke")),
            ("/product-offerings/smoke?promoCode=SMOKE", None, "/price/netPrice", json!(9)),
            ("/v3/partners/offerings", None, "/catalog/0/offering/name", json!("smoke")),
            ("/v2/catalog/networks", None, "/data/0/name", json!("Smoke")),
            ("/v2/catalog/countries", None, "/data/0/code", json!("GH")),
            (
                "/v2/catalog/products?network_id=1",
                None,
                "/data/products/fixed_bundles/0/name",
                json!("Smoke"),
            ),
            ("/v2/catalog/lookup?network_id=1", None, "/data/network/name", json!("Smoke")),
            (
                "/api/v1/products",
                Some(json!({"products": [{"sku": "SMOKE", "price": 12.5}]})),
                "/results/0/status",
                json!("updated"),
            ),
            ("/api/v1/products?sku=SMOKE", None, "/products/0/price", json!(12.5)),
        ];
        for (path, body, pointer, expected) in requests {
            let method = if body.is_some() { "POST" } else { "GET" };
            let started = Instant::now();
            // Lists are read from indexes, which are eventually consistent.
            let answered = async || {
                let (status, answer) = self.send(path, body.as_ref()).await?;
                if status == 200 && answer.pointer(pointer) == Some(&expected) {
                    return Ok(());
                }
                Err(format!("{status}, and {pointer} is not {expected}: {answer}"))
            };
            self.wait(&format!("{method} {path}"), answered).await?;
            say(format!("ok  {method} {path} in {}", took(started)));
        }
        Ok(())
    }

    async fn send(&self, path: &str, body: Option<&Value>) -> Result<(u16, Value), String> {
        let (url, key) = (format!("{}{path}", self.url), self.key.reveal().to_owned());
        let body = body.map(ToString::to_string);
        let send = move || {
            let agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .timeout_global(Some(Duration::from_secs(30)))
                .build()
                .new_agent();
            let bearer = format!("Bearer {key}");
            let reply = match body {
                None => {
                    agent.get(&url).header("x-api-key", &key).header("authorization", bearer).call()
                }
                Some(body) => agent
                    .post(&url)
                    .header("authorization", bearer)
                    .header("content-type", "application/json")
                    .send(body),
            };
            let mut reply = reply.map_err(|error| error.to_string())?;
            let text = reply.body_mut().read_to_string().map_err(|error| error.to_string())?;
            // An answer that is not JSON is shown as text.
            let json = serde_json::from_str(&text).unwrap_or_else(|_| Value::from(text));
            Ok((reply.status().as_u16(), json))
        };
        tokio::task::spawn_blocking(send).await.map_err(|error| error.to_string())?
    }

    /// Retries until it succeeds; returns the last error when the patience is exhausted.
    async fn wait<T, F>(&self, what: &str, attempt: impl Fn() -> F) -> Result<T, String>
    where
        F: Future<Output = Result<T, String>>,
    {
        let patience = Patience::Until(tokio::time::Instant::now() + self.patience);
        let done = patience.retry(attempt, |_| true).await;
        done.map_err(|why| format!("{what}: {why} (after {} s)", self.patience.as_secs()))
    }

    /// Removes the account: its items, its key, its objects.
    async fn remove(&self, client: &Client, table_prefix: &str) -> Result<(), String> {
        for prefix in ["imports", "reports"] {
            let prefix = format!("{prefix}/{}/", self.account);
            let listed = self.s3.list_objects_v2().bucket(&self.bucket).prefix(&prefix).send();
            let listed = listed.await.map_err(|error| told(&error))?;
            for key in listed.contents().iter().filter_map(|object| object.key()) {
                let delete = self.s3.delete_object().bucket(&self.bucket).key(key).send().await;
                delete.map_err(|error| format!("s3://{}/{key}: {}", self.bucket, told(&error)))?;
            }
        }
        let tables = Template::built_in().and_then(|template| template.tables(table_prefix));
        for table in tables.map_err(|error| error.to_string())? {
            let key: Vec<&str> = table.key.iter().map(KeySchemaElement::attribute_name).collect();
            match key.as_slice() {
                [hash, range] => self.remove_items(client, &table.name, hash, range).await?,
                _ => delete_key(client, &table.name, &self.key.hash()).await?,
            }
        }
        Ok(())
    }

    async fn remove_items(
        &self,
        client: &Client,
        table: &str,
        hash: &str,
        range: &str,
    ) -> Result<(), String> {
        let account = AttributeValue::S(self.account.to_string());
        let query = client
            .query()
            .table_name(table)
            .key_condition_expression("#hash = :account")
            .expression_attribute_names("#hash", hash)
            .expression_attribute_values(":account", account.clone());
        let found = query.send().await.map_err(|error| told(&error))?;
        for item in found.items() {
            let Some(name) = item.get(range) else { continue };
            let delete = client.delete_item().table_name(table).key(hash, account.clone());
            delete.key(range, name.clone()).send().await.map_err(|error| told(&error))?;
        }
        Ok(())
    }
}

async fn delete_key(client: &Client, table: &str, hash: &KeyHash) -> Result<(), String> {
    let key = AttributeValue::S(hash.as_str().to_owned());
    let delete = client.delete_item().table_name(table).key("keyHash", key).send().await;
    delete.map(|_| ()).map_err(|error| told(&error))
}

/// An SDK error with all its causes.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    aws_sdk_dynamodb::error::DisplayErrorContext(error).to_string()
}

fn took(started: Instant) -> String {
    format!("{} ms", started.elapsed().as_millis())
}

/// One record of every kind.
fn records() -> Vec<Value> {
    let price = json!({"currency": "USD", "priceType": "ONE_TIME", "grossPrice": 10});
    vec![
        json!({
            "kind": "offering", "productOfferingId": "smoke", "name": "Smoke", "customerType": "CONSUMER",
            "price": price, "product": {"productId": "smoke", "type": "SUBSCRIPTION_ADDON"},
        }),
        json!({"kind": "promotion", "code": "SMOKE", "percentOff": 10}),
        json!({
            "kind": "partnerOffering", "offering": {"name": "smoke", "type": "package", "quantity": 1},
            "entitlements": {"users_max_total": 1},
        }),
        json!({
            "kind": "network", "id": 1, "name": "Smoke", "country": "Ghana", "country_code": "GH",
            "currency": "GHS", "custom_airtime": {"available": false},
            "sms_notification": {"available": false},
        }),
        json!({
            "kind": "bundle", "network_id": 1, "id": 1, "name": "Smoke", "type": "DATA", "price_usd": 1,
            "local_value": "Smoke", "local_currency": "GHS", "description": "Smoke",
        }),
        json!({
            "kind": "exchangeRate", "source_currency": "USD", "destination_currency": "GHS", "rate": 12.35,
        }),
        json!({"kind": "product", "sku": "SMOKE", "name": "Smoke", "price": 10}),
    ]
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::StatusCode};
    use serverless_catalog::store::{Connection, lean_client, lean_s3_client};
    use tokio::{net::TcpListener, task::JoinSet};

    use super::*;
    use crate::local::{Addresses, BUCKET, Stack, StackOptions, Storage};

    /// A trial of what is at these URLs.
    fn trial(url: &str, database: &str, objects: &str, patience: Duration) -> Trial {
        let client = lean_client(&Connection::local(database)).expect("a client");
        Trial {
            account: "SMOKE-1".parse().expect("an account"),
            key: ApiKey::generate(&KeyPrefix::default()).expect("a key"),
            url: url.to_owned(),
            bucket: BUCKET.to_owned(),
            s3: lean_s3_client(&Connection::local(objects)).expect("a client"),
            store: Store::new(client, TableNames::with_prefix("test")),
            patience,
        }
    }

    #[tokio::test]
    async fn everything_is_tried_with_a_key_of_an_hour_and_removed() {
        let options = StackOptions::built_in("test", Storage::Memory).expect("a template");
        let stack = Stack::start(options).await.expect("a stack");
        let Addresses { url, dynamodb_url, objects_url, .. } = stack.addresses();
        let objects_url = objects_url.expect("a bucket");
        let trial = trial(&url, &dynamodb_url, &objects_url, Duration::from_mins(1));
        let other: AccountId = "OTHER".parse().expect("an account");
        let hash = ApiKey::generate(&KeyPrefix::default()).expect("a key").hash();
        let record = KeyRecord::new(other.clone(), [Permission::OfferingsRead]);
        stack.store.create_key(&hash, &record).await.expect("a key");

        let hour = SignedDuration::from_hours(1);
        let before = Timestamp::now() + hour;
        trial.create_key().await.expect("a key");
        let keys = stack.store.keys_of(&trial.account).await.expect("keys");
        let [(hash, record)] = keys.as_slice() else { panic!("{keys:?}") };
        assert_eq!(*hash, trial.key.hash());
        assert_eq!(record.label.as_deref(), Some("catalog smoke"));
        assert!(record.permissions.iter().eq(Permission::ALL), "{record:?}");
        let expiry = record.expires_at.expect("an end");
        assert!((before..=Timestamp::now() + hour).contains(&expiry), "{expiry}");

        trial.import().await.expect("an import");
        trial.requests().await.expect("answers");
        trial.remove(&stack.client, "test").await.expect("removed");
        assert_eq!(stack.store.keys_of(&trial.account).await.expect("keys"), []);
        assert!(stack.store.jobs(&trial.account).await.expect("jobs").is_empty());
        assert_eq!(stack.store.keys_of(&other).await.expect("keys").len(), 1);
        stack.stop().await;
    }

    /// What is said of an API that gives this answer to everything.
    async fn said_of(status: StatusCode, body: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let answer = move || async move { (status, body) };
            let _ = axum::serve(listener, Router::new().fallback(answer)).await;
        });
        trial(&url, &url, &url, Duration::ZERO).requests().await.expect_err("a wrong answer")
    }

    #[tokio::test]
    async fn an_answer_needs_the_status_and_the_value() {
        let request = "GET /product-offerings?limit=1";
        let right = r#"{"items":[{"productOfferingId":"smoke"}]}"#;
        let missing = "and /items/0/productOfferingId is not \"smoke\"";
        for (status, body, shown) in [(200, "{}", "{}"), (500, right, right), (200, "hi", "\"hi\"")]
        {
            let said = said_of(StatusCode::from_u16(status).expect("a status"), body).await;
            assert_eq!(said, format!("{request}: {status}, {missing}: {shown} (after 0 s)"));
        }
    }

    #[tokio::test]
    async fn what_cannot_be_removed_is_told_with_its_cause() {
        let nowhere = "http://127.0.0.1:1";
        let trial = trial(nowhere, nowhere, nowhere, Duration::ZERO);
        let client = lean_client(&Connection::local(nowhere)).expect("a client");
        let told = trial.remove(&client, "test").await.expect_err("nobody is there");
        assert!(told.starts_with("dispatch failure: "), "{told}");
    }
}
