//! Any row of an upsert makes a product, or is refused by its fields.

use serde_json::value::RawValue;

use super::{FIELDS, Product, ProductId, ProductRow};
use crate::fuzz::fuzz;

#[test]
fn any_row_makes_the_same_product_again_or_is_refused_by_its_fields() {
    let names: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
    fuzz("rows", Vec::new(), &names, |input| {
        let Ok(row) = serde_json::from_slice::<&RawValue>(input) else { return };
        let row = match ProductRow::parse(row) {
            Ok(row) => row,
            Err(errors) => {
                assert!(!errors.is_empty());
                for error in errors {
                    assert!((1..1_000).contains(&error.message.len()), "{}", error.message);
                    let field = error.field.as_str();
                    assert!(field.is_empty() || names.contains(&field), "{field}");
                }
                return;
            }
        };
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let id = ProductId::from_bytes([7; 16]);
        let Some(product) = Product::created(&row, id, now) else {
            assert!(row.name.is_none());
            return;
        };
        let document = serde_json::to_string(&product).expect("JSON");
        let again: Box<RawValue> = serde_json::from_str(&document).expect("JSON");
        let again = ProductRow::parse(&again).expect("a product is a row");
        assert_eq!(Product::created(&again, id, now).as_ref(), Some(&product));
        // What a row merges into becomes what it says.
        let mut merged = product.clone();
        merged.merge(&row);
        assert_eq!(merged, product);
        assert_eq!(serde_json::from_str::<Product>(&document).expect("a product"), product);
    });
}
