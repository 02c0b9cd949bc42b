//! What `run --help` says beside its options.

/// What `-h` ends with, and `--help` goes on from.
macro_rules! examples {
    () => {
        "Examples:
  bootling run -- uname -a                        a program of this machine, in a guest, in seconds
  echo hi | bootling run -- wc -c                 standard input reaches it
  bootling run --run 'grep flags /proc/cpuinfo'   a line for the guest's shell
  bootling run                                    a shell in the guest; Ctrl-a x ends it
  bootling run --kernel linux-image-6.12.deb --kmod 'loop max_loop=4' -- ./mytest
  bootling run --kernel ~/src/linux -- ./selftest    a kernel build tree
  git bisect run bootling run --bisect --kernel . -- ./test
  bootling watch --watch-exec 'make -s' -- ./mytest  build and run, again at each save
  bootling run bug.bundle                         what somebody else ran, again; see `bootling bundle --help`
  bootling run --firmware uefi -- dmesg           the same through OVMF, for firmware developers
"
    };
}

/// What `-h` ends with.
pub const EXAMPLES: &str = examples!();

/// What `--help` ends with.
pub const LONG: &str = concat!(
    examples!(),
    "
Keys on a terminal:
  Ctrl-a x  ends the guest      Ctrl-a a  sends Ctrl-a      Ctrl-a h  shows these keys
  Without a terminal of its own, Ctrl-C asks the command to stop; a second one ends the guest.

Exit status:
  the command's own, and 128+n where signal n killed it; 126 and 127 where it could not be executed or found
  118 QEMU died            119 the processor reset, nobody asked    120 kernel panic
  121 the command succeeded, the kernel is not well (--health fail)  122 gone, no verdict
  123 a watchdog fired     124 timed out
  125 could not test (bad input, no QEMU, no kernel, a module that would not load)

Bisecting (--bisect), for git bisect run:
  0    good: the command exited with 0
  1    bad: it exited with anything else, a signal killed it, it was not executed; or the guest panicked, hung, was
       reset, went away; or QEMU crashed (SIGSEGV, SIGABRT and their like)
  125  skip: could not test, or the command itself exited with 125; QEMU ended or was killed
  128 and above  stop: Ctrl-C, nobody reads the output, a mistake on the command line

Watching (--watch, --watch-exec, --watch-path, or the verb watch):
  After each round, waits until a file that the round read, or looked for in vain, is another one, and has been so for
  60 ms; what has vanished, or is still being written, gets 2 s to become whole. Rounds are warm (--warm) unless
  --warm=no is given, as it should be where each save is another kernel. A change while a guest runs ends it
  and starts over. Ctrl-C asks the running command to stop, as ever, and ends the watch: with 130, and 128+n for any
  other signal. The command's standard input is empty; a shell, or a command on a terminal, cannot be watched.
  --watch-exec builds first, its output on standard error; where it fails the round has failed. Its sources are what
  is below the current directory and neither hidden nor ignored by git (.gitignore, .ignore), and every --watch-path.
  --json appends one line a round (JSON Lines); --console holds the last round's console.
"
);
