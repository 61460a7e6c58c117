//! What is around a pass over an object, of whatever kind.

use std::time::Instant;

use kube::api::{Patch, PatchParams};
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::controller::Action as Requeue;
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::context::{Context, Latest};
use crate::error::{ReconcileError, retry_after};
use crate::names::STATUS_MANAGER;

/// A pass, for the controller. An object that cannot be read gets none.
///
/// # Errors
/// When something has to be tried again.
pub async fn run<'pass, K, Pass>(
    guarded: &'pass DeserializeGuard<K>,
    context: &'pass Context,
    pass_over: impl FnOnce(&'pass K, &'pass Context) -> Pass,
) -> Result<Requeue, ReconcileError>
where
    K: Resource<DynamicType = ()>,
    Pass: Future<Output = Result<Requeue, ReconcileError>>,
{
    let (kind, started) = (K::kind(&()), Instant::now());
    let uid = guarded.uid().unwrap_or_default();
    let result = match &guarded.0 {
        // The watch still tells of what was let go: without its finalizer there is nothing to do or to say.
        _ if context.deleted.contains(&uid) => return Ok(Requeue::await_change()),
        Ok(object) => pass_over(object, context).await,
        Err(error) => {
            let (name, namespace) = (guarded.name_any(), guarded.namespace());
            tracing::error!(%kind, name, namespace, %error, "this object cannot be read; the definition of its kind may be of another version");
            context.metrics.failed(&kind, "unreadable");
            Ok(Requeue::await_change())
        }
    };
    context.metrics.reconciled(&kind, started.elapsed());
    if result.is_ok() {
        context.failures.clear(&kind, &uid);
    }
    result
}

/// When to try again.
#[must_use]
pub fn error_policy<K: Resource<DynamicType = ()>>(
    guarded: &DeserializeGuard<K>,
    error: &ReconcileError,
    context: &Context,
) -> Requeue {
    let (kind, uid) = (K::kind(&()), guarded.uid().unwrap_or_default());
    let (name, namespace) = (guarded.name_any(), guarded.namespace());
    context.metrics.failed(&kind, error.metric_label());
    tracing::warn!(%kind, name, namespace, %error, "a pass has to come again");
    Requeue::requeue(retry_after(&uid, context.failures.count(&kind, &uid)))
}

/// An object of which the status is written.
#[derive(Debug, Clone, Copy)]
pub struct StatusOf<'pass> {
    /// Its namespace.
    pub namespace: &'pass str,
    /// Its name.
    pub name: &'pass str,
    /// With the uid the write is of this object, or of none.
    pub uid: &'pass str,
}

impl StatusOf<'_> {
    /// Writes it, and remembers it as the latest. An object that is gone has none: nobody would read it. Says whether it
    /// was written.
    ///
    /// # Errors
    /// When the API server did not take it.
    pub async fn write<K, Status>(
        self,
        status: &Status,
        latest: &Latest<Status>,
        context: &Context,
    ) -> Result<bool, ReconcileError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
        Status: Serialize + Clone,
    {
        let object = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"uid": self.uid},
            "status": status,
        });
        let api: Api<K> = Api::namespaced(context.client.clone(), self.namespace);
        let (parameters, patch) = (
            PatchParams::apply(STATUS_MANAGER).force(),
            Patch::Apply(&object),
        );
        let written = api.patch_status(self.name, &parameters, &patch);
        match written.await {
            Ok(written) => {
                context.metrics.acted(&K::kind(&()), "write_status");
                context.pace.wrote(self.uid);
                latest.wrote(&written, status.clone());
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
            Err(error) => Err(ReconcileError::kubernetes("the status".to_owned(), error)),
        }
    }
}
