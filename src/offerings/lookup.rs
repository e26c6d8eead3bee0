//! What is looked up by its key.

use std::future::Future;

use super::{OfferingId, OfferingRow, PromoCode, Promotion};
use crate::{account::AccountId, cost::Read};

/// The access pattern of one offering.
pub trait OfferingLookup: Sync {
    /// What can go wrong below.
    type Error: Send;

    /// The offering of this id, whatever its status.
    fn offering(
        &self,
        account: &AccountId,
        id: &OfferingId,
    ) -> impl Future<Output = Result<Read<Option<OfferingRow>>, Self::Error>> + Send;
}

/// The access pattern of promo codes.
pub trait PromotionLookup: Sync {
    /// What can go wrong below.
    type Error: Send;

    /// The promotion of this code, valid at the moment or not.
    fn promotion(
        &self,
        account: &AccountId,
        code: &PromoCode,
    ) -> impl Future<Output = Result<Read<Option<Promotion>>, Self::Error>> + Send;
}
