//! Content of a disk after a power cut, from the trace of file operations. As strict as POSIX allows:
//! data is durable when its file was synced, a name when its directory was.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::story::Observed;

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Write(PathBuf, u64, Vec<u8>),
    Truncate(PathBuf, u64),
    Sync(PathBuf),
    Create(PathBuf),
    Directory(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// Fate of data that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Lost,
    Kept,
    /// Some writes are present, some are missing, some are partial, in any order.
    Torn,
    /// The file has its length, and some of the data is zero.
    Zeroed,
}

pub(crate) fn read_trace(path: &Path) -> Vec<Op> {
    let bytes = std::fs::read(path).unwrap();
    let mut rest = bytes.as_slice();
    let mut ops = Vec::new();
    while let Some((op, after)) = rest.split_first() {
        let number = |at: usize| u64::from_ne_bytes(after[at * 8..at * 8 + 8].try_into().unwrap());
        let [path, to, offset, length] = std::array::from_fn(number);
        let after = &after[32..];
        let (path, after) = after.split_at(path as usize);
        let (to, after) = after.split_at(to as usize);
        let path = PathBuf::from(std::str::from_utf8(path).unwrap());
        let to = PathBuf::from(std::str::from_utf8(to).unwrap());
        let data = if *op == b'w' { length as usize } else { 0 };
        let (data, after) = after.split_at(data);
        ops.push(match op {
            b'w' => Op::Write(path, offset, data.to_vec()),
            b't' => Op::Truncate(path, offset),
            b's' => Op::Sync(path),
            b'c' => Op::Create(path),
            b'd' => Op::Directory(path),
            b'r' => Op::Rename(path, to),
            b'u' => Op::Remove(path),
            other => panic!("unknown operation {other}"),
        });
        rest = after;
    }
    ops
}

/// Returns the lines that the worker had written to `marks` before an operation.
pub(crate) fn marks(trace: &[Op], until: usize) -> Vec<String> {
    let mut text = Vec::new();
    for op in &trace[..until] {
        if let Op::Write(path, _, data) = op
            && path.ends_with("marks")
        {
            text.extend_from_slice(data);
        }
    }
    let text = String::from_utf8(text).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Clone, Default)]
struct Node {
    directory: bool,
    synced: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum NameChange {
    Linked(PathBuf, usize),
    Unlinked(PathBuf),
}

#[derive(Default)]
struct Model {
    nodes: Vec<Node>,
    /// Names as the program sees them.
    names: BTreeMap<PathBuf, usize>,
    /// Durable names.
    durable: BTreeMap<PathBuf, usize>,
    /// Changes of names since their directory was last synced, in order.
    name_changes: Vec<NameChange>,
}

fn apply_change(data: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(offset, bytes) => {
            let end = *offset as usize + bytes.len();
            data.resize(data.len().max(end), 0);
            data[*offset as usize..end].copy_from_slice(bytes);
        }
        Change::Length(length) => data.resize(*length as usize, 0),
    }
}

impl Model {
    fn node(&mut self, path: &Path) -> Option<&mut Node> {
        let node = *self.names.get(path)?;
        self.nodes.get_mut(node)
    }

    fn create(&mut self, path: &Path, directory: bool) {
        self.nodes.push(Node {
            directory,
            ..Node::default()
        });
        self.link(path, self.nodes.len() - 1);
    }

    fn link(&mut self, path: &Path, node: usize) {
        self.names.insert(path.to_owned(), node);
        self.name_changes
            .push(NameChange::Linked(path.to_owned(), node));
    }

    fn unlink(&mut self, path: &Path) {
        self.names.remove(path);
        self.name_changes
            .push(NameChange::Unlinked(path.to_owned()));
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Write(path, offset, data) => {
                if let Some(node) = self.node(path) {
                    node.pending.push(Change::Write(*offset, data.clone()));
                }
            }
            Op::Truncate(path, length) => {
                if let Some(node) = self.node(path) {
                    node.pending.push(Change::Length(*length));
                }
            }
            Op::Create(path) => self.create(path, false),
            Op::Directory(path) => self.create(path, true),
            Op::Remove(path) => self.unlink(path),
            Op::Rename(from, to) => self.rename(from, to),
            Op::Sync(path) => self.sync(path),
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        let moved: Vec<_> = self
            .names
            .range(from.to_owned()..)
            .take_while(|(path, _)| path.starts_with(from))
            .map(|(path, node)| (path.clone(), *node))
            .collect();
        for (path, node) in moved {
            let rest = path.strip_prefix(from).unwrap();
            let there = match rest.as_os_str().is_empty() {
                true => to.to_owned(),
                false => to.join(rest),
            };
            self.unlink(&path);
            self.link(&there, node);
            // The content of a directory moves with its name.
            if path != from && self.durable.contains_key(&path) {
                self.durable.insert(there, node);
            }
        }
    }

    fn sync(&mut self, path: &Path) {
        let Some(node) = self.node(path) else {
            // The directory of the world itself, which existed before.
            return self.sync_names(path);
        };
        if node.directory {
            return self.sync_names(path);
        }
        for change in std::mem::take(&mut node.pending) {
            apply_change(&mut node.synced, &change);
        }
    }

    fn sync_names(&mut self, directory: &Path) {
        let changes = std::mem::take(&mut self.name_changes);
        for change in changes {
            let path = match &change {
                NameChange::Linked(path, _) | NameChange::Unlinked(path) => path,
            };
            match path.parent() == Some(directory) {
                true => self.make_durable(&change),
                false => self.name_changes.push(change),
            }
        }
    }

    fn make_durable(&mut self, change: &NameChange) {
        match change {
            NameChange::Linked(path, node) => self.durable.insert(path.clone(), *node),
            NameChange::Unlinked(path) => self.durable.remove(path),
        };
    }

    /// Writes the remaining files to `to`.
    fn write_to(mut self, mode: Mode, chance: &mut impl FnMut(u64) -> u64, from: &Path, to: &Path) {
        let kept = match mode {
            Mode::Lost => 0,
            Mode::Kept => self.name_changes.len(),
            Mode::Torn | Mode::Zeroed => chance(self.name_changes.len() as u64 + 1) as usize,
        };
        for change in self.name_changes.split_off(0).iter().take(kept) {
            self.make_durable(change);
        }
        for (path, node) in &self.durable {
            let place = to.join(path.strip_prefix(from).unwrap());
            if self.nodes[*node].directory {
                std::fs::create_dir_all(&place).unwrap();
                continue;
            }
            // A file is lost with its directory if the directory has no durable name.
            if !place.parent().unwrap().is_dir() {
                continue;
            }
            let data = surviving_data(&self.nodes[*node], mode, chance);
            std::fs::write(&place, data).unwrap();
        }
    }
}

fn surviving_data(node: &Node, mode: Mode, chance: &mut impl FnMut(u64) -> u64) -> Vec<u8> {
    let mut data = node.synced.clone();
    for change in &node.pending {
        match (mode, change) {
            (Mode::Lost, _) => {}
            (Mode::Kept, change) | (_, change @ Change::Length(_)) => {
                apply_change(&mut data, change)
            }
            (Mode::Torn, Change::Write(offset, bytes)) => match chance(3) {
                0 => {}
                1 => apply_change(&mut data, change),
                _ => {
                    let cut = chance(bytes.len() as u64 + 1) as usize;
                    apply_change(&mut data, &Change::Write(*offset, bytes[..cut].to_vec()));
                }
            },
            (Mode::Zeroed, Change::Write(offset, bytes)) => {
                let bytes = match chance(2) {
                    0 => vec![0; bytes.len()],
                    _ => bytes.clone(),
                };
                apply_change(&mut data, &Change::Write(*offset, bytes));
            }
        }
    }
    data
}

/// Makes the disk after a power cut chosen by the seed; returns what was observed until then.
pub(crate) fn after_cut(trace: &[Op], seed: u64, to: &Path, from: &Path) -> Observed {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let mut chance = |end: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % end
    };
    let cut = chance(trace.len() as u64 + 1) as usize;
    let mut model = Model::default();
    for op in &trace[..cut] {
        model.apply(op);
    }
    let mode = Mode::of(seed);
    model.write_to(mode, &mut chance, from, to);
    Observed::from_marks(&marks(trace, cut))
}

/// Makes the disk as the program saw it before an operation; returns what was observed until then.
pub(crate) fn before_operation(trace: &[Op], at: usize, to: &Path, from: &Path) -> Observed {
    let mut model = Model::default();
    for op in &trace[..at] {
        model.apply(op);
    }
    model.write_to(Mode::Kept, &mut |_| 0, from, to);
    Observed::from_marks(&marks(trace, at))
}

/// Returns every file below a directory.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let place = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::copy(file, place).unwrap();
    }
}
