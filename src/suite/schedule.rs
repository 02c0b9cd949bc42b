//! Schedules cells: as many concurrent guests as CPUs and memory allow, longest first. Pure: no clock, no guests.
//!
//! Each target (kernel x machine) is prepared once before its cells run: inputs are looked up and the snapshot is made.
//! Cells that share guests run one after another in the guest of the thread that took the first of them.

use std::collections::VecDeque;

/// Amount of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// CPUs, or guests.
    pub slots: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
}

/// Resources that a guest needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// CPUs, or 1 if guests are counted.
    pub slots: u32,
    /// Memory of a booting guest, MiB.
    pub cold_mib: u64,
    /// Memory of a cell's guest, MiB.
    pub mib: u64,
}

/// A cell to schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Job {
    /// Index of its target.
    pub stand: usize,
    /// True if it may share a guest.
    pub shares: bool,
    /// Expected duration, seconds; `None` if unknown.
    pub expected: Option<f64>,
}

/// Work for a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Prepare a target.
    Prepare(usize),
    /// Run a cell.
    Run(usize),
}

/// Next action of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Do this.
    Do(Step),
    /// Wait until something else has ended.
    Wait,
    /// Nothing is left to do.
    Done,
}

/// Waiting and running work.
#[derive(Debug)]
pub struct Schedule {
    jobs: Vec<Job>,
    stands: Vec<Line>,
    room: Room,
    held: Room,
    running: usize,
    is_stopped: bool,
}

/// Waiting cells of a target, longest first.
#[derive(Debug)]
struct Line {
    need: Need,
    state: State,
    own: VecDeque<usize>,
    shared: VecDeque<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unprepared,
    Preparing,
    Ready,
}

impl Schedule {
    /// Creates a schedule of cells. `needs` are the needs of each target's guests.
    pub fn new(jobs: Vec<Job>, needs: &[Need], room: Room) -> Self {
        let line =
            |need: &Need| Line { need: *need, state: State::Unprepared, own: VecDeque::new(), shared: VecDeque::new() };
        let mut stands: Vec<Line> = needs.iter().map(line).collect();
        let mut order: Vec<usize> = (0..jobs.len()).collect();
        // An unknown duration may be long. The plan's order breaks ties.
        order.sort_by(|one, other| length(&jobs[*other]).total_cmp(&length(&jobs[*one])));
        for cell in order {
            let line = &mut stands[jobs[cell].stand];
            let waiting = if jobs[cell].shares { &mut line.shared } else { &mut line.own };
            waiting.push_back(cell);
        }
        Self { jobs, stands, room, held: Room { slots: 0, memory_mib: 0 }, running: 0, is_stopped: false }
    }

    /// Returns the next action and counts it as started.
    pub fn next(&mut self) -> Next {
        let waits = |line: &Line| !(self.is_stopped || line.own.is_empty() && line.shared.is_empty());
        let best = (0..self.stands.len())
            .filter(|at| waits(&self.stands[*at]) && self.can_begin(*at))
            // Prefer the first of equals: max_by returns the last.
            .rev()
            .max_by(|one, other| self.longest(*one).total_cmp(&self.longest(*other)));
        let Some(stand) = best else {
            let is_over = self.running == 0 || !self.stands.iter().any(waits);
            return if is_over { Next::Done } else { Next::Wait };
        };
        let need = self.need(stand);
        self.hold(need);
        let line = &mut self.stands[stand];
        match line.state {
            State::Unprepared => {
                line.state = State::Preparing;
                Next::Do(Step::Prepare(stand))
            }
            State::Preparing | State::Ready => {
                let first = |cell: Option<&usize>| cell.map_or(-1.0, |cell| length(&self.jobs[*cell]));
                let shares = first(line.shared.front()) > first(line.own.front());
                let waiting = if shares { &mut line.shared } else { &mut line.own };
                waiting.pop_front().map_or(Next::Wait, |cell| Next::Do(Step::Run(cell)))
            }
        }
    }

    /// Returns another cell for the guest of a shared cell that has ended. The guest's resources stay allocated.
    pub fn another(&mut self, cell: usize) -> Option<usize> {
        if self.is_stopped {
            return None;
        }
        self.stands[self.jobs[cell].stand].shared.pop_front()
    }

    /// Marks a target as prepared. If it is unusable, returns its cells, none of which will run.
    pub fn prepared(&mut self, stand: usize, is_usable: bool) -> Vec<usize> {
        let (slots, memory) = amounts(self.stands[stand].need, true);
        self.give_back(slots, memory);
        let line = &mut self.stands[stand];
        line.state = State::Ready;
        if is_usable {
            return Vec::new();
        }
        let mut lost: Vec<usize> = line.own.drain(..).chain(line.shared.drain(..)).collect();
        lost.sort_unstable();
        lost
    }

    /// Records that a target's guests boot, although they were expected to be restored.
    pub fn boots(&mut self, stand: usize) {
        let need = &mut self.stands[stand].need;
        need.mib = need.cold_mib;
    }

    /// Releases the resources of a cell's guest.
    pub fn ended(&mut self, cell: usize) {
        let (slots, memory) = amounts(self.stands[self.jobs[cell].stand].need, false);
        self.give_back(slots, memory);
    }

    /// Starts no further work.
    pub fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// Resources in use.
    #[cfg(test)]
    fn held(&self) -> Room {
        self.held
    }

    fn can_begin(&self, stand: usize) -> bool {
        let Room { slots, memory_mib } = self.need(stand);
        // A machine may have any number of CPUs: `-smp 4294967295` never fits and runs alone.
        let fits = self.held.slots.saturating_add(slots) <= self.room.slots
            && self.held.memory_mib.saturating_add(memory_mib) <= self.room.memory_mib;
        // A guest that never fits runs alone.
        self.stands[stand].state != State::Preparing && (fits || self.running == 0)
    }

    /// Returns the resources that a target's next step needs.
    fn need(&self, stand: usize) -> Room {
        let line = &self.stands[stand];
        let (slots, memory_mib) = amounts(line.need, line.state == State::Unprepared);
        Room { slots, memory_mib }
    }

    fn longest(&self, stand: usize) -> f64 {
        let Line { own, shared, .. } = &self.stands[stand];
        let first = [own.front(), shared.front()].into_iter().flatten();
        first.map(|cell| length(&self.jobs[*cell])).fold(-1.0, f64::max)
    }

    fn hold(&mut self, need: Room) {
        self.held.slots = self.held.slots.saturating_add(need.slots);
        self.held.memory_mib = self.held.memory_mib.saturating_add(need.memory_mib);
        self.running += 1;
    }

    fn give_back(&mut self, slots: u32, memory_mib: u64) {
        self.held.slots = self.held.slots.saturating_sub(slots);
        self.held.memory_mib = self.held.memory_mib.saturating_sub(memory_mib);
        self.running = self.running.saturating_sub(1);
    }
}

fn amounts(need: Need, boots: bool) -> (u32, u64) {
    (need.slots, if boots { need.cold_mib } else { need.mib })
}

fn length(job: &Job) -> f64 {
    job.expected.unwrap_or(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::{Job, Need, Next, Room, Schedule, Step};
    use proptest::prelude::{any, prop};
    use proptest::{prop_assert, prop_assert_eq};

    const NEED: Need = Need { slots: 1, cold_mib: 1024, mib: 600 };

    fn own(stand: usize, expected: f64) -> Job {
        Job { stand, shares: false, expected: Some(expected) }
    }

    /// Starts everything that can start now.
    fn begins(schedule: &mut Schedule) -> Vec<Step> {
        std::iter::from_fn(|| match schedule.next() {
            Next::Do(step) => Some(step),
            Next::Wait | Next::Done => None,
        })
        .collect()
    }

    #[test]
    fn cells_of_unknown_duration_start_first_then_the_longest() {
        let jobs = vec![own(0, 1.0), own(0, 5.0), Job { expected: None, ..own(0, 0.0) }, own(0, 3.0)];
        let mut schedule = Schedule::new(jobs, &[NEED], Room { slots: 9, memory_mib: 99_999 });
        assert_eq!(begins(&mut schedule), [Step::Prepare(0)]);
        assert!(schedule.prepared(0, true).is_empty());
        assert_eq!(begins(&mut schedule), [2, 1, 3, 0].map(Step::Run));
    }

    #[test]
    fn a_machine_that_never_fits_runs_alone() {
        let huge = Need { slots: u32::MAX, cold_mib: u64::MAX, mib: u64::MAX };
        let mut schedule = Schedule::new(vec![own(0, 9.0), own(0, 8.0)], &[huge], Room { slots: 2, memory_mib: 4096 });
        assert_eq!(begins(&mut schedule), [Step::Prepare(0)]);
        schedule.prepared(0, true);
        assert_eq!(begins(&mut schedule), [Step::Run(0)]);
        schedule.ended(0);
        assert_eq!(begins(&mut schedule), [Step::Run(1)]);
    }

    #[test]
    fn other_cells_start_while_a_snapshot_is_made() {
        let jobs = vec![own(0, 9.0), own(0, 8.0), own(1, 1.0)];
        let mut schedule = Schedule::new(jobs, &[NEED, NEED], Room { slots: 2, memory_mib: 99_999 });
        assert_eq!(begins(&mut schedule), [Step::Prepare(0), Step::Prepare(1)]);
        schedule.prepared(1, true);
        assert_eq!(begins(&mut schedule), [Step::Run(2)]);
        schedule.ended(2);
        assert_eq!(schedule.next(), Next::Wait);
        assert_eq!(schedule.prepared(0, false), [0, 1]);
        assert_eq!(schedule.next(), Next::Done);
    }

    #[test]
    fn a_machine_larger_than_the_memory_budget_runs_alone() {
        let large = Need { slots: 1, cold_mib: 9_000, mib: 9_000 };
        let jobs = vec![own(1, 1.0), own(0, 2.0)];
        let mut schedule = Schedule::new(jobs, &[large, NEED], Room { slots: 4, memory_mib: 2_000 });
        assert_eq!(begins(&mut schedule), [Step::Prepare(0)]);
        schedule.prepared(0, true);
        assert_eq!(begins(&mut schedule), [Step::Run(1)]);
        schedule.ended(1);
        assert_eq!(begins(&mut schedule), [Step::Prepare(1)]);
    }

    #[test]
    fn shared_cells_continue_in_their_guest_until_stopped() {
        let shared = Job { shares: true, ..own(0, 1.0) };
        let mut schedule = Schedule::new(vec![shared; 4], &[NEED], Room { slots: 1, memory_mib: 2_000 });
        assert_eq!(begins(&mut schedule), [Step::Prepare(0)]);
        schedule.prepared(0, true);
        assert_eq!(begins(&mut schedule), [Step::Run(0)]);
        assert_eq!((schedule.another(0), schedule.another(1)), (Some(1), Some(2)));
        schedule.stop();
        assert_eq!(schedule.another(2), None);
        schedule.ended(2);
        assert_eq!((schedule.next(), schedule.held().memory_mib), (Next::Done, 0));
    }

    proptest::proptest! {
        #[test]
        fn every_cell_runs_once_within_the_available_resources(
            needs in prop::collection::vec((1_u32..4, 1_u64..3_000, any::<bool>()), 1..5),
            jobs in prop::collection::vec((0_usize..5, any::<bool>(), prop::option::of(0.0..9.0)), 0..40),
            room in (1_u32..5, 500_u64..4_000),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let needs: Vec<(Need, bool)> = needs
                .into_iter()
                .map(|(slots, mib, is_usable)| (Need { slots, cold_mib: mib, mib: mib / 2 }, is_usable))
                .collect();
            let jobs: Vec<Job> = jobs
                .into_iter()
                .map(|(stand, shares, expected)| Job { stand: stand % needs.len(), shares, expected })
                .collect();
            let room = Room { slots: room.0, memory_mib: room.1 };
            let only: Vec<Need> = needs.iter().map(|(need, _)| *need).collect();
            let mut schedule = Schedule::new(jobs.clone(), &only, room);
            let mut seen = vec![0; jobs.len()];
            let mut running: Vec<Step> = Vec::new();
            let mut picks = picks.into_iter();
            loop {
                match schedule.next() {
                    Next::Do(step) => {
                        running.push(step);
                        let held = schedule.held();
                        let fits = held.slots <= room.slots && held.memory_mib <= room.memory_mib;
                        prop_assert!(fits || running.len() == 1);
                    }
                    Next::Done => break,
                    Next::Wait => {
                        prop_assert!(!running.is_empty(), "waits although nothing runs");
                        let at = picks.next().map_or(0, |pick| pick.index(running.len()));
                        match running.swap_remove(at) {
                            Step::Prepare(stand) => {
                                for lost in schedule.prepared(stand, needs[stand].1) {
                                    seen[lost] += 1;
                                }
                            }
                            Step::Run(cell) => {
                                seen[cell] += 1;
                                let mut last = cell;
                                while let Some(next) = jobs[last].shares.then(|| schedule.another(last)).flatten() {
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
                    Step::Prepare(stand) => prop_assert!(schedule.prepared(stand, true).is_empty()),
                    Step::Run(cell) => {
                        seen[cell] += 1;
                        schedule.ended(cell);
                    }
                }
            }
            prop_assert_eq!(seen, vec![1; jobs.len()]);
            prop_assert_eq!(schedule.held(), Room { slots: 0, memory_mib: 0 });
        }
    }
}
