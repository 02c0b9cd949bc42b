//! A real-mode processor with only the instructions that the boot sector stub uses. Any other instruction ends the run
//! with an error, as does any access to memory or ports that the firmware refuses.

use super::firmware::Firmware;

/// Encodings of the 16-bit registers.
pub(crate) const AX: usize = 0;
pub(crate) const CX: usize = 1;
pub(crate) const DX: usize = 2;
pub(crate) const BX: usize = 3;
pub(crate) const SP: usize = 4;
pub(crate) const BP: usize = 5;
pub(crate) const SI: usize = 6;
pub(crate) const DI: usize = 7;
/// Encodings of the segment registers.
pub(crate) const ES: usize = 0;
pub(crate) const CS: usize = 1;
pub(crate) const SS: usize = 2;
pub(crate) const DS: usize = 3;

/// Instruction limit; higher than any message needs.
const MOST_STEPS: u32 = 3_000_000;
/// Reset vector (segment and offset), the target of a warm restart.
const RESET: (u16, u16) = (0xFFFF, 0);

/// End of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Halted with interrupts enabled.
    Halted,
    /// Jumped to the reset vector.
    Restarted,
    /// Called int 18h, which started another device.
    GaveUp,
}

/// Action of the firmware after an interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// Returns to the stub.
    Return,
    /// Does not return.
    End(End),
}

/// The processor. Its fields are public, so that tests can start from any state.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "processor flags")]
pub(crate) struct Machine {
    pub registers: [u16; 8],
    pub segments: [u16; 4],
    pub ip: u16,
    pub carry: bool,
    pub zero: bool,
    /// DF: string instructions decrement.
    pub down: bool,
    /// IF.
    pub interrupts: bool,
}

/// Operand: a register or an address.
#[derive(Debug, Clone, Copy)]
enum Place {
    Register(usize),
    Memory(u16, u16),
}

/// Reason why a run is invalid.
type Wrong = String;

impl Machine {
    /// Runs the stub to its end.
    pub(crate) fn run(&mut self, firmware: &mut Firmware) -> Result<End, Wrong> {
        for _ in 0..MOST_STEPS {
            let at = self.ip;
            let step = self.step(firmware).map_err(|wrong| format!("{wrong}, at {at:04X}: {self:X?}"))?;
            if let Some(end) = step {
                return Ok(end);
            }
        }
        Err(format!("instruction limit reached: {self:X?}"))
    }

    /// Returns the byte register with this encoding.
    fn byte(&self, number: usize) -> u8 {
        self.registers[number & 3].to_le_bytes()[number >> 2]
    }

    fn set_byte(&mut self, number: usize, value: u8) {
        let mut bytes = self.registers[number & 3].to_le_bytes();
        bytes[number >> 2] = value;
        self.registers[number & 3] = u16::from_le_bytes(bytes);
    }

    fn fetch(&mut self, firmware: &Firmware) -> Result<u8, Wrong> {
        let byte = firmware.fetch(self.segments[CS], self.ip)?;
        self.ip = self.ip.wrapping_add(1);
        Ok(byte)
    }

    fn fetch_word(&mut self, firmware: &Firmware) -> Result<u16, Wrong> {
        Ok(u16::from_le_bytes([self.fetch(firmware)?, self.fetch(firmware)?]))
    }

    pub(crate) fn push(&mut self, firmware: &mut Firmware, value: u16) -> Result<(), Wrong> {
        self.registers[SP] = self.registers[SP].wrapping_sub(2);
        firmware.write_word(self.segments[SS], self.registers[SP], value)
    }

    pub(crate) fn pop(&mut self, firmware: &Firmware) -> Result<u16, Wrong> {
        let value = firmware.read_word(self.segments[SS], self.registers[SP])?;
        self.registers[SP] = self.registers[SP].wrapping_add(2);
        Ok(value)
    }

    /// Decodes a `ModRM` byte into a register and the other operand. Supports only the address forms that the stub
    /// uses.
    fn operands(&mut self, firmware: &Firmware) -> Result<(usize, Place), Wrong> {
        let byte = self.fetch(firmware)?;
        let (mode, register, other) = (byte >> 6, usize::from(byte >> 3 & 7), usize::from(byte & 7));
        let place = match (mode, other) {
            (3, _) => Place::Register(other),
            (0, 6) => Place::Memory(self.segments[DS], self.fetch_word(firmware)?),
            (1, 7) => {
                let offset = i16::from(self.fetch(firmware)?.cast_signed()).cast_unsigned();
                Place::Memory(self.segments[DS], self.registers[BX].wrapping_add(offset))
            }
            _ => return Err(format!("unsupported address: ModRM {byte:02X}")),
        };
        Ok((register, place))
    }

    fn compare(&mut self, left: u16, right: u16) -> u16 {
        self.carry = left < right;
        self.zero = left == right;
        left.wrapping_sub(right)
    }

    fn jump_if(&mut self, firmware: &Firmware, condition: bool) -> Result<(), Wrong> {
        let distance = i16::from(self.fetch(firmware)?.cast_signed()).cast_unsigned();
        if condition {
            self.ip = self.ip.wrapping_add(distance);
        }
        Ok(())
    }

    /// Advances an index register by one byte of a string instruction.
    fn stride(&mut self, register: usize) {
        let by = if self.down { 0xFFFF } else { 1 };
        self.registers[register] = self.registers[register].wrapping_add(by);
    }

    fn string(&mut self, firmware: &mut Firmware, what: u8) -> Result<(), Wrong> {
        let from = (self.segments[DS], self.registers[SI]);
        let to = (self.segments[ES], self.registers[DI]);
        match what {
            0xA4 => {
                let byte = firmware.read(from.0, from.1)?;
                firmware.write(to.0, to.1, byte)?;
                self.stride(SI);
                self.stride(DI);
            }
            0xAA => {
                firmware.write(to.0, to.1, self.byte(AX))?;
                self.stride(DI);
            }
            0xAC => {
                let byte = firmware.read(from.0, from.1)?;
                self.set_byte(AX, byte);
                self.stride(SI);
            }
            0x6E => {
                let byte = firmware.read(from.0, from.1)?;
                firmware.output(self.registers[DX], byte)?;
                self.stride(SI);
            }
            _ => return Err(format!("unsupported string instruction: {what:02X}")),
        }
        Ok(())
    }

    fn interrupt(&mut self, firmware: &mut Firmware, number: u8) -> Result<Option<End>, Wrong> {
        // Flags saved on the stack and restored by the handler.
        let (carry, zero, down) = (self.carry, self.zero, self.down);
        for value in [0, self.segments[CS], self.ip] {
            self.push(firmware, value)?;
        }
        let interrupts = std::mem::replace(&mut self.interrupts, false);
        if !interrupts {
            return Err(format!("int {number:02X} with interrupts off"));
        }
        let after = firmware.interrupt(self, number)?;
        for _ in 0..3 {
            self.pop(firmware)?;
        }
        (self.carry, self.zero, self.down, self.interrupts) = (carry, zero, down, interrupts);
        Ok(match after {
            After::Return => None,
            After::End(end) => Some(end),
        })
    }

    fn step(&mut self, firmware: &mut Firmware) -> Result<Option<End>, Wrong> {
        let code = self.fetch(firmware)?;
        match code {
            0x29 | 0x31 | 0x39 | 0x85 | 0x89 | 0x8D | 0x8E | 0x80 | 0xC7 => self.two_operands(firmware, code)?,
            0x3C => {
                let (left, right) = (u16::from(self.byte(AX)), u16::from(self.fetch(firmware)?));
                self.compare(left, right);
            }
            0xA8 => self.zero = self.byte(AX) & self.fetch(firmware)? == 0,
            0x72 => self.jump_if(firmware, self.carry)?,
            0x73 => self.jump_if(firmware, !self.carry)?,
            0x74 => self.jump_if(firmware, self.zero)?,
            0x75 => self.jump_if(firmware, !self.zero)?,
            0x76 => self.jump_if(firmware, self.carry || self.zero)?,
            0x6E | 0xA4 | 0xAA | 0xAC => self.string(firmware, code)?,
            0x50..=0x61 | 0x90..=0x97 | 0xA1 | 0xA3 | 0xB0..=0xBF => self.one_operand(firmware, code)?,
            0xCD => {
                let number = self.fetch(firmware)?;
                return self.interrupt(firmware, number);
            }
            0xE1..=0xE3 => self.count(firmware, code)?,
            0xEA => {
                let offset = self.fetch_word(firmware)?;
                let segment = self.fetch_word(firmware)?;
                let known = (segment, offset) == RESET;
                return if known { Ok(Some(End::Restarted)) } else { Err("far jump to an unknown address".to_owned()) };
            }
            0xEB => self.jump_if(firmware, true)?,
            0xEC => {
                let value = firmware.input(self.registers[DX])?;
                self.set_byte(AX, value);
            }
            0xF3 => self.repeat(firmware)?,
            0xF4 if !self.interrupts => return Err("halted with interrupts off".to_owned()),
            0xF4 => return Ok(firmware.tick().then_some(End::Halted)),
            0xFB => self.interrupts = true,
            0xFC => self.down = false,
            _ => return Err(format!("unsupported instruction: {code:02X}")),
        }
        Ok(None)
    }

    /// Executes an instruction on one register, or on all of them.
    fn one_operand(&mut self, firmware: &mut Firmware, code: u8) -> Result<(), Wrong> {
        let low = usize::from(code & 7);
        match code {
            0x50..=0x57 => self.push(firmware, self.registers[low])?,
            0x58..=0x5F => self.registers[low] = self.pop(firmware)?,
            0x60 => {
                let before = self.registers;
                before.iter().try_for_each(|value| self.push(firmware, *value))?;
            }
            0x61 => {
                for register in (0..8).rev() {
                    let value = self.pop(firmware)?;
                    if register != SP {
                        self.registers[register] = value;
                    }
                }
            }
            0x90..=0x97 => self.registers.swap(AX, low),
            0xA1 => {
                let offset = self.fetch_word(firmware)?;
                self.registers[AX] = firmware.read_word(self.segments[DS], offset)?;
            }
            0xA3 => {
                let offset = self.fetch_word(firmware)?;
                firmware.write_word(self.segments[DS], offset, self.registers[AX])?;
            }
            0xB0..=0xB7 => {
                let value = self.fetch(firmware)?;
                self.set_byte(low, value);
            }
            0xB8..=0xBF => self.registers[low] = self.fetch_word(firmware)?,
            _ => return Err(format!("unsupported instruction: {code:02X}")),
        }
        Ok(())
    }

    fn two_operands(&mut self, firmware: &mut Firmware, code: u8) -> Result<(), Wrong> {
        let (register, place) = self.operands(firmware)?;
        let value = self.registers[register];
        match (code, place) {
            (0x29, Place::Register(other)) => self.registers[other] = self.compare(self.registers[other], value),
            (0x31, Place::Register(other)) => {
                self.registers[other] ^= value;
                (self.carry, self.zero) = (false, self.registers[other] == 0);
            }
            (0x39, Place::Register(other)) => {
                self.compare(self.registers[other], value);
            }
            (0x85, Place::Register(other)) => {
                (self.carry, self.zero) = (false, self.registers[other] & value == 0);
            }
            (0x89, Place::Register(other)) => self.registers[other] = value,
            (0x8D, Place::Memory(_, offset)) => self.registers[register] = offset,
            (0x8E, Place::Register(other)) if register < 4 && register != CS => {
                self.segments[register] = self.registers[other];
            }
            // Of this group, only CMP.
            (0x80, place) if register == 7 => {
                let left = match place {
                    Place::Register(other) => self.byte(other),
                    Place::Memory(segment, offset) => firmware.read(segment, offset)?,
                };
                let right = self.fetch(firmware)?;
                self.compare(u16::from(left), u16::from(right));
            }
            (0xC7, Place::Memory(segment, offset)) => {
                let value = self.fetch_word(firmware)?;
                firmware.write_word(segment, offset, value)?;
            }
            _ => return Err(format!("unsupported form of {code:02X}")),
        }
        Ok(())
    }

    /// Executes LOOPZ, LOOP and JCXZ.
    fn count(&mut self, firmware: &Firmware, code: u8) -> Result<(), Wrong> {
        if code == 0xE3 {
            return self.jump_if(firmware, self.registers[CX] == 0);
        }
        self.registers[CX] = self.registers[CX].wrapping_sub(1);
        self.jump_if(firmware, self.registers[CX] != 0 && (code == 0xE2 || self.zero))
    }

    fn repeat(&mut self, firmware: &mut Firmware) -> Result<(), Wrong> {
        let what = self.fetch(firmware)?;
        while self.registers[CX] != 0 {
            self.string(firmware, what)?;
            self.registers[CX] -= 1;
        }
        Ok(())
    }
}
