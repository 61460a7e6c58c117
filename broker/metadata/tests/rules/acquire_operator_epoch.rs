//! One operator at a time.

use std::collections::BTreeMap;

use foz_metadata::rules::{CreateTopics, ErrorCode, acquire_operator_epoch, create_topics};

use crate::support::{cluster, commit, new_topic};

#[test]
fn only_the_newest_operator_is_heard() {
    let mut image = cluster(1);
    for expected in [1, 2] {
        let decision = acquire_operator_epoch(&image, "operator-a").unwrap();
        assert_eq!(commit(&mut image, decision), expected);
    }
    let with_epoch = |operator_epoch| {
        let request = CreateTopics {
            topics: vec![new_topic("t")],
            validate_only: true,
            operator_epoch,
            seed: 1,
        };
        create_topics(&image, &BTreeMap::new(), &request).map(|decision| decision.records.len())
    };
    assert_eq!(with_epoch(0), Ok(0));
    assert_eq!(with_epoch(2), Ok(0));
    for stale in [1, 3, -1] {
        assert_eq!(
            with_epoch(stale).unwrap_err().code,
            ErrorCode::StaleOperatorEpoch
        );
    }
    assert!(acquire_operator_epoch(&image, "").is_err());
}
