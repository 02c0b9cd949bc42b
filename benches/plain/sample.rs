//! Wall times and peak memory of repeated processes.

use std::error::Error;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Sorted wall times of one kind of run.
pub(crate) struct Sample(Vec<Duration>);

impl Sample {
    /// Creates a sample from at least one time, in any order.
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self(times)
    }

    /// Returns the median in milliseconds.
    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// Returns the 10th and the 90th percentile in milliseconds.
    pub(crate) fn spread(&self) -> (f64, f64) {
        (self.at(0.1), self.at(0.9))
    }

    fn at(&self, part: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "a handful of samples")]
        let index = ((self.0.len().saturating_sub(1)) as f64 * part).round() as usize;
        self.0.get(index).copied().unwrap_or_default().as_secs_f64() * 1000.0
    }
}

/// Runs the command once unmeasured, then `times` times; each run must exit with `status`.
pub(crate) fn run(times: usize, status: i32, mut command: impl FnMut() -> Command) -> Result<Sample, Box<dyn Error>> {
    once(&mut command(), status)?;
    let mut taken = Vec::with_capacity(times);
    for _ in 0..times {
        taken.push(once(&mut command(), status)?);
    }
    Ok(Sample::new(taken))
}

/// Alternates two commands, so that other load on the host affects both; each run must exit with status 0. The first
/// run of each is not measured.
pub(crate) fn in_turn(
    times: usize,
    mut one: impl FnMut() -> Command,
    mut other: impl FnMut() -> Command,
) -> Result<(Sample, Sample), Box<dyn Error>> {
    once(&mut one(), 0)?;
    once(&mut other(), 0)?;
    let mut taken = (Vec::with_capacity(times), Vec::with_capacity(times));
    for _ in 0..times {
        taken.0.push(once(&mut one(), 0)?);
        taken.1.push(once(&mut other(), 0)?);
    }
    Ok((Sample::new(taken.0), Sample::new(taken.1)))
}

/// Runs a process to its end and returns its wall time.
pub(crate) fn once(command: &mut Command, status: i32) -> Result<Duration, Box<dyn Error>> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let output = command.output()?;
    let taken = start.elapsed();
    if output.status.code() != Some(status) {
        let said = String::from_utf8_lossy(&output.stderr);
        let line: String = format!("{command:?}").chars().take(500).collect();
        return Err(format!("{} instead of {status}\n{said}{line}", output.status).into());
    }
    Ok(taken)
}

/// Measures the peak resident set of processes with busybox's `time`: std does not call wait4(2), and `unsafe` is
/// confined to one file of the library.
pub(crate) struct Peak {
    /// Value reported by busybox per KiB: its `time` treats getrusage's KiB as pages.
    per_kib: u64,
}

impl Peak {
    /// Determines busybox's unit with a process of known size.
    pub(crate) fn calibrate() -> Result<Self, Box<dyn Error>> {
        let mut dd = Command::new("busybox");
        dd.args(["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"]);
        let reported = Self { per_kib: 1 }.kib(&dd)?;
        Ok(Self { per_kib: (reported / (64 << 10)).max(1) })
    }

    /// Returns the peak resident set in KiB of a process or of its largest child.
    pub(crate) fn kib(&self, command: &Command) -> Result<u64, Box<dyn Error>> {
        let mut timed = Command::new("busybox");
        timed.args(["time", "-f", "peak %M"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => timed.env(name, value),
                None => timed.env_remove(name),
            };
        }
        let output = timed.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let peak: Option<u64> = said.lines().rev().find_map(|line| line.strip_prefix("peak ")?.trim().parse().ok());
        Ok(peak.ok_or_else(|| format!("{command:?}: {said}"))? / self.per_kib)
    }
}
