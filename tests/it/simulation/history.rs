//! What sources say, and the plain model of what must be stored in the end: of each thing the newest
//! write.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use serverless_catalog::{
    order::{Order, Origin},
    text::rfc3339_millis,
};

use super::random::Random;

/// The fields of products that rows have.
pub(crate) const FIELDS: [&str; 4] = ["name", "price", "stockQty", "description"];
const OFFERINGS: u64 = 3;
const PRODUCTS: u64 = 3;
const NETWORKS: u64 = 2;
const BUNDLES: u64 = 3;

/// What a record says of one thing: a value, or that it is not there.
#[derive(Clone, Debug)]
pub(crate) struct Effect {
    /// `offering o1`, `network 1`, `bundle 1/2`, `product s1 price` and so on.
    pub thing: String,
    pub value: Option<String>,
}

/// A line of a source.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub text: String,
    /// The time of the record itself.
    pub updated_at: Option<Timestamp>,
    pub effects: Vec<Effect>,
}

/// A kind that a source may be the full snapshot of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    Offerings,
    Networks,
    Products,
}

impl Whole {
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Offerings => "offering",
            Self::Networks => "network",
            Self::Products => "product",
        }
    }

    fn all_things(self) -> Vec<String> {
        match self {
            Self::Offerings => (1..=OFFERINGS).map(|id| format!("offering o{id}")).collect(),
            Self::Networks => (1..=NETWORKS).flat_map(network_things).collect(),
            Self::Products => (1..=PRODUCTS).flat_map(product_things).collect(),
        }
    }
}

fn network_things(id: u64) -> Vec<String> {
    let bundles = (1..=BUNDLES).map(|bundle| format!("bundle {id}/{bundle}"));
    bundles.chain([format!("network {id}")]).collect()
}

fn product_things(id: u64) -> Vec<String> {
    FIELDS.iter().map(|field| format!("product s{id} {field}")).collect()
}

fn absent(things: Vec<String>) -> Vec<Effect> {
    things.into_iter().map(|thing| Effect { thing, value: None }).collect()
}

/// Makes records. No two say the same: an equal record would take no place in the order.
pub(crate) struct Author {
    pub random: Random,
    made: u64,
}

impl Author {
    pub(crate) fn new(random: Random) -> Self {
        Self { random, made: 0 }
    }

    fn new_value(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// The lines of a source. Those of a snapshot tell all that a record can tell.
    pub(crate) fn lines(&mut self, whole: Option<Whole>, now: Timestamp) -> Vec<Line> {
        let count = self.random.range(1..9);
        let mut named = BTreeSet::new();
        let mut lines = Vec::new();
        for _ in 0..count {
            if whole.is_none() && self.random.chance(5) {
                let text = "{\"kind\":\"nothing\"}".to_owned();
                lines.push(Line { text, updated_at: None, effects: Vec::new() });
                continue;
            }
            let (mut record, effects) = match whole {
                Some(Whole::Offerings) => self.offering(),
                Some(Whole::Networks) => self.network(true),
                Some(Whole::Products) => self.product(true),
                None => self.record(),
            };
            // A snapshot names a thing once.
            let first = effects.first().map(|effect| effect.thing.clone());
            if whole.is_some() && !named.insert(first) {
                continue;
            }
            let mut updated_at = None;
            if whole.is_none() && self.random.chance(30) {
                let seconds = i64::try_from(self.random.range(0..900)).expect("small") - 200;
                let time = now + SignedDuration::from_secs(seconds);
                record["updatedAt"] = rfc3339_millis(time).into();
                updated_at = Some(time);
            }
            lines.push(Line { text: record.to_string(), updated_at, effects });
        }
        lines
    }

    fn record(&mut self) -> (Value, Vec<Effect>) {
        match self.random.range(0..12) {
            0..=2 => self.offering(),
            3 => {
                let id = format!("o{}", self.random.range(1..OFFERINGS + 1));
                let record = json!({"kind": "offering", "op": "delete", "productOfferingId": id});
                (record, absent(vec![format!("offering {id}")]))
            }
            4 => self.document(),
            5 | 6 => self.network(false),
            7 => self.bundle(),
            8 => {
                let id = self.random.range(1..NETWORKS + 1);
                (json!({"kind": "network", "op": "delete", "id": id}), absent(network_things(id)))
            }
            9 => {
                let id = self.random.range(1..PRODUCTS + 1);
                let record = json!({"kind": "product", "op": "delete", "sku": format!("s{id}")});
                (record, absent(product_things(id)))
            }
            _ => self.product(false),
        }
    }

    fn offering(&mut self) -> (Value, Vec<Effect>) {
        let id = format!("o{}", self.random.range(1..OFFERINGS + 1));
        let name = format!("n{}", self.new_value());
        let some = |random: &mut Self, of: &[&'static str]| -> Vec<&'static str> {
            of.iter().copied().filter(|_| random.random.chance(33)).collect()
        };
        let (countries, regions) = (some(self, &["GH", "FR"]), some(self, &["AFRICA", "GLOBAL"]));
        let (catalogs, categories) = (some(self, &["k1", "k2"]), some(self, &["C1", "C2"]));
        let mut product = json!({"features": {"countries": countries, "regions": regions}});
        if let Some(category) = categories.first() {
            product["category"] = json!(category);
        }
        let change = json!({"name": name, "product": product, "productCatalogIds": catalogs});
        let record = crate::support::offering(&id, change);
        (record, vec![Effect { thing: format!("offering {id}"), value: Some(name) }])
    }

    /// A promotion, a partner offering or an exchange rate; or its removal.
    fn document(&mut self) -> (Value, Vec<Effect>) {
        let value = self.new_value();
        let (mut record, thing) = match self.random.range(0..3) {
            0 => (
                json!({"kind": "promotion", "code": "P1", "amountOff": value, "currency": "JPY"}),
                "promotion P1",
            ),
            1 => {
                let offering = json!({"name": "p1", "type": "addon", "quantity": 1});
                let record = json!({"kind": "partnerOffering", "offering": offering, "entitlements": {"ip_count": value}});
                (record, "partner p1")
            }
            _ => (
                json!({"kind": "exchangeRate", "source_currency": "USD", "destination_currency": "GHS", "rate": value}),
                "rate USD",
            ),
        };
        let deleted = self.random.chance(30);
        if deleted {
            record["op"] = "delete".into();
        }
        let value = (!deleted).then(|| value.to_string());
        (record, vec![Effect { thing: thing.to_owned(), value }])
    }

    fn network(&mut self, whole: bool) -> (Value, Vec<Effect>) {
        let id = self.random.range(1..NETWORKS + 1);
        let name = format!("n{}", self.new_value());
        let mut record = json!({"kind": "network", "id": id, "name": name, "country": "Ghana",
                                "country_code": "GH", "currency": "GHS"});
        let mut effects =
            vec![Effect { thing: format!("network {id}"), value: Some(name.clone()) }];
        if whole || self.random.chance(50) {
            let mut bundles = Vec::new();
            for bundle in 1..=BUNDLES {
                let there = self.random.chance(50);
                if there {
                    bundles
                        .push(json!({"id": bundle, "name": name, "type": "DATA", "price_usd": 1}));
                }
                let thing = format!("bundle {id}/{bundle}");
                effects.push(Effect { thing, value: there.then(|| name.clone()) });
            }
            record["fixed_bundles"] = bundles.into();
        }
        (record, effects)
    }

    fn bundle(&mut self) -> (Value, Vec<Effect>) {
        let (network, id) = (self.random.range(1..NETWORKS + 1), self.random.range(1..BUNDLES + 1));
        let thing = format!("bundle {network}/{id}");
        if self.random.chance(30) {
            let record = json!({"kind": "bundle", "op": "delete", "network_id": network, "id": id});
            return (record, absent(vec![thing]));
        }
        let name = format!("n{}", self.new_value());
        let record = json!({"kind": "bundle", "network_id": network, "id": id, "name": name,
                            "type": "DATA", "price_usd": 1, "local_currency": "GHS"});
        (record, vec![Effect { thing, value: Some(name) }])
    }

    /// A row of a product. It always has a name: whether a row without one finds its product is no matter
    /// of order.
    pub(crate) fn product(&mut self, all_fields: bool) -> (Value, Vec<Effect>) {
        let id = self.random.range(1..PRODUCTS + 1);
        let value = self.new_value();
        let mut record = json!({"kind": "product", "sku": format!("s{id}")});
        let mut effects = Vec::new();
        for field in FIELDS {
            if field != "name" && !all_fields && self.random.chance(50) {
                continue;
            }
            let is_text = matches!(field, "name" | "description");
            record[field] = if is_text { json!(format!("n{value}")) } else { json!(value) };
            let thing = format!("product s{id} {field}");
            effects.push(Effect { thing, value: Some(value.to_string()) });
        }
        (record, effects)
    }
}

/// A write that the model knows.
#[derive(Clone, Debug)]
struct Write {
    order: Order,
    value: Option<String>,
    /// Whether it may be stored or not: a version of an object that a newer one overtook.
    optional: bool,
}

/// What must be stored in the end.
#[derive(Default)]
pub(crate) struct Model {
    writes: BTreeMap<String, Vec<Write>>,
    /// The order of the newest snapshot of offerings, which archives what it does not name.
    archived: Vec<(Order, BTreeSet<String>)>,
    /// The orders of snapshots of products: what was written since stays whole.
    purged: Vec<(Order, BTreeSet<String>)>,
}

/// How far a record's time may be ahead.
const MOST_AHEAD: SignedDuration = SignedDuration::from_mins(10);

impl Model {
    /// Adds a source; returns how many of its lines are rejected.
    pub(crate) fn add(
        &mut self,
        lines: &[Line],
        origin: &Origin,
        own_time_counts: bool,
        whole: Option<Whole>,
        optional: bool,
    ) -> u64 {
        let mut rejected = 0;
        let mut named = BTreeSet::new();
        for (number, line) in (1..).zip(lines) {
            let updated_at = line.updated_at.filter(|_| own_time_counts);
            let too_young =
                updated_at.is_some_and(|time| time.duration_since(origin.time()) > MOST_AHEAD);
            if line.effects.is_empty() || too_young {
                rejected += 1;
                continue;
            }
            let order = updated_at.map_or(origin.order(number), |time| origin.dated(time, number));
            for Effect { thing, value } in &line.effects {
                named.insert(thing.clone());
                self.write(thing, order, value.clone(), optional);
            }
        }
        let floor = origin.order(0);
        match whole {
            Some(Whole::Offerings) => self.archived.push((floor, named)),
            Some(whole) => {
                for thing in whole.all_things() {
                    if !named.contains(&thing) {
                        self.write(&thing, floor, None, optional);
                    }
                }
                if whole == Whole::Products {
                    self.purged.push((floor, named));
                }
            }
            None => {}
        }
        rejected
    }

    pub(crate) fn write(
        &mut self,
        thing: &str,
        order: Order,
        value: Option<String>,
        optional: bool,
    ) {
        self.writes.entry(thing.to_owned()).or_default().push(Write { order, value, optional });
    }

    /// What may be stored of a thing.
    fn allowed(&self, thing: &str) -> BTreeSet<Option<String>> {
        let none = Vec::new();
        let writes = self.writes.get(thing).unwrap_or(&none);
        let certain = writes.iter().filter(|write| !write.optional);
        let newest = certain.max_by_key(|write| write.order);
        let order = newest.map(|write| write.order);
        let optional = writes.iter().filter(|write| write.optional && Some(write.order) > order);
        let optional = optional.map(|write| (Some(write.order), write.value.clone()));
        let newest = (order, newest.and_then(|write| write.value.clone()));
        let before = |floor: Order| {
            let writes = writes.iter().filter(move |write| write.order < floor);
            writes.map(|write| write.value.clone())
        };
        let unnamed_by = |snapshots: &[(Order, BTreeSet<String>)]| {
            let unnamed = snapshots.iter().filter(|(_, named)| !named.contains(thing));
            unnamed.map(|(floor, _)| *floor).max()
        };
        let archived = unnamed_by(&self.archived).filter(|_| thing.starts_with("offering "));
        let purged = unnamed_by(&self.purged).filter(|_| thing.starts_with("product "));
        let mut allowed = BTreeSet::new();
        for (order, value) in optional.chain([newest]) {
            match (archived, purged) {
                // A snapshot of offerings removes nothing: what it archives is shown as it was.
                (Some(floor), _) if order < Some(floor) => {
                    let shown = |value: String| format!("{value} archived");
                    allowed.extend(before(floor).map(|value| value.map(shown)));
                    allowed.insert(None);
                }
                // A product that was written since a snapshot stays with its older fields, if they came
                // before.
                (_, Some(floor)) if order == Some(floor) => {
                    allowed.extend(before(floor));
                    allowed.insert(value);
                }
                _ => {
                    allowed.insert(value);
                }
            }
        }
        allowed
    }

    /// Leaves products out of which nothing certain is known.
    pub(crate) fn forget(&mut self, products: &BTreeSet<String>) {
        let is_one = |thing: &String| {
            products.iter().any(|product| thing.starts_with(&format!("{product} ")))
        };
        self.writes.retain(|thing, _| !is_one(thing));
    }

    /// Holds what is stored against the model.
    pub(crate) fn check(&self, stored: &BTreeMap<String, String>) -> Result<(), String> {
        let mut things: BTreeSet<&String> = self.writes.keys().collect();
        things.extend(stored.keys());
        for thing in things {
            let mut allowed = self.allowed(thing);
            if let Some((product, field)) =
                thing.rsplit_once(' ').filter(|_| thing.starts_with("product "))
            {
                let name = stored.contains_key(&format!("{product} name"));
                if !name {
                    // Without its name there is no product.
                    allowed.insert(None);
                } else if field != "name" && allowed.contains(&None) {
                    // The default.
                    allowed.insert(Some("0".to_owned()));
                }
            }
            let value = stored.get(thing).cloned();
            if !allowed.contains(&value) {
                let writes = self.writes.get(thing);
                return Err(format!(
                    "{thing} is {value:?} and not of {allowed:?}; writes: {writes:#?}"
                ));
            }
        }
        Ok(())
    }
}

/// Adds a record of an export to what is stored.
pub(super) fn note(record: &Value, stored: &mut BTreeMap<String, String>) {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let mut add = |thing: String, value: String| {
        assert!(stored.insert(thing, value).is_none(), "twice: {record}");
    };
    match record["kind"].as_str().expect("kind") {
        "offering" => {
            let archived = if record["status"] == "ARCHIVED" { " archived" } else { "" };
            let value = text(&record["name"]) + archived;
            add(format!("offering {}", text(&record["productOfferingId"])), value);
        }
        "promotion" => add("promotion P1".to_owned(), text(&record["amountOff"])),
        "partnerOffering" => {
            add("partner p1".to_owned(), text(&record["entitlements"]["ip_count"]));
        }
        "exchangeRate" => add("rate USD".to_owned(), text(&record["rate"])),
        "network" => {
            let id = text(&record["id"]);
            add(format!("network {id}"), text(&record["name"]));
            for bundle in record["fixed_bundles"].as_array().expect("bundles") {
                add(format!("bundle {id}/{}", text(&bundle["id"])), text(&bundle["name"]));
            }
        }
        "bundle" => {
            let thing = format!("bundle {}/{}", text(&record["network_id"]), text(&record["id"]));
            add(thing, text(&record["name"]));
        }
        "product" => {
            for field in FIELDS {
                if !record[field].is_null() {
                    let value = text(&record[field]);
                    let value = value.trim_start_matches('n').to_owned();
                    add(format!("product {} {field}", text(&record["sku"])), value);
                }
            }
        }
        kind => panic!("a record of kind {kind}"),
    }
}
