//! Job files for job systems, which run a matrix in shards and merge the reports. Pure.
//!
//! If the system permits it, a task takes its shard from the environment, so that a resubmitted task runs the same shard.

/// Job system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// GitHub Actions workflow.
    Github,
    /// GitLab jobs to include.
    Gitlab,
    /// Script for Slurm's `sbatch`.
    Slurm,
    /// Indexed Kubernetes job.
    Kubernetes,
}

/// Job to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Name.
    pub name: String,
    /// Shell command, one line: `bootling test` with the options that select cells.
    pub command: String,
    /// Number of shards.
    pub shards: u32,
}

/// Length limit of a job name in Kubernetes, so that the pods' names are valid host names.
const MAX_NAME: usize = 52;

/// Returns a job file.
pub fn emit(system: System, job: &Job) -> String {
    let template = match system {
        System::Github => include_str!("../../assets/jobs/github.yml"),
        System::Gitlab => include_str!("../../assets/jobs/gitlab.yml"),
        System::Slurm => include_str!("../../assets/jobs/slurm.sh"),
        System::Kubernetes => include_str!("../../assets/jobs/kubernetes.yml"),
    };
    let slug = slug(&job.name);
    let name = match system {
        // A JSON string is a YAML string.
        System::Github | System::Gitlab => serde_json::Value::from(job.name.as_str()).to_string(),
        System::Slurm | System::Kubernetes => slug.clone(),
    };
    let numbers: Vec<_> = (1..=job.shards).map(|number| number.to_string()).collect();
    let (shards, list) = (job.shards.to_string(), numbers.join(", "));
    let value = |key: &str| match key {
        "SHARDS" => Some(shards.as_str()),
        "LIST" => Some(list.as_str()),
        "SLUG" => Some(slug.as_str()),
        "NAME" => Some(name.as_str()),
        "COMMAND" => Some(job.command.as_str()),
        _ => None,
    };
    // In one pass, so that values are not searched for keys.
    let mut text = String::new();
    let mut is_open = false;
    for piece in template.split('@') {
        if let Some(value) = value(piece) {
            text.push_str(value);
            is_open = false;
        } else {
            text.extend([if is_open { "@" } else { "" }, piece]);
            is_open = true;
        }
    }
    text
}

/// Converts a name to a valid Kubernetes name (RFC 1123): lowercase letters, digits and dashes.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for letter in name.chars().map(|letter| letter.to_ascii_lowercase()) {
        if letter.is_ascii_alphanumeric() {
            slug.push(letter);
        } else if !slug.ends_with('-') && !slug.is_empty() {
            slug.push('-');
        }
    }
    slug.truncate(MAX_NAME);
    let slug = slug.trim_matches('-');
    if slug.is_empty() { "bootling".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{Job, System, emit, slug};
    use expect_test::expect_file;

    fn text(system: System) -> String {
        let job = Job {
            name: "smoke: \"all\" @COMMAND@".to_owned(),
            command: "bootling test 'my tests.toml' --tag smoke".to_owned(),
            shards: 4,
        };
        emit(system, &job)
    }

    #[test]
    fn every_job_system_has_a_job_file() {
        expect_file!["golden/github.yml"].assert_eq(&text(System::Github));
        expect_file!["golden/gitlab.yml"].assert_eq(&text(System::Gitlab));
        expect_file!["golden/slurm.sh"].assert_eq(&text(System::Slurm));
        expect_file!["golden/kubernetes.yml"].assert_eq(&text(System::Kubernetes));
    }

    #[test]
    fn names_are_converted_to_kubernetes_names() {
        assert_eq!(slug("Smoke: all_of it!"), "smoke-all-of-it");
        assert_eq!(slug("\u{e4}//"), "bootling");
        assert_eq!(slug(&format!("{} b", "a".repeat(51))), "a".repeat(51));
    }
}
