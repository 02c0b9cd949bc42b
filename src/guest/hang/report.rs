//! Hang report: summary and full text.

use std::fmt::Write as _;

use super::Hang;
use super::inspect::Findings;
use super::tasks::Task;

/// Maximum number of sentences in the summary.
const SENTENCES: usize = 8;
/// Maximum number of sentences about processors, and about tasks.
const PROCESSORS: usize = 3;
const TASKS: usize = 3;
/// Maximum number of lines of guest output in the report.
const LINES: usize = 3000;

/// Information from the session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Context {
    /// Description of the timeout: the title of the report.
    pub(crate) why: String,
    /// Progress of the guest, and times of its last output.
    pub(crate) course: Vec<String>,
    /// True if pid 1 is bootling's and has sent its greeting: it waits for its children, which is then not reported.
    pub(crate) has_our_pid1: bool,
    /// Last console lines before the inspection.
    pub(crate) console: Vec<String>,
}

/// Builds the report.
pub(crate) fn hang(findings: &Findings, context: &Context) -> Hang {
    let mut summary = findings.qemu.clone();
    summary.extend(findings.requests.iter().cloned());
    let told: Vec<&Task> = findings.tasks.iter().filter(|task| context.is_reported(task)).collect();
    let blocked = told.iter().filter(|task| task.state == 'D' && task.is_process());
    summary.extend(
        blocked
            .chain(told.iter().filter(|task| task.state == 'D' && !task.is_process()))
            .take(TASKS)
            .map(|task| task.sentence()),
    );
    let is_idle = !findings.cpu_samples.is_empty() && findings.cpu_samples.iter().all(super::cpus::CpuSamples::is_idle);
    summary.extend(processors(findings, is_idle));
    if is_idle {
        let sleeping = told.iter().filter(|task| task.state != 'D' && task.is_process());
        summary.extend(sleeping.take(TASKS).map(|task| task.sentence()));
    }
    summary.extend(context.course.iter().cloned());
    summary.truncate(SENTENCES);
    let report = text(findings, context, &summary);
    Hang { summary, report }
}

impl Context {
    fn is_reported(&self, task: &Task) -> bool {
        !self.has_our_pid1 || task.pid != 1 || task.state == 'D'
    }
}

/// Sentences about processors, busy ones first.
fn processors(findings: &Findings, is_idle: bool) -> Vec<String> {
    let cpu_samples = &findings.cpu_samples;
    if is_idle && findings.is_running && cpu_samples.iter().all(|course| !course.has_interrupts_off()) {
        let all = if cpu_samples.len() == 1 {
            "the vCPU is idle".to_owned()
        } else {
            format!("all {} vCPUs are idle", cpu_samples.len())
        };
        return vec![format!("{all}: no task in the guest is runnable, all are waiting")];
    }
    let mut sorted: Vec<_> = cpu_samples.iter().collect();
    sorted.sort_by_key(|course| course.is_idle());
    let shown = sorted.iter().take(PROCESSORS).map(|course| {
        let running = findings.running.get(&course.index);
        let by_name = running.and_then(|at| at.function.as_deref()).filter(|name| name.contains('['));
        let sentence = course.sentence(by_name);
        match running.filter(|at| at.pid != 0 && !course.is_idle()) {
            Some(at) => format!("{sentence}; its current process is {} (pid {})", at.name, at.pid),
            None => sentence,
        }
    });
    let mut output: Vec<String> = shown.collect();
    if cpu_samples.len() > PROCESSORS {
        output.push(format!("see the report for {} more vCPUs", cpu_samples.len() - PROCESSORS));
    }
    output
}

/// Formats the complete report.
fn text(findings: &Findings, context: &Context, summary: &[String]) -> String {
    let mut text = format!("bootling: hang report: {}\n", context.why);
    section(&mut text, "Summary", summary.iter().map(|line| format!("- {line}")));
    section(&mut text, "Progress", context.course.iter().cloned());
    section(&mut text, "QEMU's threads", findings.threads.iter().cloned());
    let samples = findings.cpu_samples.iter().flat_map(|course| {
        let samples = course.samples.iter().map(|(cpu, doing)| {
            let place = super::cpus::named(cpu.rip, findings.symbols.as_ref());
            let interrupts = if cpu.interrupts { "on" } else { "off" };
            let doing = doing.word();
            format!("  {doing}: rip {place}, rsp {:#x}, CPL {}, interrupts {interrupts}", cpu.rsp, cpu.cpl)
        });
        std::iter::once(format!("cpu {}:", course.index)).chain(samples).collect::<Vec<_>>()
    });
    section(&mut text, "vCPU samples", samples);
    if let Some(slide) =
        findings.symbols.as_ref().map(crate::root::kernel::symbols::Symbols::slide).filter(|slide| *slide > 0)
    {
        section(&mut text, "Kernel load address", [format!("{slide:#x} above the link address (KASLR)")]);
    }
    for trace in &findings.traces {
        let title = format!("Return addresses on the stack of cpu {}, innermost first", trace.cpu);
        section(&mut text, &title, trace.frames.iter().map(|frame| format!("  {frame}")));
    }
    section(&mut text, "Virtio devices", findings.devices.iter().cloned());
    section(&mut text, "Console before the inspection", context.console.iter().map(|line| format!("| {line}")));
    for (how, lines) in &findings.output {
        let title = format!("Guest output after {how}");
        section(&mut text, &title, lines.iter().take(LINES).map(|line| format!("| {line}")));
    }
    section(&mut text, "Unavailable information", findings.notes.iter().map(|line| format!("- {line}")));
    text
}

/// Writes a titled section; nothing if there are no lines.
fn section(text: &mut String, title: &str, lines: impl IntoIterator<Item = String>) {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_none() {
        return;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n== {title}");
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::{Context, hang};
    use crate::guest::hang::inspect::Findings;
    use crate::guest::hang::tasks::Task;

    fn task(name: &str, pid: u32, parent: u32, state: char) -> Task {
        Task { name: name.to_owned(), pid, parent, state, functions: vec!["io_schedule".to_owned()] }
    }

    #[test]
    fn the_most_significant_findings_come_first_and_the_summary_is_limited() {
        let findings = Findings {
            qemu: vec!["paused".to_owned()],
            requests: vec!["3 requests".to_owned()],
            tasks: vec![
                task("init", 1, 0, 'D'),
                task("kworker", 9, 2, 'D'),
                task("dd", 80, 1, 'D'),
                task("sh", 70, 1, 'S'),
            ],
            ..Findings::default()
        };
        let course = (0..20).map(|number| format!("course {number}")).collect();
        let context = Context { why: "why".to_owned(), course, has_our_pid1: true, console: vec!["last".to_owned()] };
        let hang_report = hang(&findings, &context);
        assert_eq!(
            hang_report.summary[..5],
            [
                "paused",
                "3 requests",
                "process init (pid 1) is blocked (state D) in io_schedule",
                "process dd (pid 80) is blocked (state D) in io_schedule",
                "kernel thread kworker (pid 9) is blocked (state D) in io_schedule",
            ]
        );
        assert_eq!(hang_report.summary.len(), 8);
        assert!(
            hang_report.report.starts_with("bootling: hang report: why\n\n== Summary\n- paused\n"),
            "{}",
            hang_report.report
        );
        assert!(hang_report.report.contains("\n== Console before the inspection\n| last\n"), "{}", hang_report.report);
        assert!(!hang_report.report.contains("Virtio"), "{}", hang_report.report);
    }
}
