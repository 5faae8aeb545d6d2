//! The instances themselves: for each one that moto calls running, a backend and its agent on its private address, which is a loopback
//! address here.
//!
//! It looks at moto past the proxy, as a machine knows better than the API whether it is on. It must never leave a process behind.

use super::moto::Moto;
use super::xml::Element;
use farm_shared::draw::Draws;
use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_millis(250);
/// From SIGTERM to SIGKILL, as a machine that is shut down does it.
const STOP: Duration = Duration::from_secs(2);

/// Makes the commands of an instance, from what moto says of it and its user data (still encoded).
pub type Commands = Arc<dyn Fn(&Element, &str) -> Vec<Command> + Send + Sync>;

/// How instances boot.
#[derive(Debug, Clone, Default)]
pub struct Boots {
    /// Shortest time from running to the start of the processes, in milliseconds.
    pub boot_ms_min: u64,
    /// Longest.
    pub boot_ms_max: u64,
    /// So many of the next instances never start anything.
    pub mute_next: u32,
}

#[derive(Default)]
struct Machine {
    address: String,
    /// When its processes are to start; never, if it is mute.
    due: Option<Instant>,
    /// It reads its user data; machines do so side by side.
    booting: Option<JoinHandle<Vec<Child>>>,
    children: Vec<Child>,
    /// When what does not end by itself is killed.
    dying: Option<Instant>,
}

#[derive(Default)]
struct State {
    boots: Boots,
    machines: BTreeMap<String, Machine>,
    /// Instances that never started anything, on purpose.
    mute: Vec<String>,
    most: usize,
}

/// All of them. Dropping it kills what runs.
pub struct Machines {
    state: Arc<Mutex<State>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Machines {
    /// Begins to look at moto.
    pub fn start(moto: Arc<Moto>, boots: Boots, seed: u64, commands: Commands) -> Self {
        let state = Arc::new(Mutex::new(State { boots, ..State::default() }));
        let (stop, stopped) = channel();
        let shared = Arc::clone(&state);
        let draws = Draws::from_u64(seed).child("boots", 0);
        let thread = std::thread::spawn(move || run(&moto, &shared, draws, &commands, &stopped));
        Self { state, stop: Some(stop), thread: Some(thread) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes how instances boot from now on.
    pub fn boots(&self, change: impl FnOnce(&mut Boots)) {
        change(&mut self.state().boots);
    }

    /// How many have their processes.
    pub fn booted(&self) -> usize {
        self.state().machines.values().filter(|m| !m.children.is_empty() && m.dying.is_none()).count()
    }

    /// Instances that never started anything, on purpose.
    pub fn mute(&self) -> Vec<String> {
        self.state().mute.clone()
    }

    /// Most instances that ran at a time.
    pub fn most(&self) -> usize {
        self.state().most
    }

    /// Kills an instance's processes; moto still calls it running.
    pub fn crash(&self, instance_id: &str) {
        let mut state = self.state();
        let machine = state.machines.get_mut(instance_id).expect("a machine");
        machine.booted(true);
        machine.children.iter_mut().for_each(|child| _ = child.kill());
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().into_iter().for_each(|thread| _ = thread.join());
        for machine in self.state().machines.values_mut() {
            machine.booted(true);
            for child in &mut machine.children {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

impl Machine {
    /// Takes over the processes of a boot that is done, or waits for it.
    fn booted(&mut self, wait: bool) {
        if let Some(boot) = self.booting.take_if(|boot| wait || boot.is_finished()) {
            self.children.extend(boot.join().unwrap_or_default());
        }
    }
}

fn run(moto: &Arc<Moto>, shared: &Mutex<State>, mut draws: Draws, commands: &Commands, stopped: &Receiver<()>) {
    let running = [("Filter.1.Name", "instance-state-name"), ("Filter.1.Value.1", "running")];
    while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        let Ok(answer) = moto.call("DescribeInstances", &running) else { continue };
        let list: BTreeMap<String, &Element> = answer
            .items("reservationSet")
            .flat_map(|r| r.items("instancesSet"))
            .map(|i| (i.text_at("instanceId").to_owned(), i))
            .collect();
        look(moto, &mut shared.lock().unwrap_or_else(PoisonError::into_inner), &list, &mut draws, commands);
    }
}

fn look(moto: &Arc<Moto>, state: &mut State, list: &BTreeMap<String, &Element>, draws: &mut Draws, commands: &Commands) {
    let now = Instant::now();
    let State { boots, machines, mute, most } = state;
    *most = (*most).max(list.len());
    for (id, machine) in machines.iter_mut() {
        machine.booted(false);
        machine.children.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        if list.contains_key(id) && machine.dying.is_none() {
            continue;
        }
        let deadline = *machine.dying.get_or_insert_with(|| {
            machine.children.iter().for_each(terminate);
            now + STOP
        });
        // A boot under way ends first, so that what it starts is not forgotten.
        if deadline < now {
            machine.children.iter_mut().for_each(|child| _ = child.kill());
        }
    }
    machines.retain(|_, machine| machine.dying.is_none() || machine.booting.is_some() || !machine.children.is_empty());
    for (id, instance) in list {
        let address = instance.text_at("privateIpAddress");
        // An address that its last owner has not left yet is not free.
        let taken = machines.iter().any(|(other, m)| other != id && m.address == address);
        if taken || machines.contains_key(id) {
            continue;
        }
        let boot_ms =
            boots.boot_ms_min + draws.below((boots.boot_ms_max.saturating_sub(boots.boot_ms_min) + 1) as usize) as u64;
        let is_mute = boots.mute_next > 0;
        boots.mute_next -= u32::from(is_mute);
        mute.extend(is_mute.then(|| id.clone()));
        let due = (!is_mute).then(|| now + Duration::from_millis(boot_ms));
        machines.insert(id.clone(), Machine { address: address.into(), due, ..Machine::default() });
    }
    for (id, machine) in machines.iter_mut().filter(|(_, m)| m.due.is_some_and(|due| due <= now)) {
        let Some(instance) = list.get(id) else { continue };
        machine.due = None;
        let (moto, commands, id, instance) = (Arc::clone(moto), Arc::clone(commands), id.clone(), (*instance).clone());
        machine.booting = Some(std::thread::spawn(move || {
            let attribute = [("InstanceId", id.as_str()), ("Attribute", "userData")];
            let user_data = moto.call("DescribeInstanceAttribute", &attribute).expect("user data");
            commands(&instance, user_data.text_at("userData/value"))
                .iter_mut()
                .map(|command| command.stdin(Stdio::null()).spawn().unwrap_or_else(|e| panic!("{command:?}: {e}")))
                .collect()
        }));
    }
}

fn terminate(child: &Child) {
    let _ = rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::TERM);
}
