//! The product (agentlyleads): goods, services, subscriptions and contracts with a price, kept up to date by
//! bulk upserts that merge fields.
//!
//! | File | |
//! |---|---|
//! | `fields` | the fields of a product: the one table that all the rest follows |
//! | `field` | what a field may hold, and the published messages for what is wrong |
//! | `product` | the published object: its id, its keys, its creation |
//! | `row` | a row of an upsert: what it has, and what it finds its product by |
//! | `upsert` | many rows at once: order, concurrency, results |
//! | `lookup` | the access patterns of products, as traits |

mod field;
mod fields;
#[cfg(test)]
mod fuzz;
mod lookup;
mod product;
mod row;
mod upsert;

pub use field::{Field, Rule, Scalar};
pub use fields::{FIELDS, Product, ProductRow};
pub use lookup::{
    FieldOrders, OrderedRow, Page, ProductDelete, ProductRemoval, ProductWrites, Remainder,
    StoredProduct, WhenOlder,
};
pub use product::{Billing, Category, ExternalId, ProductId, ProductType, Sku};
pub use row::{FieldUpdate, ProductKey, is_field};
pub use upsert::{Applied, RowError, RowResult, arrived, upsert};
