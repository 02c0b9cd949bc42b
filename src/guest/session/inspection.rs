//! Inspection of a guest that timed out, before QEMU is killed.

use std::cell::OnceCell;
use std::time::{Duration, Instant};

use super::Session;
use crate::format::duration::duration;
use crate::guest::hang::{self, Context};
use crate::guest::health::{self, Finding};
use crate::guest::monitor::Monitor;
use crate::guest::transcript::{Event, Limit};
use crate::root::kernel::symbols::Symbols;

/// Time after a time limit and the hang report in which QEMU must end and the output be written.
const AFTERWARDS: Duration = Duration::from_millis(1200);

impl Session<'_> {
    /// Inspects the guest if it timed out and an inspection is requested. The last screen read happens before the guest
    /// is modified. The whole inspection takes at most the time for the hang report; only writing the guest's memory
    /// may take longer.
    pub(super) fn inspect_if_timed_out(&mut self) -> std::io::Result<()> {
        let Some(why) = self.time_that_was_up() else { return Ok(()) };
        let (Some(hang_input), Some(end)) = (self.settings.hang_input.clone(), self.end_of_inspection()) else {
            return Ok(());
        };
        self.drain_console();
        // Console output from here on is a result of the inspection, and not part of the boot.
        let console = std::mem::take(&mut self.console);
        let context = self.context(why, console.lines());
        let mut findings = self.ask(Some(end), |monitor| hang::inspect(monitor, &hang_input));
        if findings.answers() {
            self.read_last_screen()?;
            let core = self.settings.recording.as_mut().and_then(|recording| recording.core.take());
            // The memory is dumped first, unmodified.
            let start = Instant::now();
            self.ask(None, |monitor| hang::dump_core(monitor, &mut findings, core.as_ref()));
            let end = end + start.elapsed();
            self.ask(Some(end), |monitor| hang::request_sysrq(monitor, &mut findings));
        }
        self.console = console;
        if findings.is_alive() {
            self.discard_last_words();
        }
        self.hang = Some(Box::new(hang::hang(&findings, &context)));
        Ok(())
    }

    /// Resolves the functions in traces with bare addresses, which kernels without a symbol table print.
    pub(super) fn name_functions(&self, findings: &mut [Finding]) {
        let Some(source) = self.settings.hang_input.as_ref().and_then(|hang_input| hang_input.symbols.as_ref()) else {
            return;
        };
        let symbols = OnceCell::new();
        let lookup = |address: u64| {
            // Loaded on first use. If that fails, only the addresses are available.
            let symbols: &Option<Symbols> = symbols.get_or_init(|| source.load().ok().flatten());
            Some(symbols.as_ref()?.function(address)?.to_string())
        };
        health::resolve(findings, &lookup);
    }

    /// Time at which the inspection of a guest that timed out ends; `None`: there is no inspection.
    fn end_of_inspection(&self) -> Option<Instant> {
        Some(self.timed_out? + self.settings.hang_report?)
    }

    /// Time until which the session may last after its time limit: [`AFTERWARDS`] after the inspection. `None`: no
    /// limit.
    pub(super) fn last_moment(&self) -> Option<Instant> {
        let inspection = self.settings.hang_report.unwrap_or_default();
        self.timed_out.map(|timed_out| timed_out + inspection + AFTERWARDS)
    }

    /// Runs an inspection until `end`, unless a signal has ended the session.
    fn ask<T: Default>(&mut self, end: Option<Instant>, what: impl FnOnce(&mut Monitor<'_>) -> T) -> T {
        if self.inspection_ended {
            return T::default();
        }
        let console_log = self.settings.recording.as_mut().map(|recording| &mut recording.console);
        let mut monitor = Monitor::new(self.guest, self.signals.as_deref_mut(), console_log);
        monitor.set_deadline(end);
        let found = what(&mut monitor);
        let signal = monitor.signal();
        if let Some(signal) = signal {
            self.inspection_ended = true;
            self.end(Event::Interrupted { signal });
        }
        found
    }

    fn time_that_was_up(&self) -> Option<String> {
        let (limit, after) = match self.events.last() {
            Some(Event::TimedOut { limit, after }) => (limit, after),
            Some(Event::Interrupted { .. }) if self.timed_out.is_some() => {
                return Some(format!("interrupted after {}", duration(self.start.elapsed())));
            }
            Some(_) | None => return None,
        };
        let after = duration(*after);
        Some(match limit {
            Limit::Boot => format!("no message from pid 1 within {after}"),
            Limit::Total => format!("timeout of {after} expired"),
            Limit::Idle => format!("no activity for {after}"),
        })
    }

    /// Collects the session's knowledge for the report.
    fn context(&self, why: String, console: Vec<String>) -> Context {
        let ago = |when: Option<Instant>| when.map(|when| duration(when.elapsed()));
        let has_our_pid1 = self.has_our_pid1();
        let at = |found: fn(&Event) -> Option<Duration>| self.events.iter().find_map(found).map(duration);
        let started = at(|event| if let Event::Started { at } = event { Some(*at) } else { None });
        let hello = at(|event| if let Event::Hello { at, .. } = event { Some(*at) } else { None });
        let mut course = Vec::new();
        if has_our_pid1 {
            let channel = ago(self.idle.channel).map(|ago| format!("; last message on the channel {ago} ago"));
            let channel = channel.unwrap_or_default();
            course.push(match (&hello, started) {
                (_, Some(started)) => format!("the command started after {started} and is still running{channel}"),
                (Some(hello), None) => {
                    let loading = self.loading.as_ref().map(|path| format!(": it is loading module {path}"));
                    format!("pid 1 started after {hello}, but not the command{}{channel}", loading.unwrap_or_default())
                }
                (None, None) => "no message from the guest's pid 1".to_owned(),
            });
        }
        course.push(match ago(self.idle.console) {
            None => "no console output".to_owned(),
            Some(ago) => match console.last() {
                Some(line) => format!("last console output {ago} ago: {line:?}"),
                None => format!("last console output {ago} ago"),
            },
        });
        // Without a greeting, pid 1 may itself be the process that hangs.
        let has_our_pid1 = has_our_pid1 && hello.is_some();
        Context { why, course, has_our_pid1, console }
    }
}
