//! Examples and explanations in `bootling run --help`.

/// Examples, for both `-h` and `--help`.
macro_rules! examples {
    () => {
        "Examples:
  bootling run -- uname -a                        run a program of the host in a guest
  echo hi | bootling run -- wc -c                 pass standard input to the command
  bootling run --run 'grep flags /proc/cpuinfo'   run a line in the guest's shell
  bootling run                                    start a shell in the guest; Ctrl-a x ends it
  bootling run --kernel linux-image-6.12.deb --kmod 'loop max_loop=4' -- ./mytest
  bootling run --arch aarch64 --kernel debian: -- uname -m     fetch kernel and root, once
  bootling run --kernel ~/src/linux -- ./selftest    use a kernel build tree
  git bisect run bootling run --bisect --kernel . -- ./test
  bootling watch --watch-exec 'make -s' -- ./mytest  build and run again after each change
  bootling run bug.bundle                         repeat a recorded run; see `bootling bundle --help`
  bootling run --firmware uefi -- dmesg           boot through OVMF
"
    };
}

/// Text after the options in `-h`.
pub(crate) const EXAMPLES: &str = examples!();

/// Text after the options in `--help`.
pub(crate) const LONG: &str = concat!(
    examples!(),
    "
Keys on a terminal:
  Ctrl-a x  end the guest       Ctrl-a a  send Ctrl-a       Ctrl-a h  show these keys
  Without a guest terminal, Ctrl-C interrupts the command; a second Ctrl-C ends the guest.

Exit status:
  the command's own; 128+n if signal n killed it; 126 if it could not be executed, 127 if it was not found
  118 QEMU died            119 unexpected reset of the guest        120 kernel panic
  121 the command succeeded, but the kernel is unhealthy (--health fail); or loading a module crashed the kernel
  122 the guest ended without a verdict                             123 watchdog expired
  124 timeout
  125 could not test (bad input, no QEMU, no kernel, a module that failed to load)

Modules on demand:
  A module that the guest's kernel requests (`ip link add type dummy`, `mount -t vfat`, `nft`, `tc`), or that the command
  loads with `modprobe NAME [PARAM=VALUE...]`, is sent from the host with its dependencies when it is needed. Nothing has
  to be named in advance. --json lists what was loaded. --kmod loads a module before the command, --no-autoload turns
  modules on demand off. See docs/guest.md.

Collecting (--collect):
  Files and directories are copied when the command has ended, also if it failed, was killed or powered the guest off, and
  after a time limit as far as the guest answers. Symbolic links to files are followed; devices, FIFOs, sockets and links to
  directories are skipped, with a note. Each file appears completely or not at all. A path that is missing or incomplete is
  a note; if the command succeeded, it is an error (exit status 125). A pattern may match nothing. See docs/collect.md.

Bisecting (--bisect), for git bisect run:
  0    good: the command exited with 0
  1    bad: the command exited with any other status, was killed by a signal or was not executed; the guest panicked,
       hung, was reset or ended early; QEMU crashed (SIGSEGV, SIGABRT and similar signals)
  125  skip: could not test, or the command itself exited with 125; QEMU exited or was killed
  128 and above  abort: Ctrl-C, standard output closed, an error on the command line

Watching (--watch, --watch-exec, --watch-path, or `bootling watch`):
  After each round, bootling waits until a file that the round read, or tried to read, changes and has then been stable
  for 60 ms; it allows 2 s for a file that is missing or still being written. Rounds are warm (--warm) unless
  --warm=no is given, which is recommended if each change produces a new kernel. A change while a guest runs ends
  the guest and starts a new round. Ctrl-C interrupts the running command and ends the watch with status 130; any
  other signal n ends it with 128+n. The command's standard input is empty; a shell, or a command on a terminal,
  cannot be watched.
  --watch-exec builds first, with its output on standard error; if it fails, the round fails. Its sources are all files
  below the current directory that are neither hidden nor ignored by git (.gitignore, .ignore), and every --watch-path.
  --json appends one line per round (JSON Lines); --console contains the console of the last round.
"
);
