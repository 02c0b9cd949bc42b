//! Start of the program: its arguments.

use core::ffi::CStr;

/// The program's arguments, as the kernel leaves them on the stack: a count, then pointers.
pub struct Arguments {
    stack: usize,
}

/// Called by `_start` with the initial stack pointer.
pub extern "C" fn start(stack: usize) -> ! {
    crate::main(&Arguments { stack })
}

impl Arguments {
    /// Returns an argument; the first is the program's name.
    pub fn get(&self, index: usize) -> Option<&'static CStr> {
        let words = self.stack as *const usize;
        // SAFETY: only `start` creates this value, with the kernel's stack: argc, argc pointers to strings, a null
        // pointer (System V ABI, AMD64 supplement, figure 3.9). They stay valid as long as the program runs.
        unsafe {
            if index >= words.read() {
                return None;
            }
            let argument = words.add(1 + index).read() as *const core::ffi::c_char;
            (!argument.is_null()).then(|| CStr::from_ptr(argument))
        }
    }
}
