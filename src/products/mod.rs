//! The product (agentlyleads): things, services, subscriptions and contracts with a price, kept in step by
//! bulk upserts that merge.
//!
//! | File | |
//! |---|---|
//! | `product` | the published object, and a row merging into it |
//! | `row` | a row of an upsert, checked, with the published messages |
//! | `upsert` | many rows at once: order, concurrency, outcomes |
//! | `lookup` | what must be stored and found |

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
