//! The table `Promotions`: one promotion by its code.

use super::{
    Store, StoreError,
    item::{document, is_record},
};
use crate::{
    account::AccountId,
    imports::{DocumentKey, Kind},
    offerings::{PromoCode, Promotion, PromotionDraft},
};

impl Store {
    /// One promotion, whether or not it is valid now.
    pub async fn promotion(
        &self,
        account: &AccountId,
        code: &PromoCode,
    ) -> Result<Option<Promotion>, StoreError> {
        const OPERATION: &str = "get promotion";
        let place = self.place(Kind::Promotion);
        let key = place.item_key(account, &DocumentKey::Promotion(code.clone()));
        let item = self.get(OPERATION, place.table, key, false).await?.filter(is_record);
        let Some(item) = item else { return Ok(None) };
        let draft: PromotionDraft = serde_json::from_str(&document(OPERATION, item)?)
            .map_err(|error| StoreError::unreadable(OPERATION, error))?;
        let promotion = draft
            .promotion()
            .map_err(|_| StoreError::unreadable(OPERATION, "an invalid promotion"))?;
        Ok(Some(promotion))
    }
}
