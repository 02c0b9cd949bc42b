//! QEMU: machine configuration, command line, accelerator probe, firmware search, drives, QMP.
//!
//! [`machine`] turns a specification into a machine configuration, [`argv`] turns that into a command line. Neither does I/O.

pub mod spec;

pub mod argv;
pub mod device;
pub mod drive;
pub mod firmware;
pub mod kvm;
pub mod machine;
pub(crate) mod machine_type;
pub mod named;
pub mod program;
pub(crate) mod qmp;
