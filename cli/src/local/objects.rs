//! An S3 server over a folder: a bucket is a folder, an object a file in it.

use std::{net::IpAddr, path::Path};

use axum::http::{Method, header::ETAG};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::{net::TcpListener, task::JoinSet};
use tower_http::cors::{Any, Cors};

use super::Server;
use crate::error::CliError;

/// A running S3 server; it stops when dropped.
#[derive(Debug)]
pub struct ObjectServer(Server);

impl ObjectServer {
    /// Serves a folder on a free port of this address; creates an empty bucket in it if there is none.
    pub async fn start(folder: &Path, bucket: &str, listen: IpAddr) -> Result<Self, CliError> {
        let path = folder.join(bucket);
        std::fs::create_dir_all(&path).map_err(CliError::file("make", &path))?;
        let files =
            FileSystem::new(folder).map_err(|error| CliError::Engine(format!("{error:?}")))?;
        let mut auth = SimpleAuth::from_single("local", "local");
        // The SDK signs with the environment's credentials, if there are any.
        if let (Ok(key), Ok(secret)) =
            (std::env::var("AWS_ACCESS_KEY_ID"), std::env::var("AWS_SECRET_ACCESS_KEY"))
        {
            auth.register(key, secret.into());
        }
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(auth);
        // As the bucket of `template.yaml` with `CorsOrigins`, but for any page: a request needs a signature all the same.
        let service = Cors::new(service.build())
            .allow_origin(Any)
            .allow_methods([Method::GET, Method::HEAD, Method::PUT])
            .allow_headers(Any)
            .expose_headers([ETAG]);
        let service = TowerToHyperService::new(service);
        let serve = async move |listener: TcpListener| {
            // Connections end with the server.
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let service = service.clone();
                connections.spawn(async move {
                    let builder = Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        };
        Server::start(listen, serve).await.map(Self)
    }

    #[must_use]
    pub fn url(&self) -> String {
        self.0.url()
    }
}
