//! Everything an account has, as records that import to the same catalog.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::json;

use super::{
    CAPACITY, Store, StoreError,
    item::{Item, OfferingItem, VersionAttributes, document, read, text},
    networks::{Part, part},
    products::product_of,
    units,
};
use crate::{
    account::AccountId,
    imports::{Kind, MAX_LINE_BYTES, replace::Stock},
    networks::{Network, NetworkId},
    products::StoredProduct,
    text::rfc3339_millis,
};

/// An export of the records of one kind, a page of the table at a time.
pub struct Export<'a> {
    store: &'a Store,
    account: &'a AccountId,
    kind: Kind,
    start: Option<Item>,
    ended: bool,
    /// The network whose bundles are being read.
    network: Option<WholeNetwork>,
    read_units: f64,
}

impl<'a> Export<'a> {
    /// The kinds that have records of their own; a network carries its bundles.
    pub const KINDS: [Kind; 6] = [
        Kind::Offering,
        Kind::Promotion,
        Kind::PartnerOffering,
        Kind::Network,
        Kind::ExchangeRate,
        Kind::Product,
    ];

    /// Begins an export.
    #[must_use]
    pub fn new(store: &'a Store, account: &'a AccountId, kind: Kind) -> Self {
        Self { store, account, kind, start: None, ended: false, network: None, read_units: 0.0 }
    }

    /// What it consumed so far.
    #[must_use]
    pub fn read_units(&self) -> f64 {
        self.read_units
    }

    /// The next records, as JSON, in the order of their keys; `None` after the last.
    ///
    /// # Errors
    /// [`StoreError`] when the table is not read.
    pub async fn next(&mut self) -> Result<Option<Vec<String>>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        let items = self.items().await?;
        let mut records = Vec::with_capacity(items.len());
        for item in items {
            self.record(item, &mut records)?;
        }
        if self.start.is_none() {
            self.ended = true;
            if let Some(network) = self.network.take() {
                network.finish(&mut records);
            }
        }
        Ok(Some(records))
    }

    async fn items(&mut self) -> Result<Vec<Item>, StoreError> {
        let tables = &self.store.tables;
        let (table, prefix) = match self.kind {
            Kind::Offering => (&tables.offerings, None),
            Kind::Promotion => (&tables.promotions, None),
            Kind::PartnerOffering => (&tables.partner_offerings, None),
            Kind::Network | Kind::Bundle => (&tables.networks, Some("NETWORK#")),
            Kind::ExchangeRate => (&tables.networks, Some("RATE#")),
            Kind::Product => (&tables.products, None),
        };
        let query = self
            .store
            .client
            .query()
            .table_name(table)
            .expression_attribute_values(":account", text(self.account.as_str()))
            .consistent_read(true)
            .set_exclusive_start_key(self.start.take())
            .return_consumed_capacity(CAPACITY);
        let query = match prefix {
            None => query.key_condition_expression("account = :account"),
            Some(prefix) => query
                .key_condition_expression("account = :account AND begins_with(itemKey, :prefix)")
                .expression_attribute_values(":prefix", text(prefix)),
        };
        let reply = query.send().await.map_err(|error| StoreError::from_sdk(OPERATION, &error))?;
        self.read_units += units(reply.consumed_capacity());
        self.start = reply.last_evaluated_key;
        Ok(reply.items.unwrap_or_default())
    }

    fn record(&mut self, item: Item, records: &mut Vec<String>) -> Result<(), StoreError> {
        match self.kind {
            Kind::Offering => {
                let source = source_time(&item)?;
                let item: OfferingItem = read(OPERATION, item)?;
                let row =
                    item.into_row().map_err(|cause| StoreError::unreadable(OPERATION, cause))?;
                let catalogs = json!(row.visibility.catalogs);
                let open = without_update(&row.document);
                let whole = format!("{open}{},\"productCatalogIds\":{catalogs}}}", member(source));
                records.push(with_head("\"kind\":\"offering\"", &whole));
            }
            Kind::Product => records.extend(product_of(OPERATION, &item)?.as_ref().map(product)),
            Kind::Network | Kind::Bundle => match part(OPERATION, item)? {
                Part::Network(network, updated_at) => {
                    let next = WholeNetwork {
                        network: *network,
                        updated_at,
                        bundles: Vec::new(),
                        dated: Vec::new(),
                    };
                    if let Some(before) = self.network.replace(next) {
                        before.finish(records);
                    }
                }
                Part::Bundle(id, document, updated_at) => match &mut self.network {
                    Some(whole) if whole.network.id == id => {
                        if updated_at.is_some() {
                            whole.dated.push(bundle(id, &document, updated_at));
                        }
                        whole.bundles.push(document);
                    }
                    // Its network is not there yet.
                    _ => records.push(bundle(id, &document, updated_at)),
                },
                Part::Count => {}
            },
            Kind::Promotion | Kind::PartnerOffering | Kind::ExchangeRate => {
                let head = format!("\"kind\":\"{}\"{}", self.kind, member(source_time(&item)?));
                records.push(with_head(&head, &document(OPERATION, item)?));
            }
        }
        Ok(())
    }
}

impl Stock for Export<'_> {
    type Error = StoreError;

    async fn page(&mut self) -> Result<Option<Vec<String>>, StoreError> {
        self.next().await
    }
}

const OPERATION: &str = "export";

/// A JSON object with members put before its own.
fn with_head(head: &str, object: &str) -> String {
    match object.strip_prefix('{') {
        Some("}") | None => format!("{{{head}}}"),
        Some(rest) => format!("{{{head},{rest}"),
    }
}

/// The time that an item's source last changed it, where a record said so.
fn source_time(item: &Item) -> Result<Option<Timestamp>, StoreError> {
    let version: VersionAttributes = read(OPERATION, item.clone())?;
    Ok(version.stored().and_then(|stored| stored.source_updated_at))
}

/// `,"updatedAt":"…"` of a source's time; nothing without one.
fn member(updated_at: Option<Timestamp>) -> String {
    updated_at
        .map(|time| format!(",\"updatedAt\":\"{}\"", rfc3339_millis(time)))
        .unwrap_or_default()
}

/// A published document, still open, without its last member: the time it was written here, which
/// would be taken for its source's.
fn without_update(document: &str) -> &str {
    document.rsplit_once(",\"updatedAt\":").map_or("{", |(open, _)| open)
}

fn product(stored: &StoredProduct) -> String {
    // Every part serializes to JSON whatever its value, so the fallback is never taken.
    let document = serde_json::to_string(&stored.product).unwrap_or_default();
    let open = without_update(&document);
    with_head("\"kind\":\"product\"", &format!("{open}{}}}", member(stored.source_updated_at)))
}

fn bundle(network: NetworkId, document: &str, updated_at: Option<Timestamp>) -> String {
    let head = format!("\"kind\":\"bundle\",\"network_id\":{network}{}", member(updated_at));
    with_head(&head, document)
}

/// A network and the bundles read so far, as published documents.
struct WholeNetwork {
    network: Network,
    updated_at: Option<Timestamp>,
    bundles: Vec<String>,
    /// Records of bundles that have a source's time of their own.
    dated: Vec<String>,
}

impl WholeNetwork {
    fn finish(self, records: &mut Vec<String>) {
        let network = &self.network;
        let mut record = json!({
            "kind": "network",
            "id": network.id,
            "name": network.name,
            "country": network.country,
            "country_code": network.country_code,
            "currency": network.currency,
            "logo_url": network.logo_url,
        });
        if let Some(updated_at) = self.updated_at {
            record["updatedAt"] = rfc3339_millis(updated_at).into();
        }
        // As text, not as values: amounts keep their digits.
        let own = [
            ("custom_airtime", serde_json::to_string(&network.custom_airtime)),
            ("sms_notification", serde_json::to_string(&network.sms_notification)),
        ];
        let mut text = record.to_string();
        text.pop();
        for (name, value) in own {
            let _ = write!(text, ",\"{name}\":{}", value.unwrap_or_default());
        }
        let bytes: usize = self.bundles.iter().map(|bundle| bundle.len() + 1).sum();
        if text.len() + bytes + 32 <= MAX_LINE_BYTES {
            let _ = write!(text, ",\"fixed_bundles\":[{}]}}", self.bundles.join(","));
            records.push(text);
            records.extend(self.dated);
        } else {
            // More than a line may hold: each bundle has its own.
            text.push('}');
            records.push(text);
            records.extend(self.bundles.iter().map(|document| bundle(network.id, document, None)));
            records.extend(self.dated);
        }
    }
}
