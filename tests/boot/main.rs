//! Tests that boot guests: one program, so that they run in parallel on all processors.
//!
//! A test that cannot boot prints the reason; with `REQUIRE_VM=1` it fails (see `support/kernels.rs`).

#[path = "../support/mod.rs"]
mod support;

mod aarch64;
mod ancestor;
mod arguments;
mod autoload;
mod bad_input;
mod bisect;
mod boot_disk;
mod bootsector;
mod bundle;
mod cache;
mod channel;
mod collect;
mod compare;
mod disk;
mod disks;
mod endings;
mod exit_status;
mod firmware;
mod hang;
mod health;
mod hostile;
mod interactive;
mod killed;
mod known;
mod kselftest;
mod kunit;
mod library;
mod matrix;
mod nested;
mod net;
mod packages;
mod pid1;
mod plain;
mod proof;
mod readme;
mod regress;
mod restored;
mod root;
mod runner;
mod shards;
mod share;
mod skipped;
mod snapshots;
mod soak;
mod streams;
mod trees;
mod uki;
mod unpacked;
mod user;
mod verdict;
mod warm;
mod watch;
