//! The job for pid 1: its fields, its encoding (see [`crate::proto::job`]) and its file in an image.
//!
//! Refuses arguments that `execve(2)` cannot pass: strings that contain a NUL, and environment variables without a
//! name.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::PlanError;
use crate::format::archive_path::ArchivePath;
use crate::format::protocol::job::{MAGIC, PATH, Tag, record_header};
use crate::root::fact::{Content, Fact, Node, Why};
use crate::root::modules::Need;

/// Job for pid 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent record of the file")]
pub(crate) struct Job {
    /// Command and its arguments. Empty: an interactive shell.
    pub(crate) args: Vec<OsString>,
    /// Environment of the command.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Working directory of the command. `None`: `/`.
    pub(crate) cwd: Option<PathBuf>,
    /// Modules to load, in order. pid 1 opens the channel after the last driver of the channel.
    pub(crate) modules: Vec<ModuleToLoad>,
    /// Control channel to the host. `None`: pid 1 uses only the console.
    pub(crate) channel: Option<Channel>,
    /// True if the command runs on a terminal.
    pub(crate) tty: bool,
    /// Host name of the guest. `None`: pid 1 chooses it.
    pub(crate) hostname: Option<OsString>,
    /// Number of block devices to wait for before the command runs.
    pub(crate) block_devices: Option<u32>,
    /// Disks to wait for: bus, serial number, namespace.
    pub(crate) disks: Vec<String>,
    /// The network interface: empty, or address, netmask and gateway.
    pub(crate) network: Option<Vec<u8>>,
    /// Length in bytes of the window through which pid 1 receives its commands. This job then contains no command.
    pub(crate) window: Option<u64>,
    /// True if pid 1 prints its actions on the console.
    pub(crate) verbose: bool,
    /// User of the command. `None`: root.
    pub(crate) user: Option<Credentials>,
    /// True if the host provides the modules that the kernel requests while the command runs.
    pub(crate) autoload: bool,
    /// True if a directory of the host is the command's root.
    pub(crate) has_root: bool,
    /// Mount points of directories of the host, in order, and whether the guest may write.
    pub(crate) shares: Vec<(PathBuf, bool)>,
    /// Paths and patterns of files to send to the host after the command.
    pub(crate) collect: Vec<OsString>,
    /// Most bytes of such files.
    pub(crate) collect_limit: u64,
}

impl Job {
    /// Sets variables of the environment; each name occurs once.
    pub(crate) fn set_variables(&mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) {
        for (name, value) in variables {
            self.env.retain(|(other, _)| *other != name);
            self.env.push((name, value));
        }
    }
}

/// A user and its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// User ID.
    pub(crate) uid: u32,
    /// Group ID, then supplementary groups; not empty.
    pub(crate) groups: Vec<u32>,
}

/// A kernel module in the guest and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModuleToLoad {
    /// Module file.
    pub(crate) path: ArchivePath,
    /// Parameters in the format of `finit_module(2)`.
    pub(crate) params: OsString,
    /// Consequence of a failure.
    pub(crate) need: Need,
}

/// Device of the control channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Channel {
    /// The virtio-serial port [`PORT_NAME`](crate::format::protocol::job::PORT_NAME).
    Virtio,
    /// A serial device, by name: `ttyS1`.
    Serial(String),
}

impl Job {
    /// Encodes the job file.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, PlanError> {
        let mut file = MAGIC.to_vec();
        for arg in &self.args {
            put(&mut file, Tag::Arg, "argument", word("argument", arg)?)?;
        }
        for (name, value) in &self.env {
            put(&mut file, Tag::Env, "environment variable", &variable(name, value)?)?;
        }
        if let Some(cwd) = &self.cwd {
            put(&mut file, Tag::Cwd, "directory", word("directory", cwd.as_os_str())?)?;
        }
        for module in &self.modules {
            put(&mut file, tag(module.need), "module", &load(module)?)?;
        }
        match &self.channel {
            None => {}
            Some(Channel::Virtio) => put(&mut file, Tag::Channel, "channel", b"virtio")?,
            Some(Channel::Serial(device)) => {
                put(&mut file, Tag::Channel, "channel", word("channel", OsStr::new(device))?)?;
            }
        }
        if self.tty {
            put(&mut file, Tag::Tty, "terminal", b"")?;
        }
        if let Some(hostname) = &self.hostname {
            put(&mut file, Tag::Hostname, "host name", word("host name", hostname)?)?;
        }
        if let Some(count) = self.block_devices {
            put(&mut file, Tag::BlockDevices, "block devices", count.to_string().as_bytes())?;
        }
        for disk in &self.disks {
            put(&mut file, Tag::Disk, "disk", word("disk", OsStr::new(disk))?)?;
        }
        if let Some(network) = &self.network {
            put(&mut file, Tag::Network, "network", network)?;
        }
        if let Some(len) = self.window {
            put(&mut file, Tag::Window, "window", len.to_string().as_bytes())?;
        }
        if self.verbose {
            put(&mut file, Tag::Verbose, "verbose", b"")?;
        }
        if let Some(Credentials { uid, groups }) = &self.user {
            let numbers: Vec<String> = std::iter::once(uid).chain(groups).map(u32::to_string).collect();
            put(&mut file, Tag::User, "user", numbers.join(" ").as_bytes())?;
        }
        if self.autoload {
            put(&mut file, Tag::Autoload, "autoload", b"")?;
        }
        self.encode_files(&mut file)?;
        Ok(file)
    }

    /// Encodes what the command shares with the host.
    fn encode_files(&self, file: &mut Vec<u8>) -> Result<(), PlanError> {
        if self.has_root {
            put(file, Tag::Root, "root", b"")?;
        }
        for (path, writable) in &self.shares {
            let mode: &[u8] = if *writable { b"w" } else { b"r" };
            put(file, Tag::Share, "share", &[mode, word("share", path.as_os_str())?].concat())?;
        }
        for path in &self.collect {
            put(file, Tag::Collect, "path to collect", word("path to collect", path)?)?;
        }
        if !self.collect.is_empty() {
            put(file, Tag::CollectLimit, "collect limit", self.collect_limit.to_string().as_bytes())?;
        }
        Ok(())
    }

    /// Returns the job file and its directory as facts. Only root can read the file, because arguments and environment
    /// may contain secrets.
    pub(crate) fn facts(&self) -> Result<Vec<Fact>, PlanError> {
        let path = ArchivePath::new(PATH);
        let parent = path.parent().unwrap_or_default();
        let content = Content::Bytes(self.encode()?.into());
        Ok(vec![
            Fact { path: parent, node: Node::Dir { mode: 0o700 }, why: Why::Base },
            Fact { path, node: Node::File { mode: 0o600, content, hardlink: None }, why: Why::Base },
        ])
    }
}

/// Returns `/init`, the program that runs as pid 1, as a fact.
pub(crate) fn init(image: &'static [u8]) -> Fact {
    let node = Node::File { mode: 0o755, content: Content::Static(image), hardlink: None };
    Fact { path: ArchivePath::new("/init"), node, why: Why::Base }
}

/// Appends a record.
fn put(file: &mut Vec<u8>, tag: Tag, what: &str, value: &[u8]) -> Result<(), PlanError> {
    let len = u32::try_from(value.len()).map_err(|_| refuse(what, "longer than 4 GiB"))?;
    file.extend_from_slice(&record_header(tag, len));
    file.extend_from_slice(value);
    Ok(())
}

/// Returns the bytes of `text`, which must be representable as a C string.
fn word<'a>(what: &str, text: &'a OsStr) -> Result<&'a [u8], PlanError> {
    if text.as_bytes().contains(&0) {
        return Err(refuse(&format!("{what} {}", text.display()), "contains a NUL byte"));
    }
    Ok(text.as_bytes())
}

/// Encodes `NAME=value`.
fn variable(name: &OsStr, value: &OsStr) -> Result<Vec<u8>, PlanError> {
    let what = "environment variable";
    let bytes = word(what, name)?;
    if bytes.is_empty() || bytes.contains(&b'=') {
        return Err(refuse(&format!("{what} {}", name.display()), "the name must not be empty or contain '='"));
    }
    Ok([bytes, b"=", word(what, value)?].concat())
}

/// Returns the tag of a module.
const fn tag(need: Need) -> Tag {
    match need {
        Need::Channel => Tag::ChannelModule,
        Need::Soft => Tag::SoftModule,
        Need::Alternative => Tag::Alternative,
        Need::LastAlternative => Tag::LastAlternative,
        Need::Required => Tag::Module,
    }
}

/// Encodes `PATH NUL PARAMETERS`.
fn load(module: &ModuleToLoad) -> Result<Vec<u8>, PlanError> {
    let path = module.path.to_absolute();
    Ok([word("module", path.as_os_str())?, b"\0", word("module parameters", &module.params)?].concat())
}

/// Creates an encoding error.
fn refuse(what: &str, rule: &'static str) -> PlanError {
    PlanError::Job { what: what.to_owned(), rule }
}

#[cfg(test)]
mod tests {
    use super::{Channel, Credentials, Job, ModuleToLoad, Need};
    use crate::format::archive_path::ArchivePath;
    use crate::format::protocol::job::{MAGIC, Tag, records};
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, any, proptest};
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn a_complete_job_has_the_expected_encoding() {
        let job = Job {
            args: vec!["sh".into(), "".into()],
            env: vec![("A".into(), "b=c".into())],
            cwd: Some("/tmp".into()),
            modules: [("/v.ko", "", Need::Channel), ("/s.ko", "", Need::Soft), ("/m.ko", "x=1", Need::Required)]
                .map(|(path, params, need)| ModuleToLoad { path: ArchivePath::new(path), params: params.into(), need })
                .into(),
            channel: Some(Channel::Serial("ttyS1".into())),
            tty: true,
            hostname: Some("g".into()),
            block_devices: Some(2),
            disks: vec!["virtio d 0".to_owned()],
            network: Some(vec![10, 0]),
            window: Some(4096),
            verbose: true,
            user: Some(Credentials { uid: 7, groups: vec![8, 9] }),
            autoload: true,
            has_root: true,
            shares: vec![("/d".into(), true)],
            collect: vec!["/out".into()],
            collect_limit: 7,
        };
        let golden = b"bootling job 1\n\
            a\x02\0\0\0sha\0\0\0\0\
            e\x05\0\0\0A=b=c\
            d\x04\0\0\0/tmp\
            n\x06\0\0\0/v.ko\0\
            s\x06\0\0\0/s.ko\0\
            m\x09\0\0\0/m.ko\0x=1\
            c\x05\0\0\0ttyS1\
            t\0\0\0\0\
            h\x01\0\0\0g\
            b\x01\0\0\x002\
            D\x0a\0\0\0virtio d 0\
            I\x02\0\0\0\x0a\0\
            w\x04\0\0\x004096\
            v\0\0\0\0\
            u\x05\0\0\x007 8 9\
            k\0\0\0\0\
            R\0\0\0\0\
            S\x03\0\0\0w/d\
            C\x04\0\0\0/out\
            L\x01\0\0\x007";
        assert_eq!(job.encode().expect("a job").escape_ascii().to_string(), golden.escape_ascii().to_string());
        assert_eq!(Job::default().encode().expect("a job"), MAGIC);
    }

    #[test]
    fn strings_that_execve_cannot_pass_are_refused() {
        let args = Job { args: vec!["a\0b".into()], ..Job::default() };
        assert!(args.encode().expect_err("a NUL").to_string().ends_with("contains a NUL byte"));
        for name in ["", "A=B"] {
            let env = Job { env: vec![(name.into(), "x".into())], ..Job::default() };
            assert!(env.encode().expect_err("no name").to_string().contains("the name must not be empty"));
        }
    }

    fn words() -> impl Strategy<Value = Vec<OsString>> {
        vec(vec(1_u8.., 0..40).prop_map(OsString::from_vec), 0..20)
    }

    proptest! {
        #[test]
        fn encoded_records_are_decoded_unchanged(args in words(), values in words(), tty in any::<bool>(), count in any::<Option<u32>>()) {
            let env: Vec<_> = values.into_iter().map(|value| (OsString::from("N"), value)).collect();
            let job = Job { args: args.clone(), env: env.clone(), tty, block_devices: count, ..Job::default() };
            let bytes = job.encode().expect("a job");
            let read: Vec<(Tag, Vec<u8>)> = records(&bytes)
                .expect("a magic line")
                .map(|record| record.map(|(tag, value)| (tag, value.to_vec())).expect("a record"))
                .collect();
            let mut meant: Vec<(Tag, Vec<u8>)> = args.into_iter().map(|arg| (Tag::Arg, arg.into_vec())).collect();
            meant.extend(env.into_iter().map(|(_, value)| (Tag::Env, [b"N=".as_slice(), &value.into_vec()].concat())));
            meant.extend(tty.then(|| (Tag::Tty, Vec::new())));
            meant.extend(count.map(|count| (Tag::BlockDevices, count.to_string().into_bytes())));
            assert_eq!(read, meant);
        }
    }
}
