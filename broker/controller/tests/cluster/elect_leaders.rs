//! Administrators ask for elections.

use foz_api::v1;
use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::elect_leaders_request::PartitionRef;
use foz_api::v1::{ElectLeadersRequest, ElectionKind};
use foz_metadata::image::NO_LEADER;
use tonic::{Code, Status};

use crate::controllers::{Controllers, eventually};
use crate::fake_broker::FakeBroker;
use crate::support::{assigned_topic, create_this, with_brokers};

async fn elect(
    controllers: &Controllers,
    kind: ElectionKind,
    partitions: Option<&[(&str, i32)]>,
) -> Result<Vec<(String, i32, i32)>, Status> {
    let named = partitions.unwrap_or_default().iter();
    let request = ElectLeadersRequest {
        kind: kind.into(),
        partitions: named
            .map(|(topic, index)| PartitionRef {
                topic: (*topic).to_owned(),
                index: *index,
            })
            .collect(),
        all_partitions: partitions.is_none(),
        operator_epoch: 0,
    };
    let mut admin = AdminClient::new(controllers.channel().await);
    let answer = admin.elect_leaders(request).await?.into_inner();
    let code = |outcome: Option<v1::Outcome>| outcome.unwrap().kafka_code;
    let results = answer.results.into_iter();
    Ok(results
        .map(|it| (it.topic, it.index, code(it.outcome)))
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn preferred_and_unclean_leaders_are_elected_on_request() {
    let (controllers, [zero, one]) = with_brokers::<2>(Controllers::start(1).await).await;
    create_this(&controllers, assigned_topic("t", &[&[0, 1], &[1, 0]])).await;
    let leader = |index| {
        let image = controllers.image();
        image.partition("t", index).unwrap().leader
    };
    let preferred = ElectionKind::Preferred;
    let asked = Some(&[("t", 0), ("t", 7)][..]);
    assert_eq!(
        elect(&controllers, preferred, asked).await.unwrap(),
        [("t".to_owned(), 0, 84), ("t".to_owned(), 7, 3)]
    );

    // Broker 1 goes, then 0, so only 0 is known to have everything.
    let next = one.next_registration();
    one.kill().await;
    eventually("0 leads both", || (leader(0), leader(1)) == (0, 0)).await;
    assert_eq!(
        elect(&controllers, preferred, Some(&[("t", 1)]))
            .await
            .unwrap(),
        [("t".to_owned(), 1, 80)]
    );
    zero.kill().await;
    eventually("nobody leads", || leader(0) == NO_LEADER).await;
    let unclean = ElectionKind::Unclean;
    let asked = Some(&[("t", 0)][..]);
    assert_eq!(
        elect(&controllers, unclean, asked).await.unwrap(),
        [("t".to_owned(), 0, 83)]
    );
    let one = FakeBroker::start_with(&controllers, next).await;
    eventually("1 is back", || controllers.image().is_alive(1)).await;
    assert_eq!(
        leader(0),
        NO_LEADER,
        "it may lack what 0 acknowledged alone"
    );
    let elected = elect(&controllers, unclean, None).await.unwrap();
    assert_eq!(
        elected,
        [("t".to_owned(), 0, 0), ("t".to_owned(), 1, 0)],
        "what needs none is not told"
    );
    assert_eq!((leader(0), leader(1)), (1, 1));
    let scraped = controllers.metrics();
    let line = "\nkafka_controller_controllerstats_uncleanleaderelections_total 2\n";
    assert!(scraped.contains(line), "{scraped}");

    let both = ElectLeadersRequest {
        all_partitions: true,
        partitions: vec![PartitionRef::default()],
        ..Default::default()
    };
    let unknown = ElectLeadersRequest {
        kind: 9,
        ..Default::default()
    };
    for request in [both, unknown] {
        let mut admin = AdminClient::new(controllers.channel().await);
        let refused = admin.elect_leaders(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    one.stop().await;
    controllers.stop().await;
}
