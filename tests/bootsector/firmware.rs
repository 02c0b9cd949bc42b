//! The machine around the processor when a BIOS starts a boot sector: memory with access rules, int 10h, 16h and 18h,
//! and a serial port. Records all output, and refuses every access that the stub does not need.

use super::machine::{AX, After, BP, BX, CX, DI, DX, End, Machine, SI};

/// Address range of the boot sector's code.
const SECTOR: std::ops::Range<usize> = 0x7C00..0x7DB8;
/// Address range for the stack and the unpacked message, without what the firmware itself pushes.
const SCRATCH: std::ops::Range<usize> = 0x6FC0..0x7C00;
/// Address of the serial port entry in the BIOS data area, and the I/O port in that entry.
const SERIAL: usize = 0x400;
const PORT: u16 = 0x2F8;
/// Addresses: high byte of the segment in vector 10h, head and tail of the keyboard buffer, reset flag.
const VIDEO_VECTOR: usize = 0x43;
const KEYS_HEAD: usize = 0x41A;
const KEYS_TAIL: usize = 0x41C;
const RESET_KIND: usize = 0x472;
/// Number of halts after which the stub counts as halted for good.
const ENOUGH_TICKS: u32 = 1000;

/// Handler of int 10h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Video {
    /// A video BIOS, unhooked.
    Vga,
    /// Firmware that mirrors the screen to the serial port, with its code in this segment (high byte).
    Mirrored(u8),
    /// No screen, and a handler that only returns.
    Absent,
}

/// Behavior of the serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uart {
    /// The BIOS found none.
    Unknown,
    /// The BIOS lists a port that does not exist: every bit reads as set.
    Ghost,
    /// Ready after its status was read this many times.
    Ready(u32),
    /// Never ready.
    Stuck,
}

/// The machine around the processor.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent settings and events")]
pub(crate) struct Firmware {
    pub memory: Vec<u8>,
    pub video: Video,
    pub uart: Uart,
    /// True if int 18h returns.
    pub next_device_returns: bool,
    /// True if the services clobber all registers that they need not preserve.
    pub clobbers: bool,
    /// Characters passed to int 10h after the mode was set.
    pub shown: Vec<u8>,
    /// Bytes written to the serial port.
    pub sent: Vec<u8>,
    /// Number of status reads of the serial port since the last byte.
    pub asked: u32,
    /// Number of HLT instructions.
    pub ticks: u32,
    pub mode_set: bool,
    pub key_read: bool,
}

fn linear(segment: u16, offset: u16) -> usize {
    usize::from(segment) * 16 + usize::from(offset)
}

impl Firmware {
    /// Fills the memory with `rubbish`, except for the boot sector and the BIOS data.
    pub(crate) fn new(code: &[u8; 440], video: Video, uart: Uart, rubbish: u8) -> Self {
        let mut memory = vec![rubbish; 0x11_0000];
        memory[SECTOR].copy_from_slice(code);
        let port = if uart == Uart::Unknown { 0 } else { PORT };
        memory[SERIAL..SERIAL + 2].copy_from_slice(&port.to_le_bytes());
        memory[VIDEO_VECTOR] = match video {
            Video::Vga => 0xC0,
            Video::Mirrored(segment) => segment,
            Video::Absent => 0xF0,
        };
        // A key pressed earlier.
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

    /// True if a warm restart was requested after a key press.
    pub(crate) fn restarts_warm(&self) -> bool {
        self.key_read && self.memory[RESET_KIND..RESET_KIND + 2] == [0x34, 0x12]
    }

    pub(crate) fn fetch(&self, segment: u16, offset: u16) -> Result<u8, String> {
        let at = linear(segment, offset);
        if SECTOR.contains(&at) { Ok(self.memory[at]) } else { Err(format!("runs at {at:05X}")) }
    }

    pub(crate) fn read(&self, segment: u16, offset: u16) -> Result<u8, String> {
        let at = linear(segment, offset);
        let granted = SECTOR.contains(&at)
            || SCRATCH.contains(&at)
            || [SERIAL, SERIAL + 1, VIDEO_VECTOR, KEYS_TAIL, KEYS_TAIL + 1].contains(&at);
        if granted { Ok(self.memory[at]) } else { Err(format!("reads {at:05X}")) }
    }

    pub(crate) fn write(&mut self, segment: u16, offset: u16, value: u8) -> Result<(), String> {
        let at = linear(segment, offset);
        let granted = SCRATCH.contains(&at) || [KEYS_HEAD, KEYS_HEAD + 1, RESET_KIND, RESET_KIND + 1].contains(&at);
        if !granted {
            return Err(format!("writes {at:05X}"));
        }
        self.memory[at] = value;
        Ok(())
    }

    pub(crate) fn read_word(&self, segment: u16, offset: u16) -> Result<u16, String> {
        Ok(u16::from_le_bytes([self.read(segment, offset)?, self.read(segment, offset.wrapping_add(1))?]))
    }

    pub(crate) fn write_word(&mut self, segment: u16, offset: u16, value: u16) -> Result<(), String> {
        let [low, high] = value.to_le_bytes();
        self.write(segment, offset, low)?;
        self.write(segment, offset.wrapping_add(1), high)
    }

    pub(crate) fn input(&mut self, port: u16) -> Result<u8, String> {
        if self.uart == Uart::Unknown || port != PORT + 5 {
            return Err(format!("reads port {port:04X}"));
        }
        self.asked += 1;
        Ok(match self.uart {
            Uart::Unknown | Uart::Ghost => 0xFF,
            Uart::Ready(times) if self.asked > times => 0x60,
            // All bits except "transmitter holding register empty".
            Uart::Ready(_) | Uart::Stuck => 0xDF,
        })
    }

    pub(crate) fn output(&mut self, port: u16, value: u8) -> Result<(), String> {
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

    /// Counts a HLT; returns true once the stub counts as halted for good.
    pub(crate) fn tick(&mut self) -> bool {
        self.ticks += 1;
        self.ticks > ENOUGH_TICKS
    }

    pub(crate) fn interrupt(&mut self, machine: &mut Machine, number: u8) -> Result<After, String> {
        if machine.down {
            return Err(format!("int {number:02X} with the direction flag set"));
        }
        match number {
            0x10 => self.show(machine)?,
            0x16 => {
                if machine.registers[AX] >> 8 != 0 {
                    return Err("int 16h: only reading a key is supported".to_owned());
                }
                if self.memory[KEYS_HEAD..KEYS_TAIL] != self.memory[KEYS_TAIL..KEYS_TAIL + 2] {
                    return Err("reads a key pressed before the message".to_owned());
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
            0x0E if machine.registers[BX] != 7 => return Err("shows text with an unset page or color".to_owned()),
            0x0E if !self.mode_set => return Err("shows text without setting the mode".to_owned()),
            0x0E => self.shown.push(al),
            // Returns the mode, the number of columns and the page.
            0x0F if self.video == Video::Absent => return Ok(()),
            0x0F => {
                machine.registers[AX] = 0x5003;
                machine.registers[BX] &= 0xFF;
                return Ok(());
            }
            _ => return Err(format!("int 10h, AH = {ah:02X}")),
        }
        if self.clobbers {
            // Worse than any known video BIOS: some return garbage in AL from setting the mode or in AX from showing a
            // character, and many clobber BP if that scrolls (Ralf Brown's Interrupt List, int 10h, AH = 0E).
            for register in [AX, CX, DX, BX, BP, SI, DI] {
                machine.registers[register] = 0xDEAD_u16.rotate_left(register as u32);
            }
        }
        Ok(())
    }
}
