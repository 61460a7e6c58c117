//! Every node knows a level: what belongs to it may be written from now on.

use std::collections::BTreeMap;

use super::draft::Draft;
use super::feature_levels::{FOZ_VERSION_FEATURE, FOZ_VERSION_MAX, foz_version};
use super::{Decided, ErrorCode, Refusal, check_operator_epoch};
use crate::image::Image;
use crate::record::{Fact, FeatureLevelRecord};

/// What is asked.
#[derive(Debug, Clone)]
pub struct FinalizeFeatureLevel {
    /// `foz.version`; there is no other yet.
    pub name: String,
    /// The level.
    pub level: i32,
    /// The controllers that vote or are about to, by node id, with the highest level that each has said to know;
    /// `None` for one that did not answer.
    pub controllers: BTreeMap<i32, Option<i32>>,
    /// The caller wants a level to go back, and none to go up.
    pub is_downgrade: bool,
    /// Whether the decision is asked for alone.
    pub validate_only: bool,
    /// 0: the caller is not the operator.
    pub operator_epoch: i64,
}

/// Finalises a level of a feature, which never goes back: records of it may be in the log from then on. Refused while any
/// broker that is registered, alive or not, or any controller does not know it: when it comes back it could not read
/// the metadata. Asking for the level that there is changes nothing.
pub fn finalize_feature_level(image: &Image, request: &FinalizeFeatureLevel) -> Decided<()> {
    check_operator_epoch(image, request.operator_epoch)?;
    let refused = |message: String| Err(Refusal::new(ErrorCode::InvalidUpdateVersion, message));
    let (name, level) = (request.name.as_str(), request.level);
    if name != FOZ_VERSION_FEATURE {
        return refused(format!(
            "there is no feature {name:?}; there is {FOZ_VERSION_FEATURE}"
        ));
    }
    let finalized = foz_version(image);
    if level < finalized {
        return refused(format!(
            "{name} is {finalized}, and does not go back to {level}: the metadata may hold what belongs to {finalized}"
        ));
    }
    if request.is_downgrade && level > finalized {
        return refused(format!(
            "{name} is {finalized}, and a downgrade does not go up to {level}"
        ));
    }
    let decision = decide(image, request, finalized)?;
    if level > FOZ_VERSION_MAX {
        return refused(format!(
            "{name} {level} is not known to the active controller, which knows up to {FOZ_VERSION_MAX}"
        ));
    }
    Ok(decision)
}

fn decide(image: &Image, request: &FinalizeFeatureLevel, finalized: i32) -> Decided<()> {
    let level = request.level;
    let brokers = image.brokers().filter(|it| it.foz_version_max < level);
    let brokers = brokers.map(|it| {
        let (node_id, version, max) = (it.node_id, &it.version, it.foz_version_max);
        format!("broker {node_id} (version {version}) knows up to {max}")
    });
    let controllers = request.controllers.iter();
    let controllers = controllers.filter_map(|(node_id, max)| match max {
        Some(max) if *max >= level => None,
        Some(max) => Some(format!("controller {node_id} knows up to {max}")),
        None => Some(format!("controller {node_id} does not answer")),
    });
    let unable: Vec<String> = brokers.chain(controllers).collect();
    if !unable.is_empty() && level != finalized {
        return Err(Refusal::new(
            ErrorCode::InvalidUpdateVersion,
            format!(
                "{} {level} is not known to all: {}",
                request.name,
                unable.join(", ")
            ),
        ));
    }
    let mut draft = Draft::new(image);
    if level != finalized && !request.validate_only {
        draft.write(Fact::FeatureLevel(FeatureLevelRecord {
            name: request.name.clone(),
            level,
        }));
    }
    Ok(draft.decide(()))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::feature_levels::tests::rule_of_version_2;
    use super::super::feature_levels::{foz_version, level_of};
    use super::super::{DataDirectory, RegisterBroker, found_cluster, register_broker};
    use super::*;
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
            foz_version_max,
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

    fn to(level: i32, controllers: &[Option<i32>]) -> FinalizeFeatureLevel {
        FinalizeFeatureLevel {
            name: FOZ_VERSION_FEATURE.to_owned(),
            level,
            controllers: (1000..).zip(controllers.iter().copied()).collect(),
            is_downgrade: false,
            validate_only: false,
            operator_epoch: 0,
        }
    }

    /// As a program decides that knows level 2.
    fn decide_2(image: &Image, controllers: &[Option<i32>]) -> Decided<()> {
        decide(image, &to(2, controllers), foz_version(image))
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
        let validated = FinalizeFeatureLevel {
            validate_only: true,
            ..to(2, &all)
        };
        let image = with_brokers(&[2]);
        assert_eq!(decide(&image, &validated, 1).unwrap().records, []);
    }

    #[test]
    fn who_does_not_know_it_is_named() {
        let image = with_brokers(&[2, 1]);
        let refusal = decide_2(&image, &[Some(2), Some(1), None]).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::InvalidUpdateVersion);
        assert_eq!(
            refusal.message,
            "foz.version 2 is not known to all: broker 1 (version 0.1.0) knows up to 1, controller 1001 knows up to 1, controller 1002 does not answer"
        );
        assert_eq!(foz_version(&image), 1);
    }

    #[test]
    fn it_never_goes_back_nor_where_nobody_is() {
        let refusal = |image: &Image, request: &FinalizeFeatureLevel| {
            let refusal = finalize_feature_level(image, request).unwrap_err();
            refusal.message
        };
        let image = with_brokers(&[2]);
        let beyond = refusal(&image, &to(FOZ_VERSION_MAX + 1, &[]));
        assert!(beyond.contains("is not known to the active"), "{beyond}");
        let image = after(&image, decide_2(&image, &[]).unwrap().records);
        let back = refusal(&image, &to(1, &[]));
        assert!(back.contains("does not go back to 1"), "{back}");
        let downgrade = |level| FinalizeFeatureLevel {
            is_downgrade: true,
            ..to(level, &[])
        };
        let up = refusal(&image, &downgrade(3));
        assert!(up.contains("does not go up to 3"), "{up}");
        let back = refusal(&image, &downgrade(1));
        assert!(back.contains("does not go back to 1"), "{back}");
        let other = FinalizeFeatureLevel {
            name: "metadata.version".to_owned(),
            ..to(1, &[])
        };
        assert!(refusal(&image, &other).contains("no feature"));
        let older_operator = FinalizeFeatureLevel {
            operator_epoch: 7,
            ..to(2, &[])
        };
        assert_eq!(
            finalize_feature_level(&image, &older_operator)
                .unwrap_err()
                .code,
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
    fn in_an_upgrade_nothing_is_written_that_the_older_version_cannot_read_until_all_nodes_are_newer()
     {
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
            refusal.message.contains("knows foz.version up to 1, and 2"),
            "{}",
            refusal.message
        );
        assert!(register_broker(&image, &registration(1, 2)).is_ok());
    }
}
