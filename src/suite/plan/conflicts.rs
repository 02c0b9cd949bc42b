//! Finds cells that cannot run at the same time: they publish one port of the host, or one of them writes to an image
//! that another one uses.

use std::collections::HashMap;
use std::path::Path;

use super::{Cell, PlanError, Target};
use crate::qemu::device::disk::{DiskSource, Writes};
use crate::qemu::device::net::Publish;

/// Fails for the first two cells that cannot run at the same time.
pub(super) fn check(cells: &[Cell], targets: &[Target]) -> Result<(), PlanError> {
    let mut ports: Vec<(Publish, &Cell)> = Vec::new();
    let mut images: HashMap<&Path, (&Cell, Writes)> = HashMap::new();
    for cell in cells {
        let target = &targets[cell.target];
        for port in target.net.iter().flat_map(|net| &net.publish) {
            let conflict = |one: &Cell| PlanError::Conflict {
                cells: [one.id.clone(), cell.id.clone()],
                what: format!("publish the same port of the host, {}", port.host),
                fix: "use port 0, which chooses a free port",
            };
            match ports.iter().find(|(other, _)| other.collides(port)) {
                // A second entry of the same test is refused when its guest is prepared.
                Some((_, one)) if one.id != cell.id => return Err(conflict(one)),
                Some(_) | None => ports.push((*port, cell)),
            }
        }
        for disk in &target.disks {
            let DiskSource::Image { path, writes } = &disk.source else { continue };
            let Some((one, other)) = images.insert(path, (cell, *writes)) else { continue };
            if one.id != cell.id && (other == Writes::Kept || *writes == Writes::Kept) {
                return Err(PlanError::Conflict {
                    cells: [one.id.clone(), cell.id.clone()],
                    what: format!("use image {}, which \"rw\" allows to be changed", path.display()),
                    fix: "omit rw, or give each cell its own image",
                });
            }
            if other == Writes::Kept {
                images.insert(path, (one, other));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::suite::plan::{Filter, Plan};
    use crate::suite::tests::fixtures::spec;

    fn planned(text: &str) -> Result<usize, String> {
        let plan = Plan::new(spec(text), &Filter::default(), None).map_err(|error| error.to_string())?;
        Ok(plan.targets.len())
    }

    #[test]
    fn cells_with_one_port_or_a_writable_image_are_refused() {
        let two = |one: &str, other: &str| {
            planned(&format!("[[test]]\nname = 'a'\nrun = 'x'\n{one}\n[[test]]\nname = 'b'\nrun = 'x'\n{other}\n"))
        };
        assert_eq!(two("publish = '0:80'", "publish = '0:80'"), Ok(1));
        assert_eq!(two("publish = '8080:80'", "publish = '8081:80'"), Ok(2));
        assert_eq!(
            two("publish = '8080:80'", "publish = '0.0.0.0:8080:81'"),
            Err("cells a/default/default and b/default/default publish the same port of the host, 0.0.0.0:8080: use port \
                 0, which chooses a free port"
                .to_owned())
        );
        assert_eq!(two("disks = 'x.img'", "disks = 'x.img,ro'"), Ok(2));
        assert_eq!(two("disks = 'x.img,rw'", "disks = 'y.img,rw'"), Ok(2));
        let error = two("disks = 'x.img,rw'", "disks = ['64M', 'x.img']").expect_err("a writer and a reader");
        assert!(
            error.ends_with(
                "use image x.img, which \"rw\" allows to be changed: omit rw, or give each cell its own image"
            ),
            "{error}"
        );
        let repeated = planned("[[test]]\nname = 'a'\nrun = 'x'\nrepeat = 2\ndisks = 'x.img,rw'\n");
        assert!(
            repeated.expect_err("two writers").starts_with("cells a/default/default#1 and a/default/default#2 use")
        );
    }
}
