//! Leadership goes with a fenced broker and comes back with it.

use foz_metadata::image::NO_LEADER;
use foz_metadata::rules::{NewTopic, fence_broker, unfence_broker};

use crate::support::{cluster, commit, create, new_topic};

#[test]
fn a_partition_without_a_living_replica_has_no_leader_until_it_comes_back() {
    let mut image = cluster(2);
    create(
        &mut image,
        NewTopic {
            partitions: 2,
            ..new_topic("t")
        },
    );
    let partition_of_0 = image.partitions_led_by(0).next().unwrap().1;
    let epoch = image.broker(0).unwrap().epoch;
    let decision = fence_broker(&image, 0, epoch).unwrap();
    commit(&mut image, decision);
    let partition = image.partition("t", partition_of_0).unwrap();
    assert_eq!((partition.leader, partition.leader_epoch), (NO_LEADER, 1));
    assert_eq!((&*partition.isr, &*partition.elr), (&[][..], &[0][..]));
    assert_eq!(partition.last_known_elr, [0]);
    assert_eq!(image.partition("t", 1 - partition_of_0).unwrap().leader, 1);
    assert_eq!(fence_broker(&image, 0, epoch).unwrap().records, []);
    let decision = unfence_broker(&image, 0, epoch).unwrap();
    commit(&mut image, decision);
    let partition = image.partition("t", partition_of_0).unwrap();
    assert_eq!(
        (
            partition.leader,
            partition.leader_epoch,
            partition.partition_epoch
        ),
        (0, 2, 2)
    );
}
