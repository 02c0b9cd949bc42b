//! The user of a command, and the host name.

use std::fs;

use crate::support::program::scratch;
use crate::support::{Kernel, Program};

/// Identity, variables, and what the user may and may not do.
const LINE: &str = "id; echo $HOME $USER $LOGNAME; hostname; grep -c \"$(hostname)\" /etc/hosts; echo err >/dev/stderr; \
    cat /root/x 2>/dev/null || touch /root/x 2>/dev/null || echo denied; modprobe dummy 2>&1; echo $?";

#[test]
fn a_command_runs_as_the_requested_user() {
    let test = "a_command_runs_as_the_requested_user";
    for warm in ["--warm=no", "--warm"] {
        let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
        let done = program.args([warm, "--user", "nobody", "--hostname", "node-1", "--run", LINE]).done().exits(0);
        assert_eq!(
            done.text(),
            "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)\n/ nobody nobody\nnode-1\n1\ndenied\n\
             modprobe: ERROR: could not insert 'dummy': Operation not permitted\n1\n",
            "{warm}"
        );
        assert!(done.stderr.ends_with("err\n"), "{}", done.stderr);
    }
}

#[test]
fn users_and_groups_come_from_the_image_and_a_terminal_belongs_to_its_user() {
    let test = "users_and_groups_come_from_the_image";
    let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
    let dir = scratch();
    let (passwd, group) = (dir.path().join("passwd"), dir.path().join("group"));
    fs::write(&passwd, "root:x:0:0:root:/root:/bin/sh\nann:x:1000:100:Ann:/home/ann:/bin/sh\n").expect("written");
    fs::write(&group, "root:x:0:\ntty:x:5:\nusers:x:100:\nkvm:x:36:ann\n").expect("written");
    let copy = |file: &std::path::Path, name: &str| format!("{}=/etc/{name}", file.display());
    let program = program.args(["--copy", &copy(&passwd, "passwd"), "--copy", &copy(&group, "group"), "--tty"]);
    let line = "id; stat -c %U:%G $(tty); echo $HOME; echo $HOSTNAME; hostname";
    let done = program.args(["--user", "ann", "--env", "HOME=/tmp", "--run", line]).done().exits(0);
    let output = done.text().replace('\r', "");
    assert_eq!(output, "uid=1000(ann) gid=100(users) groups=36(kvm),100(users)\nann:tty\n/tmp\nbootling\nbootling\n");
}

#[test]
fn invalid_users_and_host_names_are_errors_before_the_boot() {
    let test = "invalid_users_and_host_names";
    for (option, value, message) in [
        ("--user", "nobdy", "invalid --user nobdy: no user \"nobdy\" in the image's /etc/passwd (it has root, nobody)"),
        ("--user", "nobody:nosuch", "no group \"nosuch\" in the image's /etc/group"),
        ("--hostname", "a b", "invalid --hostname \"a b\": expected 1 to 64 letters"),
    ] {
        let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
        program.args([option, value, "--", "true"]).done().exits(125).says(message);
    }
}
