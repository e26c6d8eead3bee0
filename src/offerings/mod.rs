//! The product offering: what it is, and how a list of offerings is requested, planned, read and priced.
//!
//! | File | |
//! |---|---|
//! | `offering` | the published object (Connect) |
//! | `draft` | validates an import record and makes an offering of it |
//! | `query` | the filters of a list |
//! | `plan` | turns the filters into key ranges of an index |
//! | `listing` | reads a page from those key ranges |
//! | `area` | entries of offerings: exact ranges for countries, regions and catalogs |
//! | `area_list` | reads a page by those entries |
//! | `promotion` | promo codes and promotional prices |

mod area;
mod area_list;
mod draft;
mod listing;
mod offering;
mod plan;
mod promotion;
mod query;

pub use area::{Area, AreaFilter, Bound, entries, key_of_entry};
pub use area_list::{EntryPage, OfferingAreas, list_by_area};
pub use draft::{OfferingDraft, PreparedOffering};
pub use listing::{Budget, Listing, OfferingRanges, RangeRead, list};
pub use offering::{
    BillingCycle, BillingPeriod, CatalogId, Category, CustomerType, Features, Group, Offering,
    OfferingId, Price, PriceType, Product, ProductType, Status, StoredOffering, Visibility,
};
pub use plan::{InvalidPosition, KeyRange, ListPosition, OfferingKey, Plan, SortRange};
pub use promotion::{
    Discount, PreparedPromotion, PromoCode, Promotion, PromotionDraft, PromotionRejection,
};
pub use query::{Coverage, NotVisible, OfferingFilter, OfferingQuery};
