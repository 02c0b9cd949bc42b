//! What stands around the processor when a BIOS starts a boot sector: memory with its rules, the services of int 10h, 16h
//! and 18h, a serial port. It notes all that is shown, and grants nothing that the stub has no business with.

use super::machine::{AX, After, BP, BX, CX, DI, DX, End, Machine, SI};

/// Where the boot sector stands.
const SECTOR: std::ops::Range<usize> = 0x7C00..0x7DB8;
/// Where its stack and its unpacked message may be. What the firmware itself would push is not counted.
const SCRATCH: std::ops::Range<usize> = 0x6FC0..0x7C00;
/// The serial port's place in the BIOS data area, and the port it names here.
const SERIAL: usize = 0x400;
const PORT: u16 = 0x2F8;
/// High byte of vector 10h's segment; the keyboard buffer's head and tail; the kind of a reset.
const VIDEO_VECTOR: usize = 0x43;
const KEYS_HEAD: usize = 0x41A;
const KEYS_TAIL: usize = 0x41C;
const RESET_KIND: usize = 0x472;
/// Halts after which it is plain that nothing more will come.
const ENOUGH_TICKS: u32 = 1000;

/// Who owns int 10h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Video {
    /// A video BIOS, unhooked.
    Vga,
    /// Firmware that mirrors the screen to the serial port, its code in this segment.
    Mirrored(u8),
    /// Nobody: no screen, and a handler that only returns.
    Nobody,
}

/// The serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uart {
    /// The BIOS found none.
    Unknown,
    /// The BIOS names one that is not there: every bit reads as set.
    Ghost,
    /// Takes a byte after it was asked this many times.
    Ready(u32),
    /// Is never ready.
    Stuck,
}

/// The machine around the processor.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit or a deed of its own")]
pub struct Firmware {
    pub memory: Vec<u8>,
    pub video: Video,
    pub uart: Uart,
    /// Whether int 18h comes back.
    pub next_device_returns: bool,
    /// Whether its services leave rubbish in all registers that are not theirs to keep.
    pub clobbers: bool,
    /// What int 10h was given to show, after the mode was set.
    pub shown: Vec<u8>,
    /// What went out on the serial port.
    pub sent: Vec<u8>,
    /// How often the serial port was asked whether it is ready, since the last byte.
    pub asked: u32,
    /// How often the processor rested before the end.
    pub ticks: u32,
    pub mode_set: bool,
    pub key_read: bool,
}

fn linear(segment: u16, offset: u16) -> usize {
    usize::from(segment) * 16 + usize::from(offset)
}

impl Firmware {
    /// Memory full of `rubbish`, but for the boot sector and what the BIOS keeps.
    pub fn new(code: &[u8; 440], video: Video, uart: Uart, rubbish: u8) -> Self {
        let mut memory = vec![rubbish; 0x11_0000];
        memory[SECTOR].copy_from_slice(code);
        let port = if uart == Uart::Unknown { 0 } else { PORT };
        memory[SERIAL..SERIAL + 2].copy_from_slice(&port.to_le_bytes());
        memory[VIDEO_VECTOR] = match video {
            Video::Vga => 0xC0,
            Video::Mirrored(segment) => segment,
            Video::Nobody => 0xF0,
        };
        // A key that was pressed before.
        memory[KEYS_HEAD..KEYS_HEAD + 4].copy_from_slice(&[0x1E, 0, 0x20, 0]);
        Self {
            memory,
            video,
            uart,
            next_device_returns: false,
            clobbers: false,
            shown: Vec::new(),
            sent: Vec::new(),
            asked: 0,
            ticks: 0,
            mode_set: false,
            key_read: false,
        }
    }

    /// Whether a warm restart was asked for, after a key.
    pub fn restarts_warm(&self) -> bool {
        self.key_read && self.memory[RESET_KIND..RESET_KIND + 2] == [0x34, 0x12]
    }

    pub fn fetch(&self, segment: u16, offset: u16) -> Result<u8, String> {
        let at = linear(segment, offset);
        if SECTOR.contains(&at) { Ok(self.memory[at]) } else { Err(format!("runs at {at:05X}")) }
    }

    pub fn read(&self, segment: u16, offset: u16) -> Result<u8, String> {
        let at = linear(segment, offset);
        let granted = SECTOR.contains(&at)
            || SCRATCH.contains(&at)
            || [SERIAL, SERIAL + 1, VIDEO_VECTOR, KEYS_TAIL, KEYS_TAIL + 1].contains(&at);
        if granted { Ok(self.memory[at]) } else { Err(format!("reads {at:05X}")) }
    }

    pub fn write(&mut self, segment: u16, offset: u16, value: u8) -> Result<(), String> {
        let at = linear(segment, offset);
        let granted = SCRATCH.contains(&at) || [KEYS_HEAD, KEYS_HEAD + 1, RESET_KIND, RESET_KIND + 1].contains(&at);
        if !granted {
            return Err(format!("writes {at:05X}"));
        }
        self.memory[at] = value;
        Ok(())
    }

    pub fn read_word(&self, segment: u16, offset: u16) -> Result<u16, String> {
        Ok(u16::from_le_bytes([self.read(segment, offset)?, self.read(segment, offset.wrapping_add(1))?]))
    }

    pub fn write_word(&mut self, segment: u16, offset: u16, value: u16) -> Result<(), String> {
        let [low, high] = value.to_le_bytes();
        self.write(segment, offset, low)?;
        self.write(segment, offset.wrapping_add(1), high)
    }

    pub fn input(&mut self, port: u16) -> Result<u8, String> {
        if self.uart == Uart::Unknown || port != PORT + 5 {
            return Err(format!("reads port {port:04X}"));
        }
        self.asked += 1;
        Ok(match self.uart {
            Uart::Unknown | Uart::Ghost => 0xFF,
            Uart::Ready(times) if self.asked > times => 0x60,
            // All bits but the one that counts.
            Uart::Ready(_) | Uart::Stuck => 0xDF,
        })
    }

    pub fn output(&mut self, port: u16, value: u8) -> Result<(), String> {
        if self.uart == Uart::Unknown || port != PORT {
            return Err(format!("writes port {port:04X}"));
        }
        if let Uart::Ready(times) = self.uart
            && self.asked <= times
        {
            return Err("overruns the serial port".to_owned());
        }
        self.asked = 0;
        self.sent.push(value);
        Ok(())
    }

    /// The processor rests until the next interrupt; whether it has done so for long enough.
    pub fn tick(&mut self) -> bool {
        self.ticks += 1;
        self.ticks > ENOUGH_TICKS
    }

    pub fn interrupt(&mut self, machine: &mut Machine, number: u8) -> Result<After, String> {
        if machine.down {
            return Err(format!("int {number:02X} with the direction flag set"));
        }
        match number {
            0x10 => self.show(machine)?,
            0x16 => {
                if machine.registers[AX] >> 8 != 0 {
                    return Err("int 16h: only reading a key is known here".to_owned());
                }
                if self.memory[KEYS_HEAD..KEYS_TAIL] != self.memory[KEYS_TAIL..KEYS_TAIL + 2] {
                    return Err("a key from before the message is taken".to_owned());
                }
                self.key_read = true;
                machine.registers[AX] = 0x1C0D;
            }
            0x18 if self.next_device_returns => {}
            0x18 => return Ok(After::End(End::GaveUp)),
            _ => return Err(format!("int {number:02X}")),
        }
        Ok(After::Return)
    }

    fn show(&mut self, machine: &mut Machine) -> Result<(), String> {
        let [al, ah] = machine.registers[AX].to_le_bytes();
        match ah {
            0x00 if al == 3 && !self.mode_set => self.mode_set = true,
            0x0E if machine.registers[BX] != 7 => return Err("a page or colour that nobody set".to_owned()),
            0x0E if !self.mode_set => return Err("shows text in whatever mode there is".to_owned()),
            0x0E => self.shown.push(al),
            // The mode, the columns, and the page.
            0x0F if self.video == Video::Nobody => return Ok(()),
            0x0F => {
                machine.registers[AX] = 0x5003;
                machine.registers[BX] &= 0xFF;
                return Ok(());
            }
            _ => return Err(format!("int 10h, AH = {ah:02X}")),
        }
        if self.clobbers {
            // Worse than any that is known: video BIOSes return rubbish in AL from setting the mode, some in AX from
            // showing a character, and many destroy BP where that scrolls (Ralf Brown's list, int 10h, AH = 0E).
            for register in [AX, CX, DX, BX, BP, SI, DI] {
                machine.registers[register] = 0xDEAD_u16.rotate_left(register as u32);
            }
        }
        Ok(())
    }
}
