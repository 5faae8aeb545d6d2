//! Stopping an instance that is to be started again, starting it, restarting it, and marking one as kept.
//!
//! A stopped instance keeps its address, its directory and its key; its processes are others afterwards. It must never start one
//! whose old processes may still run.

use super::{Inner, Phase, ProcessProvider, disk, error, instance, instance_id};
use crate::provider::record::Record;
use crate::provider::{ErrorKind, Instance, ProviderError};

impl ProcessProvider {
    /// Stops one instance, and returns when none of its processes runs any more.
    pub async fn stop(&self, wanted: &str) -> Result<Instance, ProviderError> {
        let record = self.0.change(wanted, |record| {
            if record.phase == Phase::Booting {
                record.processes.clear();
            }
            if record.phase != Phase::Stopped {
                record.phase = Phase::Halting;
            }
            Ok(())
        })?;
        if record.phase == Phase::Stopped {
            return Ok(instance(&record));
        }
        self.end_processes(wanted, &record.processes).await?;
        let stopped = self.0.change(wanted, |record| {
            if record.phase == Phase::Halting {
                record.phase = Phase::Stopped;
                record.processes.clear();
            }
            Ok(())
        })?;
        Ok(instance(&stopped))
    }

    /// Starts one that is stopped: its commands are due after a boot delay. One that runs or boots is left as it is.
    pub fn start(&self, wanted: &str) -> Result<Instance, ProviderError> {
        let now = (self.0.wall)().0;
        let delay_ms = self.0.boot_delay_ms();
        let record = self.0.change(wanted, |record| match record.phase {
            Phase::Stopped => {
                record.phase = Phase::Booting;
                record.launched_wall_ms = now;
                record.due_wall_ms = now.saturating_add(delay_ms);
                Ok(())
            }
            Phase::Halting => Err(error(ErrorKind::Transient, "it is being stopped still")),
            Phase::Stopping => Err(error(ErrorKind::NotFound, "it is being terminated")),
            Phase::Booting | Phase::Starting | Phase::Running => Ok(()),
        })?;
        Ok(instance(&record))
    }

    /// Stops one and starts it again.
    pub async fn reboot(&self, wanted: &str) -> Result<Instance, ProviderError> {
        self.stop(wanted).await?;
        self.start(wanted)
    }

    /// Marks one: it failed, and is kept for inspection.
    pub fn mark_kept(&self, wanted: &str) -> Result<Instance, ProviderError> {
        let record = self.0.change(wanted, |record| {
            record.kept = true;
            Ok(())
        })?;
        Ok(instance(&record))
    }
}

impl Inner {
    /// Changes a record, on disk first.
    fn change(
        &self,
        wanted: &str,
        change: impl FnOnce(&mut Record) -> Result<(), ProviderError>,
    ) -> Result<Record, ProviderError> {
        let mut state = self.lock();
        let record = state.records.values_mut().find(|r| instance_id(&r.member_id) == wanted);
        let record = record.ok_or_else(|| error(ErrorKind::NotFound, wanted))?;
        let mut next = record.clone();
        change(&mut next)?;
        if next != *record {
            self.shelf.save(&next).map_err(|e| disk(&e))?;
            record.clone_from(&next);
        }
        Ok(next)
    }

    fn boot_delay_ms(&self) -> u64 {
        self.lock().draws.jitter_ms(self.settings.boot_delay_ms, self.settings.boot_delay_jitter)
    }
}
