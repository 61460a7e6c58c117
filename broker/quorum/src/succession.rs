//! When the leader's process has ended: how the others notice, and who of them stands for election when.
//!
//! Raft waits for an election timeout of silence, since silence may be the network's. A process that ended is
//! told apart from that: its kernel closes its streams, and refuses the next connection. Then a follower
//! forgets the leader, as if its timeout had passed, and the usual election with pre-vote takes place at once.
//!
//! Why that is safe: Raft's votes and commits do not depend on time. A vote of this term stays given. What a
//! follower's timeout protects is a leader that lives from being deposed needlessly, and pre-vote still does
//! so: most members must have forgotten it. No leader reads by a lease: leadership is confirmed by a round of
//! messages (`ReadOnlyOption::Safe`), which an old leader cannot get once another was elected. And the leases
//! of brokers are counted by the active controller alone: a new one gives everybody a fresh one, from its own
//! election on, whenever that is.
//!
//! Pure: time is passed in, as what has passed since any fixed moment.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// The others have noticed by then; a member that has not ignores who stands.
const NOTICE: Duration = Duration::from_millis(20);
/// Between one who stands and the next: longer than it takes to ask for votes, so that two do not split them.
const TURN: Duration = Duration::from_millis(60);
/// How often each stands. After that, Raft's election timeout is over soon.
const ATTEMPTS_MAX: u32 = 3;

/// What is known of the connections to and from other members, by Raft id.
#[derive(Debug, Default)]
pub struct Connections {
    peers: BTreeMap<u64, Peer>,
}

#[derive(Debug, Default)]
struct Peer {
    /// Streams that it has open to this member.
    inbound: usize,
    /// The newest connection to it was refused: nothing listens there.
    is_refused: bool,
}

/// The attempts of one follower to become the leader in place of one that ended.
#[derive(Debug)]
pub struct Candidacy {
    /// In which the leader ended.
    term: u64,
    at: Duration,
    /// Until everybody else had a turn.
    round: Duration,
    left: u32,
}

/// With what a member asks for votes. When two do so at once and each gets the other's pre-vote, both vote for
/// themselves and nobody wins: so one of them goes first.
#[derive(Debug, Clone, Copy)]
pub struct Stance {
    /// Of the last entry in its log.
    pub last_term: u64,
    /// Of the last entry in its log.
    pub last_index: u64,
    /// Who asks.
    pub raft_id: u64,
}

/// What to do about a [`Candidacy`] now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing yet.
    Wait,
    /// Ask for pre-votes.
    Stand,
    /// It is over: there is a leader or another term, or Raft's own timeout comes next.
    Over,
}

impl Connections {
    /// It opened a stream to this member.
    pub fn opened(&mut self, raft_id: u64) {
        let peer = self.peers.entry(raft_id).or_default();
        peer.inbound += 1;
        peer.is_refused = false;
    }

    /// A stream of it ended. Answers whether its process has ended.
    #[must_use]
    pub fn closed(&mut self, raft_id: u64) -> bool {
        let Some(peer) = self.peers.get_mut(&raft_id) else {
            return false;
        };
        peer.inbound = peer.inbound.saturating_sub(1);
        let has_ended = peer.has_ended();
        self.tidy(raft_id);
        has_ended
    }

    /// It took a connection.
    pub fn connected(&mut self, raft_id: u64) {
        if let Some(peer) = self.peers.get_mut(&raft_id) {
            peer.is_refused = false;
        }
        self.tidy(raft_id);
    }

    /// A connection to it was refused. Answers whether its process has ended: not while a stream of it is
    /// open, since then it may only listen elsewhere.
    #[must_use]
    pub fn refused(&mut self, raft_id: u64) -> bool {
        let peer = self.peers.entry(raft_id).or_default();
        peer.is_refused = true;
        peer.has_ended()
    }

    /// Forgets that those refused who are no members any more.
    pub fn retain(&mut self, is_member: impl Fn(u64) -> bool) {
        self.peers
            .retain(|raft_id, peer| peer.inbound > 0 || is_member(*raft_id));
    }

    fn tidy(&mut self, raft_id: u64) {
        self.peers
            .retain(|id, peer| *id != raft_id || peer.inbound > 0 || peer.is_refused);
    }
}

impl Stance {
    /// Raft's rule: a member votes for nobody whose log lacks what it has.
    #[must_use]
    pub fn may_win_against(&self, other: &Self) -> bool {
        self.log() >= other.log()
    }

    /// Whether it goes first: its log has more, or the same and its turn comes first.
    #[must_use]
    pub fn goes_before(&self, other: &Self) -> bool {
        (self.log(), Reverse(self.raft_id)) > (other.log(), Reverse(other.raft_id))
    }

    fn log(&self) -> (u64, u64) {
        (self.last_term, self.last_index)
    }
}

impl Peer {
    fn has_ended(&self) -> bool {
        self.is_refused && self.inbound == 0
    }
}

impl Candidacy {
    /// For member `me`, after the leader `ended` of a term; `None`: it has no vote. Voters take turns in the
    /// order of their ids.
    #[must_use]
    pub fn new(term: u64, me: u64, ended: u64, voters: &[u64], now: Duration) -> Option<Self> {
        let mut others: Vec<u64> = voters.iter().copied().filter(|id| *id != ended).collect();
        others.sort_unstable();
        let rank = u32::try_from(others.iter().position(|id| *id == me)?).ok()?;
        let count = u32::try_from(others.len()).ok()?;
        Some(Self {
            term,
            at: now + NOTICE + TURN * rank,
            round: TURN * count,
            left: ATTEMPTS_MAX,
        })
    }

    /// When to ask [`Self::turn`] next.
    #[must_use]
    pub fn at(&self) -> Duration {
        self.at
    }

    /// Another member asks for votes: it gets its turn first.
    pub fn give_way(&mut self, now: Duration) {
        self.at = self.at.max(now + TURN);
    }

    /// `term` and `has_leader` are this member's now.
    #[must_use]
    pub fn turn(&mut self, term: u64, has_leader: bool, now: Duration) -> Turn {
        if term != self.term || has_leader || self.left == 0 {
            return Turn::Over;
        }
        if now < self.at {
            return Turn::Wait;
        }
        self.left -= 1;
        self.at = now + self.round;
        Turn::Stand
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_process_has_ended_when_its_streams_are_closed_and_it_takes_no_connection() {
        for refused_first in [true, false] {
            let mut connections = Connections::default();
            connections.opened(7);
            if refused_first {
                assert!(!connections.refused(7));
                assert!(connections.closed(7));
            } else {
                assert!(!connections.closed(7));
                assert!(connections.refused(7));
            }
        }
    }

    #[test]
    fn a_process_that_lives_is_never_taken_for_ended() {
        let mut connections = Connections::default();
        // It listens elsewhere than this member thinks.
        connections.opened(7);
        assert!(!connections.refused(7));
        assert!(!connections.refused(7));
        // It opens another stream before the old one's end is known.
        connections.opened(7);
        assert!(!connections.closed(7));
        // Both directions break, and it takes the next connection.
        connections.connected(7);
        assert!(!connections.closed(7));
        // It came back.
        assert!(connections.refused(7));
        connections.opened(7);
        assert!(!connections.closed(7));
        assert!(connections.refused(7));
        connections.connected(7);
        connections.opened(7);
        assert!(!connections.closed(7));
        // Nobody that is known.
        assert!(!connections.closed(8));
    }

    #[test]
    fn only_what_matters_is_remembered() {
        let mut connections = Connections::default();
        for raft_id in 0..100 {
            connections.opened(raft_id);
            connections.connected(raft_id);
            assert!(!connections.closed(raft_id));
        }
        assert_eq!(connections.peers.len(), 0);
        assert!(connections.refused(1) && connections.refused(2));
        connections.retain(|raft_id| raft_id == 2);
        assert_eq!(connections.peers.keys().collect::<Vec<_>>(), [&2]);
    }

    #[test]
    fn of_two_who_ask_at_once_exactly_one_goes_first() {
        let stances = [(3, 9, 7), (4, 5, 8), (4, 5, 9), (4, 6, 9), (4, 6, 7)];
        let stances = stances.map(|(last_term, last_index, raft_id)| Stance {
            last_term,
            last_index,
            raft_id,
        });
        for one in &stances {
            for other in stances.iter().filter(|it| it.raft_id != one.raft_id) {
                assert_ne!(one.goes_before(other), other.goes_before(one));
                // Nobody makes way for one that cannot win.
                assert!(!one.goes_before(other) || one.may_win_against(other));
            }
        }
        let [short, eight, nine, longer, longest] = stances;
        assert!(eight.goes_before(&nine) && nine.may_win_against(&eight));
        assert!(longer.goes_before(&eight) && !eight.may_win_against(&longer));
        assert!(eight.goes_before(&short) && longest.goes_before(&longer));
    }

    fn stands_at(me: u64, voters: &[u64]) -> Vec<u64> {
        let mut candidacy = Candidacy::new(4, me, 2, voters, ms(1000)).unwrap();
        let turns = (1000..3000).filter(|now| candidacy.turn(4, false, ms(*now)) == Turn::Stand);
        turns.collect()
    }

    #[test]
    fn voters_stand_one_after_the_other() {
        let voters = [3, 1, 2];
        assert_eq!(stands_at(1, &voters), [1020, 1140, 1260]);
        assert_eq!(stands_at(3, &voters), [1080, 1200, 1320]);
        assert_eq!(stands_at(5, &[1, 2, 3, 4, 5]), [1200, 1440, 1680]);
        assert!(Candidacy::new(4, 9, 2, &voters, ms(0)).is_none());
    }

    #[test]
    fn nobody_stands_once_there_is_a_leader_or_another_term() {
        let mut candidacy = Candidacy::new(4, 1, 2, &[1, 2, 3], ms(0)).unwrap();
        assert_eq!(candidacy.turn(4, false, ms(19)), Turn::Wait);
        assert_eq!(candidacy.turn(4, true, ms(20)), Turn::Over);
        assert_eq!(candidacy.turn(5, false, ms(20)), Turn::Over);
        assert_eq!(candidacy.turn(4, false, ms(20)), Turn::Stand);
    }

    #[test]
    fn who_asks_for_votes_gets_its_turn() {
        let mut candidacy = Candidacy::new(4, 3, 2, &[1, 2, 3], ms(0)).unwrap();
        candidacy.give_way(ms(75));
        assert_eq!(candidacy.turn(4, false, ms(134)), Turn::Wait);
        // It never comes sooner for that.
        candidacy.give_way(ms(10));
        assert_eq!(candidacy.turn(4, false, ms(134)), Turn::Wait);
        assert_eq!(candidacy.turn(4, false, ms(135)), Turn::Stand);
    }
}
