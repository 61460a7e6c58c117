//! Producer ids are handed out in blocks.

use foz_metadata::rules::{ErrorCode, allocate_producer_ids};

use crate::support::{cluster, commit};

#[test]
fn producer_ids_go_only_to_the_registered_process() {
    let mut image = cluster(1);
    let epoch = image.broker(0).unwrap().epoch;
    for first_id in [0, 1000] {
        let decision = allocate_producer_ids(&image, 0, epoch).unwrap();
        let block = commit(&mut image, decision);
        assert_eq!((block.first_id, block.count), (first_id, 1000));
    }
    let code = |node_id, epoch| {
        allocate_producer_ids(&image, node_id, epoch)
            .unwrap_err()
            .code
    };
    assert_eq!(code(0, epoch - 1), ErrorCode::StaleBrokerEpoch);
    assert_eq!(code(1, epoch), ErrorCode::BrokerIdNotRegistered);
}
