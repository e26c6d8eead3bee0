//! All Lambda functions by the names of their binaries: the same services that the binaries run.

use std::{collections::HashMap, sync::Arc};

use futures_util::{FutureExt as _, future::BoxFuture};
use lambda_http::{Context, LambdaEvent, Service as _, request::LambdaRequest};
use serde::{Serialize, de::DeserializeOwned};
use serverless_catalog::{
    cause::chain,
    cursor::Cursors,
    http::{
        Endpoint, GetOffering, ListChanges, ListNetworkProducts, ListNetworks, ListOfferings,
        ListPartnerOfferings, ListProducts, LookupNetworkProducts, ManageExports, ManageImports,
        UpsertProducts,
    },
    lambda::{Settings, adapter, run_end, service},
    objects::Bucket,
    queue::{ExportCatalog, ImportCatalog, MessageQueue},
    streams::RecordChanges,
};

/// A function as the Lambda service sees one: an event as JSON text in, a reply as JSON text out.
#[derive(Clone)]
pub struct Function(Arc<dyn Fn(String, Context) -> Invocation + Send + Sync>);

type Invocation = BoxFuture<'static, Result<String, String>>;

impl Function {
    /// What answers events of one type with replies of another.
    pub(super) fn new<E: DeserializeOwned, R: Serialize, F>(
        answer: impl Fn(E, Context) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<R, String>> + Send + 'static,
    {
        let answer = Arc::new(answer);
        Self(Arc::new(move |event, context| {
            let answer = answer.clone();
            async move {
                let event = serde_json::from_str(&event).map_err(|error| error.to_string())?;
                let reply = answer(event, context).await?;
                serde_json::to_string(&reply).map_err(|error| error.to_string())
            }
            .boxed()
        }))
    }

    fn of<E: Endpoint>(settings: &Settings, endpoint: E) -> Self {
        let service = service(adapter(settings, endpoint));
        Self::new(move |event: LambdaRequest, context| {
            let mut service = service.clone();
            async move {
                let reply = service.call(LambdaEvent::new(event, context)).await;
                reply.map_err(|error| error.to_string())
            }
        })
    }

    /// The function `import-catalog`, as the queue's event source invokes it.
    #[must_use]
    pub fn of_import(import: ImportCatalog) -> Self {
        Self::new(move |event, context: Context| {
            let import = import.clone();
            async move { Ok(Box::pin(import.handle(event, run_end(context.deadline()))).await) }
        })
    }

    /// The function `export-catalog`, as its queue's event source invokes it.
    #[must_use]
    pub fn of_export(export: ExportCatalog) -> Self {
        Self::new(move |event, context: Context| {
            let export = export.clone();
            async move { Ok(Box::pin(export.handle(event, run_end(context.deadline()))).await) }
        })
    }

    /// The function `record-changes`, as the event source mapping of a stream invokes it.
    #[must_use]
    pub fn of_changes(changes: RecordChanges) -> Self {
        Self::new(move |event, _| {
            let changes = changes.clone();
            async move { Box::pin(changes.handle(event)).await.map_err(|error| chain(&error)) }
        })
    }

    /// Invokes it.
    ///
    /// # Errors
    /// The message of the error: Lambda would report a function error.
    pub async fn invoke(&self, event: String, context: Context) -> Result<String, String> {
        // In its own task, as Lambda runs it in its own process: a panic ends only this invocation.
        tokio::spawn((self.0)(event, context)).await.map_err(|error| error.to_string())?
    }
}

/// What the endpoints of imports and exports use besides the tables.
#[derive(Clone, Debug)]
pub struct JobServices {
    pub bucket: Bucket,
    pub export_queue: Arc<dyn MessageQueue>,
}

/// The functions of all endpoints by the names of their binaries.
#[must_use]
pub fn functions(
    settings: &Settings,
    cursors: &Arc<Cursors>,
    jobs: &JobServices,
) -> HashMap<&'static str, Function> {
    let JobServices { bucket, export_queue } = jobs.clone();
    let imports = ManageImports::new(bucket.clone(), cursors.clone());
    let exports = ManageExports::new(bucket, export_queue, cursors.clone());
    HashMap::from([
        ("list-offerings", Function::of(settings, ListOfferings::new(cursors.clone()))),
        ("get-offering", Function::of(settings, GetOffering)),
        ("list-partner-offerings", Function::of(settings, ListPartnerOfferings)),
        ("list-networks", Function::of(settings, ListNetworks)),
        (
            "list-network-products",
            Function::of(settings, ListNetworkProducts::new(settings.cache_for)),
        ),
        (
            "lookup-network-products",
            Function::of(
                settings,
                LookupNetworkProducts(ListNetworkProducts::new(settings.cache_for)),
            ),
        ),
        ("upsert-products", Function::of(settings, UpsertProducts)),
        ("list-products", Function::of(settings, ListProducts::new(cursors.clone()))),
        ("manage-imports", Function::of(settings, imports)),
        ("manage-exports", Function::of(settings, exports)),
        (
            "list-changes",
            Function::of(settings, ListChanges::new(cursors.clone(), settings.cache_for)),
        ),
    ])
}
