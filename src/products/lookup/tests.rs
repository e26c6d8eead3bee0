use jiff::Timestamp;

use super::*;
use crate::{order::Origin, products::FieldUpdate};

fn at(second: i64) -> Order {
    Origin::new(Timestamp::from_second(second).expect("a time"), "x").order(1)
}

fn row(json: &str) -> ProductRow {
    ProductRow::parse(serde_json::from_str(json).expect("JSON")).expect("a row")
}

fn orders(last: i64, floor: Option<i64>, own: &[(&'static str, i64)]) -> FieldOrders {
    let own = own.iter().map(|(field, second)| (*field, at(*second))).collect();
    FieldOrders { last: Some(at(last)), floor: floor.map(at), own }
}

#[test]
fn a_write_is_admitted_after_the_newest_one_and_as_that_one_again() {
    assert!(FieldOrders::default().admits(at(1)));
    assert!(orders(1, None, &[]).admits(at(2)));
    assert!(orders(1, None, &[]).admits(at(1)));
    assert!(!orders(2, None, &[]).admits(at(1)));
}

#[test]
fn a_field_has_the_order_of_its_own_write_or_that_of_all_fields() {
    let some = orders(7, Some(3), &[("price", 7), ("unit", 2)]);
    assert_eq!(some.of("price"), Some(at(7)));
    assert_eq!(some.of("unit"), Some(at(2)));
    assert_eq!(some.of("cost"), Some(at(3)));
    assert_eq!(orders(7, None, &[]).of("cost"), None);
}

#[test]
fn of_a_late_row_the_fields_are_left_that_no_newer_write_has_set() {
    let some = orders(7, Some(3), &[("price", 7), ("unit", 5)]);
    let all = row(r#"{"sku":"s","price":1,"unit":"u","cost":null}"#);
    assert_eq!(some.late(&all, at(2)), ProductRow::default());
    assert_eq!(some.late(&all, at(3)), row(r#"{"sku":"s","cost":null}"#));
    assert_eq!(some.late(&all, at(5)), row(r#"{"sku":"s","unit":"u","cost":null}"#));
    assert_eq!(some.late(&all, at(7)), all);
}

#[test]
fn a_write_notes_its_order_for_the_fields_that_it_sets() {
    let mut some = orders(5, Some(1), &[("price", 5), ("unit", 2)]);
    some.note(&row(r#"{"sku":"s","unit":null}"#), at(4));
    assert_eq!(some, orders(5, Some(1), &[("price", 5), ("sku", 4), ("unit", 4)]));
    some.note(&row(r#"{"sku":"s"}"#), at(6));
    assert_eq!(some, orders(6, Some(1), &[("price", 5), ("sku", 6), ("unit", 4)]));
    // One that sets every field needs no order of a single one.
    let mut whole = ProductRow::reset();
    whole.name = Some("n".to_owned());
    (whole.sku, whole.external_id) = (FieldUpdate::Clear, FieldUpdate::Clear);
    some.note(&whole, at(7));
    assert_eq!(some, orders(7, Some(7), &[]));
}

/// A product whose fields have these orders.
fn stored(orders: FieldOrders) -> StoredProduct {
    let json =
        r#"{"name":"n","sku":"s","externalId":"e","price":5,"unit":"u","cost":1,"active":false}"#;
    let now = Timestamp::UNIX_EPOCH;
    let product = Product::created(&row(json), ProductId::from_bytes([7; 16]), now);
    StoredProduct { product: product.expect("a product"), orders }
}

fn after(stored: &StoredProduct, second: i64, only_if_unchanged: bool) -> Option<StoredProduct> {
    match stored.after(ProductRemoval { order: at(second), only_if_unchanged }) {
        Remainder::All => Some(stored.clone()),
        Remainder::Some(rest) => {
            assert_ne!(&*rest, stored);
            Some(*rest)
        }
        Remainder::Nothing => None,
    }
}

#[test]
fn a_removal_takes_a_product_whose_name_is_not_newer() {
    let whole = stored(orders(5, Some(5), &[]));
    assert_eq!(after(&whole, 4, false), Some(whole.clone()));
    for second in [5, 6] {
        for only_if_unchanged in [false, true] {
            assert_eq!(after(&whole, second, only_if_unchanged), None);
        }
    }
    // Its price is newer: it stays only where it must not have changed.
    let priced = stored(orders(7, Some(5), &[("price", 7)]));
    assert_eq!(after(&priced, 6, true), Some(priced.clone()));
    assert_eq!(after(&priced, 7, true), None);
    assert_eq!(after(&priced, 6, false), None);
}

#[test]
fn of_a_product_whose_name_is_newer_a_removal_takes_the_fields_that_are_older() {
    let own = &[("name", 9), ("price", 8), ("unit", 6), ("cost", 5), ("active", 4)];
    let before = stored(orders(9, Some(3), own));
    let rest = after(&before, 6, false).expect("a rest");
    // Its keys stay; the cost and whether it is on sale are what a new product has.
    let mut product = before.product.clone();
    (product.cost, product.active) = (None, true);
    assert_eq!(rest.product, product);
    assert_eq!(rest.orders, orders(9, Some(6), &[("name", 9), ("price", 8)]));
    assert_eq!(before.outcome_of(&rest), Outcome::Updated);
    assert_eq!(before.outcome_of(&before), Outcome::Unchanged);
    // The floor is newer already.
    let floored = stored(orders(9, Some(8), &[("name", 9), ("unit", 5)]));
    let rest = after(&floored, 6, false).expect("a rest");
    assert_eq!(rest.orders, orders(9, Some(8), &[("name", 9)]));
    // Keys that are older are no reason to write.
    let keys = stored(orders(9, Some(8), &[("name", 9), ("sku", 1), ("externalId", 1)]));
    assert_eq!(after(&keys, 6, false), Some(keys));
}
