//! Operators' orders: freeze, thaw, sync, reload. A master file is written only from what is on the disk already, and an answer is
//! given only when the note of it is.

use super::held::{FileWanted, Held, Waiting, digest};
use super::journal::Entry;
use super::{Order, RequestId, Serial, Store, StoreEffect, difference};
use crate::config::ZoneKind;
use crate::name::Name;
use crate::wire::rcode;
use crate::zone::Zone;
use farm_shared::time::Now;

impl Store {
    pub(super) fn order(&mut self, now: Now, request: RequestId, apex: &Name, order: Order) -> Vec<StoreEffect> {
        let result = match self.zones.get_mut(apex) {
            None => Err(format!("{apex} is no zone of this server")),
            Some(held) if held.spec.kind == ZoneKind::Secondary => {
                Err(format!("{apex} is a secondary: its data is its primaries'"))
            }
            Some(held) if !held.is_dynamic() => {
                Err(format!("{apex} takes no updates: its master file is read by `dnslb reload`"))
            }
            Some(held) if held.file_wanted.is_some() => Err(format!("the master file of {apex} is being written")),
            Some(held) => obey(held, now, request, order),
        };
        result.err().map(|why| StoreEffect::Answer(request, Err(why))).into_iter().collect()
    }

    pub(super) fn file_written(&mut self, apex: &Name, result: Result<(), String>) -> Vec<StoreEffect> {
        let Some(held) = self.zones.get_mut(apex) else { return Vec::new() };
        let Some(wanted) = held.file_wanted.take() else { return Vec::new() };
        match result {
            Ok(()) => {
                held.note(Entry::Seed(digest(&held.now.zone)));
                let said = format!("{}: written, serial {}", held.spec.file, held.now.zone.serial());
                let said = if wanted.freeze { format!("{apex} is frozen; {said}") } else { said };
                held.waiting.push((Waiting::Operator(wanted.request, said), rcode::NOERROR));
                Vec::new()
            }
            Err(why) => {
                if wanted.freeze {
                    held.note(Entry::Frozen(false));
                }
                vec![StoreEffect::Answer(wanted.request, Err(why))]
            }
        }
    }
}

fn obey(held: &mut Held, now: Now, request: RequestId, order: Order) -> Result<(), String> {
    let apex = held.spec.name.clone();
    match order {
        Order::Freeze if held.next.frozen => return Err(format!("{apex} is frozen already")),
        Order::Freeze => {
            held.note(Entry::Frozen(true));
            held.file_wanted = Some(FileWanted { request, freeze: true, asked: false });
            return Ok(());
        }
        Order::Sync => {
            held.file_wanted = Some(FileWanted { request, freeze: false, asked: false });
            return Ok(());
        }
        Order::Thaw(_) if !held.next.frozen => return Err(format!("{apex} is not frozen")),
        Order::Thaw(zone) => {
            take_file(held, now, &zone)?;
            held.note(Entry::Frozen(false));
        }
        Order::Reload(zone) => take_file(held, now, &zone)?,
    }
    let said = format!("{apex}: serial {}", held.next.zone.serial());
    held.waiting.push((Waiting::Operator(request, said), rcode::NOERROR));
    Ok(())
}

/// The master file becomes the zone.
fn take_file(held: &mut Held, now: Now, file: &Zone) -> Result<(), String> {
    if let Some(diff) = difference(&held.next.zone, file, Serial::Rising) {
        held.change(now.wall, diff).map_err(|why| why.to_string())?;
    }
    held.note(Entry::Seed(digest(file)));
    Ok(())
}
