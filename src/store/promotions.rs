//! The table `Promotions`: one promotion by its code.

use super::{
    CAPACITY, Store, StoreError,
    item::{PromotionItem, is_record, read, text},
    units,
};
use crate::{
    account::AccountId,
    cost::Read,
    offerings::{PromoCode, Promotion, PromotionDraft, PromotionLookup},
};

impl PromotionLookup for Store {
    type Error = StoreError;

    async fn promotion(
        &self,
        account: &AccountId,
        code: &PromoCode,
    ) -> Result<Read<Option<Promotion>>, StoreError> {
        const OPERATION: &str = "get promotion";
        let request = self
            .client
            .get_item()
            .table_name(&self.tables.promotions)
            .key("account", text(account.as_str()))
            .key("code", text(code.as_str()))
            .return_consumed_capacity(CAPACITY);
        let reply = self.get(OPERATION, request).await?;
        let read_units = units(reply.consumed_capacity());
        let Some(item) = reply.item.filter(is_record) else {
            return Ok(Read { value: None, read_units });
        };
        let item: PromotionItem = read(OPERATION, item)?;
        let draft: PromotionDraft = serde_json::from_str(&item.document)
            .map_err(|error| StoreError::unreadable(OPERATION, error))?;
        let promotion = draft
            .promotion()
            .map_err(|_| StoreError::unreadable(OPERATION, "a promotion that breaks the rules"))?;
        Ok(Read { value: Some(promotion), read_units })
    }
}
