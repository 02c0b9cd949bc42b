//! From an image and a boot spec to a transcript: the QEMU command line, the process, the conversation with pid 1.
