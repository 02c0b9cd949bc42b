//! Reports of real kernels, and those of the kernel's documentation, read back.
