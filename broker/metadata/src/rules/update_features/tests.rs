use uuid::Uuid;

use super::super::feature_levels::tests::rule_of_version_2;
use super::super::feature_levels::{foz_version, level_of};
use super::super::{
    AlterConfigs, AlterResource, DataDirectory, RegisterBroker, ResourceName, alter_configs,
    found_cluster, register_broker,
};
use super::*;
use crate::image::{GROUP_VERSION_FEATURE, LevelRange, TRANSACTION_VERSION_FEATURE};
use crate::record::{Batch, Record};

fn after(image: &Image, records: Vec<Record>) -> Image {
    let batch = Batch {
        follows: image.offset(),
        term: 1,
        records,
    };
    image.apply(&batch).unwrap()
}

fn registration(node_id: i32, foz_version_max: i32) -> RegisterBroker {
    let id = u128::try_from(node_id).unwrap() + 1;
    RegisterBroker {
        node_id,
        incarnation: Uuid::from_u128(id),
        directories: vec![DataDirectory {
            id: Uuid::from_u128(id << 64),
            disk_epoch: -1,
            intact: false,
            logs: Vec::new(),
        }],
        offline_directories: 0,
        in_doubt: Vec::new(),
        cluster_id: String::new(),
        host: "h".to_owned(),
        port: 9092,
        replication_host: "h".to_owned(),
        replication_port: 9091,
        rack: None,
        version: format!("0.{foz_version_max}.0"),
        features: features(foz_version_max),
    }
}

/// Brokers that know levels up to these.
fn with_brokers(maxima: &[i32]) -> Image {
    let image = Image::default();
    let mut image = after(&image, found_cluster(&image, "c").unwrap().records);
    for (node_id, max) in (0..).zip(maxima) {
        let registered = register_broker(&image, &registration(node_id, *max)).unwrap();
        image = after(&image, registered.records);
    }
    image
}

/// Those of a program that knows levels of `foz.version` up to `max`.
fn features(max: i32) -> SupportedFeatures {
    let others = SupportedFeatures::of_this_program();
    let others = others
        .iter()
        .map(|(name, levels)| (name.to_owned(), levels));
    let foz_version = (FOZ_VERSION_FEATURE.to_owned(), LevelRange { min: 1, max });
    others.chain([foz_version]).collect()
}

fn update(name: &str, level: i32, upgrade_type: UpgradeType) -> FeatureUpdate {
    FeatureUpdate {
        name: name.to_owned(),
        level,
        upgrade_type,
    }
}

fn to(level: i32, controllers: &[Option<i32>]) -> UpdateFeatures {
    let controllers = controllers.iter().map(|max| max.map(features));
    UpdateFeatures {
        updates: vec![update(FOZ_VERSION_FEATURE, level, UpgradeType::Upgrade)],
        controllers: (1000..).zip(controllers).collect(),
        validate_only: false,
        operator_epoch: 0,
    }
}

/// As a program decides that knows level 2.
fn decide_2(image: &Image, controllers: &[Option<i32>]) -> Decided<()> {
    let request = to(2, controllers);
    check_known_to_all(image, &request.controllers, &request.updates[0])?;
    let mut draft = Draft::new(image);
    if finalized(image, FOZ_VERSION_FEATURE) != 2 {
        draft.write(level_record(FOZ_VERSION_FEATURE, 2));
    }
    Ok(draft.decide(()))
}

#[test]
fn a_level_is_finalised_once_every_node_knows_it() {
    let image = with_brokers(&[2, 2]);
    let all = [Some(2), Some(3), Some(2)];
    let decision = decide_2(&image, &all).unwrap();
    assert_eq!(decision.records.len(), 1);
    let image = after(&image, decision.records);
    assert_eq!(foz_version(&image), 2);
    // Asked again, also while somebody is away.
    let again = decide_2(&image, &[Some(2), None]).unwrap();
    assert_eq!(again.records, []);
}

#[test]
fn who_does_not_know_it_is_named() {
    let image = with_brokers(&[2, 1]);
    let refusal = decide_2(&image, &[Some(2), Some(1), None]).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::InvalidUpdateVersion);
    assert_eq!(
        refusal.message,
        "foz.version 2 is not known to all: broker 1 (version 0.1.0) knows 1 to 1, controller 1001 knows 1 to 1, controller 1002 does not answer"
    );
    assert_eq!(foz_version(&image), 1);
}

#[test]
fn it_never_goes_back_nor_where_nobody_is() {
    let refusal = |image: &Image, request: &UpdateFeatures| {
        let refusal = update_features(image, request).unwrap_err();
        refusal.message
    };
    let image = with_brokers(&[2]);
    let beyond = refusal(&image, &to(2, &[]));
    assert!(beyond.contains("is not known to the active"), "{beyond}");
    let image = after(&image, decide_2(&image, &[]).unwrap().records);
    let back = refusal(&image, &to(1, &[]));
    assert!(back.contains("does not go back to 1"), "{back}");
    let downgrade = |level| UpdateFeatures {
        updates: vec![update(
            FOZ_VERSION_FEATURE,
            level,
            UpgradeType::UnsafeDowngrade,
        )],
        ..to(level, &[])
    };
    let up = refusal(&image, &downgrade(3));
    assert!(up.contains("does not go up to 3"), "{up}");
    let back = refusal(&image, &downgrade(1));
    assert!(back.contains("does not go back to 1"), "{back}");
    let older_operator = UpdateFeatures {
        operator_epoch: 7,
        ..to(2, &[])
    };
    assert_eq!(
        update_features(&image, &older_operator).unwrap_err().code,
        ErrorCode::StaleOperatorEpoch
    );
}

/// Nodes of which each knows levels up to 1 or 2, or does not answer just now.
#[derive(Clone)]
struct Upgrade {
    image: Image,
    controllers: [Option<i32>; 3],
    /// That were written so far.
    written: Vec<Record>,
}

impl Upgrade {
    fn begin() -> Self {
        Self {
            image: with_brokers(&[1, 1, 1]),
            controllers: [Some(1); 3],
            written: Vec::new(),
        }
    }

    fn write(&mut self, records: Vec<Record>) {
        self.written.extend(records.iter().cloned());
        self.image = after(&self.image, records);
    }

    /// The process of version 1 is gone, and one of version 2 is in its place.
    fn upgrade_broker(&mut self, node_id: i32) {
        let again = RegisterBroker {
            incarnation: Uuid::from_u128(1 << 100),
            ..registration(node_id, 2)
        };
        let records = register_broker(&self.image, &again).unwrap().records;
        self.write(records);
    }

    /// What a program of version 2 does that leads: it asks for its level, and writes what it may.
    fn version_2_acts(&mut self) -> Result<(), String> {
        let asked = decide_2(&self.image, &self.controllers);
        let outcome = asked.map(|decision| self.write(decision.records));
        let records = rule_of_version_2(&self.image);
        self.write(records);
        outcome.map_err(|refusal| refusal.message)
    }

    /// No record that a node of version 1 could not read.
    fn version_1_reads_all(&self) -> bool {
        let level = |record: &Record| level_of(record.record.as_ref().unwrap());
        self.written.iter().all(|record| level(record) <= 1) && foz_version(&self.image) == 1
    }
}

#[test]
fn in_an_upgrade_nothing_is_written_that_the_older_version_cannot_read_until_all_nodes_are_newer() {
    // In every order in which one node is the last: brokers 0 to 2, then controllers 1000 to 1002.
    for last in 0..6 {
        let mut upgrade = Upgrade::begin();
        for step in (0..6_usize).filter(|node| *node != last).chain([last]) {
            let waits = upgrade.version_2_acts().unwrap_err();
            assert!(waits.contains("is not known to all"), "{waits}");
            assert!(upgrade.version_1_reads_all());
            match step {
                0..3 => upgrade.upgrade_broker(i32::try_from(step).unwrap()),
                _ => {
                    // While it restarts nobody knows as what.
                    upgrade.controllers[step - 3] = None;
                    let waits = upgrade.version_2_acts().unwrap_err();
                    let silent = format!("controller {} does not answer", 997 + step);
                    assert!(waits.contains(&silent), "{waits}");
                    assert!(upgrade.version_1_reads_all());
                    upgrade.controllers[step - 3] = Some(2);
                }
            }
        }
        assert!(upgrade.version_1_reads_all());
        assert_eq!(upgrade.version_2_acts(), Ok(()));
        assert_eq!(foz_version(&upgrade.image), 2);
        let last = upgrade.written.last().unwrap().record.as_ref().unwrap();
        assert_eq!(level_of(last), 2, "now it is written");
    }
}

/// It could not read the metadata.
#[test]
fn a_broker_that_does_not_know_the_level_is_not_registered() {
    let image = with_brokers(&[2]);
    let image = after(&image, decide_2(&image, &[]).unwrap().records);
    let refusal = register_broker(&image, &registration(1, 1)).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::InvalidRegistration);
    assert!(
        refusal.message.contains("knows foz.version 1 to 1, and 2"),
        "{}",
        refusal.message
    );
    assert!(register_broker(&image, &registration(1, 2)).is_ok());
}

/// What is decided of levels asked for where `controllers` say what they know.
fn asked(
    image: &Image,
    updates: &[(&str, i32, UpgradeType)],
    controllers: &ControllerFeatures,
) -> Result<Vec<(String, i32)>, String> {
    let updates = updates.iter();
    let request = UpdateFeatures {
        updates: updates.map(|it| update(it.0, it.1, it.2)).collect(),
        controllers: controllers.clone(),
        validate_only: false,
        operator_epoch: 0,
    };
    let decided = update_features(image, &request);
    let validated = UpdateFeatures {
        validate_only: true,
        ..request
    };
    // Only the records make the difference.
    match (&decided, update_features(image, &validated)) {
        (Ok(_), Ok(validated)) => assert_eq!(validated.records, []),
        (Err(refusal), Err(validated)) => assert_eq!(*refusal, validated),
        (decided, validated) => panic!("{decided:?}, but {validated:?}"),
    }
    let records = decided.map_err(|refusal| {
        assert_eq!(refusal.code, ErrorCode::InvalidUpdateVersion);
        refusal.message
    })?;
    let levels = records
        .records
        .into_iter()
        .map(|record| match record.record {
            Some(Fact::FeatureLevel(record)) => (record.name, record.level),
            other => panic!("{other:?}"),
        });
    Ok(levels.collect())
}

#[test]
fn levels_that_say_what_brokers_do_go_both_ways() {
    use UpgradeType::{SafeDowngrade, UnsafeDowngrade, Upgrade};
    let all = to(1, &[Some(1); 3]).controllers;
    let mut image = with_brokers(&[1, 1]);
    assert_eq!((image.transaction_version(), image.group_version()), (2, 1));
    let (transaction, group) = (TRANSACTION_VERSION_FEATURE, GROUP_VERSION_FEATURE);
    for (name, level, upgrade_type) in [
        (transaction, 1, SafeDowngrade),
        (transaction, 0, UnsafeDowngrade),
        (transaction, 2, Upgrade),
        (transaction, 0, SafeDowngrade),
        (transaction, 1, Upgrade),
        (group, 0, SafeDowngrade),
        (group, 1, Upgrade),
        (group, 0, UnsafeDowngrade),
    ] {
        let levels = asked(&image, &[(name, level, upgrade_type)], &all).unwrap();
        assert_eq!(levels, [(name.to_owned(), level)]);
        image = after(&image, vec![level_record(name, level).into()]);
        assert_eq!(image.feature_level(name), Some(level));
        for any in [Upgrade, SafeDowngrade, UnsafeDowngrade] {
            assert_eq!(asked(&image, &[(name, level, any)], &all), Ok(vec![]));
        }
    }
    assert_eq!((image.transaction_version(), image.group_version()), (1, 0));
    assert_eq!(Image::decode(&image.encode()).unwrap(), image);
    for (level, upgrade_type, why) in [
        (0, Upgrade, "goes down to 0 by a downgrade alone"),
        (2, SafeDowngrade, "does not go up to 2"),
        (2, UnsafeDowngrade, "does not go up to 2"),
        (
            3,
            Upgrade,
            "is not known to all: broker 0 (version 0.1.0) knows 0 to 2",
        ),
        (-1, SafeDowngrade, "knows 0 to 2"),
    ] {
        let refused = asked(&image, &[(transaction, level, upgrade_type)], &all);
        let refused = refused.unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
    let nobody = with_brokers(&[]);
    let beyond = asked(&nobody, &[(transaction, 3, Upgrade)], &BTreeMap::new());
    let beyond = beyond.unwrap_err();
    assert!(
        beyond.contains("active controller, which knows 0 to 2"),
        "{beyond}"
    );
}

#[test]
fn all_features_of_a_request_are_updated_or_none() {
    use UpgradeType::{SafeDowngrade, Upgrade};
    let all = to(1, &[Some(1)]).controllers;
    let image = with_brokers(&[1]);
    let down = (TRANSACTION_VERSION_FEATURE, 1, SafeDowngrade);
    let both = [down, (GROUP_VERSION_FEATURE, 0, SafeDowngrade)];
    assert_eq!(asked(&image, &both, &all).unwrap().len(), 2);
    // What Kafka's levels say of its own metadata, or of what always is so here, is not a feature here.
    for name in [
        "metadata.version",
        "kraft.version",
        "eligible.leader.replicas.version",
        "share.version",
        "streams.version",
        "",
    ] {
        let refused = asked(&image, &[down, (name, 1, Upgrade)], &all).unwrap_err();
        assert_eq!(
            refused,
            format!(
                "there is no feature {name:?}; there are foz.version, group.version, transaction.version"
            )
        );
    }
    let twice = UpdateFeatures {
        updates: vec![update(GROUP_VERSION_FEATURE, 1, Upgrade); 2],
        ..to(1, &[])
    };
    let refusal = update_features(&image, &twice).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::InvalidRequest);
    let nothing = UpdateFeatures {
        updates: Vec::new(),
        ..to(1, &[])
    };
    assert_eq!(update_features(&image, &nothing).unwrap().records, []);
}

/// As programs before the features registered.
fn without_features(image: &Image, node_id: i32) -> Image {
    let older = RegisterBroker {
        features: SupportedFeatures::default(),
        ..registration(node_id, 1)
    };
    after(image, register_broker(image, &older).unwrap().records)
}

#[test]
fn metadata_older_than_the_features_gets_their_levels_once_every_node_knows_them() {
    let founded = [(GROUP_VERSION_FEATURE, 1), (TRANSACTION_VERSION_FEATURE, 2)];
    let mut older = Image::default();
    assert!(!wants_features(&older), "nothing is known yet");
    older.cluster_id = "c".into();
    older.features.insert_mut(FOZ_VERSION_FEATURE.into(), 1);
    assert!(wants_features(&older));
    older = without_features(&without_features(&older, 0), 1);
    assert_eq!((older.transaction_version(), older.group_version()), (0, 0));
    let all = to(1, &[Some(1); 3]).controllers;
    for node_id in [0, 1] {
        assert!(!wants_features(&older));
        assert_eq!(found_features(&older, &all).unwrap().records, []);
        let again = RegisterBroker {
            incarnation: Uuid::from_u128(1 << 100),
            ..registration(node_id, 1)
        };
        let records = register_broker(&older, &again).unwrap().records;
        older = after(&older, records);
    }
    assert!(wants_features(&older));
    for unable in [None, Some(SupportedFeatures::default())] {
        let mut controllers = all.clone();
        controllers.insert(1001, unable);
        assert_eq!(found_features(&older, &controllers).unwrap().records, []);
    }
    let of_a_group = AlterConfigs {
        resources: vec![AlterResource {
            name: ResourceName::Group("g".to_owned()),
            changes: Vec::new(),
        }],
        replaces: false,
        validate_only: false,
        operator_epoch: 0,
    };
    let is_taken = |image: &Image| {
        let decided = alter_configs(image, &BTreeMap::new(), &of_a_group).unwrap();
        decided.answer[0].is_ok()
    };
    assert!(!is_taken(&older), "an older node could not read it");
    let records = found_features(&older, &all).unwrap().records;
    let expected = founded.map(|(name, level)| Record::from(level_record(name, level)));
    assert_eq!(records, expected);
    let image = after(&older, records);
    assert!(is_taken(&image));
    assert!(!wants_features(&image));
    // What somebody took back to 0 is not older metadata.
    let zero = level_record(GROUP_VERSION_FEATURE, 0).into();
    let image = after(&image, vec![zero]);
    assert!(!wants_features(&image));
    assert_eq!(found_features(&image, &all).unwrap().records, []);
}

#[test]
fn a_broker_that_does_not_know_a_feature_is_registered_where_the_cluster_does_without() {
    let image = with_brokers(&[1]);
    let older = RegisterBroker {
        features: SupportedFeatures::default(),
        ..registration(1, 1)
    };
    let refusal = register_broker(&image, &older).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::InvalidRegistration);
    assert!(
        refusal
            .message
            .contains("knows group.version 0 to 0, and 1 is finalised"),
        "{}",
        refusal.message
    );
    let zero = |name| level_record(name, 0).into();
    let zeros = [GROUP_VERSION_FEATURE, TRANSACTION_VERSION_FEATURE].map(zero);
    let image = after(&image, zeros.to_vec());
    assert!(register_broker(&image, &older).is_ok());
}
