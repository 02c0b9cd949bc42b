//! Screenshots: read from PPM, which every version of QEMU can dump, written as PNG.
//!
//! PNG: RFC 2083, color type 2, one IDAT chunk, filter type Up. Refuses images larger than any screen.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// Maximum number of pixels: 16384 x 8640.
const PIXELS: usize = 16_384 * 8640;

/// Image of a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub(crate) width: u32,
    /// Height in pixels.
    pub(crate) height: u32,
    /// Red, green and blue bytes, row by row.
    rgb: Vec<u8>,
}

/// Error: not a valid picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PictureError {
    /// The file is not in the format of `screendump`.
    #[error("invalid screen dump from QEMU: {0}")]
    NotPpm(&'static str),
}

impl Picture {
    /// Parses a binary PPM file with 8 bits per channel and without comments.
    pub(crate) fn from_ppm(file: &[u8]) -> Result<Self, PictureError> {
        let wrong = PictureError::NotPpm;
        let mut rest = file.strip_prefix(b"P6").ok_or(wrong("missing magic number P6"))?;
        let mut number = || {
            let start = rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
            let digits = rest[start..].iter().position(|byte| !byte.is_ascii_digit())?;
            let (text, after) = rest[start..].split_at(digits);
            rest = after;
            std::str::from_utf8(text).ok()?.parse::<u32>().ok()
        };
        let (width, height, depth) = (number(), number(), number());
        let (Some(width), Some(height), Some(255)) = (width, height, depth) else {
            return Err(wrong("invalid header (expected 8 bits per channel)"));
        };
        let pixels = (width as usize).checked_mul(height as usize).filter(|pixels| (1..=PIXELS).contains(pixels));
        let bytes = pixels.ok_or(wrong("image size out of range"))? * 3;
        match rest.get(1..=bytes) {
            Some(rgb) => Ok(Self { width, height, rgb: rgb.to_vec() }),
            None => Err(wrong("truncated pixel data")),
        }
    }

    /// Writes the picture as a PNG file.
    pub fn write_png(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(b"\x89PNG\r\n\x1a\n")?;
        let mut head = [self.width.to_be_bytes(), self.height.to_be_bytes()].concat();
        // 8 bits per channel, RGB, deflate, adaptive filters, not interlaced.
        head.extend([8, 2, 0, 0, 0]);
        chunk(out, *b"IHDR", &head)?;
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
        let row_bytes = self.width as usize * 3;
        let mut above = vec![0; row_bytes];
        for row in self.rgb.chunks_exact(row_bytes) {
            // Filter type 2, Up: most rows of a screen equal the row above.
            packed.write_all(&[2])?;
            let differences: Vec<u8> = row.iter().zip(&above).map(|(byte, above)| byte.wrapping_sub(*above)).collect();
            packed.write_all(&differences)?;
            above.copy_from_slice(row);
        }
        chunk(out, *b"IDAT", &packed.finish()?)?;
        chunk(out, *b"IEND", &[])
    }
}

fn chunk(out: &mut impl Write, kind: [u8; 4], data: &[u8]) -> io::Result<()> {
    let length = u32::try_from(data.len()).map_err(|_| io::Error::other("picture larger than 4 GiB"))?;
    let mut sum = crc32fast::Hasher::new();
    sum.update(&kind);
    sum.update(data);
    out.write_all(&length.to_be_bytes())?;
    out.write_all(&kind)?;
    out.write_all(data)?;
    out.write_all(&sum.finalize().to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::Picture;
    use std::io::Read;

    #[test]
    fn a_dump_is_converted_to_png_with_the_same_pixels() {
        let mut dump = b"P6\n3 2\n255\n".to_vec();
        let pixels: Vec<u8> = (0..18).map(|number| number * 13).collect();
        dump.extend(&pixels);
        let picture = Picture::from_ppm(&dump).expect("a picture");
        assert_eq!((picture.width, picture.height), (3, 2));
        let mut png = Vec::new();
        picture.write_png(&mut png).expect("memory takes it");
        assert!(png.starts_with(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x03\0\0\0\x02\x08\x02\0\0\0"));
        // The CRC of an empty IEND chunk is constant (RFC 2083, §4.1.4).
        assert!(png.ends_with(b"\0\0\0\0IEND\xaeB`\x82"));
        let data = &png[33 + 8..png.len() - 12 - 4];
        let mut rows = Vec::new();
        flate2::read::ZlibDecoder::new(data).read_to_end(&mut rows).expect("zlib");
        assert_eq!((rows.len(), rows[0], rows[10]), (20, 2, 2));
        let second: Vec<u8> = rows[11..].iter().zip(&rows[1..10]).map(|(down, up)| up.wrapping_add(*down)).collect();
        assert_eq!([&rows[1..10], &second].concat(), pixels);
    }

    #[test]
    fn invalid_dumps_are_refused() {
        for file in [
            &b""[..],
            b"P5\n1 1\n255\n\0",
            b"P6",
            b"P6\n1 1\n65535\n\0\0\0\0\0\0",
            b"P6\n0 1\n255\n",
            b"P6\n4294967295 4294967295\n255\n",
            b"P6\n99999999999 1\n255\n",
            b"P6\n2 2\n255\n\0\0\0",
            b"P6\n1 1\n255",
        ] {
            assert!(Picture::from_ppm(file).is_err(), "{file:?}");
        }
    }
}
