//! Bringing objects to what they should be: comparing, writing, and remembering what the API server
//! made of a write.

pub mod compare;

use std::collections::HashMap;

use parking_lot::Mutex;
use serde_json::Value;

use crate::cluster::owned::ObjectKey;
use crate::hash::fingerprint;

/// What the API server made of an object that we applied, where that is not what we asked for: a
/// webhook that rewrites objects, or a form of a value that the comparison does not know. Applied again
/// it would come out the same, so it is left alone until it changes or something else is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    wanted: u64,
    live: u64,
}

impl Accepted {
    /// Of `live`, which came back when `wanted` was applied.
    #[must_use]
    pub fn new(wanted: &Value, live: &Value) -> Self {
        Self {
            wanted: fingerprint(wanted.to_string().as_bytes()),
            live: content(live),
        }
    }

    /// The same was wanted, and the same came of it.
    #[must_use]
    pub fn is_of(&self, wanted: &Value, live: &Value) -> bool {
        *self == Self::new(wanted, live)
    }
}

/// What was [`Accepted`], by namespace and object.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<(String, ObjectKey), Accepted>>);

impl Memory {
    /// Looks it up.
    #[must_use]
    pub fn get(&self, namespace: &str, key: &ObjectKey) -> Option<Accepted> {
        self.0
            .lock()
            .get(&(namespace.to_owned(), key.clone()))
            .copied()
    }

    /// Remembers what came back, or that it is as wanted.
    pub fn set(&self, namespace: &str, key: &ObjectKey, wanted: &Value, live: &Value) {
        let key = (namespace.to_owned(), key.clone());
        if compare::difference(wanted, live) == compare::Difference::None {
            self.0.lock().remove(&key);
        } else {
            self.0.lock().insert(key, Accepted::new(wanted, live));
        }
    }
}

/// The fingerprint of what an object says, without what the API server counts and others report.
fn content(live: &Value) -> u64 {
    let mut content = live.clone();
    if let Some(fields) = content.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = content["metadata"].as_object_mut() {
        for field in [
            "resourceVersion",
            "generation",
            "managedFields",
            "creationTimestamp",
            "uid",
        ] {
            metadata.remove(field);
        }
    }
    fingerprint(content.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::Memory;
    use crate::cluster::owned::{ObjectKey, Owned};
    use serde_json::json;

    #[test]
    fn what_a_webhook_made_of_our_object_is_left_alone_until_it_changes() {
        let memory = Memory::default();
        let key = ObjectKey {
            kind: Owned::Service,
            name: "demo".into(),
        };
        let wanted = json!({"spec": {"a": 1}});
        let live = |a: i32, version: &str| json!({"metadata": {"resourceVersion": version}, "spec": {"a": a}, "status": {"n": version}});
        memory.set("ns", &key, &wanted, &live(2, "1"));
        let accepted = memory.get("ns", &key).expect("remembered");
        assert!(accepted.is_of(&wanted, &live(2, "7")));
        assert!(!accepted.is_of(&wanted, &live(3, "8")));
        assert!(!accepted.is_of(&json!({"spec": {"a": 4}}), &live(2, "1")));
        memory.set("ns", &key, &wanted, &live(1, "9"));
        assert_eq!(memory.get("ns", &key), None);
    }
}
