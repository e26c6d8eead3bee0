//! The expression of an update, with its names and values.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder, types::AttributeValue,
};

/// What an update does. A name that is set, added to or removed gets a placeholder, `#name`, since many are reserved
/// words of DynamoDB; `set_to` and conditions may write an attribute's name as it is. Each value has a placeholder.
#[derive(Default)]
pub(super) struct Expression {
    pub(super) sets: Vec<String>,
    removes: Vec<String>,
    adds: Vec<String>,
    pub(super) names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expression {
    /// Names an attribute for a condition.
    pub(super) fn name(&mut self, name: &str) {
        self.names.insert(placeholder(name), name.to_owned());
    }

    /// Gives the value of the placeholder `:name`, for a condition or for an expression given to `set_to`.
    pub(super) fn value(&mut self, name: &str, value: AttributeValue) {
        self.values.insert(format!(":{name}"), value);
    }

    pub(super) fn set(&mut self, name: &str, value: AttributeValue) {
        self.set_to(name, &format!(":{name}"));
        self.value(name, value);
    }

    pub(super) fn set_if_new(&mut self, name: &str, value: AttributeValue) {
        self.set_to(name, &format!("if_not_exists(#{name}, :{name})"));
        self.value(name, value);
    }

    /// Sets an attribute to an expression.
    pub(super) fn set_to(&mut self, name: &str, value: &str) {
        self.sets.push(format!("{} = {value}", placeholder(name)));
        self.name(name);
    }

    pub(super) fn set_or_remove(&mut self, name: &str, value: Option<AttributeValue>) {
        match value {
            Some(value) => self.set(name, value),
            None => self.remove(name),
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.removes.push(placeholder(name));
        self.name(name);
    }

    pub(super) fn add(&mut self, name: &str, value: AttributeValue) {
        self.adds.push(format!("#{name} :{name}"));
        self.name(name);
        self.value(name, value);
    }

    /// The update that does this.
    pub(super) fn update(self, update: UpdateItemFluentBuilder) -> UpdateItemFluentBuilder {
        let clauses = [("SET", self.sets), ("ADD", self.adds), ("REMOVE", self.removes)];
        let clauses = clauses.into_iter().filter(|(_, parts)| !parts.is_empty());
        let clauses: Vec<String> =
            clauses.map(|(verb, parts)| format!("{verb} {}", parts.join(", "))).collect();
        update
            .update_expression(clauses.join(" "))
            .set_expression_attribute_names(Some(self.names))
            .set_expression_attribute_values(Some(self.values))
    }
}

/// The placeholder of an attribute's name: only letters, digits and `_` are allowed, so `@price` becomes `#at_price`.
fn placeholder(name: &str) -> String {
    format!("#{}", name.replace('@', "at_"))
}
