//! Decoder of the job file of an image that bootling built, so that another run can reuse the job.
//!
//! The initrd is untrusted. The decoder refuses everything that pid 1 refuses.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::PlanError;
use super::job::{Channel, Credentials, Job, ModuleToLoad};
use crate::format::archive_path::ArchivePath;
use crate::format::protocol::job::{JobError, Tag, records};
use crate::root::modules::Need;

impl Job {
    /// Decodes a job file.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, PlanError> {
        let mut job = Self::default();
        for record in records(bytes).map_err(refused)? {
            let (tag, value) = record.map_err(refused)?;
            job.take(tag, value)?;
        }
        Ok(job)
    }

    fn take(&mut self, tag: Tag, value: &[u8]) -> Result<(), PlanError> {
        let owned = || OsStr::from_bytes(value).to_owned();
        match tag {
            Tag::Arg => self.args.push(owned()),
            Tag::Env => {
                let (name, value) = split(value, b'=').ok_or_else(|| broken("environment variable", "missing '='"))?;
                self.env.push((name, value));
            }
            Tag::Cwd => self.cwd = Some(PathBuf::from(owned())),
            Tag::Module => self.modules.push(module(value, Need::Required)?),
            Tag::SoftModule => self.modules.push(module(value, Need::Soft)?),
            Tag::Alternative => self.modules.push(module(value, Need::Alternative)?),
            Tag::LastAlternative => self.modules.push(module(value, Need::LastAlternative)?),
            Tag::ChannelModule => self.modules.push(module(value, Need::Channel)?),
            Tag::Channel => {
                self.channel = Some(match std::str::from_utf8(value) {
                    Ok("virtio") => Channel::Virtio,
                    Ok(device) => Channel::Serial(device.to_owned()),
                    Err(_) => return Err(broken("channel", "the device name is not ASCII")),
                });
            }
            Tag::Tty => self.tty = true,
            Tag::Hostname => self.hostname = Some(owned()),
            Tag::BlockDevices => {
                self.block_devices = Some(number(value).ok_or_else(|| broken("block devices", "not a number"))?);
            }
            Tag::Disk => self.disks.push(owned().into_string().map_err(|_| broken("disk", "not ASCII"))?),
            Tag::Network => self.network = Some(value.to_vec()),
            Tag::Window => self.window = Some(number(value).ok_or_else(|| broken("window", "not a number"))?),
            Tag::Verbose => self.verbose = true,
            Tag::User => {
                let text = std::str::from_utf8(value).unwrap_or_default();
                let numbers = text.split(' ').map(str::parse).collect::<Result<Vec<u32>, _>>().unwrap_or_default();
                let (uid, groups) = numbers.split_first().ok_or_else(|| broken("user", "not a list of numbers"))?;
                self.user = Some(Credentials { uid: *uid, groups: groups.to_vec() });
            }
            Tag::Autoload => self.autoload = true,
            Tag::Root => self.has_root = true,
            Tag::Share => {
                let (mode, path) = value.split_first().ok_or_else(|| broken("share", "empty"))?;
                self.shares.push((PathBuf::from(OsStr::from_bytes(path)), *mode == b'w'));
            }
            Tag::Collect => self.collect.push(owned()),
            Tag::CollectLimit => {
                self.collect_limit = number(value).ok_or_else(|| broken("collect limit", "not a number"))?;
            }
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn module(value: &[u8], need: Need) -> Result<ModuleToLoad, PlanError> {
    let (path, params) = split(value, 0).ok_or_else(|| broken("module", "no NUL after the path"))?;
    Ok(ModuleToLoad { path: ArchivePath::new(path), params, need })
}

fn split(value: &[u8], at: u8) -> Option<(OsString, OsString)> {
    let cut = value.iter().position(|byte| *byte == at)?;
    let (before, after) = value.split_at(cut);
    Some((OsStr::from_bytes(before).to_owned(), OsStr::from_bytes(after.get(1..)?).to_owned()))
}

fn broken(what: &str, rule: &'static str) -> PlanError {
    PlanError::Job { what: what.to_owned(), rule }
}

fn refused(error: JobError) -> PlanError {
    match error {
        JobError::Magic => broken("file", "it does not start with the magic line of this version of bootling"),
        JobError::Tag(at) => broken(&format!("record at byte {at}"), "unknown tag"),
        JobError::Truncated(at) => broken(&format!("record at byte {at}"), "it extends past the end of the file"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Channel, Credentials, Job, ModuleToLoad, Need};
    use crate::format::archive_path::ArchivePath;

    #[test]
    fn an_encoded_job_is_decoded_unchanged() {
        let load = |path: &str, need| ModuleToLoad { path: ArchivePath::new(path), params: "max_loop=4".into(), need };
        let job = Job {
            args: vec!["a b".into(), "".into()],
            env: vec![("PATH".into(), "/bin=/x".into())],
            cwd: Some("/tmp".into()),
            modules: vec![
                load("/lib/modules/1/virtio.ko", Need::Channel),
                load("/lib/modules/1/soft.ko", Need::Soft),
                load("/lib/modules/1/one.ko", Need::Alternative),
                load("/lib/modules/1/other.ko", Need::LastAlternative),
                load("/lib/modules/1/loop.ko", Need::Required),
            ],
            channel: Some(Channel::Serial("ttyS1".to_owned())),
            tty: true,
            hostname: Some("guest".into()),
            block_devices: Some(3),
            disks: vec!["virtio disk0 0".to_owned()],
            network: Some(vec![10, 0, 2, 15]),
            window: Some(4096),
            verbose: true,
            user: Some(Credentials { uid: 7, groups: vec![8, 9] }),
            autoload: true,
            has_root: true,
            shares: vec![("/d".into(), true)],
            collect: vec!["/out".into()],
            collect_limit: 7,
        };
        let bytes = job.encode().expect("encodes");
        assert_eq!(Job::decode(&bytes).expect("decodes"), job);
        for cut in 0..bytes.len() {
            // A job truncated between two records is a valid shorter job. All other truncations are errors.
            if let Ok(shorter) = Job::decode(&bytes[..cut]) {
                assert_ne!(shorter, job);
            }
        }
    }
}
