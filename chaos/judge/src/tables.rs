//! What is known of every value, offset, partition, topic and client.
//!
//! Values and offsets are arrays, some 40 and 24 bytes a slot: ten million acknowledged records take less
//! than a gigabyte.

use std::collections::HashMap;

use crate::paged::Paged;

/// A value in a topic. Event numbers are 0 where there is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value {
    /// The acknowledged one; else where it was first read; else -1.
    pub offset: i64,
    pub sent: u32,
    /// Acknowledged or failed.
    pub answered: u32,
    /// First read.
    pub read: u32,
    pub client: u32,
    pub partition: u32,
    /// Index plus 1; 0 for none.
    pub transaction: u32,
    pub flags: u16,
}

impl Value {
    pub(crate) const ACKED: u16 = 1;
    /// Acknowledged by acks=all: it must survive.
    pub(crate) const PROMISED: u16 = 1 << 1;
    /// `offset` is what the acknowledgement said.
    pub(crate) const ACK_OFFSET: u16 = 1 << 2;
    pub(crate) const FAILED: u16 = 1 << 3;
    pub(crate) const DEFINITE: u16 = 1 << 4;
    pub(crate) const READ: u16 = 1 << 5;
    /// Read at `offset`, not only elsewhere.
    pub(crate) const READ_THERE: u16 = 1 << 6;
    pub(crate) const READ_COMMITTED: u16 = 1 << 7;
    pub(crate) const IN_FINAL: u16 = 1 << 8;

    pub(crate) fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn is_sent(&self) -> bool {
        self.sent != 0
    }
}

impl Default for Value {
    fn default() -> Self {
        Value {
            offset: -1,
            sent: 0,
            answered: 0,
            read: 0,
            client: 0,
            partition: 0,
            transaction: 0,
            flags: 0,
        }
    }
}

/// An offset of a partition. Nothing is known where `event` is 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offset {
    pub value: u64,
    /// Who said so first.
    pub event: u32,
    /// -1: not known.
    pub leader_epoch: i32,
    pub flags: u8,
}

impl Offset {
    pub(crate) const READ: u8 = 1;
    /// A reader reported other bytes.
    pub(crate) const MISMATCH: u8 = 1 << 1;

    pub(crate) fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

impl Default for Offset {
    fn default() -> Self {
        Offset {
            value: 0,
            event: 0,
            leader_epoch: -1,
            flags: 0,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub name: String,
    pub deletes: bool,
    pub values: Paged<Value>,
    partitions: HashMap<i32, u32>,
}

#[derive(Debug, Clone)]
pub(crate) struct Partition {
    pub topic: u32,
    pub number: i32,
    pub offsets: Paged<Offset>,
    /// Begin, end, event of each piece of the final read.
    pub finals: Vec<(i64, i64, u32)>,
    /// Some final read was of isolation read_committed.
    pub final_committed: bool,
    /// The highest begin offset that anybody saw.
    pub begin_offset: i64,
    pub lowest_read: i64,
    pub highest_read: i64,
    pub highest_read_event: u32,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    pub number: u32,
    pub idempotent: bool,
    pub acks: i16,
    pub read_committed: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    pub topics: Vec<Topic>,
    pub partitions: Vec<Partition>,
    pub clients: Vec<Client>,
    pub values_sent: u64,
    /// By client and partition.
    pub last_sent: HashMap<(u32, u32), u64>,
    topic_indexes: HashMap<String, u32>,
    client_indexes: HashMap<u32, u32>,
}

/// A partition may have this many slots beside eight for each value sent: markers and retries take
/// offsets, but a subject that answers nonsense must not fill the judge's memory.
const WILD_SLOTS_MAX: u64 = 1 << 18;

impl Tables {
    pub(crate) fn topic(&mut self, name: &str) -> u32 {
        if let Some(index) = self.topic_indexes.get(name) {
            return *index;
        }
        let index = self.topics.len() as u32;
        self.topics.push(Topic {
            name: name.to_owned(),
            deletes: false,
            values: Paged::new(),
            partitions: HashMap::new(),
        });
        self.topic_indexes.insert(name.to_owned(), index);
        index
    }

    pub(crate) fn partition(&mut self, topic: &str, number: i32) -> u32 {
        let topic = self.topic(topic);
        let next = self.partitions.len() as u32;
        let index = *self.topics[topic as usize]
            .partitions
            .entry(number)
            .or_insert(next);
        if index == next {
            self.partitions.push(Partition {
                topic,
                number,
                offsets: Paged::new(),
                finals: Vec::new(),
                final_committed: false,
                begin_offset: 0,
                lowest_read: i64::MAX,
                highest_read: -1,
                highest_read_event: 0,
            });
        }
        index
    }

    pub(crate) fn client(&mut self, number: u32) -> u32 {
        let next = self.clients.len() as u32;
        let index = *self.client_indexes.entry(number).or_insert(next);
        if index == next {
            self.clients.push(Client {
                number,
                idempotent: true,
                acks: -1,
                read_committed: false,
            });
        }
        index
    }

    /// The topic a partition is of.
    pub(crate) fn topic_of(&self, partition: u32) -> &Topic {
        &self.topics[self.partitions[partition as usize].topic as usize]
    }

    pub(crate) fn value(&self, partition: u32, value: u64) -> Option<&Value> {
        self.topic_of(partition)
            .values
            .get(value)
            .filter(|slot| slot.is_sent())
    }

    pub(crate) fn value_mut(&mut self, partition: u32, value: u64) -> Option<&mut Value> {
        let topic = self.partitions[partition as usize].topic;
        self.topics[topic as usize]
            .values
            .get_mut(value)
            .filter(|slot| slot.is_sent())
    }

    /// None for an offset that cannot be.
    pub(crate) fn offset_slot(&mut self, partition: u32, offset: i64) -> Option<&mut Offset> {
        let slots_max = WILD_SLOTS_MAX + 8 * self.values_sent;
        let offset = u64::try_from(offset).ok()?;
        self.partitions[partition as usize]
            .offsets
            .slot(offset, slots_max)
    }

    /// `orders-3`.
    pub(crate) fn name(&self, partition: u32) -> String {
        format!(
            "{}-{}",
            self.topic_of(partition).name,
            self.partitions[partition as usize].number
        )
    }

    /// Every value that was sent, topic by topic, ascending.
    pub(crate) fn sent_values(&self) -> impl Iterator<Item = (u64, &Value)> {
        self.topics
            .iter()
            .flat_map(|topic| topic.values.iter())
            .filter(|(_, slot)| slot.is_sent())
    }
}
