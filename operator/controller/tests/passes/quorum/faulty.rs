//! Crashes of the operator before what it asks of the quorum, and after it.

use std::pin::Pin;

use foz_api::v1::admin_server::AdminServer;
use tonic::body::Body;
use tonic::codegen::{Context, Poll, Service, http};
use tonic::server::NamedService;

use super::Quorum;
use crate::faults::Faults;

/// Requests that change something, and crash the operator that asks.
#[derive(Clone)]
pub(super) struct Faulty<Inner> {
    pub(super) inner: Inner,
    pub(super) faults: Faults,
}

impl NamedService for Faulty<AdminServer<Quorum>> {
    const NAME: &'static str = <AdminServer<Quorum> as NamedService>::NAME;
}

impl<Inner> Service<http::Request<Body>> for Faulty<Inner>
where
    Inner: Service<http::Request<Body>> + Clone + Send + 'static,
    Inner::Future: Send,
    Inner::Response: Send,
    Inner::Error: Send,
{
    type Response = Inner::Response;
    type Error = Inner::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Inner::Response, Inner::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Inner::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        const READS: [&str; 3] = ["WatchCluster", "DescribeQuorum", "ListDeletedTopics"];
        let path = request.uri().path().to_owned();
        if READS.iter().any(|read| path.ends_with(read)) {
            return Box::pin(self.inner.call(request));
        }
        let (mut inner, faults) = (self.inner.clone(), self.faults.clone());
        Box::pin(async move {
            let number = faults.begins(path).await;
            let answer = inner.call(request).await;
            faults.ends(number).await;
            answer
        })
    }
}
