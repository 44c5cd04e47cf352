//! A disk that loses power. The log is the real one, on a file system in memory where there
//! is one; the cache loses whatever it likes, as sled was seen to.

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

use super::oracle::is_look;
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
    /// Whether the last power cut left room that was made and not filled.
    room: bool,
    /// Commands that the durable log says are allowed, and those that it says have begun.
    allowed: BTreeSet<Hash>,
    begun: BTreeSet<Hash>,
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
            room: false,
            allowed: BTreeSet::new(),
            begun: BTreeSet::new(),
        }
    }

    /// The daemon starts. All that was ever reported durable must be there.
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
            "the log was written anew"
        );
        self.durable.truncate(first);
        self.durable.extend(found);
        let broken = matches!(opened.damage, Some(Damage::Broken { .. }));
        assert!(
            !broken || self.room,
            "broken by itself: {:?}",
            opened.damage
        );
        self.room = false;
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
            Event::Executing(command, _) => self.begun.insert(*command),
            _ => return,
        };
    }

    /// What runs was written down before, unless it only looks at memory.
    pub(crate) fn assert_begun(&self, permit: &Permit) {
        let command = &permit.caller().command;
        let allowed = self.allowed.contains(command) || is_look(permit);
        assert!(allowed, "no record allows it");
        let begun = permit.class() == Class::Read || self.begun.contains(command);
        assert!(begun, "no record says that it began");
    }

    /// A checkpoint is about records that are there.
    pub(crate) fn assert_head(&self, bytes: &[u8]) {
        let checkpoint: Checkpoint = Envelope::parse(bytes).unwrap().claims().unwrap();
        let head = checkpoint.body.log;
        let at = usize::try_from(head.size).unwrap() - 1;
        assert_eq!(self.durable.get(at), Some(&head.hash), "an untrue head");
    }

    fn write_cache(&mut self, batch: &Batch) {
        self.cache.extend(batch.put.iter().cloned());
        for name in &batch.remove {
            self.cache.remove(name);
        }
    }

    /// Power goes while a batch is written: the parts are written in order, and of the last
    /// write some bytes.
    pub(crate) fn lose_power(&mut self, batch: Option<&Batch>, random: &mut Random) {
        if let Some(batch) = batch {
            self.tear(batch, random);
        }
        self.log = None;
        if random.percent(30) && self.damage().is_none() {
            // Somebody makes room while the daemon is down.
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
            let whole = random.index(batch.log.len() + 1);
            let before = self.newest_segment();
            // It goes when all of a batch is durable, so it is still there.
            let marker = self.path().join("unanswered");
            let marked = marker.exists();
            self.log
                .as_mut()
                .unwrap()
                .write(&batch.log[..whole])
                .unwrap();
            if marked {
                std::fs::write(marker, b"").unwrap();
            }
            let Some((path, length)) = self.newest_segment() else {
                return;
            };
            // Nothing of this batch was reported durable: any end of it may be missing.
            let kept = match before {
                Some((old, kept)) if old == path => kept,
                _ => 0,
            };
            let cut = kept + random.below(length - kept + 1);
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(cut).unwrap();
            if random.percent(20) {
                // Room that was made and not filled.
                file.set_len(cut + random.below(4096)).unwrap();
                self.room = true;
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

    /// The whole log as it is on disk.
    pub(crate) fn records(&self) -> Vec<Record> {
        let found = doorward_transport::event_log::read_log(&self.path()).unwrap();
        assert_eq!(found.damage, None);
        found.records
    }
}
