//! A cluster is founded once.

use foz_metadata::rules::{ErrorCode, found_cluster};

use crate::support::cluster;

#[test]
fn a_cluster_has_one_id() {
    let image = cluster(0);
    assert_eq!(found_cluster(&image, "cluster-1").unwrap().records, []);
    let refused = found_cluster(&image, "cluster-2").unwrap_err();
    assert_eq!(refused.code, ErrorCode::InconsistentClusterId);
}
