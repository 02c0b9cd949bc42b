//! VGA registers that determine the layout of a text screen.

use super::cp437::letter;

/// Guest physical address of the text memory.
pub(crate) const MEMORY: u64 = 0xb8000;
/// Size of the text memory in bytes.
pub(crate) const MEMORY_BYTES: usize = 32 << 10;
/// Index register port of the CRT controller; the data register is the next port.
pub(crate) const CRTC: u16 = 0x3d4;
/// Index register port of the graphics controller.
pub(crate) const GRAPHICS: u16 = 0x3ce;
/// Registers to read, with the index port of their controller, in the order of [`Registers`].
pub(crate) const READ: [(u16, u8); 8] =
    [(GRAPHICS, 6), (CRTC, 1), (CRTC, 7), (CRTC, 9), (CRTC, 0xc), (CRTC, 0xd), (CRTC, 0x12), (CRTC, 0x13)];

/// Values of [`READ`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Registers(pub(crate) [u8; READ.len()]);

/// Layout of a text screen in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    columns: usize,
    rows: usize,
    /// Distance between two rows, in characters.
    stride: usize,
    /// Offset of the first character, in characters.
    start: usize,
}

impl Registers {
    /// Returns true in a graphics mode. An absent adapter reads as all ones.
    pub(crate) fn is_graphical(self) -> bool {
        self.0[0] & 1 != 0 && self.0 != [0xff; READ.len()]
    }

    /// Returns the layout of a text screen; `None` in graphics mode, or if the adapter is off or absent (all ones).
    pub(crate) fn layout(self) -> Option<Layout> {
        let [miscellaneous, end, overflow, cell, start_high, start_low, height, offset] = self.0.map(usize::from);
        // Bit 0: graphics mode. Bits 2 and 3: memory map at 0xb8000.
        if miscellaneous & 1 != 0 || (miscellaneous >> 2) & 3 != 3 {
            return None;
        }
        let columns = end + 1;
        let lines = (height | (overflow & 0x02) << 7 | (overflow & 0x40) << 3) + 1;
        // Bit 7 doubles the scan lines.
        let cell_lines = ((cell & 0x1f) + 1) << (cell >> 7);
        let rows = lines / cell_lines;
        let stride = if offset * 2 < columns { columns } else { offset * 2 };
        let fits = (20..=132).contains(&columns) && (1..=60).contains(&rows);
        fits.then_some(Layout { columns, rows, stride, start: start_high << 8 | start_low })
    }
}

impl Layout {
    /// Returns the rows, without trailing blanks.
    pub(crate) fn rows(self, memory: &[u8]) -> Vec<String> {
        let at = |row: usize, column: usize| (self.start + row * self.stride + column) * 2 % MEMORY_BYTES;
        let byte = |row, column| memory.get(at(row, column)).copied().unwrap_or(b' ');
        let row = |row| (0..self.columns).map(|column| letter(byte(row, column))).collect::<String>();
        (0..self.rows).map(|number| row(number).trim_end().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Layout, MEMORY_BYTES, Registers};
    use proptest::prelude::*;

    /// Mode 3, as set by SeaBIOS on QEMU's adapter.
    const MODE_3: Registers = Registers([0x0e, 0x4f, 0x1f, 0x4f, 0, 0, 0x8f, 0x28]);

    #[test]
    fn mode_3_has_80_columns_and_25_rows_at_any_scroll_position() {
        assert_eq!(MODE_3.layout(), Some(Layout { columns: 80, rows: 25, stride: 80, start: 0 }));
        let mut memory = vec![0; MEMORY_BYTES];
        let mut write = |at: usize, text: &[u8]| {
            for (offset, byte) in text.iter().enumerate() {
                memory[(at + offset) * 2 % MEMORY_BYTES] = *byte;
            }
        };
        write(0, b"old");
        write(16_300, b"first");
        write(16_300 + 80, b"second, over the end of memory \xc4");
        let mut scrolled = MODE_3;
        scrolled.0[4..6].copy_from_slice(&16_300_u16.to_be_bytes());
        let rows = scrolled.layout().expect("text").rows(&memory);
        assert_eq!((rows.len(), &rows[0][..], &rows[1][..]), (25, "first", "second, over the end of memory ─"));
        assert_eq!(MODE_3.layout().expect("text").rows(&[])[0], "");
    }

    #[test]
    fn graphics_modes_and_absent_adapters_have_no_text_layout() {
        assert_eq!(Registers([0xff; 8]).layout(), None);
        assert!(!Registers([0xff; 8]).is_graphical() && !MODE_3.is_graphical());
        assert!(Registers([0x05, 0x9f, 0x52, 0x40, 0, 0, 0x1f, 0x80]).is_graphical());
        // As set by OVMF: 1280 x 800.
        assert_eq!(Registers([0x05, 0x9f, 0x52, 0x40, 0, 0, 0x1f, 0x80]).layout(), None);
    }

    proptest! {
        #[test]
        fn the_screen_size_is_bounded_for_all_register_values(values in any::<[u8; 8]>(), memory in any::<[u8; 32]>()) {
            if let Some(layout) = Registers(values).layout() {
                let rows = layout.rows(&memory.repeat(MEMORY_BYTES / 32));
                prop_assert!(rows.len() <= 60 && rows.iter().all(|row| row.chars().count() <= 132));
            }
        }
    }
}
