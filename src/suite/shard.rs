//! Shards: the part of a matrix that one host runs, from the command line or from a job system's environment.
//!
//! The environment is read only for `--shard auto`. If a variable set for another purpose made a run test only a part
//! of the matrix, its success would be misleading.

use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

use super::report::Shard;

/// Invalid shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// Not of the form `INDEX/TOTAL`.
    #[error("invalid shard {0:?}: expected INDEX/TOTAL, such as 1/4, with INDEX from 1")]
    Syntax(String),
    /// A variable is not a number, or its number is out of range.
    #[error("{name}={value:?}: {why}")]
    Variable {
        /// Variable name.
        name: &'static str,
        /// Variable value.
        value: String,
        /// Fault.
        why: &'static str,
    },
    /// An index without a total.
    #[error("{index} is set, but {total} is not")]
    MissingTotal {
        /// Variable that is set.
        index: &'static str,
        /// Variable that is missing.
        total: &'static str,
    },
    /// Job systems report different shards.
    #[error("{first} and {second} specify different shards; use --shard INDEX/TOTAL")]
    Conflict {
        /// First variable.
        first: &'static str,
        /// Second variable.
        second: &'static str,
    },
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.total)
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    /// Parses `2/4`.
    fn from_str(text: &str) -> Result<Self, ShardError> {
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        let numbers = text.split_once('/').and_then(|(index, total)| Some((number(index)?, number(total)?)));
        let (index, total) = numbers.ok_or_else(|| ShardError::Syntax(text.to_owned()))?;
        if (1..=total).contains(&index) { Ok(Self { index, total }) } else { Err(ShardError::Syntax(text.to_owned())) }
    }
}

/// Variables and numbering of a job system.
struct JobSystem {
    /// Variable that contains the index.
    index: &'static str,
    /// Variable that contains the total.
    total: &'static str,
    /// Variables that contain the first index and the step: Slurm also has arrays such as `--array=10-40:10`.
    first_and_step: Option<(&'static str, &'static str)>,
    /// First index.
    first: u32,
}

/// Supported job systems.
const SYSTEMS: [JobSystem; 3] = [
    JobSystem {
        index: "SLURM_ARRAY_TASK_ID",
        total: "SLURM_ARRAY_TASK_COUNT",
        first_and_step: Some(("SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP")),
        first: 0,
    },
    JobSystem { index: "CI_NODE_INDEX", total: "CI_NODE_TOTAL", first_and_step: None, first: 1 },
    // Kubernetes does not pass the number of completions to a pod. The job file of --emit sets it.
    JobSystem { index: "JOB_COMPLETION_INDEX", total: "BOOTLING_SHARDS", first_and_step: None, first: 0 },
];

/// Returns the shard that the environment specifies: `BOOTLING_SHARD=INDEX/TOTAL`, a task of a Slurm array, a parallel
/// GitLab job, or a pod of an indexed Kubernetes job with `BOOTLING_SHARDS=TOTAL`.
pub fn from_env(get: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<Shard>, ShardError> {
    let text = |name: &str| get(name).map(|value| value.to_string_lossy().into_owned());
    if let Some(own) = text("BOOTLING_SHARD") {
        return own.parse().map(Some);
    }
    let mut found: Option<(&'static str, Shard)> = None;
    for system in &SYSTEMS {
        let Some(shard) = system.shard(&text)? else { continue };
        if let Some((first, other)) = found
            && other != shard
        {
            return Err(ShardError::Conflict { first, second: system.index });
        }
        found = Some((system.index, shard));
    }
    Ok(found.map(|(_, shard)| shard))
}

/// Variables that identify a run of a job system, and the prefix of their values. The first one that is set counts: a
/// pipeline may submit to Slurm, and a pipeline's runner may be a Slurm job, but in both cases all shards share the
/// pipeline. A retried job belongs to the same run, so `GITHUB_RUN_ATTEMPT` is not included: shards that passed before
/// the retry belong to it, too.
const RUN_VARIABLES: [(&str, &str); 4] = [
    ("BOOTLING_RUN", ""),
    ("GITHUB_RUN_ID", "github "),
    ("CI_PIPELINE_ID", "gitlab "),
    ("SLURM_ARRAY_JOB_ID", "slurm "),
];

/// Returns the run that this process belongs to: `BOOTLING_RUN`, GitHub's run, GitLab's pipeline, or Slurm's array.
/// Kubernetes passes nothing comparable to a pod; the job file of --emit does.
pub fn run_from_env(get: &dyn Fn(&str) -> Option<OsString>) -> Option<String> {
    RUN_VARIABLES.iter().find_map(|(name, system)| {
        let value = get(name).filter(|value| !value.is_empty())?;
        Some(format!("{system}{}", value.to_string_lossy()))
    })
}

/// Returns the variables that [`from_env`] reads the index from, for an error message.
pub fn variables() -> String {
    let names: Vec<_> = std::iter::once("BOOTLING_SHARD").chain(SYSTEMS.iter().map(|system| system.index)).collect();
    names.join(", ")
}

impl JobSystem {
    fn shard(&self, text: &dyn Fn(&str) -> Option<String>) -> Result<Option<Shard>, ShardError> {
        let number = |name: &'static str| {
            let read = |value: String| match value.parse::<u32>() {
                Ok(number) => Ok(number),
                Err(_) => Err(ShardError::Variable { name, value, why: "not a number" }),
            };
            text(name).map(read).transpose()
        };
        let Some(index) = number(self.index)? else { return Ok(None) };
        let Some(total) = number(self.total)? else {
            return Err(ShardError::MissingTotal { index: self.index, total: self.total });
        };
        let wrong = |why| ShardError::Variable { name: self.index, value: index.to_string(), why };
        let (first, step) = match self.first_and_step {
            None => (self.first, 1),
            Some((first, step)) => (number(first)?.unwrap_or(self.first), number(step)?.unwrap_or(1).max(1)),
        };
        let from_first = index.checked_sub(first).ok_or_else(|| wrong("below the first index"))?;
        if from_first % step != 0 || from_first / step >= total {
            return Err(wrong("not one of as many evenly spaced indexes as the total"));
        }
        Ok(Some(Shard { index: from_first / step + 1, total }))
    }
}

#[cfg(test)]
mod tests {
    use super::{Shard, from_env, run_from_env, variables};

    fn shard_of(variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let get = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into());
        from_env(&get).map(|shard| shard.map(|shard| shard.to_string())).map_err(|error| error.to_string())
    }

    fn is(variables: &[(&str, &str)], shard: &str) {
        assert_eq!(shard_of(variables), Ok(Some(shard.to_owned())), "{variables:?}");
    }

    #[test]
    fn a_shard_is_parsed_and_invalid_ones_are_refused() {
        assert_eq!("2/4".parse(), Ok(Shard { index: 2, total: 4 }));
        for text in ["0/4", "5/4", "2", "2/", "/4", "a/b", "+1/4", "1/4/4", "", "1/99999999999"] {
            let error = text.parse::<Shard>().expect_err("no shard").to_string();
            assert_eq!(error, format!("invalid shard {text:?}: expected INDEX/TOTAL, such as 1/4, with INDEX from 1"));
        }
    }

    #[test]
    fn shards_are_read_from_the_variables_of_job_systems() {
        let slurm = |id, count, min, step| {
            let names =
                ["SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP"];
            names.into_iter().zip([id, count, min, step]).collect::<Vec<_>>()
        };
        is(&slurm("1", "4", "1", "1"), "1/4");
        is(&slurm("3", "4", "0", "1"), "4/4");
        is(&slurm("30", "4", "10", "10"), "3/4");
        is(&[("CI_NODE_INDEX", "2"), ("CI_NODE_TOTAL", "3")], "2/3");
        is(&[("JOB_COMPLETION_INDEX", "0"), ("BOOTLING_SHARDS", "4")], "1/4");
        is(&[("BOOTLING_SHARD", "2/2"), ("CI_NODE_INDEX", "x")], "2/2");
        // One job system runs inside the other, and both agree.
        is(
            &[("CI_NODE_INDEX", "2"), ("CI_NODE_TOTAL", "3"), ("JOB_COMPLETION_INDEX", "1"), ("BOOTLING_SHARDS", "3")],
            "2/3",
        );
        // GitLab sets the total for every job.
        assert_eq!(shard_of(&[("CI_NODE_TOTAL", "1")]), Ok(None));
        let error = shard_of(&slurm("7", "3", "1", "1")).expect_err("1,2,7 is not evenly spaced");
        assert!(error.starts_with("SLURM_ARRAY_TASK_ID=\"7\": not one of as many evenly spaced"), "{error}");
    }

    #[test]
    fn a_run_is_identified_by_what_all_of_its_shards_share() {
        let run_of = |variables: &[(&str, &str)]| {
            run_from_env(&|name| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into()))
        };
        let is = |variables: &[(&str, &str)], run: &str| assert_eq!(run_of(variables).as_deref(), Some(run));
        is(&[("SLURM_ARRAY_JOB_ID", "12"), ("SLURM_ARRAY_TASK_ID", "3"), ("SLURM_JOB_ID", "15")], "slurm 12");
        is(&[("GITHUB_RUN_ID", "99"), ("GITHUB_RUN_ATTEMPT", "2"), ("GITHUB_RUN_NUMBER", "7")], "github 99");
        is(&[("CI_PIPELINE_ID", "5"), ("CI_JOB_ID", "6"), ("SLURM_ARRAY_JOB_ID", "12")], "gitlab 5");
        is(&[("BOOTLING_RUN", "0b1c"), ("CI_PIPELINE_ID", "5")], "0b1c");
        assert_eq!(run_of(&[("BOOTLING_RUN", ""), ("SLURM_JOB_ID", "15")]), None);
    }

    #[test]
    fn inconsistent_variables_are_errors() {
        let error = |variables: &[(&str, &str)]| shard_of(variables).expect_err("an error");
        assert_eq!(error(&[("CI_NODE_INDEX", "x"), ("CI_NODE_TOTAL", "3")]), "CI_NODE_INDEX=\"x\": not a number");
        let half = error(&[("JOB_COMPLETION_INDEX", "1")]);
        assert_eq!(half, "JOB_COMPLETION_INDEX is set, but BOOTLING_SHARDS is not");
        assert!(error(&[("CI_NODE_INDEX", "0"), ("CI_NODE_TOTAL", "3")]).ends_with("below the first index"));
        let two =
            [("CI_NODE_INDEX", "1"), ("CI_NODE_TOTAL", "3"), ("JOB_COMPLETION_INDEX", "1"), ("BOOTLING_SHARDS", "3")];
        assert_eq!(
            error(&two),
            "CI_NODE_INDEX and JOB_COMPLETION_INDEX specify different shards; use --shard INDEX/TOTAL"
        );
        assert_eq!(variables(), "BOOTLING_SHARD, SLURM_ARRAY_TASK_ID, CI_NODE_INDEX, JOB_COMPLETION_INDEX");
    }
}
