//! What a dry run shows is what the import does.

use std::collections::BTreeMap;

use catalog_cli::local::sample::SAMPLES;
use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json, value::RawValue};
use serverless_catalog::{
    account::AccountId,
    cost::Meter,
    imports::{GeneratedIds, Importer, Mode, OrderBy, Ordering, RecordChange},
    order::Origin,
    source::Line,
    store::Store,
};

use crate::{
    export::export,
    networks::{bundle, network},
    support::{Catalog, merge_into, offering},
};

/// Imports lines, so many in a group, as the source of this number; returns what is shown.
async fn import(
    store: &Store,
    account: &str,
    (lines, group): (&[String], usize),
    source: u32,
    mode: Mode,
) -> Vec<RecordChange> {
    let begin: Timestamp = "2026-02-01T00:00:00Z".parse().expect("time");
    let time = begin + SignedDuration::from_mins(source.into());
    let name = format!("source {source}");
    let ordering = Ordering {
        origin: Origin::new(time, &name),
        order_by: OrderBy::Record,
        snapshot: None,
        ids: GeneratedIds { seed: name.clone(), time, run: name },
    };
    let account = AccountId::parse(account).expect("account");
    let mut importer = Importer::new(store, &account, ordering, mode);
    let lines: Vec<Line> =
        (1..).zip(lines).map(|(number, line)| (number, Ok(line.clone().into_bytes()))).collect();
    let mut changes = Vec::new();
    for group in lines.chunks(group) {
        let refused = importer.import_group(group, &[]).await.expect("import");
        assert!(refused.is_empty(), "{refused:?}");
        changes.extend(importer.take_changes());
    }
    changes
}

/// Records by kind and identity. Each bundle is one; when networks and bundles changed is left out, because a
/// network's record has the newest time of all its bundles.
type Records = BTreeMap<(String, String), Value>;

async fn records(catalog: &Catalog, account: &str) -> Records {
    let mut records = Records::new();
    for line in export(catalog, account).await {
        let mut record: Value = serde_json::from_str(&line).expect("JSON");
        let members = record.as_object_mut().expect("an object");
        let kind = members.remove("kind").expect("kind").as_str().expect("text").to_owned();
        let bundles = members.remove("fixed_bundles").unwrap_or_default();
        if matches!(&*kind, "network" | "bundle") {
            members.remove("updatedAt");
        }
        let network = members.remove("network_id");
        let text = |value: &Value| value.as_str().map_or(value.to_string(), ToOwned::to_owned);
        for bundle in bundles.as_array().into_iter().flatten() {
            let id = format!("{} {}", record["id"], bundle["id"]);
            records.insert(("bundle".to_owned(), id), bundle.clone());
        }
        let id = match &*kind {
            "offering" => text(&record["productOfferingId"]),
            "promotion" => text(&record["code"]),
            "partnerOffering" => {
                let offering = &record["offering"];
                format!("{} {}", text(&offering["type"]), text(&offering["name"]))
            }
            "exchangeRate" => {
                let [source, destination] = ["source_currency", "destination_currency"];
                format!("{} {}", text(&record[source]), text(&record[destination]))
            }
            "bundle" => format!("{} {}", network.unwrap_or_default(), record["id"]),
            "product" => format!("sku {}", text(&record["sku"])),
            _ => text(&record["id"]),
        };
        records.insert((kind, id), record);
    }
    records
}

/// The names in a path.
fn names(mut path: &str) -> Vec<String> {
    let mut names = Vec::new();
    while !path.is_empty() {
        if let Some(rest) = path.strip_prefix('[') {
            let mut text = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            names.push(text.next().expect("a name").expect("JSON"));
            path = &rest[text.byte_offset() + 1..];
        } else {
            let rest = path.strip_prefix('.').unwrap_or(path);
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            names.push(rest[..end].to_owned());
            path = &rest[end..];
        }
    }
    names
}

/// Applies what a dry run shows to records; what it shows as old must be there.
fn apply(records: &mut Records, change: &RecordChange) {
    let kind = change.kind.to_string();
    for field in &change.fields {
        let mut place = (kind.clone(), change.id.clone());
        let mut path = field.path.as_str();
        if let Some(rest) = path.strip_prefix("fixed_bundles[id=") {
            let (id, rest) = rest.split_once(']').expect("an id");
            place = ("bundle".to_owned(), format!("{} {id}", change.id));
            path = rest;
        }
        let is_of_network = matches!(&*kind, "network" | "bundle");
        if is_of_network && matches!(path, "updatedAt" | "network_id" | "fixed_bundles") {
            continue;
        }
        let names = names(path);
        let mut value = records.entry(place).or_insert_with(|| json!({}));
        let read = |value: &Option<Box<RawValue>>| {
            value.as_ref().map(|value| serde_json::from_str::<Value>(value.get()).expect("JSON"))
        };
        let (old, new) = (read(&field.old), read(&field.new));
        let Some((last, above)) = names.split_last() else {
            // A whole bundle.
            assert_eq!(*value, old.unwrap_or_else(|| json!({})), "{change:?}");
            *value = new.unwrap_or_else(|| json!({}));
            continue;
        };
        for name in above {
            value = value.get_mut(name).expect("what is above exists");
        }
        let members = value.as_object_mut().expect("an object");
        assert_eq!(members.get(last), old.as_ref(), "{change:?}");
        match new {
            Some(new) => members.insert(last.clone(), new),
            None => members.remove(last),
        };
    }
    records.retain(|_, record| *record != json!({}));
}

/// A record of a kind: which of two, which of four contents (`None`: a delete), and its own time.
fn line(kind: usize, which: u32, content: Option<u32>, minute: Option<u32>) -> String {
    let v = content.unwrap_or_default();
    let metadata =
        [json!({}), json!({"a.b": {"c": 1}}), json!({"a.b": {"c": 2}}), json!({"d": [1]})];
    let (name, countries) = (format!("n{v}"), ["GH", "KE"]);
    let mut record = match kind {
        0 => {
            let change = json!({"name": name, "price": {"grossPrice": f64::from(v) + 0.5},
                "metadata": metadata[v as usize], "productCatalogIds": if v == 1 { json!(["x"]) } else { json!([]) }});
            let mut offering = offering(&which.to_string(), change);
            if v > 1 {
                offering["product"]["features"] =
                    json!({"dataMb": v, "countries": &countries[..v as usize - 1]});
            }
            offering
        }
        1 if v == 3 => {
            json!({"kind": "promotion", "code": which.to_string(), "amountOff": 2.5, "currency": "USD"})
        }
        1 => json!({"kind": "promotion", "code": which.to_string(), "percentOff": v + 1}),
        2 => {
            json!({"kind": "partnerOffering", "offering": {"type": "addon", "name": which.to_string()},
                    "entitlements": if v == 0 { json!({}) } else { json!({"ip_count": v}) }})
        }
        3 => {
            let bundles =
                (1..=v).map(|id| merge_into(&bundle(id), &json!({"price_usd": v}))).collect();
            let bundles =
                if v == 0 { json!({}) } else { json!({"fixed_bundles": Value::Array(bundles)}) };
            merge_into(&network(which, &bundles), &json!({"name": format!("n{}", v / 2)}))
        }
        4 => merge_into(
            &bundle(v + 1),
            &json!({"kind": "bundle", "network_id": which, "price_usd": v * 2}),
        ),
        5 => json!({"kind": "exchangeRate", "source_currency": "USD",
                    "destination_currency": if which == 1 { "GHS" } else { "KES" }, "rate": v + 1}),
        // Products: one is deleted, the other one has late writes.
        _ => {
            let product = json!({"kind": "product", "sku": which.to_string(), "name": name});
            let more = [
                json!({}),
                json!({"price": 1.25}),
                json!({"cost": 2, "termMonths": 3}),
                json!({"cost": null}),
            ];
            merge_into(&product, &more[v as usize])
        }
    };
    if content.is_none() && (kind != 6 || which == 1) {
        record["op"] = json!("delete");
    }
    if let Some(minute) = minute.filter(|_| kind != 6 || which == 2) {
        record["updatedAt"] = json!(format!("2026-01-01T00:{minute:02}:00Z"));
    }
    record.to_string()
}

fn lines() -> impl Strategy<Value = Vec<String>> {
    let content = prop::option::weighted(0.8, 0_u32..4);
    let minute = prop::option::weighted(0.3, 0_u32..4);
    let step = (0_usize..7, 1_u32..3, content, minute);
    vec(step.prop_map(|(kind, which, content, minute)| line(kind, which, content, minute)), 1..16)
}

/// What a dry run shows, applied to an export made before, is the export made after the import.
#[test]
fn what_is_shown_is_what_the_import_does() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("runtime");
    let catalog = runtime.block_on(Catalog::start());
    let case = std::cell::Cell::new(0_u32);
    let cases = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) };
    proptest!(cases, |(sources in vec(lines(), 1..4), group in select(vec![1_usize, 3, 400]))| {
        case.set(case.get() + 1);
        let account = format!("A{}", case.get());
        runtime.block_on(async {
            let store = &catalog.stack.store;
            for (number, lines) in (1..).zip(&sources) {
                let mut expected = records(&catalog, &account).await;
                let changes = import(store, &account, (&lines[..], group), number, Mode::Diff).await;
                prop_assert_eq!(&records(&catalog, &account).await, &expected, "nothing is written");
                for change in &changes {
                    apply(&mut expected, change);
                }
                import(store, &account, (&lines[..], group), number, Mode::Write).await;
                prop_assert_eq!(records(&catalog, &account).await, expected, "{:?}", changes);
            }
            Ok(())
        })?;
    });
}

#[tokio::test]
async fn an_export_imported_again_differs_in_nothing() {
    let catalog = Catalog::start().await;
    let sample = SAMPLES[0].records.iter().flat_map(|records| records.lines());
    let sample: Vec<String> = sample.map(ToOwned::to_owned).collect();
    let store = &catalog.stack.store;
    let shown = import(store, "ACME", (&sample[..], 400), 1, Mode::Diff).await;
    assert_eq!(shown.len(), sample.len(), "everything is created");
    import(store, "ACME", (&sample[..], 400), 1, Mode::Write).await;
    let exported = export(&catalog, "ACME").await;
    let shown = import(store, "ACME", (&exported[..], 400), 2, Mode::Diff).await;
    assert!(shown.is_empty(), "{:?}", shown.first());
}

#[tokio::test]
async fn of_documents_only_those_that_differ_are_read() {
    let catalog = Catalog::start().await;
    let lines = |price: u32| -> Vec<String> {
        let price = |n| if n < 3 { price } else { 10 };
        let offerings = (0..300).map(|n| {
            offering(&format!("o{n:03}"), json!({"price": {"grossPrice": price(n)}})).to_string()
        });
        offerings.collect()
    };
    let cost = async |mode: Mode, price: u32| {
        let meter = Meter::default();
        let store = catalog.stack.store.metered(&meter);
        let shown = import(&store, "ACME", (&lines(price)[..], 400), 2, mode).await;
        (meter.cost().read_units, shown.len())
    };
    import(&catalog.stack.store, "ACME", (&lines(1)[..], 400), 1, Mode::Write).await;
    let (counted, _) = cost(Mode::DryRun, 2).await;
    assert_eq!(cost(Mode::Diff, 2).await, (counted + 3.0, 3));
    assert_eq!(cost(Mode::Diff, 1).await, (counted, 0));
}
