//! A job read back from an image that bootling built, so that another run can take it over.
//!
//! The file comes from anybody's initrd: what pid 1 would refuse is refused here too.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::PlanError;
use super::job::{Channel, Job, ModuleToLoad};
use crate::format::archive_path::ArchivePath;
use crate::format::protocol::job::{JobError, Tag, records};

impl Job {
    /// Reads the bytes of a job file.
    pub fn decode(bytes: &[u8]) -> Result<Self, PlanError> {
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
                let (name, value) = split(value, b'=').ok_or_else(|| broken("environment variable", "without a ="))?;
                self.env.push((name, value));
            }
            Tag::Cwd => self.cwd = Some(PathBuf::from(owned())),
            Tag::Module => self.modules.push(module(value)?),
            Tag::ChannelModule => self.channel_modules.push(module(value)?),
            Tag::Channel => {
                self.channel = Some(match std::str::from_utf8(value) {
                    Ok("virtio") => Channel::Virtio,
                    Ok(device) => Channel::Serial(device.to_owned()),
                    Err(_) => return Err(broken("channel", "a device's name is ASCII")),
                });
            }
            Tag::Tty => self.tty = true,
            Tag::Hostname => self.hostname = Some(owned()),
            Tag::BlockDevices => {
                self.block_devices = Some(number(value).ok_or_else(|| broken("block devices", "not a number"))?);
            }
            Tag::Window => self.window = Some(number(value).ok_or_else(|| broken("window", "not a number"))?),
            Tag::Verbose => self.verbose = true,
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn module(value: &[u8]) -> Result<ModuleToLoad, PlanError> {
    let (path, params) = split(value, 0).ok_or_else(|| broken("module", "no NUL behind its path"))?;
    Ok(ModuleToLoad { path: ArchivePath::new(path), params })
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
        JobError::Magic => broken("the file", "it does not start as a job of this bootling's does"),
        JobError::Tag(at) => broken(&format!("record at byte {at}"), "of a kind that is not known here"),
        JobError::Truncated(at) => broken(&format!("record at byte {at}"), "it ends behind the file's end"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Channel, Job, ModuleToLoad};
    use crate::format::archive_path::ArchivePath;

    #[test]
    fn what_was_written_is_read_back() {
        let load = |path: &str, params: &str| ModuleToLoad { path: ArchivePath::new(path), params: params.into() };
        let job = Job {
            args: vec!["a b".into(), "".into()],
            env: vec![("PATH".into(), "/bin=/x".into())],
            cwd: Some("/tmp".into()),
            modules: vec![load("/lib/modules/1/loop.ko", "max_loop=4")],
            channel_modules: vec![load("/lib/modules/1/virtio.ko", "")],
            channel: Some(Channel::Serial("ttyS1".to_owned())),
            tty: true,
            hostname: Some("guest".into()),
            block_devices: Some(3),
            window: Some(4096),
            verbose: true,
        };
        let bytes = job.encode().expect("encodes");
        assert_eq!(Job::decode(&bytes).expect("decodes"), job);
        for cut in 0..bytes.len() {
            // A job cut between two records is a shorter job; anything else is an error, and nothing panics.
            if let Ok(shorter) = Job::decode(&bytes[..cut]) {
                assert_ne!(shorter, job);
            }
        }
    }
}
