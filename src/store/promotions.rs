//! The table `Promotions`: one promotion by its code.

use super::{
    Store, StoreError,
    item::{document, is_record, text},
};
use crate::{
    account::AccountId,
    offerings::{PromoCode, Promotion, PromotionDraft},
};

impl Store {
    /// One promotion, whether or not it is valid now.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn promotion(
        &self,
        account: &AccountId,
        code: &PromoCode,
    ) -> Result<Option<Promotion>, StoreError> {
        const OPERATION: &str = "get promotion";
        let request = self
            .client
            .get_item()
            .table_name(&self.tables.promotions)
            .key("account", text(account.as_str()))
            .key("code", text(code.as_str()));
        let item = self.get(OPERATION, request).await?.filter(is_record);
        let Some(item) = item else { return Ok(None) };
        let draft: PromotionDraft = serde_json::from_str(&document(OPERATION, item)?)
            .map_err(|error| StoreError::unreadable(OPERATION, error))?;
        let promotion = draft
            .promotion()
            .map_err(|_| StoreError::unreadable(OPERATION, "an invalid promotion"))?;
        Ok(Some(promotion))
    }
}
