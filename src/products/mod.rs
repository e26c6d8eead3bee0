//! The product (agentlyleads): goods, services, subscriptions and contracts with a price, kept up to date by
//! bulk upserts that merge fields.
//!
//! | File | |
//! |---|---|
//! | `product` | the published object, and how a row merges into it |
//! | `row` | a row of an upsert, validated, with the published messages |
//! | `upsert` | many rows at once: order, concurrency, results |
//! | `lookup` | the access patterns of products, as traits |

mod lookup;
mod product;
mod row;
mod upsert;

pub use lookup::{
    FieldOrders, OrderedRow, Page, ProductDelete, ProductLists, ProductLookup, ProductRemoval,
    ProductWrites, Removed, StoredProduct,
};
pub use product::{Billing, Category, ExternalId, Product, ProductId, ProductType, Sku};
pub use row::{Change, FIELDS, Match, ProductRow};
pub use upsert::{Applied, RowError, RowResult, arrived, upsert};
