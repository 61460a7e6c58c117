//! Brokers that say with their beats that their disks have no room.

use crate::controllers::{Controllers, eventually};
use crate::fake_broker::FakeBroker;
use crate::support::{assigned_topic, change_isr, create_this, with_brokers};

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_to_who_has_room_and_back_when_all_have() {
    let controllers = Controllers::start(1).await;
    let (controllers, [zero, one]) = with_brokers::<2>(controllers).await;
    create_this(&controllers, assigned_topic("t", &[&[0, 1]])).await;
    let state = || {
        let image = controllers.image();
        let partition = image.partition("t", 0).unwrap();
        (partition.leader, partition.isr.clone())
    };
    assert_eq!(state(), (0, vec![0, 1]));
    zero.run_out_of_space();
    eventually("1 leads alone", || state() == (1, vec![1])).await;
    one.run_out_of_space();
    let is_short = || controllers.image().broker(1).unwrap().short_of_space;
    eventually("1 is short", is_short).await;
    assert_eq!(state(), (1, vec![1]), "nobody has room");
    // Another process of the same node says it anew, before it is unfenced.
    let next = zero.next_registration();
    zero.kill().await;
    let zero = FakeBroker::start_with(&controllers, next).await;
    eventually("0 is back, with room", || {
        controllers.image().can_take_over(0)
    })
    .await;
    change_isr(&controllers, ("t", 0), &one, &[&one, &zero]).await;
    eventually("0 leads alone", || state() == (0, vec![0])).await;
    one.resume();
    eventually("1 has room", || controllers.image().can_take_over(1)).await;
    change_isr(&controllers, ("t", 0), &zero, &[&zero, &one]).await;
    assert_eq!(state(), (0, vec![0, 1]));
    for broker in [zero, one] {
        broker.stop().await;
    }
    controllers.stop().await;
}
