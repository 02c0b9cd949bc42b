//! What runs next: as many guests at once as processors and memory allow, the longest first. Pure: knows no time, no guest.
//!
//! Each stand (kernel, machine) is prepared once before its cells run: what is missing is found out, the snapshot is made.
//! Cells that share guests run one after another in the guest of whoever took the first of them.

use std::collections::VecDeque;

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Processors, or guests.
    pub slots: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
}

/// What a guest takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Processors, or 1.
    pub slots: u32,
    /// Memory of a guest that boots, MiB.
    pub cold_mib: u64,
    /// Memory of a cell's guest, MiB.
    pub mib: u64,
}

/// A cell, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Job {
    /// Its stand.
    pub stand: usize,
    /// Whether it may share a guest.
    pub shares: bool,
    /// How long it will take, seconds; `None`: nobody knows.
    pub expected: Option<f64>,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Prepare a stand.
    Prepare(usize),
    /// Run a cell.
    Run(usize),
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// This.
    Do(Step),
    /// Nothing, until something else has ended.
    Wait,
    /// Nothing any more.
    Done,
}

/// What is still to be done, and what is being done.
#[derive(Debug)]
pub struct Schedule {
    jobs: Vec<Job>,
    stands: Vec<Line>,
    room: Room,
    held: Room,
    running: usize,
    is_stopped: bool,
}

/// The cells of a stand that wait, the longest first.
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
    /// With these cells, and what guests of their stands need.
    pub fn new(jobs: Vec<Job>, needs: &[Need], room: Room) -> Self {
        let line =
            |need: &Need| Line { need: *need, state: State::Unprepared, own: VecDeque::new(), shared: VecDeque::new() };
        let mut stands: Vec<Line> = needs.iter().map(line).collect();
        let mut order: Vec<usize> = (0..jobs.len()).collect();
        // What nobody knows may take long; the plan's order decides between equals.
        order.sort_by(|one, other| length(&jobs[*other]).total_cmp(&length(&jobs[*one])));
        for cell in order {
            let line = &mut stands[jobs[cell].stand];
            let waiting = if jobs[cell].shares { &mut line.shared } else { &mut line.own };
            waiting.push_back(cell);
        }
        Self { jobs, stands, room, held: Room { slots: 0, memory_mib: 0 }, running: 0, is_stopped: false }
    }

    /// What to do now; it counts as begun.
    pub fn next(&mut self) -> Next {
        let waits = |line: &Line| !(self.is_stopped || line.own.is_empty() && line.shared.is_empty());
        let best = (0..self.stands.len())
            .filter(|at| waits(&self.stands[*at]) && self.can_begin(*at))
            // The first of equals: max_by would take the last.
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

    /// Another cell for the guest of one that shares it and has ended; what the guest takes stays taken.
    pub fn another(&mut self, cell: usize) -> Option<usize> {
        if self.is_stopped {
            return None;
        }
        self.stands[self.jobs[cell].stand].shared.pop_front()
    }

    /// A stand is prepared, or will never be: then these are its cells, which nobody will run.
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

    /// Guests of a stand boot, whatever was thought before.
    pub fn boots(&mut self, stand: usize) {
        let need = &mut self.stands[stand].need;
        need.mib = need.cold_mib;
    }

    /// A cell's guest is gone.
    pub fn ended(&mut self, cell: usize) {
        let (slots, memory) = amounts(self.stands[self.jobs[cell].stand].need, false);
        self.give_back(slots, memory);
    }

    /// Begins nothing any more.
    pub fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// What is taken just now.
    #[cfg(test)]
    fn held(&self) -> Room {
        self.held
    }

    fn can_begin(&self, stand: usize) -> bool {
        let Room { slots, memory_mib } = self.need(stand);
        // A machine may be given any number of processors: `-smp 4294967295` fits nowhere, and runs alone.
        let fits = self.held.slots.saturating_add(slots) <= self.room.slots
            && self.held.memory_mib.saturating_add(memory_mib) <= self.room.memory_mib;
        // What never fits runs alone.
        self.stands[stand].state != State::Preparing && (fits || self.running == 0)
    }

    /// What the next step of a stand takes.
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

    /// All that can begin now.
    fn begins(schedule: &mut Schedule) -> Vec<Step> {
        std::iter::from_fn(|| match schedule.next() {
            Next::Do(step) => Some(step),
            Next::Wait | Next::Done => None,
        })
        .collect()
    }

    #[test]
    fn the_longest_come_first_and_what_nobody_knows_before_them() {
        let jobs = vec![own(0, 1.0), own(0, 5.0), Job { expected: None, ..own(0, 0.0) }, own(0, 3.0)];
        let mut schedule = Schedule::new(jobs, &[NEED], Room { slots: 9, memory_mib: 99_999 });
        assert_eq!(begins(&mut schedule), [Step::Prepare(0)]);
        assert!(schedule.prepared(0, true).is_empty());
        assert_eq!(begins(&mut schedule), [2, 1, 3, 0].map(Step::Run));
    }

    #[test]
    fn a_machine_of_any_size_runs_alone() {
        let huge = Need { slots: u32::MAX, cold_mib: u64::MAX, mib: u64::MAX };
        let mut schedule = Schedule::new(vec![own(0, 9.0), own(0, 8.0)], &[huge], Room { slots: 2, memory_mib: 4096 });
        assert_eq!(begins(&mut schedule), [Step::Prepare(0)]);
        schedule.prepared(0, true);
        assert_eq!(begins(&mut schedule), [Step::Run(0)]);
        schedule.ended(0);
        assert_eq!(begins(&mut schedule), [Step::Run(1)]);
    }

    #[test]
    fn who_waits_for_a_snapshot_lets_others_begin() {
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
    fn what_is_too_large_for_all_memory_runs_alone() {
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
    fn tests_that_share_go_on_in_the_guest_they_have_until_told_to_stop() {
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
        fn every_cell_runs_once_and_no_more_is_taken_than_there_is(
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
                        prop_assert!(!running.is_empty(), "it waits for nothing");
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
            // What still ran when nothing was left to begin.
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
