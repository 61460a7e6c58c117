//! The log of one replica: records with what is flushed of them, the leader epochs, the high watermark. The rules are those of
//! `foz-log`.

use std::collections::BTreeMap;

use foz_replication::{EpochEndOffset, LocalLog};

use crate::chance::Chance;

/// One record, which is a batch of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) epoch: i32,
    pub(crate) producer: u32,
    pub(crate) sequence: u32,
    /// Of this record and all before it: two logs with the same chain at an offset are equal up to there.
    pub(crate) chain: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    records: Vec<Record>,
    /// Epochs with their first offsets, both rising.
    epochs: Vec<(i32, i64)>,
    flushed: usize,
    high_watermark: i64,
    /// As it was written down last.
    checkpoint: i64,
    /// The newest sequence of each producer, and its offset.
    producers: BTreeMap<u32, (u32, i64)>,
}

/// What an idempotent producer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sequence {
    Next,
    /// It is there, at this offset.
    Duplicate(i64),
    OutOfOrder,
}

impl Log {
    pub(crate) fn end(&self) -> i64 {
        self.records.len() as i64
    }

    pub(crate) fn flushed_offset(&self) -> i64 {
        self.flushed as i64
    }

    pub(crate) fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    pub(crate) fn set_high_watermark(&mut self, offset: i64) {
        self.high_watermark = offset.min(self.end());
    }

    /// Beyond the end too: a bug.
    pub(crate) fn set_high_watermark_unbounded(&mut self, offset: i64) {
        self.high_watermark = offset;
    }

    pub(crate) fn local(&self, flushes_each: bool) -> LocalLog {
        let end_offset = self.end();
        LocalLog {
            start_offset: 0,
            end_offset,
            durable_offset: if flushes_each {
                self.flushed_offset()
            } else {
                end_offset
            },
        }
    }

    pub(crate) fn record(&self, offset: i64) -> Option<&Record> {
        self.records.get(usize::try_from(offset).ok()?)
    }

    /// Of everything below an offset; `None` beyond the end.
    pub(crate) fn chain_at(&self, end_offset: i64) -> Option<u64> {
        match end_offset {
            0 => Some(0),
            end => self.record(end - 1).map(|record| record.chain),
        }
    }

    pub(crate) fn read(&self, offset: i64, count: usize) -> Vec<Record> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let records = self.records.iter().skip(from).take(count);
        records.copied().collect()
    }

    pub(crate) fn latest_epoch(&self) -> Option<i32> {
        self.epochs.last().map(|(epoch, _)| *epoch)
    }

    pub(crate) fn assign_epoch(&mut self, epoch: i32, start_offset: i64) {
        if self.latest_epoch().is_some_and(|latest| latest >= epoch) {
            return;
        }
        // An epoch that wrote nothing is replaced by the one that does.
        self.epochs.retain(|(_, start)| *start < start_offset);
        self.epochs.push((epoch, start_offset));
    }

    /// The greatest epoch not above `epoch`, and where it ends.
    pub(crate) fn end_offset_for_epoch(&self, epoch: i32) -> Option<EpochEndOffset> {
        let latest = self.latest_epoch()?;
        if epoch < 0 || epoch > latest {
            return None;
        }
        let above = self.epochs.iter().find(|(it, _)| *it > epoch);
        let floor = self.epochs.iter().rev().find(|(it, _)| *it <= epoch);
        Some(EpochEndOffset {
            epoch: floor.map_or(epoch, |(it, _)| *it),
            end_offset: above.map_or(self.end(), |(_, start)| *start),
        })
    }

    /// KIP-595, on the leader.
    pub(crate) fn divergence(
        &self,
        last_fetched_epoch: i32,
        offset: i64,
    ) -> Option<EpochEndOffset> {
        let asked = last_fetched_epoch.min(self.latest_epoch()?);
        let end = self.end_offset_for_epoch(asked)?;
        (end.epoch < last_fetched_epoch || end.end_offset < offset).then_some(end)
    }

    pub(crate) fn sequence(&self, producer: u32, sequence: u32) -> Sequence {
        match self.producers.get(&producer) {
            None if sequence == 0 => Sequence::Next,
            None => Sequence::OutOfOrder,
            Some((last, _)) if sequence == last + 1 => Sequence::Next,
            // One produce of a producer is under way at a time, so an older one is never asked for.
            Some((last, offset)) if sequence == *last => Sequence::Duplicate(*offset),
            Some((last, _)) if sequence < *last => Sequence::Duplicate(-1),
            Some(_) => Sequence::OutOfOrder,
        }
    }

    pub(crate) fn forget_producers(&mut self) {
        self.producers.clear();
    }

    /// Answers the record's offset.
    pub(crate) fn append(&mut self, epoch: i32, producer: u32, sequence: u32) -> i64 {
        let before = self.records.last().map_or(0, |last| last.chain);
        let chain = [epoch as u32, producer, sequence]
            .iter()
            .fold(before, |chain, part| mix(chain, u64::from(*part)));
        let offset = self.end();
        self.records.push(Record {
            epoch,
            producer,
            sequence,
            chain,
        });
        self.producers.insert(producer, (sequence, offset));
        offset
    }

    /// Appends what a leader sent. False: an epoch goes back. `filed_under`: a bug.
    pub(crate) fn append_as_follower(
        &mut self,
        records: &[Record],
        filed_under: Option<i32>,
    ) -> bool {
        for record in records {
            let epoch = filed_under.unwrap_or(record.epoch);
            if self.latest_epoch().is_some_and(|latest| epoch < latest) {
                return false;
            }
            self.assign_epoch(epoch, self.end());
            self.append(record.epoch, record.producer, record.sequence);
        }
        true
    }

    /// Durable at once, as `foz-log` does it.
    pub(crate) fn truncate(&mut self, to: i64) {
        let kept = usize::try_from(to).unwrap_or(0).min(self.records.len());
        self.records.truncate(kept);
        self.epochs.retain(|(_, start)| *start < to);
        self.flushed = self.flushed.min(kept);
        self.high_watermark = self.high_watermark.min(to);
        self.checkpoint = self.checkpoint.min(to);
        self.producers.clear();
        for (offset, record) in (0..).zip(&self.records) {
            self.producers
                .insert(record.producer, (record.sequence, offset));
        }
    }

    /// What was there when the flush began is on the disk.
    pub(crate) fn flushed(&mut self, end_offset: i64) {
        let end = usize::try_from(end_offset).unwrap_or(0);
        self.flushed = self.flushed.max(end.min(self.records.len()));
    }

    pub(crate) fn write_checkpoint(&mut self) {
        self.checkpoint = self.high_watermark;
    }

    /// The process ended: what it held in memory is gone.
    pub(crate) fn process_ended(&mut self) {
        self.high_watermark = self.checkpoint.min(self.end());
    }

    /// Some of what was not flushed is gone, perhaps all. Whether anything is.
    pub(crate) fn power_lost(&mut self, chance: &mut Chance) -> bool {
        let before = self.records.len();
        let kept = chance.between(self.flushed as i64, before as i64);
        if kept < before as i64 {
            self.truncate(kept);
        }
        self.flushed = self.records.len();
        self.process_ended();
        self.records.len() < before
    }
}

fn mix(chain: u64, part: u64) -> u64 {
    let mixed =
        (chain ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    // Never 0: that is the empty log.
    (mixed ^ (mixed >> 29)) | 1
}
