//! The access patterns of single offerings and promotions, one trait each.

use std::future::Future;

use super::{OfferingId, OfferingRow, PromoCode, Promotion};
use crate::{account::AccountId, cost::Read};

/// Access pattern: one offering.
pub trait OfferingLookup: Sync {
    /// An error of the database.
    type Error: Send;

    /// The offering with this id, whatever its status.
    fn offering(
        &self,
        account: &AccountId,
        id: &OfferingId,
    ) -> impl Future<Output = Result<Read<Option<OfferingRow>>, Self::Error>> + Send;
}

/// Access pattern: one promotion.
pub trait PromotionLookup: Sync {
    /// An error of the database.
    type Error: Send;

    /// The promotion with this code, whether or not it is valid now.
    fn promotion(
        &self,
        account: &AccountId,
        code: &PromoCode,
    ) -> impl Future<Output = Result<Read<Option<Promotion>>, Self::Error>> + Send;
}
