//! What is known of the classes of volumes: whether a volume that is added to brokers can come. Pure.
//!
//! A broker that lacks a volume is stopped only for one that is there, or whose class is known to make it with the pod: that
//! Kubernetes warns of nothing does not say that a volume comes. It tells of missing drivers and of claims without a class
//! in Events that are no warnings, and leaves out warnings that it repeats.

use std::collections::BTreeMap;

use k8s_openapi::api::storage::v1::StorageClass;

use crate::cluster::observed::ClaimState;

/// As Kubernetes knows the default class, now and before 1.6.
const DEFAULT_ANNOTATIONS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];
/// Volumes are made when a pod that wants them is scheduled.
const WAIT_FOR_FIRST_CONSUMER: &str = "WaitForFirstConsumer";
/// So many classes are named.
const NAMED_MAX: usize = 5;

/// The classes by name, as far as the operator sees any.
pub type StorageClasses = BTreeMap<String, StorageClassState>;

/// A class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StorageClassState {
    /// A volume is made when the pod is: a claim has none before.
    pub waits_for_pod: bool,
    /// Claims that name no class are of it.
    pub is_default: bool,
}

impl From<&StorageClass> for StorageClassState {
    fn from(class: &StorageClass) -> Self {
        let annotations = class.metadata.annotations.as_ref();
        let is_true = |key: &str| annotations.and_then(|all| all.get(key)).map(String::as_str);
        Self {
            waits_for_pod: class.volume_binding_mode.as_deref() == Some(WAIT_FOR_FIRST_CONSUMER),
            is_default: DEFAULT_ANNOTATIONS
                .iter()
                .any(|key| is_true(key) == Some("true")),
        }
    }
}

/// What has to be there before a volume of this class is asked for; `None` when it is.
#[must_use]
pub fn awaited(classes: &StorageClasses, class_name: Option<&str>) -> Option<String> {
    let (is_there, class) = match class_name {
        Some(name) => (classes.contains_key(name), format!("StorageClass {name}")),
        None => {
            let is_there = classes.values().any(|class| class.is_default);
            (is_there, "a default StorageClass".to_owned())
        }
    };
    (!is_there).then(|| format!("{class} is there ({})", seen(classes)))
}

/// Why a claim that has no volume may never get one; `None` where the volume is made with the pod.
#[must_use]
pub fn may_not_come(classes: &StorageClasses, claim: &ClaimState) -> Option<String> {
    let class = claim.class_name.as_ref();
    let known = class.and_then(|name| classes.get(name));
    if known.is_some_and(|class| class.waits_for_pod) {
        return None;
    }
    if let Some(warning) = &claim.warning {
        return Some(format!("{}: {}", warning.reason, warning.message));
    }
    Some(match (class, known) {
        (None, _) => format!("it is of no StorageClass ({})", seen(classes)),
        (Some(name), None) => format!("StorageClass {name} is not there ({})", seen(classes)),
        (Some(name), Some(_)) => {
            format!("StorageClass {name} makes volumes at once; the Events of the claim say more")
        }
    })
}

fn seen(classes: &StorageClasses) -> String {
    if classes.is_empty() {
        return "the operator sees none, and may not be allowed to list and watch storageclasses"
            .to_owned();
    }
    let named: Vec<&str> = classes.keys().take(NAMED_MAX).map(String::as_str).collect();
    let more = match classes.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("there are {}{more}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{StorageClassState, StorageClasses, awaited, may_not_come};
    use crate::cluster::observed::ClaimState;
    use crate::world::warnings::Warning;

    fn classes() -> StorageClasses {
        let class = |waits_for_pod, is_default| StorageClassState {
            waits_for_pod,
            is_default,
        };
        [
            ("local".to_owned(), class(true, false)),
            ("remote".to_owned(), class(false, true)),
        ]
        .into()
    }

    #[test]
    fn a_class_is_read() {
        let of = |annotation: &str, mode: &str| {
            let class = serde_json::from_value(json!({
                "metadata": {"name": "a", "annotations": {(annotation): "true"}},
                "provisioner": "p", "volumeBindingMode": mode,
            }));
            let state = StorageClassState::from(&class.expect("a class"));
            (state.is_default, state.waits_for_pod)
        };
        let now = "storageclass.kubernetes.io/is-default-class";
        assert_eq!(of(now, "Immediate"), (true, false));
        let before = "storageclass.beta.kubernetes.io/is-default-class";
        assert_eq!(of(before, "WaitForFirstConsumer"), (true, true));
        assert_eq!(of("a/b", "WaitForFirstConsumer"), (false, true));
    }

    #[test]
    fn what_is_waited_for_is_the_class_or_a_default_one() {
        let mut classes = classes();
        assert_eq!(awaited(&classes, Some("local")), None);
        assert_eq!(awaited(&classes, None), None);
        let words = awaited(&classes, Some("loacl")).expect("it is not there");
        assert_eq!(
            words,
            "StorageClass loacl is there (there are local, remote)"
        );
        classes.remove("remote");
        let words = awaited(&classes, None).expect("there is none");
        assert_eq!(words, "a default StorageClass is there (there are local)");
        classes.clear();
        let words = awaited(&classes, Some("local")).expect("nothing is seen");
        assert!(words.contains("may not be allowed"), "{words}");
    }

    /// All that is not known to come is taken for what does not.
    #[test]
    fn only_a_class_that_is_known_to_wait_for_the_pod_lets_it_go() {
        let warned = || Warning {
            reason: "ProvisioningFailed".into(),
            message: "no room".into(),
            at: k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
        };
        let all = classes();
        let none = StorageClasses::new();
        let words = |classes: &StorageClasses, class: Option<&str>, warning: bool| {
            let claim = ClaimState {
                class_name: class.map(str::to_owned),
                phase: Some("Pending".into()),
                warning: warning.then(warned),
                ..ClaimState::default()
            };
            may_not_come(classes, &claim).unwrap_or_default()
        };
        assert_eq!(words(&all, Some("local"), false), "");
        // It was of another class, or that was not there.
        assert_eq!(words(&all, Some("local"), true), "");
        for (classes, class, is_warned, begins) in [
            (
                &all,
                Some("remote"),
                false,
                "StorageClass remote makes volumes at once",
            ),
            (&all, Some("remote"), true, "ProvisioningFailed: no room"),
            (
                &all,
                Some("other"),
                false,
                "StorageClass other is not there",
            ),
            (&all, Some("other"), true, "ProvisioningFailed: no room"),
            (&all, None, false, "it is of no StorageClass"),
            (
                &none,
                Some("local"),
                false,
                "StorageClass local is not there",
            ),
            (&none, None, true, "ProvisioningFailed: no room"),
        ] {
            let words = words(classes, class, is_warned);
            assert!(words.starts_with(begins), "{words}");
        }
    }
}
