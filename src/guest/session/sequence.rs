//! Sequence of pid 1's frames: a frame is accepted only in the phase in which pid 1 sends it.
//!
//! | frame | before the greeting | after it | while the command runs |
//! |---|---|---|---|
//! | `Hello` | yes | no | no |
//! | `Ready` | no | of a base | no |
//! | `Started` | no | of a command | no |
//! | `Stdout`, `Stderr`, `Window`, `Left`, `Helper`, `Collected` | no | no | yes |
//! | `Note`, `Log` | no | yes | yes |
//! | `Failed`: the command cannot be executed | no | of a command, once | no |
//! | `CommandLine`, `Loading`, `Failed`: an optional module | no | yes | no |
//! | `Failed`: any other step | yes | yes | no |
//! | `Exit` | no | 126 or 127, after that failure | yes |
//!
//! An exit status without a command is therefore rejected: it would be a verdict without a test.

use super::Phase;
use crate::format::protocol::frame::{Ended, Failure, ToHost};

/// Events of a session on which the sequence depends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// Phase of the session.
    pub(super) phase: Phase,
    /// True if the guest boots a base, without a command.
    pub(super) is_base: bool,
    /// True after the report that the command cannot be executed.
    pub(super) is_refused: bool,
}

impl Progress {
    /// Returns a description of the fault if pid 1 may not send the frame now.
    pub(super) fn violation(self, frame: &ToHost<'_>) -> Option<&'static str> {
        let Self { phase, is_base, is_refused } = self;
        let (is_greeted, is_running) = (phase == Phase::Greeted, phase == Phase::Running);
        let awaits_command = is_greeted && !is_base && !is_refused;
        let (is_valid, what) = match frame {
            ToHost::Hello { .. } => (phase == Phase::Booting, "a second greeting"),
            ToHost::Ready => (is_greeted && is_base, "an unexpected ready message instead of a command start"),
            ToHost::Started(_) => (awaits_command, "an unexpected command start"),
            ToHost::Stdout(_) | ToHost::Stderr(_) => (is_running, "output of a command that has not started"),
            ToHost::Window(_) => (is_running, "a request for input of a command that has not started"),
            ToHost::Left { .. } => (is_running, "a leftover process of a command that has not started"),
            ToHost::Collected(_) => (is_running, "collected files of a command that has not started"),
            ToHost::Helper { .. } => (is_running, "a message of a helper of a command that has not started"),
            ToHost::Note(_) => (is_greeted || is_running, "a note before the greeting"),
            ToHost::Log { .. } => (is_greeted || is_running, "kernel log records before the greeting"),
            ToHost::CommandLine(_) => (is_greeted, "a command line before the greeting"),
            ToHost::Loading(_) | ToHost::Failed { what: Failure::SoftModule, .. } => {
                (is_greeted, "an unexpected message about a module")
            }
            ToHost::Failed { what: Failure::Exec, .. } => {
                (awaits_command, "an unexpected failure to start the command")
            }
            ToHost::Failed {
                what:
                    Failure::Job
                    | Failure::Module
                    | Failure::Crash
                    | Failure::Tty
                    | Failure::BlockDevices
                    | Failure::Window
                    | Failure::Setup
                    | Failure::Seed,
                ..
            } => (!is_running, "a failure to prepare a command that is already running"),
            // The statuses of shells for commands that cannot be executed.
            ToHost::Exit { ended: Ended::Exited(126 | 127), .. } if is_greeted && is_refused => return None,
            ToHost::Exit { .. } => (is_running, "an exit status of a command that has not started"),
        };
        (!is_valid).then_some(what)
    }
}

#[cfg(test)]
mod tests {
    use super::{Phase, Progress};
    use crate::format::protocol::frame::{Ended, Failure, Lost, ToHost, Usage};

    const BOOTING: Progress = Progress { phase: Phase::Booting, is_base: false, is_refused: false };
    const GREETED: Progress = Progress { phase: Phase::Greeted, ..BOOTING };
    const REFUSED: Progress = Progress { is_refused: true, ..GREETED };
    const RUNNING: Progress = Progress { phase: Phase::Running, ..BOOTING };
    const BASE: Progress = Progress { is_base: true, ..GREETED };

    fn exit(ended: Ended) -> ToHost<'static> {
        ToHost::Exit { ended, usage: Usage::default(), taint: 0 }
    }

    fn failed(what: Failure) -> ToHost<'static> {
        ToHost::Failed { what, errno: 2, subject: b"x" }
    }

    #[test]
    fn every_frame_is_accepted_only_in_its_phase() {
        let hello = ToHost::Hello { version: 0, uptime_ns: 0, taint: 0, window: 0, release: b"" };
        let cases: [(ToHost<'_>, [bool; 5]); 24] = [
            // Booting, greeted, refused, running, base.
            (hello, [true, false, false, false, false]),
            (ToHost::Ready, [false, false, false, false, true]),
            (ToHost::Started(1), [false, true, false, false, false]),
            (ToHost::Stdout(b"x"), [false, false, false, true, false]),
            (ToHost::Stderr(b"x"), [false, false, false, true, false]),
            (ToHost::Collected(b"x"), [false, false, false, true, false]),
            (ToHost::Window(1), [false, false, false, true, false]),
            (ToHost::Note(b"x"), [false, true, true, true, true]),
            (ToHost::Log { lost: Lost::Nothing, records: b"" }, [false, true, true, true, true]),
            (ToHost::Left { pid: 2, lives: false, name: b"x" }, [false, false, false, true, false]),
            (ToHost::Helper { id: 1, message: b"t" }, [false, false, false, true, false]),
            (failed(Failure::Exec), [false, true, false, false, false]),
            (failed(Failure::Job), [true, true, true, false, true]),
            (failed(Failure::Module), [true, true, true, false, true]),
            (failed(Failure::Crash), [true, true, true, false, true]),
            (failed(Failure::SoftModule), [false, true, true, false, true]),
            (ToHost::CommandLine(b"x"), [false, true, true, false, true]),
            (ToHost::Loading(b"x"), [false, true, true, false, true]),
            (failed(Failure::Window), [true, true, true, false, true]),
            (exit(Ended::Exited(0)), [false, false, false, true, false]),
            (exit(Ended::Exited(1)), [false, false, false, true, false]),
            (exit(Ended::Exited(127)), [false, false, true, true, false]),
            (exit(Ended::Signaled(9, false)), [false, false, false, true, false]),
            (exit(Ended::PowerOff), [false, false, false, true, false]),
        ];
        for (frame, accepted) in cases {
            let found = [BOOTING, GREETED, REFUSED, RUNNING, BASE].map(|progress| progress.violation(&frame).is_none());
            assert_eq!(found, accepted, "{frame:?}");
        }
    }
}
