//! Schedules cells: as many concurrent guests as CPUs and memory allow, longest first. Pure: no clock, no guests.
//!
//! Each target (kernel x machine) is prepared once before its cells run: inputs are looked up and the snapshot is made.
//! Cells that share guests run one after another in the guest of the thread that took the first of them.

use std::collections::VecDeque;

/// Amount of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resources {
    /// CPUs, or guests.
    pub(crate) slots: u32,
    /// Memory, MiB.
    pub(crate) memory_mib: u64,
}

/// Resources that a guest needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GuestNeeds {
    /// CPUs, or 1 if guests are counted.
    pub(crate) slots: u32,
    /// Memory of a booting guest, MiB.
    pub(crate) cold_mib: u64,
    /// Memory of a cell's guest, MiB.
    pub(crate) cell_mib: u64,
}

/// A cell to schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Job {
    /// Index of its target.
    pub(crate) target: usize,
    /// True if it may share a guest.
    pub(crate) shares: bool,
    /// Expected duration, seconds; `None` if unknown.
    pub(crate) expected: Option<f64>,
}

/// Work for a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Prepare a target.
    Prepare(usize),
    /// Run a cell.
    Run(usize),
}

/// Next action of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start this task.
    Start(Task),
    /// Wait until another task has ended.
    Wait,
    /// Nothing is left to do.
    Done,
}

/// Waiting and running work.
#[derive(Debug)]
pub(crate) struct Schedule {
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
    needs: GuestNeeds,
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
    pub(crate) fn new(jobs: Vec<Job>, needs: &[GuestNeeds], limit: Resources) -> Self {
        let queue = |needs: &GuestNeeds| TargetQueue {
            needs: *needs,
            state: TargetState::Unprepared,
            isolated: VecDeque::new(),
            shared: VecDeque::new(),
        };
        let mut targets: Vec<TargetQueue> = needs.iter().map(queue).collect();
        let mut order: Vec<usize> = (0..jobs.len()).collect();
        // The plan's order breaks ties.
        order.sort_by(|one, other| jobs[*other].duration().total_cmp(&jobs[*one].duration()));
        for cell in order {
            let queue = &mut targets[jobs[cell].target];
            let waiting = if jobs[cell].shares { &mut queue.shared } else { &mut queue.isolated };
            waiting.push_back(cell);
        }
        Self { jobs, targets, limit, in_use: Resources { slots: 0, memory_mib: 0 }, running: 0, is_stopped: false }
    }

    /// Returns the next action and counts it as started.
    pub(crate) fn next(&mut self) -> Action {
        let waits = |queue: &TargetQueue| !(self.is_stopped || queue.isolated.is_empty() && queue.shared.is_empty());
        let best = (0..self.targets.len())
            .filter(|at| waits(&self.targets[*at]) && self.can_start(*at))
            // Prefer the first of equals: max_by returns the last.
            .rev()
            .max_by(|one, other| self.longest(*one).total_cmp(&self.longest(*other)));
        let Some(target) = best else {
            let is_over = self.running == 0 || !self.targets.iter().any(waits);
            return if is_over { Action::Done } else { Action::Wait };
        };
        self.allocate(self.targets[target].next_needs());
        let (shared, isolated) = (self.first(&self.targets[target].shared), self.first(&self.targets[target].isolated));
        let queue = &mut self.targets[target];
        match queue.state {
            TargetState::Unprepared => {
                queue.state = TargetState::Preparing;
                Action::Start(Task::Prepare(target))
            }
            TargetState::Preparing | TargetState::Ready => {
                let waiting = if shared > isolated { &mut queue.shared } else { &mut queue.isolated };
                waiting.pop_front().map_or(Action::Wait, |cell| Action::Start(Task::Run(cell)))
            }
        }
    }

    /// Returns another cell for the guest of a shared cell that has ended. The guest's resources stay allocated.
    pub(crate) fn next_shared(&mut self, cell: usize) -> Option<usize> {
        if self.is_stopped {
            return None;
        }
        self.targets[self.jobs[cell].target].shared.pop_front()
    }

    /// Marks a target as prepared. If it is unusable, returns its cells, none of which will run.
    pub(crate) fn prepared(&mut self, target: usize, is_usable: bool) -> Vec<usize> {
        let queue = &mut self.targets[target];
        queue.state = TargetState::Ready;
        let needs = queue.needs.cold();
        let mut lost: Vec<usize> = Vec::new();
        if !is_usable {
            lost.extend(queue.isolated.drain(..).chain(queue.shared.drain(..)));
            lost.sort_unstable();
        }
        self.release(needs);
        lost
    }

    /// Records that a target's guests boot, although they were expected to be restored.
    pub(crate) fn set_cold(&mut self, target: usize) {
        let needs = &mut self.targets[target].needs;
        needs.cell_mib = needs.cold_mib;
    }

    /// Releases the resources of a cell's guest.
    pub(crate) fn ended(&mut self, cell: usize) {
        self.release(self.targets[self.jobs[cell].target].needs.cell());
    }

    /// Starts no further work.
    pub(crate) fn stop(&mut self) {
        self.is_stopped = true;
    }

    fn can_start(&self, target: usize) -> bool {
        let queue = &self.targets[target];
        let Resources { slots, memory_mib } = queue.next_needs();
        // A machine may have any number of CPUs: `-smp 4294967295` never fits.
        let fits = self.in_use.slots.saturating_add(slots) <= self.limit.slots
            && self.in_use.memory_mib.saturating_add(memory_mib) <= self.limit.memory_mib;
        // A guest that never fits runs alone.
        queue.state != TargetState::Preparing && (fits || self.running == 0)
    }

    /// Returns the expected duration of a queue's first cell; negative if it is empty.
    fn first(&self, queue: &VecDeque<usize>) -> f64 {
        queue.front().map_or(-1.0, |cell| self.jobs[*cell].duration())
    }

    fn longest(&self, target: usize) -> f64 {
        let TargetQueue { isolated, shared, .. } = &self.targets[target];
        self.first(isolated).max(self.first(shared))
    }

    fn allocate(&mut self, needs: Resources) {
        self.in_use.slots = self.in_use.slots.saturating_add(needs.slots);
        self.in_use.memory_mib = self.in_use.memory_mib.saturating_add(needs.memory_mib);
        self.running += 1;
    }

    fn release(&mut self, needs: Resources) {
        self.in_use.slots = self.in_use.slots.saturating_sub(needs.slots);
        self.in_use.memory_mib = self.in_use.memory_mib.saturating_sub(needs.memory_mib);
        self.running = self.running.saturating_sub(1);
    }
}

impl TargetQueue {
    /// Returns the resources that the target's next task needs.
    fn next_needs(&self) -> Resources {
        if self.state == TargetState::Unprepared { self.needs.cold() } else { self.needs.cell() }
    }
}

impl GuestNeeds {
    const fn cold(self) -> Resources {
        Resources { slots: self.slots, memory_mib: self.cold_mib }
    }

    const fn cell(self) -> Resources {
        Resources { slots: self.slots, memory_mib: self.cell_mib }
    }
}

impl Job {
    /// Returns the expected duration, seconds. An unknown duration may be long.
    fn duration(&self) -> f64 {
        self.expected.unwrap_or(f64::INFINITY)
    }
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
            Action::Start(task) => Some(task),
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
        assert_eq!((schedule.next(), schedule.in_use.memory_mib), (Action::Done, 0));
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
                    Action::Start(task) => {
                        running.push(task);
                        let in_use = schedule.in_use;
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
            // Work that was still running when nothing was left to start.
            for task in running {
                match task {
                    Task::Prepare(target) => prop_assert!(schedule.prepared(target, true).is_empty()),
                    Task::Run(cell) => {
                        seen[cell] += 1;
                        schedule.ended(cell);
                    }
                }
            }
            prop_assert_eq!(seen, vec![1; jobs.len()]);
            prop_assert_eq!(schedule.in_use, Resources { slots: 0, memory_mib: 0 });
        }
    }
}
