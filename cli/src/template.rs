//! `template.yaml` as the tool reads it: its tables, its functions and their routes.
//!
//! Only `!Sub` and `!Ref` of the stack's name are resolved: table names need no more.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
        PointInTimeRecoverySpecification, Projection, ProjectionType, ScalarAttributeType,
        SseSpecification, StreamSpecification, StreamViewType, TableStatus,
        TimeToLiveSpecification, TimeToLiveStatus,
    },
};
use serde_yaml_ng::Value;

use crate::error::CliError;

/// The template this tool was built with.
const BUILT_IN: &str = include_str!("../../template.yaml");

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template {
    root: Value,
}

/// A table, ready to be created.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name in a stack of the given name.
    pub name: String,
    pub attributes: Vec<AttributeDefinition>,
    pub key: Vec<KeySchemaElement>,
    pub indexes: Vec<GlobalSecondaryIndex>,
    /// Its stream, if it has one.
    pub stream: Option<StreamSpecification>,
    /// The attribute that says when an item expires, if the table has a time to live.
    pub time_to_live: Option<String>,
}

/// A route of the HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `POST`, or `ANY` for all methods.
    pub method: String,
    /// `/product-offerings/{productOfferingId}`; `None` is the route `$default`.
    pub path: Option<String>,
    /// The binary that answers it.
    pub function: String,
}

impl Template {
    pub fn built_in() -> Result<Self, CliError> {
        Self::parse(BUILT_IN)
    }

    pub fn parse(yaml: &str) -> Result<Self, CliError> {
        let root =
            serde_yaml_ng::from_str(yaml).map_err(|error| CliError::Template(error.to_string()))?;
        Ok(Self { root })
    }

    /// The tables of a stack with this name.
    pub fn tables(&self, stack: &str) -> Result<Vec<Table>, CliError> {
        self.resources("AWS::DynamoDB::Table")
            .map(|(logical_id, properties)| {
                table(properties, stack).ok_or_else(|| {
                    CliError::Template(format!("the table {logical_id} is not understood"))
                })
            })
            .collect()
    }

    /// The routes, as the functions' events declare them.
    pub fn routes(&self) -> Result<Vec<Route>, CliError> {
        let mut routes = Vec::new();
        for (logical_id, properties) in self.resources("AWS::Serverless::Function") {
            let function = properties
                .get("CodeUri")
                .and_then(Value::as_str)
                .and_then(|uri| uri.trim_end_matches('/').rsplit('/').next())
                .ok_or_else(|| CliError::Template(format!("{logical_id} has no CodeUri")))?;
            let events = properties.get("Events").and_then(Value::as_mapping);
            for event in events.into_iter().flat_map(|events| events.values()) {
                if event.get("Type").and_then(Value::as_str) != Some("HttpApi") {
                    continue;
                }
                let property = |name: &str| {
                    event.get("Properties")?.get(name)?.as_str().map(ToOwned::to_owned)
                };
                routes.push(Route {
                    method: property("Method").unwrap_or_else(|| "ANY".to_owned()).to_uppercase(),
                    path: property("Path"),
                    function: function.to_owned(),
                });
            }
        }
        Ok(routes)
    }

    fn resources(&self, kind: &'static str) -> impl Iterator<Item = (&str, &Value)> {
        let resources = self.root.get("Resources").and_then(Value::as_mapping);
        resources.into_iter().flatten().filter_map(move |(logical_id, resource)| {
            let matches = resource.get("Type").and_then(Value::as_str) == Some(kind);
            matches.then_some(())?;
            Some((logical_id.as_str()?, resource.get("Properties")?))
        })
    }
}

fn table(properties: &Value, stack: &str) -> Option<Table> {
    let attributes =
        properties.get("AttributeDefinitions")?.as_sequence()?.iter().map(|attribute| {
            AttributeDefinition::builder()
                .attribute_name(attribute.get("AttributeName")?.as_str()?)
                .attribute_type(ScalarAttributeType::from(
                    attribute.get("AttributeType")?.as_str()?,
                ))
                .build()
                .ok()
        });
    let indexes = properties.get("GlobalSecondaryIndexes").and_then(Value::as_sequence);
    let indexes = indexes.into_iter().flatten().map(|index| {
        let projection = index.get("Projection")?;
        let attributes = projection.get("NonKeyAttributes").and_then(Value::as_sequence);
        let attributes = attributes
            .map(|names| names.iter().map(|name| name.as_str().map(ToOwned::to_owned)).collect())
            .map_or(Some(None), |names: Option<Vec<String>>| names.map(Some))?;
        let projection_type = projection.get("ProjectionType")?.as_str()?;
        GlobalSecondaryIndex::builder()
            .index_name(index.get("IndexName")?.as_str()?)
            .set_key_schema(Some(key_schema(index)?))
            .projection(
                Projection::builder()
                    .projection_type(ProjectionType::from(projection_type))
                    .set_non_key_attributes(attributes)
                    .build(),
            )
            .build()
            .ok()
    });
    Some(Table {
        name: resolve(properties.get("TableName")?, stack)?,
        attributes: attributes.collect::<Option<_>>()?,
        key: key_schema(properties)?,
        indexes: indexes.collect::<Option<_>>()?,
        stream: match properties.get("StreamSpecification") {
            Some(stream) => {
                let view = StreamViewType::from(stream.get("StreamViewType")?.as_str()?);
                let stream = StreamSpecification::builder().stream_enabled(true);
                Some(stream.stream_view_type(view).build().ok()?)
            }
            None => None,
        },
        time_to_live: match properties.get("TimeToLiveSpecification") {
            Some(expiry) if expiry.get("Enabled")?.as_bool()? => {
                Some(expiry.get("AttributeName")?.as_str()?.to_owned())
            }
            _ => None,
        },
    })
}

fn key_schema(owner: &Value) -> Option<Vec<KeySchemaElement>> {
    let elements = owner.get("KeySchema")?.as_sequence()?.iter().map(|element| {
        KeySchemaElement::builder()
            .attribute_name(element.get("AttributeName")?.as_str()?)
            .key_type(KeyType::from(element.get("KeyType")?.as_str()?))
            .build()
            .ok()
    });
    elements.collect()
}

/// Resolves a string, or a `!Sub` or `!Ref` of the stack's name.
fn resolve(value: &Value, stack: &str) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Tagged(tagged) if tagged.tag == "Sub" => {
            let text = tagged.value.as_str()?.replace("${AWS::StackName}", stack);
            (!text.contains("${")).then_some(text)
        }
        Value::Tagged(tagged) if tagged.tag == "Ref" => {
            (tagged.value.as_str()? == "AWS::StackName").then(|| stack.to_owned())
        }
        _ => None,
    }
}

impl Table {
    /// Creates the table with on-demand capacity, and waits until it is active.
    ///
    /// With `protected`, a new table gets encryption, deletion protection and point-in-time recovery; local engines
    /// support none of these. An existing table gets only what an interrupted run or an earlier version left out: its
    /// stream, its time to live and, with `protected`, point-in-time recovery.
    ///
    /// Returns whether it was created.
    pub async fn create(&self, client: &Client, protected: bool) -> Result<bool, CliError> {
        let indexes = (!self.indexes.is_empty()).then(|| self.indexes.clone());
        let created = client
            .create_table()
            .table_name(&self.name)
            .set_attribute_definitions(Some(self.attributes.clone()))
            .set_key_schema(Some(self.key.clone()))
            .set_global_secondary_indexes(indexes)
            .set_stream_specification(self.stream.clone())
            .billing_mode(BillingMode::PayPerRequest)
            .set_deletion_protection_enabled(protected.then_some(true))
            .set_sse_specification(
                protected.then(|| SseSpecification::builder().enabled(true).build()),
            )
            .send()
            .await;
        match created {
            Ok(_) => {
                self.become_active(client).await?;
                self.enable_time_to_live(client).await?;
                if protected {
                    self.make_recoverable(client).await?;
                }
                Ok(true)
            }
            Err(error)
                if error.as_service_error().is_some_and(aws_sdk_dynamodb::operation::create_table::CreateTableError::is_resource_in_use_exception) =>
            {
                if protected {
                    // An earlier run may have been interrupted before this.
                    self.make_recoverable(client).await?;
                }
                self.ensure_time_to_live(client).await?;
                self.ensure_stream(client).await?;
                Ok(false)
            }
            Err(error) => Err(CliError::aws(format!("create table {}", self.name))(error)),
        }
    }

    /// Enables the time to live of an existing table, unless it is enabled: DynamoDB allows one such change an hour.
    async fn ensure_time_to_live(&self, client: &Client) -> Result<(), CliError> {
        if self.time_to_live.is_none() {
            return Ok(());
        }
        let reply = client.describe_time_to_live().table_name(&self.name).send().await;
        let doing = format!("describe the time to live of table {}", self.name);
        let described = reply.map_err(CliError::aws(doing))?.time_to_live_description;
        let status = described.and_then(|described| described.time_to_live_status);
        if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
            return Ok(());
        }
        // An interrupted run may have left it while it was being created.
        self.become_active(client).await?;
        self.enable_time_to_live(client).await
    }

    async fn enable_time_to_live(&self, client: &Client) -> Result<(), CliError> {
        let Some(attribute) = &self.time_to_live else { return Ok(()) };
        let doing = || format!("enable the time to live of table {}", self.name);
        let expiry = TimeToLiveSpecification::builder().attribute_name(attribute).enabled(true);
        let update = client.update_time_to_live().table_name(&self.name);
        update
            .time_to_live_specification(expiry.build().map_err(CliError::aws(doing()))?)
            .send()
            .await
            .map_err(CliError::aws(doing()))?;
        Ok(())
    }

    /// Enables the stream of a table that was created by an earlier version.
    async fn ensure_stream(&self, client: &Client) -> Result<(), CliError> {
        let Some(stream) = &self.stream else { return Ok(()) };
        let doing = || format!("enable the stream of table {}", self.name);
        let reply = client.describe_table().table_name(&self.name).send().await;
        let table = reply.map_err(CliError::aws(doing()))?.table;
        if table.is_some_and(|table| table.stream_specification.is_some()) {
            return Ok(());
        }
        let update = client.update_table().table_name(&self.name);
        let update = update.stream_specification(stream.clone()).send().await;
        update.map(|_| ()).map_err(CliError::aws(doing()))
    }

    async fn become_active(&self, client: &Client) -> Result<(), CliError> {
        let doing = || format!("wait for table {}", self.name);
        for _ in 0..MAX_POLLS {
            let reply = client.describe_table().table_name(&self.name).send().await;
            let table = reply.map_err(CliError::aws(doing()))?.table;
            if table.is_some_and(|table| table.table_status() == Some(&TableStatus::Active)) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Err(CliError::Aws { action: doing(), cause: "it is still being created".to_owned() })
    }

    async fn make_recoverable(&self, client: &Client) -> Result<(), CliError> {
        let recovery =
            PointInTimeRecoverySpecification::builder().point_in_time_recovery_enabled(true);
        let doing = || format!("make table {} recoverable", self.name);
        client
            .update_continuous_backups()
            .table_name(&self.name)
            .point_in_time_recovery_specification(recovery.build().map_err(CliError::aws(doing()))?)
            .send()
            .await
            .map_err(CliError::aws(doing()))?;
        Ok(())
    }
}

/// How many times the status of a new table is polled, at intervals of a second, before giving up.
const MAX_POLLS: u32 = 300;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::{
        Router,
        body::Bytes,
        http::{HeaderMap, StatusCode},
    };
    use serde_json::{Value as Json, json};
    use serverless_catalog::{
        lock::lock,
        store::{Connection, TableNames, lean_client},
    };
    use tokio::{net::TcpListener, task::JoinSet};

    use super::*;

    #[test]
    fn the_projects_own_template_names_its_tables_and_routes() {
        let template = Template::built_in().expect("template");
        let names: Vec<String> =
            template.tables("shop").expect("tables").into_iter().map(|table| table.name).collect();
        let of_the_store = TableNames::with_prefix("shop");
        assert_eq!(names, of_the_store.variables().map(|(_, name)| name));
        let route = |method: &str, path: Option<&str>, function: &str| Route {
            method: method.to_owned(),
            path: path.map(ToOwned::to_owned),
            function: function.to_owned(),
        };
        assert_eq!(
            template.routes().expect("routes"),
            [
                route("ANY", Some("/product-offerings"), "list-offerings"),
                route("ANY", None, "list-offerings"),
                route("ANY", Some("/product-offerings/{productOfferingId}"), "get-offering"),
                route("ANY", Some("/v3/partners/offerings"), "list-partner-offerings"),
                route("ANY", Some("/v2/catalog/networks"), "list-networks"),
                route("ANY", Some("/v2/catalog/countries"), "list-networks"),
                route("ANY", Some("/v2/catalog/products"), "list-network-products"),
                route("ANY", Some("/v2/catalog/lookup"), "lookup-network-products"),
                route("POST", Some("/api/v1/products"), "upsert-products"),
                route("ANY", Some("/api/v1/products"), "list-products"),
                route("ANY", Some("/catalog/v1/changes"), "list-changes"),
                route("ANY", Some("/catalog/v1/imports"), "manage-imports"),
                route("ANY", Some("/catalog/v1/imports/{importId}"), "manage-imports"),
                route("ANY", Some("/catalog/v1/exports"), "manage-exports"),
                route("ANY", Some("/catalog/v1/exports/{exportId}"), "manage-exports"),
            ]
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert!(Template::parse("a: [").is_err());
        let yaml =
            "Resources: {T: {Type: 'AWS::DynamoDB::Table', Properties: {TableName: !GetAtt X}}}";
        let error = Template::parse(yaml).expect("yaml").tables("s").expect_err("no table");
        assert_eq!(error.to_string(), "template.yaml: the table T is not understood");
        let yaml = "Resources: {F: {Type: 'AWS::Serverless::Function', Properties: {}}}";
        let error = Template::parse(yaml).expect("yaml").routes().expect_err("no route");
        assert_eq!(error.to_string(), "template.yaml: F has no CodeUri");
    }

    #[test]
    fn a_name_is_text_or_made_of_the_stacks_name() {
        for (yaml, expected) in [
            ("plain", Some("plain")),
            ("!Sub '${AWS::StackName}-a-${AWS::StackName}'", Some("shop-a-shop")),
            ("!Sub '${AWS::StackName}-${AWS::Region}'", None),
            ("!Ref AWS::StackName", Some("shop")),
            ("!Ref AWS::Region", None),
            ("!ImportValue AWS::StackName", None),
            ("[AWS::StackName]", None),
        ] {
            let value: Value = serde_yaml_ng::from_str(yaml).expect("YAML");
            assert_eq!(resolve(&value, "shop").as_deref(), expected, "{yaml}");
        }
    }

    #[test]
    fn only_http_events_are_routes() {
        let yaml = "
Resources:
  F:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: target/lambda/get-things/
      Events:
        Get: { Type: HttpApi, Properties: { Path: /things, Method: get } }
        Queue: { Type: SQS, Properties: { Queue: !GetAtt Queue.Arn } }
        Default: { Type: HttpApi }
";
        let routes = Template::parse(yaml).expect("YAML").routes().expect("routes");
        let route = |method: &str, path: Option<&str>| Route {
            method: method.to_owned(),
            path: path.map(ToOwned::to_owned),
            function: "get-things".to_owned(),
        };
        assert_eq!(routes, [route("GET", Some("/things")), route("ANY", None)]);
    }

    const TABLES: &str = "
Resources:
  Plain:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: !Sub '${AWS::StackName}-plain'
      AttributeDefinitions: [{ AttributeName: h, AttributeType: S }]
      KeySchema: [{ AttributeName: h, KeyType: HASH }]
  Full:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: !Sub '${AWS::StackName}-full'
      AttributeDefinitions: [{ AttributeName: h, AttributeType: S }, { AttributeName: r, AttributeType: N }]
      KeySchema: [{ AttributeName: h, KeyType: HASH }, { AttributeName: r, KeyType: RANGE }]
      GlobalSecondaryIndexes:
        - IndexName: byR
          KeySchema: [{ AttributeName: r, KeyType: HASH }]
          Projection: { ProjectionType: INCLUDE, NonKeyAttributes: [a, b] }
      StreamSpecification: { StreamViewType: NEW_IMAGE }
";

    /// A DynamoDB that gives these replies, one after another, and notes the requests.
    struct Scripted {
        client: Client,
        requests: Arc<Mutex<Vec<(String, Json)>>>,
        _server: JoinSet<()>,
    }

    impl Scripted {
        async fn start(replies: &[(u16, Json)]) -> Self {
            let requests: Arc<Mutex<Vec<(String, Json)>>> = Arc::default();
            let (noted, replies) = (requests.clone(), replies.to_vec());
            let answer = async move |headers: HeaderMap, body: Bytes| {
                let target = headers["x-amz-target"].to_str().expect("ASCII");
                let operation = target.rsplit('.').next().expect("an operation").to_owned();
                let body = serde_json::from_slice(&body).expect("JSON");
                let mut noted = lock(&noted);
                noted.push((operation, body));
                let (status, reply) = replies[noted.len() - 1].clone();
                (StatusCode::from_u16(status).expect("a status"), reply.to_string())
            };
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let url = format!("http://{}", listener.local_addr().expect("an address"));
            let mut server = JoinSet::new();
            server.spawn(async move {
                let _ = axum::serve(listener, Router::new().fallback(answer)).await;
            });
            let client = lean_client(&Connection::local(&url)).expect("a client");
            Self { client, requests, _server: server }
        }

        fn requests(&self) -> Vec<(String, Json)> {
            std::mem::take(&mut *lock(&self.requests))
        }

        fn operations(&self) -> Vec<String> {
            self.requests().into_iter().map(|(operation, _)| operation).collect()
        }
    }

    fn tables() -> (Table, Table) {
        let tables = Template::parse(TABLES).expect("YAML").tables("shop").expect("tables");
        let [plain, full] = <[Table; 2]>::try_from(tables).expect("two tables");
        (plain, full)
    }

    fn status(status: &str) -> (u16, Json) {
        (200, json!({ "Table": { "TableStatus": status } }))
    }

    fn error(name: &str) -> (u16, Json) {
        (
            400,
            json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{name}"), "message": "no" }),
        )
    }

    fn stream() -> Json {
        json!({ "StreamEnabled": true, "StreamViewType": "NEW_IMAGE" })
    }

    #[tokio::test]
    async fn a_protected_table_is_created_waited_for_and_made_recoverable() {
        let done = (200, json!({}));
        let replies = [done.clone(), status("CREATING"), status("ACTIVE"), done];
        let database = Scripted::start(&replies).await;
        assert!(tables().1.create(&database.client, true).await.expect("created"));
        let table = json!({ "TableName": "shop-full" });
        let create = json!({
            "TableName": "shop-full",
            "AttributeDefinitions": [
                { "AttributeName": "h", "AttributeType": "S" }, { "AttributeName": "r", "AttributeType": "N" },
            ],
            "KeySchema": [
                { "AttributeName": "h", "KeyType": "HASH" }, { "AttributeName": "r", "KeyType": "RANGE" },
            ],
            "GlobalSecondaryIndexes": [{
                "IndexName": "byR", "KeySchema": [{ "AttributeName": "r", "KeyType": "HASH" }],
                "Projection": { "ProjectionType": "INCLUDE", "NonKeyAttributes": ["a", "b"] },
            }],
            "StreamSpecification": stream(),
            "BillingMode": "PAY_PER_REQUEST",
            "DeletionProtectionEnabled": true,
            "SSESpecification": { "Enabled": true },
        });
        let recovery = json!({
            "TableName": "shop-full",
            "PointInTimeRecoverySpecification": { "PointInTimeRecoveryEnabled": true },
        });
        let expected = [
            ("CreateTable", create),
            ("DescribeTable", table.clone()),
            ("DescribeTable", table),
            ("UpdateContinuousBackups", recovery),
        ];
        let expected = expected.map(|(operation, body)| (operation.to_owned(), body));
        assert_eq!(database.requests(), expected);
    }

    #[tokio::test]
    async fn an_unprotected_table_is_created_as_local_engines_know_it() {
        let database = Scripted::start(&[(200, json!({})), status("ACTIVE")]).await;
        assert!(tables().0.create(&database.client, false).await.expect("created"));
        let create = json!({
            "TableName": "shop-plain",
            "AttributeDefinitions": [{ "AttributeName": "h", "AttributeType": "S" }],
            "KeySchema": [{ "AttributeName": "h", "KeyType": "HASH" }],
            "BillingMode": "PAY_PER_REQUEST",
        });
        let describe = ("DescribeTable".to_owned(), json!({ "TableName": "shop-plain" }));
        assert_eq!(database.requests(), [("CreateTable".to_owned(), create), describe]);
    }

    #[tokio::test]
    async fn a_table_that_is_there_gets_the_protection_and_the_stream_that_it_lacks() {
        let (plain, full) = tables();
        let there = error("ResourceInUseException");
        let done = (200, json!({}));
        let replies = [there.clone(), done.clone(), status("ACTIVE"), done.clone()];
        let database = Scripted::start(&replies).await;
        assert!(!full.create(&database.client, true).await.expect("it is there"));
        let mut requests = database.requests();
        let update = json!({ "TableName": "shop-full", "StreamSpecification": stream() });
        assert_eq!(requests.pop(), Some(("UpdateTable".to_owned(), update)));
        let operations: Vec<String> =
            requests.into_iter().map(|(operation, _)| operation).collect();
        assert_eq!(operations, ["CreateTable", "UpdateContinuousBackups", "DescribeTable"]);

        let with_stream = (200, json!({ "Table": { "StreamSpecification": stream() } }));
        let database = Scripted::start(&[there.clone(), with_stream]).await;
        assert!(!full.create(&database.client, false).await.expect("it is there"));
        assert_eq!(database.operations(), ["CreateTable", "DescribeTable"]);
        let database = Scripted::start(&[there]).await;
        assert!(!plain.create(&database.client, false).await.expect("it is there"));
        assert_eq!(database.operations(), ["CreateTable"]);
    }

    #[tokio::test]
    async fn what_a_table_cannot_be_made_for_is_told() {
        let done = (200, json!({}));
        for (replies, action) in [
            (vec![error("LimitExceededException")], "create table shop-full: "),
            (vec![done.clone(), error("InternalServerError")], "wait for table shop-full: "),
            (
                vec![done, status("ACTIVE"), error("InternalServerError")],
                "make table shop-full recoverable: ",
            ),
        ] {
            let database = Scripted::start(&replies).await;
            let told = tables().1.create(&database.client, true).await.expect_err("an error");
            assert!(told.to_string().starts_with(action), "{told}");
            assert_eq!(database.requests().len(), replies.len());
        }
    }
}
