//! The product offering: what it is, how a list of offerings is asked for, planned, read and priced.
//!
//! | File | |
//! |---|---|
//! | `offering` | the published object (Connect) |
//! | `draft` | an import record becoming an offering: validation |
//! | `query` | the filters of a list |
//! | `plan` | the filters as exact index ranges |
//! | `listing` | a page as a walk over those ranges |
//! | `lookup` | one offering, one promotion |
//! | `promotion` | promo codes and the price they make |

mod draft;
mod listing;
mod lookup;
mod offering;
mod plan;
mod promotion;
mod query;

pub use draft::{OfferingDraft, PreparedOffering};
pub use listing::{Budget, Listing, OfferingStreams, StreamPage, list};
pub use lookup::{OfferingLookup, PromotionLookup};
pub use offering::{
    BillingCycle, BillingPeriod, CatalogId, Category, CustomerType, Features, Group, Offering,
    OfferingId, OfferingRow, Price, PriceType, Product, ProductType, Status, Visibility,
};
pub use plan::{InvalidPosition, Plan, Position, Range, RowKey, Stream};
pub use promotion::{
    Discount, PreparedPromotion, PromoCode, Promotion, PromotionDraft, PromotionRejection,
};
pub use query::{CatalogFilter, NotVisible, OfferingQuery};
