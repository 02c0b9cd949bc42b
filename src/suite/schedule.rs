//! Schedules cells: as many concurrent guests as CPUs and memory allow, longest first. Pure: no clock, no guests.
//!
//! Each target (kernel x machine) is prepared once before its cells run: inputs are looked up and the snapshot is made.
//! Cells that share guests run one after another in the guest of the thread that took the first of them.

use std::collections::VecDeque;

/// Amount of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// CPUs, or guests.
    pub slots: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
}

/// Resources that a guest needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestNeeds {
    /// CPUs, or 1 if guests are counted.
    pub slots: u32,
    /// Memory of a booting guest, MiB.
    pub cold_mib: u64,
    /// Memory of a cell's guest, MiB.
    pub cell_mib: u64,
}

/// A cell to schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Job {
    /// Index of its target.
    pub target: usize,
    /// True if it may share a guest.
    pub shares: bool,
    /// Expected duration, seconds; `None` if unknown.
    pub expected: Option<f64>,
}

/// Work for a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Prepare a target.
    Prepare(usize),
    /// Run a cell.
    Run(usize),
}

/// Next action of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Do this.
    Start(Task),
    /// Wait until something else has ended.
    Wait,
    /// Nothing is left to do.
    Done,
}

/// Waiting and running work.
#[derive(Debug)]
pub struct Schedule {
    jobs: Vec<Job>,
    targets: Vec<TargetQueue>,
    limit: Resources,
    in_use: Resources,
    running: usize,
    is_stopped: bool,
}

/// Waiting cells of a target, longest first.
#[derive(Debug)]
struct TargetQueue {
    need: GuestNeeds,
    state: TargetState,
    isolated: VecDeque<usize>,
    shared: VecDeque<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TargetState {
    Unprepared,
    Preparing,
    Ready,
}

impl Schedule {
    /// Creates a schedule of cells. `needs` are the needs of each target's guests.
    pub fn new(jobs: Vec<Job>, needs: &[GuestNeeds], limit: Resources) -> Self {
        let line = |need: &GuestNeeds| TargetQueue {
            need: *need,
            state: TargetState::Unprepared,
            isolated: VecDeque::new(),
            shared: VecDeque::new(),
        };
        let mut targets: Vec<TargetQueue> = needs.iter().map(line).collect();
        let mut order: Vec<usize> = (0..jobs.len()).collect();
        // An unknown duration may be long. The plan's order breaks ties.
        order.sort_by(|one, other| expected_duration(&jobs[*other]).total_cmp(&expected_duration(&jobs[*one])));
        for cell in order {
            let line = &mut targets[jobs[cell].target];
            let waiting = if jobs[cell].shares { &mut line.shared } else { &mut line.isolated };
            waiting.push_back(cell);
        }
        Self { jobs, targets, limit, in_use: Resources { slots: 0, memory_mib: 0 }, running: 0, is_stopped: false }
    }

    /// Returns the next action and counts it as started.
    pub fn next(&mut self) -> Action {
        let waits = |line: &TargetQueue| !(self.is_stopped || line.isolated.is_empty() && line.shared.is_empty());
        let best = (0..self.targets.len())
            .filter(|at| waits(&self.targets[*at]) && self.can_start(*at))
            // Prefer the first of equals: max_by returns the last.
            .rev()
            .max_by(|one, other| self.longest(*one).total_cmp(&self.longest(*other)));
        let Some(target) = best else {
            let is_over = self.running == 0 || !self.targets.iter().any(waits);
            return if is_over { Action::Done } else { Action::Wait };
        };
        let need = self.need(target);
        self.allocate(need);
        let line = &mut self.targets[target];
        match line.state {
            TargetState::Unprepared => {
                line.state = TargetState::Preparing;
                Action::Start(Task::Prepare(target))
            }
            TargetState::Preparing | TargetState::Ready => {
                let first = |cell: Option<&usize>| cell.map_or(-1.0, |cell| expected_duration(&self.jobs[*cell]));
                let shares = first(line.shared.front()) > first(line.isolated.front());
                let waiting = if shares { &mut line.shared } else { &mut line.isolated };
                waiting.pop_front().map_or(Action::Wait, |cell| Action::Start(Task::Run(cell)))
            }
        }
    }

    /// Returns another cell for the guest of a shared cell that has ended. The guest's resources stay allocated.
    pub fn next_shared(&mut self, cell: usize) -> Option<usize> {
        if self.is_stopped {
            return None;
        }
        self.targets[self.jobs[cell].target].shared.pop_front()
    }

    /// Marks a target as prepared. If it is unusable, returns its cells, none of which will run.
    pub fn prepared(&mut self, target: usize, is_usable: bool) -> Vec<usize> {
        let (slots, memory) = amounts(self.targets[target].need, true);
        self.release(slots, memory);
        let line = &mut self.targets[target];
        line.state = TargetState::Ready;
        if is_usable {
            return Vec::new();
        }
        let mut lost: Vec<usize> = line.isolated.drain(..).chain(line.shared.drain(..)).collect();
        lost.sort_unstable();
        lost
    }

    /// Records that a target's guests boot, although they were expected to be restored.
    pub fn set_cold(&mut self, target: usize) {
        let need = &mut self.targets[target].need;
        need.cell_mib = need.cold_mib;
    }

    /// Releases the resources of a cell's guest.
    pub fn ended(&mut self, cell: usize) {
        let (slots, memory) = amounts(self.targets[self.jobs[cell].target].need, false);
        self.release(slots, memory);
    }

    /// Starts no further work.
    pub fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// Resources in use.
    #[cfg(test)]
    fn in_use(&self) -> Resources {
        self.in_use
    }

    fn can_start(&self, target: usize) -> bool {
        let Resources { slots, memory_mib } = self.need(target);
        // A machine may have any number of CPUs: `-smp 4294967295` never fits and runs alone.
        let fits = self.in_use.slots.saturating_add(slots) <= self.limit.slots
            && self.in_use.memory_mib.saturating_add(memory_mib) <= self.limit.memory_mib;
        // A guest that never fits runs alone.
        self.targets[target].state != TargetState::Preparing && (fits || self.running == 0)
    }

    /// Returns the resources that a target's next step needs.
    fn need(&self, target: usize) -> Resources {
        let line = &self.targets[target];
        let (slots, memory_mib) = amounts(line.need, line.state == TargetState::Unprepared);
        Resources { slots, memory_mib }
    }

    fn longest(&self, target: usize) -> f64 {
        let TargetQueue { isolated, shared, .. } = &self.targets[target];
        let first = [isolated.front(), shared.front()].into_iter().flatten();
        first.map(|cell| expected_duration(&self.jobs[*cell])).fold(-1.0, f64::max)
    }

    fn allocate(&mut self, need: Resources) {
        self.in_use.slots = self.in_use.slots.saturating_add(need.slots);
        self.in_use.memory_mib = self.in_use.memory_mib.saturating_add(need.memory_mib);
        self.running += 1;
    }

    fn release(&mut self, slots: u32, memory_mib: u64) {
        self.in_use.slots = self.in_use.slots.saturating_sub(slots);
        self.in_use.memory_mib = self.in_use.memory_mib.saturating_sub(memory_mib);
        self.running = self.running.saturating_sub(1);
    }
}

fn amounts(need: GuestNeeds, boots: bool) -> (u32, u64) {
    (need.slots, if boots { need.cold_mib } else { need.cell_mib })
}

fn expected_duration(job: &Job) -> f64 {
    job.expected.unwrap_or(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::{Action, GuestNeeds, Job, Resources, Schedule, Task};
    use proptest::prelude::{any, prop};
    use proptest::{prop_assert, prop_assert_eq};

    const NEED: GuestNeeds = GuestNeeds { slots: 1, cold_mib: 1024, cell_mib: 600 };

    fn isolated(target: usize, expected: f64) -> Job {
        Job { target, shares: false, expected: Some(expected) }
    }

    /// Starts everything that can start now.
    fn started(schedule: &mut Schedule) -> Vec<Task> {
        std::iter::from_fn(|| match schedule.next() {
            Action::Start(step) => Some(step),
            Action::Wait | Action::Done => None,
        })
        .collect()
    }

    #[test]
    fn cells_of_unknown_duration_start_first_then_the_longest() {
        let jobs =
            vec![isolated(0, 1.0), isolated(0, 5.0), Job { expected: None, ..isolated(0, 0.0) }, isolated(0, 3.0)];
        let mut schedule = Schedule::new(jobs, &[NEED], Resources { slots: 9, memory_mib: 99_999 });
        assert_eq!(started(&mut schedule), [Task::Prepare(0)]);
        assert!(schedule.prepared(0, true).is_empty());
        assert_eq!(started(&mut schedule), [2, 1, 3, 0].map(Task::Run));
    }

    #[test]
    fn a_machine_that_never_fits_runs_alone() {
        let huge = GuestNeeds { slots: u32::MAX, cold_mib: u64::MAX, cell_mib: u64::MAX };
        let mut schedule =
            Schedule::new(vec![isolated(0, 9.0), isolated(0, 8.0)], &[huge], Resources { slots: 2, memory_mib: 4096 });
        assert_eq!(started(&mut schedule), [Task::Prepare(0)]);
        schedule.prepared(0, true);
        assert_eq!(started(&mut schedule), [Task::Run(0)]);
        schedule.ended(0);
        assert_eq!(started(&mut schedule), [Task::Run(1)]);
    }

    #[test]
    fn other_cells_start_while_a_snapshot_is_made() {
        let jobs = vec![isolated(0, 9.0), isolated(0, 8.0), isolated(1, 1.0)];
        let mut schedule = Schedule::new(jobs, &[NEED, NEED], Resources { slots: 2, memory_mib: 99_999 });
        assert_eq!(started(&mut schedule), [Task::Prepare(0), Task::Prepare(1)]);
        schedule.prepared(1, true);
        assert_eq!(started(&mut schedule), [Task::Run(2)]);
        schedule.ended(2);
        assert_eq!(schedule.next(), Action::Wait);
        assert_eq!(schedule.prepared(0, false), [0, 1]);
        assert_eq!(schedule.next(), Action::Done);
    }

    #[test]
    fn a_machine_larger_than_the_memory_budget_runs_alone() {
        let large = GuestNeeds { slots: 1, cold_mib: 9_000, cell_mib: 9_000 };
        let jobs = vec![isolated(1, 1.0), isolated(0, 2.0)];
        let mut schedule = Schedule::new(jobs, &[large, NEED], Resources { slots: 4, memory_mib: 2_000 });
        assert_eq!(started(&mut schedule), [Task::Prepare(0)]);
        schedule.prepared(0, true);
        assert_eq!(started(&mut schedule), [Task::Run(1)]);
        schedule.ended(1);
        assert_eq!(started(&mut schedule), [Task::Prepare(1)]);
    }

    #[test]
    fn shared_cells_continue_in_their_guest_until_stopped() {
        let shared = Job { shares: true, ..isolated(0, 1.0) };
        let mut schedule = Schedule::new(vec![shared; 4], &[NEED], Resources { slots: 1, memory_mib: 2_000 });
        assert_eq!(started(&mut schedule), [Task::Prepare(0)]);
        schedule.prepared(0, true);
        assert_eq!(started(&mut schedule), [Task::Run(0)]);
        assert_eq!((schedule.next_shared(0), schedule.next_shared(1)), (Some(1), Some(2)));
        schedule.stop();
        assert_eq!(schedule.next_shared(2), None);
        schedule.ended(2);
        assert_eq!((schedule.next(), schedule.in_use().memory_mib), (Action::Done, 0));
    }

    proptest::proptest! {
        #[test]
        fn every_cell_runs_once_within_the_available_resources(
            needs in prop::collection::vec((1_u32..4, 1_u64..3_000, any::<bool>()), 1..5),
            jobs in prop::collection::vec((0_usize..5, any::<bool>(), prop::option::of(0.0..9.0)), 0..40),
            limit in (1_u32..5, 500_u64..4_000),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let needs: Vec<(GuestNeeds, bool)> = needs
                .into_iter()
                .map(|(slots, cell_mib, is_usable)| (GuestNeeds { slots, cold_mib: cell_mib, cell_mib: cell_mib / 2 }, is_usable))
                .collect();
            let jobs: Vec<Job> = jobs
                .into_iter()
                .map(|(target, shares, expected)| Job { target: target % needs.len(), shares, expected })
                .collect();
            let limit = Resources { slots: limit.0, memory_mib: limit.1 };
            let only: Vec<GuestNeeds> = needs.iter().map(|(need, _)| *need).collect();
            let mut schedule = Schedule::new(jobs.clone(), &only, limit);
            let mut seen = vec![0; jobs.len()];
            let mut running: Vec<Task> = Vec::new();
            let mut picks = picks.into_iter();
            loop {
                match schedule.next() {
                    Action::Start(step) => {
                        running.push(step);
                        let in_use = schedule.in_use();
                        let fits = in_use.slots <= limit.slots && in_use.memory_mib <= limit.memory_mib;
                        prop_assert!(fits || running.len() == 1);
                    }
                    Action::Done => break,
                    Action::Wait => {
                        prop_assert!(!running.is_empty(), "waits although nothing runs");
                        let at = picks.next().map_or(0, |pick| pick.index(running.len()));
                        match running.swap_remove(at) {
                            Task::Prepare(target) => {
                                for lost in schedule.prepared(target, needs[target].1) {
                                    seen[lost] += 1;
                                }
                            }
                            Task::Run(cell) => {
                                seen[cell] += 1;
                                let mut last = cell;
                                while let Some(next) = jobs[last].shares.then(|| schedule.next_shared(last)).flatten() {
                                    seen[next] += 1;
                                    last = next;
                                }
                                schedule.ended(last);
                            }
                        }
                    }
                }
            }
            // Work that still ran when nothing was left to start.
            for step in running {
                match step {
                    Task::Prepare(target) => prop_assert!(schedule.prepared(target, true).is_empty()),
                    Task::Run(cell) => {
                        seen[cell] += 1;
                        schedule.ended(cell);
                    }
                }
            }
            prop_assert_eq!(seen, vec![1; jobs.len()]);
            prop_assert_eq!(schedule.in_use(), Resources { slots: 0, memory_mib: 0 });
        }
    }
}
