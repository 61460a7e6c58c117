//! Judges a made-up history of many acknowledged records and prints how long that took and how much memory.
//!
//! `cargo run -p foz-judge --release --example measure [records]`

#![allow(clippy::disallowed_methods, clippy::print_stdout)] // a program that measures, not the library

use std::time::{Duration, Instant};

use foz_judge::event::{Ack, Event, FinalRead, Poll, Records, ReplicaEntry, ReplicaLog, Send};
use foz_judge::{Checker, Settings};

const PARTITIONS: u64 = 12;
const LINE_RECORDS: u64 = 500;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let records: u64 = std::env::args()
        .nth(1)
        .map_or(Ok(10_000_000), |text| text.parse())?;
    let mut judge = Judge::default();
    // Written and read by two consumers while it goes on.
    for line in 0..records / LINE_RECORDS {
        let (partition, t_us) = ((line % PARTITIONS) as i32, line * 100);
        let client = (line % 4) as u32;
        let values: Vec<u64> = (line * LINE_RECORDS..)
            .take(LINE_RECORDS as usize)
            .collect();
        let records = records_of(line, &values);
        let topic = || "orders".to_owned();
        judge.take(&Event::Send(Send {
            t_us,
            client,
            topic: topic(),
            partition,
            values: values.clone(),
            transaction: None,
            sources: None,
        }))?;
        let (offsets, t_us) = (records.offsets.clone(), t_us + 50);
        judge.take(&Event::Ack(Ack {
            t_us,
            client,
            topic: topic(),
            partition,
            values,
            offsets,
        }))?;
        for client in [100, 101] {
            judge.take(&Event::Poll(Poll {
                t_us,
                client,
                topic: topic(),
                partition,
                records: records.clone(),
                position_before: None,
                position_after: None,
                transaction: None,
            }))?;
        }
    }
    // Read to the end, and the logs of three replicas.
    let t_us = records * 100;
    for line in 0..records / LINE_RECORDS {
        let (partition, topic) = ((line % PARTITIONS) as i32, "orders".to_owned());
        let values: Vec<u64> = (line * LINE_RECORDS..)
            .take(LINE_RECORDS as usize)
            .collect();
        let records = records_of(line, &values);
        let begin_offset = records.offsets[0];
        let end_offset = begin_offset + LINE_RECORDS as i64;
        for node in 1..=3 {
            let entries = records.offsets.iter().zip(&values).map(|(offset, value)| {
                let (offset, value) = (*offset, Some(*value));
                ReplicaEntry {
                    offset,
                    leader_epoch: 7,
                    value,
                    crc: 99,
                }
            });
            judge.take(&Event::ReplicaLog(ReplicaLog {
                t_us,
                node,
                topic: topic.clone(),
                partition,
                start_offset: begin_offset,
                end_offset,
                entries: entries.collect(),
            }))?;
        }
        judge.take(&Event::FinalRead(FinalRead {
            t_us,
            topic,
            partition,
            begin_offset,
            end_offset,
            records,
            read_committed: false,
        }))?;
    }
    let began = Instant::now();
    let report = judge.checker.finish();
    judge.judging += began.elapsed();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or("VmHWM: unknown");
    print!("{report}");
    println!(
        "{} MB of JSON; parsed in {:.1} s, judged in {:.1} s; {peak}",
        judge.bytes / 1_000_000,
        judge.parsing.as_secs_f64(),
        judge.judging.as_secs_f64()
    );
    Ok(())
}

struct Judge {
    checker: Checker,
    bytes: usize,
    parsing: Duration,
    judging: Duration,
}

impl Default for Judge {
    fn default() -> Self {
        let checker = Checker::new(Settings::default());
        Judge {
            checker,
            bytes: 0,
            parsing: Duration::ZERO,
            judging: Duration::ZERO,
        }
    }
}

impl Judge {
    /// By way of its JSON, as from a file.
    fn take(&mut self, event: &Event) -> Result<(), serde_json::Error> {
        let line = event.to_json();
        self.bytes += line.len() + 1;
        let began = Instant::now();
        let event = Event::from_json(line.as_bytes())?;
        self.parsing += began.elapsed();
        let began = Instant::now();
        self.checker.observe(&event);
        self.judging += began.elapsed();
        Ok(())
    }
}

fn records_of(line: u64, values: &[u64]) -> Records {
    let first = (line / PARTITIONS * LINE_RECORDS) as i64;
    Records {
        offsets: (first..).take(values.len()).collect(),
        values: values.to_vec(),
        leader_epochs: vec![7; values.len()],
    }
}
