//! What writes leave in the tables, item by item, and how many requests they take.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use serverless_catalog::{
    access::{ApiKey, FieldUpdate, KeyChange, KeyPrefix, KeyRecord, PerMinute, Permission},
    account::AccountId,
    clock::Clock,
    cost::{Cost, Meter},
    imports::{
        Before, DocumentKey, DocumentRecord, DocumentStore as _, Operation, Record, Version, Write,
    },
    offerings::OfferingId,
    order::{Order, Origin},
    outcome::{Outcome, WriteError},
    products::{
        self, Applied, ExternalId, FIELDS, OrderedRow, ProductDelete as _, ProductId, ProductKey,
        ProductRemoval, ProductRow, ProductWrites as _, RowError, Sku, WhenOlder,
    },
    store::{Store, TableNames},
};

use crate::support::{Catalog, importer, offering};

type Item = HashMap<String, AttributeValue>;

fn account() -> AccountId {
    AccountId::parse("ACME").expect("account")
}

/// The order of the one write of this hour.
fn order(hour: i64) -> Order {
    let midnight: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    let time = midnight + SignedDuration::from_hours(hour);
    Origin::new(time, &format!("hour {hour}")).order(1)
}

fn id(number: u8) -> ProductId {
    ProductId::from_bytes([number; 16])
}

fn sku(text: &str) -> ProductKey {
    ProductKey::Sku(Sku::parse(text).expect("sku"))
}

fn row(fields: &Value) -> ProductRow {
    let fields = serde_json::value::to_raw_value(fields).expect("JSON");
    ProductRow::parse(&fields).expect("a row")
}

/// The products of an account, written one row at a time.
struct Products {
    catalog: Catalog,
    store: Store,
    meter: Meter,
}

impl Products {
    async fn start() -> Self {
        let catalog = Catalog::start().await;
        let (account, meter) = (account(), Meter::default());
        let store = Store::new(catalog.stack.client.clone(), TableNames::with_prefix("test"));
        Self { store: store.for_account(&account, &meter), catalog, meter }
    }

    /// Writes a row in this hour. A product that it creates has this id.
    async fn write(&self, row: &ProductRow, hour: i64, new_id: u8) -> Result<Applied, RowError> {
        let (order, new_id) = (order(hour), id(new_id));
        let row = OrderedRow { row, order, when_older: WhenOlder::KeepNewer, new_id };
        self.store.apply(&account(), row).await
    }

    async fn delete(&self, product: ProductKey, hour: i64) -> Result<Outcome, RowError> {
        let removal = ProductRemoval { order: order(hour), only_if_unchanged: false };
        self.store.delete_product(&account(), &product, removal).await
    }

    async fn item(&self, key: &str) -> Option<Item> {
        let get = self.catalog.stack.client.get_item().table_name("test-products");
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let get = get.key("account", text("ACME")).key("productKey", text(key));
        get.consistent_read(true).send().await.expect("read").item
    }

    /// How often the item was written, and the order that it has as a whole.
    async fn written(&self, key: &str) -> Option<(u32, Option<Order>)> {
        let item = self.item(key).await?;
        let revision = item["revision"].as_n().expect("a number").parse().expect("whole");
        let at = item.get("at").map(|at| at.as_b().expect("bytes").as_ref());
        Some((revision, at.map(|at| Order::from_bytes(at).expect("an order"))))
    }

    /// What the requests since this was last asked have consumed.
    fn consumed(&self, since: &mut Cost) -> Cost {
        let (now, before) = (self.meter.cost(), *since);
        *since = now;
        Cost {
            reads: now.reads - before.reads,
            read_units: now.read_units - before.read_units,
            writes: now.writes - before.writes,
            write_units: now.write_units - before.write_units,
        }
    }
}

fn names(item: &Item) -> BTreeSet<&str> {
    item.keys().map(String::as_str).collect()
}

fn link(item: Option<&Item>) -> Option<&str> {
    item?.get("linkedTo")?.as_s().ok().map(String::as_str)
}

#[tokio::test]
async fn each_write_of_a_product_has_the_next_revision_wherever_it_moves() {
    let products = Products::start().await;
    let both = row(&json!({"sku": "s", "externalId": "e", "name": "n"}));
    assert!(products.write(&both, 1, 1).await.expect("created").created);
    assert_eq!(products.written("SKU#s").await.map(|(revision, _)| revision), Some(1));
    assert_eq!(link(products.item("EXT#e").await.as_ref()), Some("SKU#s"));

    let external = row(&json!({"externalId": "x", "name": "n"}));
    assert!(products.write(&external, 1, 2).await.expect("created").created);
    let priced = row(&json!({"externalId": "x", "price": 2}));
    assert!(!products.write(&priced, 2, 3).await.expect("updated").created);
    assert_eq!(products.written("EXT#x").await.map(|(revision, _)| revision), Some(2));
    // It gets a sku, and with it another key.
    let moved = row(&json!({"sku": "t", "externalId": "x"}));
    let applied = products.write(&moved, 3, 4).await.expect("moved");
    assert_eq!((applied.id, applied.created), (id(2), false));
    assert_eq!(products.written("SKU#t").await.map(|(revision, _)| revision), Some(3));
    assert_eq!(link(products.item("EXT#x").await.as_ref()), Some("SKU#t"));
    // It loses the sku, and is where it was.
    let mut back = row(&json!({"externalId": "x"}));
    back.sku = products::FieldUpdate::Clear;
    let applied = products.write(&back, 4, 5).await.expect("moved");
    assert_eq!((applied.id, applied.created), (id(2), false));
    assert_eq!(products.written("EXT#x").await.map(|(revision, _)| revision), Some(4));
    assert!(products.item("SKU#t").await.is_none());
    assert!(link(products.item("EXT#x").await.as_ref()).is_none());
    // Another external id: the link under the old one is gone.
    let renamed = row(&json!({"sku": "s", "externalId": "f"}));
    products.write(&renamed, 5, 6).await.expect("renamed");
    assert_eq!(products.written("SKU#s").await.map(|(revision, _)| revision), Some(2));
    assert!(products.item("EXT#e").await.is_none());
    assert_eq!(link(products.item("EXT#f").await.as_ref()), Some("SKU#s"));
}

#[tokio::test]
async fn a_row_with_all_fields_has_one_order_and_another_one_has_one_for_each_field() {
    let products = Products::start().await;
    let fields = json!({
        "name": "n", "type": "SERVICE", "sku": "s", "externalId": null, "category": "c",
        "price": 1, "cost": 1, "currency": "EUR", "unit": "seat", "billingPeriod": null,
        "termMonths": 1, "stockQty": 1, "reorderLevel": 1, "description": "d", "features": "f",
        "active": false,
    });
    let all = row(&fields);
    assert_eq!(all.fields().len(), FIELDS.len(), "each field is in the row");
    products.write(&all, 1, 1).await.expect("created");
    let item = products.item("SKU#s").await.expect("a product");
    let of_fields = |item: &Item| {
        let names = item.keys().filter(|name| name.starts_with('@'));
        names.cloned().collect::<BTreeSet<String>>()
    };
    assert_eq!(of_fields(&item), [].into());
    assert_eq!(products.written("SKU#s").await, Some((1, Some(order(1)))));

    products.write(&row(&json!({"sku": "s", "price": 2})), 2, 2).await.expect("updated");
    let item = products.item("SKU#s").await.expect("a product");
    assert_eq!(of_fields(&item), ["@price".to_owned(), "@sku".to_owned()].into());
    // A row with all of them again ends their own orders.
    products.write(&all, 3, 3).await.expect("updated");
    let item = products.item("SKU#s").await.expect("a product");
    assert_eq!(of_fields(&item), [].into());
    assert_eq!(products.written("SKU#s").await, Some((3, Some(order(3)))));
    // Nothing of a late one remains.
    let late = products.write(&all, 2, 4).await;
    assert!(matches!(late, Err(RowError::Stale)), "{late:?}");
    assert_eq!(products.written("SKU#s").await, Some((3, Some(order(3)))));
}

#[tokio::test]
async fn a_row_by_the_external_id_of_a_product_with_a_sku_takes_two_requests() {
    let products = Products::start().await;
    let both = row(&json!({"sku": "s", "externalId": "e", "name": "n"}));
    products.write(&both, 1, 1).await.expect("created");
    let mut before = products.meter.cost();
    let priced = row(&json!({"externalId": "e", "price": 2}));
    let applied = products.write(&priced, 2, 2).await.expect("updated");
    assert_eq!((applied.id, applied.created), (id(1), false));
    // The first finds the link; nothing is read.
    let consumed = products.consumed(&mut before);
    assert_eq!((consumed.writes, consumed.reads), (2, 0));
    assert_eq!(products.written("SKU#s").await.map(|(revision, _)| revision), Some(2));
}

#[tokio::test]
async fn a_late_row_that_adds_a_key_adds_its_link() {
    let products = Products::start().await;
    products.write(&row(&json!({"sku": "s", "name": "n"})), 1, 1).await.expect("created");
    products.write(&row(&json!({"sku": "s", "price": 3})), 3, 2).await.expect("updated");
    let late = row(&json!({"sku": "s", "externalId": "e", "price": 2}));
    let applied = products.write(&late, 2, 3).await.expect("updated");
    assert_eq!((applied.id, applied.created), (id(1), false));
    let item = products.item("SKU#s").await.expect("a product");
    assert_eq!(item["price"].as_n().expect("a number"), "3");
    assert_eq!(item["externalId"].as_s().expect("text"), "e");
    assert_eq!(link(products.item("EXT#e").await.as_ref()), Some("SKU#s"));
}

/// A repeated request may have written its row before: what is newer by the clock came after it.
#[tokio::test]
async fn a_repeated_row_moves_after_a_newer_write_only_if_that_is_ahead_of_the_clock() {
    for (hour, price) in [(5, "5"), (4, "3")] {
        let products = Products::start().await;
        products.write(&row(&json!({"sku": "s", "name": "n"})), 1, 1).await.expect("created");
        products.write(&row(&json!({"sku": "s", "price": 5})), 5, 2).await.expect("updated");
        let since = tokio::time::Instant::now() + std::time::Duration::from_hours(1);
        let stands_still = Clock::Simulated { start: order(hour).time(), since };
        let store = products.store.clone().with_clock(stands_still);
        let repeated = row(&json!({"sku": "s", "price": 3}));
        let when_older = WhenOlder::CountAsWritten;
        let row = OrderedRow { row: &repeated, order: order(3), when_older, new_id: id(3) };
        store.apply(&account(), row).await.expect("counts as written");
        let item = products.item("SKU#s").await.expect("a product");
        assert_eq!(item["price"].as_n().expect("a number"), price, "at {hour}");
    }
}

#[tokio::test]
async fn a_write_under_a_newer_one_is_not_written_again() {
    let products = Products::start().await;
    let first = row(&json!({"sku": "s", "name": "n", "unit": "box"}));
    assert!(products.write(&first, 1, 1).await.expect("created").created);
    products.write(&row(&json!({"sku": "s", "price": 2})), 2, 2).await.expect("updated");
    // Its answer was lost, so it comes again: it has created the product.
    for when_older in [WhenOlder::KeepNewer, WhenOlder::MoveAfterNewest, WhenOlder::CountAsWritten]
    {
        let row = OrderedRow { row: &first, order: order(1), when_older, new_id: id(1) };
        let again = products.store.apply(&account(), row).await.expect("applied before");
        assert_eq!((again.id, again.created, again.order), (id(1), true, order(1)));
        assert_eq!(products.written("SKU#s").await.map(|(revision, _)| revision), Some(2));
    }
}

#[tokio::test]
async fn a_delete_leaves_a_tombstone_under_each_key_and_repeated_writes_nothing() {
    let products = Products::start().await;
    let both = row(&json!({"sku": "s", "externalId": "e", "name": "n"}));
    products.write(&both, 1, 1).await.expect("created");
    for outcome in [Outcome::Deleted, Outcome::Unchanged, Outcome::Unchanged] {
        assert_eq!(products.delete(sku("s"), 2).await.expect("a delete"), outcome);
        let id_key = format!("ID#{}", id(1));
        for (key, revision) in [("SKU#s", 2), ("EXT#e", 1), (id_key.as_str(), 1)] {
            let item = products.item(key).await.expect("a tombstone");
            let expected = ["account", "productKey", "at", "revision", "expiresAt"];
            assert_eq!(names(&item), expected.into(), "{key}");
            assert_eq!(products.written(key).await, Some((revision, Some(order(2)))), "{key}");
        }
    }
    // It is as new as the newest write.
    products.write(&row(&json!({"sku": "t", "name": "n"})), 2, 2).await.expect("created");
    assert_eq!(products.delete(sku("t"), 2).await.expect("a delete"), Outcome::Deleted);
    let item = products.item("SKU#t").await.expect("a tombstone");
    assert!(!item.contains_key("last"), "{item:?}");
    // A newer delete of what is not there.
    assert_eq!(products.delete(sku("s"), 3).await.expect("a delete"), Outcome::Unchanged);
    assert_eq!(products.written("SKU#s").await, Some((3, Some(order(3)))));
    let late = products.delete(sku("s"), 2).await;
    assert!(matches!(late, Err(RowError::Stale)), "{late:?}");
}

#[tokio::test]
async fn a_tombstone_remembers_a_write_that_was_newer_than_the_delete() {
    let products = Products::start().await;
    products.write(&row(&json!({"sku": "s", "name": "n"})), 1, 1).await.expect("created");
    products.write(&row(&json!({"sku": "s", "price": 7})), 7, 2).await.expect("updated");
    assert_eq!(products.delete(sku("s"), 5).await.expect("a delete"), Outcome::Deleted);
    let item = products.item("SKU#s").await.expect("a tombstone");
    let last = Order::from_bytes(item["last"].as_b().expect("bytes").as_ref());
    assert_eq!(last, Some(order(7)));
    assert_eq!(products.written("SKU#s").await, Some((3, Some(order(5)))));
    // A row between the two brings the product back.
    let between = row(&json!({"sku": "s", "name": "m"}));
    let applied = products.write(&between, 6, 3).await.expect("created");
    assert_eq!((applied.id, applied.created), (id(3), true));
    let item = products.item("SKU#s").await.expect("a product");
    let text = |name: &str| item[name].as_s().expect("text").clone();
    assert_eq!((text("name"), text("id")), ("m".to_owned(), id(3).to_string()));
    assert_eq!((text("createdAt"), text("updatedAt")), (HOUR_6.to_owned(), HOUR_6.to_owned()));
    assert_eq!(item["price"].as_n().expect("a number"), "0");
    assert!(!item.contains_key("expiresAt"));
}

#[tokio::test]
async fn a_row_without_a_name_creates_nothing_and_one_older_than_a_delete_is_stale() {
    let products = Products::start().await;
    let priced = row(&json!({"sku": "s", "price": 9}));
    let named = row(&json!({"sku": "s", "name": "n"}));
    let refused = async |row: &ProductRow, hour: i64| {
        products.write(row, hour, 9).await.expect_err("refused")
    };
    assert!(matches!(refused(&priced, 1).await, RowError::NameRequired), "there is nothing");
    products.write(&named, 1, 1).await.expect("created");
    products.write(&priced, 7, 2).await.expect("updated");
    assert_eq!(products.delete(sku("s"), 5).await.expect("a delete"), Outcome::Deleted);
    for hour in [2, 4] {
        for row in [&priced, &named] {
            let error = refused(row, hour).await;
            assert!(matches!(error, RowError::Stale), "{hour}: {error:?}");
        }
    }
    for hour in [6, 8] {
        let error = refused(&priced, hour).await;
        assert!(matches!(error, RowError::NameRequired), "{hour}: {error:?}");
    }

    // Nor does it give a product another key: it is found by its first key alone.
    products.write(&row(&json!({"name": "n"})), 1, 3).await.expect("created");
    for keys in [json!({"sku": "z", "price": 1}), json!({"externalId": "z", "price": 1})] {
        let brought = ProductRow { id: Some(id(3)), ..row(&keys) };
        let error = refused(&brought, 2).await;
        assert!(matches!(error, RowError::NameRequired), "{keys}: {error:?}");
    }
    let sku = products::FieldUpdate::Keep;
    let by_id = ProductRow { id: Some(id(3)), sku, ..row(&json!({"sku": "z", "price": 1})) };
    let applied = products.write(&by_id, 2, 4).await.expect("updated");
    assert_eq!((applied.id, applied.created), (id(3), false));
}

const HOUR_6: &str = "2026-01-01T06:00:00.000Z";

#[tokio::test]
async fn a_product_is_found_by_its_id_under_whatever_key_it_has() {
    let products = Products::start().await;
    for (row, number) in [
        (row(&json!({"sku": "s", "externalId": "e", "name": "n"})), 1),
        (row(&json!({"externalId": "x", "name": "n"})), 2),
        (row(&json!({"name": "n"})), 3),
    ] {
        products.write(&row, 1, number).await.expect("created");
    }
    let ids = [1, 2, 3, 4].map(id);
    let found = products.store.keys_of_ids(&account(), &ids).await.expect("read");
    let external = ProductKey::ExternalId(ExternalId::parse("x").expect("an id"));
    let keys = [(id(1), sku("s")), (id(2), external), (id(3), ProductKey::Id(id(3)))];
    assert_eq!(found, keys.into());
}

#[tokio::test]
async fn what_is_stored_of_a_product_is_found_by_any_of_its_keys() {
    let products = Products::start().await;
    let named = row(&json!({"sku": "s", "externalId": "e", "name": "n"}));
    products.write(&named, 1, 1).await.expect("created");
    let brought = ProductRow { id: Some(id(2)), ..row(&json!({"sku": "t", "name": "n"})) };
    products.write(&brought, 1, 2).await.expect("created");
    let external = |text| ProductKey::ExternalId(ExternalId::parse(text).expect("an id"));
    let wanted =
        [sku("s"), external("e"), external("f"), sku("t"), ProductKey::Id(id(2)), sku("e")];
    let stored = products.store.stored_products(&account(), &wanted).await.expect("read");
    let found = wanted.map(|key| stored.get(&key).map(|stored| stored.product.id));
    assert_eq!(found, [Some(id(1)), Some(id(1)), None, Some(id(2)), Some(id(2)), None]);
}

/// A request that is repeated makes products with the ids of its first attempt.
#[tokio::test]
async fn the_newest_delete_of_an_id_stays_whichever_way_its_product_was_deleted() {
    let products = Products::start().await;
    let id_key = format!("ID#{}", id(1));
    let named = row(&json!({"sku": "a", "name": "n"}));
    let brought = ProductRow { id: Some(id(1)), ..row(&json!({"sku": "b", "name": "n"})) };
    let refused = async |hour| {
        let refused = products.write(&brought, hour, 9).await;
        assert!(matches!(refused, Err(RowError::Stale)), "{hour}: {refused:?}");
    };

    products.write(&named, 1, 1).await.expect("created");
    products.delete(sku("a"), 2).await.expect("deleted");
    assert_eq!(products.written(&id_key).await, Some((1, Some(order(2)))));
    products.write(&named, 3, 1).await.expect("created again");
    assert_eq!(products.delete(sku("a"), 4).await.expect("a delete"), Outcome::Deleted);
    assert_eq!(products.written(&id_key).await, Some((2, Some(order(4)))));
    refused(3).await;

    // The id alone is deleted by something newer, and its product comes and goes before that.
    let by_id = ProductKey::Id(id(1));
    assert_eq!(products.delete(by_id, 9).await.expect("a delete"), Outcome::Unchanged);
    assert_eq!(products.written(&id_key).await, Some((3, Some(order(9)))));
    products.write(&named, 6, 1).await.expect("created again");
    assert_eq!(products.delete(sku("a"), 7).await.expect("a delete"), Outcome::Deleted);
    assert_eq!(products.written(&id_key).await, Some((3, Some(order(9)))));
    refused(8).await;
    products.write(&named, 8, 1).await.expect("created again");
    assert_eq!(products.delete(sku("a"), 9).await.expect("a delete"), Outcome::Deleted);
    assert_eq!(products.written(&id_key).await, Some((3, Some(order(9)))), "it is as new");
    let applied = products.write(&brought, 10, 9).await.expect("created");
    assert_eq!((applied.id, applied.created), (id(1), true));
}

#[tokio::test]
async fn a_record_that_brings_an_id_creates_its_product_once() {
    let catalog = Catalog::start().await;
    let record = |name: &str| json!({"kind": "product", "id": id(1).to_string(), "name": name});
    let created = catalog.import("ACME", &[record("first")]).await;
    assert_eq!((created.created, created.updated), (1, 0));
    let updated = catalog.import("ACME", &[record("second")]).await;
    assert_eq!((updated.created, updated.updated), (0, 1));
}

#[tokio::test]
async fn a_stored_offering_does_not_repeat_its_key_attributes() {
    let catalog = Catalog::start().await;
    catalog.import("ACME", &[offering("o", json!({}))]).await;
    let get = catalog.stack.client.get_item().table_name("test-offerings");
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let get = get.key("account", text("ACME")).key("productOfferingId", text("o"));
    let item = get.send().await.expect("read").item.expect("an offering");
    let document = item["document"].as_s().expect("text");
    let whole: BTreeMap<String, Value> =
        serde_json::from_str(&format!("{{{document}")).expect("JSON without its brace");
    for name in ["productOfferingId", "status", "customerType"] {
        assert!(!whole.contains_key(name), "{document}");
    }
    assert_eq!(whole["name"], "Offering o");
}

#[tokio::test]
async fn an_account_is_known_to_have_entries_after_one_read() {
    let catalog = Catalog::start().await;
    let records: Vec<Value> = (0..40)
        .map(|number| {
            let country = if number == 7 { "GH" } else { "US" };
            let features = json!({"features": {"countries": [country]}});
            offering(&format!("o{number}"), json!({"product": features}))
        })
        .collect();
    catalog.import("ACME", &records).await;
    let store = Store::new(catalog.stack.client.clone(), TableNames::with_prefix("test"));
    let meter = Meter::default();
    let store = store.metered(&meter);
    for reads in [1, 1, 1] {
        assert!(store.has_entries(&account()).await.expect("read"));
        assert_eq!(meter.cost().reads, reads);
    }
    let nobody = AccountId::parse("NOBODY").expect("account");
    for reads in [2, 2] {
        assert!(!store.has_entries(&nobody).await.expect("read"));
        assert_eq!(meter.cost().reads, reads);
    }
}

#[tokio::test]
async fn a_group_of_offerings_reads_whether_its_account_is_empty_once() {
    let catalog = Catalog::start().await;
    let import = async |store: &Store, meter: &Meter, id: &str| {
        let before = meter.cost().reads;
        let account = account();
        let mut importer = importer(store, &account, false);
        let line = offering(id, json!({})).to_string().into_bytes();
        let refused = importer.import_group(&[(1, Ok(line))], &[]).await.expect("import");
        assert!(refused.is_empty(), "{refused:?}");
        meter.cost().reads - before
    };
    let handle = || {
        let store = Store::new(catalog.stack.client.clone(), TableNames::with_prefix("test"));
        let meter = Meter::default();
        (store.metered(&meter), meter)
    };
    // The offering itself, then the marker of the account, then whether there is any offering.
    let (store, meter) = handle();
    let mut reads = Vec::new();
    for id in ["a", "b", "c"] {
        reads.push(import(&store, &meter, id).await);
    }
    assert_eq!(reads, [3, 1, 1]);
    // An account with offerings from before there were entries.
    let delete = catalog.stack.client.delete_item().table_name("test-offering-areas");
    let delete = delete.key("account", AttributeValue::S("ACME".to_owned()));
    let delete = delete.key("entry", AttributeValue::B(Blob::new([0])));
    delete.send().await.expect("deleted");
    let (store, meter) = handle();
    let mut reads = Vec::new();
    for id in ["d", "e", "f"] {
        reads.push(import(&store, &meter, id).await);
    }
    assert_eq!(reads, [3, 1, 1]);
    assert!(!store.has_entries(&account()).await.expect("known"));
}

#[tokio::test]
async fn an_offering_that_was_compared_with_an_older_version_keeps_what_is_newer() {
    let catalog = Catalog::start().await;
    let store = &catalog.stack.store;
    let key = DocumentKey::Offering(OfferingId::parse("o").expect("an id"));
    let write = async |hour: i64, before: Before| {
        let record = offering("o", json!({"name": format!("of {hour}")})).to_string();
        let (record, _) = Record::parse(record.as_bytes()).expect("a record");
        let Record::Document(DocumentRecord { operation: Operation::Upsert(content), .. }) = record
        else {
            panic!("{record:?}")
        };
        let version = Version { content_hash: [0; 16], created_at: order(hour).time() };
        let write = Write { order: order(hour), version: Some((content, version)), before };
        store.write(&account(), vec![(key.clone(), write)]).await.expect("a write")
    };
    let stored = async || {
        let mut stored = store.stored(&account(), std::slice::from_ref(&key)).await.expect("read");
        stored.remove(&key).expect("stored")
    };
    assert_eq!(write(2, Before::default()).await, []);
    let second = stored().await;
    assert_eq!(second.order, Some(order(2)));
    // Each of these was compared with nothing.
    assert_eq!(write(4, Before::default()).await, [], "it is newer");
    assert_eq!(write(3, Before::default()).await, [(key.clone(), WriteError::Stale)]);
    assert_eq!(write(4, Before::default()).await, [], "it is the same");
    assert_eq!(stored().await.order, Some(order(4)));
    // And with a version that has been replaced.
    assert_eq!(write(3, second.before.clone()).await, [(key.clone(), WriteError::Stale)]);
    assert_eq!(write(5, second.before).await, []);
    assert_eq!(stored().await.order, Some(order(5)));
}

#[tokio::test]
async fn a_changed_key_is_told_as_it_is_then_and_only_to_its_account() {
    let catalog = Catalog::start().await;
    let store = &catalog.stack.store;
    let key = ApiKey::generate(&KeyPrefix::default()).expect("random").hash();
    let record = KeyRecord::new(account(), [Permission::AirtimeRead]);
    assert!(store.create_key(&key, &record).await.expect("created"));
    assert!(!store.create_key(&key, &record).await.expect("there"), "it is not replaced");
    let limit = PerMinute::new(7).expect("a limit");
    let change = KeyChange {
        label: FieldUpdate::Set("shop".to_owned()),
        writes_per_minute: FieldUpdate::Set(limit),
        ..KeyChange::default()
    };
    let other = AccountId::parse("GLOBEX").expect("account");
    let refused = store.update_key(&other, &key, &change).await.expect("not theirs");
    assert!(refused.is_none(), "{refused:?}");
    let changed = store.update_key(&account(), &key, &change).await.expect("changed");
    let mut expected = serde_json::to_value(&record).expect("JSON");
    expected["label"] = json!("shop");
    expected["writesPerMinute"] = json!(7);
    let changed = changed.expect("a key");
    assert_eq!(serde_json::to_value(&changed).expect("JSON"), expected);
}
