//! The items of the table: how a product, a link and a tombstone are stored.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use crate::{
    account::AccountId,
    changes::IdField,
    money::Amount,
    order::Order,
    products::{
        FIELDS, Field, FieldOrders, Product, ProductId, ProductKey, Rule, Scalar, StoredProduct,
    },
    store::{
        StoreError,
        item::{Item, ORDER, key_of, number, order_of, order_value, text, text_of},
    },
    text::rfc3339_millis,
};

/// The range key (`productKey`) that stands for a sku, an external id or an id.
pub(super) fn range_key(product: &ProductKey) -> String {
    match product {
        ProductKey::Sku(sku) => format!("SKU#{}", sku.as_str()),
        ProductKey::ExternalId(id) => format!("EXT#{}", id.as_str()),
        ProductKey::Id(id) => format!("ID#{id}"),
    }
}

/// The field that a range key stands for, and its value; `None` if it is not such a key.
pub(in crate::store) fn parse_range_key(text: &str) -> Option<(IdField, &str)> {
    [("SKU#", IdField::Sku), ("EXT#", IdField::ExternalId), ("ID#", IdField::Id)]
        .into_iter()
        .find_map(|(prefix, field)| Some((field, text.strip_prefix(prefix)?)))
}

/// The range key under which a product is stored.
pub(super) fn own_key(product: &Product) -> String {
    range_key(&product.key())
}

pub(super) fn item_key(account: &AccountId, key: &str) -> Item {
    key_of(account, "productKey", text(key))
}

/// The attribute that contains the order of a product's newest write.
pub(super) const LAST: &str = "last";

/// The order of an item's newest write. A tombstone has [`LAST`] only if that is newer than its [`ORDER`].
pub(super) fn newest_order(item: &Item) -> Option<Order> {
    order_of(item, LAST).max(order_of(item, ORDER))
}

/// The attribute that contains a field's own order.
pub(super) fn field_order(field: &str) -> String {
    format!("@{field}")
}

/// What is stored under a key.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// A product, and how often it was written.
    Product { stored: Box<StoredProduct>, revision: u64 },
    /// A link: the key of the product that has this external id or id.
    Link(String),
    /// A tombstone: the orders of a deleted product.
    Deleted { orders: FieldOrders, revision: u64 },
}

impl Found {
    pub(super) fn read(operation: &'static str, item: &Item) -> Result<Self, StoreError> {
        if let Some(key) = text_of(item, "linkedTo") {
            return Ok(Self::Link(key.to_owned()));
        }
        let attributes = Attributes { operation, item };
        let revision = attributes.whole("revision")?.unwrap_or_default();
        let orders = attributes.orders();
        if !item.contains_key("id") {
            return Ok(Self::Deleted { orders, revision });
        }
        let stored = Box::new(StoredProduct { product: attributes.product()?, orders });
        Ok(Self::Product { stored, revision })
    }

    pub(super) fn orders(&self) -> FieldOrders {
        match self {
            Self::Product { stored, .. } => stored.orders.clone(),
            Self::Deleted { orders, .. } => orders.clone(),
            Self::Link(_) => FieldOrders::default(),
        }
    }

    pub(super) fn leads_to(&self, key: &str) -> bool {
        matches!(self, Self::Link(target) if target == key)
    }

    pub(super) fn revision(&self) -> u64 {
        match self {
            Self::Product { revision, .. } | Self::Deleted { revision, .. } => *revision,
            Self::Link(_) => 0,
        }
    }
}

/// The attributes of a stored product. They are read one by one and not with serde, which would turn decimal numbers
/// into floats.
pub(super) struct Attributes<'a> {
    pub(super) operation: &'static str,
    pub(super) item: &'a Item,
}

impl Attributes<'_> {
    fn wrong(&self, name: &str) -> StoreError {
        StoreError::unreadable(self.operation, format!("attribute {name}"))
    }

    pub(super) fn parsed<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let parsed = |text| parse(text).ok_or_else(|| self.wrong(name));
        text_of(self.item, name).map(parsed).transpose()
    }

    fn number(&self, name: &str) -> Result<Option<Amount>, StoreError> {
        let Some(AttributeValue::N(digits)) = self.item.get(name) else { return Ok(None) };
        Amount::parse(digits).map(Some).map_err(|_| self.wrong(name))
    }

    pub(super) fn whole(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let whole = |number: Amount| number.whole().and_then(|whole| u64::try_from(whole).ok());
        let parsed = |number| whole(number).ok_or_else(|| self.wrong(name));
        self.number(name)?.map(parsed).transpose()
    }

    /// The value of a field; an attribute of another type than the field's counts as missing.
    fn scalar(&self, field: &Field) -> Result<Option<Scalar<'_>>, StoreError> {
        Ok(match (field.rule, self.item.get(field.name)) {
            (Rule::Amount | Rule::Whole(_), _) => self.number(field.name)?.map(Scalar::Number),
            (Rule::Boolean, Some(AttributeValue::Bool(value))) => Some(Scalar::Boolean(*value)),
            (
                Rule::Text(..) | Rule::Key(_) | Rule::OneOf(_) | Rule::Currency,
                Some(AttributeValue::S(text)),
            ) => Some(Scalar::Text(text)),
            _ => None,
        })
    }

    pub(super) fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, StoreError> {
        value.ok_or_else(|| self.wrong(name))
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        self.parsed(name, |text| text.parse().ok())
    }

    pub(super) fn product(&self) -> Result<Product, StoreError> {
        let id = self.required("id", self.parsed("id", ProductId::parse)?)?;
        let created_at = self.required("createdAt", self.time("createdAt")?)?;
        let updated_at = self.required("updatedAt", self.time("updatedAt")?)?;
        let values = FIELDS.iter().map(|field| self.scalar(field));
        let values: Vec<_> = values.collect::<Result<_, _>>()?;
        Product::from_values(id, (created_at, updated_at), values.into_iter())
            .map_err(|name| self.wrong(name))
    }

    pub(super) fn orders(&self) -> FieldOrders {
        let own = FIELDS.iter().filter_map(|Field { name, .. }| {
            Some((*name, order_of(self.item, &field_order(name))?))
        });
        // `ORDER` (`at`): the order of all fields without one of their own.
        FieldOrders {
            last: newest_order(self.item),
            floor: order_of(self.item, ORDER),
            own: own.collect(),
        }
    }
}

/// The item of a product, under its key.
pub(super) fn product_item(account: &AccountId, stored: &StoredProduct, revision: u64) -> Item {
    let orders = &stored.orders;
    let product = &stored.product;
    let mut item = item_key(account, &own_key(product));
    let mut set = |name: &str, value: Option<AttributeValue>| {
        if let Some(value) = value {
            item.insert(name.to_owned(), value);
        }
    };
    set("id", Some(text(product.id.to_string())));
    for (name, value) in product.values() {
        set(name, value.map(attribute));
    }
    set("createdAt", Some(text(rfc3339_millis(product.created_at))));
    set("updatedAt", Some(text(rfc3339_millis(product.updated_at))));
    set(LAST, orders.last.map(order_value));
    set(ORDER, orders.floor.map(order_value));
    for (field, order) in &orders.own {
        set(&field_order(field), Some(order_value(*order)));
    }
    set("revision", Some(number(revision)));
    item
}

pub(super) fn attribute(value: Scalar<'_>) -> AttributeValue {
    match value {
        Scalar::Text(value) => text(value),
        Scalar::Number(value) => number(value),
        Scalar::Boolean(value) => AttributeValue::Bool(value),
    }
}
