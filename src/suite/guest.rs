//! Converts a plan's targets and tests to guest builders and commands.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::budget;
use super::manifest::{BootWay, KernelSpec};
use super::plan::{Plan, Target};
use super::schedule::GuestNeeds;
use crate::arch::Arch;
use crate::guest::{Builder, RunSpec, Warm};
use crate::qemu::device::files::FilesRequest;
use crate::{qemu::spec::BootSpec, root::request::KernelRef, root::spec::InitrdSpec};

/// Default guest memory, MiB.
const MEMORY_MIB: u64 = 1024;

/// Returns the builder of a target's guests.
pub(crate) fn target_builder(plan: &Plan, target: &Target, cache: Option<&Path>) -> Builder {
    let kernel = &plan.spec.kernels[target.kernel];
    let machine = &plan.spec.machines[target.machine];
    let arguments = kernel.append.iter().chain(&target.boot_args).map(OsString::from);
    let append = machine.boot.append.iter().cloned().chain(arguments);
    let warm = match target.boot {
        BootWay::Warm => Warm::Yes,
        BootWay::Cold => Warm::No,
    };
    Builder::of(RunSpec {
        initrd: InitrdSpec {
            root: target.sysroot.clone(),
            busybox: target.busybox,
            lib_path: target.lib_path.clone(),
            ..InitrdSpec::default()
        },
        kernel: kernel_ref(plan, target.kernel, target.machine),
        boot: BootSpec {
            arch: plan.arch(target.kernel, target.machine),
            append: append.collect(),
            disks: target.disks.clone(),
            net: target.net.clone(),
            files: FilesRequest { support: target.files, ..FilesRequest::default() },
            ..machine.boot.clone()
        },
        warm,
        base_modules: machine.base_modules.clone(),
        cache: cache.map(Path::to_owned),
        ..RunSpec::default()
    })
    .bring_once()
}

/// Resolves the kernel of a target as for `--kernel`: the exact package that it is pinned to; relative to the manifest if it
/// is a path or such a file exists; otherwise unchanged.
pub(crate) fn kernel_ref(plan: &Plan, kernel: usize, machine: usize) -> Option<KernelRef> {
    let arch = plan.arch(kernel, machine).or(Arch::host());
    match arch.and_then(|arch| plan.pins.get(&(kernel, arch))) {
        Some(pin) => Some(KernelRef::Named(pin.into())),
        None => named_kernel(&plan.spec.kernels[kernel], &plan.spec.folder),
    }
}

/// Resolves a kernel that no lock pins.
pub(crate) fn named_kernel(kernel: &KernelSpec, folder: &Path) -> Option<KernelRef> {
    let typed = kernel.kernel.as_ref()?;
    let beside = folder.join(typed);
    let is_path = typed.contains('/') || beside.exists();
    let named = if is_path && !kernel.is_typed { beside.into_os_string() } else { OsString::from(typed) };
    Some(KernelRef::Named(named))
}

/// Returns the resources that a target's guests need.
pub(crate) fn guest_needs(plan: &Plan, target: &Target, jobs_given: bool) -> GuestNeeds {
    let boot = &plan.spec.machines[target.machine].boot;
    let memory = boot.memory_mib.unwrap_or(MEMORY_MIB);
    let cold_mib = budget::cold_mib(memory);
    GuestNeeds {
        slots: if jobs_given { 1 } else { smp_count(boot.smp.as_deref()) },
        cold_mib,
        cell_mib: match target.boot {
            BootWay::Warm => budget::warm_mib(memory),
            BootWay::Cold => cold_mib,
        },
    }
}

/// Parses the number of CPUs from an `-smp` argument: `4`, `4,sockets=2`, `cpus=4`. Forms that only QEMU understands
/// count as one.
fn smp_count(smp: Option<&OsStr>) -> u32 {
    let text = smp.and_then(OsStr::to_str).unwrap_or("1");
    let number = |part: &str| part.strip_prefix("cpus=").unwrap_or(part).parse().ok();
    text.split(',').find_map(number).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::{guest_needs, smp_count};
    use crate::root::request::KernelRef;
    use crate::suite::manifest::KernelSpec;
    use crate::suite::plan::{Filter, Plan};
    use crate::suite::tests::fixtures::spec;
    use std::path::Path;

    #[test]
    fn kernel_files_are_relative_to_the_manifest() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("bzImage"), "").expect("a file");
        let named = |typed: &str, is_typed| {
            let kernel = KernelSpec { kernel: Some(typed.to_owned()), is_typed, ..KernelSpec::default() };
            super::named_kernel(&kernel, dir.path())
        };
        let beside = |name: &str| Some(KernelRef::Named(dir.path().join(name).into()));
        assert_eq!(named("bzImage", false), beside("bzImage"));
        assert_eq!(named("bzImage", true), Some(KernelRef::Named("bzImage".into())));
        assert_eq!(named("../linux", false), beside("../linux"));
        assert_eq!(named("6.12.1", false), Some(KernelRef::Named("6.12.1".into())));
        assert_eq!(named("debian:cloud", false), Some(KernelRef::Named("debian:cloud".into())));
        assert_eq!(super::named_kernel(&KernelSpec::default(), Path::new("x")), None);
    }

    #[test]
    fn guests_need_their_cpus_and_their_memory() {
        let counts = [(None, 1), (Some("4"), 4), (Some("cpus=2"), 2), (Some("sockets=2,cpus=3"), 3), (Some("x"), 1)];
        for (smp, expected) in counts {
            assert_eq!(smp_count(smp.map(AsRef::as_ref)), expected, "{smp:?}");
        }
        let text = "[machines]\na = { memory = 512, smp = 2 }\n[[test]]\nname='w'\nrun='x'\n[[test]]\nname='c'\nrun='x'\nboot='cold'\n";
        let plan = Plan::new(spec(text), &Filter::default(), None).expect("a plan");
        let needs: Vec<_> = plan.targets.iter().map(|target| guest_needs(&plan, target, false)).collect();
        assert_eq!(
            needs.iter().map(|need| (need.slots, need.cold_mib, need.cell_mib)).collect::<Vec<_>>(),
            [(2, 640, 384), (2, 640, 640)]
        );
        assert_eq!(guest_needs(&plan, &plan.targets[0], true).slots, 1);
    }
}
