//! Relays data between the channel and the command: one event loop with one blocking call.
//!
//! Output is read only if the channel is clear, so a host that stops reading blocks the command, not pid 1. Input is
//! accepted regardless of output, since the buffer has room for everything that was granted.

use crate::channel::{Channel, Gone, check};
use crate::command::{Command, NotStarted, Stdio, Step};
use crate::helper_socket::{self, Helpers};
use crate::input::Input;
use crate::protocol::frame::{Ended, Stream, ToGuest, ToHost, Usage};
use crate::signals::Signals;
use crate::syscall::file::{
    Fd, NO_TERMINAL, NONBLOCKING, POLL_IN, POLL_OUT, READ_WRITE, Watch, open, pipe, read, set_nonblocking,
    set_pipe_size, write,
};
use crate::syscall::process::{Stop, kill_group, sleep};
use crate::syscall::{Errno, Result, terminal};

/// Large pipes reduce switches between pid 1 and the command.
const PIPE: usize = 256 * 1024;
/// Maximum terminal output relayed after the command's end, in bytes: background processes may write forever.
const REST: usize = 1024 * 1024;
/// Polling interval for a terminal that was hung up, in nanoseconds.
const NAP: u64 = 1_000_000;

/// Number of files to poll: signals, channel, input, two outputs, the command's reports, helpers.
const WATCHES: usize = 6 + helper_socket::WATCHES;

/// pid 1's ends of the command's input and output.
pub struct Relay<'a> {
    /// Pseudo-terminal (master, peer), instead of pipes. The peer stays open here so that the terminal never hangs up.
    terminal: Option<(Fd, Fd)>,
    input: Option<Fd>,
    outputs: [Option<Fd>; 2],
    /// Input from the host, not yet written to the command.
    pending: Input<'a>,
    /// True after the host has sent end-of-file.
    ending: bool,
    /// Bytes written to the command but not yet granted to the host again.
    owed: u32,
    /// True if an input frame did not fit into the buffer.
    stuck: bool,
    /// True if the host has ended the command, which reached a time limit.
    abandoned: bool,
}

/// The command's ends of the pipes.
pub struct Ends([Fd; 3]);

impl Ends {
    pub fn stdio(&self) -> Stdio<'_> {
        let [input, output, errors] = &self.0;
        Stdio { files: [input, output, errors], controls: false }
    }
}

/// Reason for the end of the relay.
pub enum Outcome {
    Ended(Ended, Usage),
    Stopped(Stop),
    NotStarted(NotStarted),
}

/// Reports that the command runs.
pub fn report_start(channel: &mut Channel, command: &Command) -> core::result::Result<(), Gone> {
    channel.send(&ToHost::Started(command.started))
}

impl<'a> Relay<'a> {
    /// Creates three pipes.
    pub fn over_pipes(pending: Input<'a>) -> Result<(Self, Ends)> {
        let (command_input, input) = pipe()?;
        let (output, command_output) = pipe()?;
        let (errors, command_errors) = pipe()?;
        set_nonblocking(&input)?;
        set_nonblocking(&output)?;
        set_nonblocking(&errors)?;
        // The kernel may refuse a larger pipe.
        let _ = set_pipe_size(&output, PIPE);
        let relay = Self::new(pending, None, Some(input), [Some(output), Some(errors)]);
        Ok((relay, Ends([command_input, command_output, command_errors])))
    }

    /// Creates a pseudo-terminal of the given size.
    pub fn over_terminal(pending: Input<'a>, rows: u16, columns: u16) -> Result<Self> {
        let master = open(c"/dev/ptmx", READ_WRITE | NO_TERMINAL | NONBLOCKING)?;
        let peer = terminal::peer(&master)?;
        if rows > 0 && columns > 0 {
            terminal::set_size(&master, rows, columns)?;
        }
        Ok(Self::new(pending, Some((master, peer)), None, [None, None]))
    }

    fn new(pending: Input<'a>, terminal: Option<(Fd, Fd)>, input: Option<Fd>, outputs: [Option<Fd>; 2]) -> Self {
        Self { terminal, input, outputs, pending, ending: false, owed: 0, stuck: false, abandoned: false }
    }

    /// Returns the terminal for the command.
    pub fn terminal_stdio(&self) -> Option<Stdio<'_>> {
        let (_, peer) = self.terminal.as_ref()?;
        Some(Stdio { files: [peer, peer, peer], controls: true })
    }

    /// Relays until the command has ended, or a process requested to stop the machine.
    pub fn run(
        &mut self,
        channel: &mut Channel,
        signals: &Signals,
        command: &mut Command,
        helpers: &mut Helpers,
    ) -> core::result::Result<Outcome, Gone> {
        // Check everything in the first round: frames may have arrived together with `Go`.
        let mut ready = [Watch::NOTHING; WATCHES];
        loop {
            let [signalled, host, _, output, errors, _, helping @ ..] = ready;
            // Before the signals: the process that reports may have ended.
            match command.step() {
                Step::Nothing => {}
                Step::Executed => report_start(channel, command)?,
                Step::NotStarted(reason) => return Ok(Outcome::NotStarted(reason)),
            }
            if signals.may_be_pending(signalled) {
                let arrived = signals.take();
                if let Some(stop) = arrived.stop {
                    return Ok(Outcome::Stopped(stop));
                }
                if arrived.child
                    && let Some((ended, usage)) = command.ended()
                {
                    return Ok(Outcome::Ended(ended, usage));
                }
            }
            if host.ready & POLL_IN != 0 {
                channel.pull()?;
            }
            self.take_frames(channel, command, helpers)?;
            if self.abandoned {
                let usage = Usage { wall_ns: command.running(), ..Usage::default() };
                return Ok(Outcome::Ended(Ended::Signaled(9, false), usage));
            }
            self.feed();
            channel.push()?;
            self.grant(channel)?;
            helpers.serve(channel, &helping)?;
            for (index, ready) in [output, errors].into_iter().enumerate() {
                if ready.ready != 0 && channel.is_clear() {
                    self.forward(index, channel);
                    channel.push()?;
                }
            }
            ready = self.wait(channel, signals, command, helpers)?;
        }
    }

    /// Waits for an event.
    fn wait(
        &self,
        channel: &Channel,
        signals: &Signals,
        command: &Command,
        helpers: &Helpers,
    ) -> core::result::Result<[Watch; WATCHES], Gone> {
        let clear = channel.is_clear();
        let when = |wanted: bool, file: Option<&Fd>, events| match file {
            Some(file) if wanted => Watch::new(file, events),
            Some(_) | None => Watch::NOTHING,
        };
        let mut watches = [Watch::NOTHING; WATCHES];
        let [_, host, input, output, errors, reports, helping @ ..] = &mut watches;
        *host = channel.watch(!self.stuck);
        *input = when(!self.pending.is_empty(), self.input(), POLL_OUT);
        *output = when(clear, self.output(0), POLL_IN);
        *errors = when(clear, self.output(1), POLL_IN);
        *reports = when(true, command.reports(), POLL_IN);
        helpers.watch(clear, helping);
        signals.poll(&mut watches);
        let [_, host, ..] = watches;
        check(host)?;
        Ok(watches)
    }

    fn input(&self) -> Option<&Fd> {
        self.terminal.as_ref().map(|(master, _)| master).or(self.input.as_ref())
    }

    fn output(&self, index: usize) -> Option<&Fd> {
        match (&self.terminal, index) {
            (Some((master, _)), 0) => Some(master),
            (_, index) => self.outputs.get(index)?.as_ref(),
        }
    }

    fn take_frames(
        &mut self,
        channel: &mut Channel,
        command: &Command,
        helpers: &mut Helpers,
    ) -> core::result::Result<(), Gone> {
        self.stuck = false;
        channel.drain(|message| {
            match message {
                ToGuest::Stdin(bytes) => {
                    self.stuck = !self.pending.push(bytes);
                    return !self.stuck;
                }
                ToGuest::StdinEof => self.ending = true,
                ToGuest::Resize { rows, columns } => {
                    if let Some((master, _)) = &self.terminal {
                        // Ignore an invalid size.
                        let _ = terminal::set_size(master, rows, columns);
                    }
                }
                ToGuest::Signal(number) => {
                    // The process group may be gone already.
                    let _ = kill_group(command.pid, number);
                }
                ToGuest::Helper { id, message } => helpers.deliver(id, message),
                ToGuest::Collect => {
                    let _ = kill_group(command.pid, 9);
                    self.abandoned = true;
                }
                ToGuest::Go { .. } | ToGuest::Renew { .. } | ToGuest::Done => {}
            }
            true
        })
    }

    /// Writes pending input to the command.
    fn feed(&mut self) {
        while !self.pending.is_empty() {
            let taken = match self.input() {
                Some(file) => write(file, self.pending.next()),
                // The command has closed its input: discard.
                None => Ok(self.pending.next().len()),
            };
            match taken {
                Ok(len) => {
                    self.pending.consume(len);
                    self.owed = self.owed.saturating_add(len as u32);
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => {
                    self.input = None;
                    if self.terminal.is_some() {
                        return;
                    }
                }
            }
        }
        if self.ending {
            self.ending = false;
            self.end_input();
        }
    }

    fn end_input(&mut self) {
        self.input = None;
        if let Some((master, peer)) = &self.terminal {
            // On an empty line the character ends the input; otherwise it only completes the line.
            let character = terminal::termios(peer).map_or(4, |termios| termios.end_of_file());
            let twice = self.pending.last.is_some_and(|byte| byte != b'\n' && byte != b'\r');
            let bytes = [character, character];
            // Ignored if the terminal is stopped, as with a typed character.
            let _ = write(master, if twice { &bytes } else { &bytes[..1] });
        }
    }

    /// Grants the host new credit: immediately if all input is consumed, otherwise in larger steps.
    fn grant(&mut self, channel: &mut Channel) -> core::result::Result<(), Gone> {
        if self.owed > 0 && channel.is_clear() && (self.pending.is_empty() || self.owed >= channel.window() / 2) {
            channel.put(&ToHost::Window(self.owed));
            self.owed = 0;
            channel.push()?;
        }
        Ok(())
    }

    /// Reads the command's output into the channel, which must be clear. Returns the number of bytes.
    fn forward(&mut self, index: usize, channel: &mut Channel) -> usize {
        let stream = if index == 0 { Stream::Output } else { Stream::Errors };
        let Some(file) = self.output(index) else {
            return 0;
        };
        match channel.put_output(stream, |payload| read(file, payload)) {
            Ok(len) if len > 0 => len,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Ok(_) | Err(_) => {
                if let Some(output) = self.outputs.get_mut(index) {
                    *output = None;
                }
                // A terminal that was hung up (`vhangup`) reports it until it is opened again.
                if self.terminal.is_some() {
                    sleep(NAP);
                }
                0
            }
        }
    }

    /// Sends the data left in the pipes at the command's end, but not what other processes write later.
    pub fn finish(&mut self, channel: &mut Channel) -> core::result::Result<(), Gone> {
        for index in 0..2 {
            let mut left = match (self.output(index), &self.terminal) {
                (Some(file), None) => terminal::waiting(file).unwrap_or(0),
                (Some(_), Some(_)) => REST,
                (None, _) => 0,
            };
            while left > 0 {
                channel.flush()?;
                let len = self.forward(index, channel);
                if len == 0 {
                    break;
                }
                left = left.saturating_sub(len);
            }
        }
        channel.flush()
    }
}
