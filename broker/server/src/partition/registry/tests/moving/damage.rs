//! What of a log that moves cannot be read, or is not what was written.

use super::*;

/// It is fetched again from nobody: what can be read stays in service where it is.
#[tokio::test]
async fn what_is_damaged_is_not_copied() {
    let (mut world, partition) = world(2);
    append(&partition, &world.image, MANY);
    partition.log().flush().unwrap();
    let path = world.partitions().directories().all()[0].path();
    let path = path.join("orders-0/00000000000000000000.log");
    let mut bytes = fs::read(&path).unwrap();
    let at = usize::try_from(partition.size_bytes() / 2).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    world.ask(1).unwrap();
    let mut steps = 0;
    while world.step(1) == Some(Next::Same(Duration::ZERO)) {
        steps += 1;
        assert!(steps < 100);
    }
    assert!(partition.damage().is_some());
    assert!(matches!(world.step(1), Some(Next::Others(_))));
    let target = &world.partitions().directories().all()[1];
    let copied = target.logs().futures()[0].log_end_offset();
    assert!(copied <= MANY / 2, "{copied}");
    assert_eq!((place(&world, 0), world.moving()), (0, 1));
    append(&partition, &world.image, 1);
    assert!(world.fatal.try_recv().is_err());
}

/// What was copied was checked: nobody is to cut it, nor to doubt it.
#[tokio::test]
async fn what_is_found_in_a_log_that_has_moved_is_no_damage_of_the_new_one() {
    let (mut world, partition) = world(2);
    append(&partition, &world.image, 10);
    world.ask(1).unwrap();
    let before = partition.located.load_full();
    world.finish_moving(1);
    partition.found_damage(&before, 3);
    let read = FailedRead {
        located: Arc::clone(&before),
        reason: ReadError::Storage(cannot_be_read()),
    };
    partition.cannot_read(3, &read);
    assert!(partition.damage().is_none() && partition.log().damaged_from().is_none());
    assert!(world.fatal.try_recv().is_err());
    // And that of the new one is.
    partition.found_damage(&partition.located(), 3);
    assert!(partition.damage().is_some());
    assert_eq!(partition.log().damaged_from(), Some(3));
}

#[tokio::test]
async fn what_is_found_at_the_very_end_of_a_move_holds_it_up() {
    let (world, partition) = world(2);
    append(&partition, &world.image, 10);
    world.ask(1).unwrap();
    let target = &world.partitions().directories().all()[1];
    let wanted = (world.partitions().moves()).first_to(target, &[].into());
    let wanted = wanted.unwrap();
    partition.found_damage(&partition.located(), 3);
    let swapped = world.partitions().swap(&wanted, &partition).unwrap();
    assert_ne!(swapped.next, Next::Over);
    assert_eq!((place(&world, 0), world.moving()), (0, 1));
    *partition.damage.lock() = None;
    partition.log().forget_damage();
    world.finish_moving(1);
    check(&partition, 10);
}

fn cannot_be_read() -> StorageError {
    StorageError {
        action: "read",
        path: "orders-0".into(),
        source: std::io::Error::from_raw_os_error(5),
    }
}

/// People move logs away from a disk because of that. From others it is fetched again.
#[tokio::test]
async fn what_a_disk_does_not_give_is_damage() {
    let (mut world, partition) = world(2);
    append(&partition, &world.image, MANY);
    world.ask(1).unwrap();
    for _ in 0..3 {
        world.step(1);
    }
    let target = &world.partitions().directories().all()[1];
    let copied = target.logs().futures()[0].log_end_offset();
    assert!((1..MANY).contains(&copied), "{copied}");
    let wanted = (world.partitions().moves()).first_to(target, &[].into());
    let wanted = wanted.unwrap();
    let located = partition.located.load_full();
    let fail = |error: &MoveError| {
        let next = (world.partitions()).move_failed(&wanted, &partition, &located, error);
        assert_eq!(next, Next::Others(AFTER_FAILURE), "{error}");
    };
    // Of something else than the log's files.
    for _ in 0..2 {
        fail(&MoveError::Source(cannot_be_read()));
    }
    let unreadable = |offset| MoveError::Unreadable {
        offset,
        source: cannot_be_read(),
    };
    fail(&unreadable(copied));
    assert!(partition.damage().is_none());
    // One batch at a time.
    for more in 1..=3 {
        assert_eq!(world.step(1), Some(Next::Same(Duration::ZERO)));
        assert_eq!(target.logs().futures()[0].log_end_offset(), copied + more);
    }
    let copied = copied + 3;
    fail(&unreadable(copied));
    assert!(partition.damage().is_none());
    fail(&unreadable(copied));
    assert_eq!(partition.log().damaged_from(), Some(copied));
    assert!(!located.directory.has_failed() && !target.has_failed());
    assert!(matches!(world.step(1), Some(Next::Others(_))));
    assert_eq!((place(&world, 0), world.moving()), (0, 1));
    assert!(world.fatal.try_recv().is_err());
}
