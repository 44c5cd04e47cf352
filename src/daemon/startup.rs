//! Opens the state directory and restores the core, at a start and after a failed write.

use std::collections::BTreeSet;

use crate::config::Config;
use crate::core::Batch;
use crate::core::Core;
use crate::core::CoreConfig;
use crate::core::{Effects, Input};
use crate::daemon::links::first_client;
use crate::operation::OperationTable;
use crate::store::Store;
use doorward_protocol::gate::RebootLimit;
use doorward_protocol::wire::{Bytes, Hash, Timestamp};
use doorward_transport::clock::Clock;
use doorward_transport::files::FileError;

/// Growth of a segment of the log after its snapshot, in bytes.
const SEGMENT: u64 = 1 << 20;

/// The reason why the daemon could not start.
#[derive(Debug)]
pub enum StartError {
    /// The state directory cannot be opened or written.
    Store(FileError),
    /// The kernel's clocks or random numbers cannot be read.
    Machine(std::io::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Machine(error) => write!(
                f,
                "cannot read the kernel's clocks or random numbers: {error}"
            ),
        }
    }
}

impl std::error::Error for StartError {}

/// A restored core; everything that its start has written is durable.
pub(super) struct OpenedCore {
    pub(super) core: Core,
    pub(super) effects: Effects,
    pub(super) store: Store,
    pub(super) notes: Vec<String>,
}

/// Opens the store and restores the core. `running` names the commands whose operations still run
/// in this process.
pub(super) fn open_core(
    config: &Config,
    table: &OperationTable,
    clock: &Clock,
    running: &BTreeSet<Hash>,
) -> Result<OpenedCore, StartError> {
    let mut epoch = Bytes([0; 16]);
    getrandom::fill(&mut epoch.0).map_err(|e| StartError::Machine(e.into()))?;
    let opened = Store::open(&config.state).map_err(StartError::Store)?;
    let (mut store, found, notes) = opened.into_parts();
    for note in &notes {
        tracing::warn!("{note}");
    }
    let settings = CoreConfig {
        offers: table.offers(),
        rebooting: table.rebooting(),
        reboot_limit: RebootLimit {
            max: config.reboots.most,
            seconds: config.reboots.within_s,
        },
        resumable: table.resumable(),
        in_memory_reads: table.in_memory_reads(),
        running: running.clone(),
        built: built(),
        log_limit: config.log.limit_mib << 20,
        segment: SEGMENT,
        firmware: table.firmware(),
        clients: first_client(config),
    };
    let (mut core, mut effects) = Core::start(found, settings, epoch, &clock.read());
    store.commit(&effects.batch).map_err(StartError::Store)?;
    effects.batch = Batch::default();
    let durable = Input::Durable(core.log_size());
    let more = core.handle(durable, &clock.read());
    effects.actions.extend(more.actions);
    Ok(OpenedCore {
        core,
        effects,
        store,
        notes,
    })
}

/// Build time of this program, a lower bound of the current time.
fn built() -> Timestamp {
    Timestamp(env!("DOORWARD_BUILT").parse().unwrap_or(0))
}
