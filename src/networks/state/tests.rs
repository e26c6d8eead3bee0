use jiff::Timestamp;

use super::*;
use crate::{
    networks::{
        BundleType, CustomAirtime, NetworkChanges, NetworkId, NetworkKeys, SmsNotification,
    },
    order::Origin,
};

/// The order of a write at this second.
fn order(second: i64) -> Order {
    Origin::new(Timestamp::from_second(second).expect("a time"), "source").order(1)
}

fn network(name: &str) -> Network {
    let currency = "GHS".parse().expect("a currency");
    Network {
        id: NetworkId::new(1).expect("an id"),
        name: name.to_owned(),
        country: "Ghana".to_owned(),
        country_code: "GH".parse().expect("a country"),
        currency,
        logo_url: None,
        custom_airtime: CustomAirtime {
            available: false,
            min_amount_local: None,
            max_amount_local: None,
            local_currency: currency,
        },
        sms_notification: SmsNotification { available: false, cost_usd: None },
    }
}

fn id(number: u32) -> BundleId {
    BundleId::new(number).expect("an id")
}

fn bundle(number: u32, name: &str) -> Bundle {
    Bundle {
        id: id(number),
        name: name.to_owned(),
        bundle_type: BundleType::Data,
        price_usd: 1_u64.into(),
        local_value: name.to_owned(),
        local_currency: "GHS".parse().expect("a currency"),
        description: name.to_owned(),
    }
}

fn put(name: &str, bundles: Option<&[(u32, &str)]>) -> NetworkChange {
    let bundles = bundles.map(|all| all.iter().map(|(id, name)| bundle(*id, name)).collect());
    NetworkChange::Network { network: Box::new(network(name)), bundles }
}

fn put_bundle(number: u32, name: &str) -> NetworkChange {
    NetworkChange::Bundle(Box::new(bundle(number, name)))
}

/// A stored bundle of this name, or a tombstone, written at this second.
type Stored<'a> = (u32, Option<&'a str>, Option<i64>);

/// A network of this name, written at this second, whose bundles were written at another.
fn state(
    name: Option<&str>,
    second: Option<i64>,
    set: Option<i64>,
    stored: &[Stored<'_>],
) -> NetworkState {
    let bundles = stored.iter().map(|(number, name, second)| {
        let bundle = name.map(|name| bundle(*number, name));
        (id(*number), StoredBundle { bundle, order: second.map(order) })
    });
    NetworkState {
        network: name.map(network),
        order: second.map(order),
        set_order: set.map(order),
        bundles: bundles.collect(),
        ..NetworkState::default()
    }
}

/// Applies a change of this second; returns its outcome and what the state is then.
fn applied(before: &NetworkState, change: NetworkChange, second: i64) -> (Outcome, NetworkState) {
    let mut after = before.clone();
    let outcome = after.apply(change, order(second));
    (outcome, after)
}

#[test]
fn a_change_tells_which_bundles_it_is_about() {
    for (change, needs_all, is_delete, bundle) in [
        (put("a", None), false, false, None),
        (put("a", Some(&[])), true, false, None),
        (NetworkChange::DeleteNetwork, true, true, None),
        (put_bundle(3, "c"), false, false, Some(id(3))),
        (NetworkChange::DeleteBundle(id(4)), false, true, Some(id(4))),
    ] {
        assert_eq!(
            (change.needs_all_bundles(), change.is_delete(), change.bundle()),
            (needs_all, is_delete, bundle),
            "{change:?}"
        );
    }
}

#[test]
fn a_networks_own_fields_are_those_of_its_newest_record() {
    let none = NetworkState::default();
    let first = state(Some("a"), Some(5), None, &[]);
    assert_eq!(applied(&none, put("a", None), 5), (Outcome::Created, first.clone()));
    // The same again, older or newer: nothing is written, and its order stays.
    for second in [4, 5, 6] {
        assert_eq!(applied(&first, put("a", None), second), (Outcome::Unchanged, first.clone()));
    }
    assert_eq!(applied(&first, put("b", None), 4), (Outcome::Stale, first.clone()));
    for second in [5, 6] {
        let changed = state(Some("b"), Some(second), None, &[]);
        assert_eq!(applied(&first, put("b", None), second), (Outcome::Updated, changed));
    }
    // After a delete, only a newer record brings it back.
    let deleted = state(None, Some(5), Some(5), &[]);
    assert_eq!(applied(&deleted, put("a", None), 4), (Outcome::Stale, deleted.clone()));
    let again = state(Some("a"), Some(6), Some(5), &[]);
    assert_eq!(applied(&deleted, put("a", None), 6), (Outcome::Created, again));
}

#[test]
fn a_record_with_all_bundles_replaces_those_that_are_not_newer() {
    let before = state(
        Some("a"),
        Some(1),
        None,
        &[
            (1, Some("stays"), Some(1)),
            (2, Some("changes"), Some(5)),
            (3, Some("goes"), None),
            (4, Some("newer"), Some(6)),
            (5, None, Some(2)),
            (6, None, Some(3)),
        ],
    );
    let all = [(1, "stays"), (2, "changed"), (4, "older"), (6, "back"), (7, "new")];
    let after = state(
        Some("a"),
        Some(5),
        Some(5),
        &[
            (1, Some("stays"), Some(1)),
            (2, Some("changed"), Some(5)),
            (4, Some("newer"), Some(6)),
            (5, None, Some(2)),
            (6, Some("back"), Some(5)),
            (7, Some("new"), Some(5)),
        ],
    );
    assert_eq!(applied(&before, put("a", Some(&all)), 5), (Outcome::Updated, after));
}

#[test]
fn a_record_that_says_what_is_stored_changes_nothing() {
    let before = state(
        Some("a"),
        Some(1),
        Some(1),
        &[(1, Some("one"), Some(1)), (2, Some("two"), None), (3, None, Some(1))],
    );
    let same = put("a", Some(&[(2, "two"), (1, "one")]));
    assert_eq!(applied(&before, same, 9), (Outcome::Unchanged, before.clone()));
    for other in [&[(1, "one")][..], &[(1, "one"), (2, "2")], &[(1, "one"), (2, "two"), (3, "3")]] {
        let (outcome, after) = applied(&before, put("a", Some(other)), 9);
        assert_eq!((outcome, after.set_order), (Outcome::Updated, Some(order(9))), "{other:?}");
    }
}

#[test]
fn a_record_may_be_too_old_for_the_network_or_for_its_bundles_only() {
    let one = &[(1, Some("one"), None)];
    // Newer fields: the bundles alone change.
    let before = state(Some("a"), Some(5), Some(3), one);
    let after = state(Some("a"), Some(5), Some(3), &[(1, Some("1"), Some(3))]);
    let record = || put("b", Some(&[(1, "1")]));
    assert_eq!(applied(&before, record(), 3), (Outcome::Updated, after));
    assert_eq!(applied(&before, record(), 2), (Outcome::Stale, before.clone()));
    // They are what the record says already: it is noted that they were all.
    let noted = state(Some("a"), Some(5), Some(4), one);
    let same = put("b", Some(&[(1, "one")]));
    assert_eq!(applied(&before, same, 4), (Outcome::Unchanged, noted));
    // Newer bundles: the fields alone change.
    let before = state(Some("a"), Some(3), Some(5), one);
    let after = state(Some("b"), Some(4), Some(5), one);
    assert_eq!(applied(&before, record(), 4), (Outcome::Updated, after));
    let before = state(None, Some(3), Some(5), one);
    assert_eq!(applied(&before, record(), 4).0, Outcome::Created);
}

#[test]
fn a_delete_takes_what_is_not_newer() {
    let delete = || NetworkChange::DeleteNetwork;
    let bundles = &[(1, Some("old"), Some(2)), (2, Some("newer"), Some(9)), (3, None, Some(1))];
    let before = state(Some("a"), Some(5), Some(5), bundles);
    let rest = &bundles[1..];
    assert_eq!(applied(&before, delete(), 4), (Outcome::Stale, before.clone()));
    let after = state(None, Some(5), Some(5), rest);
    assert_eq!(applied(&before, delete(), 5), (Outcome::Deleted, after.clone()));
    // Again: nothing is left that it could take.
    let again = state(None, Some(6), Some(6), rest);
    assert_eq!(applied(&after, delete(), 6), (Outcome::Unchanged, again));
    // The network is newer, or its bundles are.
    let before = state(Some("a"), Some(5), Some(3), bundles);
    let after = state(Some("a"), Some(5), Some(4), rest);
    assert_eq!(applied(&before, delete(), 4), (Outcome::Deleted, after));
    let before = state(Some("a"), Some(3), Some(5), bundles);
    let after = state(None, Some(4), Some(5), bundles);
    assert_eq!(applied(&before, delete(), 4), (Outcome::Deleted, after));
}

#[test]
fn a_bundle_is_stored_unless_it_or_all_bundles_are_newer() {
    let before =
        state(Some("a"), Some(1), Some(3), &[(1, Some("one"), Some(5)), (2, None, Some(5))]);
    assert_eq!(applied(&before, put_bundle(1, "one"), 2), (Outcome::Unchanged, before.clone()));
    for (number, second) in [(1, 4), (2, 4), (3, 2)] {
        let late = applied(&before, put_bundle(number, "x"), second);
        assert_eq!(late, (Outcome::Stale, before.clone()), "{number}");
    }
    for (number, second, outcome) in [
        (1, 5, Outcome::Updated),
        (1, 6, Outcome::Updated),
        (2, 5, Outcome::Created),
        (3, 3, Outcome::Created),
    ] {
        let mut after = before.clone();
        let stored = StoredBundle { bundle: Some(bundle(number, "x")), order: Some(order(second)) };
        after.bundles.insert(id(number), stored);
        assert_eq!(applied(&before, put_bundle(number, "x"), second), (outcome, after), "{number}");
    }
}

#[test]
fn a_deleted_bundle_leaves_a_tombstone() {
    let before =
        state(Some("a"), Some(1), Some(3), &[(1, Some("one"), Some(5)), (2, None, Some(5))]);
    for (number, second) in [(1, 4), (2, 4), (3, 2)] {
        let late = applied(&before, NetworkChange::DeleteBundle(id(number)), second);
        assert_eq!(late, (Outcome::Stale, before.clone()), "{number}");
    }
    for (number, second, outcome) in
        [(1, 5, Outcome::Deleted), (2, 5, Outcome::Unchanged), (3, 3, Outcome::Unchanged)]
    {
        let mut after = before.clone();
        let tombstone = StoredBundle { bundle: None, order: Some(order(second)) };
        after.bundles.insert(id(number), tombstone);
        let change = NetworkChange::DeleteBundle(id(number));
        assert_eq!(applied(&before, change, second), (outcome, after), "{number}");
    }
}

/// What is written to turn one state into another: the bundles that are put, those that are deleted, and the new count.
fn written(
    keys: &NetworkKeys,
    before: &NetworkState,
    after: &NetworkState,
) -> Option<(Vec<u32>, Vec<u32>, i64)> {
    let number = NetworkId::new(1).expect("an id");
    let changes = NetworkChanges::between(number, keys, before.clone(), after.clone())?;
    assert_eq!((changes.id, &changes.before), (number, before));
    let put = changes.put.iter().map(|(id, bundle)| {
        assert_eq!(Some(bundle), after.bundles.get(id));
        id.get()
    });
    let delete = changes.delete.iter().map(|id| id.get());
    Some((put.collect(), delete.collect(), changes.after.product_count))
}

#[test]
fn only_what_differs_is_written_and_bundles_are_counted() {
    let counted = |state: NetworkState, count| NetworkState { product_count: count, ..state };
    let three = [(1, Some("one"), Some(1)), (2, Some("two"), Some(1)), (3, Some("three"), Some(1))];
    let before = counted(state(Some("a"), Some(1), Some(1), &three), 3);
    let (all, some) = (NetworkKeys::All, NetworkKeys::Bundles([id(1)].into()));
    assert_eq!(written(&all, &before, &before), None);
    // The stored count may be wrong: only with all bundles is it known.
    let wrong = counted(before.clone(), 7);
    assert_eq!(written(&all, &wrong, &wrong), Some((vec![], vec![], 3)));
    assert_eq!(written(&some, &wrong, &wrong), None);
    // Any difference of the network's own counts.
    for other in [
        state(Some("b"), Some(1), Some(1), &three),
        state(Some("a"), Some(2), Some(1), &three),
        state(Some("a"), Some(1), Some(2), &three),
    ] {
        assert_eq!(written(&all, &before, &other), Some((vec![], vec![], 3)));
    }
    // One changes, one leaves a tombstone, one goes, one is new.
    let changed = [(1, Some("1"), Some(2)), (2, None, Some(2)), (4, Some("four"), Some(2))];
    let after = state(Some("a"), Some(1), Some(1), &changed);
    assert_eq!(written(&all, &before, &after), Some((vec![1, 2, 4], vec![3], 2)));
    // Of eleven, those three were read.
    let before = counted(before, 11);
    assert_eq!(written(&some, &before, &after), Some((vec![1, 2, 4], vec![3], 10)));
    // A bundle alone: the network's own fields stay.
    let put = state(Some("a"), Some(1), Some(1), &[(1, Some("1"), Some(2)), three[1], three[2]]);
    assert_eq!(written(&some, &before, &put), Some((vec![1], vec![], 11)));
    let gone = state(Some("a"), Some(1), Some(1), &[]);
    let (before, after) =
        (counted(gone.clone(), 0), state(Some("a"), Some(1), Some(1), &three[..1]));
    assert_eq!(written(&all, &counted(after, 0), &gone), Some((vec![], vec![1], 0)));
    assert_eq!(written(&all, &before, &gone), None);
}
