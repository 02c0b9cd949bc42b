//! Between the channel and the command: one loop over everything that can happen, waiting in one place.
//!
//! Output is read only when the channel has taken the last of it, so a host that stops reading stops the command, not
//! pid 1. Input is taken in whatever the output does: it has room for all that was granted.

use crate::channel::{Channel, Gone, check};
use crate::command::{Command, Stdio};
use crate::input::Input;
use crate::protocol::frame::{Ended, Stream, ToGuest, ToHost, Usage};
use crate::signals::Signals;
use crate::syscall::file::{
    Fd, NO_TERMINAL, NONBLOCKING, POLL_IN, POLL_OUT, READ_WRITE, Watch, open, pipe, poll, read, set_nonblocking,
    set_pipe_size, write,
};
use crate::syscall::process::{Stop, kill_group, sleep};
use crate::syscall::{Errno, Result, terminal};

/// Fewer changes between pid 1 and a command that writes a lot.
const PIPE: usize = 256 * 1024;
/// How much of a terminal's output may still follow its command's end; background processes may write for ever.
const REST: usize = 1024 * 1024;
/// Between two looks at a terminal that was hung up.
const NAP: u64 = 1_000_000;

/// Our ends of the command's input and output.
pub struct Relay<'a> {
    /// A terminal, in place of the three pipes. Ours is kept open on both sides, so that it never hangs up.
    terminal: Option<(Fd, Fd)>,
    input: Option<Fd>,
    outputs: [Option<Fd>; 2],
    /// What the host has sent for the command.
    pending: Input<'a>,
    /// The host has sent the last of it.
    ending: bool,
    /// Bytes that went to the command, and for which the host has no new credit yet.
    owed: u32,
    /// A frame of input had no room.
    stuck: bool,
}

/// The command's ends.
pub struct Ends([Fd; 3]);

impl Ends {
    pub fn stdio(&self) -> Stdio<'_> {
        let [input, output, errors] = &self.0;
        Stdio { files: [input, output, errors], controls: false }
    }
}

/// Why the relay ended.
pub enum Outcome {
    Ended(Ended, Usage),
    Stopped(Stop),
}

impl<'a> Relay<'a> {
    /// Three pipes.
    pub fn over_pipes(pending: Input<'a>) -> Result<(Self, Ends)> {
        let (command_input, input) = pipe()?;
        let (output, command_output) = pipe()?;
        let (errors, command_errors) = pipe()?;
        set_nonblocking(&input)?;
        set_nonblocking(&output)?;
        set_nonblocking(&errors)?;
        // Refused at worst.
        let _ = set_pipe_size(&output, PIPE);
        let relay = Self::new(pending, None, Some(input), [Some(output), Some(errors)]);
        Ok((relay, Ends([command_input, command_output, command_errors])))
    }

    /// A terminal of that size.
    pub fn over_terminal(pending: Input<'a>, rows: u16, columns: u16) -> Result<Self> {
        let master = open(c"/dev/ptmx", READ_WRITE | NO_TERMINAL | NONBLOCKING)?;
        let peer = terminal::peer(&master)?;
        if rows > 0 && columns > 0 {
            terminal::set_size(&master, rows, columns)?;
        }
        Ok(Self::new(pending, Some((master, peer)), None, [None, None]))
    }

    fn new(
        pending: Input<'a>,
        terminal: Option<(Fd, Fd)>,
        input: Option<Fd>,
        outputs: [Option<Fd>; 2],
    ) -> Self {
        Self { terminal, input, outputs, pending, ending: false, owed: 0, stuck: false }
    }

    /// The terminal, as the command gets it.
    pub fn terminal_stdio(&self) -> Option<Stdio<'_>> {
        let (_, peer) = self.terminal.as_ref()?;
        Some(Stdio { files: [peer, peer, peer], controls: true })
    }

    /// Until the command has ended, or somebody stops the machine.
    pub fn run(
        &mut self,
        channel: &mut Channel,
        signals: &Signals,
        command: &Command,
    ) -> core::result::Result<Outcome, Gone> {
        // The first round looks at everything: frames may have come along with the host's Go.
        let mut ready = [0; 5];
        loop {
            let [signalled, host, _, output, errors] = ready;
            if signalled & POLL_IN != 0 {
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
            if host & POLL_IN != 0 {
                channel.pull()?;
            }
            self.take_frames(channel, command)?;
            self.feed();
            channel.push()?;
            self.grant(channel)?;
            for (index, ready) in [output, errors].into_iter().enumerate() {
                if ready != 0 && channel.is_clear() {
                    self.forward(index, channel);
                    channel.push()?;
                }
            }
            ready = self.wait(channel, signals)?;
        }
    }

    /// Waits until something can be done; says what.
    fn wait(&self, channel: &Channel, signals: &Signals) -> core::result::Result<[u16; 5], Gone> {
        let clear = channel.is_clear();
        let when = |wanted: bool, file: Option<&Fd>, events| match file {
            Some(file) if wanted => Watch::new(file, events),
            Some(_) | None => Watch::NOTHING,
        };
        let mut watches = [
            Watch::new(signals.file(), POLL_IN),
            channel.watch(!self.stuck),
            when(!self.pending.is_empty(), self.input(), POLL_OUT),
            when(clear, self.output(0), POLL_IN),
            when(clear, self.output(1), POLL_IN),
        ];
        // An interruption shows as nothing being ready.
        let _ = poll(&mut watches);
        let [_, host, ..] = watches;
        check(host)?;
        Ok(watches.map(|watch| watch.ready))
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

    fn take_frames(&mut self, channel: &mut Channel, command: &Command) -> core::result::Result<(), Gone> {
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
                        // A size that the terminal does not take is the host's affair.
                        let _ = terminal::set_size(master, rows, columns);
                    }
                }
                ToGuest::Signal(number) => {
                    // The group may be gone already.
                    let _ = kill_group(command.pid, number);
                }
                ToGuest::Go { .. } | ToGuest::Renew { .. } | ToGuest::Done => {}
            }
            true
        })
    }

    /// Gives the command what it takes of its input.
    fn feed(&mut self) {
        while !self.pending.is_empty() {
            let taken = match self.input() {
                Some(file) => write(file, self.pending.next()),
                // Nobody reads it any more.
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
            // On an empty line the character ends the input; on another it only hands the line over.
            let character = terminal::termios(peer).map_or(4, |termios| termios.end_of_file());
            let twice = self.pending.last.is_some_and(|byte| byte != b'\n' && byte != b'\r');
            let bytes = [character, character];
            // A terminal that is stopped does not take it: as if nobody had typed it.
            let _ = write(master, if twice { &bytes } else { &bytes[..1] });
        }
    }

    /// Grants the host what the command has taken: at once if it has taken everything, else in larger pieces.
    fn grant(&mut self, channel: &mut Channel) -> core::result::Result<(), Gone> {
        if self.owed > 0 && channel.is_clear() && (self.pending.is_empty() || self.owed >= channel.window() / 2) {
            channel.put(&ToHost::Window(self.owed));
            self.owed = 0;
            channel.push()?;
        }
        Ok(())
    }

    /// Puts what the command has written into the channel, which must be clear. Says how many bytes.
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
                // A terminal that was hung up (`vhangup`) says so until somebody opens it again.
                if self.terminal.is_some() {
                    sleep(NAP);
                }
                0
            }
        }
    }

    /// Sends what is left in the pipes now that the command has ended, and not what others go on writing into them.
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
