//! Remedies: each command that a finding names repairs the image that it is printed for.

use std::fs;
use std::path::Path;
use std::process::Command;

use bootling::disk::check::{Finding, Severity, disk};

use crate::breaches::{FAT32, SMALL, fat32};
use crate::recipe::{ESP, describe, ids, small};

/// Programs that a remedy may start with; other remedies are prose.
const COMMANDS: [&str; 7] = ["bootling ", "sgdisk ", "truncate ", "fsck.fat ", "printf ", "sfdisk ", "dd "];

/// Returns the command of a remedy, without a condition; `None` for prose.
fn command(mend: &str) -> Option<&str> {
    let is_command = COMMANDS.iter().any(|name| mend.starts_with(name)) && !mend.starts_with("bootling disk ");
    is_command.then(|| mend.split(", if ").next().unwrap_or(mend)).filter(|command| !command.contains(" adds "))
}

/// Runs a remedy on the image.
fn mend(command: &str, image: &mut Vec<u8>, dir: &Path) -> String {
    let (file, partition) = (dir.join("image"), dir.join("partition"));
    let esp = ESP..(ESP + (8 << 20)).max(image.len().saturating_sub(1 << 20)).min(image.len());
    fs::write(&file, &image).expect("a file");
    fs::write(&partition, image.get(esp.clone()).unwrap_or_default()).expect("a file");
    let bin = Path::new(env!("CARGO_BIN_EXE_bootling")).parent().expect("a directory");
    let path = format!("{}:{}:/usr/sbin:/sbin", bin.display(), std::env::var("PATH").unwrap_or_default());
    let script = command.replace("IMAGE", "image").replace("PARTITION", "partition");
    let mut shell = Command::new("sh");
    let done = shell.args(["-c", &script]).current_dir(dir).env("PATH", path).output().expect("sh runs");
    *image = fs::read(&file).expect("the image");
    if command.contains("PARTITION") {
        let volume = fs::read(&partition).expect("the volume");
        image[esp].copy_from_slice(&volume);
    }
    format!("{script}: {} {}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
}

#[test]
fn each_command_that_a_finding_names_repairs_the_image() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut wrong = Vec::new();
    let mut ran = 0;
    for (sound, breaks) in [(small(), SMALL), (fat32(), FAT32)] {
        let noted = ids(&disk(&sound, None));
        for (expected, change) in breaks {
            let mut image = sound.clone();
            change(&mut image);
            let mut said = Vec::new();
            // One finding after the other: a remedy may repair several.
            for _ in 0..4 {
                let report = disk(&image, None);
                let open = |finding: &&Finding| !noted.contains(finding.rule.id) && command(&finding.mend).is_some();
                let Some(finding) = report.findings.iter().find(open) else { break };
                said.push(mend(command(&finding.mend).expect("a command"), &mut image, dir.path()));
                ran += 1;
            }
            let report = disk(&image, None);
            let left = |finding: &&Finding| {
                let prose = command(&finding.mend).is_none();
                !noted.contains(finding.rule.id) && !prose && finding.rule.severity > Severity::Note
                    || prose && !noted.contains(finding.rule.id) && !expected.contains(&finding.rule.id)
            };
            if report.findings.iter().any(|finding| left(&finding)) {
                wrong.push(format!("{expected:?}: {said:#?}\n{:#?}", describe(&report)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(ran > 30, "{ran} commands ran");
}
