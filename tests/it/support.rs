//! A running catalog, and the few words tests are written in.

use std::collections::BTreeSet;

use catalog_cli::{
    local::{Stack, StackOptions, Storage},
    template::Template,
};
use jiff::Timestamp;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use serverless_catalog::{
    access::{ApiKey, KeyAdmin as _, KeyPrefix, KeyRecord, Permission},
    account::AccountId,
    imports::{Counts, Importer, LineError},
    money::Currency,
};

/// A catalog of its own for one test.
pub(crate) struct Catalog {
    pub stack: Stack,
    http: reqwest::Client,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    pub(crate) fn read_units(&self) -> f64 {
        self.header("x-consumed-read-units").parse().expect("read units")
    }

    pub(crate) fn queries(&self) -> u32 {
        self.header("x-queries").parse().expect("queries")
    }

    /// The ids of the offerings on a page.
    pub(crate) fn ids(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.bytes));
        let body = self.json();
        let items = body["items"].as_array().expect("items").iter();
        items.map(|item| item["productOfferingId"].as_str().expect("id").to_owned()).collect()
    }

    pub(crate) fn next_cursor(&self) -> Option<String> {
        self.json()["pagination"]["nextCursor"].as_str().map(ToOwned::to_owned)
    }

    /// The fields complained about.
    pub(crate) fn fields(&self) -> Vec<String> {
        let body = self.json();
        let errors = body["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().expect("field").to_owned()).collect()
    }
}

impl Catalog {
    pub(crate) async fn start() -> Self {
        Self::start_with(Template::built_in().expect("template")).await
    }

    pub(crate) async fn start_with(template: Template) -> Self {
        let stack = Stack::start(StackOptions {
            port: 0,
            storage: Storage::Memory,
            name: "test".to_owned(),
            cursor_secret: "the cursor secret of all the tests".to_owned(),
            template,
        })
        .await
        .expect("stack");
        Self { stack, http: client() }
    }

    pub(crate) fn url(&self) -> String {
        self.stack.whereabouts().url
    }

    /// A key of an account with every permission.
    pub(crate) async fn key(&self, account: &str) -> String {
        self.key_with(account, |_| ()).await
    }

    /// A key made different.
    pub(crate) async fn key_with(
        &self,
        account: &str,
        change: impl FnOnce(&mut KeyRecord),
    ) -> String {
        let mut record = KeyRecord {
            account: AccountId::parse(account).expect("account"),
            label: None,
            permissions: Permission::ALL.iter().copied().collect::<BTreeSet<_>>(),
            customer_types: None,
            product_catalogs: None,
            wallet_currency: Currency::USD,
            allowed_cidrs: vec![],
            expires_at: None,
            revoked_at: None,
            created_at: Timestamp::now(),
        };
        change(&mut record);
        let key = ApiKey::generate(&KeyPrefix::default()).expect("random");
        self.stack.store().create_key(&key.hash(), &record).await.expect("key stored");
        key.reveal().to_owned()
    }

    /// Imports records; all of them must be taken.
    pub(crate) async fn import(&self, account: &str, records: &[Value]) -> Counts {
        let (counts, refused) = self.try_import(account, records).await;
        assert!(refused.is_empty(), "{refused:?}");
        counts
    }

    pub(crate) async fn try_import(
        &self,
        account: &str,
        records: &[Value],
    ) -> (Counts, Vec<LineError>) {
        let account = AccountId::parse(account).expect("account");
        let mut importer = Importer::new(self.stack.store(), &account, false);
        let lines: Vec<(u64, Vec<u8>)> = (1..)
            .zip(records)
            .map(|(number, record)| (number, record.to_string().into_bytes()))
            .collect();
        let mut refused = Vec::new();
        for group in lines.chunks(400) {
            refused.extend(importer.group(group, Timestamp::now()).await.expect("import"));
        }
        (importer.counts(), refused)
    }

    pub(crate) async fn get(&self, key: &str, path: &str) -> Answer {
        self.send(self.request("GET", path).header("X-Api-Key", key)).await
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("method");
        self.http.request(method, format!("{}{path}", self.url()))
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.expect("answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, bytes: response.bytes().await.expect("body").to_vec() }
    }

    /// Follows cursors to the end and returns every page.
    pub(crate) async fn pages(&self, key: &str, query: &str, limits: &[u32]) -> Vec<Answer> {
        let mut pages: Vec<Answer> = Vec::new();
        let mut cursor = String::new();
        loop {
            assert!(pages.len() < 5_000, "the list does not end");
            let limit = limits[pages.len() % limits.len()];
            let path = format!("/product-offerings?{query}&limit={limit}{cursor}");
            let page = self.get(key, &path).await;
            assert!(page.ids().len() <= limit as usize);
            let next = page.next_cursor();
            pages.push(page);
            match next {
                Some(token) => cursor = format!("&cursor={token}"),
                None => return pages,
            }
        }
    }

    /// All ids of a list, sorted.
    pub(crate) async fn all_ids(&self, key: &str, query: &str) -> Vec<String> {
        let pages = self.pages(key, query, &[1_000]).await;
        let mut ids: Vec<String> = pages.iter().flat_map(Answer::ids).collect();
        ids.sort();
        ids
    }
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("client")
}

/// A small offering record; `change` is merged into it, a level deep.
pub(crate) fn offering(id: &str, change: Value) -> Value {
    let mut record = json!({
        "kind": "offering",
        "productOfferingId": id,
        "name": format!("Offering {id}"),
        "customerType": "CONSUMER",
        "price": {"currency": "USD", "priceType": "ONE_TIME", "grossPrice": 10},
        "product": {"productId": format!("product-{id}"), "type": "SUBSCRIPTION"},
    });
    merge(&mut record, change);
    record
}

fn merge(into: &mut Value, change: Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (name, value) in change {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change,
    }
}
