//! An API server that keeps objects in memory: enough of list, watch, get, create, apply, merge, update
//! and delete for the operator to run on. It knows no defaults and no schemas.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use super::faults::Faults;

/// An event of a watch: its version, the object's path, and what the client gets.
type Told = (u64, String, Value);

type Parameters = BTreeMap<String, String>;

/// The server; clones are the same one.
#[derive(Clone)]
pub(crate) struct ApiServer {
    state: Arc<Mutex<Objects>>,
    events: broadcast::Sender<Told>,
    faults: Faults,
}

#[derive(Default)]
struct Objects {
    /// Pods that are deleted stay, and no watch tells of their deletion.
    keeps_deleted_pods: bool,
    /// Of objects with this in their path no watch tells that they are gone.
    deletions_untold: Option<String>,
    /// The grace period of each deletion, by path, where it names one.
    graces: BTreeMap<String, u64>,
    /// By path: `/api/v1/namespaces/kafka/services/demo`.
    objects: BTreeMap<String, Value>,
    version: u64,
    told: Vec<Told>,
    writes: Vec<String>,
}

impl ApiServer {
    pub(crate) fn start() -> Self {
        Self::start_with(Faults::default())
    }

    /// The operator crashes where these say.
    pub(crate) fn start_with(faults: Faults) -> Self {
        Self {
            state: Arc::default(),
            events: broadcast::channel(4096).0,
            faults,
        }
    }

    /// The paths of all objects that have this in them.
    pub(crate) fn paths(&self, part: &str) -> Vec<String> {
        let state = self.lock();
        let paths = state.objects.keys().filter(|path| path.contains(part));
        paths.cloned().collect()
    }

    /// Everything but Events, by path, without what is another each time.
    pub(crate) fn everything(&self) -> Value {
        let state = self.lock();
        let objects = state.objects.iter();
        let lasting = objects.filter(|(path, _)| !path.contains("/events/"));
        let plain = lasting.map(|(path, object)| {
            let mut object = object.clone();
            let metadata = object["metadata"].as_object_mut().expect("metadata");
            metadata.retain(|field, _| !matches!(field.as_str(), "resourceVersion" | "uid"));
            if let Some(owners) = object["metadata"]["ownerReferences"].as_array_mut() {
                owners.iter_mut().for_each(|owner| owner["uid"] = json!(""));
            }
            if let Some(conditions) = object["status"]["conditions"].as_array_mut() {
                for condition in conditions {
                    condition["lastTransitionTime"] = json!("");
                }
            }
            (path.clone(), object)
        });
        plain.collect::<serde_json::Map<_, _>>().into()
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(
            Router::new().fallback(serve).with_state(self.clone()),
            "default",
        )
    }

    /// Every write that was asked for, `VERB path`, but for Events and Leases.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.lock().writes.clone()
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.lock().objects.get(path).cloned()
    }

    /// The notes of all Events with this reason.
    pub(crate) fn notes(&self, reason: &str) -> Vec<String> {
        let state = self.lock();
        let events = state
            .objects
            .iter()
            .filter(|(path, object)| path.contains("/events/") && object["reason"] == reason);
        events
            .map(|(_, event)| event["note"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// The watches of pods fall behind: a deletion is taken, and not told.
    pub(crate) fn keep_deleted_pods(&self) {
        self.lock().keeps_deleted_pods = true;
    }

    /// The watches of these objects fall behind: they are gone, and that is not told.
    pub(crate) fn tell_no_deletions_of(&self, part: &str) {
        self.lock().deletions_untold = Some(part.to_owned());
    }

    /// Puts an object there, as somebody else would.
    pub(crate) fn put(&self, path: &str, object: Value) {
        self.store(path, object);
    }

    /// The grace period that the newest deletion of this object named.
    pub(crate) fn grace_of(&self, path: &str) -> Option<u64> {
        self.lock().graces.get(path).copied()
    }

    pub(crate) fn delete(&self, path: &str) {
        let gone = self.lock().objects.remove(path);
        if let Some(mut object) = gone {
            self.stamp(&mut object);
            self.tell(path, "DELETED", &object);
        }
    }

    /// Asks until there is an answer, for ten seconds at most.
    pub(crate) async fn eventually<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        for _ in 0..1000 {
            if let Some(found) = look(self) {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{what} did not come to be; writes: {:#?}", self.writes());
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.state
            .lock()
            .expect("no test panics while it holds this")
    }

    fn clear_status(&self, path: &str) {
        if let Some(object) = self.lock().objects.get_mut(path) {
            object["status"] = json!({});
        }
    }

    fn stamp(&self, object: &mut Value) {
        let mut state = self.lock();
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
    }

    fn store(&self, path: &str, mut object: Value) -> Value {
        let before = self.get(path);
        let (namespace, name) = names(path);
        object["metadata"]["name"] = json!(name);
        if let Some(namespace) = namespace {
            object["metadata"]["namespace"] = json!(namespace);
        }
        let uid = before
            .as_ref()
            .map(|before| before["metadata"]["uid"].clone());
        object["metadata"]["uid"] = uid.unwrap_or_else(|| {
            json!(format!(
                "00000000-0000-4000-8000-{:012}",
                self.lock().version
            ))
        });
        if before.is_none() {
            object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        self.stamp(&mut object);
        // The last finalizer of an object that is being deleted holds it.
        let held = object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|held| !held.is_empty());
        if !object["metadata"]["deletionTimestamp"].is_null() && !held {
            self.lock().objects.remove(path);
            self.tell(path, "DELETED", &object);
            return object;
        }
        self.lock().objects.insert(path.to_owned(), object.clone());
        let kind = if before.is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        self.tell(path, kind, &object);
        object
    }

    fn tell(&self, path: &str, kind: &str, object: &Value) {
        let told = (
            version(object),
            path.to_owned(),
            json!({"type": kind, "object": object}),
        );
        let mut state = self.lock();
        let is_untold = |part: &String| kind == "DELETED" && path.contains(part.as_str());
        if state.deletions_untold.as_ref().is_some_and(is_untold) {
            return;
        }
        state.told.push(told.clone());
        // Nobody may watch.
        let _ = self.events.send(told);
    }
}

fn version(object: &Value) -> u64 {
    let version = object["metadata"]["resourceVersion"].as_str();
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}

/// Namespace and name in a path.
fn names(path: &str) -> (Option<String>, String) {
    let parts: Vec<&str> = path.split('/').collect();
    let namespace = parts.iter().position(|part| *part == "namespaces");
    let namespace = namespace
        .and_then(|at| parts.get(at + 1))
        .map(|name| (*name).to_owned());
    (
        namespace,
        parts
            .last()
            .map(|name| (*name).to_owned())
            .unwrap_or_default(),
    )
}

/// Whether a path is that of an object of a collection; a collection of all namespaces has none.
fn is_in(collection: &str, path: &str) -> bool {
    let (Some((group, kind)), Some((parent, _))) =
        (collection.rsplit_once('/'), path.rsplit_once('/'))
    else {
        return false;
    };
    parent == collection || (parent.starts_with(group) && parent.ends_with(&format!("/{kind}")))
}

fn is_selected(object: &Value, parameters: &Parameters) -> bool {
    let label = parameters
        .get("labelSelector")
        .and_then(|selector| selector.split_once('='));
    let fields = parameters.get("fieldSelector").map_or("", String::as_str);
    let mut fields = fields.split(',').filter_map(|field| field.split_once('='));
    label.is_none_or(|(key, value)| object["metadata"]["labels"][key] == value)
        && fields.all(|(path, value)| {
            let pointer = format!("/{}", path.replace('.', "/"));
            object.pointer(&pointer).is_some_and(|found| found == value)
        })
}

async fn serve(
    State(server): State<ApiServer>,
    Query(parameters): Query<Parameters>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response {
    let path = uri.path().trim_end_matches("/status").to_owned();
    if method == Method::GET {
        return read(&server, &path, &parameters);
    }
    if !path.contains("/events") && !path.contains("/leases") {
        server
            .lock()
            .writes
            .push(format!("{method} {}", uri.path()));
    }
    let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
    if path.contains("/events") || path.contains("/leases") {
        return write(&server, &method, &path, sent);
    }
    let number = server
        .faults
        .begins(format!("{method} {}", uri.path()))
        .await;
    if uri.path().ends_with("/status") {
        // Nobody else writes statuses: what is not said any more is gone.
        server.clear_status(&path);
    }
    let written = write(&server, &method, &path, sent);
    server.faults.ends(number).await;
    written
}

fn read(server: &ApiServer, path: &str, parameters: &Parameters) -> Response {
    if parameters.contains_key("watch") {
        let (path, parameters) = (path.to_owned(), parameters.clone());
        let since = parameters
            .get("resourceVersion")
            .and_then(|since| since.parse().ok());
        // What was told between the list and this watch is told first.
        let state = server.lock();
        let missed: Vec<Told> = state
            .told
            .iter()
            .filter(|(version, ..)| since.is_some_and(|since: u64| *version > since))
            .cloned()
            .collect();
        let events = BroadcastStream::new(server.events.subscribe());
        drop(state);
        let events = events.map(|event| event.expect("no test has so many events at once"));
        let stream =
            futures::stream::iter(missed)
                .chain(events)
                .filter_map(move |(_, of, event)| {
                    let told = is_in(&path, &of) && is_selected(&event["object"], &parameters);
                    std::future::ready(told.then(|| Ok::<_, std::io::Error>(format!("{event}\n"))))
                });
        return Body::from_stream(stream).into_response();
    }
    let state = server.lock();
    if let Some(object) = state.objects.get(path) {
        return axum::Json(object.clone()).into_response();
    }
    let last = path.rsplit('/').next().unwrap_or_default();
    // Collections are plural.
    if !last.ends_with('s') && !last.ends_with("policies") || last.contains('-') {
        return refuse(StatusCode::NOT_FOUND, "NotFound");
    }
    let items: Vec<&Value> = state
        .objects
        .iter()
        .filter(|(of, object)| is_in(path, of) && is_selected(object, parameters))
        .map(|(_, object)| object)
        .collect();
    let version = state.version.to_string();
    axum::Json(json!({
        "apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": version}, "items": items,
    }))
    .into_response()
}

fn write(server: &ApiServer, method: &Method, path: &str, sent: Value) -> Response {
    let path = if method == Method::POST {
        format!(
            "{path}/{}",
            sent["metadata"]["name"].as_str().unwrap_or_default()
        )
    } else {
        path.to_owned()
    };
    let live = server.get(&path);
    let differs = |field: &str| {
        let wanted = &sent["metadata"][field];
        !wanted.is_null()
            && live
                .as_ref()
                .is_none_or(|live| live["metadata"][field] != *wanted)
    };
    match *method {
        Method::POST if live.is_some() => refuse(StatusCode::CONFLICT, "AlreadyExists"),
        Method::PUT if live.is_none() => refuse(StatusCode::NOT_FOUND, "NotFound"),
        Method::PUT | Method::PATCH if differs("resourceVersion") || differs("uid") => {
            refuse(StatusCode::CONFLICT, "Conflict")
        }
        Method::PATCH => {
            let mut object = live.unwrap_or_else(|| json!({}));
            merge(&mut object, sent);
            axum::Json(server.store(&path, object)).into_response()
        }
        Method::DELETE if live.is_none() => refuse(StatusCode::NOT_FOUND, "NotFound"),
        Method::DELETE if is_another(&sent, live.as_ref()) => {
            refuse(StatusCode::CONFLICT, "Conflict")
        }
        Method::DELETE if path.contains("/persistentvolumeclaims/") => {
            let mut claim = live.expect("looked at above");
            claim["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
            axum::Json(server.store(&path, claim)).into_response()
        }
        Method::DELETE if path.contains("/statefulsets/") => {
            // Without its pods: they stay.
            assert_eq!(sent["propagationPolicy"], "Orphan", "{path}");
            server.delete(&path);
            axum::Json(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
                .into_response()
        }
        Method::DELETE => {
            if let Some(seconds) = sent["gracePeriodSeconds"].as_u64() {
                server.lock().graces.insert(path.clone(), seconds);
            }
            if !(path.contains("/pods/") && server.lock().keeps_deleted_pods) {
                server.delete(&path);
            }
            axum::Json(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
                .into_response()
        }
        _ => axum::Json(server.store(&path, sent)).into_response(),
    }
}

/// A precondition of a deletion does not hold.
fn is_another(options: &Value, live: Option<&Value>) -> bool {
    let uid = &options["preconditions"]["uid"];
    !uid.is_null() && live.is_some_and(|live| live["metadata"]["uid"] != *uid)
}

fn merge(object: &mut Value, sent: Value) {
    match (object, sent) {
        (Value::Object(object), Value::Object(sent)) => {
            for (field, value) in sent {
                merge(object.entry(field).or_insert(Value::Null), value);
            }
        }
        (object, sent) => *object = sent,
    }
}

fn refuse(code: StatusCode, reason: &str) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "reason": reason, "message": reason, "code": code.as_u16(),
    });
    (code, axum::Json(status)).into_response()
}
