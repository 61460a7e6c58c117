//! The HTTP port: `/healthz`, `/readyz`, `/metrics`. Served to probes and scrapers, never to clients.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::future::BoxFuture;
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Answers whether the process is ready: `Ok`, or why not.
pub(crate) type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Text of metrics that are made for a scrape, besides those that are registered.
pub(crate) type Scraped = Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>;

#[derive(Clone)]
struct Served {
    registry: Registry,
    scraped: Scraped,
    ready: Readiness,
    /// Pages are made one after the other: one can have megabytes, and anybody may ask.
    page: Arc<Semaphore>,
}

/// Serves until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    registry: Registry,
    scraped: Scraped,
    ready: Readiness,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Served {
            registry,
            scraped,
            ready,
            page: Arc::new(Semaphore::new(1)),
        });
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

async fn readyz(State(served): State<Served>) -> Response {
    match (served.ready)() {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics(State(served): State<Served>) -> Response {
    let _page = served.page.acquire().await;
    let scraped = (served.scraped)().await;
    let encoder = TextEncoder::new();
    let mut body = Vec::new();
    match encoder.encode(&served.registry.gather(), &mut body) {
        Ok(()) => {
            body.extend_from_slice(scraped.as_bytes());
            (
                [(header::CONTENT_TYPE, encoder.format_type().to_owned())],
                body,
            )
                .into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
