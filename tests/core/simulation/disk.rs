//! A disk with power cuts. The event log is the real one, on a file system in memory if available; the
//! cache may lose any part of its content, as sled was observed to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::path::PathBuf;

use doorward::core::Batch;
use doorward::core::RecoveredState;
use doorward_protocol::event_log::LogWrite;
use doorward_protocol::event_log::record::{Event, Record};
use doorward_protocol::gate::Permit;
use doorward_protocol::wire::{Bundle, Checkpoint, Class, Envelope, Hash, hash};
use doorward_transport::event_log::{Damage, Log};

use super::oracle::is_in_memory_read;
use super::random::Random;
use doorward_testkit::*;

pub(crate) struct Disk {
    directory: tempfile::TempDir,
    log: Option<Log>,
    cache: BTreeMap<String, Vec<u8>>,
    /// The cache as it was at some earlier time.
    old_cache: BTreeMap<String, Vec<u8>>,
    registration: Option<Vec<u8>>,
    issuers: Option<Vec<u8>>,
    /// Hash of every record that was reported durable.
    durable: Vec<Hash>,
    /// Whether the last power cut left allocated space without data.
    unfilled: bool,
    /// Commands that are allowed, and those that have started, by the durable log.
    allowed: BTreeSet<Hash>,
    started: BTreeSet<Hash>,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let memory = std::path::Path::new("/dev/shm");
        let directory = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        Self {
            directory: directory.unwrap(),
            log: None,
            cache: BTreeMap::new(),
            old_cache: BTreeMap::new(),
            registration: None,
            issuers: None,
            durable: Vec::new(),
            unfilled: false,
            allowed: BTreeSet::new(),
            started: BTreeSet::new(),
        }
    }

    /// A start of the daemon: every record that was reported durable must exist.
    pub(crate) fn open(&mut self) -> (RecoveredState, bool) {
        let opened = Log::open(&self.path()).unwrap();
        self.log = Some(opened.log);
        let found: Vec<Hash> = opened.records.iter().map(|r| hash(&r.encode())).collect();
        let first = opened.records.first().map_or(0, |record| record.seq) as usize;
        assert!(
            first + found.len() >= self.durable.len(),
            "durable records were lost"
        );
        assert_eq!(
            found[..self.durable.len() - first],
            self.durable[first..],
            "the log was rewritten"
        );
        self.durable.truncate(first);
        self.durable.extend(found);
        let broken = matches!(opened.damage, Some(Damage::Broken { .. }));
        assert!(
            !broken || self.unfilled,
            "damaged without a cause: {:?}",
            opened.damage
        );
        self.unfilled = false;
        let torn = matches!(opened.damage, Some(Damage::Torn { .. }));
        let issuers = match &self.issuers {
            None => issuers(),
            Some(bytes) => {
                let bundle = Bundle::parse(bytes).unwrap();
                bundle.statements[0].as_ref().unwrap().claims().unwrap()
            }
        };
        let found = RecoveredState {
            device: id("ups-7"),
            key: key("device"),
            issuers,
            registration: self.registration.clone(),
            records: opened.records,
            statements: self.cache.values().cloned().collect(),
            log_broken: opened.damage.is_some_and(|damage| damage.is_break()),
            salvaged: opened.salvaged,
        };
        (found, torn)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Makes a batch durable.
    pub(crate) fn commit(&mut self, batch: &Batch) {
        self.registration = batch.registration.clone().or(self.registration.take());
        self.write_cache(batch);
        self.log.as_mut().unwrap().write(&batch.log).unwrap();
        for write in &batch.log {
            if let LogWrite::Append(bytes) = write {
                self.durable.push(hash(bytes));
                self.note(&Record::decode(bytes).unwrap().event);
            }
        }
        self.issuers = batch.issuers.clone().or(self.issuers.take());
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Intent(intent) => self.allowed.insert(intent.asked.command),
            Event::Executing(command, _) => self.started.insert(*command),
            _ => return,
        };
    }

    /// Checks that a running command was recorded before, unless it is an in-memory read.
    pub(crate) fn assert_started(&self, permit: &Permit) {
        let command = &permit.caller().command;
        let allowed = self.allowed.contains(command) || is_in_memory_read(permit);
        assert!(allowed, "no record allows it");
        let started = permit.class() == Class::Read || self.started.contains(command);
        assert!(started, "no record of its start");
    }

    /// Checks that a checkpoint names an existing record.
    pub(crate) fn assert_head(&self, bytes: &[u8]) {
        let checkpoint: Checkpoint = Envelope::parse(bytes).unwrap().claims().unwrap();
        let head = checkpoint.body.log;
        let at = usize::try_from(head.size).unwrap() - 1;
        assert_eq!(self.durable.get(at), Some(&head.hash), "a wrong log head");
    }

    fn write_cache(&mut self, batch: &Batch) {
        self.cache.extend(batch.put.iter().cloned());
        for name in &batch.remove {
            self.cache.remove(name);
        }
    }

    /// A power cut while a batch is written: its parts are written in order, and the last one possibly
    /// only in part.
    pub(crate) fn lose_power(&mut self, batch: Option<&Batch>, random: &mut Random) {
        if let Some(batch) = batch {
            self.tear(batch, random);
        }
        self.log = None;
        if random.percent(30) && self.damage().is_none() {
            // The log is trimmed while the daemon is stopped.
            doorward::store::trim_log(self.directory.path()).unwrap();
        }
        match random.below(10) {
            0 => self.cache.clear(),
            1 => self.cache.clone_from(&self.old_cache),
            2 => self.cache.retain(|_, _| random.percent(70)),
            3 => self.old_cache.clone_from(&self.cache),
            _ => {}
        }
    }

    fn tear(&mut self, batch: &Batch, random: &mut Random) {
        let reached = random.below(8);
        if reached >= 1 {
            self.registration = batch.registration.clone().or(self.registration.take());
        }
        if reached >= 2 {
            self.write_cache(batch);
        }
        if reached >= 3 && !batch.log.is_empty() {
            let written = random.index(batch.log.len() + 1);
            let before = self.newest_segment();
            // The marker is deleted once the whole batch is durable, so it still exists.
            let marker = self.path().join("unanswered");
            let marked = marker.exists();
            self.log
                .as_mut()
                .unwrap()
                .write(&batch.log[..written])
                .unwrap();
            if marked {
                std::fs::write(marker, b"").unwrap();
            }
            let Some((path, length)) = self.newest_segment() else {
                return;
            };
            // No part of this batch was reported durable, so any end of it may be missing.
            let kept = match before {
                Some((old, kept)) if old == path => kept,
                _ => 0,
            };
            let cut = kept + random.below(length - kept + 1);
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(cut).unwrap();
            if random.percent(20) {
                // Allocated space without data.
                file.set_len(cut + random.below(4096)).unwrap();
                self.unfilled = true;
            }
        }
    }

    fn newest_segment(&self) -> Option<(PathBuf, u64)> {
        let mut segments: Vec<_> = std::fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "log"))
            .collect();
        segments.sort();
        let path = segments.pop()?;
        let length = std::fs::metadata(&path).unwrap().len();
        Some((path, length))
    }

    fn damage(&self) -> Option<Damage> {
        doorward_transport::event_log::read_log(&self.path())
            .unwrap()
            .damage
    }

    /// Returns all records of the log on disk.
    pub(crate) fn records(&self) -> Vec<Record> {
        let found = doorward_transport::event_log::read_log(&self.path()).unwrap();
        assert_eq!(found.damage, None);
        found.records
    }
}
